"""Tables that fit a terminal: whole where there is room, else without what is least missed.

A log has room for any row. A terminal breaks rows that are wider than it is, and nobody can read
what comes of that.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from pytest_edgequant.report.legend import Column, table

RATIO, SAMPLES, NOISE, VERDICT = "ratio", "samples", "SQNR", "verdict"
"""Headings of the columns that are not like others here."""
_INDENT = "    "


@dataclass
class Fitted:
    """A table's lines, what belongs behind its title, and what was left out of it."""

    lines: Sequence[str]
    aside: str = ""
    left_out: Sequence[str] = ()


def fitted(made: Sequence[Column], width: int | None = None, *, right: bool = False) -> Fitted:
    """A table of at most `width` columns, of any number without it.

    Of a row that is too wide the ratio goes, then the number of samples stands in the title (where
    all have one), then SQNR, intervals or both go. Where that is not enough, each row is a
    paragraph with all that it has. `right` is whether figures stand on the right.
    """
    whole = Fitted(_lines(made, right))
    if width is None or _fits(whole.lines, width):
        return whole
    for narrower in _narrower(made):
        lines = _lines(narrower.columns, right)
        if _fits(lines, width):
            return Fitted(lines, narrower.aside, narrower.left_out)
    return Fitted(_paragraphs(made, width))


class _Narrower(NamedTuple):
    columns: Sequence[Column]
    aside: str
    left_out: Sequence[str]


def _narrower(made: Sequence[Column]) -> Iterator[_Narrower]:
    """The table without more and more of what is missed least."""
    kept, ratio = _without(made, RATIO)
    yield _Narrower(kept, "", ratio)
    samples = next((column for column in kept if column.heading == SAMPLES), None)
    numbers = {cell.text for cell in samples.cells if not cell.empty} if samples else set()
    aside = f"{numbers.pop()} samples" if len(numbers) == 1 else ""
    if aside:
        kept, _ = _without(kept, SAMPLES)
    brief = [
        replace(column, cells=[cell.brief or cell for cell in column.cells]) for column in kept
    ]
    yield _Narrower(kept, aside, ratio)
    without, noise = _without(kept, NOISE)
    yield _Narrower(without, aside, [*ratio, *noise])
    yield _Narrower(brief, aside, [*ratio, "intervals"])
    yield _Narrower(_without(brief, NOISE)[0], aside, [*ratio, *noise, "intervals"])


def _without(columns: Sequence[Column], heading: str) -> tuple[list[Column], list[str]]:
    """The columns but one, and its heading where something stood in it."""
    kept = [column for column in columns if column.heading != heading]
    return kept, [heading] if any(not c.empty and c.heading == heading for c in columns) else []


def wrapped(line: str, width: int | None = None) -> list[str]:
    """A sentence in lines of at most `width` columns; words are never broken."""
    if width is None or len(line) <= width:
        return [line]
    return textwrap.wrap(
        line,
        max(width, 2 * len(_INDENT)),
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _fits(lines: Sequence[str], width: int) -> bool:
    return all(len(line) <= width for line in lines)


def _lines(columns: Sequence[Column], right: bool) -> list[str]:
    from tabulate import tabulate

    headings, rows = table(columns)
    align = ["left", *["right" if right else "left"] * (len(headings) - 1)]
    if headings[-1] == VERDICT:
        align[-1] = "left"
    text = tabulate(rows, headings, tablefmt="simple", colalign=align, disable_numparse=True)
    return [line.rstrip() for line in text.splitlines()]


def _paragraphs(columns: Sequence[Column], width: int) -> list[str]:
    """Each row as its name, its verdict and its figures, as many in a line as there is room for."""
    first, *others = columns
    lines = []
    for at, name in enumerate(first.cells):
        cells = [(column.heading, column.cells[at]) for column in others]
        verdict = [cell.marked for heading, cell in cells if heading == VERDICT and not cell.empty]
        figures = [f"{h} {c.marked}" for h, c in cells if h != VERDICT and not c.empty]
        lines += _packed(f"{name.text}: ", [*verdict, *figures], width)
    return lines


def _packed(begin: str, pieces: Sequence[str], width: int) -> list[str]:
    """Pieces behind a beginning, parted by semicolons; a line ends between two of them."""
    if not pieces:
        return [begin.rstrip(": ")]
    lines = [f"{begin}{pieces[0]}"]
    for piece in pieces[1:]:
        if len(lines[-1]) + len(piece) + 3 <= width:  # a semicolon may have to follow
            lines[-1] += f"; {piece}"
        else:
            lines[-1] += ";"
            lines.append(f"{_INDENT}{piece}")
    return [part for line in lines for part in wrapped(line, width)]
