"""Fitting cycles to published times, and the errors on what was left out of the fit.

Cycles of a core with a kernel library are a rate for each kind of arithmetic, times instructions
(see `fit_instructions`) or MACs, plus a cost for each operator and each inference. Which of these
few forms is taken, and how wide the interval is, follow from leaving out one model at a time.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from statistics import fmean, median
from typing import Any

import numpy as np
from scipy.stats import t as student

from latency_fit.data import CountedOperator, PublishedTime, as_variant
from latency_fit.fit_instructions import LEVEL, Rates, relative_fit
from pytest_edgequant.measure.latency.costs import Table, instructions, numeric_type
from pytest_edgequant.measure.latency.features import build_of

FEWEST = 3
"""Measured models below which a core, or a kind of arithmetic on it, is not estimated."""
_FEWEST_TO_CHOOSE = 6


# -- cycles -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """One measured model: what it does by kind of arithmetic, and the cycles that it took."""

    architecture: str
    type: str
    soc: str
    cycles: float
    work: Mapping[tuple[str, str], float]
    operators: Mapping[str, int]
    time: PublishedTime


@dataclass(frozen=True)
class Form:
    """One form of the cycle model: the unit of each kind of arithmetic, and the fixed costs.

    Those are `operator`, `operator/int8` (and so on) and `inference`.
    """

    units: Mapping[str, str]
    fixed: tuple[str, ...] = ()

    def terms(self, sample: Sample) -> dict[str, float]:
        found = {kind: sample.work.get((kind, unit), 0.0) for kind, unit in self.units.items()}
        counts = {f"operator/{kind}": float(n) for kind, n in sample.operators.items()}
        counts |= {"operator": float(sum(sample.operators.values())), "inference": 1.0}
        return found | {name: counts.get(name, 0.0) for name in self.fixed}


@dataclass
class DeviceFit:
    """The cycle model of one core with one kernel library, and how wrong it was on models left out.

    `errors` are the natural logarithms of measured over estimated. `spread` is by kind of
    arithmetic the logarithm of the factor that bounds a new model's error at `LEVEL`;
    `board_spread` that of a new board, None where one chip only was measured. `chips` are the
    logarithms of how much longer each of several chips takes than the fit has it.
    """

    core: str
    kernels: str
    soft_float: bool
    form: Form
    rates: Rates
    samples: list[Sample]
    errors: list[float]
    covered: int = 0
    judged: int = 0
    spread: dict[str, float] = field(default_factory=dict)
    models: dict[str, int] = field(default_factory=dict)
    board_spread: float | None = None
    chips: dict[str, float] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As it stands in the package's data."""
        sources = sorted({sample.time.source.split("#")[0] for sample in self.samples})
        absolute = [abs(math.expm1(-error)) for error in self.errors]
        return {
            "core": self.core,
            "kernels": self.kernels,
            "soft_float": self.soft_float,
            "socs": sorted({sample.soc for sample in self.samples}),
            "units": dict(self.form.units),
            "cycles": {name: float(f"{rate:.6g}") for name, rate in self.rates.items()},
            "models": self.models,
            "chips": {soc: round(value, 4) for soc, value in self.chips.items()},
            "spread": {kind: round(value, 4) for kind, value in self.spread.items()},
            "board_spread": None if self.board_spread is None else round(self.board_spread, 4),
            "left_out": {
                "measurements": len(absolute),
                "median_error": round(median(absolute), 4),
                "within_30_percent": round(fmean(e <= 0.3 for e in absolute), 4),
                "in_interval": round(self.covered / self.judged, 4) if self.judged else None,
            },
            "macs": _macs_range(self.samples),
            "sources": sources,
        }


def _macs_range(samples: Sequence[Sample]) -> list[int] | None:
    """Least and most MACs where models are known by their MACs alone: no further than that."""
    if any(sample.time.layers for sample in samples):
        return None
    counts = [sample.time.macs or 0 for sample in samples]
    return [min(counts), max(counts)]


def _architecture(time: PublishedTime) -> str:
    return re.sub(r"_(int8|float32)\.tflite$", "", time.layers) or time.model


def make_sample(
    time: PublishedTime, layers: Mapping[str, list[CountedOperator]], table: Table
) -> Sample | None:
    """A measurement as the cycle model sees it; None where the model's work is not known."""
    work: dict[tuple[str, str], float] = defaultdict(float)
    build = build_of(time.core, time.kernels)
    kind = "float" if time.variant == "float32" else "int8"
    kind = "int16" if time.variant.startswith("int16x8") else kind
    if not time.layers:
        if time.macs is None or build is None:
            return None
        work[kind, "macs"] = time.macs
        return Sample(_architecture(time), kind, time.soc, time.cycles, work, {}, time)
    if build is None:
        return None
    counted: dict[str, int] = defaultdict(int)
    for operator in as_variant(layers[time.layers], time.variant):
        cost = instructions(operator.shape, build, table)
        if cost is None:
            return None
        of = numeric_type(operator.shape)
        counted[of] += 1
        work[of, "instructions"] += cost.instructions
        work[of, "macs"] += operator.macs
    return Sample(_architecture(time), kind, time.soc, time.cycles, work, counted, time)


def _estimate(form: Form, rates: Rates, sample: Sample) -> float:
    return sum(rates.get(name, 0.0) * value for name, value in form.terms(sample).items())


def _fit(form: Form, samples: Sequence[Sample]) -> Rates:
    return relative_fit([form.terms(s) for s in samples], [s.cycles for s in samples])


def _left_out(
    form: Form, samples: Sequence[Sample], group: Callable[[Sample], str]
) -> list[float] | None:
    """Log of measured over estimated, each sample without its group; None where that fails."""
    errors = [0.0] * len(samples)
    for name in sorted({group(sample) for sample in samples}):
        rates = _fit(form, [s for s in samples if group(s) != name])
        for position, sample in enumerate(samples):
            if group(sample) == name:
                estimate = _estimate(form, rates, sample)
                if estimate <= 0:
                    return None
                errors[position] = math.log(sample.cycles / estimate)
    return errors


def _forms(samples: Sequence[Sample]) -> list[Form]:
    """The forms that there is data for."""
    kinds = sorted({kind for sample in samples for kind, _ in sample.work})
    layered = all(sample.time.layers for sample in samples)
    if not layered:
        return [Form(dict.fromkeys(kinds, "macs"))]
    few = len({sample.architecture for sample in samples}) < _FEWEST_TO_CHOOSE
    fixed: list[tuple[str, ...]] = [()]
    if not few:
        by_kind = tuple(f"operator/{kind}" for kind in kinds)
        fixed += [("operator",), ("operator", "inference"), (*by_kind, "inference")]
    units = ("instructions", "macs")
    choices = list(product(units, repeat=len(kinds)))
    if few:
        choices = [(unit,) * len(kinds) for unit in units]
    return [
        Form(dict(zip(kinds, chosen, strict=True)), costs) for chosen in choices for costs in fixed
    ]


def _worst(samples: Sequence[Sample], errors: Sequence[float], kind: str) -> dict[str, float]:
    """Each architecture's largest error, of one kind of arithmetic."""
    found: dict[str, float] = {}
    for sample, error in zip(samples, errors, strict=True):
        if sample.type == kind:
            found[sample.architecture] = max(found.get(sample.architecture, 0.0), abs(error))
    return found


def spread_of(scores: Sequence[float]) -> float:
    """The bound on a new model's error at `LEVEL`, from those of models that were left out.

    Split-conformal where there are enough of them (the k-th smallest, k = ceil((n + 1) LEVEL)),
    else Student's t on their root mean square.
    """
    count = len(scores)
    rank = math.ceil((count + 1) * LEVEL)
    if rank <= count:
        return sorted(scores)[rank - 1]
    scale = math.sqrt(fmean(score**2 for score in scores))
    return float(student.ppf((1 + LEVEL) / 2, count - 1) * scale * math.sqrt(1 + 1 / count))


def _board_spread(form: Form, samples: Sequence[Sample]) -> float | None:
    """What a chip that was not measured adds, from how far apart the measured ones are.

    The chips' mean errors, each estimated without that chip, as a sample of two or more: a
    prediction interval (Student's t) for the next.
    """
    socs = sorted({sample.soc for sample in samples})
    if len(socs) < 2:
        return None
    kinds = [{s.type for s in samples if s.soc == soc} for soc in socs]
    shared = set.intersection(*kinds)
    samples = [s for s in samples if s.type in shared]
    errors = []
    rates = _fit(form, samples)
    for soc in socs:
        own = [math.log(s.cycles / _estimate(form, rates, s)) for s in samples if s.soc == soc]
        errors.append(fmean(own))
    scale = float(np.std(errors, ddof=1))
    count = len(errors)
    return float(student.ppf((1 + LEVEL) / 2, count - 1) * scale * math.sqrt(1 + 1 / count))


_FEWEST_ON_A_CHIP = 2


def _chips(form: Form, rates: Rates, samples: Sequence[Sample]) -> dict[str, float]:
    """How far each chip is from the fit of all: cores are alike, flash and its waiting are not."""
    logs: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        logs[sample.soc].append(math.log(sample.cycles / _estimate(form, rates, sample)))
    if len(logs) < 2:
        return {}
    enough = {soc: own for soc, own in logs.items() if len(own) >= _FEWEST_ON_A_CHIP}
    return {soc: fmean(own) for soc, own in sorted(enough.items())}


def fit_device(samples: Sequence[Sample]) -> DeviceFit | None:
    """The cycle model of one core and kernel library; None with fewer than `FEWEST` models."""
    # Where layers are known, a model of which only the MACs are published adds nothing.
    samples = [s for s in samples if s.time.layers] or list(samples)
    counted: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        counted[sample.type].add(sample.architecture)
    enough = {kind for kind, models in counted.items() if len(models) >= FEWEST}
    kept = [sample for sample in samples if sample.type in enough]
    if not kept:
        return None
    best: tuple[float, Form, list[float]] | None = None
    for form in _forms(kept):
        errors = _left_out(form, kept, lambda sample: sample.architecture)
        if errors is not None:
            score = fmean(abs(error) for error in errors)
            if best is None or score < best[0] - 1e-9:
                best = score, form, errors
    if best is None:
        return None
    _, form, errors = best
    time = kept[0].time
    device = DeviceFit(
        time.core, time.kernels, time.soft_float, form, _fit(form, kept), kept, errors
    )
    for kind in sorted(enough):
        worst = _worst(kept, errors, kind)
        device.spread[kind] = spread_of(list(worst.values()))
        device.models[kind] = len(worst)
        for sample, error in zip(kept, errors, strict=True):
            if sample.type == kind:
                others = [v for name, v in worst.items() if name != sample.architecture]
                device.covered += len(others) > 1 and abs(error) <= spread_of(others)
                device.judged += 1
    device.board_spread = _board_spread(form, kept)
    device.chips = _chips(form, device.rates, kept)
    return device


def fit_devices(
    times: Sequence[PublishedTime],
    layers: Mapping[str, list[CountedOperator]],
    table: Table,
    slower: Callable[[PublishedTime], float] = lambda _: 1.0,
) -> list[DeviceFit]:
    """The cycle models of all cores and kernel libraries that were measured often enough.

    They are of kernels built for speed: `slower` tells how many times as long a measurement took
    for the options that its kernels were built with.
    """
    groups: dict[tuple[str, str, bool], list[Sample]] = defaultdict(list)
    for time in times:
        if time.fitted == "yes":
            sample = make_sample(time, layers, table)
            if sample is not None:
                sample = replace(sample, cycles=sample.cycles / slower(time))
                groups[time.core, time.kernels, time.soft_float].append(sample)
    fitted = (fit_device(samples) for _, samples in sorted(groups.items()))
    return [device for device in fitted if device is not None]


def measured_models(times: Sequence[PublishedTime]) -> dict[str, int]:
    """Models measured by core and kernel library, whether or not they were enough."""
    found: dict[str, set[str]] = defaultdict(set)
    for time in times:
        if time.fitted == "yes":
            found[f"{time.core}/{time.kernels}"].add(_architecture(time))
    return {key: len(models) for key, models in sorted(found.items())}


def estimated_cycles(device: DeviceFit, sample: Sample) -> float:
    """Cycles of a sample by a fit."""
    return _estimate(device.form, device.rates, sample)


def board_errors(device: DeviceFit) -> dict[str, list[float]]:
    """Relative errors on each board, estimated from others with enough models."""
    found: dict[str, list[float]] = {}
    for board in sorted({sample.time.board for sample in device.samples}):
        own = [s for s in device.samples if s.time.board == board]
        others = [s for s in device.samples if s.soc != own[0].soc]
        if len({s.architecture for s in others}) < FEWEST:
            continue
        rates = _fit(device.form, others)
        known = {kind for s in others for kind, _ in s.work}
        judged = [s for s in own if {kind for kind, _ in s.work} <= known]
        found[board] = [_estimate(device.form, rates, s) / s.cycles - 1 for s in judged]
    return {board: errors for board, errors in found.items() if errors}


def fit_power(times: Sequence[PublishedTime]) -> list[dict[str, Any]]:
    """Watts of each chip and clock on which the energy of enough models was measured."""
    groups: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    sources: dict[tuple[str, int], set[str]] = defaultdict(set)
    for time in times:
        if time.energy_uj is not None:
            key = time.soc, time.clock_hz
            groups[key][_architecture(time)] = math.log(time.energy_uj / time.latency_us)
            sources[key].add(time.source)
    found = []
    for key, logs in sorted(groups.items()):
        count = len(logs)
        if count >= FEWEST:
            scale = float(np.std(list(logs.values()), ddof=1)) * math.sqrt(1 + 1 / count)
            found.append(
                {
                    "soc": key[0],
                    "clock_hz": key[1],
                    "watts": float(f"{math.exp(fmean(logs.values())):.4g}"),
                    "models": count,
                    "spread": round(float(student.ppf((1 + LEVEL) / 2, count - 1)) * scale, 4),
                    "sources": sorted(sources[key]),
                }
            )
    return found
