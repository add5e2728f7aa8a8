"""What the release job flashes: a .tflite file, gated as it is, without converting again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pytest_edgequant import Target, Variant, assert_deployable, assert_fully_integer, convert

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def edge_model() -> Path:
    """The int8 file; a release job would take it from its build folder instead."""
    samples = np.load(ROOT / "data" / "digits.npz")["x_validation"][:300].astype(np.float32)
    return convert(ROOT / "models" / "digits.keras", "int8", calibration=samples).path


@pytest.fixture
def edge_model_name() -> str:
    """The name in reports, for the file's own name says nothing."""
    return "digits-flashed"


def test_what_is_flashed_runs(edge_as_is: Variant, edge_target: Target) -> None:
    """The very bytes that go to the board fit it."""
    assert_deployable(edge_as_is, edge_target)


def test_what_is_flashed_is_integer(edge_as_is: Variant) -> None:
    """The firmware has no float kernels."""
    assert_fully_integer(edge_as_is)
    assert edge_as_is.name == "int8"
