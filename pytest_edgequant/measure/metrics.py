"""Task metrics: what a model's outputs are worth, given the labels.

A metric declares its direction. A callable is `metric(y_true, y_pred) -> float`; larger is better
unless it has the attribute `higher_is_better = False`. Names that end in `_error` or `_loss`
(scikit-learn's convention for what is to be minimized) must declare it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.conversion.calibration import class_labels
from pytest_edgequant.errors import DatasetError, MetricError
from pytest_edgequant.names import fold, unknown

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_METRIC = "accuracy"


@dataclass(frozen=True)
class TaskMetric:
    """A metric by name. `outcomes` tells which samples were right, where that has a meaning."""

    name: str
    higher_is_better: bool
    compute: Callable[[Any, Any], float]
    outcomes: Callable[[Any, Any], NDArray[np.bool_]] | None = None
    unit: str = ""


def predicted_classes(y_pred: NDArray[Any]) -> NDArray[Any]:
    """Class numbers from scores (N, classes), or from one unit (N,) or (N, 1).

    One unit is read as a probability with the threshold 0.5 where all values lie in 0..1, else as
    a logit with the threshold 0.
    """
    flat = y_pred.reshape(len(y_pred), -1)
    if flat.shape[1] == 1:
        scores = flat[:, 0]
        probability = bool(((scores >= 0) & (scores <= 1)).all())
        return (scores > (0.5 if probability else 0.0)).astype(np.int64)
    return np.asarray(flat.argmax(axis=1))


def top1_outcomes(y_true: NDArray[Any], y_pred: Any) -> NDArray[np.bool_]:
    """Which samples have the right class; labels are integers (N,) or one-hot (N, classes).

    Raises `MetricError` for outputs that are not one score array or labels that are not classes,
    `DatasetError` for labels that the model has no output for.
    """
    if isinstance(y_pred, list):
        raise MetricError(
            f"top-1 accuracy needs one output, the model has {len(y_pred)}; define the fixture "
            "edge_metric as metric(y_true, [output, ...]) -> float"
        )
    labels = class_labels(np.asarray(y_true), declared=True)
    if labels is None or labels.dtype.kind in "US":
        raise MetricError(
            f"top-1 accuracy needs class numbers or one-hot labels, got {y_true.dtype} of shape "
            f"{y_true.shape}; a regressor needs the fixture edge_metric ('mae', 'rmse', 'r2' or a "
            "callable)"
        )
    labels = labels.astype(np.int64)
    width = int(np.prod(y_pred.shape[1:]))
    classes = 2 if width == 1 else width
    if labels.min() < 0 or labels.max() >= classes:
        raise DatasetError(
            f"edge_dataset: labels range from {labels.min()} to {labels.max()}, the model's output "
            f"{y_pred.shape} tells {classes} classes apart"
        )
    return np.asarray(predicted_classes(y_pred) == labels)


def _aligned(y_true: Any, y_pred: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Targets and predictions as float64 arrays of one shape."""
    if isinstance(y_pred, list):
        raise MetricError(
            f"the model has {len(y_pred)} outputs; define edge_metric as a callable that takes them"
        )
    true = np.asarray(y_true, dtype=np.float64)
    pred = np.asarray(y_pred, dtype=np.float64)
    if true.shape != pred.shape:
        if true.size != pred.size:
            raise MetricError(
                f"targets of shape {true.shape} don't fit outputs of shape {pred.shape}"
            )
        pred = pred.reshape(true.shape)
    return true, pred


def _mae(y_true: Any, y_pred: Any) -> float:
    true, pred = _aligned(y_true, y_pred)
    return float(np.abs(true - pred).mean())


def _rmse(y_true: Any, y_pred: Any) -> float:
    true, pred = _aligned(y_true, y_pred)
    return float(np.sqrt(np.square(true - pred).mean()))


def _r2(y_true: Any, y_pred: Any) -> float:
    """Coefficient of determination: 1 - residual sum of squares / total sum of squares."""
    true, pred = _aligned(y_true, y_pred)
    total = np.square(true - true.mean()).sum()
    if total == 0:
        raise MetricError("R2 is not defined: all targets are the same")
    return float(1 - np.square(true - pred).sum() / total)


_METRICS = (
    TaskMetric(DEFAULT_METRIC, True, lambda t, p: float(top1_outcomes(t, p).mean()), top1_outcomes),
    TaskMetric("mae", False, _mae),
    TaskMetric("rmse", False, _rmse),
    TaskMetric("r2", True, _r2),
)
_ALIASES = {"top1": DEFAULT_METRIC, "topone": DEFAULT_METRIC}


def get_metric(metric: str | Callable[[Any, Any], float] | TaskMetric | None) -> TaskMetric:
    """The metric of that name, or one around a callable; None is top-1 accuracy.

    Raises `MetricError` for a callable whose direction is unclear, `UnknownNameError` for a name.
    """
    if isinstance(metric, TaskMetric):
        return metric
    if metric is None:
        metric = DEFAULT_METRIC
    if isinstance(metric, str):
        wanted = _ALIASES.get(fold(metric), metric)
        for known in _METRICS:
            if fold(known.name) == fold(wanted):
                return known
        raise unknown("metric", metric, [m.name for m in _METRICS], "edge_metric")
    if not callable(metric):
        raise MetricError(f"edge_metric: expected a name or a callable, got {metric!r}")
    name = getattr(metric, "__name__", type(metric).__name__)
    direction = getattr(metric, "higher_is_better", None)
    if direction is None and name.endswith(("_error", "_loss")):
        raise MetricError(
            f"edge_metric: is a larger {name} better or worse? Say so: "
            "`metric.higher_is_better = False` (on a function of your own around it)"
        )
    return TaskMetric(name, True if direction is None else bool(direction), metric)


def compute(metric: TaskMetric, y_true: NDArray[Any], y_pred: Any, where: str) -> float:
    """The metric's value; raises `MetricError` when it can't be had or is not a finite number."""
    for output in y_pred if isinstance(y_pred, list) else [y_pred]:
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            bad = int((~np.isfinite(output)).any(axis=tuple(range(1, output.ndim))).sum())
            raise MetricError(
                f"{where}: the model's outputs are NaN or infinite for {bad} of {len(output)} "
                "samples; check the samples for NaN, and the model's weights"
            )
    try:
        value = float(metric.compute(y_true, y_pred))
    except (MetricError, DatasetError):
        raise
    except Exception as error:
        raise MetricError(
            f"{where}: the metric {metric.name!r} raised {type(error).__name__}: {error}"
        ) from error
    if not math.isfinite(value):
        raise MetricError(f"{where}: the metric {metric.name!r} gave {value}")
    return value
