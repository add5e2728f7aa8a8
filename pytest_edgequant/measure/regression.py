"""Metrics of regression: MAE, MSE, RMSE, R2, over all values of all samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.errors import MetricError
from pytest_edgequant.measure.chance import chance_of_error
from pytest_edgequant.measure.scores import WHERE, Kept, TaskMetric, one_output, weighted_mean
from pytest_edgequant.records import Chance

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRIED = 3
"""So many values of a sample are kept to try constant answers on: a few bytes."""


def aligned(y_true: Any, y_pred: Any, metric: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Targets and outputs of one batch as float64 arrays (n, values)."""
    pred = one_output(y_pred, metric)
    try:
        true = np.asarray(y_true, dtype=np.float64)
    except (ValueError, TypeError):
        raise MetricError(f"{WHERE}: {metric} needs numbers as targets") from None
    if true.size != pred.size or (true.ndim and len(true) != len(pred)):
        raise MetricError(
            f"{WHERE}: targets of shape {true.shape} don't fit outputs of shape {pred.shape}; "
            f"expected targets of shape {pred.shape}"
        )
    if not np.isfinite(true).all():
        raise MetricError(f"{WHERE}: {metric} can't be computed: targets are NaN or infinite")
    count = len(pred)
    return true.reshape(count, -1), pred.astype(np.float64).reshape(count, -1)


def _some_targets(true: NDArray[Any]) -> NDArray[np.intp]:
    """The values of a sample that a constant answer is tried on: three where there are more."""
    width = true.shape[1]
    if width <= _TRIED:
        return np.arange(width)
    return np.asarray((2 * np.arange(_TRIED) + 1) * width // (2 * _TRIED))


def _kept_errors(errors: NDArray[Any], true: NDArray[Any]) -> Kept:
    """The mean error of each sample, some targets, and the mean error of those alone."""
    tried = _some_targets(true)
    mean = errors.mean(axis=1)
    targets = true[:, tried].astype(np.float32)
    if len(tried) == true.shape[1]:
        return mean, targets
    return mean, targets, errors[:, tried].mean(axis=1, dtype=np.float32)


def _against_constant(kept: Kept, what: str, root: bool = False) -> Chance | None:
    """The errors against those of the best constant answer to the targets that were kept."""
    targets = kept[1].astype(np.float64)
    if not targets.size:
        return None
    own = float(kept[-1 if len(kept) == 3 else 0].mean(dtype=np.float64))
    if what == "median":
        constant = float(np.abs(targets - np.median(targets, axis=0)).mean())
    else:
        constant = float(np.square(targets - targets.mean(axis=0)).mean())
    spread = bool((targets != targets[0]).any())
    if not spread and len(kept) == 3:
        return None  # the values that were not kept may differ
    if root:
        own, constant = math.sqrt(own), math.sqrt(constant)
    answer = f"the {what} of the targets"
    if len(kept) == 3:
        answer += f" (tried on {targets.shape[1]} of their values, where the model has {own:.6g})"
    return chance_of_error(own, constant, answer, spread)


@dataclass(frozen=True)
class MeanAbsoluteError(TaskMetric):
    """The mean of |target - output|."""

    def keep(self, y_true: Any, y_pred: Any, x: Any) -> Kept:
        true, pred = aligned(y_true, y_pred, self.name)
        return _kept_errors(np.abs(true - pred), true)

    def chance(self, kept: Kept) -> Chance | None:
        return _against_constant(kept, "median")

    def per_sample(self, kept: Kept) -> NDArray[np.float64]:
        return np.asarray(kept[0])

    def resampled(self, kept: Kept, weights: NDArray[Any]) -> NDArray[np.float64]:
        return weighted_mean(kept[0], weights)


@dataclass(frozen=True)
class MeanSquaredError(TaskMetric):
    """The mean of (target - output) squared; its root where `root`."""

    root: bool = False

    def keep(self, y_true: Any, y_pred: Any, x: Any) -> Kept:
        true, pred = aligned(y_true, y_pred, self.name)
        return _kept_errors(np.square(true - pred), true)

    def chance(self, kept: Kept) -> Chance | None:
        return _against_constant(kept, "mean", self.root)

    def per_sample(self, kept: Kept) -> NDArray[np.float64]:
        return np.asarray(kept[0])

    def resampled(self, kept: Kept, weights: NDArray[Any]) -> NDArray[np.float64]:
        mean = weighted_mean(kept[0], weights)
        return np.sqrt(mean) if self.root else mean


@dataclass(frozen=True)
class R2(TaskMetric):
    """Coefficient of determination: 1 - residual sum of squares / total sum of squares.

    Over all values together where a sample has several.
    """

    def keep(self, y_true: Any, y_pred: Any, x: Any) -> Kept:
        true, pred = aligned(y_true, y_pred, self.name)
        middle = true.mean(axis=1)
        within = np.square(true - middle[:, np.newaxis]).mean(axis=1)
        return np.square(true - pred).mean(axis=1), middle, within

    def resampled(self, kept: Kept, weights: NDArray[Any]) -> NDArray[np.float64]:
        residual, middle, within = kept
        # Moved to the overall mean first, so that large targets lose no digits.
        moved = middle - middle.mean()
        mean = weighted_mean(moved, weights)
        total = weighted_mean(within + np.square(moved), weights) - np.square(mean)
        # What rounding leaves of targets that are all the same is no spread.
        floor = 1e-24 * max(float(np.square(middle).max()), np.finfo(np.float64).tiny)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(total > floor, 1 - weighted_mean(residual, weights) / total, np.nan)

    def value(self, kept: Kept) -> float:
        found = super().value(kept)
        if np.isnan(found):
            raise MetricError("R2 is not defined: all targets are the same")
        return found

    def chance(self, kept: Kept) -> Chance:
        value = self.value(kept)
        return Chance(0.0, "always answering the mean of the targets", value > 0, share=False)
