"""Recurrent layers that a converter wrote out step by step, and what else they could be.

A layer's steps are found by its recurrent weights: a constant that several operators take, each of
which depends on the one before. Step k is what depends on k of them. Steps alike can be left out,
or the layer given another form (see `rolled`); each gives a graph that the calculator can plan.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_edgequant.tflite.graph import Graph, Operator, Subgraph, Tensor
from pytest_edgequant.wording import counted

_RECURRENT = ("FULLY_CONNECTED", "CONV_2D")
_MOST_LOOKS = 500_000
"""At operators, for all weights that several of them share; unrolled networks need a tenth."""
_FEWEST = 4
"""Applications of the same weights from which a layer counts as unrolled."""
JOINS = ("PACK", "CONCATENATION")
_MOVES = frozenset(
    "RESHAPE TRANSPOSE QUANTIZE DEQUANTIZE FULLY_CONNECTED SOFTMAX ADD MUL LOGISTIC TANH".split()
)


@dataclass(frozen=True)
class Unrolled:
    """An unrolled layer: its recurrent weights, and the operators of each step, 1 to the last.

    Steps have the same operators in the same order; those after the last step's own are left out.
    """

    weights: Tensor
    steps: tuple[tuple[Operator, ...], ...]
    levels: Mapping[int, int]
    """The step that each operator of the graph belongs to by what it depends on, by its index."""

    @property
    def count(self) -> int:
        """Time steps: the first one often has no recurrent part, its state being zero."""
        return len(self.steps) + 1

    @property
    def state(self) -> tuple[int, int]:
        """Where among a step's operators (position, output) the state is made that it hands on."""
        following = {o.inputs[0] for o in self.steps[1] if o.inputs[1:2] == (self.weights.index,)}
        for position, operator in enumerate(self.steps[0]):
            for number, output in enumerate(operator.outputs):
                if output in following:
                    return position, number
        raise ValueError("a step hands nothing on")


def _levels(subgraph: Subgraph, weights: int) -> dict[int, int]:
    """How many applications of the weights each operator depends on, itself included."""
    of_tensor: dict[int, int] = {}
    found = {}
    for operator in subgraph.operators:
        level = max((of_tensor.get(i, 0) for i in operator.inputs), default=0)
        if operator.name in _RECURRENT and operator.inputs[1:2] == (weights,):
            level += 1
        found[operator.index] = level
        for output in operator.outputs:
            of_tensor[output] = level
    return found


_Kind = tuple[int, int]


class _Ordering:
    """The operators of a step in an order that is the same in all steps, whatever the file's.

    By how deep in the step an operator is, then by what it is: its name, shape, and inputs, which
    are constants, outputs of the same step, or something from before it.
    """

    def __init__(self, subgraph: Subgraph) -> None:
        self.subgraph = subgraph
        self.known: dict[object, int] = {}

    def of(self, step: Sequence[Operator]) -> tuple[list[_Kind], list[Operator]]:
        made: dict[int, tuple[_Kind, int]] = {}
        kinds = []
        for operator in step:
            depth, inputs = 0, list[object]()
            for index in operator.inputs:
                if index in made:
                    kind, number = made[index]
                    depth = max(depth, kind[0] + 1)
                    inputs.append((kind, number))
                elif index >= 0 and self.subgraph.tensors[index].constant:
                    inputs.append(index)
                else:
                    inputs.append(None)
            shapes = tuple(self.subgraph.tensors[i].shape for i in operator.outputs)
            named = self.known.setdefault((operator.name, shapes, tuple(inputs)), len(self.known))
            kinds.append((depth, named))
            for number, index in enumerate(operator.outputs):
                made[index] = (kinds[-1], number)
        order = sorted(range(len(step)), key=lambda n: kinds[n])
        return [kinds[n] for n in order], [step[n] for n in order]


def unrolled_layers(subgraph: Subgraph) -> list[Unrolled]:
    """The unrolled recurrent layers of a graph, in the order of their first steps."""
    users: dict[int, list[Operator]] = {}
    for operator in subgraph.operators:
        if operator.name in _RECURRENT and len(operator.inputs) > 1:
            users.setdefault(operator.inputs[1], []).append(operator)
    found, looks = [], 0
    for weights, operators in users.items():
        if len(operators) < _FEWEST or not subgraph.tensors[weights].constant:
            continue
        looks += len(subgraph.operators)
        if looks > _MOST_LOOKS:
            break
        levels = _levels(subgraph, weights)
        last = len(operators)
        if [levels[o.index] for o in operators] != list(range(1, last + 1)):
            continue
        steps: list[list[Operator]] = [[] for _ in range(last + 1)]
        for operator in subgraph.operators:
            steps[levels[operator.index]].append(operator)
        layer = _alike(subgraph, weights, steps[1:], levels)
        if layer is not None:
            found.append(layer)
    return found


def _alike(
    subgraph: Subgraph, weights: int, steps: Sequence[list[Operator]], levels: Mapping[int, int]
) -> Unrolled | None:
    """The layer of these steps; None where they are not all the same."""
    ordering = _Ordering(subgraph)
    kinds, first = ordering.of(steps[0])
    ordered = [tuple(first)]
    for step in steps[1:-1]:
        found, operators = ordering.of(step)
        if found != kinds:
            return None
        ordered.append(tuple(operators))
    # What follows the layer depends on its last step.
    found, operators = ordering.of(steps[-1])
    own = list[Operator]()
    for kind, operator in zip(found, operators, strict=True):
        if len(own) < len(kinds) and kind == kinds[len(own)]:
            own.append(operator)
    if len(own) < len(kinds):
        return None
    return Unrolled(subgraph.tensors[weights], (*ordered, tuple(own)), levels)


def described(content: bytes, graph: Graph) -> str:
    """What unrolled layers make of the file, in a sentence; empty where there are none."""
    layers = unrolled_layers(graph.main)
    if not layers:
        return ""
    steps = sum(layer.count for layer in layers)
    each = max(len(layer.steps[0]) for layer in layers)
    data = sum(t.constant_bytes for subgraph in graph.subgraphs for t in subgraph.tensors)
    many = "layer is" if len(layers) == 1 else f"layers ({len(layers)}) are"
    return (
        f"the recurrent {many} unrolled: {counted(steps, 'step')} of up to "
        f"{counted(each, 'operator')}, {counted(len(graph.main.operators), 'operator')} in all; "
        "records of operators and tensors are "
        f"{max(len(content) - data, 0):,} B of the file's {len(content):,} B"
    )


# -- rewriting records -----------------------------------------------------------------------------


def pruned(subgraph: Subgraph) -> Subgraph:
    """Without operators and tensors that no output needs, numbered anew."""
    needed = set(subgraph.outputs)
    kept: list[Operator] = []
    for operator in reversed(subgraph.operators):
        if needed.intersection(operator.outputs):
            kept.append(operator)
            needed.update(i for i in operator.inputs if i >= 0)
            needed.update(operator.outputs)
    needed |= set(subgraph.inputs)
    order = [t.index for t in subgraph.tensors if t.index in needed]
    new = {old: position for position, old in enumerate(order)} | {-1: -1}
    return dataclasses.replace(
        subgraph,
        tensors=tuple(dataclasses.replace(subgraph.tensors[i], index=new[i]) for i in order),
        operators=tuple(
            dataclasses.replace(
                operator,
                index=position,
                inputs=tuple(new[i] for i in operator.inputs),
                outputs=tuple(new[i] for i in operator.outputs),
            )
            for position, operator in enumerate(reversed(kept))
        ),
        inputs=tuple(new[i] for i in subgraph.inputs),
        outputs=tuple(new[i] for i in subgraph.outputs),
    )


def with_main(graph: Graph, main: Subgraph, more: Sequence[Subgraph] = ()) -> Graph:
    """The graph with another main subgraph; a plan in its metadata no longer fits it."""
    return dataclasses.replace(graph, subgraphs=(main, *graph.subgraphs[1:], *more), metadata={})


# -- fewer steps -----------------------------------------------------------------------------------


def _without_steps(subgraph: Subgraph, layer: Unrolled, removed: int) -> Subgraph:
    """A graph without so many steps from the second on; what joins all steps takes fewer."""
    stand_in: dict[int, int] = {}
    gone: set[int] = set()
    for step in layer.steps[1 : 1 + removed]:
        for operator, first in zip(step, layer.steps[0], strict=True):
            gone.add(operator.index)
            stand_in.update(zip(operator.outputs, first.outputs, strict=True))
    kept = []
    for operator in subgraph.operators:
        if operator.index in gone:
            continue
        taken = sum(i in stand_in for i in operator.inputs)
        if operator.name in JOINS and taken > 1:
            inputs = tuple(i for i in operator.inputs if i not in stand_in)
        else:
            inputs = tuple(stand_in.get(i, i) for i in operator.inputs)
        kept.append(dataclasses.replace(operator, inputs=inputs))
    return dataclasses.replace(subgraph, operators=tuple(kept))


def _scaled(shape: tuple[int, ...], old: int, new: int) -> tuple[int, ...] | None:
    """A shape in which time goes from `old` to `new` steps; None where it has no time."""
    for axis, extent in enumerate(shape):
        if extent == old or (extent > old and extent % old == 0 and axis == len(shape) - 1):
            return (*shape[:axis], extent // old * new, *shape[axis + 1 :])
    return None


def _fitted(subgraph: Subgraph, before: Subgraph, old: int, new: int) -> Subgraph:
    """Tensors that hold all steps, made as long as the steps that are left."""
    live = {i for o in subgraph.operators for i in o.inputs} | set(subgraph.outputs)
    tensors = {t.index: t for t in subgraph.tensors}
    operators = []
    waiting: list[int] = []
    original = {o.index: o for o in before.operators}
    for operator in subgraph.operators:
        if operator.name == "UNPACK" and len(operator.outputs) == old:
            outputs = tuple(i for i in operator.outputs if i in live)[:new]
            operator = dataclasses.replace(operator, outputs=outputs)
            waiting.append(operator.inputs[0])
        elif len(operator.inputs) < len(original[operator.index].inputs):
            waiting += operator.outputs
        operators.append(operator)
    moves: dict[int, set[int]] = {}
    for operator in operators:
        if operator.name in _MOVES:
            ends = {*operator.inputs[:1], *operator.outputs[:1]}
            for index in ends:
                moves.setdefault(index, set()).update(ends)
    while waiting:
        index = waiting.pop()
        tensor = tensors[index]
        shape = _scaled(tensor.shape, old, new)
        if tensor.constant or shape is None or tensor.shape != before.tensors[index].shape:
            continue
        tensors[index] = dataclasses.replace(tensor, shape=shape)
        waiting += moves.get(index, ())
    return dataclasses.replace(
        subgraph, tensors=tuple(tensors.values()), operators=tuple(operators)
    )


def with_fewer_steps(graph: Graph, layers: Sequence[Unrolled]) -> tuple[Graph, int, int] | None:
    """The graph with half the time steps in layers that have equally many; and both counts.

    None where there is no such graph: layers of unequal length, or steps that can't be told apart.
    """
    old = max(layer.count for layer in layers)
    new = -(-old // 2)
    main = graph.main
    if any(layer.count != old for layer in layers):
        return None
    for number in range(len(layers)):
        # Without the steps of one layer, operators of the next may be gone with them.
        found = unrolled_layers(main)
        weights = layers[number].weights.index
        layer = next((layer for layer in found if layer.weights.index == weights), None)
        if layer is None or layer.count <= new:
            continue
        main = _without_steps(main, layer, layer.count - new)
    return (
        with_main(graph, pruned(_fitted(_pruned_operators(main), graph.main, old, new))),
        old,
        new,
    )


def _pruned_operators(subgraph: Subgraph) -> Subgraph:
    """Without operators that no output needs; tensors keep their places."""
    needed = set(subgraph.outputs)
    kept = []
    for operator in reversed(subgraph.operators):
        if needed.intersection(operator.outputs):
            kept.append(operator)
            needed.update(operator.inputs)
    return dataclasses.replace(subgraph, operators=tuple(reversed(kept)))
