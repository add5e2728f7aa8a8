"""A .tflite file as plain records: tensors, operators, subgraphs, signatures.

Read with the schema's classes (`tflite.schema`). A file may be truncated, random or
hostile: every length is checked against the file before anything is built from it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from pytest_edgequant.errors import ModelError
from pytest_edgequant.records import Quantization
from pytest_edgequant.tflite import schema
from pytest_edgequant.wording import short

IDENTIFIER = b"TFL3"
OFFLINE_PLAN = "OfflineMemoryAllocation"
"""The metadata with a memory plan that TFLM follows."""

_DTYPES = {
    "FLOAT32": "float32",
    "FLOAT16": "float16",
    "FLOAT64": "float64",
    "INT2": "int8",
    "INT4": "int8",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "UINT4": "uint8",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "BOOL": "bool",
    "COMPLEX64": "complex64",
    "COMPLEX128": "complex128",
}


def constants(cls: type) -> dict[int, str]:
    """The names of one of the schema's enumerations by their numbers."""
    return {v: k for k, v in vars(cls).items() if isinstance(v, int) and not k.startswith("_")}


_TYPE_NAMES = constants(schema.TensorType)
_OPERATOR_NAMES = constants(schema.BuiltinOperator)
_OPTION_NAMES = constants(schema.BuiltinOptions)


@dataclass(frozen=True)
class Tensor:
    """One tensor; `type` is the schema's name (INT8, FLOAT32, ...). Constants have data.

    `largest` is the largest absolute value stored in a quantized INT32 or INT64 constant (a bias).
    """

    index: int
    name: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    type: str
    quantization: Quantization | None
    constant_bytes: int
    is_variable: bool
    largest: int = 0

    @property
    def shown(self) -> str:
        """The name as messages quote it."""
        return repr(short(self.name))

    @property
    def constant(self) -> bool:
        return self.constant_bytes > 0

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy type of its elements; `object` for what has none (strings, resources)."""
        return np.dtype(_DTYPES.get(self.type, "O"))

    @property
    def elements(self) -> int:
        count = 1
        for extent in self.shape:
            count *= extent
        return count


@dataclass(frozen=True)
class Operator:
    """One operator; `name` is the builtin's name, or `CUSTOM` with `custom_code`.

    An optional input that is left out has the index -1. `options` are the builtin options by the
    schema's names (`strideW`, `padding`, ...), `custom_options` a custom operator's own bytes.
    """

    index: int
    name: str
    custom_code: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    custom_options: bytes = b""

    @property
    def label(self) -> str:
        return f"{self.name}({self.custom_code})" if self.name == "CUSTOM" else self.name

    @property
    def place(self) -> str:
        """The operator as messages name it: `CONV_2D (operator 3)`."""
        return f"{self.label} (operator {self.index})"


@dataclass(frozen=True)
class Subgraph:
    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Graph:
    """A whole model, compared by identity.

    `signature_inputs` and `signature_outputs` are (name, tensor index) by the main subgraph's
    signature, in its order, not the subgraph's (`tflite.ends`). `metadata` are the named buffers
    that a model may carry (an offline memory plan, say).
    """

    subgraphs: tuple[Subgraph, ...]
    signature_inputs: tuple[tuple[str, int], ...] = ()
    signature_outputs: tuple[tuple[str, int], ...] = ()
    metadata: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def main(self) -> Subgraph:
        return self.subgraphs[0]

    def operators(self) -> Iterator[tuple[Subgraph, Operator]]:
        for subgraph in self.subgraphs:
            for operator in subgraph.operators:
                yield subgraph, operator


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.content = content
        # A file has no room for more: what exceeds this refers to the same bytes over and over.
        self.budget = 8 * len(content) + 1024
        self.largest: dict[tuple[int, str], int] = {}
        self.model = schema.Model.GetRootAsModel(content, 0)

    def _length(self, count: int, what: str) -> int:
        # The smallest element of any vector takes a byte: a longer vector can't be in the file.
        if count > len(self.content):
            raise ValueError(f"{what}: {count} elements in a file of {len(self.content)} bytes")
        return count

    def _spend(self, count: int, what: str) -> int:
        self.budget -= self._length(count, what) + 1
        if self.budget < 0:
            raise ValueError(f"{what}: more elements than the file has room for")
        return count

    def _ints(self, get: Callable[[int], int], count: int, what: str) -> tuple[int, ...]:
        self._spend(count, what)
        return tuple(int(get(i)) for i in range(count))

    @staticmethod
    def _text(raw: bytes | None) -> str:
        return (raw or b"").decode("utf-8", "replace")

    def quantization(self, tensor: Any) -> Quantization | None:
        parameters = tensor.Quantization()
        if parameters is None or parameters.ScaleLength() == 0:
            return None
        count = self._spend(parameters.ScaleLength(), "scales")
        # As arrays: a large model has tens of thousands of them.
        scales = tuple(parameters.ScaleAsNumpy().tolist())
        points = (0,) * count
        if parameters.ZeroPointLength() > 0:
            self._spend(parameters.ZeroPointLength(), "zero points")
            points = tuple(parameters.ZeroPointAsNumpy().tolist())
        if len(points) not in (1, count):
            raise ValueError(f"{count} scales and {len(points)} zero points")
        if len(points) < count:
            points = points * count
        return Quantization(scales, points, parameters.QuantizedDimension() if count > 1 else None)

    def tensor(self, index: int, tensor: Any) -> Tensor:
        kind = _TYPE_NAMES.get(tensor.Type())
        if kind is None:
            raise ValueError(f"tensor {index} has the unknown type {tensor.Type()}")
        shape = self._ints(tensor.Shape, tensor.ShapeLength(), "shape")
        if any(extent < 0 for extent in shape):
            raise ValueError(f"tensor {index} has the shape {shape}")
        if tensor.Buffer() >= self.model.BuffersLength():
            raise ValueError(f"tensor {index} refers to buffer {tensor.Buffer()}")
        buffer = self.model.Buffers(tensor.Buffer())
        size = self._length(max(buffer.DataLength(), 0), "buffer")
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
            name=self._text(tensor.Name()),
            shape=shape,
            shape_signature=self._ints(
                tensor.ShapeSignature, tensor.ShapeSignatureLength(), "shape signature"
            ),
            type=kind,
            quantization=quantization,
            constant_bytes=size,
            is_variable=bool(tensor.IsVariable()),
            largest=self._largest(tensor.Buffer(), kind) if stored else 0,
        )

    def _largest(self, index: int, kind: str) -> int:
        """The largest absolute value in a buffer; read once however many tensors share it."""
        if (index, kind) not in self.largest:
            buffer = self.model.Buffers(index)
            if buffer.DataLength() > 0:
                data = buffer.DataAsNumpy().tobytes()
            else:
                data = self.content[buffer.Offset() : buffer.Offset() + buffer.Size()]
            dtype = np.dtype(_DTYPES[kind])
            values = np.frombuffer(data, dtype, len(data) // dtype.itemsize)
            # As Python's integers: the least value of a type has no absolute one in it.
            most = max(int(values.max()), -int(values.min())) if len(values) else 0
            self.largest[index, kind] = most
        return self.largest[index, kind]

    def operator(self, index: int, operator: Any, tensors: int) -> Operator:
        if operator.OpcodeIndex() >= self.model.OperatorCodesLength():
            raise ValueError(f"operator {index} refers to operator code {operator.OpcodeIndex()}")
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        inputs = self._ints(operator.Inputs, operator.InputsLength(), "inputs")
        outputs = self._ints(operator.Outputs, operator.OutputsLength(), "outputs")
        for tensor in (*inputs, *outputs):
            if not -1 <= tensor < tensors:
                raise ValueError(f"operator {index} refers to tensor {tensor} of {tensors}")
        return Operator(
            index=index,
            name=_OPERATOR_NAMES.get(builtin, f"BUILTIN_{builtin}"),
            custom_code=self._text(code.CustomCode()),
            version=code.Version(),
            inputs=inputs,
            outputs=outputs,
            options=self.options(operator),
            custom_options=self.custom_options(operator),
        )

    def custom_options(self, operator: Any) -> bytes:
        count = operator.CustomOptionsLength()
        if count <= 0:
            return b""
        self._spend(count, "custom options")
        return bytes(operator.CustomOptionsAsNumpy().tobytes())

    @staticmethod
    def options(operator: Any) -> Mapping[str, Any]:
        name = _OPTION_NAMES.get(operator.BuiltinOptionsType(), "NONE")
        table = operator.BuiltinOptions()
        if name == "NONE" or table is None:
            return {}
        return schema.options_of(table, name)

    def subgraph(self, subgraph: Any) -> Subgraph:
        count = self._length(subgraph.TensorsLength(), "tensors")
        tensors = tuple(self.tensor(i, subgraph.Tensors(i)) for i in range(count))
        inputs = self._ints(subgraph.Inputs, subgraph.InputsLength(), "inputs")
        outputs = self._ints(subgraph.Outputs, subgraph.OutputsLength(), "outputs")
        for index in (*inputs, *outputs):
            if not 0 <= index < count:
                raise ValueError(f"the subgraph's inputs or outputs refer to tensor {index}")
        operators = self._length(subgraph.OperatorsLength(), "operators")
        return Subgraph(
            name=self._text(subgraph.Name()),
            tensors=tensors,
            operators=tuple(
                self.operator(i, subgraph.Operators(i), count) for i in range(operators)
            ),
            inputs=inputs,
            outputs=outputs,
        )

    def names(self, get: Callable[[int], Any], count: int) -> tuple[tuple[str, int], ...]:
        entries = (get(i) for i in range(self._length(count, "signature")))
        return tuple((self._text(e.Name()), int(e.TensorIndex())) for e in entries)

    def signature(self) -> Any | None:
        """The signature of the main subgraph; of several "serving_default", else the first."""
        found = None
        for i in range(self._length(self.model.SignatureDefsLength(), "signatures")):
            signature = self.model.SignatureDefs(i)
            if signature.SubgraphIndex() != 0:
                continue
            if signature.SignatureKey() == b"serving_default":
                return signature
            found = found or signature
        return found

    def graph(self) -> Graph:
        count = self._length(self.model.SubgraphsLength(), "subgraphs")
        if count == 0:
            raise ValueError("it holds no subgraph")
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
        for i in range(self._length(self.model.MetadataLength(), "metadata")):
            entry = self.model.Metadata(i)
            if entry.Buffer() >= self.model.BuffersLength():
                raise ValueError(f"metadata {i} refers to buffer {entry.Buffer()}")
            buffer = self.model.Buffers(entry.Buffer())
            if buffer.DataLength() > 0:
                self._length(buffer.DataLength(), "metadata")
                found[self._text(entry.Name())] = buffer.DataAsNumpy().tobytes()
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
    except (struct.error, IndexError, ValueError, TypeError, OverflowError) as error:
        raise _Unreadable(
            f"damaged or truncated .tflite file of {len(content):,} bytes ({error}); "
            "convert or copy it again"
        ) from None


def read_graph(content: bytes, where: str = "model") -> Graph:
    """The records of a .tflite file given as bytes; `where` names it in messages.

    The same bytes give the same graph. Raises `ModelError` for what is not a complete .tflite file.
    """
    try:
        return _parsed(content)
    except _Unreadable as error:
        raise ModelError(f"{where}: {error}") from None


def forget_graphs() -> None:
    """Read each file anew from now on, as where the time that reading takes is measured."""
    _parsed.cache_clear()
