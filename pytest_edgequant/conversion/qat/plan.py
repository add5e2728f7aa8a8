"""From the converter's int8 model and the float model's weights to what is simulated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.conversion.qat.movement import OPERATORS
from pytest_edgequant.conversion.qat.weights import (
    WEIGHTED,
    FoundWeights,
    Weights,
    constants_of,
    range_of,
)
from pytest_edgequant.errors import ConversionError, ModelError
from pytest_edgequant.tflite.graph import Graph, Operator, Subgraph, Tensor
from pytest_edgequant.tflite.model import TFLiteModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIXED_RANGE = ("SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION")
"""Operators whose output scale is part of their definition (TFLite's quantization spec)."""
_BATCH_NORMALIZATION = ("batchnorm/", "FusedBatchNorm")
_MOST_RESCALED = 4.0
"""Tensors on both sides of a QUANTIZE share one scale up to this ratio of their ranges: 2 bits."""


@dataclass
class Plan:
    """What a simulation computes: the template, its weights, and the groups of equal scales.

    `groups` maps an activation's tensor index to its group; `ranges` (groups, 2) are the real
    values of the least and the greatest quantized number, as calibrated; `fixed` are groups whose
    range an operator defines. `constants` are all constants by tensor index as stored, `weights`
    the float values behind quantized ones (`sources`: tensor index -> position there).
    """

    content: bytes
    graph: Graph
    constants: dict[int, NDArray[Any]]
    weights: list[Weights]
    sources: dict[int, int]
    groups: dict[int, int]
    ranges: NDArray[np.float32]
    fixed: frozenset[int]
    normalized: frozenset[int]
    """Operators that a batch normalization was folded into."""
    bypassed: frozenset[int] = frozenset()
    """QUANTIZE operators between tensors that share a scale now: the file drops them."""
    constant_groups: dict[int, int] = field(default_factory=dict)
    """Constants among the values that an operator passes on: they have its group's scale."""
    opaque: frozenset[int] = frozenset()
    """Operators without a simulation: they run as the converter quantized them."""

    @property
    def main(self) -> Subgraph:
        return self.graph.main


def _is_activation(tensor: Tensor) -> bool:
    return not tensor.constant and tensor.type == "INT8" and tensor.quantization is not None


class _Groups:
    """Union-find over tensor indices."""

    def __init__(self, members: Iterable[int]) -> None:
        self.parent = {m: m for m in members}

    def find(self, member: int) -> int:
        while self.parent[member] != member:
            self.parent[member] = self.parent[self.parent[member]]
            member = self.parent[member]
        return member

    def join(self, first: int, second: int) -> None:
        a, b = sorted((self.find(first), self.find(second)))
        self.parent[b] = a


def opaque_operators(graph: Graph) -> frozenset[int]:
    """The operators that training can't compute, and keeps as the converter quantized them."""
    return frozenset(o.index for o in graph.main.operators if o.name not in OPERATORS)


def _same_scale(subgraph: Subgraph, operator: Operator) -> list[int]:
    """An operator's activations that the template gives its output's scale."""
    tensors = subgraph.tensors
    found = []
    for first in operator.outputs:
        for other in (*operator.inputs, *operator.outputs):
            if other < 0 or not _is_activation(tensors[first]):
                continue
            if _is_activation(tensors[other]):
                found += [other] * (tensors[other].quantization == tensors[first].quantization)
    return found


def _grouped(
    graph: Graph,
) -> tuple[dict[int, int], NDArray[np.float32], frozenset[int], frozenset[int]]:
    """The groups of equal scales: by the template, and across QUANTIZEs with similar ranges."""
    main = graph.main
    activations = [t.index for t in main.tensors if _is_activation(t)]
    joined = _Groups(activations)
    fixed_tensors: set[int] = set()
    opaque = opaque_operators(graph)
    for operator in main.operators:
        if operator.index in opaque:
            fixed_tensors.update((*operator.inputs, *operator.outputs))
            continue
        if operator.name in FIXED_RANGE:
            fixed_tensors.update(operator.outputs)
            continue
        same = _same_scale(main, operator)
        for other in same[1:]:
            joined.join(same[0], other)
    fixed_roots = {joined.find(i) for i in fixed_tensors if i in joined.parent}
    limits = {i: range_of(main.tensors[i]) for i in activations}
    bypassed = set()
    for operator in main.operators:
        if operator.name != "QUANTIZE":
            continue
        source, sink = operator.inputs[0], operator.outputs[0]
        if source not in joined.parent or sink not in joined.parent:
            continue
        roots = {joined.find(source), joined.find(sink)}
        if roots & fixed_roots and len(roots) > 1:
            continue
        widths = [limits[i][1] - limits[i][0] for i in (source, sink)]
        if max(widths) <= _MOST_RESCALED * min(widths):
            joined.join(source, sink)
            bypassed.add(operator.index)
    roots_in_order = sorted({joined.find(i) for i in activations})
    number = {root: position for position, root in enumerate(roots_in_order)}
    groups = {i: number[joined.find(i)] for i in activations}
    ranges = np.zeros((len(number), 2), np.float32)
    for index, group in groups.items():
        low, high = limits[index]
        ranges[group] = min(ranges[group, 0], low), max(ranges[group, 1], high)
    fixed = frozenset(groups[i] for i in fixed_tensors if i in groups)
    return groups, ranges, fixed, frozenset(bypassed)


def _folded_normalization(main: Subgraph, operator: Operator) -> bool:
    """Whether a batch normalization was folded into the operator, told by the tensors' names."""
    if operator.name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"):
        return False
    bias = WEIGHTED[operator.name][1]
    if bias is None or len(operator.inputs) <= bias or operator.inputs[bias] < 0:
        return False
    # The name lists what was fused. A matrix product also takes in a normalization before it;
    # one after it comes last.
    name = main.tensors[operator.inputs[bias]].name
    if operator.name == "FULLY_CONNECTED":
        name = name.split(";")[-1]
    return any(mark in name for mark in _BATCH_NORMALIZATION)


def _shares_weights(main: Subgraph, operator: Operator, sources: Mapping[int, int]) -> bool:
    """Whether another operator has the same weights or bias, which one's statistics can't move."""
    places = WEIGHTED[operator.name]
    own = {sources.get(operator.inputs[p], -1) for p in places if p is not None} - {-1}
    others = {
        sources.get(index, -1)
        for other in main.operators
        if other.index != operator.index
        for index in other.inputs
    }
    return bool(own & others)


def make_plan(template: TFLiteModel, floating: TFLiteModel) -> Plan:
    """What to simulate of the converter's int8 model and its float twin.

    Raises `ModelError` for a model without weights, `ConversionError` for one that can't be
    simulated.
    """
    graph = template.graph
    if len(graph.subgraphs) != 1:
        raise ConversionError(
            f"{template.where}: qat_int8: the model has {len(graph.subgraphs)} subgraphs (loops or "
            "branches at run time), which can't be trained; unroll loops"
        )
    main = graph.main
    constants = constants_of(template.content)
    opaque = opaque_operators(graph)
    groups, ranges, fixed, bypassed = _grouped(graph)
    found = FoundWeights(template, constants, floating, opaque)
    if not any(w.trained for w in found.weights):
        reason = "the model has no weights"
        if opaque:
            names = ", ".join(o.place for o in main.operators if o.index in opaque)
            reason = f"no weights are left but those of what can't be simulated ({names})"
        raise ModelError(
            f"{template.where}: qat_int8: {reason}, so there is nothing to train; use int8 instead"
        )
    normalized = frozenset(
        o.index
        for o in main.operators
        if _folded_normalization(main, o) and not _shares_weights(main, o, found.sources)
    )
    return Plan(
        template.content,
        graph,
        constants,
        found.weights,
        found.sources,
        groups,
        ranges,
        fixed,
        normalized,
        bypassed,
        {constant: groups[output] for constant, output in found.passed_on.items()},
        opaque,
    )


def layer_of(plan: Plan, operator: Operator) -> str:
    """The name of what an operator computes, as messages say it."""
    return plan.main.tensors[operator.outputs[0]].name if operator.outputs else "?"
