"""Changing a .tflite file: unpacked to the schema's objects, packed with aligned constants."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np

from pytest_edgequant.tflite import schema

_ALIGNMENT = 16


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer written 16-aligned as the schema asks, which the generated Python code ignores."""

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the generated class names it so
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


def _builtin_code(code: Any) -> int:
    # Codes up to 127 may stand in the older field alone.
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def operator_code(model: Any, operator: Any) -> int:
    """The builtin code of an operator."""
    return _builtin_code(model.operatorCodes[operator.opcodeIndex])


def builtin_code_index(model: Any, builtin: int) -> int:
    """The index of a builtin operator among the model's codes, added where it is not there."""
    for index, code in enumerate(model.operatorCodes):
        if _builtin_code(code) == builtin:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = builtin
    code.deprecatedBuiltinCode = min(builtin, 127)
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def tensor_data(model: Any, index: int) -> bytes:
    """The content of a tensor of the main subgraph; empty for what is computed."""
    data = model.buffers[model.subgraphs[0].tensors[index].buffer].data
    return b"" if data is None else np.asarray(data, np.uint8).tobytes()


def add_tensor(model: Any, name: bytes, shape: Any, kind: int, values: Any = None) -> int:
    """A new tensor of the main subgraph, constant where it has values; gives its index.

    `subgraphs[0].tensors` must be a list.
    """
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.buffer = name, kind, 0
    tensor.shape = np.asarray(shape, np.int32)
    if values is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.asarray(values).tobytes(), np.uint8)
        tensor.buffer = len(model.buffers)
        model.buffers.append(buffer)
    tensors = model.subgraphs[0].tensors
    tensors.append(tensor)
    return len(tensors) - 1


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


def drop_unused(model: Any) -> None:
    """Remove tensors and operator codes of the main subgraph that nothing refers to."""
    _drop_unused_tensors(model, model.subgraphs[0])
    _drop_unused_codes(model)


def _drop_unused_codes(model: Any) -> None:
    used = sorted({op.opcodeIndex for g in model.subgraphs for op in g.operators or []})
    new = {old: position for position, old in enumerate(used)}
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            operator.opcodeIndex = new[operator.opcodeIndex]
    model.operatorCodes = [model.operatorCodes[i] for i in used]
