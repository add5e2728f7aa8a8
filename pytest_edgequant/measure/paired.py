"""Candidate against baseline on the same samples: the drop, its interval, and what it proves.

- Outcomes that are right or wrong: Tango's score interval and McNemar's exact test (`proportions`).
- Other metrics: a paired bootstrap with bias correction and acceleration (BCa; B. Efron, JASA 82,
  1987, 171-185), the acceleration by a grouped jackknife. Seeded: same samples, same interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.errors import DatasetError, MeasurementUnavailable, user_facing
from pytest_edgequant.measure.confidence import DEFAULT_CONFIDENCE, check_confidence
from pytest_edgequant.measure.probability import normal_quantile, normal_share
from pytest_edgequant.measure.proportions import (
    mcnemar_exact,
    share_interval,
    smallest_detectable,
    tango_interval,
)
from pytest_edgequant.measure.scores import Score, TaskMetric
from pytest_edgequant.records import AccuracyComparison, ClassDrop
from pytest_edgequant.wording import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

TANGO = "Tango's score interval"
FEWEST_TO_RESAMPLE = 10
_CELLS = 2**21
"""Weights that are alive at once: bounds the memory of a bootstrap."""


# -- right and wrong --------------------------------------------------------------------------


def _outcomes(values: Any, name: str) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.ndim != 1 or not len(array):
        raise DatasetError(
            f"{name}: expected a boolean array of shape (N,), one a sample, got shape {array.shape}"
        )
    if array.dtype != np.bool_ and not (array.dtype.kind in "iuf" and np.isin(array, (0, 1)).all()):
        raise DatasetError(
            f"{name}: expected booleans (which samples were right), got {array.dtype}"
        )
    return array.astype(np.bool_)


@user_facing
def compare_outcomes(
    *, baseline: Any, candidate: Any, confidence: float = DEFAULT_CONFIDENCE
) -> AccuracyComparison:
    """The arithmetic of a paired comparison: which samples each of two models got right.

    `baseline` and `candidate` are boolean arrays (N,) of the same samples in the same order.
    `drop` is the baseline's share less the candidate's, `low` and `high` are Tango's score interval
    for it, `p_value` is McNemar's exact one (two-sided), `detectable` the smallest drop whose
    interval would exclude zero.

    Raises `DatasetError` for other arrays, `SettingsError` for another confidence.
    """
    level = check_confidence(confidence)
    before, after = _outcomes(baseline, "baseline"), _outcomes(candidate, "candidate")
    if len(before) != len(after):
        raise DatasetError(
            f"baseline has {counted(len(before), 'outcome')} and candidate {len(after)}; expected "
            "the same samples in the same order"
        )
    count = len(before)
    lost = int((before & ~after).sum())
    gained = int((~before & after).sum())
    low, high = tango_interval(lost, gained, count, level)
    return AccuracyComparison(
        # Counting the changed samples is exact; the difference of two rounded shares is not.
        drop=(lost - gained) / count,
        metric="accuracy",
        baseline=float(before.mean()),
        candidate=float(after.mean()),
        count=count,
        lost=lost,
        gained=gained,
        low=low,
        high=high,
        confidence=level,
        p_value=mcnemar_exact(lost, gained),
        detectable=smallest_detectable(lost, gained, count, level),
        method=TANGO,
        share=True,
    )


# -- other metrics ----------------------------------------------------------------------------


def resample_count(count: int, cheap: bool) -> int:
    """How many resamples a bootstrap takes, by the number of samples alone."""
    if cheap:
        return min(2000, max(200, 50_000_000 // count))
    return min(500, max(100, 10_000_000 // count))


def _weights(count: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Blocks (b, count): how often each sample was drawn."""
    generator = np.random.default_rng(seed)
    rows = max(1, _CELLS // count)
    for start in range(0, resamples, rows):
        taken = min(rows, resamples - start)
        drawn = generator.integers(0, count, (taken, count))
        drawn += np.arange(taken)[:, np.newaxis] * count
        found = np.bincount(drawn.reshape(-1), minlength=taken * count)
        yield found.reshape(taken, count).astype(np.float64)


def _jackknife(count: int) -> Iterator[NDArray[np.float64]]:
    """Weights that leave out one of at most 50 groups of samples each."""
    groups = min(50, count)
    position = np.random.default_rng(1).permutation(count) % groups
    for group in range(groups):
        yield (position != group).astype(np.float64)[np.newaxis]


def bootstrap_interval(
    statistic: Callable[[NDArray[Any]], NDArray[np.float64]],
    value: float,
    count: int,
    confidence: float,
    *,
    cheap: bool = True,
    seed: int = 0,
) -> tuple[float, float]:
    """The BCa interval of a statistic of `count` samples whose observed value is `value`.

    `statistic` gives (B,) for weights (B, count), NaN where it is not defined. Raises
    `MeasurementUnavailable` with the reason where there is none.
    """
    if count < FEWEST_TO_RESAMPLE:
        raise MeasurementUnavailable(
            f"{count} {'sample is' if count == 1 else 'samples are'} too few for an interval by "
            f"resampling ({FEWEST_TO_RESAMPLE} at least)"
        )
    resamples = resample_count(count, cheap)
    drawn = np.concatenate([statistic(block) for block in _weights(count, resamples, seed)])
    found = drawn[np.isfinite(drawn)]
    if len(found) < 0.9 * resamples:
        raise MeasurementUnavailable(
            f"the metric is not defined for {resamples - len(found)} of {resamples} resamples of "
            f"these {counted(count, 'sample')} (a class with too few of them?)"
        )
    tails = [0.5 - confidence / 2, 0.5 + confidence / 2]
    scale = 1e-12 * max(1.0, abs(value))
    below = float((found < value - scale).mean() + 0.5 * (np.abs(found - value) <= scale).mean())
    left_out = np.concatenate([statistic(row) for row in _jackknife(count)])
    left_out = left_out[np.isfinite(left_out)]
    spread = left_out.mean() - left_out if len(left_out) else np.zeros(1)
    squares = float(np.square(spread).sum())
    if 0 < below < 1 and squares > 0:
        acceleration = float((spread**3).sum()) / (6 * squares**1.5)
        bias = normal_quantile(below)
        shifted = [bias + normal_quantile(tail) for tail in tails]
        tails = [normal_share(bias + z / (1 - acceleration * z)) for z in shifted]
    low, high = np.quantile(found, tails)
    return min(float(low), value), max(float(high), value)


def _compare_resampled(
    metric: TaskMetric, before: Score, after: Score, confidence: float
) -> AccuracyComparison:
    """Any metric, by resampling what both scores keep of the same samples."""
    sign = 1.0 if metric.higher_is_better else -1.0
    drop = sign * (before.value - after.value)
    count = len(before.kept[0])

    own: list[NDArray[np.float64]] = []

    def drops(weights: NDArray[Any]) -> NDArray[np.float64]:
        candidates = metric.resampled(after.kept, weights)
        own.append(candidates)
        return sign * (metric.resampled(before.kept, weights) - candidates)

    low: float | None
    high: float | None
    level: tuple[float, float] | None = None
    try:
        low, high = bootstrap_interval(drops, drop, count, confidence, cheap=metric.cheap)
        resamples = resample_count(count, metric.cheap)
        drawn = np.concatenate(own)[:resamples]
        ends = np.nanquantile(drawn, [0.5 - confidence / 2, 0.5 + confidence / 2])
        level = min(float(ends[0]), after.value), max(float(ends[1]), after.value)
        method, reason = f"paired bootstrap (BCa, {resamples:,} resamples)", None
    except MeasurementUnavailable as error:
        low = high = None
        method, reason = "", str(error)
    if low is not None and high is not None and before.classes and after.classes:
        # Resampling can't see what these few samples don't show. Where hardly any changed, what
        # bounds the accuracy bounds the metric as well.
        floor = compare_outcomes(
            baseline=np.equal(*before.classes),
            candidate=np.equal(*after.classes),
            confidence=confidence,
        )
        assert floor.low is not None
        assert floor.high is not None
        low = min(low, drop - (floor.drop - floor.low))
        high = max(high, drop + (floor.high - floor.drop))
    return AccuracyComparison(
        drop=drop,
        metric=metric.name,
        baseline=before.value,
        candidate=after.value,
        count=count,
        lost=None,
        gained=None,
        low=low,
        high=high,
        confidence=confidence,
        p_value=None,
        detectable=None if low is None else drop - low,
        method=method,
        share=metric.share,
        reason=reason,
        candidate_interval=level,
    )


def _class_drops(before: Score, after: Score, confidence: float) -> tuple[ClassDrop, ...]:
    """How much of each class's recall was lost, the worst first."""
    if before.classes is None or after.classes is None:
        return ()
    labels = before.classes[0]
    right = [
        np.equal(*score.classes) if score.outcomes is None else score.outcomes
        for score in (before, after)
        if score.classes is not None
    ]
    drops = []
    for label in np.unique(labels):
        own = labels == label
        found = compare_outcomes(
            baseline=right[0][own], candidate=right[1][own], confidence=confidence
        )
        assert found.low is not None
        assert found.high is not None
        drops.append(
            ClassDrop(
                int(label),
                found.drop,
                found.baseline,
                found.candidate,
                found.count,
                found.low,
                found.high,
            )
        )
    return tuple(sorted(drops, key=lambda d: (-d.drop, d.label)))


def compare_scores(
    metric: TaskMetric,
    before: Score,
    after: Score,
    *,
    confidence: float = DEFAULT_CONFIDENCE,
    **figures: Any,
) -> AccuracyComparison:
    """The comparison of two scores of one metric on the same samples in the same order.

    `figures` are further fields of the comparison (fidelity, agreement).
    """
    from dataclasses import replace

    level = check_confidence(confidence)
    if len(before.kept[0]) != len(after.kept[0]):
        raise DatasetError(
            f"the baseline was evaluated on {counted(len(before.kept[0]), 'sample')} and the "
            f"candidate on {len(after.kept[0])}; expected the same samples"
        )
    if before.outcomes is not None and after.outcomes is not None:
        found = replace(
            compare_outcomes(baseline=before.outcomes, candidate=after.outcomes, confidence=level),
            metric=metric.name,
            baseline=before.value,
            candidate=after.value,
            candidate_interval=share_interval(
                int(after.outcomes.sum()), len(after.outcomes), level
            ),
        )
    else:
        found = _compare_resampled(metric, before, after, level)
    return replace(found, classes=_class_drops(before, after, level), **figures)
