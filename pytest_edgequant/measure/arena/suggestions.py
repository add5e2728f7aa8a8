"""Ways to a smaller arena, each with its effect in bytes as the calculator has it.

A change is made to the graph's records (types, shapes, quantization), not to a file: the same
calculator then says what would be needed. None is given whose effect is zero.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping

from pytest_edgequant.errors import EdgeQuantError
from pytest_edgequant.measure.arena.calculator import Calculation, calculate
from pytest_edgequant.measure.arena.optimizer import optimized
from pytest_edgequant.measure.arena.profiles import Profile
from pytest_edgequant.records import Quantization, Suggestion
from pytest_edgequant.tflite.graph import Graph, Operator, Subgraph, Tensor, read_graph

_SCALED = Quantization((1.0,), (0,))
_WEIGHTED: Mapping[str, tuple[int, int]] = {
    "CONV_2D": (1, 0),
    "DEPTHWISE_CONV_2D": (1, 3),
    "FULLY_CONNECTED": (1, 0),
    "TRANSPOSE_CONV": (1, 0),
}
"""Operators with weights: the input's position, and the axis of its output channels."""
_SAME_CHANNELS = frozenset(
    """
    ABS ADD AVERAGE_POOL_2D DEPTHWISE_CONV_2D DEQUANTIZE DIV ELU HARD_SWISH LEAKY_RELU LOGISTIC
    MAXIMUM MAX_POOL_2D MINIMUM MUL PAD PADV2 PRELU QUANTIZE RELU RELU6 RESIZE_BILINEAR
    RESIZE_NEAREST_NEIGHBOR SOFTMAX SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND SQUARED_DIFFERENCE SUB TANH
    """.split()
)
_SHAPE_ARITHMETIC = frozenset(
    "SHAPE STRIDED_SLICE PACK CONCATENATION MUL ADD SUB CAST GATHER SLICE SQUEEZE RESHAPE".split()
)

Change = Callable[[Subgraph], Subgraph]


def _with_tensors(subgraph: Subgraph, changed: Mapping[int, Tensor]) -> Subgraph:
    tensors = tuple(changed.get(tensor.index, tensor) for tensor in subgraph.tensors)
    return dataclasses.replace(subgraph, tensors=tensors)


def _changed(graph: Graph, change: Change) -> Graph:
    """The graph with its main subgraph changed; a plan in its metadata no longer fits it."""
    main = change(graph.main)
    return dataclasses.replace(graph, subgraphs=(main, *graph.subgraphs[1:]), metadata={})


# -- int8 ------------------------------------------------------------------------------------------


def _as_int8(subgraph: Subgraph) -> Subgraph:
    """Activations as int8, weights as int8 per channel (fully connected ones per tensor)."""
    changed: dict[int, Tensor] = {}
    for tensor in subgraph.tensors:
        if tensor.type in ("FLOAT32", "INT16"):
            scaled = tensor.quantization or _SCALED
            changed[tensor.index] = dataclasses.replace(tensor, type="INT8", quantization=scaled)
    for operator in subgraph.operators:
        if operator.name not in _WEIGHTED:
            continue
        position, axis = _WEIGHTED[operator.name]
        weights = _input(subgraph, operator, position)
        bias = _input(subgraph, operator, 3 if operator.name == "TRANSPOSE_CONV" else 2)
        if weights is None:
            continue
        whole = operator.name == "FULLY_CONNECTED" or axis >= len(weights.shape)
        count = 1 if whole else weights.shape[axis]
        quantization = weights.quantization
        if quantization is None:
            scales = Quantization((1.0,) * count, (0,) * count, None if count == 1 else axis)
            quantization = scales
        changed[weights.index] = dataclasses.replace(
            weights, type="INT8", quantization=quantization
        )
        if bias is not None:
            changed[bias.index] = dataclasses.replace(
                bias, type="INT32", quantization=bias.quantization or quantization
            )
    return _with_tensors(subgraph, changed)


def _input(subgraph: Subgraph, operator: Operator, position: int) -> Tensor | None:
    if position >= len(operator.inputs) or operator.inputs[position] < 0:
        return None
    return subgraph.tensors[operator.inputs[position]]


# -- dense weights per tensor ----------------------------------------------------------------------


def _dense_per_tensor(subgraph: Subgraph) -> Subgraph:
    changed = {}
    for operator in subgraph.operators:
        if operator.name == "FULLY_CONNECTED":
            for position in (1, 2):
                tensor = _input(subgraph, operator, position)
                if tensor is not None and tensor.quantization is not None:
                    changed[tensor.index] = dataclasses.replace(tensor, quantization=_SCALED)
    return _with_tensors(subgraph, changed)


# -- a batch that is pinned ------------------------------------------------------------------------


def _pinned(subgraph: Subgraph) -> Subgraph:
    """Without the operators that compute shapes while the model runs."""
    computed: set[int] = set()
    kept: list[Operator] = []
    for operator in subgraph.operators:
        sources = [i for i in operator.inputs if i >= 0 and not subgraph.tensors[i].constant]
        integers = all(subgraph.tensors[i].type == "INT32" for i in operator.outputs)
        derived = operator.name == "SHAPE" or (sources and computed.issuperset(sources))
        if integers and derived and operator.name in _SHAPE_ARITHMETIC:
            computed.update(operator.outputs)
        else:
            kept.append(operator)
    used = {i for operator in kept for i in (*operator.inputs, *operator.outputs)}
    used |= {*subgraph.inputs, *subgraph.outputs}
    order = [t.index for t in subgraph.tensors if t.index in used]
    new = {old: position for position, old in enumerate(order)} | {-1: -1}
    tensors = []
    for old in order:
        tensor = dataclasses.replace(subgraph.tensors[old], index=new[old])
        if old in computed:
            tensor = dataclasses.replace(tensor, constant_bytes=max(4 * tensor.elements, 4))
        tensors.append(tensor)

    def moved(indices: Iterable[int]) -> tuple[int, ...]:
        return tuple(new[i] for i in indices)

    return dataclasses.replace(
        subgraph,
        tensors=tuple(tensors),
        operators=tuple(
            dataclasses.replace(o, inputs=moved(o.inputs), outputs=moved(o.outputs)) for o in kept
        ),
        inputs=moved(subgraph.inputs),
        outputs=moved(subgraph.outputs),
    )


# -- fewer channels at the peak --------------------------------------------------------------------


def _connected(subgraph: Subgraph, start: set[int]) -> set[int]:
    """Tensors that must have as many channels as these: element by element, one for one."""
    found = set(start)
    while True:
        before = len(found)
        for operator in subgraph.operators:
            if operator.name in _SAME_CHANNELS:
                ends = {i for i in (*operator.inputs, *operator.outputs) if i >= 0}
                ends = {i for i in ends if not subgraph.tensors[i].constant}
                if ends & found:
                    found |= {i for i in ends if subgraph.tensors[i].shape}
        if len(found) == before:
            return found


def _halved(tensor: Tensor, axis: int) -> Tensor:
    shape = list(tensor.shape)
    shape[axis] = -(-shape[axis] // 2)
    quantization = tensor.quantization
    if quantization is not None and quantization.axis in (axis, axis - len(shape)):
        quantization = Quantization(
            quantization.scales[: shape[axis]],
            quantization.zero_points[: shape[axis]],
            quantization.axis,
        )
    return dataclasses.replace(tensor, shape=tuple(shape), quantization=quantization)


def _peak_group(graph: Graph, found: Calculation) -> set[int]:
    """The largest tensor at the peak that a change of the model could narrow, and its equals."""
    main = graph.main
    ends = {*main.inputs, *main.outputs}
    alive = [b for b in found.placed if b.first <= found.peak_scope <= b.last]
    for buffer in sorted(alive, key=lambda b: -b.size):
        if buffer.tensor is None or len(main.tensors[buffer.tensor].shape) < 2:
            continue
        group = _connected(main, {buffer.tensor})
        if not group & ends and all(main.tensors[i].shape[-1] > 1 for i in group):
            return group
    return set()


def _narrowed(subgraph: Subgraph, group: set[int]) -> Subgraph:
    """Half the channels in these tensors, and in the weights that make and take them."""
    changed = {i: _halved(subgraph.tensors[i], -1) for i in group}
    for operator in subgraph.operators:
        if operator.name not in _WEIGHTED:
            continue
        position, axis = _WEIGHTED[operator.name]
        weights = _input(subgraph, operator, position)
        bias = _input(subgraph, operator, 3 if operator.name == "TRANSPOSE_CONV" else 2)
        source = operator.inputs[2 if operator.name == "TRANSPOSE_CONV" else 0]
        if weights is None or not weights.shape or axis >= len(weights.shape):
            continue
        made = operator.outputs[0] in group
        if made:
            changed[weights.index] = _halved(changed.get(weights.index, weights), axis)
            if bias is not None and bias.shape:
                changed[bias.index] = _halved(changed.get(bias.index, bias), 0)
        if source in group and operator.name != "DEPTHWISE_CONV_2D":
            last = len(weights.shape) - 1
            changed[weights.index] = _halved(changed.get(weights.index, weights), last)
    return _with_tensors(subgraph, changed)


# -- all of them -----------------------------------------------------------------------------------


def _short(name: str) -> str:
    """A tensor's name for a message: converters join the names of all that they fused."""
    return repr(name if len(name) <= 48 else f"{name[:45]}...")


def _changes(graph: Graph, found: Calculation) -> Iterator[tuple[str, Graph]]:
    kinds = {t.type for t in graph.main.tensors if not t.constant}
    for kind, name in (("FLOAT32", "float32"), ("INT16", "int16x8")):
        if kind in kinds:
            yield f"int8 instead of {name}", _changed(graph, _as_int8)
            break
    if any(o.name == "SHAPE" for o in graph.main.operators):
        yield "pin the batch at 1 (no shapes computed on the device)", _changed(graph, _pinned)
    group = _peak_group(graph, found)
    if group:
        names = sorted(graph.main.tensors[i].name for i in group)
        shown = ", ".join(map(_short, names[:3])) + (", ..." if len(names) > 3 else "")
        narrowed = _changed(graph, lambda subgraph: _narrowed(subgraph, group))
        yield f"half the channels at the peak ({shown})", narrowed
    yield "Dense weights per tensor instead of per channel", _changed(graph, _dense_per_tensor)


def suggest(content: bytes, profile: Profile) -> tuple[Suggestion, ...]:
    """What would make a model's arena smaller, the largest effect first.

    Raises what `calculate` raises for the model as it is; a change that can't be computed is left
    out.
    """
    graph = read_graph(content)
    found = calculate(graph, profile)
    suggestions = []
    for text, changed in _changes(graph, found):
        try:
            saved = found.minimum - calculate(changed, profile).minimum
        except EdgeQuantError:
            continue
        if saved > 0:
            suggestions.append(Suggestion(text, saved))
    better = optimized(content, graph, profile)
    if better != content:
        saved = found.minimum - calculate(read_graph(better), profile).minimum
        if saved > 0:
            suggestions.append(Suggestion("an offline memory plan (optimize_arena)", saved))
    return tuple(sorted(suggestions, key=lambda s: (-s.bytes, s.text)))
