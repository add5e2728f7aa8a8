"""A model as its layers: what each computes, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_edgequant.records.results import Metric


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
class ModelLayers:
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
class ModelDifference:
    """Two files beside each other: `changes` in the order of the layers, and both as a whole.

    `same` is whether both compute the same, whatever their files look like; `requantized` how many
    layers differ in nothing but scales and zero points.
    """

    before: ModelLayers
    after: ModelLayers
    changes: tuple[LayerChange, ...]
    same: bool
    requantized: int = 0
