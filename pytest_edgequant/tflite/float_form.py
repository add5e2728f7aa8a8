"""The float model in a file whose quantization was simulated.

A model that was trained with simulated quantization (tensorflow-model-optimization, or fake
quantization of one's own) becomes QUANTIZEs followed by DEQUANTIZEs around float operators, and
constants of integers behind DEQUANTIZE. In its float form nothing is rounded: the pairs go, and the
constants become float.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_edgequant.tflite import schema
from pytest_edgequant.tflite.edit import drop_unused, operator_code
from pytest_edgequant.tflite.rewrite import Rewrite

_BUILTIN = schema.BuiltinOperator
_STORED: dict[int, Any] = {
    schema.TensorType.INT8: np.int8,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.INT16: np.int16,
}


def _indices(vector: Any) -> list[int]:
    return [] if vector is None else [int(i) for i in vector]


def _sources(model: Any, graph: Any, code: int) -> dict[int, int]:
    """The input behind each output of one kind of operator."""
    return {
        int(operator.outputs[0]): int(operator.inputs[0])
        for operator in graph.operators
        if operator_code(model, operator) == code
    }


def _replaced(graph: Any, old: int, new: int) -> None:
    for operator in graph.operators:
        operator.inputs = np.asarray(
            [new if i == old else i for i in _indices(operator.inputs)], np.int32
        )


def _real(model: Any, tensor: Any) -> Any | None:
    """The values that a constant of integers stands for; None for what is no such constant."""
    data, parameters = model.buffers[tensor.buffer].data, tensor.quantization
    if tensor.type not in _STORED or data is None or parameters is None:
        return None
    if parameters.scale is None or tensor.shape is None or not len(data):
        return None
    stored = np.frombuffer(np.asarray(data, np.uint8).tobytes(), _STORED[tensor.type])
    shape = tuple(int(n) for n in tensor.shape)
    if stored.size != int(np.prod(shape)):
        return None
    along = [1] * len(shape)
    scales = np.ravel(parameters.scale)
    points = np.ravel(parameters.zeroPoint) if parameters.zeroPoint is not None else np.zeros(1)
    if len(scales) > 1:
        along[parameters.quantizedDimension] = len(scales)
        points = np.broadcast_to(points, scales.shape).reshape(along)
        scales = scales.reshape(along)
    return ((stored.reshape(shape) - points.astype(np.float64)) * scales).astype(np.float32)


def _make_float(model: Any, graph: Any, dequantized: int, source: int) -> bool:
    """Give a DEQUANTIZE's output the values of the constant behind it."""
    values = _real(model, graph.tensors[source])
    tensor = graph.tensors[dequantized]
    if values is None:
        return False
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    tensor.buffer = len(model.buffers)
    tensor.shape, tensor.shapeSignature = np.asarray(values.shape, np.int32), None
    model.buffers.append(buffer)
    return True


def _drop(model: Any, graph: Any, outputs: set[int], code: int) -> None:
    graph.operators = [
        operator
        for operator in graph.operators
        if operator_code(model, operator) != code or int(operator.outputs[0]) not in outputs
    ]


def _take_over(graph: Any, origin: int, output: int) -> bool:
    """Let what computes `origin` write the model's output instead; False where nothing can."""
    makers = [o for o in graph.operators if origin in _indices(o.outputs)]
    if origin in _indices(graph.inputs) or origin in _indices(graph.outputs) or len(makers) != 1:
        return False
    changed = [output if i == origin else i for i in _indices(makers[0].outputs)]
    makers[0].outputs = np.asarray(changed, np.int32)
    _replaced(graph, origin, output)
    return True


@dataclass(frozen=True)
class DropSimulatedQuantization(Rewrite):
    """Drop the rounding that was simulated in a float model.

    1. What takes the output of a QUANTIZE and DEQUANTIZE takes what went into them.
    2. Where that output is the model's own, what made their input writes it instead.
    3. A constant of integers behind DEQUANTIZE becomes float, if `constants` says so.
    4. A QUANTIZE that nothing takes any more goes.
    """

    needless = "no quantization is simulated"
    constants: bool

    def edit(self, model: Any) -> bool:
        graph = model.subgraphs[0]
        graph.operators = list(graph.operators or [])
        quantized = _sources(model, graph, _BUILTIN.QUANTIZE)
        ends = set(_indices(graph.outputs))
        gone = self._dequantized_in_vain(model, quantized, ends)
        if not gone:
            return False
        _drop(model, graph, gone, _BUILTIN.DEQUANTIZE)
        used = {i for operator in graph.operators for i in _indices(operator.inputs)} | ends
        _drop(model, graph, set(quantized) - used, _BUILTIN.QUANTIZE)
        drop_unused(model)
        return True

    def _dequantized_in_vain(
        self, model: Any, quantized: dict[int, int], ends: set[int]
    ) -> set[int]:
        """Give the takers of each DEQUANTIZE something else; the outputs of those that can go."""
        graph = model.subgraphs[0]
        gone: set[int] = set()
        moved: dict[int, int] = {}
        for output, stored in _sources(model, graph, _BUILTIN.DEQUANTIZE).items():
            origin = quantized.get(stored)
            if origin is None:
                constant = self.constants and output not in ends
                if constant and _make_float(model, graph, output, stored):
                    gone.add(output)
                continue
            origin = moved.get(origin, origin)
            if graph.tensors[origin].type != schema.TensorType.FLOAT32:
                continue
            if output not in ends:
                _replaced(graph, output, origin)
                moved[output] = origin
            elif _take_over(graph, origin, output):
                moved |= {old: output for old, new in moved.items() if new == origin}
                moved[origin] = output
            else:
                continue
            gone.add(output)
        return gone
