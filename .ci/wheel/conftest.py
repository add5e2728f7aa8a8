"""A project that gates a .tflite with the bare wheel: no extra, no TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def edge_model() -> Path:
    return HERE / "tiny_int8.tflite"


@pytest.fixture(scope="session")
def edge_dataset() -> Any:
    data = np.load(HERE / "tiny.npz")
    return data["x"].astype(np.float32) / 16, data["y"]
