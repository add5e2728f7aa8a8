"""From the converter's int8 model and the float model's weights to what is simulated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.conversion.qat.movement import OPERATORS
from pytest_edgequant.errors import ConversionError, ModelError
from pytest_edgequant.tflite.edit import unpack
from pytest_edgequant.tflite.graph import Graph, Operator, Subgraph, Tensor, read_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTED = {
    "CONV_2D": (1, 2),
    "DEPTHWISE_CONV_2D": (1, 2),
    "FULLY_CONNECTED": (1, 2),
    "TRANSPOSE_CONV": (1, 3),
    "BATCH_MATMUL": (1, None),
}
"""Operators with weights: the places of weights and bias among their inputs."""
CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}
FIXED_RANGE = ("SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION")
"""Operators whose output scale is part of their definition (TFLite's quantization spec)."""
MOVES_DATA = frozenset(
    "RESHAPE SQUEEZE EXPAND_DIMS TRANSPOSE SLICE STRIDED_SLICE GATHER SPLIT SPLIT_V UNPACK PACK "
    "CONCATENATION MAX_POOL_2D PAD PADV2 MIRROR_PAD TILE BROADCAST_TO MAXIMUM MINIMUM REDUCE_MAX "
    "REDUCE_MIN RESIZE_NEAREST_NEIGHBOR DEPTH_TO_SPACE SPACE_TO_DEPTH SPACE_TO_BATCH_ND "
    "BATCH_TO_SPACE_ND REVERSE_V2 GATHER_ND TOPK_V2 DYNAMIC_UPDATE_SLICE".split()
)
"""Operators whose outputs are values of their inputs: on the grid where scales are equal."""
_EDGES = ("QUANTIZE", "DEQUANTIZE")
_BATCH_NORMALIZATION = ("batchnorm/", "FusedBatchNorm")
_MOST_RESCALED = 4.0
"""Tensors on both sides of a QUANTIZE share one scale up to this ratio of their ranges: 2 bits."""


@dataclass(frozen=True, eq=False)
class Weights:
    """A float constant that is trained. `value` is in the file's layout.

    `channel` is the axis of the output channels, by which steps are scaled; None for a tensor
    without one.
    """

    name: str
    value: NDArray[np.float32]
    channel: int | None
    trained: bool = True


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


def constants_of(content: bytes) -> dict[int, NDArray[Any]]:
    """The values of the main subgraph's constants by tensor index, as stored."""
    model, graph = unpack(content), read_graph(content)
    found = {}
    for tensor, raw in zip(graph.main.tensors, model.subgraphs[0].tensors, strict=True):
        data = model.buffers[raw.buffer].data
        if tensor.constant and data is not None and tensor.dtype != object:
            values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), tensor.dtype)
            if values.size == tensor.elements:
                found[tensor.index] = values.reshape(tensor.shape)
    return found


def _dequantized(tensor: Tensor, stored: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The real values of a quantized constant, and the size of a step, shaped to broadcast."""
    assert tensor.quantization is not None
    scales = np.asarray(tensor.quantization.scales, np.float64)
    points = np.asarray(tensor.quantization.zero_points, np.float64)
    if tensor.quantization.axis is not None:
        shape = [1] * stored.ndim
        shape[tensor.quantization.axis] = -1
        scales, points = scales.reshape(shape), points.reshape(shape)
    else:
        scales, points = scales[0], points[0]
    return (stored.astype(np.float64) - points) * scales, np.broadcast_to(scales, stored.shape)


class _FloatConstants:
    """The float model's constants, found for the template's by operator, and checked by value."""

    def __init__(self, content: bytes, template: Graph) -> None:
        self.graph = read_graph(content)
        self.values = {
            index: value
            for index, value in constants_of(content).items()
            if value.dtype == np.float32
        }
        ours = [o for o in template.main.operators if o.name not in _EDGES]
        theirs = [o for o in self.graph.main.operators if o.name not in _EDGES]
        same = [o.name for o in ours] == [o.name for o in theirs]
        self.twins = {o.index: t for o, t in zip(ours, theirs, strict=False)} if same else {}

    def find(self, operator: Operator, position: int, tensor: Tensor, stored: Any) -> int | None:
        """The index of the float tensor that this constant was quantized from."""
        real, step = _dequantized(tensor, stored)
        whole = tensor.quantization is not None and not tensor.quantization.per_axis
        low, high = _range(tensor) if whole and tensor.type == "INT8" else (-np.inf, np.inf)
        twin = self.twins.get(operator.index)
        candidates: list[int] = []
        if twin is not None and position < len(twin.inputs):
            candidates.append(twin.inputs[position])
        candidates += [i for i in self.values if i not in candidates]
        best: tuple[float, int] | None = None
        for index in candidates:
            value = self.values.get(index)
            if value is None or value.shape != stored.shape:
                continue
            # The converter clips to 127 steps, and widens the scale where a bias would overflow.
            # A table has the scale of the rows that calibration saw: others may be cut off.
            cut = np.clip(value, low, high)
            error = float((np.abs(real - cut) / np.maximum(step, 1e-30)).max(initial=0.0))
            if error <= 1.01:
                return index
            if best is None or error < best[0]:
                best = (error, index)
        return None


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


def _range(tensor: Tensor) -> tuple[float, float]:
    assert tensor.quantization is not None
    scale, point = tensor.quantization.scales[0], tensor.quantization.zero_points[0]
    return (-128 - point) * scale, (127 - point) * scale


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
    limits = {i: _range(main.tensors[i]) for i in activations}
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


def make_plan(template: bytes, floating: bytes, where: str) -> Plan:
    """Read the converter's int8 model and its float twin.

    Raises `ModelError` for a model without weights, `ConversionError` for one that can't be
    simulated.
    """
    graph = read_graph(template, where)
    if len(graph.subgraphs) != 1:
        raise ConversionError(
            f"{where}: qat_int8: the model has {len(graph.subgraphs)} subgraphs (loops or branches "
            "at run time), which can't be trained; unroll loops"
        )
    main = graph.main
    constants = constants_of(template)
    floats = _FloatConstants(floating, graph)
    groups, ranges, fixed, bypassed = _grouped(graph)
    weights: list[Weights] = []
    sources: dict[int, int] = {}
    positions: dict[int, int] = {}
    constant_groups: dict[int, int] = {}
    opaque = opaque_operators(graph)
    kept = {i for o in main.operators if o.index in opaque for i in o.inputs}
    for operator in main.operators:
        if operator.index in opaque:
            continue
        places = WEIGHTED.get(operator.name, (None, None))
        for place, index in enumerate(operator.inputs):
            if index < 0 or index in sources or index not in constants:
                continue
            tensor = main.tensors[index]
            if tensor.quantization is None or tensor.type not in ("INT8", "INT32"):
                continue
            if index in kept:
                raise ConversionError(
                    f"{where}: qat_int8: {tensor.shown} is shared by {operator.place} and an "
                    "operator that can't be simulated in training. Give each its own, or use int8"
                )
            twin = floats.find(operator, place, tensor, constants[index])
            if twin is None:
                raise ConversionError(
                    f"{where}: qat_int8: the float values of {tensor.shown}, "
                    f"{operator.place}, can't be found in the float model"
                )
            if twin not in positions:
                value = floats.values[twin]
                channel = CHANNEL_AXIS.get(operator.name) if place == places[0] else None
                if place == places[1]:
                    channel = 0
                positions[twin] = len(weights)
                trained = place in places or value.size > 1
                trained = trained and operator.name not in ("PADV2",)
                weights.append(Weights(tensor.name, value, channel, trained))
            sources[index] = positions[twin]
            output = main.tensors[operator.outputs[0]]
            if operator.name in MOVES_DATA and tensor.quantization == output.quantization:
                constant_groups[index] = groups[output.index]
    if not any(w.trained for w in weights):
        reason = "the model has no weights"
        if opaque:
            names = ", ".join(o.place for o in main.operators if o.index in opaque)
            reason = f"no weights are left but those of what can't be simulated ({names})"
        raise ModelError(
            f"{where}: qat_int8: {reason}, so there is nothing to train; use int8 instead"
        )
    normalized = frozenset(
        o.index
        for o in main.operators
        if _folded_normalization(main, o) and not _shares_weights(main, o, sources)
    )
    return Plan(
        template,
        graph,
        constants,
        weights,
        sources,
        groups,
        ranges,
        fixed,
        normalized,
        bypassed,
        constant_groups,
        opaque,
    )


def layer_of(plan: Plan, operator: Operator) -> str:
    """The name of what an operator computes, as messages say it."""
    return plan.main.tensors[operator.outputs[0]].name if operator.outputs else "?"
