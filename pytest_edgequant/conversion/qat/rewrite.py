"""Writing trained weights and ranges into the template: the same graph with other numbers."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.conversion.qat.plan import Plan
from pytest_edgequant.conversion.qat.weights import CHANNEL_AXIS, WEIGHTED
from pytest_edgequant.tflite.edit import drop_unused, pack, unpack
from pytest_edgequant.tflite.graph import Operator

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SMALLEST_STEP = 1e-12
_LARGEST_BIAS = 2.0**30


def activation_parameters(low: float, high: float) -> tuple[np.float32, int]:
    """Scale and zero point of an int8 activation for a range, zero exactly representable.

    Computed as TensorFlow's fake-quantization operator does it, in float32.
    """
    low32, high32 = np.float32(low), np.float32(high)
    scale = np.float32((high32 - low32) / np.float32(255.0))
    from_low = np.float32(0.0) - np.float32(low32 / scale)
    point = int(np.clip(np.floor(from_low + np.float32(0.5)), 0, 255))
    return scale, point - 128


def symmetric_steps(values: NDArray[Any], axis: int | None) -> NDArray[np.float32]:
    """The step of the symmetric grid from -127 to 127: one, or one for each index along `axis`."""
    axes = None if axis is None else tuple(a for a in range(values.ndim) if a != axis)
    largest = np.abs(values).max(axis=axes, initial=0.0).astype(np.float32).reshape(-1)
    steps: NDArray[np.float32] = np.maximum(largest, _SMALLEST_STEP) / np.float32(127.0)
    return steps.astype(np.float32)


def _set_parameters(
    tensor: Any, scales: NDArray[np.float32], points: NDArray[np.int64], axis: int | None
) -> None:
    parameters = tensor.quantization
    parameters.scale, parameters.zeroPoint = scales.astype(np.float32), points.astype(np.int64)
    parameters.quantizedDimension = axis or 0
    parameters.min = parameters.max = None


class _Writer:
    def __init__(
        self,
        plan: Plan,
        weights: list[NDArray[np.float32]],
        ranges: NDArray[np.float32],
        gains: Mapping[int, tuple[NDArray[np.float32], NDArray[np.float32]]],
    ) -> None:
        self.plan, self.weights, self.gains = plan, weights, gains
        self.model = unpack(plan.content)
        self.tensors = self.model.subgraphs[0].tensors
        self.buffers: dict[bytes, int] = {}
        self.written: set[int] = set()
        self.steps: dict[int, NDArray[np.float32]] = {}
        self.activations = {
            group: activation_parameters(*ranges[group]) for group in set(plan.groups.values())
        }

    def scale_of(self, index: int) -> float:
        group = self.plan.groups.get(index)
        if group is None or group in self.plan.fixed:
            quantization = self.plan.main.tensors[index].quantization
            assert quantization is not None
            return quantization.scales[0]
        return float(self.activations[group][0])

    def parameters(self, index: int) -> None:
        """An activation's scale and zero point."""
        group = self.plan.groups[index]
        if group in self.plan.fixed:
            return
        scale, point = self.activations[group]
        _set_parameters(self.tensors[index], np.array([scale]), np.array([point]), None)

    def store(self, index: int, values: NDArray[Any]) -> None:
        """A constant's new content; equal contents share one buffer."""
        from ai_edge_litert import schema_py_generated as schema

        raw = values.tobytes()
        if raw not in self.buffers:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(raw, np.uint8)
            self.buffers[raw] = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.tensors[index].buffer = self.buffers[raw]
        self.written.add(index)

    def _gained(self, operator: Operator, place: int) -> NDArray[np.float32]:
        """An operator's weights with the gain of its batch normalization."""
        values = self.weights[self.plan.sources[operator.inputs[place]]].astype(np.float32)
        gain = self.gains.get(operator.index, (None, None))[0]
        if gain is None:
            return values
        channels = CHANNEL_AXIS[operator.name]
        return values * gain.reshape([-1 if a == channels else 1 for a in range(values.ndim)])

    def _source_scale(self, operator: Operator) -> float:
        return self.scale_of(operator.inputs[2 if operator.name == "TRANSPOSE_CONV" else 0])

    def _is_trained(self, operator: Operator) -> bool:
        places = WEIGHTED.get(operator.name)
        return places is not None and operator.inputs[places[0]] in self.plan.sources

    def find_steps(self) -> None:
        """The steps of all weights; operators that share weights share them."""
        for operator in self.plan.main.operators:
            if not self._is_trained(operator):
                continue
            place, bias_place = WEIGHTED[operator.name]
            index = operator.inputs[place]
            quantization = self.plan.main.tensors[index].quantization
            axis = quantization.axis if quantization is not None else None
            steps = symmetric_steps(self._gained(operator, place), axis)
            bias = self._bias(operator, bias_place)
            if bias is not None:
                # A bias has the scale of the products and 32 bits: a tiny step would overflow it.
                needed = np.abs(bias) / (self._source_scale(operator) * _LARGEST_BIAS)
                needed = needed if axis is not None else needed.max(initial=0.0).reshape(1)
                steps = np.maximum(steps, needed.astype(np.float32))
            if index in self.steps:
                steps = np.maximum(steps, self.steps[index])
            self.steps[index] = steps

    def write_weighted(self, operator: Operator) -> None:
        if not self._is_trained(operator):
            return
        place, bias_place = WEIGHTED[operator.name]
        index = operator.inputs[place]
        steps = self.steps[index]
        if index not in self.written:
            quantization = self.plan.main.tensors[index].quantization
            axis = quantization.axis if quantization is not None else None
            values = self._gained(operator, place)
            shaped = steps.reshape([-1 if a == axis else 1 for a in range(values.ndim)])
            stored = np.clip(np.rint(values / shaped), -127, 127).astype(np.int8)
            self.store(index, stored)
            _set_parameters(self.tensors[index], steps, np.zeros(len(steps), np.int64), axis)
        bias = self._bias(operator, bias_place)
        if bias is None or bias_place is None:
            return
        scales = (np.float32(self._source_scale(operator)) * steps).astype(np.float32)
        limits = np.iinfo(np.int32)
        stored = np.rint(bias.astype(np.float64) / scales.astype(np.float64))
        target = operator.inputs[bias_place]
        if target in self.written:
            target = self._copy(operator, bias_place)
        self.store(target, np.clip(stored, limits.min, limits.max).astype(np.int32))
        axis = 0 if len(scales) > 1 else None
        _set_parameters(self.tensors[target], scales, np.zeros(len(scales), np.int64), axis)

    def _copy(self, operator: Operator, place: int) -> int:
        """A tensor of its own for an operator's input that others share."""
        raw = self.model.subgraphs[0].operators[operator.index]
        self.tensors.append(copy.deepcopy(self.tensors[operator.inputs[place]]))
        raw.inputs = np.array(raw.inputs, np.int32)
        raw.inputs[place] = len(self.tensors) - 1
        return len(self.tensors) - 1

    def _bias(self, operator: Operator, place: int | None) -> NDArray[np.float32] | None:
        if place is None or len(operator.inputs) <= place or operator.inputs[place] < 0:
            return None
        index = operator.inputs[place]
        if index in self.plan.sources:
            values = self.weights[self.plan.sources[index]]
        else:
            values = self.plan.constants[index].astype(np.float32)
        shift = self.gains.get(operator.index, (None, None))[1]
        return values if shift is None else values + shift

    def write_constant(self, index: int) -> None:
        """A constant that is no weights: the range of its values, or the scale of its group."""
        plan = self.plan
        values = self.weights[plan.sources[index]].astype(np.float32)
        group = plan.constant_groups.get(index)
        if group is None:
            low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
            scale, point = activation_parameters(low, max(high, low + 1e-6))
        elif group in plan.fixed:
            quantization = plan.main.tensors[index].quantization
            assert quantization is not None
            scale, point = np.float32(quantization.scales[0]), quantization.zero_points[0]
        else:
            scale, point = self.activations[group]
        stored = np.clip(np.floor(values / scale + np.float32(0.5)) + point, -128, 127)
        self.store(index, stored.astype(np.int8))
        _set_parameters(self.tensors[index], np.array([scale]), np.array([point]), None)

    def bypass(self) -> None:
        """Drop the QUANTIZE operators between tensors that share a scale now."""
        graph = self.model.subgraphs[0]
        renamed = {
            int(graph.operators[i].outputs[0]): int(graph.operators[i].inputs[0])
            for i in sorted(self.plan.bypassed)
        }

        def final(index: int) -> int:
            while index in renamed:
                index = renamed[index]
            return index

        for operator in graph.operators:
            operator.inputs = np.array([final(int(i)) for i in operator.inputs], np.int32)
        graph.outputs = np.array([final(int(i)) for i in graph.outputs], np.int32)
        for signature in self.model.signatureDefs or []:
            for entry in signature.outputs or []:
                entry.tensorIndex = final(int(entry.tensorIndex))
        graph.operators = [
            op for i, op in enumerate(graph.operators) if i not in self.plan.bypassed
        ]

    def shorten_names(self) -> None:
        """Name each layer once in the name of a fused operator, which lists every part of it.

        A batch normalization is there up to four times; the file carries the names to the device.
        """
        used = {bytes(t.name) for t in self.tensors if b";" not in bytes(t.name)}
        for tensor in self.tensors:
            parts = bytes(tensor.name).split(b";")
            if len(parts) == 1:
                continue
            layers: dict[bytes, bytes] = {}
            for part in parts:
                scope = part.rpartition(b"/")[0].removesuffix(b"/batchnorm")
                layers.setdefault(scope or part, part)
            name = short = b";".join(layers.values())
            for number in itertools.count(1):
                if name not in used:
                    break
                name = short + str(number).encode()
            used.add(name)
            tensor.name = name

    def clear_unused(self) -> None:
        """Empty the buffers that nothing refers to any more: the template's weights."""
        used = {int(t.buffer) for g in self.model.subgraphs for t in g.tensors}
        used.update(int(m.buffer) for m in self.model.metadata or [])
        used.add(0)
        kept = [i for i in range(len(self.model.buffers)) if i in used]
        new = {old: position for position, old in enumerate(kept)}
        self.model.buffers = [self.model.buffers[i] for i in kept]
        for graph in self.model.subgraphs:
            for tensor in graph.tensors:
                tensor.buffer = new[int(tensor.buffer)]
        for entry in self.model.metadata or []:
            entry.buffer = new[int(entry.buffer)]


def write(
    plan: Plan,
    weights: list[NDArray[np.float32]],
    ranges: NDArray[np.float32],
    gains: Mapping[int, tuple[NDArray[np.float32], NDArray[np.float32]]],
) -> bytes:
    """The template with trained `weights` (the file's layout) and `ranges` (groups, 2).

    `gains` are the factor and the shift that each folded batch normalization gives an operator's
    weights and bias.
    """
    writer = _Writer(plan, weights, ranges, gains)
    writer.find_steps()
    for operator in plan.main.operators:
        writer.write_weighted(operator)
    for index in plan.sources:
        if index not in writer.written and plan.main.tensors[index].type == "INT8":
            writer.write_constant(index)
    for index in plan.groups:
        writer.parameters(index)
    writer.bypass()
    writer.shorten_names()
    drop_unused(writer.model)
    writer.clear_unused()
    return pack(writer.model)
