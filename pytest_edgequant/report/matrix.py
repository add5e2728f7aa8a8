"""The verdicts of many boards at a glance: targets by variants, and the smallest that will do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pytest_edgequant.conversion.registry import VARIANTS
from pytest_edgequant.records import Outcome, Result, Target
from pytest_edgequant.session import worst
from pytest_edgequant.units import format_size

_CELLS = {
    Outcome.PASS: "pass",
    Outcome.CANNOT_RUN: "cannot run",
    Outcome.NOT_APPLICABLE: "n/a",
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


def _cell(result: Result | None) -> str:
    if result is None:
        return "-"
    decided = worst(v.verdict for v in result.verdicts)
    assert decided is not None
    if decided in _CELLS:
        return _CELLS[decided]
    checks = sorted({v.check for v in result.verdicts if v.verdict is decided})
    word = "FAIL" if decided is Outcome.FAIL else decided.value
    return f"{word}: {', '.join(checks)}"


def _described(targets: list[Target]) -> str:
    shown = ", ".join(
        f"{t.name} ({format_size(t.sram_for_arena.value)} for the arena)"
        if t.sram_for_arena
        else t.name
        for t in targets[:_SHOWN]
    )
    more = len(targets) - _SHOWN
    return f"{shown}, and {more} more" if more > 0 else shown


def _passes(results: Iterable[Result]) -> bool:
    """Whether checks passed and nothing else happened, save variants that can't run there."""
    outcomes = {v.verdict for result in results for v in result.verdicts}
    return Outcome.PASS in outcomes and outcomes <= set(_CELLS)


def matrix_lines(model: str, results: list[Result], targets: dict[str, Target]) -> Iterator[str]:
    """A table of verdicts with a row a target, the smallest board first, and what to take from it.

    `results` are those of one model, `targets` the profiles by name.
    """
    from tabulate import tabulate

    results = [r for r in results if r.target in targets and r.verdicts]
    by_key = {(r.target, r.variant): r for r in results}
    boards = sorted((targets[name] for name in {str(r.target) for r in results}), key=room)
    position = {name: i for i, name in enumerate(VARIANTS)}
    variants = sorted({r.variant for r in results}, key=lambda v: (position.get(v, 99), v))
    rows = [[b.name, *(_cell(by_key.get((b.name, v))) for v in variants)] for b in boards]
    yield f"{model} on {len(boards)} targets"
    yield from tabulate(rows, ["target", *variants], tablefmt="simple").splitlines()
    good = [b for b in boards if _passes(r for r in results if r.target == b.name)]
    if good:
        yield f"the smallest boards on which everything passes: {_described(good)}"
    else:
        yield "there is no board on which everything passes"
    for variant in variants if len(variants) > 1 else ():
        fitting = [b for b in boards if _cell(by_key.get((b.name, variant))) == "pass"]
        if fitting and fitting != good:
            yield f"{variant} passes on: {_described(fitting)}"
