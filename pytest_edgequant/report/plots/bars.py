"""A bar for each of several things: the recall of classes, the time of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_edgequant.report.plots import BLUE, ORANGE, draw
from pytest_edgequant.report.plots.labels import fitted, set_ticks

MOST_BARS = 40
_MARGINS = (1.9, 0.35, 0.4, 0.1)
_SIZE = 7.0


def bars_svg(
    names: Sequence[str],
    values: Sequence[float],
    across: str,
    before: Sequence[float | None] = (),
) -> str:
    """Horizontal bars in order; a mark in each where `before` has a value to compare with."""
    shown = [fitted(name, 72 * _MARGINS[0] - 10, _SIZE) for name in names[:MOST_BARS]]
    places = [len(shown) - 1 - i for i in range(len(shown))]

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.barh(places, values[: len(shown)], height=0.62, color=BLUE)
        marks = [
            (value, place)
            for value, place in zip(before, places, strict=False)
            if value is not None
        ]
        if marks:
            axes.plot(*zip(*marks, strict=True), "|", color=ORANGE, markersize=9, mew=2)
        axes.set_yticks(places)
        for label in axes.set_yticklabels(shown, fontsize=_SIZE):
            label.set_parse_math(False)
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.set_xlim(left=0)
        set_ticks(axes.xaxis, 6, _SIZE)
        axes.set_xlabel(across, fontsize=_SIZE)

    return draw(paint, 5.0, 0.6 + 0.19 * len(shown), _MARGINS)
