"""What tells samples apart wherever they stand in a dataset: a hash of each with its labels.

Two datasets that share samples are compared on those, whatever their order, their number, and how
they are cut into batches. The hash is XXH3 (64 bits): it tells samples apart that nobody has made
to collide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from xxhash import xxh3_64_intdigest

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Unknown(Exception):
    """Samples can't be told from each other in this form."""


class Identities:
    """The hashes of samples that are read batch by batch."""

    def __init__(self) -> None:
        self._batches: list[NDArray[np.uint64]] | None = []

    def update(self, x: Any, y: Any, count: int) -> NDArray[np.uint64] | None:
        """The hashes of one batch of `count` samples and labels, with arrays at the leaves."""
        found = sample_hashes(x, y, count)
        if found is None:
            self._batches = None
        elif self._batches is not None:
            self._batches.append(found)
        return found

    def found(self) -> NDArray[np.uint64] | None:
        """All of them in order; None where samples can't be told from each other."""
        if not self._batches:
            return None
        return np.concatenate(self._batches)


def sample_hashes(x: Any, y: Any, count: int) -> NDArray[np.uint64] | None:
    """A hash of each of `count` samples with its labels, whatever batches they come in.

    None where `x` or `y` does not hold one row a sample.
    """
    seeds = [0] * count
    try:
        for name, part in (("x", x), ("y", y)):
            for path, leaf in _leaves(name, part, count):
                seeds = _added(seeds, path, leaf, count, label=name == "y")
    except _Unknown:
        return None
    return np.asarray(seeds, dtype=np.uint64)


def _leaves(path: str, part: Any, count: int) -> list[tuple[str, Any]]:
    """The arrays of a nested value by their places, in one order."""
    if isinstance(part, Mapping):
        return [leaf for k in sorted(part) for leaf in _leaves(f"{path}/{k}", part[k], count)]
    if isinstance(part, list) and holds_samples(part, count):
        return [(path, part)]
    if isinstance(part, tuple | list):
        several = len(part) > 1
        return [
            leaf
            for i, item in enumerate(part)
            for leaf in _leaves(f"{path}/{i}" if several else path, item, count)
        ]
    return [(path, part)]


def holds_samples(part: list[Any], count: int) -> bool:
    """Whether a list has an element a sample, and not one an input."""
    return len(part) == count and any(len(np.atleast_1d(item)) != count for item in part)


def _added(seeds: list[int], path: str, leaf: Any, count: int, *, label: bool) -> list[int]:
    """The hashes with one more array in them."""
    if isinstance(leaf, list):
        arrays = [_plain(np.asarray(item), label) for item in leaf]
        rows: list[Any] = [(a.dtype.str, np.ascontiguousarray(a).tobytes()) for a in arrays]
        return [
            xxh3_64_intdigest(row, seed=seed ^ _mark(path, kind))
            for seed, (kind, row) in zip(seeds, rows, strict=True)
        ]
    array = _plain(np.asarray(leaf), label)
    if count == 1 and (array.ndim == 0 or len(array) != 1):
        array = array[np.newaxis]  # one sample without a batch
    if array.ndim == 0 or len(array) != count:
        raise _Unknown
    width = array.nbytes // count
    if not width:
        return seeds
    mark = _mark(path, array.dtype.str)
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    starts = range(0, width * count, width)
    return [
        xxh3_64_intdigest(content[start : start + width], seed=seed ^ mark)
        for start, seed in zip(starts, seeds, strict=True)
    ]


def _plain(array: NDArray[Any], label: bool) -> NDArray[Any]:
    """Labels are the same whatever whole number or width of text they are stored as."""
    if label and array.dtype.kind in "biu":
        return array.astype(np.int64)
    if array.dtype.kind in "US":
        return np.asarray(
            [xxh3_64_intdigest(str(v).encode()) for v in array.reshape(-1).tolist()], np.uint64
        ).reshape(array.shape)
    return array


def _mark(path: str, kind: str) -> int:
    """What an array is, so that equal bytes in another place are another sample."""
    return xxh3_64_intdigest(f"{path}\0{kind}".encode())
