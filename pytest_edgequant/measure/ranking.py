"""ROC-AUC of one score a sample: binary classifiers and anomaly detectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pytest_edgequant.conversion.calibration import class_labels
from pytest_edgequant.errors import DatasetError, MetricError
from pytest_edgequant.measure.chance import chance_of_ranking
from pytest_edgequant.measure.scores import WHERE, Kept, TaskMetric, one_output
from pytest_edgequant.records import Chance

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class RocAuc(TaskMetric):
    """The share of pairs of a positive and a negative sample that the score ranks rightly.

    Labels are 0 (normal) and 1 (anomaly), (N,) or one-hot (N, 2); `positive` names another class
    that counts as 1. The score is the output of one unit, the second of two, or, of an autoencoder
    (an output with as many values as the input), the mean squared error of the reconstruction;
    `score` says which where the shapes don't ("output", "reconstruction").

    `grouped`: labels are (N, 2), the label and the number of the recording that a sample is a
    window of; recordings are ranked, by the mean score of their windows (as MLPerf Tiny's anomaly
    detection does). `max_fpr` gives the partial AUC up to that false positive rate, standardized
    after McClish (1989), as scikit-learn's `roc_auc_score` does.
    """

    score: str = "auto"
    positive: int | None = None
    grouped: bool = False
    max_fpr: float | None = None
    needs_inputs: ClassVar[bool] = True
    share: ClassVar[bool] = True

    def keep(self, y_true: Any, y_pred: Any, x: Any) -> Kept:
        output = one_output(y_pred, self.name)
        count = len(output)
        given = np.asarray(y_true)
        groups: tuple[NDArray[Any], ...] = ()
        if self.grouped:
            if given.ndim != 2 or given.shape[1] != 2:
                raise DatasetError(
                    f"{WHERE}: grouped {self.name} needs labels of shape ({count}, 2), a label and "
                    f"the number of the recording; got {given.shape}"
                )
            groups = (given[:, 1].astype(np.int64),)
            given = given[:, 0]
        return self._positives(given, count), self._scores(output, x), *groups

    def _positives(self, given: NDArray[Any], count: int) -> NDArray[np.bool_]:
        labels = class_labels(given, declared=True)
        if labels is None or labels.dtype.kind in "US":
            raise MetricError(
                f"{WHERE}: {self.name} needs labels 0 (normal) and 1 (anomaly) of shape "
                f"({count},), or one-hot ({count}, 2); got {given.dtype} of shape {given.shape}"
            )
        labels = labels.astype(np.int64)
        if self.positive is not None:
            return np.asarray(labels == self.positive)
        if len(labels) and (labels.min() < 0 or labels.max() > 1):
            raise DatasetError(
                f"{WHERE}: labels range from {labels.min()} to {labels.max()}; {self.name} needs 0 "
                f"(normal) and 1 (anomaly) of shape ({count},), or roc_auc(positive=CLASS)"
            )
        return np.asarray(labels == 1)

    def _scores(self, output: NDArray[Any], x: Any) -> NDArray[np.float64]:
        flat = output.reshape(len(output), -1).astype(np.float64)
        if self.score != "reconstruction" and flat.shape[1] <= 2:
            # The difference ranks logits and probabilities alike.
            return flat[:, 0] if flat.shape[1] == 1 else flat[:, 1] - flat[:, 0]
        inputs = [np.asarray(part) for part in (x if isinstance(x, list | tuple) else [x])]
        sizes = [int(np.prod(part.shape[1:])) for part in inputs if part.ndim]
        if self.score != "output" and x is not None and sizes.count(flat.shape[1]) == 1:
            given = inputs[sizes.index(flat.shape[1])].reshape(len(flat), -1).astype(np.float64)
            return np.asarray(np.square(given - flat).mean(axis=1))
        raise MetricError(
            f"{self.name} needs one score a sample: an output of shape ({len(output)}, 1), "
            f"({len(output)}, 2), or the shape of the input (reconstruction error); the model's is "
            f"{output.shape}. Of several classes, use macro_f1 or define edge_metric"
        )

    def settle(self, kept: Kept) -> Kept:
        if not self.grouped:
            return *kept, np.argsort(kept[1], kind="stable")
        positive, scores, groups = kept
        names, position, counts = np.unique(groups, return_inverse=True, return_counts=True)
        position = position.reshape(-1)
        shares = np.bincount(position, weights=positive) / counts
        mixed = names[(shares > 0) & (shares < 1)]
        if len(mixed):
            raise DatasetError(
                f"{WHERE}: the samples of recording {mixed[0]} have different labels; {self.name} "
                "ranks recordings, which are normal or not as a whole"
            )
        means = np.bincount(position, weights=scores) / counts
        return shares > 0.5, means, np.argsort(means, kind="stable")

    def resampled(self, kept: Kept, weights: NDArray[Any]) -> NDArray[np.float64]:
        positive, scores, order = kept
        starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
        ranked = weights[:, order].astype(np.float64)
        chosen = positive[order]
        tp = np.add.reduceat(ranked * chosen, starts, axis=1)
        fp = np.add.reduceat(ranked * ~chosen, starts, axis=1)
        positives, negatives = tp.sum(axis=1), fp.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            if self.max_fpr is None:
                below = np.cumsum(fp, axis=1) - fp / 2
                return np.asarray((tp * below).sum(axis=1) / (positives * negatives))
            return self._partial(tp / positives[:, None], fp / negatives[:, None])

    def _partial(self, tp: NDArray[Any], fp: NDArray[Any]) -> NDArray[np.float64]:
        """Standardized area under each row's ROC curve up to `max_fpr`; steps by rising score."""
        limit = self.max_fpr
        assert limit is not None
        lowest = limit * limit / 2
        areas = []
        for up, right in zip(tp[:, ::-1], fp[:, ::-1], strict=True):
            y = np.concatenate([[0.0], np.cumsum(up)])
            x = np.concatenate([[0.0], np.cumsum(right)])
            if not np.isfinite(x[-1] + y[-1]):
                areas.append(np.nan)
                continue
            stop = int(np.searchsorted(x, limit, side="right"))
            end = np.interp(limit, x[stop - 1 : stop + 1], y[stop - 1 : stop + 1])
            x, y = np.append(x[:stop], limit), np.append(y[:stop], end)
            area = float(((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2).sum())
            areas.append((1 + (area - lowest) / (limit - lowest)) / 2)
        return np.asarray(areas)

    def value(self, kept: Kept) -> float:
        positive = kept[0]
        if positive.all() or not positive.any():
            raise MetricError(
                f"{WHERE}: {self.name} needs samples of both classes, all {len(positive)} labels "
                f"are {int(positive[0])}"
            )
        return super().value(kept)

    def chance(self, kept: Kept) -> Chance:
        return chance_of_ranking(self.value(kept), kept[0], kept[1])
