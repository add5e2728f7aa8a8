"""A graph with fewer channels: what its tensors would be, in every layer or in some of them.

Records alone are changed (shapes, per-channel scales), as a model would have them that was built
with fewer filters and units. What the model's inputs and outputs dictate stays.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from pytest_edgequant.records import Quantization
from pytest_edgequant.tflite.graph import Operator, Subgraph, Tensor

WEIGHTED: Mapping[str, tuple[int, int]] = {
    "CONV_2D": (1, 0),
    "DEPTHWISE_CONV_2D": (1, 3),
    "FULLY_CONNECTED": (1, 0),
    "TRANSPOSE_CONV": (1, 0),
}
"""Operators with weights: the weights' position, and the axis of their output channels."""
_SAME_CHANNELS = frozenset(
    """
    ABS ADD AVERAGE_POOL_2D DEPTHWISE_CONV_2D DEQUANTIZE DIV ELU HARD_SWISH LEAKY_RELU LOGISTIC
    MAXIMUM MAX_POOL_2D MINIMUM MUL PAD PADV2 PRELU QUANTIZE RELU RELU6 RESIZE_BILINEAR
    RESIZE_NEAREST_NEIGHBOR SOFTMAX SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND SQUARED_DIFFERENCE SUB TANH
    """.split()
)
_PASSED_ON = _SAME_CHANNELS | {
    "EXPAND_DIMS",
    "MEAN",
    "RESHAPE",
    "SQUEEZE",
    "STRIDED_SLICE",
    "SUM",
    "TRANSPOSE",
}
"""Operators that hand on what they are given, so that its channels are their input's."""


class NotNarrowableError(Exception):
    """An operator whose output does not follow from its inputs' channels by a known rule."""


def with_tensors(subgraph: Subgraph, changed: Mapping[int, Tensor]) -> Subgraph:
    """The subgraph with some of its tensors changed."""
    tensors = tuple(changed.get(tensor.index, tensor) for tensor in subgraph.tensors)
    return dataclasses.replace(subgraph, tensors=tensors)


def input_tensor(subgraph: Subgraph, operator: Operator, position: int) -> Tensor | None:
    """An operator's input; None where it is left out."""
    if position >= len(operator.inputs) or operator.inputs[position] < 0:
        return None
    return subgraph.tensors[operator.inputs[position]]


def parts(subgraph: Subgraph, operator: Operator) -> tuple[Tensor | None, Tensor | None, int]:
    """The weights and bias of an operator with weights, and the index of its data."""
    transposed = operator.name == "TRANSPOSE_CONV"
    weights = input_tensor(subgraph, operator, WEIGHTED[operator.name][0])
    bias = input_tensor(subgraph, operator, 3 if transposed else 2)
    return weights, bias, operator.inputs[2 if transposed else 0]


def connected(
    subgraph: Subgraph, start: set[int], through: frozenset[str] = _SAME_CHANNELS
) -> set[int]:
    """Tensors that must have as many channels as these: element by element, one for one."""
    neighbours: dict[int, list[set[int]]] = {}
    for operator in subgraph.operators:
        if operator.name in through:
            ends = {i for i in (*operator.inputs, *operator.outputs) if i >= 0}
            ends = {i for i in ends if not subgraph.tensors[i].constant}
            for index in ends:
                neighbours.setdefault(index, []).append(ends)
    found, waiting = set(start), list(start)
    followed: set[int] = set()
    while waiting:
        for ends in neighbours.get(waiting.pop(), ()):
            if id(ends) in followed:
                continue
            followed.add(id(ends))
            new = {i for i in ends - found if subgraph.tensors[i].shape}
            found |= new
            waiting += new
    return found


def resized(tensor: Tensor, axis: int, extent: int) -> Tensor:
    """The tensor with another extent along an axis, its scales along that axis cut to it."""
    shape = list(tensor.shape)
    shape[axis] = extent
    quantization = tensor.quantization
    if quantization is not None and quantization.axis in (axis, axis % len(shape)):
        quantization = Quantization(
            quantization.scales[:extent], quantization.zero_points[:extent], quantization.axis
        )
    return dataclasses.replace(tensor, shape=tuple(shape), quantization=quantization)


class _Narrowing:
    def __init__(
        self, subgraph: Subgraph, numerator: int, denominator: int, only: set[int] | None
    ) -> None:
        self.subgraph = subgraph
        self.fraction = numerator, denominator
        self.changed: dict[int, Tensor] = {}
        self.fixed = dictated(subgraph)
        self.only = only

    def now(self, index: int) -> Tensor:
        return self.changed.get(index, self.subgraph.tensors[index])

    def run(self) -> Subgraph:
        for operator in self.subgraph.operators:
            if operator.name in WEIGHTED:
                self._weighted(operator)
            else:
                self._other(operator)
        return with_tensors(self.subgraph, self.changed)

    def _weighted(self, operator: Operator) -> None:
        weights, bias, source = parts(self.subgraph, operator)
        output = self.subgraph.tensors[operator.outputs[0]]
        if weights is None or len(weights.shape) < 2 or not output.shape or weights.shape[0] < 1:
            raise NotNarrowableError(operator.place)
        old, given = self.subgraph.tensors[source].shape[-1], self.now(source).shape[-1]
        axis, count = WEIGHTED[operator.name][1], output.shape[-1]
        if operator.name == "DEPTHWISE_CONV_2D":
            count = given * (count // old)
        elif output.index not in self.fixed and (self.only is None or output.index in self.only):
            count = max(1, math.ceil(count * self.fraction[0] / self.fraction[1]))
        narrow = resized(weights, axis, count)
        if operator.name != "DEPTHWISE_CONV_2D":
            last = len(weights.shape) - 1
            narrow = resized(narrow, last, weights.shape[last] * given // old)
        self.changed[weights.index] = narrow
        if bias is not None and bias.shape:
            self.changed[bias.index] = resized(bias, 0, count)
        self.changed[output.index] = resized(output, -1, count)

    def _other(self, operator: Operator) -> None:
        before = [self.subgraph.tensors[i] for i in operator.inputs if i >= 0]
        data = [t for t in before if not t.constant]
        if all(self.now(t.index).shape == t.shape for t in data):
            return
        for index in operator.outputs:
            output = self.subgraph.tensors[index]
            self.changed[index] = resized(output, -1, self._extent(operator, data, output))

    def _extent(self, operator: Operator, data: list[Tensor], output: Tensor) -> int:
        """How many channels the output of an operator without weights of its own has."""
        last = output.shape[-1] if output.shape else 0
        narrowed = [t for t in data if self.now(t.index).shape != t.shape]
        joined = sum(t.shape[-1] if t.shape else 0 for t in data)
        if operator.name == "CONCATENATION" and joined == last and len(data) > 1:
            return sum(self.now(t.index).shape[-1] for t in data)
        for tensor in narrowed:
            new = self.now(tensor.index)
            if tensor.shape[-1] == last and len(operator.outputs) == 1:
                return new.shape[-1]
            if operator.name == "RESHAPE" and last and last * new.elements % tensor.elements == 0:
                return last * new.elements // tensor.elements
        raise NotNarrowableError(operator.place)


def dictated(subgraph: Subgraph) -> set[int]:
    """Tensors whose channels are those of the model's inputs and outputs."""
    ends = {*subgraph.inputs, *subgraph.outputs}
    return connected(subgraph, ends, frozenset(_PASSED_ON))


def narrowed(
    subgraph: Subgraph, numerator: int, denominator: int, only: set[int] | None = None
) -> Subgraph | None:
    """That fraction of the channels in every layer, or in these tensors and what follows of it.

    None where an operator has no known rule.
    """
    try:
        return _Narrowing(subgraph, numerator, denominator, only).run()
    except NotNarrowableError:
        return None
