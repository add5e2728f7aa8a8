"""Labels of pictures: names cut to their room, ticks that differ, places that are free.

Widths are those of Matplotlib's own font, which is wider than what most browsers show instead.
"""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pytest_edgequant.wording import printable

_SPARE = 1.06
"""Fonts that a browser takes instead may be so much wider."""
_AROUND = ((6, 3), (6, -9), (0, 8), (0, -14), (0, 20), (0, -26), (18, 12), (18, -20))
"""Where a label is tried, in points right of (or left of) and above its point."""


@cache
def _font() -> Any:
    from matplotlib import font_manager, ft2font

    return ft2font.FT2Font(font_manager.findfont("DejaVu Sans"))


@cache
def _em(character: str) -> float:
    """The width of a character, of the font's size."""
    if unicodedata.combining(character):
        return 0.0
    font = _font()
    if unicodedata.east_asian_width(character) in "WF" or not font.get_char_index(ord(character)):
        return 1.0
    font.set_size(64, 72)
    return max(float(font.load_char(ord(character)).linearHoriAdvance / 65536 / 64), 0.2)


def width(text: str, size: float) -> float:
    """How many points a line of text takes at a font size, at most."""
    return _SPARE * size * sum(map(_em, text))


def fitted(text: str, room: float, size: float) -> str:
    """A printable name that takes at most `room` points, the middle cut."""
    name = printable(text)
    if width(name, size) <= room:
        return name
    low, high = 0, len(name)
    while low < high:  # the most characters that fit, with the sign for what was cut
        middle = (low + high + 1) // 2
        low, high = (middle, high) if width(_cut(name, middle), size) <= room else (low, middle - 1)
    return _cut(name, low)


def _cut(name: str, kept: int) -> str:
    back = kept // 2
    return f"{name[: kept - back]}…{name[len(name) - back :] if back else ''}"


def tick_texts(values: Sequence[float], *, share: bool = False) -> list[str]:
    """Ticks of an axis as text, with as many digits as it takes to tell them apart."""
    if not len(values):
        return []
    factor, sign = (100, "%") if share else (1, "")
    scaled = [factor * float(v) for v in values]
    steps = [abs(b - a) for a, b in itertools.pairwise(scaled) if a != b]
    step, most = min(steps, default=1.0), max(map(abs, scaled))
    if most < 1e7 and step > 1e-4:
        digits = max(0, math.ceil(-math.log10(step) - 1e-9))
        while any(abs(round(v, digits) - v) > step / 20 for v in scaled) and digits < 6:
            digits += 1
        return [f"{v + 0.0:,.{digits}f}{sign}" for v in scaled]
    digits = min(15, 2 + max(0, math.ceil(math.log10(max(most, step) / step))))
    return [f"{v + 0.0:.{digits}g}{sign}" for v in scaled]


def set_ticks(
    axis: Any, most: int, size: float, *, whole: bool = False, share: bool = False
) -> None:
    """Ticks of an axis within its limits, each with a text of its own."""
    from matplotlib.ticker import MaxNLocator

    low, high = sorted(axis.get_view_interval())
    ticks = MaxNLocator(most, integer=whole).tick_values(low, high)
    shown = [t for t in ticks if low <= t <= high and not (share and t > 1)]
    axis.set_ticks(shown, tick_texts(shown, share=share), fontsize=size)


@dataclass(frozen=True)
class Box:
    """A rectangle in points."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: Box) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.bottom < other.top and other.bottom < self.top

    def inside(self, other: Box) -> bool:
        across = other.left <= self.left and self.right <= other.right
        return across and other.bottom <= self.bottom and self.top <= other.top


def free_place(
    point: tuple[float, float], text: str, size: float, frame: Box, taken: Iterable[Box]
) -> Box | None:
    """Where a label fits beside its point: within the frame, over nothing; None where nowhere."""
    (x, y), wide = point, width(text, size)
    taken = list(taken)
    for right, up in _AROUND:
        # beside the point on either side, or centred above or below it
        lefts = (x - wide / 2, x - wide, x) if right == 0 else (x + right, x - right - wide)
        for left in lefts:
            box = Box(left, y + up, left + wide, y + up + 1.2 * size)
            if box.inside(frame) and not any(box.meets(other) for other in taken):
                return box
    return None
