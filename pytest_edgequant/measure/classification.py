"""Metrics of classes: top-k, recall, F1, agreement with the baseline, mean IoU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pytest_edgequant.conversion.calibration import class_labels
from pytest_edgequant.errors import DatasetError, MetricError
from pytest_edgequant.measure.chance import (
    chance_of_agreement,
    chance_of_pixels,
    chance_of_recall,
    chance_of_share,
)
from pytest_edgequant.measure.scores import (
    WHERE,
    Classes,
    Kept,
    TaskMetric,
    one_output,
    weighted_mean,
)
from pytest_edgequant.records import Chance
from pytest_edgequant.wording import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray


def threshold_of(scores: NDArray[Any]) -> float:
    """Where one unit changes its class: 0.5 if all values lie in 0..1 (probabilities), else 0."""
    return 0.5 if bool(((scores >= 0) & (scores <= 1)).all()) else 0.0


def predicted_classes(y_pred: NDArray[Any]) -> NDArray[Any]:
    """Class numbers from scores (N, classes), or from one unit (N,) or (N, 1).

    One unit is read as a probability with the threshold 0.5 where all values lie in 0..1, else as
    a logit with the threshold 0. Of equal scores the first counts, as in `numpy.argmax`.
    """
    flat = y_pred.reshape(len(y_pred), -1)
    if flat.shape[1] == 1:
        return (flat[:, 0] > threshold_of(flat)).astype(np.int64)
    return np.asarray(flat.argmax(axis=1))


def read_labels(y_true: Any, y_pred: NDArray[Any], metric: str) -> NDArray[np.int64]:
    """Class numbers (N,) from integer or one-hot labels, checked against the output's width.

    Raises `MetricError` for labels that are not classes, `DatasetError` for labels that the model
    has no output for.
    """
    given = np.asarray(y_true)
    width = int(np.prod(y_pred.shape[1:]))
    classes = 2 if width == 1 else width
    labels = class_labels(given, declared=True)
    if labels is None or labels.dtype.kind in "US":
        raise MetricError(
            f"{WHERE}: {metric} needs class numbers or one-hot labels: integers of shape "
            f"({len(y_pred)},) from 0 to {classes - 1}, or ({len(y_pred)}, {classes}); got "
            f"{given.dtype} of shape {given.shape}. A regressor needs the fixture edge_metric "
            "('mae', 'rmse', 'r2' or a callable)"
        )
    labels = labels.astype(np.int64)
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        hint = " (they seem to be counted from 1: give y - 1)"
        from_one = labels.min() > 0 and labels.max() == classes
        raise DatasetError(
            f"{WHERE}: labels range from {labels.min()} to {labels.max()}, the model's output "
            f"{y_pred.shape} tells {counted(classes, 'class')} apart; expected integers of shape "
            f"({len(y_pred)},) from 0 to {classes - 1}, or one-hot ({len(y_pred)}, {classes})"
            f"{hint if from_one else ''}"
        )
    return labels


def narrow(numbers: NDArray[Any]) -> NDArray[Any]:
    """Class numbers in the smallest type that is surely wide enough: they are kept by sample."""
    limit = int(numbers.max(initial=0))
    return numbers.astype(np.int16 if limit < 2**15 else np.int64)


def per_class_share(labels: NDArray[Any], right: NDArray[np.bool_]) -> dict[int, float]:
    """The share of each class's samples that are right, by class number (0 or more)."""
    counts = np.bincount(labels)
    sums = np.bincount(labels[right], minlength=len(counts))
    return {int(c): float(sums[c] / counts[c]) for c in np.flatnonzero(counts)}


@dataclass(frozen=True)
class _OfClasses(TaskMetric):
    """Keeps the label and the prediction of each sample."""

    share: ClassVar[bool] = True

    def keep(self, y_true: Any, y_pred: Any, x: Any) -> Kept:
        scores = one_output(y_pred, self.name)
        labels = narrow(read_labels(y_true, scores, self.name))
        flat = scores.reshape(len(scores), -1)
        # Whether one unit is a probability or a logit only the whole set can tell.
        return labels, flat[:, 0] if flat.shape[1] == 1 else narrow(flat.argmax(axis=1))

    def settle(self, kept: Kept) -> Kept:
        if kept[1].dtype.kind != "f":
            return kept
        return kept[0], predicted_classes(kept[1]).astype(np.int16)

    def classes(self, kept: Kept) -> Classes:
        labels, predicted = kept[:2]
        return labels, predicted

    def details(self, kept: Kept) -> Mapping[str, float]:
        right = self.outcomes(kept)
        shares = per_class_share(kept[0], kept[0] == kept[1] if right is None else right)
        return {f"recall[{c}]": share for c, share in shares.items()}

    def chance(self, kept: Kept) -> Chance | None:
        labels, predicted = kept[:2]
        most = np.full_like(labels, np.bincount(labels).argmax())
        constant = self.value((labels, most))
        return chance_of_recall(self.value(kept), constant, labels, predicted)


@dataclass(frozen=True)
class Top1(_OfClasses):
    """The share of samples whose highest score is the right class."""

    def outcomes(self, kept: Kept) -> NDArray[np.bool_]:
        return np.asarray(kept[0] == kept[1])

    def resampled(self, kept: Kept, weights: NDArray[Any]) -> NDArray[np.float64]:
        return weighted_mean(self.outcomes(kept), weights)

    def chance(self, kept: Kept) -> Chance:
        labels, predicted = kept
        return chance_of_share(int((labels == predicted).sum()), labels, predicted)


@dataclass(frozen=True)
class TopK(_OfClasses):
    """The share of samples whose right class is among the k highest scores.

    Equal scores are taken in the order of the classes, so that k = 1 is `numpy.argmax`.
    """

    k: int = 5

    def keep(self, y_true: Any, y_pred: Any, x: Any) -> Kept:
        labels, predicted = super().keep(y_true, y_pred, x)
        flat = np.asarray(y_pred).reshape(len(labels), -1)
        if flat.shape[1] <= self.k:
            raise MetricError(
                f"{self.name} says nothing of an output of {counted(flat.shape[1], 'class')} "
                f"{np.asarray(y_pred).shape}: expected more than {self.k}"
            )
        rows = labels.astype(np.int64)[:, np.newaxis]
        own = np.take_along_axis(flat, rows, axis=1)
        earlier = np.arange(flat.shape[1]) < rows
        rank = ((flat > own) | ((flat == own) & earlier)).sum(axis=1)
        return labels, predicted, rank < self.k

    def settle(self, kept: Kept) -> Kept:
        return kept

    def outcomes(self, kept: Kept) -> NDArray[np.bool_]:
        return np.asarray(kept[2])

    def chance(self, kept: Kept) -> Chance:
        return chance_of_share(int(kept[2].sum()), kept[0], kept[1], self.k)

    def resampled(self, kept: Kept, weights: NDArray[Any]) -> NDArray[np.float64]:
        return weighted_mean(kept[2], weights)


def _totals(kept: Kept, weights: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Right, labelled and predicted samples of each class, (B, classes) each."""
    labels, predicted = kept[:2]
    classes = int(max(labels.max(), predicted.max())) + 1
    resamples = len(weights)
    row = np.arange(resamples, dtype=np.intp)[:, np.newaxis] * classes
    flat = weights.reshape(-1)

    def summed(of: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
        found = np.bincount((row + of).reshape(-1), values, resamples * classes)
        return found.reshape(resamples, classes)

    right = (weights * (labels == predicted)).reshape(-1)
    return summed(labels, right), summed(labels, flat), summed(predicted, flat)


@dataclass(frozen=True)
class MacroF1(_OfClasses):
    """The mean of the classes' F1 = 2TP / (2TP + FP + FN), over the classes in labels or outputs.

    As scikit-learn's `f1_score(average="macro")`.
    """

    def resampled(self, kept: Kept, weights: NDArray[Any]) -> NDArray[np.float64]:
        right, labelled, predicted = _totals(kept, weights)
        return _mean_over_classes(2 * right, labelled + predicted)


@dataclass(frozen=True)
class MacroRecall(_OfClasses):
    """The mean of the recalls of the classes in the labels (balanced accuracy)."""

    def resampled(self, kept: Kept, weights: NDArray[Any]) -> NDArray[np.float64]:
        right, labelled, _ = _totals(kept, weights)
        return _mean_over_classes(right, labelled)


@dataclass(frozen=True)
class WorstClassRecall(_OfClasses):
    """The lowest recall of any class in the labels."""

    def resampled(self, kept: Kept, weights: NDArray[Any]) -> NDArray[np.float64]:
        right, labelled, _ = _totals(kept, weights)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(labelled > 0, right / labelled, np.inf).min(axis=1))


def _mean_over_classes(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """The mean of part / whole over the classes whose whole is not empty; (B, classes) to (B,)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(whole > 0, part / whole, 0.0)
        return np.asarray(ratio.sum(axis=1) / (whole > 0).sum(axis=1))


@dataclass(frozen=True)
class Agreement(TaskMetric):
    """The share of samples for which a variant decides as the baseline does (argmax).

    The baseline's outputs stand in the place of labels.
    """

    share: ClassVar[bool] = True
    against_baseline: ClassVar[bool] = True
    decides: ClassVar[bool] = True

    def keep(self, y_true: Any, y_pred: Any, x: Any) -> Kept:
        theirs = np.asarray(one_output(y_true, self.name)).reshape(len(y_true), -1)
        ours = one_output(y_pred, self.name).reshape(len(theirs), -1)
        if theirs.shape != ours.shape:
            raise MetricError(
                f"agreement compares outputs of one shape, the baseline's is {theirs.shape}, the "
                f"candidate's {ours.shape}"
            )
        if theirs.shape[1] == 1:
            return theirs[:, 0], ours[:, 0]
        return narrow(theirs.argmax(axis=1)), narrow(ours.argmax(axis=1))

    def settle(self, kept: Kept) -> Kept:
        theirs, ours = kept
        if theirs.dtype.kind != "f":
            return kept
        limit = threshold_of(theirs)
        return (theirs > limit).astype(np.int16), (ours > limit).astype(np.int16)

    def outcomes(self, kept: Kept) -> NDArray[np.bool_]:
        return np.asarray(kept[0] == kept[1])

    def chance(self, kept: Kept) -> Chance | None:
        return chance_of_agreement(kept[0])

    def resampled(self, kept: Kept, weights: NDArray[Any]) -> NDArray[np.float64]:
        return weighted_mean(self.outcomes(kept), weights)


@dataclass(frozen=True)
class MeanIoU(TaskMetric):
    """Mean over classes of intersection / union of pixels, over all samples together.

    Outputs (N, ..., classes) or (N, ..., 1); labels (N, ...) integers, (N, ..., 1) or one-hot.
    Classes that stand in neither labels nor outputs don't count. Pixels with the label `ignore`
    are left out.
    """

    ignore: int | None = None
    share: ClassVar[bool] = True

    def keep(self, y_true: Any, y_pred: Any, x: Any) -> Kept:
        scores = one_output(y_pred, self.name)
        width = scores.shape[-1]
        classes = 2 if width == 1 else width
        if scores.ndim < 3:
            raise MetricError(
                f"{self.name} needs an output of pixels and classes (N, ..., classes), the "
                f"model's is {scores.shape}"
            )
        predicted = scores.argmax(axis=-1) if width > 1 else scores[..., 0]
        given = np.asarray(y_true)
        if given.shape == scores.shape and width > 1:
            given = given.argmax(axis=-1)
        elif given.shape == (*scores.shape[:-1], 1):
            given = given[..., 0]
        if given.shape != predicted.shape:
            raise DatasetError(
                f"{WHERE}: {self.name} needs labels of shape {predicted.shape}, one class a pixel, "
                f"or one-hot {scores.shape}; got {given.shape}"
            )
        labels = given.astype(np.int64).reshape(len(given), -1)
        predicted = predicted.reshape(len(given), -1)
        valid = np.ones(labels.shape, bool) if self.ignore is None else labels != self.ignore
        outside = valid & ((labels < 0) | (labels >= classes))
        if outside.any():
            raise DatasetError(
                f"{WHERE}: pixels are labelled {labels[valid].min()} to {labels[valid].max()}, the "
                f"output {scores.shape} tells {counted(classes, 'class')} apart; a label for "
                "pixels that don't count is given as mean_iou(ignore=255)"
            )
        if width == 1:
            # Of one unit, both readings are counted; which holds, the whole set tells.
            probable = ((predicted >= 0) & (predicted <= 1)).all(axis=1)
            readings = [_areas(labels, (predicted > t) * 1, valid, 2) for t in (0.5, 0.0)]
            return (*(np.stack(parts, axis=1) for parts in zip(*readings, strict=True)), probable)
        return _areas(labels, predicted, valid, classes)

    def settle(self, kept: Kept) -> Kept:
        if len(kept) == 3:
            return kept
        reading = 0 if kept[3].all() else 1
        return tuple(part[:, reading] for part in kept[:3])

    def resampled(self, kept: Kept, weights: NDArray[Any]) -> NDArray[np.float64]:
        both, labelled, predicted = (weights @ part.astype(np.float64) for part in kept)
        return _mean_over_classes(both, labelled + predicted - both)

    def details(self, kept: Kept) -> Mapping[str, float]:
        both, labelled, predicted = (part.sum(axis=0, dtype=np.float64) for part in kept)
        union = labelled + predicted - both
        return {f"iou[{c}]": float(both[c] / u) for c, u in enumerate(union) if u > 0}

    def chance(self, kept: Kept) -> Chance:
        both, labelled, predicted = (part.sum(axis=0, dtype=np.float64) for part in kept)
        return chance_of_pixels(self.value(kept), both, labelled, predicted)


def _areas(
    labels: NDArray[Any], predicted: NDArray[Any], counted: NDArray[Any], classes: int
) -> Kept:
    """Pixels of each class in both, in the labels, in the prediction: (n, classes) each."""
    count = len(labels)
    row = np.broadcast_to(np.arange(count)[:, np.newaxis], labels.shape)

    def area(values: NDArray[Any], where: NDArray[Any]) -> NDArray[np.int32]:
        cells = (row * classes + values)[where]
        found = np.bincount(cells, minlength=count * classes).reshape(count, classes)
        return found.astype(np.int32)

    return (
        area(labels, counted & (labels == predicted)),
        area(labels, counted),
        area(predicted, counted),
    )
