"""The verdicts of many boards at a glance: targets by variants, and the smallest that will do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pytest_edgequant.forms import VARIANTS
from pytest_edgequant.records import Outcome, Result, Target
from pytest_edgequant.report.overview import WORDS, noted, tone, verdict_text
from pytest_edgequant.results.standing import Standing, Standings
from pytest_edgequant.units import format_size

_WORDS = {
    **WORDS,
    Outcome.CANNOT_RUN: "cannot run",
    Outcome.INCONCLUSIVE: "inconclusive",
    Outcome.UNAVAILABLE: "unavailable",
}
_SHOWN = 3


def room(target: Target) -> tuple[float, float, str]:
    """What boards are ordered by: SRAM for the arena, then flash for the model; no limit last."""
    flash = target.flash_for_model or target.flash_after_firmware
    infinite = float("inf")
    return (
        target.sram_for_arena.value if target.sram_for_arena else infinite,
        flash.value if flash else infinite,
        target.name,
    )


def _cell(standing: Standing | None) -> str:
    return "-" if standing is None else verdict_text(standing, _WORDS)


def _described(targets: list[Target]) -> str:
    shown = ", ".join(
        f"{t.name} ({format_size(t.sram_for_arena.value)} for the arena)"
        if t.sram_for_arena
        else t.name
        for t in targets[:_SHOWN]
    )
    more = len(targets) - _SHOWN
    return f"{shown}, and {more} more" if more > 0 else shown


def _passes(standings: Iterable[Standing]) -> bool:
    """Whether checks passed and nothing else happened, save variants that can't run there."""
    found = list(standings)
    good = {"good", "plain"}
    accepted = [s for s in found if s.outcome in (Outcome.PASS, None) and not s.causes]
    passed = any(s.outcome is Outcome.PASS and not s.causes for s in found)
    return passed and all(tone(s) in good or s in accepted for s in found)


def matrix_lines(
    model: str, results: list[Result], targets: dict[str, Target], standings: Standings
) -> Iterator[str]:
    """A table of verdicts with a row a target, the smallest board first, and what to take from it.

    `results` are those of one model, `targets` the profiles by name.
    """
    from tabulate import tabulate

    results = [r for r in results if r.target in targets and _cell(standings.of(r)) != "-"]
    by_key = {(r.target, r.form): standings.of(r) for r in results}
    boards = sorted((targets[name] for name in {str(r.target) for r in results}), key=room)
    position = {name: i for i, name in enumerate(VARIANTS)}
    variants = sorted(
        {r.form for r in results}, key=lambda v: (position.get(v.partition(" ")[0], 99), v)
    )
    rows = [[b.name, *(_cell(by_key.get((b.name, v))) for v in variants)] for b in boards]
    yield f"{model} on {len(boards)} targets"
    yield from tabulate(rows, ["target", *variants], tablefmt="simple").splitlines()
    lost = {test for cause in standings.unplaced for test in cause.tests}
    if lost:
        count = f"{len(lost)} {'test' if len(lost) == 1 else 'tests'}"
        yield f"no board is known to pass: {count} failed before a variant was there"
        return
    good = [b for b in boards if _passes(standings.of(r) for r in results if r.target == b.name)]
    if good:
        there = [standings.of(r) for r in results if r.target in {b.name for b in good}]
        excused = " but what is accepted or informational" if any(map(noted, there)) else ""
        yield f"the smallest boards on which everything passes{excused}: {_described(good)}"
    else:
        yield "there is no board on which everything passes"
    for variant in variants if len(variants) > 1 else ():
        own = {b.name: by_key.get((b.name, variant)) for b in boards}
        fitting = [b for b in boards if (found := own[b.name]) is not None and _passes([found])]
        if fitting and fitting != good:
            yield f"{variant} passes on: {_described(fitting)}"
