"""Hand-packed .tflite files that refer to one string, vector or table from many places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as s


def _tables(builder: Any, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _ints(builder: Any, values: Sequence[int]) -> int:
    return int(builder.CreateNumpyVector(np.asarray(values, np.int32)))


class Packed:
    """A model of ADDs on the tensors 0, 1 and 2, of which one thing is long, or shared.

    `lengths` are of the text or vector of that name: tensor_name, custom_code, subgraph_name,
    signature_name, description, data, scales, shape, new_shape. `counts` are how often a table is
    referred to: tensor, operator, subgraph, metadata, buffer, signature, variant.
    """

    def __init__(self, lengths: Mapping[str, int], counts: Mapping[str, int]) -> None:
        self.b = flatbuffers.Builder(1 << 16)
        self.lengths = lengths
        self.counts = counts

    def _text(self, what: str, default: str = "t") -> int:
        length = self.lengths.get(what)
        return int(self.b.CreateString(default if length is None else "N" * length))

    def _some(self, what: str, table: int, default: int = 1) -> int:
        return _tables(self.b, [table] * self.counts.get(what, default))

    def _tensors(self) -> int:
        b = self.b
        quantization = None
        if "scales" in self.lengths:
            scales = b.CreateNumpyVector(np.full(self.lengths["scales"], 0.1, np.float32))
            s.QuantizationParametersStart(b)
            s.QuantizationParametersAddScale(b, scales)
            quantization = s.QuantizationParametersEnd(b)
        variants = None
        if "variant" in self.counts:
            s.VariantSubTypeStart(b)
            variants = self._some("variant", s.VariantSubTypeEnd(b))
        name = self._text("tensor_name")
        shape = _ints(b, [1] * self.lengths.get("shape", 2))
        s.TensorStart(b)
        s.TensorAddShape(b, shape)
        s.TensorAddName(b, name)
        s.TensorAddType(b, s.TensorType.INT8)
        s.TensorAddBuffer(b, 0)
        if quantization is not None:
            s.TensorAddQuantization(b, quantization)
        if variants is not None:
            s.TensorAddVariantTensors(b, variants)
        return self._some("tensor", s.TensorEnd(b), 3)

    def _operators(self) -> int:
        b = self.b
        inputs, outputs = _ints(b, [0, 1]), _ints(b, [2])
        options = None
        if "new_shape" in self.lengths:
            new_shape = _ints(b, [1] * self.lengths["new_shape"])
            s.ReshapeOptionsStart(b)
            s.ReshapeOptionsAddNewShape(b, new_shape)
            options = s.ReshapeOptionsEnd(b)
        s.OperatorStart(b)
        s.OperatorAddOpcodeIndex(b, 0)
        s.OperatorAddInputs(b, inputs)
        s.OperatorAddOutputs(b, outputs)
        if options is not None:
            s.OperatorAddBuiltinOptionsType(b, s.BuiltinOptions.ReshapeOptions)
            s.OperatorAddBuiltinOptions(b, options)
        return self._some("operator", s.OperatorEnd(b))

    def _codes(self) -> int:
        b, custom = self.b, None
        if "custom_code" in self.lengths:
            custom = self._text("custom_code")
        code = s.BuiltinOperator.ADD if custom is None else s.BuiltinOperator.CUSTOM
        s.OperatorCodeStart(b)
        s.OperatorCodeAddDeprecatedBuiltinCode(b, code)
        s.OperatorCodeAddVersion(b, 1)
        if custom is not None:
            s.OperatorCodeAddCustomCode(b, custom)
        return _tables(b, [s.OperatorCodeEnd(b)])

    def _buffers(self) -> int:
        b = self.b
        s.BufferStart(b)
        empty = s.BufferEnd(b)
        data = b.CreateByteVector(bytes(self.lengths.get("data", 4)))
        s.BufferStart(b)
        s.BufferAddData(b, data)
        return _tables(b, [empty, *[s.BufferEnd(b)] * self.counts.get("buffer", 1)])

    def _signatures(self) -> int:
        b = self.b
        name = self._text("signature_name")
        s.TensorMapStart(b)
        s.TensorMapAddName(b, name)
        inputs = self._some("signature", s.TensorMapEnd(b))
        s.SignatureDefStart(b)
        s.SignatureDefAddInputs(b, inputs)
        return _tables(b, [s.SignatureDefEnd(b)])

    def _metadata(self) -> int:
        b, entries = self.b, []
        for i in range(self.counts["metadata"]):
            name = b.CreateString(f"{i:x}")
            s.MetadataStart(b)
            s.MetadataAddName(b, name)
            s.MetadataAddBuffer(b, 1)
            entries.append(s.MetadataEnd(b))
        return _tables(b, entries)

    def content(self) -> bytes:
        b = self.b
        tensors, operators, codes, buffers = (
            self._tensors(),
            self._operators(),
            self._codes(),
            self._buffers(),
        )
        inputs, outputs, name = _ints(b, [0]), _ints(b, [2]), self._text("subgraph_name")
        signatures = self._signatures()
        metadata = self._metadata() if "metadata" in self.counts else None
        description = self._text("description")
        s.SubGraphStart(b)
        s.SubGraphAddTensors(b, tensors)
        s.SubGraphAddInputs(b, inputs)
        s.SubGraphAddOutputs(b, outputs)
        s.SubGraphAddOperators(b, operators)
        s.SubGraphAddName(b, name)
        subgraphs = self._some("subgraph", s.SubGraphEnd(b))
        s.ModelStart(b)
        s.ModelAddVersion(b, 3)
        s.ModelAddDescription(b, description)
        s.ModelAddOperatorCodes(b, codes)
        s.ModelAddSubgraphs(b, subgraphs)
        s.ModelAddBuffers(b, buffers)
        s.ModelAddSignatureDefs(b, signatures)
        if metadata is not None:
            s.ModelAddMetadata(b, metadata)
        b.Finish(s.ModelEnd(b), b"TFL3")
        return bytes(b.Output())


def packed(lengths: Mapping[str, int], counts: Mapping[str, int]) -> bytes:
    """A file with a text or vector of this length, and this many references to a table."""
    return Packed(lengths, counts).content()
