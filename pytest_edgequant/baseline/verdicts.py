"""Pairs of figures: how they read, and whether the second is a regression by a rule.

Figures that are computed (size, arena) are judged as they are. Task metrics are judged by paired
statistics where both runs kept how each sample fared, and both had the same samples: a drop
beyond the limit fails where the whole interval is beyond it, and is inconclusive where only the
observed drop is. Metrics without a value by sample are judged by the observed drop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pytest_edgequant.baseline.rules import Rule, parse_growth
from pytest_edgequant.errors import EdgeQuantError, MeasurementUnavailable
from pytest_edgequant.limits import parse_drop, within
from pytest_edgequant.records import Metric, Outcome
from pytest_edgequant.results.samples import Samples


def show(value: float, unit: str) -> str:
    """A figure with its unit: `26,640 B`, `98.33%`, `12.5 ms`."""
    if unit == "bytes":
        return f"{value:,.0f} B"
    if unit == "fraction":
        return f"{value:.2%}"
    return f"{value:.6g} {unit}".rstrip()


def difference(before: float, after: float, unit: str) -> str:
    """How far apart two figures are: `+4,080 B, +15.3%`, `-1.25 pt`."""
    delta = after - before
    if unit == "fraction":
        return f"{100 * delta:+.2f} pt"
    text = f"{delta:+,.0f} B" if unit == "bytes" else f"{delta:+.6g} {unit}".rstrip()
    return f"{text}, {100 * delta / abs(before):+.2f}%" if before else text


def values(before: float, after: float, unit: str) -> str:
    """Both figures and their difference, in words."""
    return (
        f"{show(before, unit)} -> {show(after, unit)} ({difference(before, after, unit)})"
        if before != after
        else f"{show(after, unit)}, unchanged"
    )


@dataclass(frozen=True)
class Finding:
    """How a pair of figures was judged; `worse` is None where the direction is not known."""

    outcome: Outcome
    why: str = ""
    low: float | None = None
    high: float | None = None


def _growth(before: float, after: float, rule: Rule, unit: str) -> Finding:
    if rule.kind == "max_ratio":
        passed = within(after, before * rule.limit)
        allowed = f"{rule.limit:g} times what it was"
    else:
        amount, share = parse_growth(rule.limit, rule.place)
        passed = within(after - before, amount * abs(before) if share else amount)
        allowed = f"{100 * amount:g}% more" if share else f"{show(amount, unit)} more"
    if passed:
        return Finding(Outcome.PASS)
    return Finding(Outcome.FAIL, f"beyond the limit of {allowed}")


def _interval(
    metric: str, before: Samples, after: Samples, drop: float, confidence: float
) -> tuple[float, float]:
    """The interval of the drop on the same samples; raises `MeasurementUnavailable`."""
    from pytest_edgequant.measure import paired

    if before.outcomes is not None and after.outcomes is not None:
        found = paired.compare_outcomes(
            baseline=before.outcomes, candidate=after.outcomes, confidence=confidence
        )
        assert found.low is not None
        assert found.high is not None
        return found.low, found.high
    if before.values is None or after.values is None:
        raise MeasurementUnavailable(f"{metric} has no value by sample")
    root = metric == "rmse"
    sign = 1.0 if after.higher_is_better else -1.0
    first, second = before.values.astype(np.float64), after.values.astype(np.float64)

    def drops(
        weights: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        total = weights.sum(axis=1)
        means = [weights @ first / total, weights @ second / total]
        if root:
            means = [np.sqrt(mean) for mean in means]
        return np.asarray(sign * (means[0] - means[1]))

    return paired.bootstrap_interval(drops, drop, len(first), confidence)


def _drop(
    name: str, before: Metric, after: Metric, samples: tuple[Samples, Samples] | None, rule: Rule
) -> Finding:
    """A task metric, or another that is limited by how far it may fall."""
    assert before.value is not None
    assert after.value is not None
    share = samples[1].share if samples else after.unit == "fraction"
    higher = samples[1].higher_is_better if samples else True
    drop = (before.value - after.value) * (1.0 if higher else -1.0)
    limit = parse_drop(rule.limit, name, share, rule.place)
    allowed = limit.of(before.value)
    shown = f"{100 * allowed:.4g} pt" if share else f"{allowed:.4g}"
    if limit.relative:
        shown += f" ({100 * limit.amount:g}% of {show(before.value, before.unit)})"
    low = high = None
    evidence = "no values by sample were kept, so the observed drop decides"
    if samples is not None:
        try:
            low, high = _interval(name, *samples, drop, rule.confidence)
        except MeasurementUnavailable as error:
            evidence = f"{error}, so the observed drop decides"
    # The interval of the drop, as one of after - before in the metric's own direction.
    bounds: tuple[float | None, float | None] = (None, None)
    if low is not None and high is not None:
        bounds = (-high, -low) if higher else (low, high)
        unit = 100 if share else 1
        evidence = (
            f"{100 * rule.confidence:g}% interval of the drop on {samples[1].count:,} "  # type: ignore[index]
            f"{'pairs' if samples[1].count != 1 else 'pair'}: "  # type: ignore[index]
            f"{unit * low:+.4g} to {unit * high:+.4g}{' pt' if share else ''}"
        )
    if within(drop, allowed):
        return Finding(Outcome.PASS, evidence if drop else "", *bounds)
    why = f"worse by more than {shown}; {evidence}"
    if low is not None and within(low, allowed):
        return Finding(Outcome.INCONCLUSIVE, why, *bounds)
    return Finding(Outcome.FAIL, why, *bounds)


def judge(
    name: str, old: Metric, new: Metric, both: tuple[Samples, Samples] | None, rule: Rule
) -> Finding:
    """By the rule, also where it is informational: whoever watches wants to know."""
    assert old.value is not None
    assert new.value is not None
    if rule.kind is None or rule.limit is None:
        return Finding(Outcome.NOT_APPLICABLE)
    try:
        if rule.kind == "max_drop":
            return _drop(name, old, new, both, rule)
        return _growth(old.value, new.value, rule, new.unit)
    except EdgeQuantError as error:
        return Finding(Outcome.FAIL, f"its rule can't be used: {error}")
