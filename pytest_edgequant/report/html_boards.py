"""Rows of figures of the HTML report: each beside its limit, with a bar and where it is from."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_edgequant.outcomes import worst
from pytest_edgequant.records import Metric, Outcome, Result, Target
from pytest_edgequant.report.board_memory import Memory, memories
from pytest_edgequant.report.boards import Board, Cell, ModelBoards
from pytest_edgequant.report.figures import change_text, result_text, score_label, score_name
from pytest_edgequant.report.legend import Legend, source
from pytest_edgequant.report.overview import WORDS, row_text, tone, verdict_text
from pytest_edgequant.report.usage import Use, tightest, uses
from pytest_edgequant.results.standing import Standing
from pytest_edgequant.units import format_bytes, format_samples

WIDTH = 1000
"""Units of a bar across."""
TONES = ("bad", "unsure", "good", "plain")
"""What is shown of several rows: the first that there is."""
_SCORE, _DROP = "score", "drop"
_HEADINGS = (
    *("size", "flash left", "arena", _SCORE, "samples"),
    *(_DROP, "latency", "latency on the host"),
)
_PLAIN = re.compile(r"[\w-]+", re.ASCII)


@dataclass(frozen=True)
class Bar:
    """The use of a limit, `WIDTH` across: up to where it is used, and where the limit is."""

    used: int
    limit: int
    tone: str


def bar_of(use: Use | None) -> Bar | None:
    """The bar of a use; None of a floor, of which nothing is used."""
    if use is None or use.share is None:
        return None
    share = min(use.share, 4.0)  # beyond that a bar shows no more
    scale = WIDTH / max(share, 1.0)
    tones = {Outcome.PASS: "good", Outcome.FAIL: "bad"}
    used = math.ceil(scale * share) if share else 0
    return Bar(min(used, WIDTH), round(scale), tones.get(use.outcome, "unsure"))


@dataclass(frozen=True)
class FigureCell:
    """A figure: its value, how much of which limit that is, and a mark for where it is from."""

    text: str
    part: str = ""
    bar: Bar | None = None
    mark: str = ""


@dataclass(frozen=True)
class FigureRow:
    """A row of figures, in the columns of its table.

    `link` is where more stands of it, `anchor` what links to the row itself lead to.
    """

    name: str
    link: str
    tone: str
    verdict: str
    cells: Sequence[FigureCell | None]
    anchor: str = ""


@dataclass(frozen=True)
class FigureTable:
    """Rows of figures: those to look at, those that passed (folded), and columns with something."""

    headings: Sequence[str]
    open: Sequence[FigureRow]
    passed: Sequence[FigureRow]
    legend: Legend

    def anchored(self, variant: str) -> FigureTable:
        """The table with a row a board of the variant with this anchor, to which links may lead."""
        open_, passed = (
            [dataclasses.replace(row, anchor=board_anchor(variant, row.name)) for row in rows]
            for rows in (self.open, self.passed)
        )
        return dataclasses.replace(self, open=open_, passed=passed)


def board_anchor(variant: str, board: str) -> str:
    """Where a variant stands on a board; empty of names that make no anchor."""
    return f"{variant}-on-{board}" if variant and _PLAIN.fullmatch(board) else ""


def _value_text(result: Result, name: str) -> str:
    """A figure without its samples, which have a column of their own, and its change."""
    metric = dataclasses.replace(result.metrics[name], count=None)
    if metric.unit == "bytes" and metric.value is not None and metric.low != metric.high:
        text = f"{metric.low:,} to {format_bytes(int(metric.high or 0))}"
    else:
        alone = dataclasses.replace(result, metrics={**result.metrics, name: metric})
        text = result_text(alone, name)
    changes = [
        change_text(change)
        for change in result.changes
        if change.metric == name and change.before != change.after
    ]
    return f"{text} ({'; '.join(changes)})" if changes else text


def _figure_cell(result: Result, name: str, legend: Legend) -> FigureCell | None:
    metric = result.metrics.get(name)
    if metric is None:
        return None
    found = uses(result)
    use = tightest(found, name) or next((u for u in found if u.figure == name), None)
    told = metric.reason or metric.provenance
    part = use.part if use is not None else ""
    return FigureCell(_value_text(result, name), part, bar_of(use), legend.mark(told))


def _samples_cell(result: Result) -> FigureCell | None:
    names = [score_name(result) or "", "accuracy_drop"]
    counted = [m for name in names if (m := result.metrics.get(name)) and m.count is not None]
    texts = dict.fromkeys(_samples(metric) for metric in counted)
    return FigureCell("; ".join(texts)) if texts else None


def _samples(metric: Metric) -> str:
    assert metric.count is not None
    return format_samples(metric.count, metric.of).rpartition(" ")[0]


def _score_cell(result: Result, several: bool, legend: Legend) -> FigureCell | None:
    name = score_name(result)
    cell = _figure_cell(result, name, legend) if name is not None else None
    if cell is None or name is None or not several:
        return cell
    return dataclasses.replace(cell, text=f"{score_label(name)} {cell.text}")


def _cells(result: Result, several: bool, legend: Legend) -> list[FigureCell | None]:
    """The figures of a row, in the order of `_HEADINGS`."""

    def cell(name: str) -> FigureCell | None:
        return _figure_cell(result, name, legend)

    return [
        *map(cell, ("size_bytes", "flash_left_bytes", "arena_bytes")),
        _score_cell(result, several, legend),
        _samples_cell(result),
        *map(cell, ("accuracy_drop", "latency_ms", "host_latency_ms")),
    ]


def _drop_heading(results: Sequence[Result]) -> str:
    """What drops are from, where that is the same in all rows."""
    drops = (result.metrics.get("accuracy_drop") for result in results)
    names = {source(metric).baseline for metric in drops if metric and metric.value is not None}
    # Names of models may hold anything; the variant stands behind the last stroke.
    form = names.pop().rpartition("/")[2] if len(names) == 1 else ""
    return f"{_DROP} from {form}" if form else _DROP


def figure_table(
    rows: Iterable[tuple[str, str, Result, Standing]], legend: Legend | None = None
) -> FigureTable:
    """Rows of a name, a link, a result and its standing, without columns that nothing stands in.

    Those that failed come first, those that passed are apart. `legend` is shared by several tables;
    by default a table has its own.
    """
    listed = sorted(rows, key=lambda row: TONES.index(tone(row[3])))
    legend = Legend() if legend is None else legend
    scores = {name for _, _, r, _ in listed if (name := score_name(r)) is not None}
    made = [
        FigureRow(
            name,
            link,
            tone(standing),
            row_text(standing),
            _cells(result, len(scores) > 1, legend),
        )
        for name, link, result, standing in listed
    ]
    kept = [i for i in range(len(_HEADINGS)) if any(row.cells[i] is not None for row in made)]
    shown = [dataclasses.replace(row, cells=[row.cells[i] for i in kept]) for row in made]
    named = {
        _SCORE: score_label(scores.pop()) if len(scores) == 1 else _SCORE,
        _DROP: _drop_heading([result for _, _, result, _ in listed]),
    }
    return FigureTable(
        [named.get(_HEADINGS[i], _HEADINGS[i]) for i in kept],
        [row for row in shown if row.tone != "good"],
        [row for row in shown if row.tone == "good"],
        legend,
    )


def decisive(standings: Sequence[Standing]) -> tuple[str, Outcome | None]:
    """The tone of several rows together, and the outcome that it is from."""
    shown = min(map(tone, standings), key=TONES.index)
    return shown, worst(s.outcome for s in standings if s.outcome is not None and tone(s) == shown)


def counted(standings: Sequence[Standing], words: Mapping[str, str]) -> list[tuple[int, str]]:
    """How many rows came to what; `words` by tone, and "refused" for what can't run there."""
    kinds = [
        "refused" if tone(s) == "plain" and s.outcome is Outcome.CANNOT_RUN else tone(s)
        for s in standings
    ]
    return [(kinds.count(kind), word) for kind, word in words.items() if kind in kinds]


# -- boards -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BoardMemory:
    """The memories of a board, with what a variant takes there."""

    board: str
    memories: Sequence[Memory]


def board_memories(results: Iterable[Result], targets: Mapping[str, Target]) -> list[BoardMemory]:
    """The memories of the boards of one variant, the fullest first."""
    found = [
        BoardMemory(r.target or "", drawn)
        for r in results
        if (drawn := memories(r, targets.get(r.target or "")))
    ]
    return sorted(found, key=lambda board: (-max(m.full for m in board.memories), board.board))


@dataclass(frozen=True)
class MatrixCell:
    """A variant on a board: what it came to in words, and the limit of which most is used."""

    tone: str
    verdict: str
    told: str
    bar: Bar | None


@dataclass(frozen=True)
class Matrix:
    """Boards by variants: the boards on which something did not pass, and the others, folded."""

    variants: Sequence[tuple[str, str]]
    open: Sequence[tuple[str, str, Sequence[MatrixCell | None]]]
    passed: Sequence[tuple[str, str, Sequence[MatrixCell | None]]]

    @property
    def count(self) -> int:
        return len(self.open) + len(self.passed)


def _matrix_cell(cell: Cell | None) -> MatrixCell | None:
    if cell is None:
        return None
    words = {**WORDS, Outcome.NOT_APPLICABLE: "not applicable"}
    told = cell.use.told if cell.use is not None else ""
    return MatrixCell(cell.tone, verdict_text(cell.standing, words), told, bar_of(cell.use))


def matrix_of(boards: ModelBoards, links: dict[str, str]) -> Matrix:
    """The matrix of a model; `links` lead to variants, a board to its worst variant's row."""

    def row(board: Board) -> tuple[str, str, list[MatrixCell | None]]:
        worst_first = sorted(board.cells, key=lambda v: TONES.index(board.cells[v].tone))
        link = board_anchor(links.get(worst_first[0], ""), board.name)
        return board.name, link, [_matrix_cell(board.cells.get(v)) for v in boards.variants]

    return Matrix(
        [(variant, links.get(variant, "")) for variant in boards.variants],
        [row(board) for board in boards.open],
        [row(board) for board in boards.passing],
    )
