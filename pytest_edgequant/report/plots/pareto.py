"""How good variants are at their task, against the bytes that they take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_edgequant.report.plots import BLUE, ORANGE, RED, draw
from pytest_edgequant.report.plots.labels import Box, fitted, free_place, set_ticks

_WIDTH, _HEIGHT = 4.8, 3.0
_MARGINS = (0.85, 0.45, 0.5, 0.15)
_SIZE = 7.0
_NAME = 110.0
"""Points that a name takes at most."""
_NEAR = 8.0
"""Points of one variant that are so near to each other have one name."""


@dataclass(frozen=True)
class Point:
    """A variant: its name, bytes across, score up, whether it passed, and on which targets."""

    name: str
    bytes: float
    score: float
    passed: bool
    targets: tuple[str, ...] = ()


def front(points: Sequence[Point], higher_is_better: bool) -> list[Point]:
    """The points that no other one beats in both, the smallest first."""
    sign = 1 if higher_is_better else -1
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.bytes, -sign * p.score, p.name)):
        if not best or sign * point.score > sign * best[-1].score:
            best.append(point)
    return best


def _placed(points: Sequence[Point], axes: Any) -> list[tuple[Point, tuple[float, float]]]:
    """Points with their place in the picture, in points from the frame's corner."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    wide, high = _frame()
    return [
        (p, (wide * (p.bytes - left) / (right - left), high * (p.score - bottom) / (top - bottom)))
        for p in points
    ]


def _frame() -> tuple[float, float]:
    left, right, bottom, top = _MARGINS
    return 72 * (_WIDTH - left - right), 72 * (_HEIGHT - bottom - top)


def names_of(points: Sequence[Point], axes: Any) -> list[tuple[str, Box]]:
    """Names beside their points where there is room; of points on one spot the names together."""
    wide, high = _frame()
    frame = Box(1, 1, wide + 28, high)  # the margin on the right has room for the end of a name
    spots: list[tuple[tuple[float, float], dict[str, None]]] = []
    for point, (x, y) in sorted(_placed(points, axes), key=lambda entry: (entry[1], entry[0].name)):
        for (other_x, other_y), names in spots:
            here = abs(other_x - x) <= 2 and abs(other_y - y) <= 2
            beside = abs(other_x - x) <= _NEAR and abs(other_y - y) <= _NEAR
            if here or (beside and point.name in names):
                names[point.name] = None
                break
        else:
            spots.append(((x, y), {point.name: None}))
    taken = [Box(x - 4, y - 4, x + 4, y + 4) for (x, y), _ in spots]
    found: list[tuple[str, Box]] = []
    for spot, names in spots:
        text = fitted(", ".join(names), _NAME, _SIZE)
        place = free_place(spot, text, _SIZE, frame, [*taken, *(box for _, box in found)])
        if place is not None:
            found.append((text, place))
    return found


def pareto_svg(
    points: Sequence[Point], across: str, score: str, share: bool, higher_is_better: bool | None
) -> str:
    """Points with their names; a line through those that nothing beats, where that is known."""

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        if higher_is_better is not None:
            line = front(points, higher_is_better)
            steps = [p.bytes for p in line], [p.score for p in line]
            axes.plot(*steps, drawstyle="steps-post", color=BLUE, linewidth=1, alpha=0.7)
        for passed, color, mark in ((True, BLUE, "o"), (False, RED, "X")):
            some = [p for p in points if p.passed is passed]
            across_up = [p.bytes for p in some], [p.score for p in some]
            axes.plot(*across_up, mark, color=color, markersize=5, linestyle="none")
        axes.margins(0.18, 0.22)
        if share:
            axes.set_ylim(top=min(axes.get_ylim()[1], 1.02))
        set_ticks(axes.xaxis, 5, _SIZE, whole=True)
        set_ticks(axes.yaxis, 6, _SIZE, share=share)
        for text, place in names_of(points, axes):
            axes.annotate(
                text,
                (0, 0),
                (place.left, place.bottom),
                xycoords="axes points",
                textcoords="axes points",
                fontsize=_SIZE,
                color=ORANGE,
                parse_math=False,
            )
        axes.set_xlabel(across)
        axes.set_ylabel(fitted(score, _frame()[1], 8), parse_math=False)

    return draw(paint, _WIDTH, _HEIGHT, _MARGINS)
