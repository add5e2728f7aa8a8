"""The samples that two evaluations have in common, and what a metric says of those alone."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.results.samples import UNKNOWN, Samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_SHARE = 0.5
"""Of the smaller of two evaluations: less in common, and the rest of it is not judged by that."""


def matched(
    before: NDArray[np.uint32], after: NDArray[np.uint32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the same samples in both, by their hashes, in the order of the first.

    A sample that is there twice in both is met twice.
    """
    _, first, second = np.intersect1d(
        _counted(before), _counted(after), assume_unique=True, return_indices=True
    )
    order = np.argsort(first)
    return first[order], second[order]


def _counted(hashes: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """The hashes, each made unique by how many equal ones come before it."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    places = np.arange(len(ordered), dtype=np.uint64)
    begins = np.ones(len(ordered), dtype=np.bool_)
    begins[1:] = ordered[1:] != ordered[:-1]
    repeats = np.empty(len(hashes), dtype=np.uint64)
    repeats[order] = places - np.maximum.accumulate(np.where(begins, places, 0).astype(np.uint64))
    return np.asarray(hashes.astype(np.uint64) << np.uint64(32) | repeats)


def same(before: Samples, after: Samples) -> bool:
    """Whether both are of the very same samples, in whatever order."""
    if before.dataset != UNKNOWN and before.dataset == after.dataset:
        return True
    if before.hashes is None or after.hashes is None:
        return False
    return np.array_equal(np.sort(before.hashes), np.sort(after.hashes))


def common(before: Samples, after: Samples) -> tuple[Samples, Samples] | None:
    """Both on the samples that they have in common, pair by pair; None where nothing tells.

    There may be none. Of equal datasets it is all that they are.
    """
    if before.dataset != UNKNOWN and before.dataset == after.dataset:
        return before, after
    if before.hashes is None or after.hashes is None:
        return None
    first, second = matched(before.hashes, after.hashes)
    return _only(before, first), _only(after, second)


def enough(part: int, before: Samples, after: Samples) -> bool:
    """Whether that many common samples stand for the smaller evaluation."""
    return part >= LEAST_SHARE * min(before.count, after.count)


def value_on(metric: str, samples: Samples) -> float | None:
    """A metric's value on these samples; None where it is none of their values by sample."""
    if samples.outcomes is not None:
        return float(np.count_nonzero(samples.outcomes) / samples.count)
    if samples.values is None:
        return None
    mean = float(samples.values.astype(np.float64).mean())
    return math.sqrt(mean) if metric == "rmse" else mean


def is_value(metric: str, value: float, samples: Samples) -> bool:
    """Whether a metric's value is what its values by sample come to."""
    found = value_on(metric, samples)
    return found is not None and math.isclose(found, value, rel_tol=1e-4, abs_tol=1e-9)


def _only(samples: Samples, positions: NDArray[np.int64]) -> Samples:
    def taken(array: NDArray[Any] | None) -> NDArray[Any] | None:
        return None if array is None else array[positions]

    return dataclasses.replace(
        samples,
        dataset=UNKNOWN,
        count=len(positions),
        outcomes=taken(samples.outcomes),
        values=taken(samples.values),
        hashes=taken(samples.hashes),
    )
