"""Latency: estimated for a device, or compared on this machine. Nothing here needs pytest."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from typing import Any

from pytest_edgequant.api.convert import for_target, load_variant
from pytest_edgequant.errors import (
    CannotRunError,
    MeasurementUnavailable,
    MissingExtraError,
    SettingsError,
    user_facing,
)
from pytest_edgequant.measure import legality
from pytest_edgequant.measure.latency import runner, vela
from pytest_edgequant.measure.latency.estimate import estimate, estimated_kinds, measured_first
from pytest_edgequant.measure.latency.host import check_threads, describe_host, median_interval
from pytest_edgequant.measure.latency.records import (
    DeviceMeasurement,
    HostMeasurement,
    LatencyEstimate,
    LayerLatency,
)
from pytest_edgequant.pipeline.current import current_pipeline
from pytest_edgequant.records import CompilerOption, Metric, Target, Variant
from pytest_edgequant.results import recording
from pytest_edgequant.targets import check_optimization
from pytest_edgequant.tflite.model import graph_of
from pytest_edgequant.wording import counted, facts, shown

__all__ = [
    "DeviceMeasurement",
    "HostMeasurement",
    "LatencyEstimate",
    "LayerLatency",
    "estimate_latency",
    "measure_speedup",
    "record_device",
]

_ROUNDS = 61


@user_facing
def estimate_latency(
    model: Any, target: Target | str | None = None, *, optimization: str | None = None
) -> LatencyEstimate:
    """Milliseconds of one inference on a target, with bounds and a table of layers.

    `model` is a Variant, a path or the bytes of a .tflite. Estimated from the operators and from
    published measurements on boards with the target's core and kernel library; unavailable, with
    the reason, where those are too few to tell the error, and on what is measured instead
    (Raspberry Pi and other hosts, with `edge_benchmark`). The estimate is a `Metric` (`value`,
    `low`, `high` in ms; the interval is to contain the truth nine times in ten), with `layers`,
    `energy` in mJ and `explain()`.

    `optimization` is the compiler's option that your build gives the kernels (`"-Os"`, `"-O3"`),
    in place of the target's own; where neither says it, the interval holds both.

    Raises `CannotRunError` where the target's runtime would refuse the model, `ModelError` for a
    file that can't be read, `SettingsError` without a target.
    """
    variant, profile = for_target(model, target)
    if profile is None:
        raise SettingsError(
            f"{variant.label}: an estimate needs a target; give one, such as 'nano33ble'"
        )
    if optimization is not None:
        given = check_optimization(optimization, "estimate_latency: optimization")
        option = CompilerOption(given, "estimate_latency")
        profile = dataclasses.replace(profile, optimization=option)
    found = _estimate(variant, profile)
    recording.record_metric(variant, "latency_ms", found.metric)
    if found.layers:
        recording.record_details(
            variant,
            "layers",
            (
                {
                    "name": layer.name,
                    "operator": layer.operator,
                    "macs": layer.macs,
                    "latency_ms": layer.latency_ms,
                }
                for layer in found.layers
            ),
        )
    if found.energy is not None and found.energy.value is not None:
        recording.record_metric(variant, "energy_mj", found.energy)
    return found


def _unavailable(variant: Variant, target: Target, reason: str) -> LatencyEstimate:
    return LatencyEstimate(
        None,
        "ms",
        "unavailable",
        reason=reason,
        variant=variant,
        target=target,
        energy=Metric.unavailable("mJ", reason),
    )


def _estimate(variant: Variant, target: Target) -> LatencyEstimate:
    if not target.is_microcontroller:
        return _unavailable(
            variant,
            target,
            f"{target.name} runs {target.runtime}, which is measured and not estimated: use "
            "edge_benchmark on the board itself",
        )
    graph = graph_of(variant)
    by_name = legality.variant_refused(variant.name, target)
    # What runs and computes wrong results takes its time too; the gate refuses it by itself.
    reasons = (
        [by_name]
        if by_name is not None
        else legality.graph_refusals(graph, target, wrong_results=False)
    )
    if reasons:
        raise CannotRunError(facts(f"{variant.label}: cannot run on {target.name}:", reasons))
    try:
        if vela.is_ethos_u(target):
            return vela.estimate_on_npu(variant, target, current_pipeline().isolated)
        return estimate(graph, target, variant)
    except (MeasurementUnavailable, MissingExtraError) as error:
        return _unavailable(variant, target, str(error))


def estimates_on(target: Target) -> str:
    """For which models a target has an estimate, in a word or two; empty where for none."""
    if not target.is_microcontroller:
        return ""
    if vela.is_ethos_u(target):
        return "by Vela" if target.clock is not None else ""
    return ", ".join(estimated_kinds(target))


def boards_with_estimate(variant: Variant, most: int) -> list[str]:
    """Names of microcontrollers whose latency with this model can be estimated, `most` of them.

    Those whose own chip was measured come first. NPUs are left out: asking Vela takes long.
    """
    graph = graph_of(variant)
    found: list[str] = []
    for target in sorted(current_pipeline().targets, key=measured_first):
        if not (target.is_microcontroller and estimated_kinds(target)) or vela.is_ethos_u(target):
            continue
        if legality.variant_refused(variant.name, target):
            continue
        if legality.graph_refusals(graph, target, wrong_results=False):
            continue
        with contextlib.suppress(MeasurementUnavailable):
            estimate(graph, target, variant)
            found.append(target.name)
        if len(found) == most:
            break
    return found


@user_facing
def measure_speedup(
    candidate: Any, baseline: Any, *, threads: int = 1, rounds: int = _ROUNDS
) -> Metric:
    """How many times as fast the candidate is as the baseline, on this machine, on LiteRT.

    Both are Variants, paths or bytes of .tflite files. They take turns, so that what slows the
    machine down meets both; the value is the median of the rounds' ratios, `low` and `high` its
    95 % confidence interval.

    Raises `CannotRunError` where LiteRT refuses one, `IsolatedProcessError` where it aborts.
    """
    faster, slower = load_variant(candidate), load_variant(baseline)
    check_threads(threads)
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 6:
        raise SettingsError(f"rounds: expected a whole number from 6 on, got {shown(rounds)}")
    pipeline = current_pipeline()
    with pipeline.progress(f"timing {faster.label} against {slower.label}"):
        pairs = pipeline.isolated(
            runner.interleaved, faster.content, slower.content, threads, rounds
        )
    logs = [math.log(second / first) for first, second in pairs]
    center, low, high = (math.exp(value) for value in median_interval(logs))
    used = counted(threads, "thread")
    provenance = (
        f"measured (host, interleaved, {counted(len(pairs), 'round')}, {used}): {describe_host()}"
    )
    return Metric(center, "times", provenance, low, high)


def record_device(found: DeviceMeasurement) -> DeviceMeasurement:
    """Record what a board measured for the report, and hand it on."""
    variant = dataclasses.replace(found.variant, target=found.target)
    recording.record_metric(variant, "latency_ms", found.metric)
    if found.arena_used_bytes is not None:
        arena = Metric(found.arena_used_bytes, "bytes", f"measured on device ({found.where})")
        recording.record_metric(variant, "device_arena_bytes", arena)
    return found
