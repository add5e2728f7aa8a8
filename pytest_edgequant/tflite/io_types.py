"""Changing the type of a quantized model's inputs and outputs without converting it again.

A model that is integer inside and float outside begins with QUANTIZE and ends with DEQUANTIZE.
To make its inputs and outputs integer these are dropped; for another integer type than the one
inside they become a QUANTIZE that requantizes. The weights are not touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_edgequant.tflite import schema
from pytest_edgequant.tflite.edit import builtin_code_index, drop_unused, operator_code
from pytest_edgequant.tflite.rewrite import NotRewritableError, Rewrite
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


@dataclass(frozen=True)
class _Edge:
    """The model's inputs or outputs, and the operator that a float one is expected beside."""

    side: str
    code: int
    near: str
    """Which ends of that operator are the model's own,"""
    far: str
    """and which are inside."""

    @property
    def is_input(self) -> bool:
        return self.side == "inputs"


_EDGES = (
    _Edge("inputs", schema.BuiltinOperator.QUANTIZE, "inputs", "outputs"),
    _Edge("outputs", schema.BuiltinOperator.DEQUANTIZE, "outputs", "inputs"),
)


@dataclass(frozen=True)
class ChangeIoType(Rewrite):
    """Turn the float inputs and outputs of a model into the integer type `io`.

    `inner` is the type of its activations.

    1. `io` is `inner`: the QUANTIZE behind an input and the DEQUANTIZE before an output go.
    2. `io` is another type: they become a QUANTIZE that requantizes.
    3. An input that several QUANTIZEs take has the widest of their scales; the others requantize.
    4. Of an input that nothing reads any scale is right; one that is an output too stays both.
    5. An input or output that is not float stays as it is.
    6. One that is float and not quantized right at the edge is refused.
    """

    needless = "no input or output is float"
    inner: str
    io: str

    def edit(self, model: Any) -> bool:
        graph = model.subgraphs[0]
        graph.operators = list(graph.operators or [])
        dropped: set[int] = set()
        changed = False
        for edge in _EDGES:
            ends = [int(i) for i in getattr(graph, edge.side)]
            touching = _touching(graph, edge)
            now: dict[int, int] = {}
            for position, index in enumerate(ends):
                if graph.tensors[index].type == schema.TensorType.FLOAT32:
                    beside = touching.get(index, [])
                    ends[position] = self._integer(model, edge, index, beside, dropped)
                    now[index] = ends[position]
                    changed = True
            setattr(graph, edge.side, np.asarray(ends, dtype=np.int32))
            if edge.is_input:
                outputs = [now.get(int(i), int(i)) for i in graph.outputs]
                graph.outputs = np.asarray(outputs, np.int32)
            _rename_signature(model, now)
        if not changed:
            return False
        graph.operators = [op for i, op in enumerate(graph.operators) if i not in dropped]
        drop_unused(model)
        return True

    def _integer(
        self, model: Any, edge: _Edge, index: int, touching: list[int], dropped: set[int]
    ) -> int:
        """Make one float input or output integer; the tensor that is it now.

        `touching` are the numbers of the operators beside it. Those that it needs no more are added
        to `dropped`.
        """
        graph = model.subgraphs[0]
        tensor = graph.tensors[index]
        if edge.is_input and not touching and index not in graph.outputs:
            _retype_unread(tensor, self.io)
            return index
        around = [graph.operators[i] for i in touching]
        inner_ends = [int(getattr(operator, edge.far)[0]) for operator in around]
        self._check(model, edge, tensor, around, inner_ends)
        # A quantizer may give each reader of an input a scale of its own: the widest one holds
        # what all of them do, and the others requantize.
        chosen = max(range(len(around)), key=lambda i: _scale(graph.tensors[inner_ends[i]]))
        inside = inner_ends[chosen]
        if self.io != self.inner:
            _retype(tensor, graph.tensors[inside], self.inner, self.io)
            for operator in around:
                _requantize(model, operator)
            return index
        dropped.add(touching[chosen])
        for operator in around if edge.is_input else ():
            operator.inputs = np.asarray([inside], np.int32)
        return inside

    def _check(
        self, model: Any, edge: _Edge, tensor: Any, around: list[Any], inner_ends: list[int]
    ) -> None:
        """Raise `NotRewritableError` where a tensor is not quantized right at the edge."""
        tensors = model.subgraphs[0].tensors
        if (
            (not around if edge.is_input else len(around) != 1)
            or {operator_code(model, operator) for operator in around} != {edge.code}
            or {tensors[i].type for i in inner_ends} != {_TYPES[self.inner]}
        ):
            raise NotRewritableError(
                f"the {edge.side[:-1]} {short(_name(tensor))!r} is float and not "
                f"{'quantized' if edge.is_input else 'dequantized'} to {self.inner} right there, "
                f"so it can't be made {self.io}; use int8_float_io, or change the layer next to it"
            )


def _requantize(model: Any, operator: Any) -> None:
    """Make an operator at the edge a QUANTIZE from integers to integers."""
    operator.opcodeIndex = builtin_code_index(model, schema.BuiltinOperator.QUANTIZE)
    operator.builtinOptionsType = 0
    operator.builtinOptions = None


def _retype_unread(tensor: Any, io: str) -> None:
    """Make an input that nothing reads the integer type `io`, on the scale 1."""
    parameters = schema.QuantizationParametersT()
    parameters.scale = np.ones(1, np.float32)
    parameters.zeroPoint = np.zeros(1, np.int64)
    tensor.type, tensor.quantization = _TYPES[io], parameters


def _rename_signature(model: Any, now: Mapping[int, int]) -> None:
    """Have the signatures name what tensors have become."""
    for signature in model.signatureDefs or []:
        for entry in [*(signature.inputs or []), *(signature.outputs or [])]:
            if signature.subgraphIndex == 0:
                entry.tensorIndex = now.get(entry.tensorIndex, entry.tensorIndex)


def _touching(graph: Any, edge: _Edge) -> dict[int, list[int]]:
    """The numbers of the operators that have a tensor at their near end."""
    found: dict[int, list[int]] = {}
    for number, operator in enumerate(graph.operators):
        for index in dict.fromkeys(_ends(operator, edge.near)):
            found.setdefault(index, []).append(number)
    return found
