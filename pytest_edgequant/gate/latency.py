"""The assert_* helpers about time: a latency against its budget, one variant against another."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from pytest_edgequant.api.convert import for_target, load_variant
from pytest_edgequant.api.latency import boards_with_estimate, measure_speedup
from pytest_edgequant.errors import (
    LatencyExceeded,
    SettingsError,
    SpeedupMissed,
    user_facing,
)
from pytest_edgequant.gate.verdicts import below, conclude, over, require_legal, undecided
from pytest_edgequant.limits import is_number
from pytest_edgequant.measure.latency.records import (
    DeviceMeasurement,
    HostMeasurement,
    LatencyEstimate,
)
from pytest_edgequant.records import Metric, Outcome, Target, Variant, Verdict
from pytest_edgequant.results import recording
from pytest_edgequant.units import format_duration, parse_duration
from pytest_edgequant.wording import shown

_MOST_BOARDS = 4


def _parts(measurement: Any) -> tuple[Metric, Variant | None, Target | None]:
    """The figure of a measurement, and what it is of."""
    if isinstance(measurement, LatencyEstimate):
        return measurement.metric, measurement.variant, measurement.target
    if isinstance(measurement, HostMeasurement | DeviceMeasurement):
        return measurement.metric, measurement.variant, measurement.target
    if isinstance(measurement, Metric) and measurement.unit == "ms":
        return measurement, None, None
    raise SettingsError(
        "assert_latency_within takes what edge_benchmark(variant), edge_device_result(variant) or "
        f"estimate_latency(variant, target) gave, not {type(measurement).__name__}"
    )


def _subject(variant: Variant | None, target: Target | None) -> str:
    name = variant.label if variant is not None else "latency"
    return f"{name} on {target.name}" if target is not None else name


def _interval(metric: Metric) -> str:
    if metric.low is None or metric.high is None:
        return metric.provenance
    low, high = format_duration(metric.low), format_duration(metric.high)
    return f"{low} to {high}; {metric.provenance}"


def _instead(measurement: Any) -> str:
    """What to do where there is no figure."""
    text = "allow_unavailable=True lets the test pass without a figure"
    if not isinstance(measurement, LatencyEstimate) or measurement.variant is None:
        return text
    if measurement.target is None or not measurement.target.is_microcontroller:
        return text
    text = (
        "Measure it on the board (edge_device_result reads --edge-device-results), or let the test "
        "pass without a figure (allow_unavailable=True)"
    )
    boards = boards_with_estimate(measurement.variant, _MOST_BOARDS)
    if not boards:
        return f"{text}. No board has an estimate of this model"
    return (
        f"{text}. Boards with an estimate of this model: {', '.join(boards)} (more in the column "
        "latency estimate of --edge-list-targets)"
    )


def _judge_latency(metric: Metric, limit: float, subject: str, instead: str = "") -> Verdict:
    """Pass where all of the interval is within the limit, fail where all of it is over.

    `instead` says what to do where there is no figure.
    """
    if metric.value is None:
        message = f"{subject}: latency is unavailable: {metric.reason}. {instead}"
        brief = "latency unavailable"
        return Verdict("latency", Outcome.UNAVAILABLE, message, limit, brief=brief)
    low = metric.value if metric.low is None else metric.low
    high = metric.value if metric.high is None else metric.high
    if metric.high is None and metric.provenance.startswith("estimated"):
        high = math.inf  # nobody has checked its error, so that it proves nothing
    figure = f"{subject}: latency {format_duration(metric.value)} ({_interval(metric)})"
    budget, brief = format_duration(limit), ""
    if high <= limit:
        outcome, message = Outcome.PASS, f"{figure} is within the limit of {budget}"
    elif low > limit:
        outcome = Outcome.FAIL
        brief = over("latency", metric.value, limit, format_duration)
        message = (
            f"{figure} is over the limit of {budget}. Use int8, fewer channels or a smaller input, "
            "or a faster target; estimate_latency(...).explain() names the dearest layers"
        )
    else:
        outcome = Outcome.INCONCLUSIVE
        reason = (
            "the error of this estimate has not been checked"
            if high == math.inf
            else f"the limit of {budget} lies inside the interval"
        )
        message = undecided(
            "Measure on the device (edge_device_result), or leave more room",
            f"{figure}: {reason}, so that neither is proven",
        )
    return Verdict("latency", outcome, message, limit, metric.value, brief=brief)


@user_facing
def assert_latency_within(measurement: Any, max: str, *, allow_unavailable: bool = False) -> None:
    """One inference takes at most `max`, such as "50 ms", by all of what is known of it.

    `measurement` is what `edge_benchmark(variant)`, `edge_device_result(variant)` or
    `estimate_latency(variant, target)` gave. It passes where its whole interval is within `max`.
    Raises `LatencyExceeded` where none of it is, `Inconclusive` where the limit lies inside the
    interval; `CannotRun` where the target refuses the variant; `Unavailable` where there is no
    number, unless `allow_unavailable`; `UnitError` for a limit without its unit.
    """
    metric, variant, target = _parts(measurement)
    subject = _subject(variant, target)
    limit = parse_duration(max, f"{subject}: max")
    if variant is not None:
        if target is not None and variant.target is not target:
            variant = dataclasses.replace(variant, target=target)
        require_legal("latency", variant, target)
    instead = _instead(measurement) if metric.value is None else ""
    verdict = _judge_latency(metric, limit, subject, instead)
    if verdict.verdict is Outcome.UNAVAILABLE and allow_unavailable:
        if variant is not None:
            recording.record_ungated(variant, verdict)
        return
    conclude(variant, verdict, LatencyExceeded)


@user_facing
def assert_speedup(
    candidate: Any,
    baseline: Any,
    at_least: float = 1.0,
    *,
    threads: int = 1,
    target: Target | str | None = None,
) -> None:
    """The candidate is at least `at_least` times as fast as the baseline, on this machine.

    Both are Variants, paths or bytes of .tflite files, run on LiteRT with batch 1. They take turns,
    so that a noisy machine slows both down: what is judged is the 95 % confidence interval of the
    median ratio. Raises `SpeedupMissed` where all of it is below `at_least`, `Inconclusive` where
    `at_least` lies inside it; `CannotRun` where the target refuses the candidate.
    """
    faster, profile = for_target(candidate, target)
    slower = load_variant(baseline)
    demanded = _ratio(at_least, f"{faster.label}: at_least")
    require_legal("speedup", faster, profile)
    metric = measure_speedup(faster, slower, threads=threads)
    recording.record_metric(faster, "speedup", metric)
    verdict = _judge_speedup(metric, demanded, f"{faster.label} against {slower.label}")
    conclude(faster, verdict, SpeedupMissed)


def _ratio(value: float, what: str) -> float:
    if not is_number(value):
        raise SettingsError(f"{what}: expected a ratio such as 1.5, got {shown(value)}")
    if not math.isfinite(value) or value <= 0:
        raise SettingsError(f"{what}: expected a ratio above 0, got {shown(value)}")
    return float(value)


def _judge_speedup(metric: Metric, demanded: float, subject: str) -> Verdict:
    assert metric.value is not None
    assert metric.low is not None
    assert metric.high is not None
    figure = (
        f"{subject}: {metric.value:.3g} times as fast ({metric.low:.3g} to {metric.high:.3g}; "
        f"{metric.provenance})"
    )
    brief = ""
    if metric.low >= demanded:
        outcome, message = Outcome.PASS, f"{figure}, at least {demanded:g} is demanded"
    elif metric.high < demanded:
        outcome = Outcome.FAIL
        brief = below("speedup", metric.value, demanded, lambda value: f"{value:.3g}")
        message = (
            f"{figure}, and {demanded:g} is demanded. Small layers gain little from int8 on this "
            "machine's kernels; what counts for a microcontroller is estimate_latency"
        )
    else:
        outcome = Outcome.INCONCLUSIVE
        message = undecided(
            "Demand less, or measure on a quieter machine",
            f"{figure}: {demanded:g} lies inside the interval, so that neither is proven",
        )
    return Verdict("speedup", outcome, message, demanded, metric.value, brief=brief)
