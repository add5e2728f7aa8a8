"""A terminal as far as pytest and this package use one: what stands on it after some output."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable

_TOKEN = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\x1b([78DM])|([\r\n\b])|([^\x1b\r\n\b]+)|\x1b")


class Screen:
    """`height` lines of a terminal and all that scrolled off; `seen` are lines that stood there."""

    def __init__(self, height: int = 24) -> None:
        self.height = height
        self.lines: list[str] = [""]
        self.row = self.column = self.top = 0
        self._saved = (0, 0)
        self.seen: list[str] = []

    def _to(self, row: int) -> None:
        self.row = max(row, self.top)
        if self.row >= self.top + self.height:
            self.top = self.row - self.height + 1
        while len(self.lines) <= self.row:
            self.lines.append("")

    def _put(self, text: str) -> None:
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + text + line[self.column + len(text) :]
        self.column += len(text)
        self.seen.append(self.lines[self.row])

    def feed(self, output: str) -> Screen:
        for match in _TOKEN.finditer(output):
            numbers, command, single, control, text = match.groups()
            if text:
                self._put(text)
            elif control == "\r":
                self.column = 0
            elif control == "\n":
                self._to(self.row + 1)
            elif control == "\b":
                self.column = max(self.column - 1, 0)
            elif single == "7":
                self._saved = (self.row - self.top, self.column)
            elif single == "8":
                self.row, self.column = self.top + self._saved[0], self._saved[1]
            elif single == "D":
                self._to(self.row + 1)
            elif single == "M":
                self._to(self.row - 1)
            elif command == "B":
                last = self.top + self.height - 1
                self._to(min(self.row + int(numbers or 1), last))
            elif command == "K":
                kept = "" if numbers == "2" else self.lines[self.row][: self.column]
                self.lines[self.row] = kept
        return self

    def shown(self) -> list[str]:
        """Every line, without blanks at ends."""
        lines = [line.rstrip() for line in self.lines]
        while lines and not lines[-1]:
            lines.pop()
        return lines


class Terminal(io.StringIO):
    """A stream that says that it is a terminal, or not."""

    def __init__(self, watched: bool = True) -> None:
        super().__init__()
        self._watched = watched

    def isatty(self) -> bool:
        return self._watched


def progress_lines(seen: Iterable[str]) -> list[str]:
    """What this package showed while something took its time."""
    return [line for line in seen if line.startswith("[edgequant] ")]
