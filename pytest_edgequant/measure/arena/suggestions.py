"""Ways to a smaller arena, each with its effect in bytes as the calculator has it.

A change is made to the graph's records (types, shapes, operators), not to a file: the same
calculator then plans the whole changed graph, and says what would need most then. None is given
whose effect is zero.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

from pytest_edgequant.errors import EdgeQuantError, reading
from pytest_edgequant.measure.arena.calculator import Calculation, calculate
from pytest_edgequant.measure.arena.narrowing import (
    WEIGHTED,
    connected,
    dictated,
    input_tensor,
    narrowed,
    with_tensors,
)
from pytest_edgequant.measure.arena.optimizer import optimized
from pytest_edgequant.measure.arena.rolled import as_float_loop, fused
from pytest_edgequant.measure.arena.unrolled import (
    Unrolled,
    unrolled_layers,
    with_fewer_steps,
)
from pytest_edgequant.measure.legality.tflm import kernels
from pytest_edgequant.records import Quantization, Suggestion
from pytest_edgequant.targets.profiles import Profile
from pytest_edgequant.tflite.graph import Graph, Operator, Subgraph, Tensor, read_graph
from pytest_edgequant.tflite.io_types import ChangeIoType
from pytest_edgequant.wording import short

_SCALED = Quantization((1.0,), (0,))
_SHAPE_ARITHMETIC = frozenset(
    "SHAPE STRIDED_SLICE PACK CONCATENATION MUL ADD SUB CAST GATHER SLICE SQUEEZE RESHAPE".split()
)

Change = Callable[[Subgraph], Subgraph]
_Way = tuple[str, Graph]
"""What to change, as text, and the changed graph."""


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
        if operator.name not in WEIGHTED:
            continue
        position, axis = WEIGHTED[operator.name]
        weights = input_tensor(subgraph, operator, position)
        bias = input_tensor(subgraph, operator, 3 if operator.name == "TRANSPOSE_CONV" else 2)
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
    return with_tensors(subgraph, changed)


# -- dense weights per tensor ----------------------------------------------------------------------


def _dense_per_tensor(subgraph: Subgraph) -> Subgraph:
    changed = {}
    for operator in subgraph.operators:
        if operator.name == "FULLY_CONNECTED":
            for position in (1, 2):
                tensor = input_tensor(subgraph, operator, position)
                if tensor is not None and tensor.quantization is not None:
                    changed[tensor.index] = dataclasses.replace(tensor, quantization=_SCALED)
    return with_tensors(subgraph, changed)


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


# -- fewer channels ------------------------------------------------------------------------------

_LARGEST_AT_PEAK = 100
"""Tensors at the peak that are tried: what comes behind them is small beside them."""


def _peak_groups(graph: Graph, found: Calculation) -> Iterator[set[int]]:
    """Tensors at the peak that a change of the model could narrow, each with its equals.

    The largest comes first.
    """
    main, fixed = graph.main, dictated(graph.main)
    alive = [b for b in found.placed if b.first <= found.peak_scope <= b.last]
    for buffer in sorted(alive, key=lambda b: -b.size)[:_LARGEST_AT_PEAK]:
        if buffer.tensor is None or len(main.tensors[buffer.tensor].shape) < 2:
            continue
        group = connected(main, {buffer.tensor})
        if not group & fixed and all(main.tensors[i].shape[-1] > 1 for i in group):
            yield group


def _halved_at_peak(graph: Graph, found: Calculation) -> tuple[Graph, set[int]] | None:
    """Half the channels of the largest tensor at the peak that can be narrowed."""
    for group in _peak_groups(graph, found):
        main = narrowed(graph.main, 1, 2, group)
        if main is not None and main.tensors != graph.main.tensors:
            return _changed(graph, lambda _, main=main: main), group  # type: ignore[misc]
    return None


_STEPS_OF_NARROWING = 4
"""Peaks that are narrowed together at most."""


def _at_the_peaks(graph: Graph, found: Calculation, profile: Profile) -> Iterator[_Way]:
    """Half the channels at the peak; and at the next ones too where that alone saves little."""
    before, names = found.minimum, list[str]()
    for count in range(_STEPS_OF_NARROWING):
        way = _halved_at_peak(graph, found)
        if way is None:
            return
        graph, group = way
        names += sorted({graph.main.tensors[i].name for i in group} - set(names))
        found = calculate(graph, profile)
        shown = ", ".join(repr(short(name)) for name in names[:3])
        shown += ", ..." if len(names) > 3 else ""
        which = "peak" if count == 0 else f"{count + 1} highest peaks"
        yield f"half the channels at the {which} ({shown})", graph
        if found.minimum < before * _WORTHWHILE:
            return


_WORTHWHILE = 0.8
"""What is left of the arena after a change that needs no further one beside it."""


def _narrower(graph: Graph) -> Iterator[_Way]:
    """Fewer channels everywhere: what is needed where several layers have the same peak."""
    for share, numerator, denominator in (("half", 1, 2), ("a quarter", 1, 4)):
        main = narrowed(graph.main, numerator, denominator)
        if main is not None:
            changed = _changed(graph, lambda _, main=main: main)  # type: ignore[misc]
            yield f"{share} of the channels in every layer", changed


# -- unrolled recurrent layers ---------------------------------------------------------------------


_MOST_LAYERS = 64
"""Unrolled layers that are given another form, each in a graph of its own."""


def _rolled(graph: Graph, layers: Sequence[Unrolled]) -> Iterator[_Way]:
    """Fewer steps, a fused operator, a loop in float32."""
    shorter = with_fewer_steps(graph, layers)
    if shorter is not None:
        changed, old, new = shorter
        yield f"{new} time steps instead of {old} in the unrolled recurrent layers", changed
    one = fused(graph, layers)
    if one is not None:
        yield (
            (
                "a fused LSTM (UNIDIRECTIONAL_SEQUENCE_LSTM: what an LSTM of tf_keras becomes) for "
                "each unrolled recurrent layer"
            ),
            one,
        )
    loop = as_float_loop(graph, layers)
    if loop is not None:
        yield "float32, where the recurrent layers stay loops", loop


# -- all of them -----------------------------------------------------------------------------------


def _to_int8(content: bytes, graph: Graph) -> Iterator[_Way]:
    """int8 where the model computes otherwise; at its inputs and outputs where only they don't."""
    main = graph.main
    # Some tensors only carry the scales of what a kernel keeps to itself: no operator has them.
    touched = {i for o in main.operators for i in (*o.inputs, *o.outputs) if i >= 0}
    computed = {
        main.tensors[i].type
        for o in main.operators
        for i in (*o.inputs, *o.outputs)
        if o.name not in ("QUANTIZE", "DEQUANTIZE") and i >= 0 and not main.tensors[i].constant
    }
    if "FLOAT32" in {main.tensors[i].type for i in touched} and "FLOAT32" not in computed:
        inner = "int16" if "INT16" in computed else "int8"
        integer = ChangeIoType(inner, inner).apply(content)
        if integer.changed:
            yield f"{inner} inputs and outputs instead of float32", read_graph(integer.content)
    # A loop is unrolled for int8, which takes more and not less.
    if any(o.name == "WHILE" or _without_int8(o) for o in main.operators):
        return
    for kind, name in (("FLOAT32", "float32"), ("INT16", "int16x8")):
        if kind in computed:
            yield f"int8 instead of {name}", _changed(graph, _as_int8)
            return


def _without_int8(operator: Operator) -> bool:
    """Whether TFLM's kernel takes float data and no int8."""
    kernel = kernels().get(operator.name)
    types = {row[0] for row in kernel.accepts} if kernel is not None else set()
    return "FLOAT32" in types and "INT8" not in types


def _changes(content: bytes, graph: Graph, found: Calculation, profile: Profile) -> Iterator[_Way]:
    yield from _to_int8(content, graph)
    if any(o.name == "SHAPE" for o in graph.main.operators):
        yield "pin the batch at 1 (no shapes computed on the device)", _changed(graph, _pinned)
    layers = unrolled_layers(graph.main)
    if 0 < len(layers) <= _MOST_LAYERS:
        yield from _rolled(graph, layers)
    yield from _at_the_peaks(graph, found, profile)
    yield from _narrower(graph)
    yield "Dense weights per tensor instead of per channel", _changed(graph, _dense_per_tensor)


def _next_bottleneck(found: Calculation) -> str:
    """What needs most of the arena that is left."""
    if found.persistent > found.nonpersistent:
        return f"{found.persistent:,} B of the rest are persistent"
    alive = [b for b in found.placed if b.first <= found.peak_scope <= b.last]
    if not alive:
        return ""
    latest = max(alive, key=lambda b: (b.kind == "scratch", b.first))
    operator = latest.operator or "the model's inputs"
    return f"most is then alive at {operator}, {found.lower_bound:,} B"


@lru_cache(maxsize=32)
def suggest(content: bytes, profile: Profile) -> tuple[Suggestion, ...]:
    """What would make a model's arena smaller, the largest effect first.

    Raises what `calculate` raises for the model as it is; a change that can't be computed is left
    out.
    """
    graph = read_graph(content)
    found = calculate(graph, profile)
    suggestions: dict[str, Suggestion] = {}

    def consider(text: str, changed: Graph) -> None:
        try:
            after = calculate(changed, profile)
        except EdgeQuantError:
            return
        if after.minimum < found.minimum:
            saved = found.minimum - after.minimum
            suggestions[text] = Suggestion(text, saved, _next_bottleneck(after))

    # Advice on a model that was measured: what can't be worked out for it is left out.
    with contextlib.suppress(EdgeQuantError), reading("the suggestions"):
        for text, changed in _changes(content, graph, found, profile):
            consider(text, changed)
    better = optimized(content, graph, profile)
    if better != content:
        consider("an offline memory plan (optimize_arena)", read_graph(better))
    return tuple(sorted(suggestions.values(), key=lambda s: (-s.bytes, s.text)))
