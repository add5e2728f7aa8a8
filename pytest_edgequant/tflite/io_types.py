"""Changing the type of a quantized model's inputs and outputs without converting it again.

A model that is integer inside and float outside begins with QUANTIZE and ends with DEQUANTIZE.
To make its inputs and outputs integer these are dropped; for another integer type than the one
inside they become a QUANTIZE that requantizes. The weights are not touched.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from pytest_edgequant.errors import ConversionError

_TYPES = {
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int16": schema.TensorType.INT16,
}
_ZERO_POINT_SHIFT = {("int8", "uint8"): 128}
_ALIGNMENT = 16


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer written 16-aligned as the schema asks, which the generated Python code ignores."""

    def Pack(self, builder: Any) -> int:
        data = None
        if self.data is not None:
            raw = np.asarray(self.data, dtype=np.uint8).tobytes()
            builder.StartVector(1, len(raw), _ALIGNMENT)
            builder.head -= len(raw)
            builder.Bytes[builder.head : builder.head + len(raw)] = raw
            data = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        schema.BufferAddOffset(builder, self.offset)
        schema.BufferAddSize(builder, self.size)
        return int(schema.BufferEnd(builder))


def unpack(content: bytes) -> Any:
    """The schema's object tree of a model."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))


def pack(model: Any) -> bytes:
    """A .tflite file from the schema's object tree, constants 16-aligned."""
    for buffer in model.buffers:
        buffer.__class__ = _AlignedBuffer
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _code(model: Any, operator: Any) -> int:
    code = model.operatorCodes[operator.opcodeIndex]
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def _quantize_code(model: Any) -> int:
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == schema.BuiltinOperator.QUANTIZE:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.QUANTIZE
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _name(tensor: Any) -> str:
    return bytes(tensor.name or b"").decode("utf-8", "replace")


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

    `inner` is the type of its activations. Inputs and outputs that are not float stay as they are.
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
            touching = [
                i for i, op in enumerate(graph.operators) if index in list(getattr(op, near))
            ]
            inner_ends = {int(getattr(graph.operators[i], far)[0]) for i in touching}
            if (
                len(touching) != 1
                or _code(model, graph.operators[touching[0]]) != code
                or graph.tensors[min(inner_ends)].type != _TYPES[inner]
            ):
                raise ConversionError(
                    f"{where}: the {edge[:-1]} {_name(tensor)!r} is float and not "
                    f"{'quantized' if edge == 'inputs' else 'dequantized'} to {inner} right there, "
                    f"so it can't be made {io}; use int8_float_io, or change the layer next to it"
                )
            inside = inner_ends.pop()
            if io == inner:
                dropped.add(touching[0])
                ends[position] = inside
                _rename_signature(model, edge, index, inside)
            else:
                _retype(tensor, graph.tensors[inside], inner, io)
                operator = graph.operators[touching[0]]
                operator.opcodeIndex = _quantize_code(model)
                operator.builtinOptionsType = 0
                operator.builtinOptions = None
        setattr(graph, edge, np.asarray(ends, dtype=np.int32))
    graph.operators = [op for i, op in enumerate(graph.operators) if i not in dropped]
    _drop_unused_tensors(model, graph)
    _drop_unused_codes(model)
    return pack(model)


def _rename_signature(model: Any, edge: str, old: int, new: int) -> None:
    for signature in model.signatureDefs or []:
        for entry in getattr(signature, edge) or []:
            if signature.subgraphIndex == 0 and entry.tensorIndex == old:
                entry.tensorIndex = new


def _drop_unused_tensors(model: Any, graph: Any) -> None:
    """Remove tensors that nothing refers to: each costs TFLM persistent memory."""
    lists = [graph.inputs, graph.outputs]
    for operator in graph.operators:
        lists += [operator.inputs, operator.outputs]
        if operator.intermediates is not None:
            lists.append(operator.intermediates)
    used = {int(i) for indices in lists if indices is not None for i in indices}
    kept = [i for i in range(len(graph.tensors)) if i in used]
    new = {old: position for position, old in enumerate(kept)} | {-1: -1}

    def moved(indices: Any) -> Any:
        return None if indices is None else np.asarray([new[int(i)] for i in indices], np.int32)

    graph.inputs, graph.outputs = moved(graph.inputs), moved(graph.outputs)
    for operator in graph.operators:
        operator.inputs, operator.outputs = moved(operator.inputs), moved(operator.outputs)
        operator.intermediates = moved(operator.intermediates)
    for signature in model.signatureDefs or []:
        if signature.subgraphIndex == 0:
            for entry in [*(signature.inputs or []), *(signature.outputs or [])]:
                entry.tensorIndex = new[int(entry.tensorIndex)]
    graph.tensors = [graph.tensors[i] for i in kept]


def _drop_unused_codes(model: Any) -> None:
    used = sorted({op.opcodeIndex for g in model.subgraphs for op in g.operators or []})
    new = {old: position for position, old in enumerate(used)}
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            operator.opcodeIndex = new[operator.opcodeIndex]
    model.operatorCodes = [model.operatorCodes[i] for i in used]
