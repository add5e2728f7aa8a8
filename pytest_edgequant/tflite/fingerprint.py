"""A model's logical fingerprint: what it computes, not how its file is laid out.

Two files that hold the same operators on the same shapes, types, quantization and weights have the
same fingerprint, whatever their tensors' names and order, the order and sharing of buffers, of
operator codes and of independent operators, unused tensors, metadata, description and version
strings. Converters reproduce none of those.

Each tensor's digest is made from what computes it (a Merkle tree): an input from its position, a
constant from its bytes, an operator's output from the operator, its options and its inputs.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.errors import ModelError
from pytest_edgequant.records import Quantization
from pytest_edgequant.tflite import schema
from pytest_edgequant.tflite.graph import (
    MOST_NESTED,
    OFFLINE_PLAN,
    Graph,
    Operator,
    Subgraph,
    Tensor,
    read_graph,
)
from pytest_edgequant.tflite.model import graph_of

if TYPE_CHECKING:
    from pytest_edgequant.records import Variant


_SUBGRAPHS = (
    *("thenSubgraphIndex", "elseSubgraphIndex", "condSubgraphIndex", "bodySubgraphIndex"),
    *("initSubgraphIndex", "subgraph", "decompositionSubgraphIndex"),
)
_VERSION = "edgequant-model/1"
_NEWER_OPTIONS = schema.names(schema.BuiltinOptions2)


class _Json(str):
    """JSON that was written before, and stands in a digest as it is."""


def _json(part: object) -> str:
    if isinstance(part, _Json):
        return part
    return json.dumps(part, separators=(",", ":"), sort_keys=True)


def _digest(*parts: object) -> str:
    text = f"[{','.join(map(_json, parts))}]"
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """An option as JSON has it; floats exactly, text as bytes."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return _options(value)
    if hasattr(value, "__dict__"):
        return _options(vars(value))
    return repr(value)


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are set: a field that a later schema adds is zero, empty or none."""
    plain = {name: _plain(value) for name, value in options.items()}
    zero = (0.0).hex()
    return {name: value for name, value in plain.items() if value and value != zero}


def _quantization(quantization: Quantization | None) -> Any:
    if quantization is None:
        return None
    scales = [float(scale).hex() for scale in quantization.scales]
    return [scales, quantization.zero_points, quantization.axis]


class _Hasher:
    def __init__(self, content: bytes, graph: Graph) -> None:
        self.content = content
        self.graph = graph
        self.model = schema.Model.GetRootAsModel(content, 0)
        self.buffers: dict[int, str] = {}
        self.subgraphs: dict[int, str] = {}
        self.open: set[int] = set()
        self.kinds: dict[int, _Json] = {}
        self.quantizations: dict[int, _Json] = {}
        self.sparsities: dict[int, Any] = {}

    def kind(self, tensor: Tensor) -> _Json:
        """What a tensor is, without its name, its number and what it holds; written once."""
        found = self.kinds.get(id(tensor))
        if found is None:
            quantization = self.quantizations.get(id(tensor.quantization))
            if quantization is None:
                quantization = _Json(_json(_quantization(tensor.quantization)))
                self.quantizations[id(tensor.quantization)] = quantization
            parts = tensor.type, tensor.shape_signature or tensor.shape, quantization
            found = self.kinds[id(tensor)] = _Json(f"[{','.join(map(_json, parts))}]")
        return found

    def sparsity(self, table: Any) -> Any:
        """Where a sparse constant has its values; unpacked once, however many tensors share it."""
        sparsity = table.Sparsity()
        if sparsity is None:
            return None
        place = sparsity._tab.Pos
        if place not in self.sparsities:
            where = _plain(schema.fields(sparsity, "SparsityParameters"))
            self.sparsities[place] = _Json(_json(where))
        return self.sparsities[place]

    def constant(self, table: Any, tensor: Tensor) -> str:
        """The digest of a constant's bytes; buffers are read once, however many share them."""
        number = table.Buffer()
        found = self.buffers.get(number)
        if found is None:
            buffer = self.model.Buffers(number)
            if buffer.DataLength() > 0:
                raw = buffer.DataAsNumpy().tobytes()
            else:
                start = buffer.Offset()
                raw = self.content[start : start + tensor.constant_bytes]
            found = self.buffers[number] = hashlib.sha256(raw).hexdigest()
        return found

    def subgraph(self, index: int) -> str:
        """The digest of a subgraph; of one that calls itself, its number stands for it."""
        if not 0 <= index < len(self.graph.subgraphs):
            return f"none:{index}"
        if index in self.open:
            return f"itself:{index}"
        if index not in self.subgraphs:
            if len(self.open) >= MOST_NESTED:
                raise ValueError(f"subgraphs call each other more than {MOST_NESTED} deep")
            self.open.add(index)
            self.subgraphs[index] = self.whole(self.graph.subgraphs[index], index)
            self.open.discard(index)
        return self.subgraphs[index]

    def leaves(self, subgraph: Subgraph, table: Any) -> dict[int, str]:
        """The digests of what no operator computes: inputs, constants, variables."""
        digests = {}
        for tensor in subgraph.tensors:
            if tensor.constant:
                data = self.constant(table.Tensors(tensor.index), tensor)
                where = self.sparsity(table.Tensors(tensor.index))
                digests[tensor.index] = _digest("constant", self.kind(tensor), data, where)
            elif tensor.is_variable:
                digests[tensor.index] = _digest("variable", self.kind(tensor))
        for position, index in enumerate(subgraph.inputs):
            digests[index] = _digest("input", position, self.kind(subgraph.tensors[index]))
        return digests

    def whole(self, subgraph: Subgraph, index: int) -> str:
        table = self.model.Subgraphs(index)
        digests = self.leaves(subgraph, table)
        operators = []
        for operator in subgraph.operators:
            own = self.operator(operator, table, digests, subgraph.tensors)
            operators.append(own)
            for position, output in enumerate(operator.outputs):
                if output >= 0:
                    kind = self.kind(subgraph.tensors[output])
                    digests[output] = _digest("output", own, position, kind)
        # All operators, not only what leads to the outputs: some write variables.
        return _digest(
            _Json(f"[{','.join(self.kind(subgraph.tensors[i]) for i in subgraph.inputs)}]"),
            [digests.get(i, "nothing") for i in subgraph.outputs],
            sorted(operators),
        )

    def operator(
        self, operator: Operator, table: Any, digests: Mapping[int, str], tensors: Sequence[Tensor]
    ) -> str:
        options = _options({k: v for k, v in operator.options.items() if k not in _SUBGRAPHS})
        called = {
            name: self.subgraph(int(value))
            for name, value in operator.options.items()
            if name in _SUBGRAPHS and isinstance(value, int)
        }
        raw = table.Operators(operator.index)
        custom = raw.CustomOptionsAsNumpy().tobytes() if raw.CustomOptionsLength() else b""
        newer, kind = raw.BuiltinOptions2(), _NEWER_OPTIONS.get(raw.BuiltinOptions2Type(), "NONE")
        newer = newer and _options(schema.options_of(newer, kind))
        inputs = [
            "left out" if i < 0 else digests.get(i) or _digest("nothing", self.kind(tensors[i]))
            for i in operator.inputs
        ]
        return _digest(operator.label, options, called, custom.hex(), newer, inputs)


@lru_cache(maxsize=64)
def logical_fingerprint(content: bytes, where: str = "model") -> str:
    """SHA-256 (hex) over a .tflite file's graph, shapes, types, quantization and weights.

    `where` names the file in messages. Raises `ModelError` for what is not a complete one.
    """
    graph = read_graph(content, where)
    try:
        return _digest(_VERSION, _Hasher(content, graph).subgraph(0))
    except (struct.error, IndexError, ValueError, TypeError, OverflowError) as error:
        # Options and custom options are read here only.
        raise ModelError(f"{where}: damaged .tflite file ({error}); convert it again") from None


_identities: dict[str, str] = {}


def file_identity(variant: Variant) -> str:
    """A short name of what a variant's file holds: figures of files with another are of others.

    Equal for files that a converter makes anew from the same: the same computation in as many
    bytes, with the same memory plan.
    """
    found = _identities.get(variant.fingerprint)
    if found is None:
        try:
            plan = graph_of(variant).metadata.get(OFFLINE_PLAN, b"")
            logical = logical_fingerprint(variant.content, variant.label)
            found = _digest(logical, variant.size_bytes, plan.hex())[:12]
        except ModelError:
            found = variant.fingerprint[:12]
        _identities[variant.fingerprint] = found
    return found
