"""The pictures of an HTML report: as many as it has room for, and what is said of the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from markupsafe import Markup

from pytest_edgequant.report import plots

_MOST_PICTURES = {"overview": 40, "weights": 24, "arena": 24, "bars": 24}
"""Pictures of a kind in one report: they are made in seconds."""
_ROOM = 600_000
"""Characters of all pictures: what a report weighs is most of all theirs."""
_WHAT = {
    "overview": "of accuracy against size",
    "weights": "of weights",
    "arena": "of memory plans",
    "bars": "of classes and layers",
}


@dataclass
class Pictures:
    """Draws as many pictures as a report has room for, and counts those that it has not."""

    available: bool
    drawn: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    room: int = _ROOM

    def draw(self, kind: str, make: Callable[[], str], label: str) -> str:
        """An SVG element, or nothing where there is no Matplotlib or no room."""
        if not self.available:
            return ""
        if self.room > 0 and self.drawn.get(kind, 0) < _MOST_PICTURES[kind]:
            number = sum(self.drawn.values()) + sum(self.left_out.values()) + 1
            svg = plots.inline(make(), f"p{number}-", label)
            if len(svg) <= self.room:
                self.room -= len(svg)
                self.drawn[kind] = self.drawn.get(kind, 0) + 1
                return Markup(svg)
        self.left_out[kind] = self.left_out.get(kind, 0) + 1
        return ""

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
