"""Changing the type of a quantized model's inputs and outputs without converting it again.

A model that is integer inside and float outside begins with QUANTIZE and ends with DEQUANTIZE.
To make its inputs and outputs integer these are dropped; for another integer type than the one
inside they become a QUANTIZE that requantizes. The weights are not touched.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from pytest_edgequant.errors import ConversionError
from pytest_edgequant.tflite.edit import (
    builtin_code_index,
    drop_unused,
    operator_code,
    pack,
    unpack,
)
from pytest_edgequant.wording import short

_TYPES = {
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int16": schema.TensorType.INT16,
}
_ZERO_POINT_SHIFT = {("int8", "uint8"): 128}


def _name(tensor: Any) -> str:
    return bytes(tensor.name or b"").decode("utf-8", "replace")


def _scale(tensor: Any) -> float:
    return float(tensor.quantization.scale[0])


def _ends(operator: Any, side: str) -> list[int]:
    """An operator's inputs or outputs; CALL_ONCE has neither."""
    indices = getattr(operator, side)
    return [] if indices is None else [int(i) for i in indices]


def _retype(outside: Any, inside: Any, inner: str, io: str) -> None:
    """Give the outer tensor the integer type `io`, on the inner tensor's scale."""
    parameters = schema.QuantizationParametersT()
    parameters.scale = np.asarray(inside.quantization.scale, dtype=np.float32)
    parameters.zeroPoint = (
        np.asarray(inside.quantization.zeroPoint, dtype=np.int64) + _ZERO_POINT_SHIFT[inner, io]
    )
    outside.type = _TYPES[io]
    outside.quantization = parameters


def with_io_type(content: bytes, inner: str, io: str, where: str) -> bytes:
    """The same model with float inputs and outputs turned into the integer type `io`.

    `inner` is the type of its activations. Inputs and outputs that are not float stay as they are;
    of an input that nothing reads any scale is right. An input that is an output too stays both.
    Raises `ConversionError` where a float input or output is not quantized right at the edge.
    """
    model = unpack(content)
    graph = model.subgraphs[0]
    graph.operators = list(graph.operators or [])
    builtin = schema.BuiltinOperator
    dropped: set[int] = set()
    for edge, code, near, far in (
        ("inputs", builtin.QUANTIZE, "inputs", "outputs"),
        ("outputs", builtin.DEQUANTIZE, "outputs", "inputs"),
    ):
        ends = [int(i) for i in getattr(graph, edge)]
        for position, index in enumerate(ends):
            tensor = graph.tensors[index]
            if tensor.type != schema.TensorType.FLOAT32:
                continue
            touching = [i for i, op in enumerate(graph.operators) if index in _ends(op, near)]
            if edge == "inputs" and not touching and index not in list(graph.outputs):
                _retype_unread(tensor, io)
                continue
            around = [graph.operators[i] for i in touching]
            inner_ends = [int(getattr(operator, far)[0]) for operator in around]
            if (
                (not touching if edge == "inputs" else len(touching) != 1)
                or {operator_code(model, operator) for operator in around} != {code}
                or {graph.tensors[i].type for i in inner_ends} != {_TYPES[inner]}
            ):
                raise ConversionError(
                    f"{where}: the {edge[:-1]} {short(_name(tensor))!r} is float and not "
                    f"{'quantized' if edge == 'inputs' else 'dequantized'} to {inner} right there, "
                    f"so it can't be made {io}; use int8_float_io, or change the layer next to it"
                )
            # A quantizer may give each reader of an input a scale of its own: the widest one holds
            # what all of them do, and the others requantize.
            chosen = max(range(len(around)), key=lambda i: _scale(graph.tensors[inner_ends[i]]))
            inside = inner_ends[chosen]
            if io == inner:
                dropped.add(touching[chosen])
                ends[position] = inside
                for operator in around if edge == "inputs" else ():
                    operator.inputs = np.asarray([inside], np.int32)
                graph.outputs = np.where(np.asarray(graph.outputs) == index, inside, graph.outputs)
                _rename_signature(model, index, inside)
            else:
                _retype(tensor, graph.tensors[inside], inner, io)
                for operator in around:
                    operator.opcodeIndex = builtin_code_index(model, builtin.QUANTIZE)
                    operator.builtinOptionsType = 0
                    operator.builtinOptions = None
        setattr(graph, edge, np.asarray(ends, dtype=np.int32))
    graph.operators = [op for i, op in enumerate(graph.operators) if i not in dropped]
    drop_unused(model)
    return pack(model)


def _retype_unread(tensor: Any, io: str) -> None:
    """Make an input that nothing reads the integer type `io`, on the scale 1."""
    parameters = schema.QuantizationParametersT()
    parameters.scale = np.ones(1, np.float32)
    parameters.zeroPoint = np.zeros(1, np.int64)
    tensor.type, tensor.quantization = _TYPES[io], parameters


def _rename_signature(model: Any, old: int, new: int) -> None:
    for signature in model.signatureDefs or []:
        for entry in [*(signature.inputs or []), *(signature.outputs or [])]:
            if signature.subgraphIndex == 0 and entry.tensorIndex == old:
                entry.tensorIndex = new
