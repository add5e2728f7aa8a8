"""A .tflite file as plain records: tensors, operators, subgraphs, signatures.

Read with the schema's classes (`tflite.schema`). A file may be truncated, random or
hostile: every length is checked against the file before anything is built from it.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from pytest_edgequant.errors import ModelError
from pytest_edgequant.records import Quantization
from pytest_edgequant.tflite import schema
from pytest_edgequant.tflite.parts import DTYPES, Graph, Operator, Subgraph, Tensor
from pytest_edgequant.tflite.room import (
    RECORD,
    BeyondLimit,
    Room,
    pay_for_operator,
    pay_for_tensor,
    pay_for_the_rest,
)
from pytest_edgequant.wording import counted, short

__all__ = ["Graph", "Operator", "Subgraph", "Tensor", "read_graph"]

IDENTIFIER = b"TFL3"
OFFLINE_PLAN = "OfflineMemoryAllocation"
"""The metadata with a memory plan that TFLM follows."""

MOST_OPERATORS = 50_000
"""Of a file, in all its subgraphs: ten times what the largest models have."""
MOST_NESTED = 32
"""Subgraphs that call each other: a device runs them on its stack."""
MOST_DIMENSIONS = 32
"""Of a tensor: what every NumPy has arrays of."""
MOST_ELEMENTS = 2**40
"""Of a tensor: more than any memory holds, and few enough to count with."""


_TYPE_NAMES = schema.names(schema.TensorType)
_OPERATOR_NAMES = schema.names(schema.BuiltinOperator)
_OPTION_NAMES = schema.names(schema.BuiltinOptions)


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.content = content
        self.room = Room(len(content))
        self.largest: dict[tuple[int, str], int] = {}
        self.quantizations: dict[int, Quantization] = {}
        self.codes: dict[int, tuple[str, str, int]] = {}
        self.model = schema.Model.GetRootAsModel(content, 0)

    def _ints(self, get: Callable[[], Any], count: int, what: str) -> tuple[int, ...]:
        self.room.spend(count, what, 4)
        return tuple(get().tolist()) if count else ()

    def quantization(self, tensor: Any) -> Quantization | None:
        parameters = tensor.Quantization()
        if parameters is None or parameters.ScaleLength() == 0:
            return None
        count = self.room.spend(parameters.ScaleLength(), "scales", 4)
        self.room.spend(parameters.ZeroPointLength(), "zero points", 4)
        # One record for all tensors that share it: who asks the same of each asks it once.
        place = parameters._tab.Pos
        if place not in self.quantizations:
            self.quantizations[place] = self._quantization(parameters, count)
        return self.quantizations[place]

    @staticmethod
    def _quantization(parameters: Any, count: int) -> Quantization:
        # As arrays: a large model has tens of thousands of them.
        scales = tuple(parameters.ScaleAsNumpy().tolist())
        points = (0,) * count
        if parameters.ZeroPointLength() > 0:
            points = tuple(parameters.ZeroPointAsNumpy().tolist())
        if len(points) not in (1, count):
            raise ValueError(f"{counted(count, 'scale')} and {len(points)} zero points")
        if len(points) < count:
            points = points * count
        return Quantization(scales, points, parameters.QuantizedDimension() if count > 1 else None)

    def tensor(self, index: int, tensor: Any) -> Tensor:
        kind = _TYPE_NAMES.get(tensor.Type())
        if kind is None:
            raise ValueError(f"tensor {index} has the unknown type {tensor.Type()}")
        self.room.spend(1, "tensors", RECORD)
        pay_for_tensor(self.room, tensor)
        name = self.room.text(tensor.Name(), "names")
        shape = self._shape(index, name, tensor)
        if tensor.Buffer() >= self.model.BuffersLength():
            raise ValueError(f"tensor {index} refers to buffer {tensor.Buffer()}")
        buffer = self.model.Buffers(tensor.Buffer())
        size = self.room.length(buffer.DataLength(), "buffer")
        if size:
            # Reading the last byte proves that the buffer lies within the file.
            buffer.Data(size - 1)
        elif buffer.Offset() > 1:
            size = buffer.Size()
            if buffer.Offset() + size > len(self.content):
                raise ValueError(f"buffer {tensor.Buffer()} ends behind the end of the file")
        quantization = self.quantization(tensor)
        stored = size if quantization is not None and kind in ("INT32", "INT64") else 0
        return Tensor(
            index=index,
            name=name,
            shape=shape,
            shape_signature=self._ints(
                tensor.ShapeSignatureAsNumpy, tensor.ShapeSignatureLength(), "shape signature"
            ),
            type=kind,
            quantization=quantization,
            constant_bytes=size,
            is_variable=bool(tensor.IsVariable()),
            largest=self._largest(tensor.Buffer(), kind) if stored else 0,
            axis=tensor.Quantization().QuantizedDimension() if quantization is not None else 0,
        )

    def _shape(self, index: int, name: str, tensor: Any) -> tuple[int, ...]:
        shape = self._ints(tensor.ShapeAsNumpy, tensor.ShapeLength(), "shape")
        where = f"tensor {index} {short(name)!r}"
        if len(shape) > MOST_DIMENSIONS:
            raise BeyondLimit(
                f"{where} has {len(shape)} dimensions; up to {MOST_DIMENSIONS} are read"
            )
        if any(extent < 0 for extent in shape):
            raise ValueError(f"{where} has the shape {shape}")
        # A tensor without elements has extents too, of which arrays of samples are made.
        if math.prod(max(extent, 1) for extent in shape) > MOST_ELEMENTS:
            raise BeyondLimit(
                f"{where} has the shape {shape}: more than the {MOST_ELEMENTS:,} elements that "
                "are read"
            )
        return shape

    def _largest(self, index: int, kind: str) -> int:
        """The largest absolute value in a buffer; read once however many tensors share it."""
        if (index, kind) not in self.largest:
            buffer = self.model.Buffers(index)
            if buffer.DataLength() > 0:
                data = buffer.DataAsNumpy().tobytes()
            else:
                data = self.content[buffer.Offset() : buffer.Offset() + buffer.Size()]
            dtype = np.dtype(DTYPES[kind])
            values = np.frombuffer(data, dtype, len(data) // dtype.itemsize)
            # As Python's integers: the least value of a type has no absolute one in it.
            most = max(int(values.max()), -int(values.min())) if len(values) else 0
            self.largest[index, kind] = most
        return self.largest[index, kind]

    def operator(self, index: int, operator: Any, tensors: Sequence[Tensor]) -> Operator:
        self.room.spend(1, "operators", RECORD)
        pay_for_operator(self.room, operator)
        if operator.OpcodeIndex() >= self.model.OperatorCodesLength():
            raise ValueError(f"operator {index} refers to operator code {operator.OpcodeIndex()}")
        name, custom_code, version = self.code(operator.OpcodeIndex())
        # Messages and lists have the name once for each operator.
        self.room.spend(len(custom_code), "custom codes")
        inputs = self._ints(operator.InputsAsNumpy, operator.InputsLength(), "inputs")
        outputs = self._ints(operator.OutputsAsNumpy, operator.OutputsLength(), "outputs")
        for tensor in (*inputs, *outputs):
            if not -1 <= tensor < len(tensors):
                raise ValueError(f"operator {index} refers to tensor {tensor} of {len(tensors)}")
            # Whoever looks at the operators looks at all their tensors' scales and extents.
            quantization = tensors[tensor].quantization
            self.room.spend(len(tensors[tensor].shape), "shapes")
            self.room.spend(len(quantization.scales) if quantization else 0, "scales")
        return Operator(
            index=index,
            name=name,
            custom_code=custom_code,
            version=version,
            inputs=inputs,
            outputs=outputs,
            options=self.options(operator),
            custom_options=self.custom_options(operator),
        )

    def code(self, index: int) -> tuple[str, str, int]:
        """Name, custom code and version of an operator code: read once for all its operators."""
        if index not in self.codes:
            code = self.model.OperatorCodes(index)
            builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            custom = self.room.text(code.CustomCode(), "custom codes")
            name = _OPERATOR_NAMES.get(builtin, f"BUILTIN_{builtin}")
            self.codes[index] = name, custom, code.Version()
        return self.codes[index]

    def custom_options(self, operator: Any) -> bytes:
        count = operator.CustomOptionsLength()
        if count <= 0:
            return b""
        self.room.spend(count, "custom options")
        return bytes(operator.CustomOptionsAsNumpy().tobytes())

    def options(self, operator: Any) -> Mapping[str, Any]:
        name = _OPTION_NAMES.get(operator.BuiltinOptionsType(), "NONE")
        table = operator.BuiltinOptions()
        if name == "NONE" or table is None:
            return {}
        values = schema.options_of(table, name)
        self.room.unpacked(values, "options")
        return values

    def subgraph(self, subgraph: Any) -> Subgraph:
        self.room.spend(1, "subgraphs", RECORD)
        name = self.room.text(subgraph.Name(), "names")
        count = self.room.length(subgraph.TensorsLength(), "tensors")
        tensors = tuple(self.tensor(i, subgraph.Tensors(i)) for i in range(count))
        inputs = self._ints(subgraph.InputsAsNumpy, subgraph.InputsLength(), "inputs")
        outputs = self._ints(subgraph.OutputsAsNumpy, subgraph.OutputsLength(), "outputs")
        for index in (*inputs, *outputs):
            if not 0 <= index < count:
                raise ValueError(f"the subgraph's inputs or outputs refer to tensor {index}")
        operators = self.room.length(subgraph.OperatorsLength(), "operators")
        return Subgraph(
            name=name,
            tensors=tensors,
            operators=tuple(
                self.operator(i, subgraph.Operators(i), tensors) for i in range(operators)
            ),
            inputs=inputs,
            outputs=outputs,
        )

    def names(self, get: Callable[[int], Any], count: int) -> tuple[tuple[str, int], ...]:
        entries = (get(i) for i in range(self.room.length(count, "signature")))
        return tuple((self.room.text(e.Name(), "signature"), int(e.TensorIndex())) for e in entries)

    def signature(self) -> Any | None:
        """The signature of the main subgraph; of several "serving_default", else the first."""
        found = None
        for i in range(self.room.length(self.model.SignatureDefsLength(), "signatures")):
            signature = self.model.SignatureDefs(i)
            if signature.SubgraphIndex() != 0:
                continue
            if signature.SignatureKey() == b"serving_default":
                return signature
            found = found or signature
        return found

    def graph(self) -> Graph:
        pay_for_the_rest(self.room, self.model)
        count = self.room.length(self.model.SubgraphsLength(), "subgraphs")
        if count == 0:
            raise ValueError("it holds no subgraph")
        operators = sum(self.model.Subgraphs(i).OperatorsLength() for i in range(count))
        if operators > MOST_OPERATORS:
            raise BeyondLimit(f"it has {operators:,} operators; up to {MOST_OPERATORS:,} are read")
        subgraphs = tuple(self.subgraph(self.model.Subgraphs(i)) for i in range(count))
        signature = self.signature()
        if signature is None:
            return Graph(subgraphs, metadata=self.metadata())
        return Graph(
            subgraphs,
            self.names(signature.Inputs, signature.InputsLength()),
            self.names(signature.Outputs, signature.OutputsLength()),
            self.metadata(),
        )

    def metadata(self) -> dict[str, bytes]:
        found = {}
        for i in range(self.room.length(self.model.MetadataLength(), "metadata")):
            entry = self.model.Metadata(i)
            if entry.Buffer() >= self.model.BuffersLength():
                raise ValueError(f"metadata {i} refers to buffer {entry.Buffer()}")
            buffer = self.model.Buffers(entry.Buffer())
            self.room.spend(1, "metadata", RECORD)
            name = self.room.text(entry.Name(), "metadata")
            if buffer.DataLength() > 0:
                self.room.spend(buffer.DataLength(), "metadata")
                found[name] = buffer.DataAsNumpy().tobytes()
        return found


class _Unreadable(Exception):
    """Why bytes are no .tflite file; whoever asked knows what they are called."""


@lru_cache(maxsize=64)
def _parsed(content: bytes) -> Graph:
    """The records of a file, read once whoever asks for them under whatever name."""
    if not content:
        raise _Unreadable("the file is empty; write the .tflite again")
    if len(content) < 8 or content[4:8] != IDENTIFIER:
        raise _Unreadable(
            f"not a .tflite file (the identifier {IDENTIFIER.decode()!r} is missing "
            f"at byte 4 of {len(content):,}); check the path and how the file was written"
        )
    try:
        return _Reader(content).graph()
    except BeyondLimit as error:
        raise _Unreadable(f".tflite file that is not read: {error}") from None
    except (struct.error, IndexError, ValueError, TypeError, OverflowError) as error:
        raise _Unreadable(
            f"damaged or truncated .tflite file of {counted(len(content), 'byte')} ({error}); "
            "convert or copy it again"
        ) from None


def read_graph(content: bytes, where: str = "model") -> Graph:
    """The records of a .tflite file given as bytes; `where` names it in messages.

    The same bytes give the same graph, with the names that they had before they were stripped of
    them (`keep_names`). Raises `ModelError` for what is not a complete .tflite file.
    """
    named = _named.get(content)
    if named is not None:
        return named
    try:
        return _parsed(content)
    except _Unreadable as error:
        raise ModelError(f"{where}: {error}") from None


_named: dict[bytes, Graph] = {}
"""The records of files that were stripped of names, with them."""


def keep_names(content: bytes, original: bytes) -> None:
    """Name the layers of a stripped file as the one that it was made of does.

    Both have the same tensors, operators and subgraphs in the same order.
    """
    if content != original:
        own = _parsed(content)
        _named[content] = dataclasses.replace(read_graph(original), metadata=own.metadata)


def is_nameless(graph: Graph) -> bool:
    """Whether no tensor has a name, as in a file that was stripped."""
    return not any(tensor.name for subgraph in graph.subgraphs for tensor in subgraph.tensors)


def forget_graphs() -> None:
    """Read each file anew from now on, as where the time that reading takes is measured."""
    _parsed.cache_clear()
