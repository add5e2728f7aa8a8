"""How much a variant's accuracy depends on which samples calibrated it: convert again and see."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.api.accuracy import compare_accuracy
from pytest_edgequant.conversion.calibration import calibration_inputs, read_calibration
from pytest_edgequant.errors import CalibrationError, SettingsError, user_facing
from pytest_edgequant.forms import get_spec
from pytest_edgequant.measure.metrics import MetricLike, get_metric
from pytest_edgequant.pipeline.current import current_pipeline
from pytest_edgequant.pipeline.request import CalibrationRequest
from pytest_edgequant.records import (
    CalibrationRobustness,
    CalibrationTrial,
    Target,
    Variant,
)
from pytest_edgequant.results import recording
from pytest_edgequant.samples.inputs import InputSpec, input_specs

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST = 10


def _whole(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SettingsError(f"{what}: expected a whole number from 1 on, got {value!r}")
    return value


def _sizes(sizes: Sequence[int] | None, available: int) -> list[int]:
    """How many samples the trials take: a quarter and a half of them where nothing is said."""
    if sizes is None:
        chosen = sorted({max(FEWEST, available // 4), max(FEWEST, available // 2)})
    else:
        chosen = [_whole(size, "sizes") for size in dict.fromkeys(sizes)]
    if not chosen or max(chosen) >= available:
        raise CalibrationError(
            f"edge_calibration: subsets of {', '.join(map(str, chosen)) or 'no'} samples can't be "
            f"drawn from {available}; give more calibration samples, or smaller sizes=[...]"
        )
    return chosen


def _draws(
    specs: Sequence[InputSpec],
    inputs: Sequence[NDArray[Any]],
    sizes: Sequence[int] | None,
    seeds: Sequence[int],
) -> Iterator[tuple[int, int, dict[str, NDArray[Any]]]]:
    """Parts of the samples with their size and seed, drawn without replacement."""
    available = len(inputs[0])
    for size in _sizes(sizes, available):
        for seed in seeds:
            order = np.random.default_rng([seed, size]).permutation(available)
            part = np.sort(order[:size])
            yield size, seed, {s.name: a[part] for s, a in zip(specs, inputs, strict=True)}


@user_facing
def calibration_robustness(
    model: Any,
    calibration: Any,
    dataset: Any,
    *,
    variant: str = "int8",
    subsets: int = 3,
    sizes: Sequence[int] | None = None,
    seed: int = 0,
    metric: MetricLike = None,
    output: str | int | None = None,
    name: str | None = None,
    target: Target | str | None = None,
    where: str = "model",
) -> CalibrationRobustness:
    """Convert with `subsets` random parts of the calibration samples for each of `sizes`.

    `model`, `calibration` and `dataset` as `convert` and `evaluate` take them. Each part is drawn
    without replacement, by a seed of its own (`seed`, `seed` + 1, ...): the same parts in every
    run. Default sizes are a quarter and a half of the samples. The drop is that against float32 on
    the same evaluation set. Every trial is a conversion, kept in the cache.

    Raises `CalibrationError` for too few samples, `SettingsError` for a variant that is not
    calibrated, and what conversion and evaluation raise.
    """
    spec = get_spec(variant)
    if not spec.calibrated:
        raise SettingsError(f"variant: {spec.name} is made without calibration; name int8 or so")
    count = _whole(subsets, "subsets")
    chosen = get_metric(metric, output)
    pipeline = current_pipeline()
    profile = pipeline.targets.get(target) if isinstance(target, str) else target

    def made(form: str, samples: Any) -> Variant:
        request = CalibrationRequest(samples=lambda: samples)
        return pipeline.variant(model, form, request, model_name=name, target=profile, where=where)

    whole = read_calibration(calibration)
    reference = made("float32", None)
    full = made(spec.name, whole)
    specs = input_specs(reference)
    inputs, _ = calibration_inputs(whole, specs)
    trials: list[CalibrationTrial] = []
    planned = count * len(_sizes(sizes, len(inputs[0])))
    shown = f"calibrating {full.label} with parts of the samples"
    with recording.unrecorded(), pipeline.progress(shown) as step:
        for size, own_seed, samples in _draws(specs, inputs, sizes, range(seed, seed + count)):
            step.at(len(trials), planned, "conversions")
            trial = dataclasses.replace(made(spec.name, samples), held_out=whole.held_out)
            found = compare_accuracy(trial, reference, dataset, metric=chosen)
            trials.append(CalibrationTrial(size, own_seed, found.drop, found.candidate))
    return CalibrationRobustness(
        full,
        chosen.name,
        found.baseline,
        chosen.share,
        tuple(trials),
        found.baseline_chance,
        found.notes,
    )
