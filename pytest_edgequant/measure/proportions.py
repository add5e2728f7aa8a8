"""What counts of right and wrong prove: intervals of shares and of their paired differences.

Tango's score interval for the difference of paired proportions (T. Tango, Statistics in Medicine
17, 1998, 891-908), McNemar's exact test, and Wilson's interval of one share.
"""

from __future__ import annotations

import functools
import math

from pytest_edgequant.measure.confidence import DEFAULT_CONFIDENCE, critical_value
from pytest_edgequant.measure.probability import binomial_at_most
from pytest_edgequant.records import AccuracyComparison


def _score_variance(lost: float, gained: float, count: float, delta: float) -> float:
    """The variance of lost - gained under the hypothesis that the true drop is `delta`."""
    if delta < 0:
        return _score_variance(gained, lost, count, -delta)
    # The gained share under the hypothesis: the larger root of its likelihood's quadratic.
    a = 2.0 * count
    b = (2.0 * count - lost + gained) * delta - lost - gained
    c = -gained * delta * (1.0 - delta)
    root = math.sqrt(max(b * b - 4.0 * a * c, 0.0))
    share = -2.0 * c / (b + root) if b > 0 else (root - b) / (2.0 * a)
    return max(count * (2.0 * share + delta * (1.0 - delta)), 0.0)


def tango_statistic(lost: float, gained: float, count: float, delta: float) -> float:
    """Tango's score statistic of the hypothesis that the true drop is `delta`.

    Falls from positive to negative as `delta` grows; 0 at the observed drop. Infinite where the
    hypothesis leaves no variance.
    """
    variance = _score_variance(lost, gained, count, delta)
    difference = lost - gained - count * delta
    if variance == 0:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / math.sqrt(variance)


def tango_interval(
    lost: int, gained: int, count: int, confidence: float = DEFAULT_CONFIDENCE
) -> tuple[float, float]:
    """Tango's interval for the drop (lost - gained) / count, within -1..1."""
    upper = _tango_upper(lost, gained, count, confidence)
    lower = -_tango_upper(gained, lost, count, confidence)
    drop = (lost - gained) / count
    return min(lower, drop), max(upper, drop)


@functools.lru_cache(maxsize=4096)
def _tango_upper(lost: int, gained: int, count: int, confidence: float) -> float:
    z = critical_value(confidence)
    drop = (lost - gained) / count
    if lost == count:
        return 1.0

    def refused(delta: float) -> bool:
        spread = math.sqrt(_score_variance(lost, gained, count, delta))
        return count * delta - (lost - gained) >= z * spread

    # At the drop itself the variance can be 0: begin beside it.
    low, high = drop + 1e-12, 1.0
    if refused(low):
        return drop
    while True:
        middle = (low + high) / 2
        if not low < middle < high:
            return high
        low, high = (low, middle) if refused(middle) else (middle, high)


def mcnemar_exact(lost: int, gained: int) -> float:
    """The two-sided exact p-value of McNemar's test: a binomial test of the changed samples."""
    return min(1.0, 2 * binomial_at_most(min(lost, gained), lost + gained))


def smallest_detectable(lost: int, gained: int, count: int, confidence: float) -> float:
    """The smallest drop whose interval would lie above zero, infinite where none would.

    With as much change in the other direction as was seen here (the lesser of lost and gained).
    At delta = 0 Tango's statistic is (lost - gained) / sqrt(lost + gained).
    """
    z = critical_value(confidence)
    noise = min(lost, gained)
    # (d)^2 > z^2 (d + 2 noise) for whole d: the root, then the next whole number above it.
    least = (z * z + math.sqrt(z**4 + 8 * z * z * noise)) / 2
    drop = math.floor(least) + 1
    return drop / count if drop + 2 * noise <= count else math.inf


def samples_to_decide(comparison: AccuracyComparison, limit: float) -> int | None:
    """How many samples would put the interval on one side of `limit`, at the rates seen here.

    None where no number does: the drop is the limit itself. The width of an interval shrinks with
    the square root of the count, Tango's statistic grows with it.
    """
    if comparison.low is None or comparison.high is None:
        return None
    distance = limit - comparison.drop
    if abs(distance) <= 1e-12 * max(1.0, abs(limit)):
        return None
    if comparison.lost is not None and comparison.gained is not None:
        statistic = tango_statistic(comparison.lost, comparison.gained, comparison.count, limit)
        if statistic == 0 or not math.isfinite(statistic):
            return None
        ratio = critical_value(comparison.confidence) / abs(statistic)
    else:
        half = (
            comparison.high - comparison.drop
            if distance > 0
            else (comparison.drop - comparison.low)
        )
        ratio = half / abs(distance)
    return math.ceil(round(comparison.count * ratio * ratio, 6))


def share_interval(right: int, count: int, confidence: float) -> tuple[float, float]:
    """Wilson's score interval of a proportion (E. B. Wilson, JASA 22, 1927, 209-212)."""
    z, share = critical_value(confidence), right / count
    weight = 1 + z * z / count
    center = (share + z * z / (2 * count)) / weight
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) / weight
    return max(0.0, min(center - half, share)), min(1.0, max(center + half, share))
