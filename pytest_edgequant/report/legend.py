"""Marks that say how figures came about, and the legend that explains them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pytest_edgequant.records import Metric, Result
from pytest_edgequant.report.usage import Use

WIDTH = 150
"""Columns that explanations fill before they begin a new line."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"

_MARK = re.compile(r"\[[a-z]\d*\]")
_INTERVAL = re.compile(r"; (?=[\d.]+% interval)")


class Legend:
    """Gives every way in which figures came about a mark, in the order of their first use."""

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}

    def mark(self, text: str) -> str:
        """The mark of an explanation: `[a]`; the same one for the same text."""
        if text not in self._marks:
            number = len(self._marks)
            more, letter = divmod(number, len(_LETTERS))
            self._marks[text] = f"[{_LETTERS[letter]}{more or ''}]"
        return self._marks[text]

    @property
    def entries(self) -> list[tuple[str, str]]:
        """Each mark with what it means."""
        return [(mark, text) for text, mark in self._marks.items()]

    def lines(self, said: Iterable[str], more: Iterable[str] = (), width: int = WIDTH) -> list[str]:
        """The explanations of the marks in what was said, and `more`; several short ones a line."""
        found: list[str] = []
        used = set(_MARK.findall("\n".join(said)))
        explained = (f"{mark} {text}" for mark, text in self.entries if mark in used)
        for entry in [*explained, *more]:
            for at, line in enumerate(found):
                if len(line) + len(entry) + 2 <= width:
                    found[at] = f"{line}  {entry}"
                    break
            else:
                found.append(entry)
        return found


@dataclass(frozen=True)
class Source:
    """Where a figure is from: what it was measured or computed with, and its interval if any."""

    made: str
    interval: str = ""
    baseline: str = ""


def source(metric: Metric) -> Source:
    """A provenance taken apart: `measured (...), against digits/float32; 95% interval, ...`."""
    made, interval = [*_INTERVAL.split(metric.provenance, maxsplit=1), ""][:2]
    made, _, baseline = made.partition(", against ")
    return Source(made, interval, baseline)


def limit_source(result: Result, use: Use | None) -> str:
    """Where a limit on the size is from, where it is what TFLM's code leaves of the flash."""
    left, size = result.metrics.get("flash_left_bytes"), result.metrics.get("size_bytes")
    if use is None or left is None or size is None or left.value is None or size.value is None:
        return ""
    if use.limit not in (size.value + left.value, size.value + (left.high or left.value)):
        return ""
    return f"of the flash left {left.provenance}"


@dataclass
class Cell:
    """A cell's text, and the marks that say how it came about.

    `brief` is the same without its interval, where it has one.
    """

    text: str = "-"
    marks: Sequence[str] = ()
    brief: Cell | None = None

    @property
    def marked(self) -> str:
        """The text with its marks."""
        return _marked(self.text, self.marks)

    @property
    def empty(self) -> bool:
        return self.text == "-"

    @property
    def has_figure(self) -> bool:
        """Whether there is a figure that marks can be about."""
        return not self.text.startswith(("- ", "unavailable")) and not self.empty


@dataclass
class Column:
    """A column of a table: its heading, and a cell a row.

    Marks that all cells share stand in the heading; of a `loose` one those of all that have any.
    """

    heading: str
    cells: list[Cell]
    loose: bool = False

    @property
    def empty(self) -> bool:
        return all(cell.empty for cell in self.cells)

    def texts(self) -> Iterator[str]:
        """Heading and cells."""
        shown = [cell for cell in self.cells if cell.has_figure]
        if self.loose:
            shown = [cell for cell in shown if cell.marks]
        common = [m for m in (shown[0].marks if shown else ()) if all(m in c.marks for c in shown)]
        yield _marked(self.heading, common)
        for cell in self.cells:
            yield _marked(cell.text, [mark for mark in cell.marks if mark not in common])


def _marked(text: str, marks: Sequence[str]) -> str:
    return f"{text} {''.join(marks)}" if marks else text


def table(columns: Sequence[Column]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the columns in which something stands; the first one always does."""
    kept = [column for at, column in enumerate(columns) if at == 0 or not column.empty]
    headings, *rows = zip(*(column.texts() for column in kept), strict=True)
    return list(headings), [list(row) for row in rows]
