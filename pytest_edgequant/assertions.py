"""The assert_* helpers and the measurements under them.

Every assertion first asks whether the target's runtime can run the variant at all: one that can't
never passes. Verdicts and figures are recorded for the report before anything is raised.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Any

from pytest_edgequant import session
from pytest_edgequant.accuracy import MetricLike, compare_accuracy, measure_runtime_parity
from pytest_edgequant.accuracy_verdicts import (
    judge_agreement,
    judge_drop,
    judge_floor,
    judge_robustness,
    judge_worst_class,
    parse_drop,
    parse_floor,
)
from pytest_edgequant.assertions_latency import assert_latency_within as assert_latency_within
from pytest_edgequant.assertions_latency import assert_speedup as assert_speedup
from pytest_edgequant.budget import judge
from pytest_edgequant.conversion.check import float_tensors
from pytest_edgequant.conversion.registry import VARIANTS
from pytest_edgequant.diagnose.advice import accuracy_drop_advice
from pytest_edgequant.diagnose.calibration_quality import calibration_quality
from pytest_edgequant.errors import (
    AccuracyDropExceeded,
    ArenaExceeded,
    CannotRunError,
    EdgeQuantError,
    Inconclusive,
    MeasurementUnavailable,
    MetricError,
    NotDeployable,
    NotFullyInteger,
    RuntimesDiffer,
    SettingsError,
    SizeExceeded,
    Unavailable,
    UnsupportedOperators,
    user_facing,
)
from pytest_edgequant.judging import conclude as _raise
from pytest_edgequant.judging import require_legal as _legal
from pytest_edgequant.measure import legality, metrics
from pytest_edgequant.measure.flash import FlashSplit
from pytest_edgequant.measure.paired import DEFAULT_CONFIDENCE, check_confidence
from pytest_edgequant.measurements import (
    flash_split,
    for_target,
    measure_arena,
    refusals,
    roomier_target,
    runtime_warnings,
)
from pytest_edgequant.pipeline import load_variant
from pytest_edgequant.records import (
    AccuracyComparison,
    Arena,
    CalibrationRobustness,
    Metric,
    Outcome,
    RuntimeParity,
    Target,
    Variant,
    Verdict,
)
from pytest_edgequant.samples import Preprocess
from pytest_edgequant.session import worst
from pytest_edgequant.tflite.graph import read_graph
from pytest_edgequant.units import format_bytes, parse_size_limit


def _on_target(variant: Any, target: Target | str | None) -> tuple[Variant, Target]:
    """The variant as it is judged on a target, which must be given or come with the variant."""
    loaded, profile = for_target(variant, target)
    if profile is None:
        raise SettingsError(
            f"{loaded.label}: this check needs a target; give one, such as 'nano33ble', or use "
            "the fixtures edge_target and edge_variant"
        )
    return loaded, profile


# -- size -------------------------------------------------------------------------------------


@user_facing
def assert_size_within(variant: Any, max: str | int, *, target: Target | str | None = None) -> None:
    """The .tflite file is at most `max`: "64 KiB", 65536, or "80%" of the flash left to a model.

    Left to a model is what the target's firmware and TFLM's code for the model's operators leave.
    `variant` is a Variant, or a path or the bytes of a .tflite. Raises `SizeExceeded`, `CannotRun`
    where the target refuses the variant, `UnitError` for a limit that can't be read.
    """
    variant, profile = for_target(variant, target)
    split = flash_split(variant, profile)
    limit = parse_size_limit(max, split.limit, f"{variant.label}: max")
    _legal("size", variant, profile)
    _raise(variant, _judge_size(variant, limit, split), SizeExceeded)


def _judge_size(variant: Variant, limit: int, split: FlashSplit) -> Verdict:
    metric = Metric(variant.size_bytes, "bytes", "exact (file size)")
    session.record_metric(variant, "size_bytes", metric)
    if split.runtime is not None:
        session.record_metric(variant, "runtime_code_bytes", split.runtime)
        if split.left is not None:
            left = Metric(split.left, "bytes", f"after TFLM's code: {split.runtime.provenance}")
            session.record_metric(variant, "flash_left_bytes", left)
    advice = split.describe() + ". " if split.limit == limit and split.describe() else ""
    advice += (
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
def assert_arena_fits(
    variant: Any, target: Target | str | None = None, *, headroom: str | int = 0
) -> None:
    """The tensor arena fits the SRAM that is left on the target, with `headroom` to spare.

    `headroom` is a size ("4 KiB", bytes) or a share of what is left ("10%"). Not applicable, and
    then neither passed nor failed, on a runtime without an arena. Where an operator's memory is not
    known, it passes if the upper bound fits, fails if what is known does not, and is inconclusive
    in between. Raises `ArenaExceeded` with ways out and their effect, `CannotRun`, and
    `Unavailable` where the arena can't be measured.
    """
    variant, profile = _on_target(variant, target)
    if profile.is_microcontroller:
        _legal("arena", variant, profile)
    _raise(variant, _judge_arena(variant, profile, headroom), ArenaExceeded)


def _judge_arena(variant: Variant, target: Target, headroom: str | int) -> Verdict:
    if target.sram_for_arena is None or not target.is_microcontroller:
        return Verdict(
            "arena",
            Outcome.NOT_APPLICABLE,
            f"{variant.label}: {target.name} runs {target.runtime} and has no tensor arena limit",
        )
    left = target.sram_for_arena
    spare = parse_size_limit(headroom, left.value, "headroom")
    limit = left.value - spare
    if limit <= 0:
        raise SettingsError(
            f"headroom: {spare:,} B leaves nothing of the {left.value:,} B on {target.name}"
        )
    subject = f"{variant.label} on {target.name}"
    try:
        arena = measure_arena(variant, target)
    except MeasurementUnavailable as error:
        metric = Metric.unavailable("bytes", str(error))
        session.record_metric(variant, "arena_bytes", metric)
        return judge("arena", metric, limit, subject=subject, show=_size)
    metric = arena.metric()
    session.record_metric(variant, "arena_bytes", metric)
    if arena.unknown and arena.minimum_bytes > limit:
        return _judge_bounds(variant, target, arena, limit, subject)
    verdict = judge("arena", metric, limit, subject=subject, show=_size)
    if verdict.verdict is Outcome.FAIL:
        advice = _arena_advice(variant, target, arena, limit)
        verdict = dataclasses.replace(verdict, message=f"{verdict.message}. {advice}")
    return verdict


def _size(value: float) -> str:
    return format_bytes(int(value))


def _judge_bounds(
    variant: Variant, target: Target, arena: Arena, limit: int, subject: str
) -> Verdict:
    """A need that is known only between two bounds, the upper one above the limit."""
    names = ", ".join(arena.unknown)
    if arena.low_bytes > limit:
        message = (
            f"{subject}: arena of at least {_size(arena.low_bytes)} (without the data of {names}, "
            f"which is not known) is over the limit of {_size(limit)} by "
            f"{_size(arena.low_bytes - limit)}. {_arena_advice(variant, target, arena, limit)}"
        )
        return Verdict("arena", Outcome.FAIL, message, limit, arena.low_bytes)
    message = (
        f"{subject}: the arena is not known exactly: between {_size(arena.low_bytes)} and "
        f"{_size(arena.minimum_bytes)}, with a limit of {_size(limit)}, because the memory of "
        f"{names} is not known. Measure it on the device"
    )
    return Verdict("arena", Outcome.INCONCLUSIVE, message, limit, arena.minimum_bytes)


def _arena_advice(variant: Variant, target: Target, arena: Arena, limit: int) -> str:
    """Where most is alive, and what would make it fit, with the effect as computed."""
    lines = []
    if arena.peak is not None:
        largest = sorted(arena.peak.alive, key=lambda b: -b.size)[:3]
        shown = ", ".join(f"{b.name} ({b.size:,} B)" for b in largest)
        lines.append(
            f"Most is alive at {arena.peak.operator}, {arena.peak.bytes:,} B: {shown}. "
            f"{arena.persistent_bytes:,} B are persistent"
        )
    found = arena.suggestions()
    if found:
        ways = (
            f"{way}{' (then it fits)' if arena.minimum_bytes - way.bytes <= limit else ''}"
            for way in found
        )
        lines.append(f"Ways out: {'; '.join(ways)}")
    roomier = roomier_target(variant, target)
    if roomier is not None:
        other, room, need = roomier
        lines.append(
            f"The smallest target that has room is {other.name}: {_size(need)} of {_size(room)}"
        )
    return ". ".join(lines)


# -- operators and types ----------------------------------------------------------------------


@user_facing
def assert_ops_supported(variant: Any, target: Target | str | None = None) -> None:
    """The target's runtime has a kernel for every operator, in the types that the model uses.

    Raises `UnsupportedOperators` naming each operator, its layer and the reason; `CannotRun` where
    the variant as such is refused.
    """
    variant, profile = _on_target(variant, target)
    if legality.variant_refused(variant.name, profile) is not None:
        _legal("ops", variant, profile)
    _raise(variant, _judge_ops(variant, profile, refusals(variant, profile)), UnsupportedOperators)
    session.record_notes(variant, runtime_warnings(variant, profile))


def _judge_ops(variant: Variant, target: Target, reasons: list[str]) -> Verdict:
    if reasons:
        return Verdict(
            "ops",
            Outcome.FAIL,
            f"{variant.label}: {target.name} can't run the model: {'; '.join(reasons)}",
        )
    return Verdict("ops", Outcome.PASS, f"{variant.label}: {target.name} runs every operator")


@user_facing
def assert_fully_integer(variant: Any) -> None:
    """No float tensor anywhere: weights, activations, inputs and outputs are integer.

    Raises `NotFullyInteger` naming the tensors and their operators.
    """
    variant, profile = for_target(variant, None)
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


@user_facing
def assert_max_accuracy_drop(
    candidate: Any,
    baseline: Any,
    dataset: Any,
    max_drop: float | str = 0.02,
    *,
    metric: MetricLike = None,
    output: str | int | None = None,
    confidence: float | None = None,
    target: Target | str | None = None,
    runtime: str | None = None,
    preprocess: Preprocess | None = None,
    min_accuracy: float | str | None = None,
    max_worst_class_drop: float | str | None = None,
    min_agreement: float | str | None = None,
) -> AccuracyComparison:
    """The candidate loses at most `max_drop` against the baseline, on the same samples.

    `max_drop` is in the metric's own unit (0.02; accuracy is a fraction, so two points), in points
    ("2 pt"), or relative to the baseline's value ("2% relative"; the baseline's own uncertainty is
    not in the interval then). By default the observed drop decides, and the message says whether
    the evidence is conclusive. `confidence=0.95` demands evidence of every limit: it passes where
    the interval is within the limit, fails where it is beyond, and is inconclusive, which raises,
    where it is neither.

    Further limits: `min_accuracy`, a floor of the candidate's own value (0.9, "90%");
    `max_worst_class_drop`, of the recall of any class; `min_agreement`, the share of samples that
    are decided as the baseline decides them. Gives the comparison. `runtime` (the candidate's) and
    `preprocess` as for `evaluate`.

    Raises `AccuracyDropExceeded` saying what to do by the size of the drop, `Inconclusive` with the
    number of samples that would decide, `Unavailable` for a metric that can't be computed,
    `CannotRun` where the target refuses the candidate, `SettingsError` for a limit that can't be
    meant.
    """
    chosen = metrics.get_metric(metric, output)
    limit = parse_drop(max_drop, chosen.name, chosen.share)
    level = DEFAULT_CONFIDENCE if confidence is None else check_confidence(confidence)
    floor = None if min_accuracy is None else parse_floor(min_accuracy, chosen, "min_accuracy")
    by_class = (
        None
        if max_worst_class_drop is None
        else parse_drop(max_worst_class_drop, "recall", True, "max_worst_class_drop")
    )
    agreement = metrics.get_metric("agreement")
    equal = (
        None if min_agreement is None else parse_floor(min_agreement, agreement, "min_agreement")
    )
    candidate, profile = for_target(candidate, target)
    _legal("accuracy_drop", candidate, profile)
    try:
        comparison = compare_accuracy(
            candidate,
            baseline,
            dataset,
            metric=chosen,
            confidence=level,
            runtime=runtime,
            preprocess=preprocess,
        )
    except MetricError as error:
        message = f"{candidate.label}: accuracy_drop is unavailable: {error}"
        verdict = Verdict("accuracy_drop", Outcome.UNAVAILABLE, message, limit.amount)
        session.record_verdict(candidate, verdict)
        raise Unavailable(message, verdict) from error
    subject, demanded = candidate.label, confidence is not None
    verdict = judge_drop(subject, comparison, limit, demanded=demanded)
    if verdict.verdict is Outcome.FAIL:
        advice = _drop_advice(candidate, baseline, comparison, dataset, preprocess)
        verdict = dataclasses.replace(verdict, message=f"{verdict.message} {advice}")
    verdicts = [verdict]
    if floor is not None:
        verdicts.append(
            judge_floor(
                subject,
                "min_accuracy",
                comparison.candidate,
                floor,
                share=chosen.share,
                what=chosen.name,
                interval=comparison.candidate_interval,
                demanded=demanded,
            )
        )
    if by_class is not None:
        verdicts.append(judge_worst_class(subject, comparison, by_class, demanded=demanded))
    if equal is not None:
        verdicts.append(judge_agreement(subject, comparison, equal, demanded=demanded))
    _raise_all(candidate, verdicts)
    return comparison


def _raise_all(variant: Variant, verdicts: list[Verdict]) -> None:
    """Record all verdicts, then raise for the worst of them, with the messages of all that fail."""
    for verdict in verdicts:
        session.record_verdict(variant, verdict)
    decided = session.worst(verdict.verdict for verdict in verdicts)
    errors = {
        Outcome.FAIL: AccuracyDropExceeded,
        Outcome.UNAVAILABLE: Unavailable,
        Outcome.INCONCLUSIVE: Inconclusive,
    }
    if decided not in errors:
        return
    broken = [verdict for verdict in verdicts if verdict.verdict in errors]
    first = next(verdict for verdict in broken if verdict.verdict is decided)
    raise errors[decided](" ".join(verdict.message for verdict in broken), first)


def _drop_advice(
    variant: Variant,
    baseline: Any,
    comparison: AccuracyComparison,
    dataset: Any,
    preprocess: Preprocess | None,
) -> str:
    """What is wrong with the calibration, as measured, and what to do by the size of the drop."""
    size = comparison.drop
    if not comparison.share:
        size /= abs(comparison.baseline or 1)
    spec = VARIANTS.get(variant.name)
    calibrated = spec is None or spec.calibrated
    sentences = [accuracy_drop_advice(size, calibrated)]
    if calibrated:
        reference = load_variant(baseline)
        try:
            found = calibration_quality(
                variant,
                None,
                dataset,
                reference=reference if reference.name == "float32" else None,
                preprocess=preprocess,
            )
            sentences += [f"Calibration: {finding}" for finding in found.findings]
        except EdgeQuantError:
            pass  # the drop is the news; a generator is used up, say, and can't be read again
    return " ".join(f"{sentence}." for sentence in sentences)


@user_facing
def assert_calibration_robust(
    robustness: CalibrationRobustness, max_drop: float | str = 0.02
) -> None:
    """The worst drop of `calibration_robustness` is at most `max_drop`.

    `max_drop` as for `assert_max_accuracy_drop`. Raises `AccuracyDropExceeded`.
    """
    limit = parse_drop(max_drop, robustness.metric, robustness.share)
    variant, worst = robustness.variant, robustness.worst
    _legal("calibration_robustness", variant, variant.target)
    session.record_metric(
        variant,
        "calibration_worst_drop",
        Metric(
            worst.drop,
            "fraction" if robustness.share else "",
            f"worst of {len(robustness.trials)} calibrations with parts of the samples",
            min(trial.drop for trial in robustness.trials),
            worst.drop,
        ),
    )
    verdict = judge_robustness(variant.label, robustness, limit)
    _raise(variant, verdict, AccuracyDropExceeded)


@user_facing
def assert_runtime_parity(
    variant: Any,
    dataset: Any,
    *,
    max_steps: float | None = None,
    max_changed: float | None = 0.01,
    target: Target | str | None = None,
    runtimes: tuple[str, str] = ("litert", "tflm"),
    preprocess: Preprocess | None = None,
) -> RuntimeParity:
    """LiteRT's and TFLM's outputs for the same samples are as good as equal.

    `max_steps` limits the largest difference of any output value, in steps of the output's scale;
    `max_changed` the share of samples with another decision (0.01 is one in a hundred). None for no
    limit. On a stratified part of the samples where all would be more than `edge_tflm_macs`.

    Raises `RuntimesDiffer`, `CannotRun` where the target refuses the variant, `Unavailable` where
    a runtime is not installed or refuses the model, `DatasetError`, `SettingsError`.
    """
    limits = {"max_steps": max_steps, "max_changed": max_changed}
    for name, limit in limits.items():
        real = isinstance(limit, numbers.Real) and not isinstance(limit, bool)
        if limit is not None and not (real and limit >= 0 and math.isfinite(limit)):
            raise SettingsError(f"{name}: expected a number of 0 or more, got {limit!r}")
    if max_changed is not None and max_changed > 1:
        raise SettingsError(f"max_changed: {max_changed!r} is more than all; 0.01 is one in 100")
    if max_steps is None and max_changed is None:
        raise SettingsError("assert_runtime_parity: give max_steps, max_changed or both")
    variant, profile = for_target(variant, target)
    _legal("runtime_parity", variant, profile)
    try:
        parity = measure_runtime_parity(variant, dataset, runtimes=runtimes, preprocess=preprocess)
    except (MeasurementUnavailable, CannotRunError, MetricError) as error:
        message = f"{variant.label}: runtime parity is unavailable: {error}"
        verdict = Verdict("runtime_parity", Outcome.UNAVAILABLE, message)
        session.record_verdict(variant, verdict)
        raise Unavailable(message, verdict) from None
    share = parity.changed / parity.count
    first, second = runtimes
    apart = (
        f"differ by up to {parity.max_steps:g} steps of the output {parity.output!r}"
        if parity.output
        else "give equal outputs"
    )
    message = (
        f"{variant.label}: {first} and {second} {apart}, with {parity.changed} of {parity.count} "
        f"decisions changed ({share:.2%})"
    )
    broken = []
    if max_steps is not None and parity.max_steps > max_steps:
        broken.append(f"allowed are {max_steps:g} steps")
    if max_changed is not None and share > max_changed:
        broken.append(f"allowed are {max_changed:.2%} changed")
    if broken:
        message += (
            f"; {' and '.join(broken)}. Judge the accuracy with runtime={second!r}, which is what "
            "ships"
        )
    outcome = Outcome.FAIL if broken else Outcome.PASS
    limit_shown = ", ".join(f"{k}={v:g}" for k, v in limits.items() if v is not None)
    verdict = Verdict("runtime_parity", outcome, message, limit_shown, parity.max_steps)
    _raise(variant, verdict, RuntimesDiffer)
    return parity


# -- everything -------------------------------------------------------------------------------


@user_facing
def assert_deployable(variant: Any, target: Target | str | None = None) -> None:
    """All of the target's own limits at once: runs there, fits its flash, fits its SRAM.

    Raises `NotDeployable` listing every limit that is broken, `CannotRun` where the runtime refuses
    the variant, `Unavailable` where a figure can't be had.
    """
    variant, profile = _on_target(variant, target)
    _legal("deployable", variant, profile)
    verdicts = [_judge_ops(variant, profile, reasons=[])]
    split = flash_split(variant, profile)
    if split.limit is not None:
        verdicts.append(_judge_size(variant, split.limit, split))
    elif split.runtime is not None:
        message = f"{variant.label}: size is unavailable: {split.runtime.reason}"
        verdicts.append(Verdict("size", Outcome.UNAVAILABLE, message))
    verdicts.append(_judge_arena(variant, profile, 0))
    for verdict in verdicts:
        session.record_verdict(variant, verdict)
    broken = [v for v in verdicts if v.verdict in (Outcome.FAIL, Outcome.INCONCLUSIVE)]
    missing = [v for v in verdicts if v.verdict is Outcome.UNAVAILABLE]
    if broken:
        message = f"{variant.label} is not deployable on {profile.name}: " + "; ".join(
            v.message for v in (*broken, *missing)
        )
        decided = worst(v.verdict for v in broken) or Outcome.FAIL
        raise NotDeployable(message, Verdict("deployable", decided, message))
    if missing:
        raise Unavailable(missing[0].message, missing[0])
