"""How good variants are at their task, against the bytes that they take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_edgequant.report.plots import BLUE, ORANGE, RED, draw, short


@dataclass(frozen=True)
class Point:
    """A variant: its name, bytes across, score up, and whether it passed."""

    name: str
    bytes: float
    score: float
    passed: bool


def front(points: Sequence[Point], higher_is_better: bool) -> list[Point]:
    """The points that no other one beats in both, the smallest first."""
    sign = 1 if higher_is_better else -1
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.bytes, -sign * p.score, p.name)):
        if not best or sign * point.score > sign * best[-1].score:
            best.append(point)
    return best


def pareto_svg(
    points: Sequence[Point], across: str, score: str, share: bool, higher_is_better: bool | None
) -> str:
    """Points with their names; a line through those that nothing beats, where that is known."""

    def paint(figure: Any) -> None:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        axes = figure.add_subplot()
        if higher_is_better is not None:
            line = front(points, higher_is_better)
            steps = [p.bytes for p in line], [p.score for p in line]
            axes.plot(*steps, drawstyle="steps-post", color=BLUE, linewidth=1, alpha=0.7)
        for passed, color, mark in ((True, BLUE, "o"), (False, RED, "X")):
            some = [p for p in points if p.passed is passed]
            axes.plot(
                [p.bytes for p in some],
                [p.score for p in some],
                mark,
                color=color,
                markersize=5,
                linestyle="none",
            )
        placed: dict[tuple[float, float], list[str]] = {}
        for point in points:
            placed.setdefault((point.bytes, point.score), []).append(short(point.name, 28))
        for number, ((x, y), names) in enumerate(sorted(placed.items())):
            axes.annotate(
                ", ".join(names),
                (x, y),
                (5, 5 if number % 2 else -10),
                textcoords="offset points",
                fontsize=7,
                color=ORANGE,
                parse_math=False,
            )
        axes.margins(0.18, 0.22)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel(across)
        axes.set_ylabel(short(score, 40), parse_math=False)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        if share:
            axes.set_ylim(top=min(axes.get_ylim()[1], 1.02))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.1%}"))

    return draw(paint, 4.6, 2.9, (0.75, 0.3, 0.5, 0.15))
