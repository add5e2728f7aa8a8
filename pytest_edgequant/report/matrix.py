"""Many boards at a glance: what is not right, by board and variant, and the smallest that do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_edgequant.records import Outcome
from pytest_edgequant.report.boards import Board, Cell, ModelBoards, smallest_lines
from pytest_edgequant.report.fitting import fitted, wrapped
from pytest_edgequant.report.legend import Cell as Text
from pytest_edgequant.report.legend import Column, Legend, source
from pytest_edgequant.report.notes import named
from pytest_edgequant.report.overview import WORDS, verdict_text
from pytest_edgequant.report.usage import Use, tightest, uses
from pytest_edgequant.results.standing import Standings
from pytest_edgequant.wording import counted

DETAILED = 3
"""Up to so many boards each have a table of their own, and are all in the matrix."""
_WORDS = {
    **WORDS,
    Outcome.CANNOT_RUN: "cannot run",
    Outcome.INCONCLUSIVE: "inconclusive",
    Outcome.UNAVAILABLE: "unavailable",
}


def _broken(cell: Cell) -> dict[str, Use]:
    """The limits that a cell's verdict is about, by check."""
    own = uses(cell.result)
    checks = dict.fromkeys(cause.check for cause in cell.standing.deciding)
    found = {check: tightest(u for u in own if u.check == check) for check in checks}
    return {check: use for check, use in found.items() if use is not None}


def cell_text(cell: Cell | None) -> str:
    """What a variant came to on a board, with the limit that matters.

    `FAIL: arena 132 % of 20 KiB`, `pass, arena 3 % of 183 KiB`; of what did not pass it is the
    limit that was not kept, else the one of which most is used.
    """
    if cell is None:
        return "-"
    broken = _broken(cell)
    figures = {check: f"{check} {u.text if u.floor else u.part}" for check, u in broken.items()}
    text = verdict_text(cell.standing, _WORDS, figures)
    use = cell.use
    if cell.standing.outcome is not Outcome.PASS or broken or use is None:
        return text
    return f"{text}, {use.told}"


def _marked(cell: Cell | None, legend: Legend) -> Text:
    """A cell with the marks of the figures that it tells."""
    if cell is None:
        return Text()
    told: list[Use | None] = [*_broken(cell).values()]
    if not told and cell.standing.outcome is Outcome.PASS:
        told = [cell.use]
    if cell.standing.outcome is Outcome.CANNOT_RUN:
        told = []
    metrics = (cell.result.metrics.get(use.figure) for use in told if use is not None)
    made = [source(m).made for m in metrics if m is not None and m.value is not None]
    return Text(cell_text(cell), list(dict.fromkeys(map(legend.mark, made))))


def passing_text(boards: Sequence[Board]) -> str:
    """How many boards there are on which everything passes."""
    return counted(len(boards), "board passes", "boards pass")


def folded_line(boards: Sequence[Board]) -> str:
    """The boards on which everything passes, in a line, with the one that is nearest to a limit."""
    count = passing_text(boards)
    known = [(b.name, *b.tightest) for b in boards if b.tightest is not None]
    if not known:
        return count
    name, form, use = max(known, key=lambda entry: entry[2].share or 0.0)
    return f"{count}; nearest to a limit: {form} on {name}, {use.told}"


def matrix_columns(boards: Sequence[Board], forms: Sequence[str], legend: Legend) -> list[Column]:
    """A row a board, with a cell a variant, save those that were judged on none of the boards."""
    told = [form for form in forms if any(_is_told(board.cells.get(form)) for board in boards)]
    return [
        Column("target", [Text(board.name) for board in boards]),
        *(
            Column(form, [_marked(board.cells.get(form), legend) for board in boards])
            for form in told or forms
        ),
    ]


def _is_told(cell: Cell | None) -> bool:
    return cell is not None and cell_text(cell) not in ("-", _WORDS[Outcome.NOT_APPLICABLE])


def matrix_lines(
    found: ModelBoards,
    standings: Standings,
    legend: Legend,
    most: int = 24,
    width: int | None = None,
) -> Iterator[str]:
    """A table with a row a board that is not right, at most `most`, and what to take from it.

    Up to three boards are all in it. Those on which everything passes are counted.
    """
    few = len(found.boards) <= DETAILED
    good = [] if few else found.passing
    rows = [*found.open, *(found.passing if few else [])]
    yield f"{found.model} on {len(found.boards)} targets"
    if rows:
        shown = rows[:most]
        yield from fitted(matrix_columns(shown, found.variants, legend), width).lines
        if len(rows) > len(shown):
            others = rows[most:]
            names = named(b.name for b in others)
            yield from wrapped(f"and {len(others)} more that are not right: {names}", width)
    if good:
        yield from wrapped(folded_line(good), width)
    for line in smallest_lines(found, standings):
        yield from wrapped(line, width)
