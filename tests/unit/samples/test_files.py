"""Samples in files of NumPy, by the names that people give them; nothing is unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_edgequant.errors import DatasetError
from pytest_edgequant.samples.files import load_inputs, load_pair

X, Y = np.arange(12.0).reshape(4, 3), np.array([1, 0, 1, 1])


@pytest.mark.parametrize("names", [("x", "y"), ("x_test", "y_test"), ("images", "labels")])
def test_a_dataset_is_samples_and_labels(tmp_path: Path, names: tuple[str, str]) -> None:
    np.savez(tmp_path / "d.npz", other=np.zeros(2), **dict(zip(names, (X, Y), strict=True)))
    x, y = load_pair(tmp_path / "d.npz")
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)


def test_calibration_is_an_array_or_arrays_by_input(tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", X)
    np.savez(tmp_path / "one.npz", whatever=X)
    np.savez(tmp_path / "both.npz", x=X + 1, y=Y, x_calibration=X)
    np.savez(tmp_path / "inputs.npz", sensor=X, camera=X + 1)
    for name in ("c.npy", "one.npz", "both.npz"):
        np.testing.assert_array_equal(load_inputs(tmp_path / name), X)
    by_input = load_inputs(tmp_path / "inputs.npz")
    assert set(by_input) == {"sensor", "camera"}


def _pickled(path: Path) -> None:
    with open(path, "wb") as stream:
        np.save(stream, np.array([{"a": 1}], dtype=object))


def _pickled_inside(path: Path) -> None:
    with open(path, "wb") as stream:
        np.savez(stream, x=np.array([{}], dtype=object), y=Y)


@pytest.mark.parametrize(
    "write, said",
    [
        (lambda path: None, "there is no file"),
        (lambda path: path.write_bytes(b""), "numpy"),
        (lambda path: path.write_bytes(b"PK\x03\x04 cut"), "numpy"),
        (lambda path: path.mkdir(), "can't read"),
        (_pickled, "arrays of Python objects are not read"),
        (_pickled_inside, "arrays of Python objects are not read"),
        (lambda path: path.write_bytes(np.lib.format.magic(1, 0)), "numpy"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, write: Any, said: str) -> None:
    path = tmp_path / "d.npz"
    write(path)
    for load in (load_pair, load_inputs):
        with pytest.raises(DatasetError, match=r"--given: .*d\.npz") as caught:
            load(path, "--given")
        assert said in str(caught.value)


def test_a_dataset_without_labels_says_what_it_holds(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=X, z=Y)
    with pytest.raises(DatasetError, match="holds 'x', 'z'; it must have x and y"):
        load_pair(tmp_path / "d.npz")
    np.save(tmp_path / "d.npy", X)
    with pytest.raises(DatasetError, match="one array, without labels"):
        load_pair(tmp_path / "d.npy")
