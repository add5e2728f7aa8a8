"""What an operator's cost depends on: its types and shapes, as one flat record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from pytest_edgequant.errors import MeasurementUnavailable
from pytest_edgequant.tflite.graph import Operator, Subgraph, Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class OperatorShape:
    """Types and shapes of one operator.

    `type` is the activations' type (the schema's name), `source` their shape. `weights` is the
    filter's shape, a pooling window as (1, height, width, channels), or the other operand's shape;
    `constant` tells whether it is one. `padding` are rows above and columns left.
    """

    operator: str
    type: str
    weights_type: str
    source: Shape
    weights: Shape
    output: Shape
    output_type: str
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    per_axis: bool = False
    constant: bool = False
    inputs: int = 1

    @property
    def source_elements(self) -> int:
        return prod(self.source)

    @property
    def output_elements(self) -> int:
        return prod(self.output)


_FILTER_AT = {"TRANSPOSE_CONV": 1, "UNIDIRECTIONAL_SEQUENCE_LSTM": 2}
_SOURCE_AT = {"TRANSPOSE_CONV": 2, "SPLIT": 1, "ARG_MAX": 0}
_WIDEST = 4096
_WINDOWED = ("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D", "TRANSPOSE_CONV")


def _option(operator: Operator, name: str, default: int) -> int:
    value: Any = operator.options.get(name, default)
    return max(int(value), 1) if value else default


def _before(size: int, out: int, kernel: int, stride: int, dilation: int) -> int:
    """Padding before the first row, as TFLite computes it for SAME."""
    return max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0) // 2


def operator_shape(subgraph: Subgraph, operator: Operator) -> OperatorShape:
    """The record of one operator.

    Raises `MeasurementUnavailable` for one whose shapes are not those of its kind.
    """
    tensors: Sequence[Tensor | None] = [
        subgraph.tensors[i] if i >= 0 else None for i in operator.inputs
    ]
    outputs = [subgraph.tensors[i] for i in operator.outputs if i >= 0]
    position = _SOURCE_AT.get(operator.name, 0)
    if operator.name == "CONCATENATION" or position >= len(tensors):
        position = 0
    source = tensors[position] if tensors else None
    place = _FILTER_AT.get(operator.name, 1)
    other = tensors[place] if place < len(tensors) else None
    output = outputs[0] if outputs else source
    stride = (_option(operator, "strideH", 1), _option(operator, "strideW", 1))
    dilation = (
        _option(operator, "dilationHFactor", 1),
        _option(operator, "dilationWFactor", 1),
    )
    weights: Shape = other.shape if other is not None else ()
    padding = (0, 0)
    if operator.name in _WINDOWED:
        if source is None or output is None or len(source.shape) != 4 or len(output.shape) != 4:
            raise MeasurementUnavailable(f"{operator.place}: its tensors are not of rank 4")
        if operator.name.endswith("POOL_2D"):
            height = _option(operator, "filterHeight", 1)
            weights = (1, height, _option(operator, "filterWidth", 1), source.shape[3])
        elif len(weights) != 4 or 0 in weights:
            raise MeasurementUnavailable(f"{operator.place}: the filter has the shape {weights}")
        if max(weights[1:3]) > _WIDEST:
            raise MeasurementUnavailable(f"{operator.place}: a window of {weights[1:3]}")
        if operator.options.get("padding", 0) == 0:
            wide, narrow = (output, source)
            if operator.name == "TRANSPOSE_CONV":
                wide, narrow = source, output
            padding = (
                _before(narrow.shape[1], wide.shape[1], weights[1], stride[0], dilation[0]),
                _before(narrow.shape[2], wide.shape[2], weights[2], stride[1], dilation[1]),
            )
    if operator.name == "FULLY_CONNECTED" and (len(weights) != 2 or 0 in weights):
        raise MeasurementUnavailable(f"{operator.place}: the weights have the shape {weights}")
    quantization = other.quantization if other is not None else None
    return OperatorShape(
        operator=operator.label if operator.name == "CUSTOM" else operator.name,
        type=source.type if source is not None else "NONE",
        weights_type=other.type if other is not None else "NONE",
        source=source.shape if source is not None else (),
        weights=weights,
        output=output.shape if output is not None else (),
        output_type=output.type if output is not None else "NONE",
        stride=stride,
        dilation=dilation,
        padding=padding,
        per_axis=quantization is not None and quantization.per_axis,
        constant=other is not None and other.constant,
        inputs=len(tensors),
    )
