"""How the compiler's options for kernels move an estimate and its interval."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from latency_fit import fit_optimization
from latency_fit.data import read_operators, read_times

import pytest_edgequant as eq
from pytest_edgequant.errors import TargetError
from pytest_edgequant.measure.latency.costs import coefficients
from pytest_edgequant.measure.latency.options import effect_on, factor_of, option_in
from pytest_edgequant.targets import Targets

LATENCY_DATA = Path(__file__).parents[4] / "benchmarks" / "latency_data"
TARGETS = Targets()

pytestmark = pytest.mark.usefixtures("pipeline")


def bounds(found: eq.LatencyEstimate) -> tuple[float, float, float]:
    assert found.low is not None
    assert found.value is not None
    assert found.high is not None
    return found.low, found.value, found.high


def test_kernels_built_for_size_take_longer(tiny: Mapping[str, Path]) -> None:
    fast = eq.estimate_latency(tiny["int8"], "nano33ble", optimization="-O2")
    slow = eq.estimate_latency(tiny["int8"], "nano33ble", optimization="-Os")
    assert all(a < b for a, b in zip(bounds(fast), bounds(slow), strict=True))
    assert bounds(slow)[2] / bounds(slow)[0] > bounds(fast)[2] / bounds(fast)[0]
    assert "kernels built with -Os" in slow.provenance
    total = sum(layer.latency_ms for layer in slow.layers) + slow.overhead_ms
    assert total == pytest.approx(slow.value)


def test_a_board_is_estimated_as_its_platform_builds(tiny: Mapping[str, Path]) -> None:
    option = TARGETS.get("nano33ble").optimization
    assert option is not None
    assert option.value == "-Os"
    assert "ArduinoCore-mbed" in option.source
    plain = eq.estimate_latency(tiny["int8"], "nano33ble")
    given = eq.estimate_latency(tiny["int8"], "nano33ble", optimization="-Os")
    assert bounds(plain) == bounds(given)


def test_where_nobody_says_how_kernels_are_built_the_interval_holds_both(
    tiny: Mapping[str, Path],
) -> None:
    for form in ("int8", "int16x8", "float32"):
        target = dataclasses.replace(TARGETS.get("nucleo-l4r5zi"), optimization=None)
        either = bounds(eq.estimate_latency(tiny[form], target))
        for option in ("-O3", "-Os"):
            one = bounds(eq.estimate_latency(tiny[form], target, optimization=option))
            # The fixed cost of an inference is the same either way: a percent of these.
            assert either[0] <= one[0] * 1.02, (form, option)
            assert either[2] >= one[2] * 0.98, (form, option)


def test_published_times_of_kernels_built_for_size_are_in_the_interval() -> None:
    """The oracle is what was measured with -Os on a board; nine of ten at least."""
    layers = read_operators(LATENCY_DATA / "operators.csv")
    table = coefficients()["instructions"]
    times = [t for t in read_times(LATENCY_DATA / "latency.csv") if t.optimization == "-Os"]
    pairs = fit_optimization.pairs(read_times(LATENCY_DATA / "latency.csv"), layers, table)
    assert len(times) >= 20
    within = 0
    for pair in pairs:
        effect = effect_on(pair.core, coefficients()["optimization"])
        assert effect is not None
        error = abs(math.log(pair.factor / factor_of(effect["factors"], pair.shares)))
        within += error <= effect["spread"][pair.type]
    assert within >= 0.9 * len(pairs)
    convolutions = [p.factor for p in pairs if p.type == "float" and p.model.startswith("CNN")]
    assert min(convolutions) > 3  # what a factor for all models alike would miss


@pytest.mark.parametrize("option", ["-O0", "-Og"])
def test_options_that_nothing_was_measured_with_give_the_reason(
    tiny: Mapping[str, Path], option: str
) -> None:
    found = eq.estimate_latency(tiny["int8"], "nano33ble", optimization=option)
    assert found.value is None
    assert f"kernels built with {option} were not measured" in found.reason


@pytest.mark.parametrize("option", ["-O4", "Os", "fast", 3])
def test_an_option_that_no_compiler_has_is_refused(tiny: Mapping[str, Path], option: Any) -> None:
    with pytest.raises(TargetError, match="optimization is one of -O0"):
        eq.estimate_latency(tiny["int8"], "nano33ble", optimization=option)
    with pytest.raises(TargetError, match=r"targets\.mine: optimization"):
        Targets({"mine": {"base": "nano33ble", "optimization": option}})


def test_a_users_target_says_how_it_is_built(tiny: Mapping[str, Path]) -> None:
    mine = Targets(
        {
            "mine": {"base": "nano33ble", "optimization": "-O3"},
            "heir": {"base": "mine", "title": "as mine"},
            "told": {"base": "nano33ble", "optimization": {"value": "-O2", "source": "my build"}},
        }
    )
    fast = bounds(eq.estimate_latency(tiny["int8"], "nano33ble", optimization="-O3"))
    for name in ("mine", "heir", "told"):
        assert bounds(eq.estimate_latency(tiny["int8"], mine.get(name))) == fast
    told = mine.get("told").optimization
    assert told is not None
    assert told.source == "my build"


@pytest.mark.parametrize(
    ("build", "option"),
    [
        ("TFLM (project zip dated 2024-09) -Os", "-Os"),
        ("TFLM (project zip dated 2024-09) -O3, soft-float (no FPU)", "-O3"),
        ("arduino:mbed_nano@4.6.0 + Chirale_TensorFLowLite@2.0.0 arduino-default", "-Os"),
        ("TFLM + CMSIS-NN @011bf32 -Ofast", "-Ofast"),
        ("-Os application, TFLM component -O3", ""),
        ("esp-tflite-micro", ""),
    ],
)
def test_what_a_build_says_of_its_options(build: str, option: str) -> None:
    assert option_in(build) == option
