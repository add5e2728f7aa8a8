"""TFLM's arena computed from the model alone: what each record, operator and buffer takes.

The order of allocations is TFLM's: records of subgraphs, tensors and nodes, parsed parameters,
kernels' data at init, arrays and scratch requests at prepare, variables, then the tensors of inputs
and outputs. The persistent part grows down from the arena's end, the planned part up from its
beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pytest_edgequant.errors import CannotRunError, ModelError, reading
from pytest_edgequant.measure.arena.bounds import known, unknown_needs, unknown_scratch
from pytest_edgequant.measure.arena.custom import custom_needs
from pytest_edgequant.measure.arena.kernels import DATA, KERNEL_ALIGNMENT, PARSED, PREPARED
from pytest_edgequant.measure.arena.lifetimes import (
    Life,
    lifetimes,
    needs_buffer,
    offline_offsets,
    tensor_bytes,
)
from pytest_edgequant.measure.arena.planner import Buffer, align_up, lower_bound, plan
from pytest_edgequant.measure.arena.temporaries import quantization_bytes, while_prepared
from pytest_edgequant.measure.arena.view import Needs, View
from pytest_edgequant.records import PlannedBuffer
from pytest_edgequant.targets.profiles import Profile
from pytest_edgequant.targets.tflm_operators import TFLM_OPERATORS
from pytest_edgequant.tflite.graph import Graph, Operator, Subgraph

_MOST_SCRATCH_PER_OPERATOR = 12


@dataclass(frozen=True)
class Allocation:
    """One persistent allocation: bytes with alignment, what it is for, and for which operator."""

    purpose: str
    owner: str
    bytes: int


@dataclass
class Calculation:
    """The whole arena of one model on one profile, in bytes.

    `unknown` names the operators whose own memory is not known. It is bounded from above then, or
    left out where the calculation was told to.
    """

    unknown: tuple[str, ...] = ()
    nonpersistent: int = 0
    persistent: int = 0
    minimum: int = 0
    lower_bound: int = 0
    peak_scope: int = 0
    placed: list[PlannedBuffer] = field(default_factory=list)
    allocations: list[Allocation] = field(default_factory=list)


class _Tail:
    """The persistent part, growing down from a 16-aligned end."""

    def __init__(self) -> None:
        self.used = 0
        self.allocations: list[Allocation] = []

    def take(self, size: int, alignment: int, purpose: str, owner: str = "") -> None:
        end = align_up(self.used + size, alignment)
        self.allocations.append(Allocation(purpose, owner, end - self.used))
        self.used = end


def _check(graph: Graph) -> None:
    """Refuse what TFLM has no kernel for; custom operators may be the application's own."""
    for _, operator in graph.operators():
        if operator.name != "CUSTOM" and operator.name not in TFLM_OPERATORS:
            raise CannotRunError(f"TFLM has no kernel for {operator.place}")


def _sound(graph: Graph) -> None:
    """Refuse operators whose tensors can't be what any kernel takes."""
    for subgraph, operator in graph.operators():
        if -1 in operator.outputs:
            raise ModelError(f"{operator.place}: an output is left out")
        if operator.name in _RANK_FOUR:
            for position in _RANK_FOUR[operator.name]:
                indices = operator.inputs[position : position + 1]
                if not indices or indices[0] < 0 or not operator.outputs:
                    raise ModelError(f"{operator.place}: input {position} is missing")
                tensor = subgraph.tensors[indices[0]]
                if len(tensor.shape) != 4:
                    raise ModelError(
                        f"{operator.place}: tensor {tensor.shown} has the shape {tensor.shape}, "
                        "four dimensions are needed"
                    )


_RANK_FOUR = {
    "AVERAGE_POOL_2D": (0,),
    "CONV_2D": (0, 1),
    "DEPTHWISE_CONV_2D": (0, 1),
    "TRANSPOSE_CONV": (1, 2),
}
"""Inputs by position that the rules index by dimension."""


def _operators(graph: Graph) -> Iterator[tuple[int, Subgraph, Operator]]:
    for number, subgraph in enumerate(graph.subgraphs):
        for operator in subgraph.operators:
            yield number, subgraph, operator


def _label(operator: Operator) -> str:
    return f"{operator.label} ({operator.index})"


def _resource_variables(graph: Graph) -> int:
    """How many resource variables the model names."""
    names = set()
    for _, operator in graph.operators():
        if operator.name == "VAR_HANDLE":
            names.add((operator.options.get("container"), operator.options.get("sharedName")))
    return len(names)


def calculate(graph: Graph, profile: Profile, *, without_unknown: bool = False) -> Calculation:
    """The arena of a model.

    Operators whose memory is not known are bounded from above (see `bounds`), or, with
    `without_unknown`, count with nothing of their own, which no real kernel can be below.

    Raises `CannotRunError` where TFLM has no kernel for an operator, `ModelError` for a model that
    no arena can hold or whose operators lack a tensor.
    """
    _check(graph)
    _sound(graph)
    with reading("the arena"):
        return _calculate(graph, profile, without_unknown)


def _calculate(graph: Graph, profile: Profile, without_unknown: bool) -> Calculation:
    abi = profile.abi
    tail = _Tail()
    for size in abi.allocator:
        tail.take(size, 4, "allocator")
    resources = _resource_variables(graph)
    if resources:
        tail.take(abi.pointer + 8, 16, "resource variables")
        tail.take(abi.resource * resources, 16, "resource variables")
    word = abi.pointer
    tail.take(2 * word, word, "subgraphs")
    tail.take(abi.subgraph * len(graph.subgraphs), word, "subgraphs")
    for subgraph in graph.subgraphs:
        tail.take(abi.eval_tensor * len(subgraph.tensors), word, "tensor records")
    for subgraph in graph.subgraphs:
        tail.take(abi.node * len(subgraph.operators), word, "node records")
    for _, operator in graph.operators():
        if operator.name in PARSED:
            size, alignment = PARSED[operator.name].size(profile)
            tail.take(size, alignment, "operator parameters", _label(operator))
    views = [View(operator, subgraph, profile) for _, subgraph, operator in _operators(graph)]
    unknown = tuple(
        view.operator.place for view in views if not known(view) or unknown_scratch(view)
    )
    skipped = {id(view.operator) for view in views if not known(view)} if without_unknown else set()
    for view in views:
        if id(view.operator) not in skipped:
            for size, alignment in _data(view):
                tail.take(size, alignment, "kernel data", _label(view.operator))
    scratch, at_most = _prepare(graph, profile, tail, skipped, without_unknown)
    if scratch:
        tail.take(word * len(scratch), word, "scratch handles")
    for subgraph in graph.subgraphs:
        for tensor in subgraph.tensors:
            if tensor.is_variable:
                tail.take(tensor_bytes(tensor), 16, "variables", tensor.name)
    before_ends = tail.used
    _ends(graph, profile, tail)

    result = _plan(graph, scratch)
    result.unknown = unknown
    result.persistent = tail.used
    result.allocations = tail.allocations
    tensors = sum(len(s.tensors) for s in graph.subgraphs)
    requests = len(scratch)
    planning = (
        align_up(
            abi.request * (requests + _MOST_SCRATCH_PER_OPERATOR)
            + word * len(graph.subgraphs)
            + abi.allocation_info * (tensors + requests)
        )
        + 40 * len(result.placed)
        + align_up(before_ends)
    )
    needed = max(result.nonpersistent + result.persistent, planning, at_most)
    result.minimum = align_up(needed)
    return result


def _data(view: View) -> list[tuple[int, int]]:
    """What a kernel keeps from init on, as (bytes, alignment)."""
    if not known(view):
        return [(size, KERNEL_ALIGNMENT) for size in unknown_needs(view).data]
    if view.operator.name == "CUSTOM":
        needs = custom_needs(view)
        return [(size, KERNEL_ALIGNMENT) for size in needs.data] if needs is not None else []
    entry = DATA.get(view.operator.name)
    return [entry.size(view.profile)] if entry is not None else []


def _prepared(view: View) -> Needs:
    """What a kernel asks for when it is prepared."""
    if not known(view):
        return unknown_needs(view).prepared
    if view.operator.name == "CUSTOM":
        needs = custom_needs(view)
        return needs.prepared if needs is not None else Needs()
    rule = PREPARED.get(view.operator.name)
    return rule(view) if rule is not None else Needs()


def _prepare(
    graph: Graph, profile: Profile, tail: _Tail, skipped: set[int], without_unknown: bool
) -> tuple[list[tuple[int, Operator, int]], int]:
    """Kernels' arrays, and their scratch requests as (subgraph, operator, bytes).

    The second value is the most that the arena holds while an operator is prepared.
    """
    scratch: list[tuple[int, Operator, int]] = []
    assigned: set[object] = set()
    variables = [_variables(subgraph) for subgraph in graph.subgraphs]
    at_most = 0
    for number, subgraph, operator in _operators(graph):
        view = View(operator, subgraph, profile)
        owner = _label(operator)
        # Room for the requests of one more operator is kept from the last one on.
        requests = profile.abi.request * (len(scratch) + _MOST_SCRATCH_PER_OPERATOR)
        before = tail.used
        if operator.name == "ASSIGN_VARIABLE":
            handle = view.operator.inputs[0]
            variable = variables[number].get(handle, (number, handle))
            if variable not in assigned:
                assigned.add(variable)
                tail.take(tensor_bytes(view.need(1)), 16, "variables", owner)
        elif id(operator) not in skipped:
            needs = _prepared(view)
            for size in needs.arrays:
                tail.take(size, KERNEL_ALIGNMENT, "kernel arrays", owner)
            scratch += [(number, operator, size) for size in needs.scratch]
            more = unknown_scratch(view)
            if more and not without_unknown:
                scratch.append((number, operator, more))
        at_most = max(at_most, requests + while_prepared(view, before, tail.used))
    return scratch, at_most


def _variables(subgraph: Subgraph) -> dict[int, object]:
    """What tells the resource variables of a subgraph, by their handles: names of their own."""
    found: dict[int, object] = {}
    for operator in subgraph.operators:
        if operator.name == "VAR_HANDLE":
            name = operator.options.get("container"), operator.options.get("sharedName")
            for handle in operator.outputs:
                found.setdefault(handle, name)
    return found


def _ends(graph: Graph, profile: Profile, tail: _Tail) -> None:
    """Pointers to the main subgraph's inputs and outputs, and their full tensors."""
    abi = profile.abi
    for purpose, indices in (("inputs", graph.main.inputs), ("outputs", graph.main.outputs)):
        tail.take(abi.pointer * len(indices), 16, purpose)
        for index in indices:
            tensor = graph.main.tensors[index]
            tail.take(abi.tensor, abi.pointer, purpose, tensor.name)
            for size in quantization_bytes(tensor, profile):
                tail.take(size, abi.pointer, purpose, tensor.name)


def _plan(graph: Graph, scratch: list[tuple[int, Operator, int]]) -> Calculation:
    """Place every planned buffer."""
    lives = lifetimes(graph)
    fixed = offline_offsets(graph)
    producers = {
        (number, output): _label(operator)
        for number, _, operator in _operators(graph)
        for output in operator.outputs
    }
    named: list[tuple[str, str, str, int | None]] = []
    buffers: list[Buffer] = []
    for number, subgraph in enumerate(graph.subgraphs):
        for tensor in subgraph.tensors:
            if not needs_buffer(tensor):
                continue
            life = lives.tensors[number, tensor.index]
            offline = fixed.get(tensor.index) if number == 0 else None
            buffers.append(Buffer(align_up(tensor_bytes(tensor)), life.first, life.last, offline))
            owner = producers.get((number, tensor.index), "")
            named.append((tensor.name, "tensor", owner, tensor.index if number == 0 else None))
    for number, operator, size in scratch:
        # What no other subgraph calls lives at no time, like its tensors.
        life = lives.operators.get((number, operator.index), Life())
        buffers.append(Buffer(align_up(size), life.first, life.last))
        owner = _label(operator)
        named.append((f"scratch of {owner}", "scratch", owner, None))
    offsets = plan(buffers)
    bound, scope = lower_bound(buffers)
    placed = [
        PlannedBuffer(name, kind, owner, tensor, offset, buffer.size, buffer.first, buffer.last)
        for (name, kind, owner, tensor), buffer, offset in zip(named, buffers, offsets, strict=True)
    ]
    return Calculation(
        nonpersistent=max((p.offset + p.size for p in placed), default=0),
        lower_bound=bound,
        peak_scope=scope,
        placed=placed,
    )
