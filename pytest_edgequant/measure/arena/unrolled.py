"""Recurrent layers that a converter wrote out step by step, and what else they could be.

A layer's steps are found by its recurrent weights: a constant that several operators take, each of
which depends on the one before. Step k is what depends on k of them. Steps alike can be left out,
folded to a loop, or stand for one fused operator; each gives a graph that the calculator can plan.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_edgequant.records import Quantization
from pytest_edgequant.tflite.graph import Graph, Operator, Subgraph, Tensor

_RECURRENT = ("FULLY_CONNECTED", "CONV_2D")
_FEWEST = 4
"""Applications of the same weights from which a layer counts as unrolled."""
_JOINS = ("PACK", "CONCATENATION")
_MOVES = frozenset(
    "RESHAPE TRANSPOSE QUANTIZE DEQUANTIZE FULLY_CONNECTED SOFTMAX ADD MUL LOGISTIC TANH".split()
)
_SCALED = Quantization((1.0,), (0,))


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
    found = []
    for weights, operators in users.items():
        if len(operators) < _FEWEST or not subgraph.tensors[weights].constant:
            continue
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
        f"the recurrent {many} unrolled: {steps} steps of up to {each} operators, "
        f"{len(graph.main.operators)} operators in all; records of operators and tensors are "
        f"{max(len(content) - data, 0):,} B of the file's {len(content):,} B"
    )


# -- rewriting records -----------------------------------------------------------------------------


def _pruned(subgraph: Subgraph) -> Subgraph:
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


def _with_main(graph: Graph, main: Subgraph, more: Sequence[Subgraph] = ()) -> Graph:
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
        if operator.name in _JOINS and taken > 1:
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
    while waiting:
        index = waiting.pop()
        tensor = tensors[index]
        shape = _scaled(tensor.shape, old, new)
        if tensor.constant or shape is None or tensor.shape != before.tensors[index].shape:
            continue
        tensors[index] = dataclasses.replace(tensor, shape=shape)
        for operator in operators:
            if operator.name in _MOVES and index in (*operator.inputs[:1], *operator.outputs[:1]):
                waiting += [*operator.inputs[:1], *operator.outputs[:1]]
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
        _with_main(graph, _pruned(_fitted(_pruned_operators(main), graph.main, old, new))),
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


# -- one layer in another form ---------------------------------------------------------------------


class _Replacement:
    """A graph in which something else gives what an unrolled layer gives."""

    def __init__(self, subgraph: Subgraph, layer: Unrolled) -> None:
        self.subgraph = subgraph
        self.layer = layer
        self.tensors = list(subgraph.tensors)
        self.added: list[Operator] = []
        position, number = layer.state
        self.states = [step[position].outputs[number] for step in layer.steps]
        unpack = next(
            (o for o in subgraph.operators if o.name == "UNPACK" and len(o.outputs) == layer.count),
            None,
        )
        if unpack is None:
            raise ValueError("the layer's input is not known")
        self.source = unpack.inputs[0]

    @property
    def units(self) -> int:
        return self.tensors[self.states[0]].shape[-1]

    @property
    def kind(self) -> str:
        return self.tensors[self.states[0]].type

    def tensor(
        self, shape: tuple[int, ...], kind: str, *, constant: bool = False, variable: bool = False
    ) -> int:
        index = len(self.tensors)
        quantization = _SCALED if kind in ("INT8", "INT16") else None
        size = 1 if constant else 0
        made = Tensor(index, f"new {index}", shape, shape, kind, quantization, size, variable)
        self.tensors.append(made)
        return index

    def operator(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], **options: object
    ) -> None:
        index = len(self.subgraph.operators) + len(self.added)
        self.added.append(Operator(index, name, "", 1, tuple(inputs), tuple(outputs), options))

    def finished(self, sequence: int) -> Subgraph:
        """What took the last state takes the last of a sequence, what joined all takes it whole."""
        last = self.tensor(self.tensors[self.states[-1]].shape, self.kind)
        corner = [self.tensor((3,), "INT32", constant=True) for _ in range(3)]
        self.operator("STRIDED_SLICE", (sequence, *corner), (last,))
        own = {o.index for step in self.layer.steps for o in step}
        states = set(self.states)
        kept = []
        for operator in self.subgraph.operators:
            if operator.index in own:
                continue
            if operator.name in _JOINS and len(states.intersection(operator.inputs)) > 1:
                shape = self.tensor((3,), "INT32", constant=True)
                operator = dataclasses.replace(
                    operator, name="RESHAPE", inputs=(sequence, shape), options={}
                )
            else:
                inputs = tuple(last if i == self.states[-1] else i for i in operator.inputs)
                operator = dataclasses.replace(operator, inputs=inputs)
            kept.append(operator)
        outputs = tuple(last if i == self.states[-1] else i for i in self.subgraph.outputs)
        position = next(n for n, operator in enumerate(kept) if self.source in operator.inputs)
        changed = dataclasses.replace(
            self.subgraph,
            tensors=tuple(self.tensors),
            operators=(*kept[:position], *self.added, *kept[position:]),
            outputs=outputs,
        )
        return _pruned(changed)


def _fused_once(subgraph: Subgraph, layer: Unrolled) -> Subgraph:
    made = _Replacement(subgraph, layer)
    time, batch, features = made.tensors[made.source].shape
    units, kind = made.units, made.kind
    float_layer = kind == "FLOAT32"
    weights, bias = ("FLOAT32", "FLOAT32") if float_layer else ("INT8", "INT32")
    kernels = [made.tensor((units, features), weights, constant=True) for _ in range(4)]
    recurrent = [made.tensor((units, units), weights, constant=True) for _ in range(4)]
    biases = [made.tensor((units,), bias, constant=True) for _ in range(4)]
    cell = "FLOAT32" if float_layer else "INT16"
    states = [made.tensor((batch, units), k, variable=True) for k in (kind, cell)]
    sequence = made.tensor((time, batch, units), kind)
    inputs = [made.source, *kernels, *recurrent, -1, -1, -1, *biases, -1, -1, *states, *[-1] * 4]
    made.operator("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, (sequence,), timeMajor=True)
    return made.finished(sequence)


def fused(graph: Graph, layers: Sequence[Unrolled]) -> Graph | None:
    """The graph with a fused LSTM of as many units for each layer; None where that fails."""
    main = graph.main
    try:
        for _ in layers:
            main = _fused_once(main, unrolled_layers(main)[0])
    except (IndexError, ValueError, StopIteration):
        return None
    return _with_main(graph, main)


# -- a loop in float32 -----------------------------------------------------------------------------


def _as_float(tensor: Tensor) -> Tensor:
    if tensor.quantization is None:
        return tensor
    return dataclasses.replace(tensor, type="FLOAT32", quantization=None)


def _without_casts(subgraph: Subgraph) -> Subgraph:
    """Without the operators that change a type or scale alone."""
    same: dict[int, int] = {}
    kept = []
    for operator in subgraph.operators:
        inputs = tuple(same.get(i, i) for i in operator.inputs)
        if operator.name in ("QUANTIZE", "DEQUANTIZE"):
            same[operator.outputs[0]] = inputs[0]
        else:
            kept.append(dataclasses.replace(operator, inputs=inputs))
    outputs = tuple(same.get(i, i) for i in subgraph.outputs)
    return _pruned(dataclasses.replace(subgraph, operators=tuple(kept), outputs=outputs))


def _loop_once(subgraph: Subgraph, layer: Unrolled, first: int) -> tuple[Subgraph, list[Subgraph]]:
    """A layer as a loop: the main subgraph, and the loop's condition and body."""
    made = _Replacement(subgraph, layer)
    body_step = _one_step(subgraph, layer)
    handed_on = _handed_on(layer)
    time, batch, features = made.tensors[made.source].shape
    steps = made.tensors[made.source]
    carried = [made.tensors[i] for i in handed_on]
    sequence_shape = (
        (time, batch, made.units) if _joined(subgraph, made) else (1, batch, made.units)
    )
    scalar = made.tensor((), "INT32", constant=True)
    starts = [made.tensor(t.shape, "FLOAT32", constant=True) for t in carried]
    collected = made.tensor(sequence_shape, "FLOAT32", constant=True)
    outputs = [made.tensor((), "INT32") for _ in range(2)]
    sequence = made.tensor(sequence_shape, "FLOAT32")
    outputs += [sequence, *(made.tensor(t.shape, "FLOAT32") for t in carried)]
    outputs.append(made.tensor(steps.shape, "FLOAT32"))
    inputs = (scalar, scalar, collected, *starts, made.source)
    made.operator("WHILE", inputs, outputs, condSubgraphIndex=first, bodySubgraphIndex=first + 1)
    shapes = [made.tensors[i].shape for i in outputs]
    condition = _condition(shapes)
    body = _body(subgraph, layer, body_step, handed_on, shapes, (batch, features))
    return made.finished(sequence), [condition, body]


def _joined(subgraph: Subgraph, made: _Replacement) -> bool:
    states = set(made.states)
    return any(
        o.name in _JOINS and len(states.intersection(o.inputs)) > 1 for o in subgraph.operators
    )


def _one_step(subgraph: Subgraph, layer: Unrolled) -> list[Operator]:
    """A step's operators with those that prepare its input, in order."""
    step = list(layer.steps[1])
    own = {o.index for o in step}
    wanted = {i for o in step for i in o.inputs}
    for operator in reversed(subgraph.operators):
        prepares = layer.levels.get(operator.index) == 0 and operator.name != "UNPACK"
        if operator.index not in own and prepares and wanted.intersection(operator.outputs):
            step.append(operator)
            wanted.update(operator.inputs)
    return sorted(step, key=lambda o: o.index)


def _handed_on(layer: Unrolled) -> list[int]:
    """What the second step takes from the first one."""
    made = [i for o in layer.steps[0] for i in o.outputs]
    taken = {i for o in layer.steps[1] for i in o.inputs}
    return [i for i in made if i in taken]


def _condition(shapes: Sequence[tuple[int, ...]]) -> Subgraph:
    kinds = ["INT32", "INT32", *["FLOAT32"] * (len(shapes) - 2)]
    tensors = [
        Tensor(n, f"condition {n}", shape, shape, kind, None, 0, False)
        for n, (shape, kind) in enumerate(zip(shapes, kinds, strict=True))
    ]
    count = len(tensors)
    tensors.append(Tensor(count, "steps", (), (), "INT32", None, 4, False))
    for n in range(3):
        tensors.append(Tensor(count + 1 + n, f"less {n}", (), (), "BOOL", None, 0, False))
    operators = (
        Operator(0, "LESS", "", 1, (0, count), (count + 1,)),
        Operator(1, "LESS", "", 1, (1, count), (count + 2,)),
        Operator(2, "LOGICAL_AND", "", 1, (count + 1, count + 2), (count + 3,)),
    )
    return Subgraph("condition", tuple(tensors), operators, tuple(range(count)), (count + 3,))


def _body(
    subgraph: Subgraph,
    layer: Unrolled,
    step: Sequence[Operator],
    handed_on: Sequence[int],
    shapes: Sequence[tuple[int, ...]],
    sample: tuple[int, ...],
) -> Subgraph:
    kinds = ["INT32", "INT32", *["FLOAT32"] * (len(shapes) - 2)]
    tensors = [
        Tensor(n, f"loop {n}", shape, shape, kind, None, 0, False)
        for n, (shape, kind) in enumerate(zip(shapes, kinds, strict=True))
    ]
    ends = len(tensors)

    def new(shape: tuple[int, ...], kind: str, size: int = 0) -> int:
        made = Tensor(len(tensors), f"loop {len(tensors)}", shape, shape, kind, None, size, False)
        tensors.append(made)
        return made.index

    one = new((), "INT32", 4)
    counters = [new((), "INT32") for _ in range(2)]
    picked = new(sample, "FLOAT32")
    operators = [
        Operator(n, "ADD", "", 1, (n, one), (counter,), {"fusedActivationFunction": 0})
        for n, counter in enumerate(counters)
    ]
    operators.append(Operator(2, "GATHER", "", 1, (ends - 1, 1), (picked,), {"axis": 0}))
    unpacked = {i for o in subgraph.operators if o.name == "UNPACK" for i in o.outputs}
    place = {old: 3 + n for n, old in enumerate(handed_on)} | {-1: -1}

    def placed(old: int) -> int:
        if old in unpacked:
            return picked
        if old not in place:
            tensor = _as_float(subgraph.tensors[old])
            place[old] = new(tensor.shape, tensor.type, tensor.constant_bytes)
        return place[old]

    for operator in step:
        moved = dataclasses.replace(
            operator,
            index=len(operators),
            inputs=tuple(placed(i) for i in operator.inputs),
            outputs=tuple(placed(i) for i in operator.outputs),
        )
        operators.append(moved)
    following = dict(
        zip(
            (i for o in layer.steps[0] for i in o.outputs),
            (i for o in layer.steps[1] for i in o.outputs),
            strict=True,
        )
    )
    position, number = layer.state
    state = placed(layer.steps[1][position].outputs[number])
    written = new(shapes[2], "FLOAT32")

    def add(name: str, inputs: Sequence[int], output: int) -> int:
        operators.append(Operator(len(operators), name, "", 1, tuple(inputs), (output,)))
        return output

    def numbers(count: int) -> int:
        return new((count,), "INT32", 4 * count)

    one_more = (1, *shapes[2][1:])
    if shapes[2] == one_more:
        add("RESHAPE", (state, numbers(3)), written)
    else:
        # What was collected before this step, this step, and what stands after it.
        pieces = []
        for counter in (1, counters[1]):
            place_of = add("RESHAPE", (counter, numbers(1)), new((1,), "INT32"))
            corner = add("CONCATENATION", (place_of, numbers(2)), new((3,), "INT32"))
            shape = (1,) * len(one_more) if counter == 1 else one_more
            pieces.append(add("SLICE", (2, numbers(3), corner), new(shape, "FLOAT32")))
        pieces.insert(1, add("RESHAPE", (state, numbers(3)), new(one_more, "FLOAT32")))
        add("CONCATENATION", pieces, written)
    outputs = (*counters, written, *(placed(following[i]) for i in handed_on), ends - 1)
    return Subgraph("body", tuple(tensors), tuple(operators), tuple(range(ends)), outputs)


def as_float_loop(graph: Graph, layers: Sequence[Unrolled]) -> Graph | None:
    """The graph in float32 with a loop for each layer; None where there is no such graph."""
    main, more = _without_casts(graph.main), list[Subgraph]()
    try:
        for _ in layers:
            first = len(graph.subgraphs) + len(more)
            main, loop = _loop_once(main, unrolled_layers(main)[0], first)
            more += loop
    except (IndexError, KeyError, ValueError, StopIteration):
        return None
    floats = dataclasses.replace(main, tensors=tuple(map(_as_float, main.tensors)))
    return _with_main(graph, floats, more)
