"""Scales and zero points of an operator's tensors: looked up, compared, written."""

from __future__ import annotations

import math
from fractions import Fraction

from pytest_edgequant.records import Quantization
from pytest_edgequant.tflite.graph import Operator, Subgraph, Tensor
from pytest_edgequant.wording import counted

_LEVELS = {"INT4": 16, "INT8": 256, "UINT8": 256, "INT16": 32768}
STEPS = {"INT16": 4.0}
STEP = 1.001
"""How far off a value may come out at the end of its range, in steps of its type: rounding."""


def tensors(subgraph: Subgraph, indices: tuple[int, ...]) -> list[Tensor]:
    """The tensors of some indices, without inputs that are left out."""
    return [subgraph.tensors[i] for i in indices if i >= 0]


def at(subgraph: Subgraph, operator: Operator, position: int) -> Tensor | None:
    """An input of an operator; None where it is left out."""
    if position >= len(operator.inputs) or operator.inputs[position] < 0:
        return None
    return subgraph.tensors[operator.inputs[position]]


def written(scale: float) -> str:
    """A scale, and as a fraction where it is a power of two, as kernels assume them."""
    if 0 < scale < 1 and math.frexp(scale)[0] == 0.5:
        return f"{scale:.6g} ({Fraction(scale)})"
    return f"{scale:.6g}"


def pair(quantization: Quantization) -> str:
    """A scale and zero point as messages say them."""
    if quantization.per_axis:
        return f"scales for {counted(len(quantization.scales), 'channel')}"
    return f"scale {written(quantization.scales[0])}, zero point {quantization.zero_points[0]}"


def agree(one: float, other: float, kind: str) -> bool:
    """Whether two scales give the same values, to a step of the type."""
    if not (math.isfinite(one) and math.isfinite(other) and other):
        return one == other
    return abs(one / other - 1) * _LEVELS.get(kind, 2**31) <= STEPS.get(kind, STEP)
