"""Pictures of the HTML report, one file each: SVG by Matplotlib (extra `plots`).

The same bytes for the same figures. Text stays text, ink is the page's own.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

_TAG = re.compile(r"<[a-zA-Z][^>]*>")
BLUE, ORANGE, RED, GRAY = "#2b6cb0", "#b7560f", "#c53030", "#666666"
_SETTINGS = {
    "svg.hashsalt": "edgequant",
    "svg.fonttype": "none",
    "font.size": 8,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "path.simplify": True,
}


def available() -> bool:
    """Whether Matplotlib is installed."""
    try:
        import matplotlib.figure  # noqa: F401 - whether it can be
    except ImportError:
        return False
    return True


def draw(
    paint: Callable[[Any], None], width: float, height: float, margins: tuple[float, ...]
) -> str:
    """An SVG element of a figure, `width` by `height` inches, that `paint` fills.

    `margins` are left, right, bottom and top in inches; laying out by rule is fast, by trial slow.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    left, right, bottom, top = margins
    # Set and restored: a report must not change how the user's own figures look.
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        # Text stays text: a glyph that Matplotlib's font lacks is for the browser to find.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure = Figure(figsize=(width, height))
        FigureCanvasSVG(figure)
        figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height)
        paint(figure)
        stream = io.StringIO()
        figure.savefig(
            stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = stream.getvalue()
    return text[text.index("<svg") :]


def inline(svg: str, prefix: str, label: str) -> str:
    """An SVG as a page with many holds it: ids of its own, a name for who can't see it, less text.

    `label` says what it shows. Only tags are changed: text is what the user's names are.
    """
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<style type="text/css">[^<]*</style>', "", svg)
    svg = re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><").replace("<defs></defs>", "")
    svg = _TAG.sub(lambda tag: _shortened(tag.group(), prefix, used), svg)
    name = escape(label, {'"': "&quot;"})
    return re.sub(
        r'<svg([^>]*?)\swidth="([\d.]+)pt"([^>]*)>',
        lambda m: (
            f'<svg{_without_height(m.group(1))}{_without_height(m.group(3))} role="img" '
            f'aria-label="{name}" style="width:{float(m.group(2)) * 4 / 3:.0f}px">'
        ),
        svg,
        count=1,
    )


def _shortened(tag: str, prefix: str, used: set[str]) -> str:
    """A tag with ids of its own picture, and without what the page says or nobody sees."""
    tag = re.sub(
        r' id="([^"]*)"', lambda m: f' id="{prefix}{m.group(1)}"' if m.group(1) in used else "", tag
    )
    tag = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", tag)
    tag = re.sub(r' (?:d|points|transform|x|y)="[^"]*"', _rounded, tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    tag = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", tag)
    return re.sub(r' transform="rotate\(-?0(?:\.0)? [^"]*"', "", tag)


def _rounded(attribute: re.Match[str]) -> str:
    """A tenth of a point is finer than a screen, and half the text."""
    return re.sub(r"(-?\d+\.\d)\d+", r"\1", attribute.group())


def _without_height(attributes: str) -> str:
    return re.sub(r'\s(height|version|xmlns:xlink)="[^"]*"', "", attributes)
