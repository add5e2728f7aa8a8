"""The assert_* helpers and the measurements under them.

Every assertion first asks whether the target's runtime can run the variant at all: one that can't
never passes. Verdicts and figures are recorded for the report before anything is raised.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from pytest_edgequant.api.memory import (
    flash_split,
    for_target,
    measure_arena,
    refusals,
    roomier_target,
    runtime_warnings,
)
from pytest_edgequant.conversion.check import float_tensors
from pytest_edgequant.errors import (
    ArenaExceeded,
    Inconclusive,
    MeasurementUnavailable,
    NotDeployable,
    NotFullyInteger,
    SettingsError,
    SizeExceeded,
    Unavailable,
    UnsupportedOperators,
    user_facing,
)
from pytest_edgequant.gate.accuracy import (
    assert_calibration_robust as assert_calibration_robust,
)
from pytest_edgequant.gate.accuracy import (
    assert_max_accuracy_drop as assert_max_accuracy_drop,
)
from pytest_edgequant.gate.accuracy import assert_runtime_parity as assert_runtime_parity
from pytest_edgequant.gate.budget import judge, over, undecided
from pytest_edgequant.gate.flash import judge_flash, judge_size, size_metrics
from pytest_edgequant.gate.latency import assert_latency_within as assert_latency_within
from pytest_edgequant.gate.latency import assert_speedup as assert_speedup
from pytest_edgequant.gate.verdicts import conclude as _raise
from pytest_edgequant.gate.verdicts import require_legal as _legal
from pytest_edgequant.measure import legality
from pytest_edgequant.measure.flash import FlashSplit
from pytest_edgequant.records import (
    Arena,
    Metric,
    Outcome,
    Target,
    Variant,
    Verdict,
)
from pytest_edgequant.results import session
from pytest_edgequant.tflite.graph import read_graph
from pytest_edgequant.units import format_bytes, parse_size_limit
from pytest_edgequant.wording import counted, facts, first_of, short


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
    parse_size_limit(max, split.at_most, f"{variant.label}: max")
    _legal("size", variant, profile)
    verdict = judge_size(variant, max, split, f"{variant.label}: max")
    _record_flash(variant, split)
    _raise(variant, verdict, SizeExceeded)


def _record_flash(variant: Variant, split: FlashSplit) -> None:
    for name, metric in size_metrics(variant, split).items():
        session.record_metric(variant, name, metric)


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
    if not target.is_microcontroller:
        return Verdict(
            "arena",
            Outcome.NOT_APPLICABLE,
            f"{variant.label}: {target.name} runs {target.runtime} and has no tensor arena limit",
        )
    left = target.sram_for_arena
    if left is None:
        return Verdict(
            "arena",
            Outcome.UNAVAILABLE,
            f"{variant.label}: arena is unavailable: the target {target.name} does not say what "
            "its firmware leaves for the arena. State it: sram_for_arena in "
            f"[tool.edgequant.targets.{target.name}]",
            brief="arena unavailable",
        )
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
        verdict = dataclasses.replace(verdict, message=f"{verdict.message}\n{advice}")
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
            f"{_size(arena.low_bytes - limit)}\n{_arena_advice(variant, target, arena, limit)}"
        )
        brief = over("arena", arena.low_bytes, limit, _size)
        return Verdict("arena", Outcome.FAIL, message, limit, arena.low_bytes, brief=brief)
    message = undecided(
        "Measure the arena on the device",
        f"{subject}: it is not known exactly: between {_size(arena.low_bytes)} and "
        f"{_size(arena.minimum_bytes)}, with a limit of {_size(limit)}, because the memory of "
        f"{names} is not known",
    )
    return Verdict("arena", Outcome.INCONCLUSIVE, message, limit, arena.minimum_bytes)


def _arena_advice(variant: Variant, target: Target, arena: Arena, limit: int) -> str:
    """Where most is alive, and what would make it fit, with the effect as computed."""
    lines = []
    if arena.peak is not None:
        largest = sorted(arena.peak.alive, key=lambda b: -b.size)[:3]
        shown = ", ".join(f"{short(b.name)} ({b.size:,} B)" for b in largest)
        lines.append(
            f"Most is alive at {arena.peak.operator}, {arena.peak.bytes:,} B: {shown}. "
            f"{arena.persistent_bytes:,} B are persistent"
        )
    unrolled = arena.unrolled()
    if unrolled:
        lines.append(f"{unrolled[0].upper()}{unrolled[1:]}")
    found = arena.suggestions()
    if found:
        ways = (
            way.told(" (then it fits)" if arena.minimum_bytes - way.bytes <= limit else "")
            for way in found
        )
        lines.append(facts("Ways out:", ways))
    roomier = roomier_target(variant, target)
    if roomier is not None:
        other, room, need = roomier
        lines.append(
            f"The smallest target that has room is {other.name}: {_size(need)} of {_size(room)}"
        )
    return "\n".join(lines)


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
        more = f" (and {counted(len(reasons) - 1, 'reason')} more)" if len(reasons) > 1 else ""
        return Verdict(
            "ops",
            Outcome.FAIL,
            facts(f"{variant.label}: {target.name} can't run the model:", reasons),
            brief=f"{target.name} can't run it: {reasons[0]}{more}",
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
        count = counted(len(found), "float tensor")
        message = facts(
            f"{variant.label}: {count}:",
            (*first_of(map(str, found)), "Use int8 (or uint8_io, int16x8)"),
        )
        brief = f"{count}, {found[0]}"
        verdict = Verdict("fully_integer", Outcome.FAIL, message, 0, len(found), brief=brief)
    else:
        verdict = Verdict("fully_integer", Outcome.PASS, f"{variant.label}: no float tensors", 0, 0)
    _raise(variant, verdict, NotFullyInteger)


# -- everything -------------------------------------------------------------------------------


@user_facing
def assert_deployable(variant: Any, target: Target | str | None = None) -> None:
    """All of the target's own limits at once: runs there, fits its flash, fits its SRAM.

    Raises `NotDeployable` listing every limit that is broken, `Inconclusive` where none is known to
    be and one may be, `CannotRun` where the runtime refuses the variant, `Unavailable` where a
    figure can't be had.
    """
    variant, profile = _on_target(variant, target)
    _legal("deployable", variant, profile)
    verdicts = [_judge_ops(variant, profile, reasons=[])]
    split = flash_split(variant, profile)
    if split.at_most is not None:
        _record_flash(variant, split)
        verdicts.append(judge_flash(variant, split, profile))
    verdicts.append(_judge_arena(variant, profile, 0))
    for verdict in verdicts:
        session.record_verdict(variant, verdict)
    _raise_deployable(f"{variant.label} is not deployable on {profile.name}:", verdicts)


def _raise_deployable(head: str, verdicts: list[Verdict]) -> None:
    """Raise for the worst of the limits, with the messages of all that did not pass."""
    order = (Outcome.FAIL, Outcome.UNAVAILABLE, Outcome.INCONCLUSIVE)
    broken, missing, unsure = ([v for v in verdicts if v.verdict is o] for o in order)
    if broken:
        # An error says what is not known beside what is broken, in its own words.
        message = facts(head, (v.message for v in (*broken, *unsure, *missing)))
        brief = "; ".join(v.brief for v in broken)
        raise NotDeployable(message, Verdict("deployable", Outcome.FAIL, message, brief=brief))
    rest = [*missing, *unsure]
    if rest:
        error = Unavailable if missing else Inconclusive
        raise error("\n  ".join(v.message for v in rest), rest[0])
