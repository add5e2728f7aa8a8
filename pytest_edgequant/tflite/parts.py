"""What a .tflite file is made of, as plain records: tensors, operators, subgraphs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pytest_edgequant.records import Quantization
from pytest_edgequant.wording import short

DTYPES = {
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


@dataclass(frozen=True)
class Tensor:
    """One tensor; `type` is the schema's name (INT8, FLOAT32, ...). Constants have data.

    `largest` is the largest absolute value stored in a quantized INT32 or INT64 constant (a bias).
    `axis` is the dimension that the file names for scales, be they one or several.
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
    axis: int = field(default=0, compare=False)

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
        return np.dtype(DTYPES.get(self.type, "O"))

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
    """One graph of a file; tensors are named by their index."""

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
