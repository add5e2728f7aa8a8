"""The assertions on latency: limits, ratios, and what can't be judged."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import pytest

import pytest_edgequant as eq
from pytest_edgequant.errors import (
    SettingsError,
    UnitError,
)
from pytest_edgequant.gate.latency import _judge_speedup
from pytest_edgequant.records import Metric, Outcome
from pytest_edgequant.targets import Targets

TARGETS = Targets()

pytestmark = pytest.mark.usefixtures("pipeline")


def test_a_latency_passes_where_its_whole_interval_is_within(tiny: Mapping[str, Path]) -> None:
    found = eq.estimate_latency(tiny["int8"], "nano33ble")
    assert found.low is not None
    assert found.high is not None
    eq.assert_latency_within(found, f"{found.high * 1.001:.6f} ms")
    with pytest.raises(eq.LatencyExceeded, match="is over the limit") as over:
        eq.assert_latency_within(found, f"{found.low * 0.999:.6f} ms")
    with pytest.raises(eq.Inconclusive, match="lies inside the interval") as inside:
        eq.assert_latency_within(found, f"{found.value:.6f} ms")
    assert over.value.verdict is not None
    assert over.value.verdict.verdict is Outcome.FAIL
    assert inside.value.verdict is not None
    assert inside.value.verdict.verdict is Outcome.INCONCLUSIVE


def test_what_has_no_estimate_says_what_has_and_what_to_do(tiny: Mapping[str, Path]) -> None:
    for board in ("pico", "esp32"):
        found = eq.estimate_latency(tiny["int8"], board)
        with pytest.raises(eq.Unavailable) as caught:
            eq.assert_latency_within(found, "10 ms")
        message = str(caught.value)
        assert caught.value.brief == "latency unavailable"
        assert "edge_device_result" in message
        assert "allow_unavailable=True" in message
        assert "nano33ble, nucleo-l4r5zi" in message
        assert "--edge-list-targets" in message
    # A figure of another kind is not had from other boards.
    bare = Metric.unavailable("ms", "the timer stood still")
    with pytest.raises(eq.Unavailable) as caught:
        eq.assert_latency_within(bare, "10 ms")
    assert "allow_unavailable=True" in str(caught.value)
    assert "nano33ble" not in str(caught.value)


def test_an_unavailable_latency_never_passes_unless_the_test_says_so(
    tiny: Mapping[str, Path],
) -> None:
    found = eq.estimate_latency(tiny["int8"], "pico2")
    with pytest.raises(eq.Unavailable, match="measured with 1 model"):
        eq.assert_latency_within(found, "10 s")
    eq.assert_latency_within(found, "10 s", allow_unavailable=True)


def test_a_variant_that_the_target_refuses_never_passes(tiny: Mapping[str, Path]) -> None:
    variant = eq.convert(tiny["dynamic_range"], "dynamic_range")
    target = TARGETS.get("nano33ble")
    measured = eq.DeviceMeasurement(variant, target, Metric(1.0, "ms", "measured"), None, "")
    with pytest.raises(eq.CannotRun):
        eq.assert_latency_within(measured, "10 s")
    missing = dataclasses.replace(measured, metric=Metric.unavailable("ms", "no number"))
    with pytest.raises(eq.CannotRun):
        eq.assert_latency_within(missing, "10 s", allow_unavailable=True)


def test_a_bare_metric_is_judged_by_its_value() -> None:
    eq.assert_latency_within(Metric(5.0, "ms", "measured"), "5 ms")
    with pytest.raises(eq.LatencyExceeded):
        eq.assert_latency_within(Metric(5.0, "ms", "measured"), "4.9 ms")


@pytest.mark.parametrize("given", [5.0, "5 ms", None, Metric(5, "bytes", "exact"), object()])
def test_what_is_no_latency_is_refused(given: object) -> None:
    with pytest.raises(SettingsError, match="edge_benchmark"):
        eq.assert_latency_within(given, "5 ms")


@pytest.mark.parametrize(
    "limit", [50, 50.0, "50", "50 msec", "-5 ms", "0 ms", "", "ms", "nan ms", "5 ms 3", None, True]
)
def test_limits_without_a_clear_unit_are_refused(limit: object) -> None:
    with pytest.raises(UnitError):
        eq.assert_latency_within(Metric(1.0, "ms", "measured"), limit)  # type: ignore[arg-type]


def test_a_model_is_as_fast_as_itself(tiny: Mapping[str, Path]) -> None:
    found = eq.measure_speedup(tiny["int8"], tiny["int8"], rounds=21)
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high
    assert found.unit == "times"
    assert "interleaved, 21 rounds, 1 thread)" in found.provenance


def test_a_speedup_that_cannot_be_is_missed(tiny: Mapping[str, Path]) -> None:
    with pytest.raises(eq.SpeedupMissed, match="1000 is demanded"):
        eq.assert_speedup(tiny["int8"], tiny["int8"], at_least=1000)
    eq.assert_speedup(tiny["int8"], tiny["int8"], at_least=0.001)


def test_a_ratio_inside_the_interval_is_inconclusive() -> None:
    metric = Metric(1.5, "times", "measured", 1.4, 1.6)
    assert _judge_speedup(metric, 1.4, "x").verdict is Outcome.PASS
    assert _judge_speedup(metric, 1.5, "x").verdict is Outcome.INCONCLUSIVE
    assert _judge_speedup(metric, 1.61, "x").verdict is Outcome.FAIL


@pytest.mark.parametrize("at_least", [0, -1, math.nan, math.inf, "1.5", None, True])
def test_ratios_that_cannot_be_meant_are_refused(
    tiny: Mapping[str, Path], at_least: object
) -> None:
    with pytest.raises(SettingsError, match="at_least"):
        eq.assert_speedup(tiny["int8"], tiny["int8"], at_least=at_least)  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_threads_that_cannot_be_meant_are_refused(
    tiny: Mapping[str, Path], threads: object
) -> None:
    with pytest.raises(SettingsError, match="threads"):
        eq.measure_speedup(tiny["int8"], tiny["int8"], threads=threads)  # type: ignore[arg-type]


def test_a_speedup_on_a_target_that_refuses_the_candidate(tiny: Mapping[str, Path]) -> None:
    with pytest.raises(eq.CannotRun):
        eq.assert_speedup(tiny["float16"], tiny["float32"], 0.1, target="nano33ble")
