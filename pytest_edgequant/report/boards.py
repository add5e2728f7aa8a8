"""The boards of a run by model: what each came to, and the smallest on which everything passes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pytest_edgequant.forms import VARIANTS
from pytest_edgequant.records import Outcome, Result, Target
from pytest_edgequant.report.overview import noted, tone
from pytest_edgequant.report.usage import Use, tightest, uses
from pytest_edgequant.results.session import Session
from pytest_edgequant.results.standing import Standing, Standings
from pytest_edgequant.targets import Targets
from pytest_edgequant.units import format_size
from pytest_edgequant.wording import counted

_TONES = ("bad", "unsure", "plain", "good")
_NO_LIMIT = float("inf")
_SHOWN = 3


def room(target: Target) -> tuple[float, float, str]:
    """What boards are ordered by: SRAM for the arena, then flash for the model; no limit last."""
    flash = target.flash_for_model or target.flash_after_firmware
    return (
        target.sram_for_arena.value if target.sram_for_arena else _NO_LIMIT,
        flash.value if flash else _NO_LIMIT,
        target.name,
    )


def profiles(session: Session) -> Mapping[str, Target]:
    """The profiles by name: those of the run, else the built-in ones of results read back."""
    known = {target.name: target for target in Targets()}
    return {**known, **session.targets}


@dataclass(frozen=True)
class Cell:
    """One variant on one board."""

    result: Result
    standing: Standing

    @property
    def passes(self) -> bool:
        return passes([self.standing])

    @property
    def tone(self) -> str:
        return tone(self.standing)

    @cached_property
    def use(self) -> Use | None:
        """The limit of which most is used."""
        return tightest(uses(self.result))


def passes(standings: Iterable[Standing]) -> bool:
    """Whether checks passed and nothing else happened, save variants that can't run there."""
    found = list(standings)
    good = {"good", "plain"}
    accepted = [s for s in found if s.outcome in (Outcome.PASS, None) and not s.causes]
    passed = any(s.outcome is Outcome.PASS and not s.causes for s in found)
    return passed and all(tone(s) in good or s in accepted for s in found)


@dataclass(frozen=True)
class Board:
    """One board and what every variant of one model came to there; None of an unknown profile."""

    name: str
    profile: Target | None
    cells: Mapping[str, Cell]

    @property
    def passes(self) -> bool:
        """Whether everything passes there."""
        return passes(cell.standing for cell in self.cells.values())

    @property
    def tone(self) -> str:
        return min((cell.tone for cell in self.cells.values()), key=_TONES.index)

    @property
    def excused(self) -> bool:
        """Whether there is something that is accepted, or informational."""
        return any(noted(cell.standing) for cell in self.cells.values())

    @property
    def room(self) -> tuple[float, float, str]:
        return (_NO_LIMIT, _NO_LIMIT, self.name) if self.profile is None else room(self.profile)

    @property
    def described(self) -> str:
        """The name, with what the board leaves for the arena."""
        if self.profile is None or self.profile.sram_for_arena is None:
            return self.name
        return f"{self.name} ({format_size(self.profile.sram_for_arena.value)} for the arena)"

    @property
    def tightest(self) -> tuple[str, Use] | None:
        """The variant and the limit of which most is used there."""
        found = [(form, cell.use) for form, cell in self.cells.items()]
        known = [(form, use) for form, use in found if use is not None]
        return max(known, key=lambda entry: entry[1].share or 0.0, default=None)


@dataclass(frozen=True)
class ModelBoards:
    """One model on its boards, the smallest first, in these variants."""

    model: str
    variants: Sequence[str]
    boards: Sequence[Board]

    @property
    def passing(self) -> list[Board]:
        """The boards on which everything passes, the smallest first."""
        return [board for board in self.boards if board.passes]

    @property
    def open(self) -> list[Board]:
        """All others: those on which something failed first, then by size."""
        others = [board for board in self.boards if not board.passes]
        return sorted(others, key=lambda board: (_TONES.index(board.tone), board.room))

    def fitting(self, variant: str) -> list[Board]:
        """The boards on which a variant passes, whatever others do."""
        return [b for b in self.boards if variant in b.cells and b.cells[variant].passes]


def described(boards: Sequence[Board], most: int = _SHOWN) -> str:
    """The first of several boards, and how many more there are."""
    more = len(boards) - most
    shown = ", ".join(board.described for board in boards[:most])
    return f"{shown}, and {more} more" if more > 0 else shown


def model_boards(
    model: str,
    results: Iterable[Result],
    targets: Mapping[str, Target],
    standings: Standings,
    only: Iterable[str] | None = None,
) -> ModelBoards:
    """One model's results by board; those of which nothing is said are left out.

    `targets` are profiles by name, `only` the boards that count, by default every one.
    """
    wanted = None if only is None else set(only)
    found: dict[str, dict[str, Cell]] = {}
    for result in results:
        standing = standings.of(result)
        if result.target is None or (wanted is not None and result.target not in wanted):
            continue
        if standing.outcome is not None or noted(standing):
            found.setdefault(result.target, {})[result.form] = Cell(result, standing)
    position = {name: i for i, name in enumerate(VARIANTS)}
    forms = {form for cells in found.values() for form in cells}
    boards = [Board(name, targets.get(name), cells) for name, cells in found.items()]
    return ModelBoards(
        model,
        sorted(forms, key=lambda form: (position.get(form.partition(" ")[0], 99), form)),
        sorted(boards, key=lambda board: board.room),
    )


def smallest_lines(found: ModelBoards, standings: Standings) -> list[str]:
    """The smallest boards on which everything passes, in sentences; then by variant, if others."""
    lost = {test for cause in standings.unplaced for test in cause.tests}
    if lost:
        count = f"{counted(len(lost), 'test')}"
        return [f"no board is known to pass: {count} failed before a variant was there"]
    good = found.passing
    lines = ["there is no board on which everything passes"]
    if good:
        excused = " but what is accepted or informational" if any(b.excused for b in good) else ""
        lines = [f"the smallest boards on which everything passes{excused}: {described(good)}"]
    for variant in found.variants if len(found.variants) > 1 else ():
        fitting = found.fitting(variant)
        if fitting and fitting != good:
            lines.append(f"{variant} passes on: {described(fitting)}")
    return lines
