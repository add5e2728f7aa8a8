"""The assert_* helpers and the measurements under them.

Every assertion first asks whether the target's runtime can run the variant at all: one that can't
never passes. Verdicts and figures are recorded for the report before anything is raised.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pytest_edgequant import session
from pytest_edgequant.budget import judge
from pytest_edgequant.conversion.check import float_tensors
from pytest_edgequant.conversion.registry import VARIANTS
from pytest_edgequant.data import Dataset, load_dataset
from pytest_edgequant.diagnose.advice import accuracy_drop_advice
from pytest_edgequant.errors import (
    AccuracyDropExceeded,
    ArenaExceeded,
    CannotRun,
    CannotRunError,
    EdgeAssertionError,
    MeasurementUnavailable,
    NotApplicableError,
    NotDeployable,
    NotFullyInteger,
    SettingsError,
    SizeExceeded,
    Unavailable,
    UnsupportedOperators,
    user_facing,
)
from pytest_edgequant.measure import metrics, ops
from pytest_edgequant.pipeline import current_pipeline, load_variant
from pytest_edgequant.records import (
    AccuracyComparison,
    Arena,
    Evaluation,
    Metric,
    Outcome,
    Target,
    Variant,
    Verdict,
)
from pytest_edgequant.tflite.graph import read_graph
from pytest_edgequant.units import format_bytes, format_points, parse_size_limit

MetricLike = str | Callable[[Any, Any], float] | metrics.TaskMetric | None


def _target(target: Target | str | None, variant: Variant | None = None) -> Target | None:
    """The target asked for, else the one that the variant carries."""
    if isinstance(target, str):
        return current_pipeline().targets.get(target)
    if target is None and variant is not None:
        return variant.target
    return target


def _need_target(target: Target | str | None, variant: Variant) -> Target:
    found = _target(target, variant)
    if found is None:
        raise SettingsError(
            f"{variant.label}: this check needs a target; give one, such as 'nano33ble', or use "
            "the fixtures edge_target and edge_variant"
        )
    return found


def _for_target(variant: Any, target: Target | str | None) -> tuple[Variant, Target | None]:
    """The variant as it is judged: on that target."""
    import dataclasses

    loaded = load_variant(variant)
    found = _target(target, loaded)
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


def _raise(variant: Variant, verdict: Verdict, error: type[EdgeAssertionError]) -> None:
    """Record the verdict, then raise unless it lets the test go on."""
    session.record_verdict(variant, verdict)
    if verdict.verdict is Outcome.CANNOT_RUN:
        raise CannotRun(verdict.message, verdict)
    if verdict.verdict is Outcome.UNAVAILABLE:
        raise Unavailable(verdict.message, verdict)
    if verdict.verdict in (Outcome.FAIL, Outcome.INCONCLUSIVE):
        raise error(verdict.message, verdict)


def _legal(check: str, variant: Variant, target: Target | None) -> None:
    """Raise `CannotRun` where the target's runtime would refuse the variant."""
    if target is None:
        return
    reasons = refusals(variant, target)
    if reasons:
        message = f"{variant.label}: cannot run on {target.name}: {'; '.join(reasons)}"
        _raise(variant, Verdict(check, Outcome.CANNOT_RUN, message), CannotRun)


# -- size -------------------------------------------------------------------------------------


@user_facing
def assert_size_within(variant: Any, max: str | int, *, target: Target | str | None = None) -> None:
    """The .tflite file is at most `max`: "64 KiB", 65536, or "80%" of the flash left to a model.

    `variant` is a Variant, or a path or the bytes of a .tflite. Raises `SizeExceeded`, `CannotRun`
    where the target refuses the variant, `UnitError` for a limit that can't be read.
    """
    variant, profile = _for_target(variant, target)
    left = profile.flash_for_model.value if profile and profile.flash_for_model else None
    limit = parse_size_limit(max, left, f"{variant.label}: max")
    _legal("size", variant, profile)
    _raise(variant, _judge_size(variant, limit), SizeExceeded)


def _judge_size(variant: Variant, limit: int) -> Verdict:
    metric = Metric(variant.size_bytes, "bytes", "exact (file size)")
    session.record_metric(variant, "size_bytes", metric)
    advice = (
        "Quantize to int8 (about a quarter of float32)"
        if variant.name in ("float32", "float16")
        else "Use fewer channels or layers, or a target with more flash"
    )
    return judge(
        "size",
        metric,
        limit,
        subject=variant.label,
        show=lambda v: format_bytes(int(v)),
        advice=advice,
    )


# -- arena ------------------------------------------------------------------------------------


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
    variant, profile = _for_target(model, target)
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


@user_facing
def assert_arena_fits(
    variant: Any, target: Target | str | None = None, *, headroom: str | int = 0
) -> None:
    """The tensor arena fits the SRAM that is left on the target, with `headroom` to spare.

    `headroom` is a size ("4 KiB", bytes) or a share of what is left ("10%"). Not applicable, and
    then neither passed nor failed, on a runtime without an arena. Raises `ArenaExceeded`,
    `CannotRun`, and `Unavailable` where the arena can't be measured.
    """
    loaded = load_variant(variant)
    variant, profile = _for_target(loaded, _need_target(target, loaded))
    assert profile is not None
    left = profile.sram_for_arena.value if profile.sram_for_arena else None
    spare = parse_size_limit(headroom, left, "headroom")
    if profile.is_microcontroller:
        _legal("arena", variant, profile)
    _raise(variant, _judge_arena(variant, profile, spare), ArenaExceeded)


def _judge_arena(variant: Variant, target: Target, headroom: int) -> Verdict:
    if target.sram_for_arena is None or not target.is_microcontroller:
        return Verdict(
            "arena",
            Outcome.NOT_APPLICABLE,
            f"{variant.label}: {target.name} runs {target.runtime} and has no tensor arena limit",
        )
    left = target.sram_for_arena
    limit = left.value - headroom
    if limit <= 0:
        raise SettingsError(
            f"headroom: {headroom:,} B leaves nothing of the {left.value:,} B on {target.name}"
        )
    try:
        arena = measure_arena(variant, target)
        metric = Metric(arena.total_bytes, "bytes", arena.provenance)
    except MeasurementUnavailable as error:
        metric = Metric.unavailable("bytes", str(error))
    session.record_metric(variant, "arena_bytes", metric)
    return judge(
        "arena",
        metric,
        limit,
        subject=f"{variant.label} on {target.name}",
        show=lambda v: format_bytes(int(v)),
        advice=(
            "The largest activations decide: use int8 instead of float32 or int16x8, fewer "
            "channels or a smaller input, or a target with more SRAM"
        ),
    )


# -- operators and types ----------------------------------------------------------------------


@user_facing
def assert_ops_supported(variant: Any, target: Target | str | None = None) -> None:
    """The target's runtime has a kernel for every operator, in the types that the model uses.

    Raises `UnsupportedOperators` naming each operator, its layer and the reason; `CannotRun` where
    the variant as such is refused.
    """
    loaded = load_variant(variant)
    variant, profile = _for_target(loaded, _need_target(target, loaded))
    assert profile is not None
    by_name = ops.variant_refused(variant.name, profile) if variant.name in VARIANTS else None
    if by_name is not None:
        _legal("ops", variant, profile)
    _raise(variant, _judge_ops(variant, profile), UnsupportedOperators)


def _judge_ops(variant: Variant, target: Target) -> Verdict:
    reasons = refusals(variant, target)
    if reasons:
        return Verdict(
            "ops",
            Outcome.FAIL,
            f"{variant.label}: {target.name} can't run {len(reasons)} "
            f"{'part' if len(reasons) == 1 else 'parts'} of the model: {'; '.join(reasons)}",
        )
    return Verdict("ops", Outcome.PASS, f"{variant.label}: {target.name} runs every operator")


@user_facing
def assert_fully_integer(variant: Any) -> None:
    """No float tensor anywhere: weights, activations, inputs and outputs are integer.

    Raises `NotFullyInteger` naming the tensors and their operators.
    """
    variant, profile = _for_target(variant, None)
    _legal("fully_integer", variant, profile)
    found = float_tensors(read_graph(variant.content, variant.label))
    if found:
        shown = ", ".join(map(str, found[:6])) + (", ..." if len(found) > 6 else "")
        verdict = Verdict(
            "fully_integer",
            Outcome.FAIL,
            f"{variant.label}: {len(found)} float tensors: {shown}. "
            "Use int8 (or uint8_io, int16x8)",
            0,
            len(found),
        )
    else:
        verdict = Verdict("fully_integer", Outcome.PASS, f"{variant.label}: no float tensors", 0, 0)
    _raise(variant, verdict, NotFullyInteger)


# -- accuracy ---------------------------------------------------------------------------------


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
    variant, _ = _for_target(variant, target)
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
    candidate, _ = _for_target(candidate, target)
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


@user_facing
def assert_max_accuracy_drop(
    candidate: Any,
    baseline: Any,
    dataset: Any,
    max_drop: float,
    *,
    metric: MetricLike = None,
    target: Target | str | None = None,
) -> None:
    """The candidate loses at most `max_drop` against the baseline, on the same samples.

    `max_drop` is in the metric's own unit: for accuracy a fraction, 0.02 are two points. Raises
    `AccuracyDropExceeded` saying what to do by the size of the drop, `CannotRun` where the target
    refuses the candidate, `SettingsError` for a limit that can't be meant.
    """
    chosen = metrics.get_metric(metric)
    limit = _max_drop(max_drop, chosen)
    candidate, profile = _for_target(candidate, target)
    _legal("accuracy_drop", candidate, profile)
    comparison = compare_accuracy(candidate, baseline, dataset, metric=chosen)
    _raise(candidate, _judge_drop(candidate, comparison, limit), AccuracyDropExceeded)


def _max_drop(max_drop: object, metric: metrics.TaskMetric) -> float:
    if isinstance(max_drop, bool) or not isinstance(max_drop, int | float):
        raise SettingsError(f"max_drop: expected a number such as 0.02, got {max_drop!r}")
    if not math.isfinite(max_drop) or max_drop < 0:
        raise SettingsError(f"max_drop: expected a number of 0 or more, got {max_drop!r}")
    if metric.outcomes is not None and max_drop > 1:
        raise SettingsError(
            f"max_drop: {max_drop!r} is more than everything; {metric.name} is a fraction, so two "
            "points are 0.02"
        )
    return float(max_drop)


def _judge_drop(variant: Variant, comparison: AccuracyComparison, limit: float) -> Verdict:
    # A drop of exactly the limit passes, whatever the last binary digit of either says.
    passed = comparison.drop <= limit or math.isclose(comparison.drop, limit, rel_tol=1e-9)
    counted = comparison.lost is not None
    show: Callable[[float], str] = format_points if counted else lambda v: f"{v:.6g}"
    values = (
        f"{comparison.baseline:.2%} -> {comparison.candidate:.2%}"
        if counted
        else f"{comparison.baseline:.6g} -> {comparison.candidate:.6g}"
    )
    message = (
        f"{variant.label}: {comparison.metric} {values} on {comparison.count} samples, a drop of "
        f"{show(comparison.drop)}; allowed are {show(limit)}"
    )
    if counted:
        message += f" ({comparison.lost} samples lost, {comparison.gained} gained)"
    if not passed:
        relative = comparison.drop if counted else comparison.drop / abs(comparison.baseline or 1)
        spec = VARIANTS.get(variant.name)
        message += f". {accuracy_drop_advice(relative, spec is None or spec.calibrated)}"
    return Verdict(
        "accuracy_drop",
        Outcome.PASS if passed else Outcome.FAIL,
        message,
        limit,
        comparison.drop,
    )


# -- everything -------------------------------------------------------------------------------


@user_facing
def assert_deployable(variant: Any, target: Target | str | None = None) -> None:
    """All of the target's own limits at once: runs there, fits its flash, fits its SRAM.

    Raises `NotDeployable` listing every limit that is broken, `CannotRun` where the runtime refuses
    the variant, `Unavailable` where a figure can't be had.
    """
    loaded = load_variant(variant)
    variant, profile = _for_target(loaded, _need_target(target, loaded))
    assert profile is not None
    _legal("deployable", variant, profile)
    verdicts = [_judge_ops(variant, profile)]
    if profile.flash_for_model is not None:
        verdicts.append(_judge_size(variant, profile.flash_for_model.value))
    verdicts.append(_judge_arena(variant, profile, 0))
    for verdict in verdicts:
        session.record_verdict(variant, verdict)
    broken = [v for v in verdicts if v.verdict is Outcome.FAIL]
    missing = [v for v in verdicts if v.verdict is Outcome.UNAVAILABLE]
    if broken:
        message = f"{variant.label} is not deployable on {profile.name}: " + "; ".join(
            v.message for v in (*broken, *missing)
        )
        raise NotDeployable(message, Verdict("deployable", Outcome.FAIL, message))
    if missing:
        raise Unavailable(missing[0].message, missing[0])
