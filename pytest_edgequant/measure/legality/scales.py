"""Rules on scales: where TFLM demands equal ones, and where its multipliers would overflow.

TFLM checks them with assertions; a build without assertions computes nonsense instead.
"""

from __future__ import annotations

from collections.abc import Iterator

from pytest_edgequant.measure.legality.rule import on_tflm, place, rule
from pytest_edgequant.records import Target
from pytest_edgequant.tflite.graph import Graph, Operator, Subgraph, Tensor

SAME = {
    "AVERAGE_POOL_2D": ("INT8", "INT16"),
    "MAX_POOL_2D": ("INT8", "INT16"),
    "CONCATENATION": ("INT8",),
    "REDUCE_MAX": ("INT8",),
    "REDUCE_MIN": ("INT8",),
}
"""The types in which an operator's kernel checks that both sides have the same scale."""
_LEFT_SHIFT = {"INT8": 20, "INT16": 15}
_COMPARISONS = ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL")
_SOFTMAX_BITS = 26
_DEGENERATE = "Calibrate with samples that give the layer a range"


def _scale(tensor: Tensor) -> float | None:
    quantization = tensor.quantization
    return None if quantization is None or quantization.per_axis else quantization.scales[0]


def _data(subgraph: Subgraph, operator: Operator) -> tuple[list[Tensor], Tensor | None]:
    """The quantized inputs of an operator and its first output."""
    inputs = [subgraph.tensors[i] for i in operator.inputs if i >= 0]
    output = subgraph.tensors[operator.outputs[0]] if operator.outputs else None
    return [tensor for tensor in inputs if _scale(tensor) is not None], output


@rule("TFLM", on_tflm)
def equal_scales(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM wants the same scale and zero point on both sides of the operator"""
    for subgraph, operator in graph.operators():
        inputs, output = _data(subgraph, operator)
        if output is None or output.type not in SAME.get(operator.name, ()):
            continue
        if any(tensor.quantization != output.quantization for tensor in inputs):
            yield f"{place(subgraph, operator)}. Convert the model again with one calibration"


def _overflow(subgraph: Subgraph, operator: Operator) -> str:
    """What is wrong with an operator's scales; empty where nothing is."""
    inputs, output = _data(subgraph, operator)
    if not inputs or output is None:
        return ""
    scales = [scale for tensor in inputs if (scale := _scale(tensor)) is not None]
    out = _scale(output)
    shift = _LEFT_SHIFT.get(output.type)
    if operator.name in ("ADD", "SUB", "CUMSUM") and out is not None and shift is not None:
        if 2 * max(scales) >= 2**shift * out:
            return f"the output's scale {out:.3g} is too small beside the input's {max(scales):.3g}"
    elif operator.name in _COMPARISONS and max(scales) >= 1:
        return f"the input's scale {max(scales):.3g} must be below 1"
    elif operator.name == "SOFTMAX" and inputs[0].type == "INT8":
        least = 2.0**-_SOFTMAX_BITS / (operator.options.get("beta") or 1.0)
        if scales[0] <= least:
            return f"the input's scale {scales[0]:.3g} must be above {least:.3g}"
    return ""


@rule("TFLM", on_tflm)
def scale_ratio(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM aborts where the scales of an operator are too far apart for its fixed-point
    arithmetic
    """
    for subgraph, operator in graph.operators():
        found = _overflow(subgraph, operator)
        if found:
            yield f"{place(subgraph, operator)}: {found}. {_DEGENERATE}"


RULES = (equal_scales, scale_ratio)
