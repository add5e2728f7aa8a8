"""Rules on what TFLM's kernels assume where they multiply and add.

Zero points of 0, the bias' scale, one scale a channel of weights alone.

Found by running each operator with other scales and zero points
(`tests/unit/measure/legality/test_assumed.py` asks again).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from pytest_edgequant.measure.legality.kept import KEEPING
from pytest_edgequant.measure.legality.rule import Severity, on_tflm, place, rule
from pytest_edgequant.measure.legality.scaling import STEP, STEPS, at, tensors
from pytest_edgequant.records import Quantization, Target
from pytest_edgequant.tflite.graph import Graph, Operator, Subgraph, Tensor

_DATA_WEIGHTS_BIAS = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
    "SVDF": (4, 2, 3),
}
"""Positions of what is multiplied and of the bias that is added to the products."""

_CHANNEL_AXIS = {
    "CONV_2D": 0,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 0,
    "TRANSPOSE_CONV": 0,
}
"""The axis along which an operator's weights may have a scale each."""

_ZERO_WEIGHTS = {
    "CONV_2D": (1,),
    "DEPTHWISE_CONV_2D": (1,),
    "TRANSPOSE_CONV": (1,),
    "SVDF": (1, 2),
}
_ZERO_INT16 = frozenset(
    """
    ABS BATCH_MATMUL CONCATENATION CONV_2D DEPTHWISE_CONV_2D LOGISTIC MUL PAD RELU RSQRT
    SQUARED_DIFFERENCE TANH TRANSPOSE_CONV
    """.split()
)
_ZERO_INT16_CMSIS = frozenset({"ADD", "FULLY_CONNECTED"})
_ZERO_INT8 = frozenset({"ADD_N", "CUMSUM"})
"""Their sums begin with the input's negative zero point instead of 0."""


def _zero_positions(operator: Operator, subgraph: Subgraph, target: Target) -> set[int]:
    """The inputs of an operator whose zero points must be 0; -1 is its output."""
    found = set(_ZERO_WEIGHTS.get(operator.name, ()))
    roles = _DATA_WEIGHTS_BIAS.get(operator.name)
    data = at(subgraph, operator, roles[0] if roles else 0)
    if roles is not None:
        found.add(roles[2])
    cmsis = target.kernels == "cmsis-nn"
    if operator.name in _ZERO_INT8 and data is not None and data.type == "INT8":
        found |= {*range(len(operator.inputs))}
    if data is not None and data.type == "INT16":
        if operator.name in _ZERO_INT16 or (cmsis and operator.name in _ZERO_INT16_CMSIS):
            found |= {*range(len(operator.inputs)), -1}
        if operator.name == "SOFTMAX":
            found.add(0)
    if operator.name == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        found |= {*range(1, 16), 19}
    if operator.name == "SVDF" and data is not None and data.type == "INT16":
        found.add(4)
    if operator.name == "FULLY_CONNECTED":
        weights = at(subgraph, operator, 1)
        quantization = weights.quantization if weights is not None else None
        several = quantization is not None and len(set(quantization.zero_points)) > 1
        if several or (cmsis and _offset_lost(subgraph, operator)):
            found.add(1)
    if operator.name == "ZEROS_LIKE":
        found.add(-1)
    return found


def _offset_lost(subgraph: Subgraph, operator: Operator) -> bool:
    """Whether CMSIS-NN takes a way without the weights' zero point, or they have one a channel."""
    weights = at(subgraph, operator, 1)
    outputs = tensors(subgraph, operator.outputs)
    if weights is None or not outputs or weights.quantization is None:
        return False
    by_channel = weights.quantization.per_axis
    return (
        by_channel
        or weights.type == "INT4"
        or outputs[0].type == "INT16"
        or (len(outputs[0].shape) > 2)
    )


def _added(operator: Operator, position: int) -> bool:
    """Whether an input is only added to the result: a small zero point then is a small error."""
    roles = _DATA_WEIGHTS_BIAS.get(operator.name)
    return operator.name in _ZERO_INT8 or (roles is not None and position == roles[2])


def _lost(subgraph: Subgraph, operator: Operator, quantization: Quantization) -> float:
    """What a zero point that is not looked at comes to, in steps of the output."""
    outputs = tensors(subgraph, operator.outputs)
    made = outputs[0].quantization if outputs else None
    if made is None or not made.scales[0] > 0:
        return math.inf
    pairs = zip(quantization.scales, quantization.zero_points, strict=True)
    return max(abs(scale * zero) for scale, zero in pairs) / made.scales[0]


def _symmetric(operator: Operator) -> str:
    if operator.name == "ADD_N":
        return "Use a chain of ADD operators"
    if operator.name == "CUMSUM":
        return "Compute it in float32, or as a product with a triangular matrix"
    return "Quantize it symmetrically, as TensorFlow's converter does"


@rule("TFLM", on_tflm, Severity.WRONG)
def zero_points(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM's kernel assumes the zero point 0: of weights, biases, int16 data, sums in int8"""
    for subgraph, operator in graph.operators():
        for position in sorted(_zero_positions(operator, subgraph, target)):
            indices = operator.outputs if position < 0 else operator.inputs[position : position + 1]
            for tensor in tensors(subgraph, indices):
                quantization = tensor.quantization
                if quantization is None or not any(quantization.zero_points):
                    continue
                if _added(operator, position) and _lost(subgraph, operator, quantization) <= STEP:
                    continue
                zero = next(point for point in quantization.zero_points if point)
                yield (
                    f"{place(subgraph, operator)}: {tensor.shown} ({tensor.type}) has the zero "
                    f"point {zero}, the kernel assumes 0. {_symmetric(operator)}"
                )


def _bias_off(
    data: Quantization, weights: Quantization, bias: Tensor, output: Quantization
) -> tuple[float, float, float] | None:
    """The bias' scale, the assumed one, and the error in steps of the output, at its worst."""
    assert bias.quantization is not None
    given, count = bias.quantization.scales, max(len(weights.scales), 1)
    if len(given) not in (1, count) and count != 1:
        return None
    worst = (0.0, 0.0, 0.0)
    for channel in range(max(len(given), count)):
        scale = given[channel if len(given) > 1 else 0]
        assumed = data.scales[0] * weights.scales[channel if count > 1 else 0]
        step = output.scales[channel if len(output.scales) > channel > 0 else 0]
        # A product of scales in another precision is the same product.
        differs = step > 0 and abs(scale - assumed) > 1e-5 * assumed
        off = abs(scale - assumed) * bias.largest / step if differs else 0.0
        if off > worst[2]:
            worst = (scale, assumed, off)
    return worst


@rule("TFLM", on_tflm, Severity.WRONG)
def bias_scale(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM assumes a bias' scale to be the product of the data's and the weights' scales"""
    for subgraph, operator in graph.operators():
        positions = _DATA_WEIGHTS_BIAS.get(operator.name)
        lstm = operator.name == "UNIDIRECTIONAL_SEQUENCE_LSTM"
        # Of the four gates of an LSTM, whose inner results have the scale 2^-12.
        triples = [(0, 1 + gate, 12 + gate) for gate in range(4)] if lstm else [positions]
        for triple in triples:
            found = [at(subgraph, operator, p) for p in triple or ()]
            outputs = tensors(subgraph, operator.outputs)
            if not outputs or len(found) != 3:
                continue
            data, weights, bias = found
            scales = [t.quantization if t is not None else None for t in (data, weights)]
            step = Quantization((2.0**-12,), (0,)) if lstm else outputs[0].quantization
            if bias is None or bias.quantization is None or step is None:
                continue
            if scales[0] is None or scales[1] is None:
                continue
            off = _bias_off(scales[0], scales[1], bias, step)
            limit = STEP if lstm else STEPS.get(outputs[0].type, STEP)
            if off is not None and off[2] > limit:
                yield (
                    f"{place(subgraph, operator)}: the bias {bias.shown} has the scale "
                    f"{off[0]:.6g}, the kernel assumes {off[1]:.6g}, and outputs are up to "
                    f"{off[2]:,.0f} steps off. Convert the model again"
                )


def _per_channel_problem(operator: Operator, position: int, tensor: Tensor) -> str:
    """What is wrong with a tensor that has a scale a channel; empty where nothing is."""
    axis = tensor.quantization.axis if tensor.quantization is not None else None
    roles, wanted = _DATA_WEIGHTS_BIAS.get(operator.name), _CHANNEL_AXIS.get(operator.name)
    if axis is None or (roles is not None and wanted is not None and position == roles[2]):
        return ""
    if wanted is None or roles is None or position != roles[1]:
        return "has a scale for each channel, the kernel assumes one. Quantize it per tensor"
    if axis != wanted:
        return (
            f"has a scale for each index of dimension {axis}, the kernel assumes dimension "
            f"{wanted} (output channels). Quantize it per output channel"
        )
    return ""


@rule("TFLM", on_tflm, Severity.WRONG)
def per_channel_scales(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM takes scales per channel of weights alone, along their output channels"""
    for subgraph, operator in graph.operators():
        outputs = tensors(subgraph, operator.outputs)
        dequantizes = any(tensor.type == "FLOAT32" for tensor in outputs)
        kept = operator.name in KEEPING and not dequantizes  # kept_values says it
        if kept or operator.name in ("CAST", "CUSTOM", "SHAPE", "ZEROS_LIKE"):
            continue
        both = (*enumerate(operator.inputs), *((-1, i) for i in operator.outputs))
        for position, index in both:
            tensor = subgraph.tensors[index] if index >= 0 else None
            problem = _per_channel_problem(operator, position, tensor) if tensor else ""
            if tensor is not None and problem:
                yield f"{place(subgraph, operator)}: {tensor.shown} {problem}"


RULES = (zero_points, bias_scale, per_channel_scales)
