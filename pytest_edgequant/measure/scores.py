"""How a task metric works: it keeps a few values a sample, and gives its value from them.

A metric reads the evaluation set batch by batch (`Accumulator`) and keeps small arrays (N, ...)
that its value is computed from, so that a bootstrap can recompute it for resampled samples.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from pytest_edgequant.errors import DatasetError, MetricError
from pytest_edgequant.records import Chance
from pytest_edgequant.wording import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

Classes = tuple["NDArray[np.integer[Any]]", "NDArray[np.integer[Any]]"]
"""Labels and predicted classes, (N,) each."""
Kept = tuple[Any, ...]
"""Arrays of the same length: what a metric keeps of each sample."""
WHERE = "edge_dataset"


@dataclass(frozen=True, eq=False)
class Score:
    """What a metric says of one variant. Arrays and numbers only, so that it can be stored.

    `outcomes` is a boolean array (N,), which samples were right, for metrics that judge sample by
    sample. `per_sample` is a float64 array (N,) for metrics that are a mean over samples. `classes`
    are the labels and the predicted classes, integers (N,) each, for metrics of classes. `details`
    are further figures, such as the recall of each class. `kept` is what `TaskMetric.resampled`
    recomputes the value from. `constant` tells that all samples have the same outputs.
    """

    value: float
    outcomes: NDArray[np.bool_] | None = None
    per_sample: NDArray[np.float64] | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    classes: Classes | None = None
    kept: Kept = ()
    constant: bool = False


class Accumulator(Protocol):
    """One evaluation of a metric; `TaskMetric.start()` gives a fresh one."""

    def update(self, y_true: Any, y_pred: Any, x: Any = None) -> None:
        """One batch: labels (n, ...), real-valued outputs (n, ...) or a list of them.

        `x` are the model's real-valued inputs, for metrics with `needs_inputs`. Raises
        `DatasetError` or `MetricError` for what does not fit.
        """

    def finish(self) -> Score:
        """The score over all batches; raises `MetricError` where it can't be computed."""


@dataclass(frozen=True)
class TaskMetric(ABC):
    """A metric. `output` is the output that it reads, by name or position, None for all.

    `share` tells that values are fractions from 0 to 1, so that a drop reads in points.
    `needs_inputs` metrics want the model's inputs with each batch, `against_baseline` metrics the
    baseline's outputs in place of labels.
    """

    name: str
    higher_is_better: bool
    output: str | int | None = field(default=None, kw_only=True)
    share: ClassVar[bool] = False
    needs_inputs: ClassVar[bool] = False
    against_baseline: ClassVar[bool] = False
    decides: ClassVar[bool] = False
    """Whether outputs are read as decisions (argmax), although the metric keeps no classes"""
    cheap: ClassVar[bool] = True
    """Whether `resampled` takes many weights at once, and not one call of a user's function each"""

    @property
    def unit(self) -> str:
        return "fraction" if self.share else ""

    def start(self, where: str = "model", outputs: Sequence[str] = ()) -> Accumulator:
        """A fresh accumulator. `where` names the variant, `outputs` its outputs, for messages."""
        return _Keeping(self, where, outputs)

    @abstractmethod
    def keep(self, y_true: Any, y_pred: Any, x: Any) -> Kept:
        """What is kept of one batch."""

    def settle(self, kept: Kept) -> Kept:
        """What is kept once all batches are there, for what only the whole can decide."""
        return kept

    @abstractmethod
    def resampled(self, kept: Kept, weights: NDArray[Any]) -> NDArray[np.float64]:
        """The value where sample i counts weights[b, i] times, for each row b; NaN for none.

        Weights are whole numbers (B, N). Gives (B,).
        """

    def value(self, kept: Kept) -> float:
        """The value over all samples, each counted once."""
        right = self.outcomes(kept)
        if right is not None:
            return float(np.count_nonzero(right) / len(right))
        ones = np.broadcast_to(np.float64(1), (1, len(kept[0])))
        return float(self.resampled(kept, ones)[0])

    def outcomes(self, kept: Kept) -> NDArray[np.bool_] | None:
        """Which samples were right, where the value is their share."""
        return None

    def per_sample(self, kept: Kept) -> NDArray[np.float64] | None:
        return None

    def classes(self, kept: Kept) -> Classes | None:
        return None

    def details(self, kept: Kept) -> Mapping[str, float]:
        return {}

    def chance(self, kept: Kept) -> Chance | None:
        """The value against what guessing gives; None where that can't be stated."""
        return None


def select_output(
    value: Any, output: str | int | None, outputs: Sequence[str], metric: str
) -> NDArray[Any] | list[Any]:
    """The output that a metric reads, out of an array or a list; all of them for None."""
    several = value if isinstance(value, list | tuple) else [value]
    known = ", ".join(f"{i}: {name!r}" for i, name in enumerate(outputs)) or f"{len(several)}"
    if output is None:
        return several[0] if len(several) == 1 else list(several)
    position = output
    if isinstance(output, str):
        if output not in outputs:
            raise MetricError(
                f"edge_metric: {metric} reads the output {output!r}, which the model does not "
                f"have; its outputs are {known}"
            )
        position = list(outputs).index(output)
    assert isinstance(position, int)
    if not -len(several) <= position < len(several):
        raise MetricError(
            f"edge_metric: {metric} reads the output {output}, the model has {len(several)} "
            f"({known})"
        )
    chosen: NDArray[Any] = several[position]
    return chosen


def one_output(y_pred: Any, metric: str) -> NDArray[Any]:
    """The single output that a metric needs; raises `MetricError` where there are several."""
    if isinstance(y_pred, list | tuple):
        raise MetricError(
            f"{metric} needs one output, the model has {len(y_pred)}: choose one with output=0 "
            "(or its name), or define the fixture edge_metric as "
            "metric(y_true, [output, ...]) -> float"
        )
    return np.asarray(y_pred)


def _labels_of(y_true: Any, output: str | int | None, outputs: Sequence[str]) -> Any:
    """The labels of the output that is read, where there are labels for several."""
    if isinstance(y_true, Mapping):
        name = output
        if isinstance(output, int) and outputs and output not in y_true:
            name = outputs[output]
        if name not in y_true:
            raise DatasetError(
                f"{WHERE}: labels have the keys {sorted(map(str, y_true))}, and the metric reads "
                f"the output {name!r}"
            )
        return np.asarray(y_true[name])
    if isinstance(y_true, tuple | list) and y_true and getattr(y_true[0], "ndim", 0) > 0:
        if output is None:
            return list(y_true)
        position = list(outputs).index(output) if isinstance(output, str) else output
        return np.asarray(y_true[position])
    return np.asarray(y_true)


class _Keeping:
    """The accumulator of every metric: checks each batch and collects what the metric keeps."""

    def __init__(self, metric: TaskMetric, where: str, outputs: Sequence[str]) -> None:
        self._metric = metric
        self._where = where
        self._outputs = tuple(outputs)
        self._batches: list[Kept] = []
        self._seen = 0
        self._bad = 0
        self._first: list[NDArray[Any]] | None = None
        self._constant = True

    def update(self, y_true: Any, y_pred: Any, x: Any = None) -> None:
        metric = self._metric
        chosen = select_output(y_pred, metric.output, self._outputs, metric.name)
        outputs = chosen if isinstance(chosen, list) else [chosen]
        labels = _labels_of(y_true, metric.output, self._outputs)
        count = len(outputs[0])
        given = len(labels[0]) if isinstance(labels, list) else len(np.atleast_1d(labels))
        if given != count:
            raise DatasetError(
                f"{WHERE}: {counted(given, 'label')} for {counted(count, 'sample')}; expected "
                f"labels of shape ({count}, ...), one a sample"
            )
        self._seen += count
        self._bad += _not_finite(outputs, count)
        if self._constant:
            self._watch([np.asarray(output) for output in outputs])
        if self._bad == 0:
            self._batches.append(metric.keep(labels, chosen, x))

    def _watch(self, outputs: Sequence[NDArray[Any]]) -> None:
        """Whether every sample has the outputs of the first."""
        if self._first is None and len(outputs[0]):
            self._first = [np.array(output[0]) for output in outputs]
        for first, output in zip(self._first or (), outputs, strict=False):
            # The last sample alone tells it nearly always.
            same = np.array_equal(output[-1], first) and bool((output == first).all())
            self._constant = self._constant and same

    def finish(self) -> Score:
        metric, where = self._metric, self._where
        if self._bad:
            raise MetricError(
                f"{where}: the model's outputs are NaN or infinite for {self._bad} of {self._seen} "
                f"samples; check the samples of {WHERE} for NaN, and the model's weights"
            )
        if not self._seen:
            raise DatasetError(f"{WHERE}: no samples; return (x, y) with at least one")
        batches, self._batches = self._batches, []
        kept = metric.settle(tuple(_joined(parts) for parts in zip(*batches, strict=True)))
        try:
            value = metric.value(kept)
        except (MetricError, DatasetError):
            raise
        except Exception as error:
            raise MetricError(
                f"{where}: the metric {metric.name!r} raised {type(error).__name__}: {error} "
                f"({_called_with(kept)})"
            ) from error
        if not math.isfinite(value):
            raise MetricError(
                f"{where}: the metric {metric.name!r} gave {value} ({_called_with(kept)})"
            )
        return Score(
            value,
            metric.outcomes(kept),
            metric.per_sample(kept),
            metric.details(kept),
            metric.classes(kept),
            kept,
            self._constant and self._seen > 1,
        )


def _called_with(kept: Kept) -> str:
    """What a user's function was given, for a message."""
    shapes = " and ".join(str(np.shape(part)) for part in kept)
    return f"edge_metric takes labels and outputs, here of shape {shapes}, and gives one number"


def _not_finite(outputs: Sequence[NDArray[Any]], count: int) -> int:
    """How many of the samples have a NaN or an infinity in one of their outputs (n, ...)."""
    floats = [array for array in map(np.asarray, outputs) if array.dtype.kind == "f" and array.size]
    # Nearly always there are none: the extremes tell, in less time than a look at each value.
    if all(math.isfinite(array.min()) and math.isfinite(array.max()) for array in floats):
        return 0
    bad = np.zeros(count, dtype=bool)
    for array in floats:
        bad |= ~np.isfinite(array.reshape(count, -1)).all(axis=1)
    return int(bad.sum())


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    if len(parts) == 1:
        return parts[0]
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) > 1:
        raise DatasetError(
            f"{WHERE}: batches of different shapes: {', '.join(map(str, sorted(shapes)))}; every "
            "sample and label needs the same one"
        )
    return np.concatenate(parts)


def weighted_mean(values: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float64]:
    """The mean of values (N,) under each row of weights (B, N)."""
    if len(weights) == 1:
        # Without BLAS, whose threads take longer to start and to stop than this takes.
        with np.errstate(invalid="ignore", divide="ignore"):
            found = (weights[0] * values).sum(dtype=np.float64) / weights[0].sum(dtype=np.float64)
        return np.asarray([found])
    total = np.asarray(weights.sum(axis=1), dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((weights @ values.astype(np.float64)) / total)
