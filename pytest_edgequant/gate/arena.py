"""Whether a model's arena fits into SRAM, where its memory is, and what would make it fit."""

from __future__ import annotations

import dataclasses

from pytest_edgequant.api.memory import measure_arena, roomier_target
from pytest_edgequant.errors import MeasurementUnavailable, SettingsError
from pytest_edgequant.gate.verdicts import judge, over, sized, undecided
from pytest_edgequant.limits import check_bytes
from pytest_edgequant.records import Arena, Metric, Outcome, Target, Variant, Verdict
from pytest_edgequant.results import recording
from pytest_edgequant.units import parse_share, parse_size_limit
from pytest_edgequant.wording import facts, short


def judge_arena(
    variant: Variant, target: Target, headroom: str | float = 0, most: str | float | None = None
) -> Verdict:
    """Pass where the arena fits what the target leaves for it, but for `headroom`, and `most`.

    What was measured is recorded. Raises `SettingsError` for a headroom that leaves nothing.
    """
    if not target.is_microcontroller:
        return Verdict(
            "arena",
            Outcome.NOT_APPLICABLE,
            f"{variant.label}: {target.name} runs {target.runtime} and has no tensor arena limit",
        )
    left = target.sram_for_arena
    if left is None and (most is None or headroom or parse_share(most, "max") is not None):
        return Verdict(
            "arena",
            Outcome.UNAVAILABLE,
            f"{variant.label}: arena is unavailable: the target {target.name} does not say what "
            "its firmware leaves for the arena. State it: sram_for_arena in "
            f"[tool.edgequant.targets.{target.name}]",
            brief="arena unavailable",
        )
    check_bytes(headroom, "headroom")
    limit = _limit(target, headroom, most)
    subject = f"{variant.label} on {target.name}"
    try:
        arena = measure_arena(variant, target)
    except MeasurementUnavailable as error:
        metric = Metric.unavailable("bytes", str(error))
        recording.record_metric(variant, "arena_bytes", metric)
        return judge("arena", metric, limit, subject=subject, show=sized)
    metric = arena.metric()
    recording.record_metric(variant, "arena_bytes", metric)
    if arena.unknown and arena.minimum_bytes > limit:
        return _judge_bounds(variant, target, arena, limit, subject, most is None)
    verdict = judge("arena", metric, limit, subject=subject, show=sized)
    if verdict.verdict is Outcome.FAIL:
        advice = _arena_advice(variant, target, arena, limit, most is None)
        verdict = dataclasses.replace(verdict, message=f"{verdict.message}\n{advice}")
    return verdict


def _limit(target: Target, headroom: str | float, most: str | float | None) -> int:
    """The bytes that an arena may take: what is left but for the headroom, and no more than that.

    A share is one of what is left; the target says that, or `most` is a size.
    """
    left = target.sram_for_arena
    room = None if left is None else left.value
    own = []
    if most is not None:
        check_bytes(most, "max")
        own = [parse_size_limit(most, room, "max")]
    if room is None:
        return own[0]
    spare = parse_size_limit(headroom, room, "headroom")
    if spare >= room:
        raise SettingsError(
            f"headroom: {spare:,} B leaves nothing of the {room:,} B on {target.name}"
        )
    return min([room - spare, *own])


def _judge_bounds(
    variant: Variant, target: Target, arena: Arena, limit: int, subject: str, by_board: bool
) -> Verdict:
    """A need that is known only between two bounds, the upper one above the limit."""
    names = ", ".join(arena.unknown)
    if arena.low_bytes > limit:
        message = (
            f"{subject}: arena of at least {sized(arena.low_bytes)} (without the data of {names}, "
            f"which is not known) is over the limit of {sized(limit)} by "
            f"{sized(arena.low_bytes - limit)}\n"
            f"{_arena_advice(variant, target, arena, limit, by_board)}"
        )
        brief = over("arena", arena.low_bytes, limit, sized)
        return Verdict("arena", Outcome.FAIL, message, limit, arena.low_bytes, brief=brief)
    message = undecided(
        "Measure the arena on the device",
        f"{subject}: it is not known exactly: between {sized(arena.low_bytes)} and "
        f"{sized(arena.minimum_bytes)}, with a limit of {sized(limit)}, because the memory of "
        f"{names} is not known",
    )
    return Verdict("arena", Outcome.INCONCLUSIVE, message, limit, arena.minimum_bytes)


def _arena_advice(
    variant: Variant, target: Target, arena: Arena, limit: int, by_board: bool
) -> str:
    """Where most is alive, and what would make it fit, with the effect as computed.

    Another board helps where the limit is the board's own (`by_board`).
    """
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
    roomier = roomier_target(variant, target) if by_board else None
    if roomier is not None:
        other, room, need = roomier
        lines.append(
            f"The smallest target that has room is {other.name}: {sized(need)} of {sized(room)}"
        )
    return "\n".join(lines)
