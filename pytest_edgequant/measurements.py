"""The measurements under the assertions: accuracy and arena of a variant, and what refuses it.

For scripts and notebooks as well: nothing here needs pytest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from pytest_edgequant import session
from pytest_edgequant.conversion.registry import VARIANTS
from pytest_edgequant.data import Dataset, load_dataset
from pytest_edgequant.errors import (
    CannotRunError,
    MeasurementUnavailable,
    NotApplicableError,
    user_facing,
)
from pytest_edgequant.measure import metrics, ops
from pytest_edgequant.pipeline import current_pipeline, load_variant
from pytest_edgequant.records import (
    AccuracyComparison,
    Arena,
    Evaluation,
    Metric,
    Target,
    Variant,
)
from pytest_edgequant.tflite.graph import read_graph

MetricLike = str | Callable[[Any, Any], float] | metrics.TaskMetric | None


def find_target(target: Target | str | None, variant: Variant | None = None) -> Target | None:
    """The target asked for, else the one that the variant carries."""
    if isinstance(target, str):
        return current_pipeline().targets.get(target)
    if target is None and variant is not None:
        return variant.target
    return target


def for_target(variant: Any, target: Target | str | None) -> tuple[Variant, Target | None]:
    """The variant as it is judged: on that target."""
    loaded = load_variant(variant)
    found = find_target(target, loaded)
    if found is not None and found is not loaded.target:
        loaded = dataclasses.replace(loaded, target=found)
    return loaded, found


def refusals(variant: Variant, target: Target) -> list[str]:
    """Why the target's runtime would refuse the variant; empty where it would run it.

    By the variant's name, by its graph, and, where the `tflite-micro` wheel is there, by what the
    interpreter itself says.
    """
    by_name = ops.variant_refused(variant.name, target) if variant.name in VARIANTS else None
    if by_name is not None and variant.name != "as_is":
        return [by_name]
    found = ops.graph_refusals(read_graph(variant.content, variant.label), target)
    if not found and target.is_microcontroller:
        try:
            current_pipeline().tflm_allocation(variant.content)
        except CannotRunError as error:
            found.append(str(error))
        except MeasurementUnavailable:
            pass
    return found


@user_facing
def measure_arena(model: Any, target: Target | str | None = None) -> Arena:
    """The tensor arena that TFLM needs for a model, in bytes.

    `model` is a Variant, a path or the bytes of a .tflite. Measured with the `tflite-micro`
    interpreter's recording allocator on x86-64 with reference kernels: the arithmetic is TFLM's
    own, pointers are twice as large as on a 32-bit device, and optimized kernels may ask for
    scratch buffers that these do not.

    Raises `CannotRunError` where TFLM refuses the model, `NotApplicableError` on a target without
    an arena, `MeasurementUnavailable` where there is no wheel for this machine.
    """
    variant, profile = for_target(model, target)
    if profile is not None and not profile.is_microcontroller:
        raise NotApplicableError(
            f"{profile.name} runs {profile.runtime}, which allocates from the heap: there is no "
            "tensor arena"
        )
    try:
        found = current_pipeline().tflm_allocation(variant.content)
    except CannotRunError as error:
        raise CannotRunError(f"{variant.label}: {error}") from None
    return Arena(
        total_bytes=found.total,
        nonpersistent_bytes=found.head,
        persistent_bytes=found.tail,
        provenance="measured (tflite-micro interpreter, x86-64, reference kernels)",
        sections=found.sections,
    )


def _kept(variants: tuple[Variant, ...], dataset: Dataset) -> Any:
    """Indices of the samples that no variant was calibrated with."""
    held: set[int] = set()
    for variant in variants:
        if variant.held_out is not None and variant.held_out.dataset == dataset.fingerprint:
            held.update(variant.held_out.indices)
    return np.asarray([i for i in range(dataset.count) if i not in held], dtype=np.int64)


def _evaluate(
    variant: Variant, dataset: Dataset, metric: metrics.TaskMetric, kept: Any
) -> Evaluation:
    outputs = [out[kept] for out in current_pipeline().predictions(variant, dataset)]
    y_pred: Any = outputs[0] if len(outputs) == 1 else outputs
    y_true = dataset.y[kept]
    value = metrics.compute(metric, y_true, y_pred, variant.label)
    outcomes = metric.outcomes(y_true, y_pred) if metric.outcomes else None
    session.record_metric(
        variant, metric.name, Metric(value, metric.unit, "measured (LiteRT on this host)")
    )
    return Evaluation(value, metric.name, len(kept), outcomes, metric.higher_is_better)


@user_facing
def evaluate(
    variant: Any, dataset: Any, *, metric: MetricLike = None, target: Target | str | None = None
) -> Evaluation:
    """What `metric` says of a variant on a dataset, run on LiteRT.

    `variant` is a Variant, or a path or the bytes of a .tflite. `dataset` is (x, y), an iterable of
    (x, y) batches, or a function that gives one. Samples that were split off for calibration are
    left out. `metric` is top-1 accuracy by default, "mae", "rmse", "r2", or a callable
    `metric(y_true, y_pred) -> float`.

    Raises `DatasetError`, `MetricError`, `CannotRunError` where LiteRT refuses the model.
    """
    variant, _ = for_target(variant, target)
    data = load_dataset(dataset)
    return _evaluate(variant, data, metrics.get_metric(metric), _kept((variant,), data))


@user_facing
def compare_accuracy(
    candidate: Any,
    baseline: Any,
    dataset: Any,
    *,
    metric: MetricLike = None,
    target: Target | str | None = None,
) -> AccuracyComparison:
    """How much worse the candidate is than the baseline, on the same samples.

    Arguments and errors as for `evaluate`.
    """
    candidate, _ = for_target(candidate, target)
    baseline = load_variant(baseline)
    data = load_dataset(dataset)
    chosen = metrics.get_metric(metric)
    kept = _kept((candidate, baseline), data)
    before = _evaluate(baseline, data, chosen, kept)
    after = _evaluate(candidate, data, chosen, kept)
    sign = 1.0 if chosen.higher_is_better else -1.0
    # Counting the changed samples is exact; the difference of two rounded shares is not.
    lost = gained = None
    drop = sign * (before.value - after.value)
    if before.outcomes is not None and after.outcomes is not None:
        lost = int((before.outcomes & ~after.outcomes).sum())
        gained = int((~before.outcomes & after.outcomes).sum())
        drop = (lost - gained) / len(kept)
    session.record_metric(
        candidate, "accuracy_drop", Metric(drop, chosen.unit, "measured (LiteRT on this host)")
    )
    return AccuracyComparison(drop, chosen.name, before.value, after.value, len(kept), lost, gained)
