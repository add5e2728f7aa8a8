"""A model's layers, and two models beside each other: for people, and as data for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pytest_edgequant.records import Arena
from pytest_edgequant.records.layers import Edge, Layer, LayerChange, ModelDifference, ModelLayers
from pytest_edgequant.report.figures import metric_text
from pytest_edgequant.report.markdown_text import code, prose
from pytest_edgequant.report.plain import columns
from pytest_edgequant.units import format_bytes, format_duration
from pytest_edgequant.wording import counted, short

_HEADINGS = (
    *("", "operator", "layer", "inputs", "output", "quantization"),
    *("MACs", "weights", "arena", "kept", "time"),
)
_RIGHT = (0, 6, 7, 8, 9, 10)
_FIGURES = (
    ("weight_bytes", "weights"),
    ("macs", "MACs"),
    ("arena_bytes", "arena"),
    ("latency_ms", "time"),
)


# -- one model -----------------------------------------------------------------------------------


def layer_lines(found: ModelLayers) -> Iterator[str]:
    """The table of a model's layers under what it comes to as a whole."""
    where = f" on {found.target}" if found.target else ""
    yield (
        f"{found.model}/{found.variant}{where}: {format_bytes(found.size_bytes)}, of which weights "
        f"{format_bytes(found.weight_bytes)}; {counted(found.macs, 'MAC')}"
    )
    for what, edges in (("input", found.inputs), ("output", found.outputs)):
        for edge in edges:
            quantized = f", {edge.quantization}" if edge.quantization else ""
            yield f"{what} {short(edge.name)}: {_shape(edge)} {edge.type}{quantized}"
    for name, metric in found.metrics.items():
        if name != "size_bytes":
            reason = f": {metric.reason}" if metric.value is None else f"; {metric.provenance}"
            yield f"{name.partition('_')[0]} {metric_text(name, metric)}{reason}"
    yield ""
    yield from columns([_row(layer) for layer in found.layers], _HEADINGS, _RIGHT)


def _row(layer: Layer) -> tuple[str, ...]:
    place = f"{layer.index}" if layer.subgraph == 0 else f"{layer.subgraph}.{layer.index}"
    given = ", ".join(f"{_shape(edge)} {edge.type}" for edge in layer.inputs)
    made = ", ".join(f"{_shape(edge)} {edge.type}" for edge in layer.outputs)
    quantized = layer.outputs[0].quantization if layer.outputs else ""
    return (
        *(place, layer.operator, short(layer.name, 32), given, made, quantized),
        f"{layer.macs:,}" if layer.macs else "-",
        f"{layer.weight_bytes:,}" if layer.weight_bytes else "-",
        *("-" if n is None else f"{n:,}" for n in (layer.arena_bytes, layer.persistent_bytes)),
        "-" if layer.latency_ms is None else format_duration(layer.latency_ms),
    )


def _shape(edge: Edge) -> str:
    return "x".join(map(str, edge.shape)) or "scalar"


def plain(value: Any) -> Any:
    """Records as JSON has them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = [f.name for f in dataclasses.fields(value) if f.repr]
        return {name: plain(getattr(value, name)) for name in shown}
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, bytes):
        return value.hex()
    return value


def arena_document(arena: Arena) -> dict[str, Any]:
    """An arena as plain data, with what would make it smaller."""
    document: dict[str, Any] = {"schema": "edgequant-arena/1", **plain(arena)}
    return document | {"suggestions": plain(arena.suggestions())}


def layers_document(found: ModelLayers) -> dict[str, Any]:
    """A model's layers as plain data."""
    document: dict[str, Any] = {"schema": "edgequant-layers/1", **plain(found)}
    return document | {"macs": found.macs, "weight_bytes": found.weight_bytes}


# -- two models ----------------------------------------------------------------------------------


def _totals(found: ModelDifference) -> list[tuple[str, ...]]:
    """Figure, before, after and difference of both files as a whole."""
    rows: list[tuple[str, ...]] = []
    for name in ("size_bytes", "arena_bytes", "latency_ms"):
        old, new = (side.metrics.get(name) for side in (found.before, found.after))
        if old is None or new is None:
            continue
        change = ""
        if old.value is not None and new.value is not None:
            change = _change(new.value - old.value, name, old.value)
        what = {"size_bytes": "file", "arena_bytes": "arena", "latency_ms": "time"}[name]
        rows.append((what, metric_text(name, old), metric_text(name, new), change))
    for name, what in _FIGURES[:2]:
        before, after = getattr(found.before, name), getattr(found.after, name)
        shown = [_figure(value, name) for value in (before, after)]
        rows.append((what, *shown, _change(after - before, name, before)))
    return rows


def _figure(value: float, name: str) -> str:
    if name == "latency_ms":
        return format_duration(value)
    return f"{int(value):,}" if name == "macs" else format_bytes(int(value))


def _change(difference: float, name: str, of: float = 0) -> str:
    if difference == 0:
        return "unchanged"
    text = f"{'+' if difference > 0 else '-'}{_figure(abs(difference), name)}"
    return f"{text}, {difference / of:+.1%}" if of else text


def _costs(change: LayerChange) -> Iterator[str]:
    for name, _ in _FIGURES:
        cost = change.cost(name)
        yield "-" if cost is None else _change(cost, name) if cost else "0"


_CHANGE_HEADINGS = ("", "operator", "layer", *(what for _, what in _FIGURES), "what changed")


def _change_row(change: LayerChange) -> tuple[str, ...]:
    layer = change.layer
    return (
        *(change.kind, layer.place, short(layer.name, 32)),
        *_costs(change),
        "; ".join(change.differs),
    )


def difference_lines(found: ModelDifference) -> Iterator[str]:
    """The difference of two models as tables for a terminal."""
    where = f" on {found.after.target}" if found.after.target else ""
    yield f"{_name(found.before)} -> {_name(found.after)}{where}: {found.summary}"
    yield ""
    yield from columns(_totals(found), ("", "before", "after", "change"), (1, 2))
    if found.changes:
        yield ""
        rows = [_change_row(change) for change in found.changes]
        yield from columns(rows, _CHANGE_HEADINGS, (3, 4, 5, 6))


def _name(side: ModelLayers) -> str:
    return f"{side.model}/{side.variant}"


def difference_markdown(found: ModelDifference) -> str:
    """The difference of two models for a pull request."""
    where = f" on {code(found.after.target)}" if found.after.target else ""
    lines = [
        f"**{code(_name(found.before))} → {code(_name(found.after))}**{where}: {found.summary}",
        "",
        *_table(("", "before", "after", "change"), _totals(found), right=3),
    ]
    if found.changes:
        rows = [_change_row(change) for change in found.changes]
        lines += ["", *_table(_CHANGE_HEADINGS, rows)]
    return "\n".join(lines) + "\n"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: int = 0) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield "|" + "".join("---|" if not 0 < i <= right else "---:|" for i in range(len(headings)))
    for row in rows:
        yield f"| {' | '.join(map(prose, row))} |"


def difference_document(found: ModelDifference) -> dict[str, Any]:
    """The difference as plain data."""
    return {
        "schema": "edgequant-difference/1",
        "same": found.same,
        "requantized": found.requantized,
        "target": found.after.target,
        "before": _side(found.before),
        "after": _side(found.after),
        "changes": [
            {
                "kind": change.kind,
                "operator": change.layer.operator,
                "layer": change.layer.name,
                "before": None if change.before is None else change.before.index,
                "after": None if change.after is None else change.after.index,
                "differs": list(change.differs),
                "costs": {name: change.cost(name) for name, _ in _FIGURES},
            }
            for change in found.changes
        ],
    }


def _side(side: ModelLayers) -> dict[str, Any]:
    return {
        "model": side.model,
        "variant": side.variant,
        "metrics": plain(dict(side.metrics)),
        "macs": side.macs,
        "weight_bytes": side.weight_bytes,
        "layers": len(side.layers),
    }
