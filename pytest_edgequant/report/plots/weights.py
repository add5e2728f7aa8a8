"""Weights as histograms, one row a layer, each across its own range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pytest_edgequant.diagnose.weights import BINS, LayerWeights
from pytest_edgequant.report.plots import BLUE, GRAY, draw
from pytest_edgequant.report.plots.labels import fitted

MOST_LAYERS = 24
_ROW = 0.26
_MARGINS = (1.75, 1.75, 0.45, 0.1)
_SIZE = 7.0


def weights_svg(layers: Sequence[LayerWeights], names: Sequence[str]) -> str:
    """The histograms of the first layers; `names` are what they are called."""
    shown = list(zip(layers, names, strict=True))[:MOST_LAYERS]
    names_shown = [fitted(name, 72 * _MARGINS[0] - 10, _SIZE) for _, name in shown]
    edges = np.linspace(-1, 1, BINS + 1)

    def paint(figure: Any) -> None:
        from matplotlib.collections import PolyCollection

        axes = figure.add_subplot()
        shapes = []
        for row, (layer, _) in enumerate(shown):
            counts = np.asarray(layer.counts, float)
            heights = 0.85 * counts / max(counts.max(), 1)
            across = np.repeat(edges, 2)
            up = np.concatenate(([0.0], np.repeat(heights, 2), [0.0])) + (len(shown) - 1 - row)
            shapes.append(np.column_stack([across, up]))
        axes.add_collection(PolyCollection(shapes, facecolor=BLUE, edgecolor="none"))
        for row, (layer, _) in enumerate(shown):
            base = len(shown) - 1 - row
            axes.axhline(base, color=GRAY, linewidth=0.3)
            axes.text(1.04, base + 0.3, _described(layer), fontsize=_SIZE, va="center")
        axes.set_xlim(-1, 1)
        axes.set_ylim(0, len(shown))
        axes.set_yticks([len(shown) - 1 - i + 0.4 for i in range(len(shown))])
        labels = axes.set_yticklabels(names_shown, fontsize=_SIZE)
        for label in labels:
            label.set_parse_math(False)
        axes.tick_params(axis="y", length=0)
        axes.set_xticks([-1, 0, 1])
        axes.set_xlabel("weight, of the layer's largest magnitude", fontsize=7)

    height = 0.6 + _ROW * len(shown)
    return draw(paint, 6.6, height, _MARGINS)


def _described(layer: LayerWeights) -> str:
    text = f"±{layer.limit:.3g}"
    if layer.sqnr_db is not None:
        text += f", SQNR {layer.sqnr_db:.1f} dB"
    return text
