"""Rules on scales and zero points that TFLM's kernels take for granted.

The kernels never look at them: a file that says otherwise runs and gives other values than it
means, without an error. What is assumed was found by running each operator with other scales and
zero points (`tests/unit/measure/legality/test_assumed.py` asks again).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from pytest_edgequant.measure.legality.kept import KEEPING, moved
from pytest_edgequant.measure.legality.rule import Severity, on_tflm, place, rule
from pytest_edgequant.measure.legality.scaling import agree, at, pair, tensors, written
from pytest_edgequant.records import Quantization, Target
from pytest_edgequant.tflite.graph import Graph, Operator, Subgraph, Tensor

_FIXED = {
    ("LOGISTIC", "INT8", "INT8"): (1 / 256, -128),
    ("LOGISTIC", "INT16", "INT16"): (1 / 32768, 0),
    ("TANH", "INT8", "INT8"): (1 / 128, 0),
    ("TANH", "INT16", "INT16"): (1 / 32768, 0),
    ("SOFTMAX", "INT8", "INT8"): (1 / 256, -128),
    ("SOFTMAX", "INT8", "INT16"): (1 / 65536, -32768),
    ("SOFTMAX", "INT16", "INT16"): (1 / 32768, 0),
    ("LOG_SOFTMAX", "INT8", "INT8"): (1 / 16, 127),
    ("L2_NORMALIZATION", "INT8", "INT8"): (1 / 128, 0),
}
"""The output's scale and zero point by operator and the types of its input and output."""


@rule("TFLM", on_tflm, Severity.WRONG)
def fixed_scale(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM's kernel assumes one scale and zero point of its output, whatever the file says"""
    for subgraph, operator in graph.operators():
        inputs, outputs = (tensors(subgraph, i) for i in (operator.inputs, operator.outputs))
        if not inputs or not outputs or outputs[0].quantization is None:
            continue
        output, quantization = outputs[0], outputs[0].quantization
        assumed = _FIXED.get((operator.name, inputs[0].type, output.type))
        if assumed is None:
            continue
        scale, zero = assumed
        same = agree(quantization.scales[0], scale, output.type)
        if quantization.per_axis or quantization.zero_points[0] != zero or not same:
            yield (
                f"{place(subgraph, operator)} has the output {pair(quantization)}; the kernel "
                f"assumes scale {written(scale)}, zero point {zero}, and its values are read "
                f"{quantization.scales[0] / scale:.4g} times as large. Quantize the output as the "
                "kernel assumes (TensorFlow's converter does), and add a QUANTIZE operator behind "
                "it where another scale is needed"
            )


def _plain(tensor: Tensor) -> Quantization:
    return tensor.quantization or Quantization((1.0,), (0,))


def _ignored(subgraph: Subgraph, operator: Operator) -> str:
    """How an operator's kernel reads stored values without their scales; empty where it does."""
    inputs, outputs = (tensors(subgraph, i) for i in (operator.inputs, operator.outputs))
    if not inputs or not outputs:
        return ""
    given, made = inputs[0], outputs[0]
    if operator.name == "CAST":
        before, after = _plain(given), _plain(made)
        if made.type == "BOOL":
            before, after = (Quantization((1.0,), q.zero_points) for q in (before, after))
        if before != after:
            return (
                f"casts stored values and looks at no scale: {pair(before)} before, "
                f"{pair(after)} after. Use QUANTIZE or DEQUANTIZE, or cast outside of the "
                "quantized part"
            )
    if operator.name in ("LOGICAL_AND", "LOGICAL_OR") and given.type != "BOOL":
        return "reads single bytes as truth values. Compare with 0 first (NOT_EQUAL)"
    if operator.name == "GREATER" and given.type == "INT16":
        return "compares without the scales. Use int8, or LESS with exchanged operands in float32"
    if operator.name == "TRANSPOSE_CONV" and inputs[1].type == "INT16":
        return "reads int16 weights as int8. Use int8 weights"
    mixed = len(inputs) > 4 and inputs[2].type != inputs[4].type
    if operator.name == "SVDF" and given.type == "INT8" and mixed:
        return (
            f"has {inputs[2].type} time weights and an {inputs[4].type} state, and reads one as "
            "the other. Use int16 for both, as TensorFlow's converter does"
        )
    return ""


@rule("TFLM", on_tflm, Severity.WRONG)
def ignored_scales(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM's kernel accepts the type and reads the stored values as something else"""
    for subgraph, operator in graph.operators():
        found = _ignored(subgraph, operator)
        if found:
            yield f"{place(subgraph, operator)} {found}"


_RANGES = {
    "INT8": (-128, 127),
    "UINT8": (0, 255),
    "INT16": (-32768, 32767),
}
_WITHOUT_SCALE = frozenset(
    """
    ARG_MAX ARG_MIN CALL_ONCE CAST CUSTOM IF LOGICAL_AND LOGICAL_NOT LOGICAL_OR READ_VARIABLE
    REDUCE_ALL SHAPE VAR_HANDLE WHILE ZEROS_LIKE
    """.split()
)
"""Operators whose kernels need no scale, beside those that hand stored values on."""


def _unusable(tensor: Tensor, needed: bool) -> str:
    """What is wrong with a tensor's scale itself; empty where nothing is."""
    quantization = tensor.quantization
    if quantization is None:
        return "has no scale" if needed and tensor.type in _RANGES else ""
    if tensor.type not in _RANGES:
        return ""
    for scale in quantization.scales:
        if not math.isfinite(scale) or scale < 0 or (scale == 0 and not tensor.constant):
            return f"has the scale {scale:.6g}"
    low, high = _RANGES[tensor.type]
    for zero in quantization.zero_points:
        if not low <= zero <= high:
            return f"has the zero point {zero}, outside of {low} to {high}"
    return ""


@rule("TFLM", on_tflm, Severity.WRONG)
def usable_scales(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM computes nonsense where an integer tensor has no scale, or one that can't be"""
    for subgraph, operator in graph.operators():
        needed = operator.name not in KEEPING and operator.name not in _WITHOUT_SCALE
        for tensor in tensors(subgraph, (*operator.inputs, *operator.outputs)):
            found = _unusable(tensor, needed)
            if found:
                yield (
                    f"{place(subgraph, operator)}: {tensor.shown} ({tensor.type}) {found}. "
                    "Convert the model again, calibrated with samples that reach the layer"
                )


def _power_of_two(scale: float) -> bool:
    if not (math.isfinite(scale) and scale > 0):
        return False
    power = math.log2(scale)
    return abs(power - round(power)) <= 1e-3


@rule("TFLM", on_tflm, Severity.WRONG)
def lstm_states(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM's integer LSTM assumes a cell state whose scale is a power of two, and a hidden state
    with the output's scale and zero point
    """
    for subgraph, operator in graph.operators():
        if operator.name != "UNIDIRECTIONAL_SEQUENCE_LSTM":
            continue
        cell, hidden = at(subgraph, operator, 19), at(subgraph, operator, 18)
        if cell is not None and cell.type == "INT16" and cell.quantization is not None:
            scale = cell.quantization.scales[0]
            if not _power_of_two(scale):
                near = 2.0 ** round(math.log2(scale)) if 0 < scale < math.inf else 2.0**-11
                yield (
                    f"{place(subgraph, operator)}: the cell state {cell.shown} has the scale "
                    f"{scale:.6g}, the kernel assumes a power of two such as {written(near)}. "
                    "Convert the model again with TensorFlow's converter"
                )
        for output in tensors(subgraph, operator.outputs):
            found = "" if hidden is None else moved(hidden, output, "the hidden state")
            if found:
                yield f"{place(subgraph, operator)}: {found}"


RULES = (fixed_scale, ignored_scales, usable_scales, lstm_states)
