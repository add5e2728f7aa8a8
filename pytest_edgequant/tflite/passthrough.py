"""Integer data movement where the converter left a detour through float.

TensorFlow's quantizer leaves SPLIT and the like in float between a DEQUANTIZE and QUANTIZEs when
the ranges of their outputs differ (an unrolled LSTM or GRU does that, depending on its weights).
Moving data needs no arithmetic: the operator can move the integers, and the QUANTIZEs rescale them.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from pytest_edgequant.tflite import schema
from pytest_edgequant.tflite.edit import drop_unused, operator_code
from pytest_edgequant.tflite.rewrite import Rewrite

_BUILTIN = schema.BuiltinOperator
_DATA_INPUT = {
    _BUILTIN.SPLIT: 1,
    _BUILTIN.SPLIT_V: 0,
    _BUILTIN.UNPACK: 0,
    _BUILTIN.RESHAPE: 0,
    _BUILTIN.SQUEEZE: 0,
    _BUILTIN.EXPAND_DIMS: 0,
    _BUILTIN.TRANSPOSE: 0,
    _BUILTIN.SLICE: 0,
    _BUILTIN.STRIDED_SLICE: 0,
    _BUILTIN.GATHER: 0,
}


def _indices(vector: Any) -> list[int]:
    return [] if vector is None else [int(i) for i in vector]


def _consumers(graph: Any, tensor: int) -> list[Any]:
    return [op for op in graph.operators if tensor in _indices(op.inputs)]


def _producer(graph: Any, tensor: int) -> Any | None:
    for operator in graph.operators:
        if tensor in _indices(operator.outputs):
            return operator
    return None


def _detour(model: Any, graph: Any, operator: Any) -> Any | None:
    """The DEQUANTIZE before an operator that only moves data between it and QUANTIZEs."""
    position = _DATA_INPUT.get(operator_code(model, operator))
    if position is None:
        return None
    data = int(operator.inputs[position])
    if graph.tensors[data].type != schema.TensorType.FLOAT32:
        return None
    before = _producer(graph, data)
    if before is None or operator_code(model, before) != _BUILTIN.DEQUANTIZE:
        return None
    ends = {int(i) for i in graph.outputs}
    for output in operator.outputs:
        after = _consumers(graph, int(output))
        if int(output) in ends or any(operator_code(model, c) != _BUILTIN.QUANTIZE for c in after):
            return None
    return before


@dataclass(frozen=True)
class MoveIntegers(Rewrite):
    """Have operators that only move data move the integers that the converter made float.

    1. Such an operator between a DEQUANTIZE and QUANTIZEs takes what was dequantized, and its
       outputs have that type, scale and zero point; the QUANTIZEs rescale.
    2. A DEQUANTIZE that nothing takes any more goes.
    3. An output of the model stays float, and so does what anything but QUANTIZE takes.
    """

    needless = "no operator that only moves data stands in float between DEQUANTIZE and QUANTIZE"

    def edit(self, model: Any) -> bool:
        graph = model.subgraphs[0]
        graph.operators = list(graph.operators or [])
        changed = False
        for operator in graph.operators:
            before = _detour(model, graph, operator)
            if before is not None:
                _move_integers(model, graph, operator, int(before.inputs[0]))
                changed = True
        if not changed:
            return False
        used = {i for op in graph.operators for i in _indices(op.inputs)}
        used.update(_indices(graph.outputs))
        graph.operators = [
            op
            for op in graph.operators
            if operator_code(model, op) != _BUILTIN.DEQUANTIZE or int(op.outputs[0]) in used
        ]
        drop_unused(model)
        return True


def _move_integers(model: Any, graph: Any, operator: Any, source: int) -> None:
    """Let an operator take the tensor `source`, and give its type, scale and zero point."""
    operator.inputs = operator.inputs.copy()
    operator.inputs[_DATA_INPUT[operator_code(model, operator)]] = source
    for output in operator.outputs:
        tensor = graph.tensors[int(output)]
        tensor.type = graph.tensors[source].type
        tensor.quantization = copy.copy(graph.tensors[source].quantization)
