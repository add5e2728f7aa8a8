"""The committed data, for the test modules: each takes from it what its own model needs."""

from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).parent / "data"


def read(name: str) -> dict[str, np.ndarray]:
    """The arrays of data/NAME.npz: x_validation, y_validation, x_test and y_test."""
    with np.load(DATA / f"{name}.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def digits() -> dict[str, np.ndarray]:
    """Images of 8 x 8 pixels from 0 to 1, and the digit that each shows."""
    return read("digits")


@pytest.fixture(scope="session")
def diabetes() -> dict[str, np.ndarray]:
    """Ten standardised figures of a patient, and the progression of the disease after a year."""
    return read("diabetes")
