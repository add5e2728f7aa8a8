"""Task metrics by name or around a callable: what a model's outputs are worth, given the labels.

A metric declares its direction. A bare callable is `metric(y_true, y_pred) -> float`: larger is
better, unless it has the attribute `higher_is_better = False`, or comes from scikit-learn and ends
in `_error`, `_loss` or `_deviance` (its convention for what is to be minimized). Callables of one's
own that sound like an error must declare it, with `task_metric` or that attribute.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pytest_edgequant.errors import EdgeQuantError, MetricError, SettingsError
from pytest_edgequant.limits import is_number
from pytest_edgequant.measure.chance import chance_of_decisions, shuffled
from pytest_edgequant.measure.classification import (
    Agreement,
    MacroF1,
    MacroRecall,
    MeanIoU,
    Top1,
    TopK,
    WorstClassRecall,
    predicted_classes,
    read_labels,
)
from pytest_edgequant.measure.ranking import RocAuc
from pytest_edgequant.measure.regression import R2, MeanAbsoluteError, MeanSquaredError
from pytest_edgequant.measure.scores import (
    WHERE,
    Accumulator,
    Classes,
    Kept,
    Score,
    TaskMetric,
    one_output,
    select_output,
)
from pytest_edgequant.names import fold, unknown
from pytest_edgequant.records import Chance
from pytest_edgequant.wording import counted, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Accumulator",
    "MetricLike",
    "Score",
    "TaskMetric",
    "get_metric",
    "mean_iou",
    "roc_auc",
    "select_output",
    "task_metric",
    "top_k",
]

DEFAULT_METRIC = "accuracy"
MetricLike = str | Callable[[Any, Any], float] | TaskMetric | None

_METRICS: tuple[TaskMetric, ...] = (
    Top1(DEFAULT_METRIC, True),
    MacroF1("macro_f1", True),
    MacroRecall("macro_recall", True),
    WorstClassRecall("worst_class_recall", True),
    Agreement("agreement", True),
    RocAuc("roc_auc", True),
    MeanIoU("mean_iou", True),
    MeanAbsoluteError("mae", False),
    MeanSquaredError("mse", False),
    MeanSquaredError("rmse", False, root=True),
    R2("r2", True),
)
_ALIASES = {
    "top1": DEFAULT_METRIC,
    "topone": DEFAULT_METRIC,
    "top1accuracy": DEFAULT_METRIC,
    "f1macro": "macro_f1",
    "balancedaccuracy": "macro_recall",
    "auc": "roc_auc",
    "rocauc": "roc_auc",
    "auroc": "roc_auc",
    "miou": "mean_iou",
}
_TOP_K = re.compile(r"top(\d+)(accuracy)?")
_PARTIAL_AUC = re.compile(r"roc_auc_0?\.\d+|roc_auc_1|roc_auc_\d(\.\d+)?e-\d+")
_TO_MINIMIZE = re.compile(
    r"(^|_)(error|err|loss|deviance|distance|mae|mse|rmse|mape|eer|wer|cer|perplexity)$"
)
_SCIKIT_MINIMIZES = ("_error", "_loss", "_deviance", "_percentage", "coverage_error")
_SCIKIT_SCORES = ("log_loss", "hinge_loss", "brier_score_loss")


@dataclass(frozen=True)
class _Called(TaskMetric):
    """A user's function, given all labels and all outputs at once.

    `on` is "scores" (labels and outputs as they are) or "labels" (class numbers of both).
    `positive` gives the score of the second of two classes, (N,), as scikit-learn's ranking
    metrics want it.
    """

    function: Callable[..., Any] = np.mean
    on: str = "scores"
    positive: bool = False
    cheap: ClassVar[bool] = False

    def keep(self, y_true: Any, y_pred: Any, x: Any) -> Kept:
        if self.on == "labels":
            scores = one_output(y_pred, self.name)
            labels = read_labels(y_true, scores, self.name)
            flat = scores.reshape(len(scores), -1)
            return labels, flat[:, 0] if flat.shape[1] == 1 else flat.argmax(axis=1)
        outputs = y_pred if isinstance(y_pred, list) else [y_pred]
        if self.positive and len(outputs) == 1:
            flat = outputs[0].reshape(len(outputs[0]), -1)
            if flat.shape[1] <= 2:
                outputs = [flat[:, -1]]
        if isinstance(y_true, list):
            raise MetricError(
                f"{WHERE}: {self.name} got labels for {counted(len(y_true), 'output')}; choose one "
                "of them with task_metric(..., output=0), or give one array of labels"
            )
        return y_true, *outputs

    def settle(self, kept: Kept) -> Kept:
        if self.on != "labels" or kept[1].dtype.kind != "f":
            return kept
        return kept[0], predicted_classes(kept[1])

    def value(self, kept: Kept) -> float:
        y_true, *y_pred = kept
        return float(self.function(y_true, y_pred[0] if len(y_pred) == 1 else y_pred))

    def resampled(self, kept: Kept, weights: NDArray[Any]) -> NDArray[np.float64]:
        values = []
        for row in weights:
            chosen = np.repeat(np.arange(len(row)), row.astype(np.int64))
            try:
                values.append(self.value(tuple(part[chosen] for part in kept)))
            except Exception:
                values.append(np.nan)  # such as a resample without one of the classes
        return np.asarray(values, dtype=np.float64)

    def classes(self, kept: Kept) -> Classes | None:
        return (kept[0], kept[1]) if self.on == "labels" else None

    def chance(self, kept: Kept) -> Chance | None:
        if self.on != "labels":
            return None
        labels, predicted = kept
        try:
            dealt = self.value((labels, shuffled(predicted)))
        except Exception:
            return None  # a function that does not take every order of what a model may decide
        return chance_of_decisions(dealt, labels, predicted, self.share)


def _plain(function: Any) -> Any:
    """The function inside `functools.partial`."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _name_of(function: Any) -> str:
    inner = _plain(function)
    return str(getattr(inner, "__name__", type(inner).__name__))


def _is_scikit(function: Any) -> bool:
    return str(getattr(_plain(function), "__module__", "")).startswith("sklearn.metrics")


def _declared_direction(function: Any, name: str) -> bool:
    for place in (function, _plain(function)):
        declared = getattr(place, "higher_is_better", None)
        if declared is not None:
            return bool(declared)
    if _is_scikit(function):
        return not name.endswith(_SCIKIT_MINIMIZES)
    if _TO_MINIMIZE.search(name.casefold()):
        raise MetricError(
            f"edge_metric: is a larger {name} better or worse? Say so: "
            f"task_metric({name}, higher_is_better=False), or `{name}.higher_is_better = False` on "
            "a function of your own"
        )
    return True


def _reads(function: Any, name: str) -> tuple[str, bool]:
    """What a function wants, class numbers or scores: known of scikit-learn, else scores."""
    if not _is_scikit(function):
        return "scores", False
    module = str(_plain(function).__module__)
    if module.endswith("_classification") and name not in _SCIKIT_SCORES:
        return "labels", False
    return "scores", module.endswith("_ranking") or name in _SCIKIT_SCORES


def task_metric(
    function: Callable[[Any, Any], float],
    *,
    higher_is_better: bool | None = None,
    on: str | None = None,
    name: str | None = None,
    output: str | int | None = None,
) -> TaskMetric:
    """A metric around `function(y_true, y_pred) -> float`, called once with the whole set.

    `on="scores"` (default) gives it the labels as they are in the dataset and the real-valued
    outputs (N, ...), a list of them for several outputs; `on="labels"` gives it class numbers (N,)
    of both, which scikit-learn's classification metrics want (known of those without saying so).
    `higher_is_better` declares the direction, `output` chooses one of several outputs by name or
    position, `name` is its name in reports (default: the function's).

    Raises `MetricError` for a direction that is unclear, or another `on`.
    """
    if not callable(function):
        raise MetricError(f"edge_metric: expected a name or a callable, got {shown(function)}")
    found = name or _name_of(function)
    known_on, positive = _reads(function, _name_of(function))
    reads = on or known_on
    if reads not in ("labels", "scores"):
        raise MetricError(f'edge_metric: on={on!r}: expected "labels" or "scores"')
    direction = higher_is_better
    if direction is None:
        direction = _declared_direction(function, _name_of(function))
    return _Called(
        found,
        bool(direction),
        output=output,
        function=function,
        on=reads,
        positive=positive and reads == "scores",
    )


def top_k(k: int, *, output: str | int | None = None) -> TaskMetric:
    """The share of samples whose right class is among the k highest scores; also "top-5"."""
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k < 2**31:
        raise MetricError(f"edge_metric: top_k takes a whole number from 1 on, got {shown(k)}")
    return (
        Top1(DEFAULT_METRIC, True, output=output)
        if k == 1
        else TopK(f"top_{k}", True, output=output, k=k)
    )


def roc_auc(
    *,
    score: str = "auto",
    positive: int | None = None,
    grouped: bool = False,
    max_fpr: float | None = None,
    output: str | int | None = None,
) -> TaskMetric:
    """ROC-AUC of a binary classifier or an anomaly detector; `RocAuc` tells what the options do."""
    if score not in ("auto", "output", "reconstruction"):
        raise MetricError(
            f'edge_metric: roc_auc(score={score!r}): expected "auto", "output", "reconstruction"'
        )
    if max_fpr is not None and not (is_number(max_fpr) and 0 < max_fpr <= 1):
        raise MetricError(
            f"edge_metric: roc_auc(max_fpr={shown(max_fpr)}): expected above 0, up to 1"
        )
    return RocAuc(
        "roc_auc" if max_fpr is None else f"roc_auc_{max_fpr:g}",
        True,
        output=output,
        score=score,
        positive=positive,
        grouped=grouped,
        max_fpr=max_fpr,
    )


def mean_iou(*, ignore: int | None = None, output: str | int | None = None) -> TaskMetric:
    """Mean intersection over union of a segmentation; pixels labelled `ignore` don't count."""
    return MeanIoU("mean_iou", True, output=output, ignore=ignore)


def get_metric(metric: MetricLike, output: str | int | None = None) -> TaskMetric:
    """The metric of that name, or one around a callable; None is top-1 accuracy.

    `output` chooses one of several outputs, by name or position. Raises `MetricError` for a
    callable whose direction is unclear, `UnknownNameError` for a name.
    """
    found = _found(metric)
    if output is None or output == found.output:
        return found
    if isinstance(output, bool) or not isinstance(output, int | str):
        raise MetricError(f"output: expected a name or a position, got {shown(output)}")
    return replace(found, output=output)


def metric_named(name: str | None, what: str) -> TaskMetric:
    """The metric of a name that `what` gives; raises `SettingsError` for one that is not known."""
    try:
        return get_metric(name)
    except EdgeQuantError as error:
        raise SettingsError(f"{what}: {str(error).removeprefix('edge_metric: ')}") from None


METRIC_NAMES = (*(metric.name for metric in _METRICS), "top-1", "top-5")
"""The names that are known, as users write them."""


def known_name(name: str) -> str | None:
    """The name that a metric of ours has in reports; None for one that is not known."""
    folded = fold(name)
    wanted = fold(_ALIASES.get(folded, name))
    k = _TOP_K.fullmatch(folded)
    if k is not None and int(k[1]):
        return top_k(int(k[1])).name
    if _PARTIAL_AUC.fullmatch(name):
        return name
    return next((known.name for known in _METRICS if fold(known.name) == wanted), None)


def _found(metric: MetricLike) -> TaskMetric:
    if isinstance(metric, TaskMetric):
        return metric
    if metric is None:
        metric = DEFAULT_METRIC
    if isinstance(metric, str):
        folded = fold(metric)
        wanted = fold(_ALIASES.get(folded, metric))
        for known in _METRICS:
            if fold(known.name) == wanted:
                return known
        k = _TOP_K.fullmatch(folded)
        if k is not None:
            return top_k(int(k[1]))
        raise unknown("metric", metric, METRIC_NAMES, "edge_metric")
    if inspect.isclass(metric) or not callable(metric):
        raise MetricError(f"edge_metric: expected a name or a callable, got {shown(metric)}")
    return task_metric(metric)


def compute(
    metric: TaskMetric,
    y_true: Any,
    y_pred: Any,
    where: str,
    outputs: tuple[str, ...] = (),
    x: Any = None,
) -> Score:
    """The score of arrays that are whole; raises `MetricError` where it can't be had."""
    accumulator = metric.start(where, outputs)
    accumulator.update(y_true, y_pred, x)
    return accumulator.finish()
