"""When each buffer of the non-persistent part is alive, as TFLM's allocation info builder has it.

Time counts allocation scopes: 0 before the first operator, then one an operator; control flow adds
the scopes of the subgraphs that it calls. A tensor lives from its producer to its last consumer,
the subgraph's outputs to its end, a scratch buffer while its operator runs.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from pytest_edgequant.errors import ModelError
from pytest_edgequant.tflite.graph import MOST_NESTED, OFFLINE_PLAN, Graph, Operator, Tensor
from pytest_edgequant.wording import counted

_BYTES = {"RESOURCE": 0, "VARIANT": 0, "COMPLEX64": 8, "COMPLEX128": 16, "STRING": 0}
_LARGEST = 2**31
MOST_SCOPES = 500_000
"""Operators that run, those of a subgraph as often as it is called; ten times what a file holds."""


def tensor_bytes(tensor: Tensor) -> int:
    """Bytes of a tensor's data in TFLM; 4-bit types are packed two to a byte.

    Raises `ModelError` for a size that no 32-bit device can address.
    """
    if tensor.type in ("INT4", "UINT4"):
        size = (tensor.elements + 1) // 2
    elif tensor.type == "INT2":
        size = (tensor.elements + 3) // 4
    else:
        size = tensor.elements * _BYTES.get(tensor.type, tensor.dtype.itemsize)
    if size >= _LARGEST:
        raise ModelError(
            f"tensor {tensor.shown} of shape {tensor.shape} takes {counted(size, 'byte')}, more "
            "than a 32-bit device can address"
        )
    return size


@dataclass
class Life:
    """First and last scope in which something is alive; -1 while it is not known."""

    first: int = -1
    last: int = -1


@dataclass
class Lifetimes:
    """Of every tensor by (subgraph, tensor), and of every operator by (subgraph, operator)."""

    tensors: dict[tuple[int, int], Life] = field(default_factory=dict)
    operators: dict[tuple[int, int], Life] = field(default_factory=dict)


def _called(operator: Operator) -> list[int]:
    """The subgraphs that a control flow operator runs."""
    keys = {
        "IF": ("thenSubgraphIndex", "elseSubgraphIndex"),
        "WHILE": ("condSubgraphIndex", "bodySubgraphIndex"),
        "CALL_ONCE": ("initSubgraphIndex",),
    }
    try:
        return [int(operator.options[key]) for key in keys.get(operator.name, ())]
    except KeyError:
        raise ModelError(
            f"{operator.place}: its options, which name its subgraphs, are missing"
        ) from None


class _Builder:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.scope = 0
        self.result = Lifetimes()
        for number, subgraph in enumerate(graph.subgraphs):
            for tensor in subgraph.tensors:
                self.result.tensors[number, tensor.index] = Life()

    def created(self, subgraph: int, tensor: int) -> None:
        life = self.result.tensors[subgraph, tensor]
        if life.first == -1:
            life.first = self.scope

    def used(self, subgraph: int, tensor: int) -> None:
        self.result.tensors[subgraph, tensor].last = self.scope

    def mark(self, number: int, calls: tuple[int, ...]) -> None:
        if number in calls:
            raise ModelError(f"subgraph {number} calls itself; TFLM can't run that")
        if len(calls) >= MOST_NESTED:
            raise ModelError(
                f"subgraphs call each other more than {MOST_NESTED} deep; no microcontroller's "
                "stack holds that"
            )
        if not 0 <= number < len(self.graph.subgraphs):
            raise ModelError(f"a control flow operator calls subgraph {number}, which is not there")
        subgraph = self.graph.subgraphs[number]
        for tensor in subgraph.inputs:
            self.created(number, tensor)
            # An input that no operator takes must still lie somewhere when it is written.
            self.used(number, tensor)
        for operator in subgraph.operators:
            self.scope += 1
            if self.scope > MOST_SCOPES:
                raise ModelError(
                    f"its subgraphs are called so often that more than {MOST_SCOPES:,} operators "
                    "run: no plan is made of that many"
                )
            begin = self.scope
            for tensor in operator.outputs:
                if tensor >= 0:
                    self.created(number, tensor)
            for called in _called(operator):
                self.scope += 1
                self.mark(called, (*calls, number))
            for tensor in (*operator.inputs, *operator.outputs):
                if tensor >= 0:
                    self.used(number, tensor)
            self.result.operators[number, operator.index] = Life(begin, self.scope)
        for tensor in subgraph.outputs:
            self.used(number, tensor)


def lifetimes(graph: Graph) -> Lifetimes:
    """Lifetimes over the main subgraph and all that it calls."""
    builder = _Builder(graph)
    builder.mark(0, ())
    return builder.result


def needs_buffer(tensor: Tensor) -> bool:
    """Whether the planner places the tensor: not constant, not a variable, not empty."""
    return not tensor.constant and not tensor.is_variable and tensor_bytes(tensor) > 0


def offline_offsets(graph: Graph) -> dict[int, int]:
    """Offsets of the main subgraph's tensors from the plan in the model's metadata, if any.

    The layout is TFLM's: int32 version, subgraph, count, then an offset a tensor, -1 for those that
    the planner places. Raises `ModelError` for a plan that does not fit the model.
    """
    raw = graph.metadata.get(OFFLINE_PLAN)
    if raw is None:
        return {}
    if len(raw) < 12 or len(raw) % 4:
        raise ModelError(f"metadata {OFFLINE_PLAN}: {len(raw)} bytes can't be a plan")
    values = struct.unpack(f"<{len(raw) // 4}i", raw)
    count = values[2]
    if count != len(graph.main.tensors) or len(values) < 3 + count:
        raise ModelError(
            f"metadata {OFFLINE_PLAN}: a plan for {count} tensors, the model has "
            f"{len(graph.main.tensors)}"
        )
    return {i: offset for i, offset in enumerate(values[3 : 3 + count]) if offset >= 0}
