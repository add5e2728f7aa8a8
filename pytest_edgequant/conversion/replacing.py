"""What replaces an operator that a quantizer or a runtime does not take, in the user's own model.

An operator is a part of a layer: whoever uses LayerNormalization can't replace the NEG within it.
`tests/e2e/test_replacements.py` converts the ways out that are more than a change of one layer for
another, and runs them on TFLM in the form that they are told for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pytest_edgequant.tflite.graph import Graph, Operator, Subgraph

_ACTIVATION = "Use the activation relu, leaky_relu or swish"
_NORMALIZE = (
    "Use BatchNormalization, or write the normalization as products in a layer of its own: "
    "c = x - keras.ops.mean(x, -1, keepdims=True), then "
    "c * keras.ops.rsqrt(keras.ops.mean(c * c, -1, keepdims=True) + epsilon) * gamma + beta"
)
_MASK = "Leave the mask out (no Masking layer, mask_zero=False) and pad in the application"
_LOOKUP = (
    "Keras 3 adds it to Embedding and keras.ops.take, for negative indices. Use a layer whose call "
    "is tf.gather(self.table, ids), which becomes GATHER alone (float32 or int8), or look vectors "
    "up in the application and make them the model's float input"
)

_OF_NORMALIZATION = ("NEG", "SQUARE", "SQUARED_DIFFERENCE", "RSQRT")


@dataclass(frozen=True)
class _Way:
    """A way out: for operators, within layers whose names match, on types; None is any."""

    operators: frozenset[str]
    instead: str
    layers: str | None = None
    types: tuple[str, ...] | None = None


def _way(
    operators: str, instead: str, layers: str | None = None, types: tuple[str, ...] | None = None
) -> _Way:
    return _Way(frozenset(operators.split()), instead, layers, types)


_WAYS = (
    _way("SELECT LESS", _LOOKUP, "embedding"),
    _way(" ".join(_OF_NORMALIZATION), _NORMALIZE, "(layer|group)_?norm"),
    _way(
        "SQUARE",
        "Write it as products in a layer of its own: x * keras.ops.rsqrt(keras.ops.mean(x * x, -1, "
        "keepdims=True) + epsilon), with sum for mean in UnitNormalization",
        "(unit|rms)_?norm",
    ),
    _way("SELECT EXP LOG GREATER ELU", _ACTIVATION, "selu|elu|softplus|mish|/exp"),
    _way("TILE", "Use keras.ops.stack([x] * n, axis=1)", "repeat_?vector"),
    _way(
        "TILE",
        'Use keras.ops.image.resize(x, (height, width), interpolation="nearest") in a layer of its '
        'own, UpSampling2D(interpolation="bilinear") (float32 or int8), or Conv2DTranspose',
        "up_?sampling",
    ),
    _way("UNPACK REDUCE_ANY NOT_EQUAL SELECT SELECT_V2", _MASK, "mask|lstm|gru|rnn|/any$"),
    _way(
        "STRIDED_SLICE",
        "Give each step as an input of its own and share the layer between them, or stack the "
        "steps as channels",
        "time_?distributed",
    ),
    _way("NEG", "Write -x as 0.0 - x, or as x * -1.0"),
    _way("SQUARE", "Write it as x * x"),
    _way("POW", "Write it as products (x * x * x)"),
    _way("SQRT", "Write it as (x + epsilon) * keras.ops.rsqrt(x + epsilon)"),
    _way("ELU GELU", f"{_ACTIVATION} (it becomes LOGISTIC and MUL)"),
    _way("EXP LOG", "Use another activation (relu, swish), or compute it outside of the model"),
    _way("TILE", "Use keras.ops.stack([x] * n), or keras.ops.broadcast_to"),
    _way(
        "SELECT",
        "Let one operand broadcast: keras.ops.where(mask, x, 0.0) becomes SELECT_V2, which TFLM "
        "has, operands of equal shape become SELECT",
    ),
    _way("LOG_SOFTMAX", "Use softmax, which has the same order of classes"),
    _way("PRELU", "Use LeakyReLU"),
    _way("DIV", "Multiply by the reciprocal, or use int8"),
    _way("CUMSUM", "Use a product with a triangular matrix, or float32"),
    _way("CONV_3D", "Use Conv2D on stacked channels"),
    _way("TOPK_V2", "Leave the selection to the application"),
    _way(
        "REDUCE_MAX",
        "Use MaxPooling2D over the whole picture, or int8",
        types=("INT16",),
    ),
    _way(
        "RESIZE_BILINEAR",
        'Use keras.ops.image.resize(..., interpolation="nearest"), or int8',
        types=("INT16",),
    ),
    _way("GREATER GREATER_EQUAL LESS LESS_EQUAL NOT_EQUAL EQUAL SELECT_V2", "Use int8"),
)

_NO_LAYER = re.compile(r"^(Stateful)?PartitionedCall|^(serving_default|tfl|std|arith|main)\b")


def layer_of(name: str) -> str | None:
    """The Keras layer that a tensor's name tells: `model/dense_1/MatMul` is of `dense_1`.

    A fused tensor has the names of all, the first one counts. None where none is told.
    """
    parts = [part for part in name.split(";")[0].split("/") if part]
    if parts and _NO_LAYER.match(parts[0]):
        parts = parts[1:]
    if len(parts) < 2:
        return None
    return parts[1] if len(parts) > 2 else parts[0]


def _looks_up(subgraph: Subgraph, operator: Operator) -> bool:
    """Whether an operator prepares the indices of a lookup that comes soon after it."""
    made = set(operator.outputs)
    return any(
        other.name == "GATHER" and len(other.inputs) > 1 and other.inputs[1] in made
        for other in subgraph.operators[operator.index + 1 : operator.index + 9]
    )


@dataclass(frozen=True)
class _Layers:
    """What a subgraph's layers are made of: found once, however many of its operators ask."""

    subgraph: Subgraph
    names: frozenset[str]
    inputs: frozenset[int]
    within: Mapping[str | None, set[str]]
    slices: Mapping[tuple[str | None, tuple[int, ...]], int]


_last: _Layers | None = None


def _layers(subgraph: Subgraph) -> _Layers:
    """The layers of the subgraph that was asked for last are kept."""
    global _last
    if _last is None or _last.subgraph is not subgraph:
        within: dict[str | None, set[str]] = {}
        slices: Counter[tuple[str | None, tuple[int, ...]]] = Counter()
        for operator in subgraph.operators:
            layer = layer_of(_result_name(subgraph, operator))
            within.setdefault(layer, set()).add(operator.name)
            if operator.name == "STRIDED_SLICE":
                slices[layer, operator.inputs[:1]] += 1
        names = frozenset(operator.name for operator in subgraph.operators)
        _last = _Layers(subgraph, names, frozenset(subgraph.inputs), within, slices)
    return _last


def _kind_of_layer(subgraph: Subgraph, operator: Operator) -> str:
    """The kind of Keras layer that an operator's neighbours tell, as the ways above name it, or "".

    A layer may have any name; what its operators do together is the same.
    """
    layer = layer_of(_result_name(subgraph, operator))
    known = _layers(subgraph)
    if operator.name == "NOT_EQUAL" and "REDUCE_ANY" in known.names:
        return "masking"  # Keras computes masks outside of the layer's own names
    if layer is None:
        return ""
    within = known.within[layer]
    if operator.name in _OF_NORMALIZATION and "RSQRT" in within:
        return "layer_norm" if within & {"NEG", "SQUARED_DIFFERENCE"} else "rms_norm"
    shape = subgraph.tensors[operator.inputs[0]].shape if operator.inputs else ()
    if operator.name == "TILE" and len(shape) >= 4:  # keras.ops.repeat along an inner axis
        return "repeat_vector" if all(size == 1 for size in shape[:-1]) else "up_sampling"
    slices = known.slices.get((layer, operator.inputs[:1]), 0)
    if operator.name == "STRIDED_SLICE" and slices > 1 and len(shape) > 4:
        return "time_distributed"
    return ""


def _result_name(subgraph: Subgraph, operator: Operator) -> str:
    first = next((i for i in operator.outputs if i >= 0), None)
    return subgraph.tensors[first].name if first is not None else ""


def instead(operator: str, name: str, kind: str = "", *, lookup: bool = False) -> str | None:
    """What to use for an operator whose output has that name and type; None where nothing is known.

    `lookup` tells that its result are the indices of a GATHER.
    """
    if lookup and operator == "SELECT":
        return _LOOKUP
    for way in _WAYS:
        if operator not in way.operators:
            continue
        if way.layers is not None and not re.search(way.layers, name, re.IGNORECASE):
            continue
        if way.types is None or kind in way.types:
            return way.instead
    return None


def replacement(subgraph: Subgraph, operator: Operator, otherwise: str) -> str:
    """What to do about an operator: the layer that it is of, and what replaces it there."""
    source = operator.inputs[0] if operator.inputs else -1
    if operator.name == "CAST" and source in _layers(subgraph).inputs:
        taken = subgraph.tensors[source]
        return (
            f"The input {taken.name!r} is {taken.type}, and the model makes floats of it: leave "
            "the dtype of its Input out (float32) and give samples as floats. Quantized forms "
            "have integer inputs all the same; uint8_io takes bytes"
        )
    first = next((i for i in operator.outputs if i >= 0), None)
    name = _result_name(subgraph, operator)
    kind = subgraph.tensors[first].type if first is not None else ""
    told = f"{name}/{_kind_of_layer(subgraph, operator)}".rstrip("/")
    way = instead(operator.name, told, kind, lookup=_looks_up(subgraph, operator)) or otherwise
    layer = layer_of(name)
    return f"In the layer {layer!r}: {way}" if layer is not None and way else way


def replacements(graph: Graph, operators: Iterable[str]) -> list[str]:
    """What to do about these operators wherever a model has them, each layer and way once."""
    wanted = set(operators)
    told = (replacement(s, o, "") for s, o in graph.operators() if o.name in wanted)
    return [way for way in dict.fromkeys(told) if way]
