"""A model as its layers: what each computes, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_edgequant.records.results import Metric
from pytest_edgequant.records.telling import Telling, Told
from pytest_edgequant.units import format_bytes
from pytest_edgequant.wording import counted, short

_SHOWN = 3
"""Layers, or changes of them, that are printed."""


@dataclass(frozen=True)
class Edge:
    """A tensor that a layer reads or writes; `quantization` in words, empty where it is real."""

    name: str
    shape: tuple[int, ...]
    type: str
    quantization: str = ""
    constant_bytes: int = 0


@dataclass(frozen=True)
class Layer:
    """One operator. `name` is its first output's; `place` tells where in the file it is.

    `weight_bytes` are those of constants that no layer before it uses. `arena_bytes` is what of the
    arena is alive while it runs, `persistent_bytes` what it keeps there for good, `latency_ms` its
    part of one inference; None where that is not known.
    """

    index: int
    subgraph: int
    operator: str
    name: str
    inputs: tuple[Edge, ...]
    outputs: tuple[Edge, ...]
    options: Mapping[str, Any]
    macs: int
    weight_bytes: int
    arena_bytes: int | None = None
    persistent_bytes: int | None = None
    latency_ms: float | None = None

    @property
    def place(self) -> str:
        """`CONV_2D (3)`, as the arena and messages name it."""
        return f"{self.operator} ({self.index})"

    @property
    def constants(self) -> tuple[Edge, ...]:
        return tuple(edge for edge in self.inputs if edge.constant_bytes)

    @property
    def activations(self) -> tuple[Edge, ...]:
        return tuple(edge for edge in self.inputs if not edge.constant_bytes)


@dataclass(frozen=True)
class ModelLayers(Telling):
    """All layers of a file, and what it comes to as a whole; `target` is None without a board."""

    model: str
    variant: str
    target: str | None
    size_bytes: int
    inputs: tuple[Edge, ...]
    outputs: tuple[Edge, ...]
    layers: tuple[Layer, ...]
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def weight_bytes(self) -> int:
        return sum(layer.weight_bytes for layer in self.layers)

    @property
    def label(self) -> str:
        """The file as messages name it: model, form, and the board if there is one."""
        return f"{self.model}/{self.variant}{f' on {self.target}' if self.target else ''}"

    def _told(self) -> Told:
        dearest = sorted(self.layers, key=lambda layer: (-layer.macs, layer.subgraph, layer.index))
        heading = ("layer", "name", "output", "MACs", "weights")
        rows = (
            (
                layer.place,
                short(layer.name),
                "x".join(map(str, layer.outputs[0].shape)) if layer.outputs else "",
                f"{layer.macs:,}",
                format_bytes(layer.weight_bytes),
            )
            for layer in dearest
        )
        return Told(
            f"{self.label}: {format_bytes(self.size_bytes)}, of which weights "
            f"{format_bytes(self.weight_bytes)}; {counted(self.macs, 'MAC')} in "
            f"{counted(len(self.layers), 'layer')}",
            (
                ("inputs", "\n".join(map(_edge, self.inputs))),
                ("outputs", "\n".join(map(_edge, self.outputs))),
                *(
                    (name.rpartition("_")[0] or name, str(metric).partition("\n")[0])
                    for name, metric in self.metrics.items()
                    if name != "size_bytes"
                ),
                ("notes", "\n".join(self.notes)),
            ),
            (heading, *rows),
            shown=_SHOWN,
        )


def _edge(edge: Edge) -> str:
    shape = "x".join(map(str, edge.shape)) or "scalar"
    quantized = f", {edge.quantization}" if edge.quantization else ""
    return f"{edge.name}: {shape} {edge.type}{quantized}"


@dataclass(frozen=True)
class LayerChange:
    """A layer that is in one file alone (the other is None), or in both and not the same.

    `differs` says in what, of a layer that is in both.
    """

    before: Layer | None
    after: Layer | None
    differs: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """`added`, `removed` or `changed`."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"

    @property
    def layer(self) -> Layer:
        """The layer as it is now, or was."""
        found = self.after or self.before
        assert found is not None
        return found

    def cost(self, what: str) -> float | None:
        """By how much a figure of the layers (`weight_bytes`, `macs`, ...) grows; None unknown."""
        values = [0 if x is None else getattr(x, what) for x in (self.before, self.after)]
        return None if None in values else values[1] - values[0]


@dataclass(frozen=True)
class ModelDifference(Telling):
    """Two files beside each other: `changes` in the order of the layers, and both as a whole.

    `same` is whether both compute the same, whatever their files look like; `requantized` how many
    layers differ in nothing but scales and zero points.
    """

    before: ModelLayers
    after: ModelLayers
    changes: tuple[LayerChange, ...]
    same: bool
    requantized: int = 0

    @property
    def summary(self) -> str:
        """What came of it, in a sentence."""
        if self.same:
            return "both compute the same: the same operators, shapes, weights and quantization"
        if not self.changes:
            layers = counted(self.requantized, "layer")
            said = f"; scales and zero points differ in {layers}" if self.requantized else ""
            return f"the same layers{said}: weights or quantization differ"
        kinds = [change.kind for change in self.changes]
        counts = (f"{kinds.count(kind)} {kind}" for kind in ("added", "removed", "changed"))
        total = counted(len(self.after.layers), "layer")
        also = f"; {self.requantized} others differ in scales and zero points alone"
        return f"{', '.join(counts)} of {total}{also if self.requantized else ''}"

    def _told(self) -> Told:
        sides = (self.before, self.after)
        sizes = " -> ".join(format_bytes(side.size_bytes) for side in sides)
        weights = " -> ".join(format_bytes(side.weight_bytes) for side in sides)
        rows = (
            (change.kind, change.layer.place, short(change.layer.name), "; ".join(change.differs))
            for change in self.changes
        )
        return Told(
            f"{' -> '.join(side.label for side in sides)}: {self.summary}",
            (
                ("file", sizes),
                ("weights", weights),
                ("MACs", " -> ".join(f"{side.macs:,}" for side in sides)),
            ),
            (("change", "layer", "name", "what"), *rows) if self.changes else (),
            shown=_SHOWN,
        )
