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
_MARGINS = (0.95, 0.3, 0.5, 0.35)
"""Inches left, right, below and above: laying out by rule is fast, by trial slow."""
_MOST_TICKS, _FIRST = 30, 0.24
"""Of operators, and the inches of one from which there is room to tell the inputs from it."""
_MOST_BOXES = 1500
"""Buffers that are drawn, the largest ones: more are no wider than a line anyway."""
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


def _ticks(low: float, high: float, most: int) -> list[int]:
    """Whole numbers within the limits, each once."""
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(most, integer=True).tick_values(low, high)
    return [int(tick) for tick in found if low <= tick <= high]


def _number_operators(axes: Any, operators: int, room: float) -> None:
    """Operators across by their numbers, which are those of messages and tables.

    `room` are the inches of one. Left of the first is what is there before it runs: the inputs.
    """
    label = max(len(str(operators)) * _CHARACTER, _LINE)
    most = max(2, min(_MOST_TICKS, int(operators * room / (2 * label))))
    numbers = _ticks(0, operators - 1, most) if operators else []
    places, texts = [n + 1 for n in numbers], [str(n) for n in numbers]
    if not numbers or room >= _FIRST:
        places, texts = [0, *places], ["in", *texts]
    axes.set_xticks(places, texts)
    axes.set_xlabel("operator (in: before the first)" if "in" in texts else "operator", fontsize=8)


def _drawn(arena: Arena) -> list[int]:
    """The numbers of the buffers that are drawn, in their order."""
    by_size = sorted(range(len(arena.plan)), key=lambda i: -arena.plan[i].size)
    return sorted(by_size[:_MOST_BOXES])


def _draw(arena: Arena, figure: Any) -> None:
    axes = figure.add_subplot()
    last = max((b.last for b in arena.plan), default=0)
    top = max(arena.nonpersistent_bytes, 1)
    width, height = figure.get_size_inches()
    left, right, bottom, above = _MARGINS
    across, up = width - left - right, height - bottom - above
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - above / height)
    axes.set_xlim(-0.5, last + 0.5)
    axes.set_ylim(0, top * 1.02)
    scale = across / (last + 1), up / (top * 1.02)
    labels = _short_names(arena)
    drawn = _drawn(arena)
    if len(drawn) < len(labels):
        left_out = f"{len(labels) - len(drawn):,} small buffers are not drawn"
        axes.annotate(left_out, (0.5, 0.98), xycoords="axes fraction", fontsize=7, va="top")
    for number in drawn:
        label = labels[number]
        _box(axes, arena.plan[number], label, scale).set_gid(f"buffer-{number}")
    if arena.lower_bound_bytes is not None:
        axes.axhline(arena.lower_bound_bytes, color=_PEAK, linewidth=0.8, linestyle="--")
    if arena.peak is not None and arena.peak.alive:
        scope = max(b.first for b in arena.peak.alive)
        axes.axvline(scope, color=_PEAK, linewidth=0.8, linestyle=":")
        size = format_bytes(arena.peak.bytes)
        # The font is larger than that of the names in boxes.
        room = (width - 0.2) * 6.5 / 9 - _CHARACTER * len(f"peak at : {size}")
        title = f"peak at {_plain(printable(arena.peak.operator), room)}: {size}"
        figure.text(0.1 / width, 1 - 0.2 / height, title, fontsize=9, parse_math=False)
    _number_operators(axes, last, scale[0])
    addresses = _ticks(0, top * 1.02, 8)
    axes.set_yticks(addresses, [f"{address:,}" for address in addresses])
    axes.set_ylabel("address in the arena", fontsize=8)
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
        figure = Figure(figsize=(width, _HEIGHT))
        FigureCanvasSVG(figure)
        stream = io.StringIO()
        with warnings.catch_warnings():
            # Text stays text: a glyph that Matplotlib's font lacks is for the browser to find.
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            _draw(arena, figure)
            figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return _titled(text[text.index("<svg") :], arena)


def _alive(first: int, last: int) -> str:
    """When a buffer is alive, by the numbers of operators; scope 0 is before the first."""
    if last == 0:
        return "before operator 0"
    if first == 0:
        return f"from before operator 0 to operator {last - 1}"
    return f"operator {first - 1}" if first == last else f"operators {first - 1} to {last - 1}"


def _titled(svg: str, arena: Arena) -> str:
    """The full name, size and place of each buffer, shown when the pointer is over its box."""
    titles = {
        f"buffer-{number}": (
            f"{printable(b.name)}: {b.size:,} B at {b.offset:,}, "
            f"{_alive(b.first, b.last)} ({b.kind})"
        )
        for number, b in enumerate(arena.plan)
    }
    return re.sub(
        r'<g id="(buffer-\d+)">',
        lambda found: f"{found.group()}<title>{escape(titles[found.group(1)])}</title>",
        svg,
    )
