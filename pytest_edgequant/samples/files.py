"""Samples in files: what `numpy.save` and `numpy.savez` wrote, and nothing that is unpickled."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.errors import DatasetError
from pytest_edgequant.wording import first_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PAIRS = (("x", "y"), ("x_test", "y_test"), ("inputs", "labels"), ("images", "labels"))
_ALONE = (
    *("x_calibration", "x_calib", "calibration", "x_validation", "x_val"),
    *("x", "inputs", "images", "x_train", "x_test"),
)
"""Names of samples to calibrate with, from those that say so to those that may do."""


def _arrays(path: Path, what: str) -> dict[str, NDArray[Any]]:
    """The arrays of a file by name, the one of a `.npy` under "". Raises `DatasetError`."""
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {"": found}
        with found as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise DatasetError(f"{what}: there is no file {str(path)!r}; check the path") from None
    except OSError as error:
        reason = error.strerror or "not what numpy.save or numpy.savez writes"
        raise DatasetError(f"{what}: can't read {str(path)!r}: {reason}") from None
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise DatasetError(
            f"{what}: {str(path)!r} is not what numpy.save or numpy.savez writes ({error}); "
            "arrays of Python objects are not read"
        ) from None


def _keys(arrays: dict[str, NDArray[Any]]) -> str:
    return ", ".join(first_of(map(repr, sorted(arrays)))) or "nothing"


def load_pair(path: Path, what: str = "dataset") -> tuple[NDArray[Any], NDArray[Any]]:
    """Samples and labels of an `.npz`: its x and y. Raises `DatasetError`.

    `what` says in messages what gave the file.
    """
    arrays = _arrays(path, what)
    for x, y in _PAIRS:
        if x in arrays and y in arrays:
            return arrays[x], arrays[y]
    if "" in arrays:
        raise DatasetError(
            f"{what}: {str(path)!r} holds one array, without labels; give an .npz with x and y "
            "(numpy.savez(path, x=..., y=...))"
        )
    raise DatasetError(
        f"{what}: {str(path)!r} holds {_keys(arrays)}; it must have x and y "
        "(numpy.savez(path, x=..., y=...))"
    )


def load_inputs(path: Path, what: str = "calibration") -> Any:
    """Samples alone: one array, or those of an `.npz` by input name.

    Of several arrays the one called x_calibration, x_val, x or the like is meant. Raises
    `DatasetError`; `what` says in messages what gave the file.
    """
    arrays = _arrays(path, what)
    if "" in arrays:
        return arrays[""]
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    for name in _ALONE:
        if name in arrays:
            return arrays[name]
    if not arrays:
        raise DatasetError(f"{what}: {str(path)!r} holds no array")
    return arrays
