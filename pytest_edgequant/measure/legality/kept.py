"""Rules on stored values that TFLM hands on as they are: through operators, branches, variables.

A kernel that copies looks at no scale: where one side says another than the other, the values mean
something else behind it. Found by running each operator with other scales and zero points
(`tests/unit/measure/legality/test_assumed.py` asks again).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from pytest_edgequant.measure.legality.rule import Severity, on_tflm, place, rule
from pytest_edgequant.measure.legality.scales import SAME
from pytest_edgequant.measure.legality.scaling import agree, pair, tensors
from pytest_edgequant.records import Target
from pytest_edgequant.tflite.graph import Graph, Operator, Subgraph, Tensor

KEEPING = frozenset(
    """
    BATCH_TO_SPACE_ND BROADCAST_TO CONCATENATION DEPTH_TO_SPACE
    DYNAMIC_UPDATE_SLICE EMBEDDING_LOOKUP EXPAND_DIMS FILL GATHER GATHER_ND MAXIMUM MINIMUM
    MIRROR_PAD PACK PAD PADV2 RELU6 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2
    SELECT_V2 SLICE SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQUEEZE STRIDED_SLICE TRANSPOSE
    UNPACK
    """.split()
)
"""Operators whose output is made of values as they are stored in the inputs."""

_FUSED = (
    ". Put ReLU6 directly behind the layer that computes its input (Conv2D, Dense), with which the "
    "converter fuses it, or use ReLU"
)
_AGAIN = "Convert the model again, with one calibration for the whole of it"


def _kept(one: Tensor, other: Tensor) -> bool:
    """Whether the same stored values mean the same in two tensors."""
    a, b = one.quantization, other.quantization
    if a is None or b is None or a.axis != b.axis or len(a.scales) != len(b.scales):
        return a is None or b is None
    scales = zip(a.scales, b.scales, strict=True)
    return a.zero_points == b.zero_points and all(agree(x, y, other.type) for x, y in scales)


def moved(one: Tensor, other: Tensor, what: str) -> str:
    """What is wrong where stored values go from one tensor to another; empty where nothing is."""
    if one.quantization is None or other.quantization is None:
        return ""
    if one.type != other.type or _kept(one, other):
        return ""
    return (
        f"{what} {one.shown} has {pair(one.quantization)}, the result {other.shown} "
        f"{pair(other.quantization)}. {_AGAIN}, or put a QUANTIZE operator between them"
    )


@rule("TFLM", on_tflm, Severity.WRONG)
def kept_values(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM's kernel hands stored values on as they are: it assumes the same scale and zero point
    on both sides
    """
    for subgraph, operator in graph.operators():
        if operator.name not in KEEPING:
            continue
        inputs = tensors(subgraph, operator.inputs)
        outputs = tensors(subgraph, operator.outputs)
        if outputs and outputs[0].type in SAME.get(operator.name, ()):
            continue  # equal_scales says it
        problems = (f for a, b in _pairs(inputs, outputs) if (f := moved(a, b, "the input")))
        first = next(problems, "")
        if first:
            fused = _FUSED if operator.name == "RELU6" else ""
            yield f"{place(subgraph, operator)}: {first}{fused}"


_MOST_PAIRS = 4096
_MOST_KINDS = 64


def _pairs(inputs: list[Tensor], outputs: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Each input with each output; of very many each with the first of the other side."""
    if len(inputs) * len(outputs) > _MOST_PAIRS:
        yield from ((tensor, outputs[0]) for tensor in inputs)
        yield from ((inputs[0], tensor) for tensor in outputs)
    else:
        yield from itertools.product(inputs, outputs)


def _called(operator: Operator) -> list[int]:
    """The subgraphs that an IF or a WHILE runs."""
    keys = {
        "IF": ("thenSubgraphIndex", "elseSubgraphIndex"),
        "WHILE": ("condSubgraphIndex", "bodySubgraphIndex"),
    }.get(operator.name, ())
    return [int(operator.options[key]) for key in keys if key in operator.options]


@rule("TFLM", on_tflm, Severity.WRONG)
def kept_in_branches(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM copies stored values into the branches of IF and WHILE and back: it assumes the same
    scale and zero point inside and outside
    """
    for subgraph, operator in graph.operators():
        given = operator.inputs[1:] if operator.name == "IF" else operator.inputs
        for index in _called(operator):
            if not 0 <= index < len(graph.subgraphs):
                continue
            inner = graph.subgraphs[index]
            pairs = [
                (subgraph.tensors[a], inner.tensors[b])
                for a, b in zip(given, inner.inputs, strict=False)
                if a >= 0
            ]
            if len(inner.outputs) == len(operator.outputs):
                pairs += [
                    (inner.tensors[a], subgraph.tensors[b])
                    for a, b in zip(inner.outputs, operator.outputs, strict=True)
                    if b >= 0
                ]
            problems = (f for a, b in pairs if (f := moved(a, b, "the value")))
            first = next(problems, "")
            if first:
                yield f"{place(subgraph, operator)}, subgraph {index}: {first}"


def _variables(graph: Graph) -> dict[str, list[tuple[Subgraph, Operator, Tensor]]]:
    """What is read from and assigned to each variable, by the name that its handles share."""
    found: dict[str, list[tuple[Subgraph, Operator, Tensor]]] = {}
    for subgraph in graph.subgraphs:
        names = {
            operator.outputs[0]: repr(operator.options.get("sharedName"))
            for operator in subgraph.operators
            if operator.name == "VAR_HANDLE" and operator.outputs
        }
        for operator in subgraph.operators:
            values = {
                "READ_VARIABLE": operator.outputs[:1],
                "ASSIGN_VARIABLE": operator.inputs[1:2],
            }.get(operator.name, ())
            name = names.get(operator.inputs[0]) if operator.inputs else None
            if name is not None:
                found.setdefault(name, []).extend(
                    (subgraph, operator, tensor) for tensor in tensors(subgraph, values)
                )
    return found


@rule("TFLM", on_tflm, Severity.WRONG)
def kept_in_variables(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM keeps stored values in a variable: it assumes the same scale and zero point where it
    is assigned and where it is read
    """
    for uses in _variables(graph).values():
        # One of each kind: a model may read a variable as often as its bytes allow.
        every = {(t.type, t.quantization): t for _, o, t in uses if o.name == "READ_VARIABLE"}
        # Of so many kinds no value agrees with all.
        kinds = dict(itertools.islice(every.items(), _MOST_KINDS))
        for _, operator, value in uses:
            problems = (f for read in kinds.values() if (f := moved(value, read, "the value")))
            first = next(problems, "") if operator.name == "ASSIGN_VARIABLE" else ""
            if first:
                # An assignment makes nothing that would name its layer: the value does.
                yield f"ASSIGN_VARIABLE (operator {operator.index}): {first}"


RULES = (kept_values, kept_in_branches, kept_in_variables)
