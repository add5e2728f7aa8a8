"""The pictures of an HTML report: as many as it has room for, and what is said of the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pytest_edgequant.report import plots

_MOST_PICTURES = {"overview": 40, "weights": 24, "arena": 24, "bars": 24}
"""Pictures of a kind in one report: they are made in seconds."""
_MOST = 600_000
"""Characters of all pictures."""
_WHOLE = 950_000
"""Characters of a report: one that is larger has fewer pictures."""
_MOST_MEMORIES = 100
"""Boards whose memory is drawn, beside the first one of each variant."""
_WHAT = {
    "overview": "of accuracy against size",
    "weights": "of weights",
    "arena": "of memory plans",
    "bars": "of classes and layers",
}


@dataclass(eq=False)
class Picture:
    """An SVG element, and whether the report has room for it."""

    kind: str
    svg: str
    shown: bool = True

    def __bool__(self) -> bool:
        return self.shown

    def __html__(self) -> str:
        return self.svg


@dataclass
class Pictures:
    """Draws as many pictures as a report has room for, and counts those that it has not."""

    available: bool
    room: int = _MOST
    memories: int = _MOST_MEMORIES
    drawn: list[Picture] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    def draw(self, kind: str, make: Callable[[], str], label: str) -> Picture | None:
        """An SVG element, or nothing where there is no Matplotlib or no room."""
        if not self.available:
            return None
        several = sum(picture.kind == kind for picture in self.drawn)
        # Where one did not fit, no more are tried: they would be made for nothing.
        if kind not in self.left_out and several < _MOST_PICTURES[kind]:
            svg = plots.inline(make(), f"p{len(self.drawn) + sum(self.left_out.values())}-", label)
            if len(svg) <= self.room:
                self.room -= len(svg)
                self.drawn.append(Picture(kind, svg))
                return self.drawn[-1]
        self.left_out[kind] = self.left_out.get(kind, 0) + 1
        return None

    def memories_of(self, boards: int) -> int:
        """Of how many boards of a variant the memory is drawn."""
        shown = min(boards, 1 + self.memories)
        self.memories -= max(shown - 1, 0)
        return shown

    def shrink(self, characters: int) -> bool:
        """Leave out the last pictures of a report of so many characters until it is small enough.

        Gives whether there was any to leave out.
        """
        over, found = characters - _WHOLE, False
        for picture in reversed(self.drawn):
            if over <= 0:
                break
            if picture.shown:
                picture.shown, found = False, True
                over -= len(picture.svg)
                self.left_out[picture.kind] = self.left_out.get(picture.kind, 0) + 1
        return found

    def remarks(self) -> list[str]:
        """What the reader should know of pictures that are not there."""
        if not self.available:
            return [
                "There are tables only: pictures need Matplotlib, which is not installed here "
                "(pip install 'pytest-edgequant[plots]')."
            ]
        return [
            f"{_count(count)} {_WHAT[kind]} {'is' if count == 1 else 'are'} left out, for the "
            f"report has no more room; the tables are there."
            for kind, count in sorted(self.left_out.items())
        ]


def _count(number: int) -> str:
    return "1 picture" if number == 1 else f"{number} pictures"
