"""The memory plan as a picture: operators across, addresses up, a box for each buffer.

SVG by Matplotlib (extra `plots`), the same bytes for the same plan.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from pytest_edgequant.errors import missing_extra
from pytest_edgequant.units import format_bytes
from pytest_edgequant.wording import printable

if TYPE_CHECKING:
    from pytest_edgequant.records import Arena, PlannedBuffer

_WIDTH_OF_SCOPE, _LEAST_WIDTH, _MOST_WIDTH, _HEIGHT = 0.34, 7.0, 24.0, 4.8
_LINE = 0.11
"""Inches of a line of text: lower and narrower boxes carry no name, but it is there to hover."""
_CHARACTER = 0.075
"""Inches that a character of a name takes, about."""
_COLORS = {"tensor": "#9ecae1", "scratch": "#fdd0a2"}
_PEAK = "#d62728"


def _plain(name: str, room: float) -> str:
    """A name that fits into so many inches: the middle cut, nothing where little would be left."""
    most = int(room / _CHARACTER)
    if len(name) <= most:
        return name
    if most < 4:
        return ""
    half = (most - 1) // 2
    return f"{name[: most - 1 - half]}…{name[len(name) - half :]}"


def _short_names(arena: Arena) -> list[str]:
    """Names without the scopes that all tensors share, and without those that were fused away."""
    names = [printable(b.name).split(";")[0] for b in arena.plan]
    paths = [n.split("/") for n, b in zip(names, arena.plan, strict=True) if b.kind == "tensor"]
    nested = [path[:-1] for path in paths if len(path) > 1]
    shared = 0
    if len(nested) > 1:
        while shared < min(map(len, nested)) and len({path[shared] for path in nested}) == 1:
            shared += 1
    prefix = "".join(f"{scope}/" for scope in nested[0][:shared]) if shared else ""
    return [name.removeprefix(prefix) for name in names]


def _box(axes: Any, buffer: PlannedBuffer, label: str, scale: tuple[float, float]) -> Any:
    """One buffer; `scale` are the inches of a scope across, and of a byte up."""
    from matplotlib.patches import Rectangle

    extent = buffer.last - buffer.first + 1
    box = Rectangle(
        (buffer.first - 0.5, buffer.offset),
        extent,
        buffer.size,
        facecolor=_COLORS.get(buffer.kind, _COLORS["tensor"]),
        edgecolor="#333333",
        linewidth=0.5,
    )
    axes.add_patch(box)
    across, up = extent * scale[0], buffer.size * scale[1]
    upright = up > across and len(_plain(label, across)) < len(label)
    text = _plain(label, up if upright else across)
    if text and min(across, up) >= _LINE:
        axes.text(
            (buffer.first + buffer.last) / 2,
            buffer.offset + buffer.size / 2,
            text,
            ha="center",
            va="center",
            fontsize=6.5,
            rotation=90 if upright else 0,
            # Names may hold dollar signs, which would be read as formulas.
            parse_math=False,
            clip_on=True,
        )
    return box


def _draw(arena: Arena, figure: Any) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes = figure.add_subplot()
    last = max((b.last for b in arena.plan), default=0)
    top = max(arena.nonpersistent_bytes, 1)
    width, height = figure.get_size_inches()
    scale = (width - 1.4) / (last + 1), (height - 1) / top
    for number, label in enumerate(_short_names(arena)):
        _box(axes, arena.plan[number], label, scale).set_gid(f"buffer-{number}")
    if arena.lower_bound_bytes is not None:
        axes.axhline(arena.lower_bound_bytes, color=_PEAK, linewidth=0.8, linestyle="--")
    if arena.peak is not None:
        scope = max(b.first for b in arena.peak.alive)
        axes.axvline(scope, color=_PEAK, linewidth=0.8, linestyle=":")
        title = f"peak at {arena.peak.operator}: {format_bytes(arena.peak.bytes)}"
        axes.set_title(_plain(printable(title), 10), fontsize=9, parse_math=False)
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
        stream = io.StringIO()
        with warnings.catch_warnings():
            # Text stays text: a glyph that Matplotlib's font lacks is for the browser to find.
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            _draw(arena, figure)
            figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return _titled(text[text.index("<svg") :], arena)


def _titled(svg: str, arena: Arena) -> str:
    """The full name, size and place of each buffer, shown when the pointer is over its box."""
    titles = {
        f"buffer-{number}": (
            f"{printable(b.name)}: {b.size:,} B at {b.offset:,}, "
            f"operators {b.first} to {b.last} ({b.kind})"
        )
        for number, b in enumerate(arena.plan)
    }
    return re.sub(
        r'<g id="(buffer-\d+)">',
        lambda found: f"{found.group()}<title>{escape(titles[found.group(1)])}</title>",
        svg,
    )
