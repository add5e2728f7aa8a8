"""Other forms of an unrolled layer: one fused operator, or the loop that float32 keeps.

Graphs are built as converters give them, so that the calculator can plan them; they are not run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from pytest_edgequant.measure.arena.unrolled import (
    JOINS,
    Unrolled,
    pruned,
    unrolled_layers,
    with_main,
)
from pytest_edgequant.records import Quantization
from pytest_edgequant.tflite.graph import Graph, Operator, Subgraph, Tensor

_SCALED = Quantization((1.0,), (0,))


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
            if operator.name in JOINS and len(states.intersection(operator.inputs)) > 1:
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
        return pruned(changed)


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
    return with_main(graph, main)


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
    return pruned(dataclasses.replace(subgraph, operators=tuple(kept), outputs=outputs))


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
        o.name in JOINS and len(states.intersection(o.inputs)) > 1 for o in subgraph.operators
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
    tensors.extend(
        Tensor(count + 1 + n, f"less {n}", (), (), "BOOL", None, 0, False) for n in range(3)
    )
    operators = (
        Operator(0, "LESS", "", 1, (0, count), (count + 1,)),
        Operator(1, "LESS", "", 1, (1, count), (count + 2,)),
        Operator(2, "LOGICAL_AND", "", 1, (count + 1, count + 2), (count + 3,)),
    )
    return Subgraph("condition", tuple(tensors), operators, tuple(range(count)), (count + 3,))


def _collected(
    operators: list[Operator],
    new: Callable[..., int],
    state: int,
    collection: tuple[int, ...],
    following: int,
) -> int:
    """Operators that put a step's state in its place among all: before it, it, and after it."""

    def add(name: str, inputs: Sequence[int], output: int) -> int:
        operators.append(Operator(len(operators), name, "", 1, tuple(inputs), (output,)))
        return output

    def numbers(count: int) -> int:
        return new((count,), "INT32", 4 * count)

    written = new(collection, "FLOAT32")
    one = (1, *collection[1:])
    if collection == one:
        return add("RESHAPE", (state, numbers(3)), written)
    pieces = []
    for counter in (1, following):
        place = add("RESHAPE", (counter, numbers(1)), new((1,), "INT32"))
        corner = add("CONCATENATION", (place, numbers(2)), new((3,), "INT32"))
        shape = (1,) * len(one) if counter == 1 else one
        pieces.append(add("SLICE", (2, numbers(3), corner), new(shape, "FLOAT32")))
    pieces.insert(1, add("RESHAPE", (state, numbers(3)), new(one, "FLOAT32")))
    return add("CONCATENATION", pieces, written)


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
    written = _collected(operators, new, state, shapes[2], counters[1])
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
    return with_main(graph, floats, more)
