"""Latency on a device, estimated from the model's operators and what was measured elsewhere.

Instructions of each operator on the target's kernels, then cycles by a rate that was fitted to
published measurements on boards with that core and kernel library. A number is given only where
its error has been checked on models, and on a chip, that were left out of the fit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pytest_edgequant.errors import MeasurementUnavailable, reading
from pytest_edgequant.measure.latency.costs import coefficients, doubt, instructions, numeric_type
from pytest_edgequant.measure.latency.features import build_of
from pytest_edgequant.measure.latency.options import (
    SIZE,
    SPEED,
    effect_on,
    factor_of,
    operator_group,
)
from pytest_edgequant.measure.latency.records import LatencyEstimate, LayerLatency
from pytest_edgequant.measure.latency.shapes import OperatorShape, operator_shape
from pytest_edgequant.names import fold
from pytest_edgequant.records import Metric, Target, Variant
from pytest_edgequant.tflite.graph import Graph, Operator
from pytest_edgequant.tflite.macs import operator_macs
from pytest_edgequant.wording import counted

_FEWEST = 3
_CONTROL_FLOW = ("IF", "WHILE")
_KERNEL_TITLES = {"cmsis-nn": "CMSIS-NN", "esp-nn": "ESP-NN", "reference": "reference kernels"}


def _title(core: str, kernels: str) -> str:
    return f"{core} with {_KERNEL_TITLES.get(kernels, kernels)}"


def _device(target: Target, uses_float: bool) -> Mapping[str, Any]:
    """The fitted cycle model of a target's core and kernel library.

    Raises `MeasurementUnavailable` where there is none.
    """
    core, title = fold(target.core), _title(target.core, target.kernels)
    without_fpu = "fpu" not in fold(target.isa) or "nofpu" in fold(target.isa)
    wanted_soft = uses_float and without_fpu
    found = [
        device
        for device in coefficients()["devices"]
        if fold(device["core"]) == core and device["kernels"] == target.kernels
    ]
    for device in found:
        if device["soft_float"] == wanted_soft:
            return device  # type: ignore[no-any-return]
    if found:
        raise MeasurementUnavailable(f"float models on {title} without an FPU were not measured")
    counts = coefficients()["measured_models"]
    count = next(
        (n for key, n in counts.items() if fold(key) == fold(f"{core}/{target.kernels}")), 0
    )
    raise MeasurementUnavailable(
        f"{title} has been measured with {counted(count, 'model')}; "
        f"{_FEWEST} are the fewest from which an error can be told"
    )


def _measured_here(device: Mapping[str, Any], target: Target) -> bool:
    """Whether the target's own chip is among the measured ones (by the part number's beginning)."""
    return any(fold(target.soc).startswith(fold(soc)) for soc in device["socs"])


def _chip_factor(device: Mapping[str, Any], target: Target) -> float:
    """How many times as long the target's own chip takes as the fit of its core has it."""
    chips: Mapping[str, float] = device["chips"]
    own = [value for soc, value in chips.items() if fold(target.soc).startswith(fold(soc))]
    return math.exp(own[0]) if own else 1.0


def _log_spread(device: Mapping[str, Any], target: Target, kind: str) -> float:
    """The logarithm of the factor that bounds the error.

    Raises `MeasurementUnavailable` for arithmetic, or a chip, whose error was not checked.
    """
    title = _title(target.core, target.kernels)
    spread = device["spread"].get(kind)
    if spread is None:
        raise MeasurementUnavailable(
            f"{kind} models on {title} have been measured with fewer than {_FEWEST} models"
        )
    if _measured_here(device, target):
        return float(spread)
    if device["board_spread"] is None:
        raise MeasurementUnavailable(
            f"{title} has been measured on {', '.join(device['socs'])} alone, so how far another "
            f"chip ({target.soc}) is from it has not been checked"
        )
    return float(spread + device["board_spread"])


@dataclass(frozen=True)
class _Layer:
    operator: Operator
    shape: OperatorShape
    kind: str
    macs: int
    instructions: float
    doubt: float
    note: str


@lru_cache(maxsize=64)
def _layers(graph: Graph, build: str) -> tuple[_Layer, ...]:
    """What each operator costs, the same on all boards of a build."""
    table = coefficients()["instructions"]
    found = []
    for operator in graph.main.operators:
        if operator.name in _CONTROL_FLOW:
            raise MeasurementUnavailable(
                f"{operator.place}: how often its subgraphs run is not known before it runs"
            )
        shape = operator_shape(graph.main, operator)
        cost = instructions(shape, build, table)
        if cost is None:
            raise MeasurementUnavailable(
                f"{operator.place} on {shape.type}: what this operator costs was never measured"
            )
        note = f"as {cost.borrowed}" if cost.borrowed else ""
        macs = operator_macs(graph.main, operator)
        found.append(
            _Layer(
                operator,
                shape,
                numeric_type(shape),
                macs,
                cost.instructions,
                doubt(cost, build),
                note,
            )
        )
    if not found:
        raise MeasurementUnavailable("the model has no operators")
    return tuple(found)


def _check_domain(device: Mapping[str, Any], layers: Sequence[_Layer], title: str) -> None:
    """Where the measured models are known by their MACs alone, only models like them count."""
    if device["macs"] is None:
        return
    least, most = device["macs"]
    total = sum(layer.macs for layer in layers)
    convolved = sum(layer.macs for layer in layers if "CONV_2D" in layer.operator.name)
    separable = any(layer.operator.name == "DEPTHWISE_CONV_2D" for layer in layers)
    if not (least <= total <= most and separable and convolved >= 0.95 * total):
        raise MeasurementUnavailable(
            f"{title} is known from depthwise-separable convolutional networks of "
            f"{least / 1e6:g} to {most / 1e6:g} million MACs alone; this model has "
            f"{total / 1e6:.3g} million"
        )


def _cycles(device: Mapping[str, Any], layers: Sequence[_Layer]) -> list[float]:
    """Cycles of each layer, without the fixed cost of an inference."""
    rates, units = device["cycles"], device["units"]
    found = []
    for layer in layers:
        unit = units.get(layer.kind)
        if unit is None:
            raise MeasurementUnavailable(
                f"{layer.operator.place}: {layer.kind} arithmetic was not measured on this core"
            )
        amount = layer.macs if unit == "macs" else layer.instructions
        call = rates.get(f"operator/{layer.kind}", rates.get("operator", 0.0))
        found.append(rates.get(layer.kind, 0.0) * amount + call)
    if device["macs"] is not None:
        # The whole is known by its MACs; the parts share it by their instructions.
        whole, parts = sum(found), sum(layer.instructions for layer in layers)
        found = [whole * layer.instructions / parts for layer in layers]
    return found


@dataclass(frozen=True)
class _Built:
    """What the options that the kernels are built with do to a model's time.

    `factors` are by group of operators, `spread` is the logarithm of their error. Where the effect
    is not known it lies between `low` and `high` times the estimate.
    """

    factors: Mapping[str, float]
    spread: float = 0.0
    high: float = 1.0
    low: float = 1.0
    text: str = ""


def _built(target: Target, layers: Sequence[_Layer], cycles: list[float], kind: str) -> _Built:
    """The effect of the target's compiler option.

    Raises `MeasurementUnavailable` for one that nothing was measured with.
    """
    option = target.optimization.value if target.optimization else None
    if option in SPEED:
        return _Built({}, text=f"kernels built with {option}")
    if option not in (None, SIZE):
        raise MeasurementUnavailable(
            f"kernels built with {option} were not measured; {SIZE} and {', '.join(SPEED)} were"
        )
    effects = coefficients()["optimization"]
    effect = effect_on(target.core, effects)
    assert effect is not None
    total = sum(cycles) or 1.0
    shares: dict[str, float] = {}
    for layer, count in zip(layers, cycles, strict=True):
        group = operator_group(layer.operator.name, layer.kind)
        shares[group] = shares.get(group, 0.0) + count / total
    factors: dict[str, float] = dict(effect["factors"])
    own = kind in effect["spread"] and fold(effect["core"]) == fold(target.core)
    worst = dict(factors)
    for group in shares:
        # Arithmetic that was not measured both ways: as int8, at worst as the worst of its like.
        of = group.split("/")[1]
        like = [f for name, f in factors.items() if name.endswith(of)]
        worst.setdefault(group, max(like, default=max(factors.values())))
        factors.setdefault(group, effect["factors"].get(f"int8/{of}", 1.0))
    factor = factor_of(factors, shares)
    spread = effect["spread"].get(kind, max(effect["spread"].values()))
    most = max(factor_of(worst, shares) * math.exp(spread), 1.0)
    if option is None:
        text = "how its kernels are built is not known: give `optimization`"
        return _Built({}, high=most, text=text)
    if own:
        text = f"kernels built with {SIZE}, {factor:.2f} times the time of ones built for speed"
        return _Built(factors, spread=spread, text=text)
    text = f"kernels built with {SIZE}, whose effect here was not measured"
    return _Built(factors, low=1 / max(factor, 1.0), high=most / factor, text=text)


def _provenance(device: Mapping[str, Any], target: Target, built: _Built) -> str:
    check = device["left_out"]
    where = "" if _measured_here(device, target) else f"; {target.soc} itself not measured"
    return (
        f"estimated ({_title(target.core, target.kernels)}, fitted to "
        f"{counted(max(device['models'].values()), 'model')} on {', '.join(device['socs'])}; "
        f"median error {check['median_error']:.1%} on models left out{where}; {built.text})"
    )


def _energy(latency: LatencyEstimate, target: Target) -> Metric:
    """Millijoules of one inference, where the chip's power was measured."""
    for entry in coefficients()["power"]:
        if fold(target.soc).startswith(fold(entry["soc"])):
            if entry["clock_hz"] != (target.clock.value if target.clock else None):
                break
            assert latency.value is not None
            assert latency.low is not None
            assert latency.high is not None
            factor = math.exp(entry["spread"])
            power = entry["watts"]
            return Metric(
                latency.value * power,
                "mJ",
                f"estimated (latency times {power * 1e3:.3g} mW, "
                f"{counted(entry['models'], 'model')} on {entry['soc']})",
                latency.low * power / factor,
                latency.high * power * factor,
            )
    return Metric.unavailable(
        "mJ", f"the power of {target.soc} at this clock has not been measured with {_FEWEST} models"
    )


def _main_kind(layers: Sequence[_Layer], cycles: list[float]) -> str:
    """The kind of arithmetic that takes most of the time."""
    totals: dict[str, float] = {}
    for layer, count in zip(layers, cycles, strict=True):
        totals[layer.kind] = totals.get(layer.kind, 0.0) + count
    return max(totals, key=lambda kind: totals[kind])


@reading("the latency estimate")
def estimate(graph: Graph, target: Target, variant: Variant | None) -> LatencyEstimate:
    """The estimate for a model on a microcontroller's processor.

    Raises `MeasurementUnavailable` with the reason where there is none.
    """
    if target.clock is None:
        raise MeasurementUnavailable(f"{target.name}: its clock is not known; give `clock`")
    uses_float = any(t.type == "FLOAT32" for t in graph.main.tensors)
    device = _device(target, uses_float)
    build = build_of(target.core, target.kernels)
    if build is None:
        raise MeasurementUnavailable(f"the kernels {target.kernels!r} have not been counted")
    layers = _layers(graph, build)
    _check_domain(device, layers, _title(target.core, target.kernels))
    fast = _cycles(device, layers)
    kind = _main_kind(layers, fast)
    built = _built(target, layers, fast, kind)
    chip = _chip_factor(device, target)
    cycles = [
        chip * count * built.factors.get(operator_group(layer.operator.name, layer.kind), 1.0)
        for layer, count in zip(layers, fast, strict=True)
    ]
    # On top of the core's error that of the operators' own costs, by their share of the time.
    doubted = sum(layer.doubt * count for layer, count in zip(layers, fast, strict=True))
    spread = math.exp(math.hypot(_log_spread(device, target, kind), built.spread))
    spread *= 1 + doubted / max(sum(fast), 1.0)
    to_ms = 1e3 / target.clock.value
    overhead = device["cycles"].get("inference", 0.0) * to_ms
    total = sum(cycles)
    value = total * to_ms + overhead
    without_energy = LatencyEstimate(
        value,
        "ms",
        _provenance(device, target, built),
        value / spread * built.low,
        value * spread * built.high,
        variant=variant,
        target=target,
        layers=tuple(
            LayerLatency(
                layer.operator.index,
                layer.operator.label,
                _output_name(graph, layer.operator),
                layer.shape.output,
                layer.macs,
                count * to_ms,
                count / total,
                layer.note,
            )
            for layer, count in zip(layers, cycles, strict=True)
        ),
        overhead_ms=overhead,
    )
    return dataclasses.replace(without_energy, energy=_energy(without_energy, target))


def estimated_kinds(target: Target) -> tuple[str, ...]:
    """The arithmetic ("float", "int16", "int8") of models that have an estimate on a processor.

    Empty where none has. One model may have none all the same: an operator that nobody measured.
    """
    option = target.optimization.value if target.optimization else None
    if target.clock is None or build_of(target.core, target.kernels) is None:
        return ()
    if option not in (None, SIZE, *SPEED):
        return ()
    found = []
    for kind in ("float", "int16", "int8"):
        with contextlib.suppress(MeasurementUnavailable):
            _log_spread(_device(target, kind == "float"), target, kind)
            found.append(kind)
    return tuple(found)


def measured_first(target: Target) -> tuple[bool, str]:
    """An order of targets: those whose own chip was measured first, then by name."""
    devices = coefficients()["devices"]
    return not any(_measured_here(device, target) for device in devices), target.name


def _output_name(graph: Graph, operator: Operator) -> str:
    return graph.main.tensors[operator.outputs[0]].name if operator.outputs else ""
