"""The memory plan as a picture: operators across, addresses up, a box for each buffer.

SVG by Matplotlib (extra `plots`), the same bytes for the same plan.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from pytest_edgequant.errors import missing_extra
from pytest_edgequant.units import format_bytes

if TYPE_CHECKING:
    from pytest_edgequant.records import Arena, PlannedBuffer

_WIDTH_OF_SCOPE, _LEAST_WIDTH, _MOST_WIDTH, _HEIGHT = 0.34, 7.0, 24.0, 4.8
_LEAST_HEIGHT_OF_TEXT = 0.035
"""Boxes lower than this share of the picture carry no name."""
_CHARACTER = 0.075
"""Inches that a character of a name takes, about."""
_COLORS = {"tensor": "#9ecae1", "scratch": "#fdd0a2"}
_PEAK = "#d62728"


def _plain(name: str, room: float) -> str:
    """A name that fits into so many inches: control characters out, the middle cut."""
    name = "".join(c if c.isprintable() else "?" for c in name)
    most = int(room / _CHARACTER)
    if len(name) <= most:
        return name
    if most < 4:
        return ""
    half = (most - 1) // 2
    return f"{name[: most - 1 - half]}…{name[len(name) - half :]}" if half else name[:most]


def _box(axes: Any, buffer: PlannedBuffer, inches: float, top: int) -> None:
    from matplotlib.patches import Rectangle

    width = buffer.last - buffer.first + 1
    axes.add_patch(
        Rectangle(
            (buffer.first - 0.5, buffer.offset),
            width,
            buffer.size,
            facecolor=_COLORS.get(buffer.kind, _COLORS["tensor"]),
            edgecolor="#333333",
            linewidth=0.5,
        )
    )
    name = _plain(buffer.name, width * inches)
    if name and buffer.size >= _LEAST_HEIGHT_OF_TEXT * top:
        axes.text(
            (buffer.first + buffer.last) / 2,
            buffer.offset + buffer.size / 2,
            name,
            ha="center",
            va="center",
            fontsize=6.5,
            # Names may hold dollar signs, which would be read as formulas.
            parse_math=False,
            clip_on=True,
        )


def _draw(arena: Arena, figure: Any) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes = figure.add_subplot()
    last = max((b.last for b in arena.plan), default=0)
    top = max(arena.nonpersistent_bytes, 1)
    inches = (figure.get_size_inches()[0] - 1.4) / (last + 1)
    for buffer in sorted(arena.plan, key=lambda b: (-b.size, b.offset, b.first)):
        _box(axes, buffer, inches, top)
    if arena.lower_bound_bytes is not None:
        axes.axhline(arena.lower_bound_bytes, color=_PEAK, linewidth=0.8, linestyle="--")
    if arena.peak is not None:
        scope = max(b.first for b in arena.peak.alive)
        axes.axvline(scope, color=_PEAK, linewidth=0.8, linestyle=":")
        title = f"peak at {arena.peak.operator}: {format_bytes(arena.peak.bytes)}"
        axes.set_title(_plain(title, 10), fontsize=9, parse_math=False)
    axes.set_xlim(-0.5, last + 0.5)
    axes.set_ylim(0, top * 1.02)
    axes.set_xlabel("operator (0: before the first)", fontsize=8)
    axes.set_ylabel("address in the arena", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=30))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.tick_params(labelsize=7)


def arena_svg(arena: Arena) -> str:
    """The plan of an arena as an SVG element (no XML prolog), for a report.

    Boxes are buffers (orange: scratch), the dashed line is the most that is alive at once, the
    dotted one the operator at which it is. Raises `MissingExtraError` without Matplotlib.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_extra("a picture of the memory plan", "plots") from None
    scopes = max((b.last for b in arena.plan), default=0) + 1
    width = min(max(_LEAST_WIDTH, 1.4 + _WIDTH_OF_SCOPE * scopes), _MOST_WIDTH)
    # Set and restored: a report must not change how the user's own figures look.
    with matplotlib.rc_context({"svg.hashsalt": "edgequant", "svg.fonttype": "none"}):
        figure = Figure(figsize=(width, _HEIGHT), layout="constrained")
        FigureCanvasSVG(figure)
        _draw(arena, figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
