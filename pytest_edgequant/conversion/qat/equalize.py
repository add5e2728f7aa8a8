"""Equal ranges for the channels of an activation, before training.

One int8 scale serves all channels of an activation; a channel with a hundredth of the largest
one's range has less than two bits. Between two operators with weights, scaling a channel's weights
and bias up and the next operator's weights for it down leaves the function as it is (cross-layer
equalization, Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction"). Channels are scaled up to the range of the largest one, so that no range grows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.conversion.qat.plan import Plan
from pytest_edgequant.conversion.qat.weights import CHANNEL_AXIS, WEIGHTED, Weights
from pytest_edgequant.tflite.graph import Operator

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INPUT_AXIS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 3}
_BY_CHANNEL = ("MAX_POOL_2D", "AVERAGE_POOL_2D", "PAD", "RELU", "LEAKY_RELU", "RESHAPE", "MEAN")
"""Operators that treat channels apart and scale with them."""
_HOMOGENEOUS = (0, 1)
_RELU6 = 3
_MOST = 1e8
"""A channel with less of the largest one's range than its inverse is taken for dead."""
_WORTH = 1.05

Limits = Mapping[int, tuple["NDArray[np.float32]", "NDArray[np.float32]"]]


@dataclass(frozen=True)
class _Link:
    """An activation whose channels can be scaled: who makes it, who takes it."""

    tensor: int
    producer: Operator
    consumers: tuple[Operator, ...]
    touched: tuple[int, ...]
    """The activations whose channels change: this one, and what is pooled or padded from it."""


def _data_position(operator: Operator) -> int:
    return 2 if operator.name == "TRANSPOSE_CONV" else 0


class _Finder:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        users: dict[int, list[int]] = {}
        self.takers: dict[int, list[tuple[Operator, int]]] = {}
        for operator in plan.main.operators:
            for position, index in enumerate(operator.inputs):
                if index in plan.sources:
                    users.setdefault(plan.sources[index], []).append(operator.index)
                self.takers.setdefault(index, []).append((operator, position))
        self.shared = {position for position, found in users.items() if len(found) > 1}

    def own(self, operator: Operator) -> bool:
        """Whether an operator has weights (and bias) that are its own."""
        places = WEIGHTED.get(operator.name)
        if places is None or operator.name not in CHANNEL_AXIS:
            return False
        weights = operator.inputs[places[0]]
        if weights not in self.plan.sources or self.plan.sources[weights] in self.shared:
            return False
        bias = places[1]
        if bias is None or len(operator.inputs) <= bias or operator.inputs[bias] < 0:
            return True
        source = self.plan.sources.get(operator.inputs[bias])
        return source is not None and source not in self.shared

    def consumers(self, tensor: int, channels: int, touched: list[int]) -> list[Operator] | None:
        """Who takes a tensor's channels with weights; None where something else sees them."""
        main = self.plan.main
        found: list[Operator] = []
        touched.append(tensor)
        if tensor in main.outputs:
            return None
        for operator, position in self.takers.get(tensor, ()):
            kind = int(operator.options.get("fusedActivationFunction", 0) or 0)
            if operator.name in _BY_CHANNEL and position == 0:
                shape = main.tensors[operator.outputs[0]].shape
                moved = operator.name == "RESHAPE" and not self._keeps(tensor, shape, channels)
                mixed = operator.name != "RESHAPE" and (not shape or shape[-1] != channels)
                if kind not in _HOMOGENEOUS or moved or mixed or self._averages(operator):
                    return None
                further = self.consumers(operator.outputs[0], channels, touched)
                if further is None:
                    return None
                found += further
            elif self.own(operator) and position == _data_position(operator):
                found.append(operator)
            else:
                return None
        return found or None

    def _averages(self, operator: Operator) -> bool:
        """Whether channels are averaged with each other."""
        if operator.name != "MEAN":
            return False
        rank = len(self.plan.main.tensors[operator.inputs[0]].shape)
        axes = self.plan.constants.get(operator.inputs[1])
        return axes is None or any(int(a) % rank == rank - 1 for a in axes.reshape(-1))

    def _keeps(self, tensor: int, shape: tuple[int, ...], channels: int) -> bool:
        """Whether channels stay the fastest axis when a tensor is reshaped."""
        before = self.plan.main.tensors[tensor].shape
        return bool(before and shape) and before[-1] % channels == 0 and shape[-1] % channels == 0

    def links(self) -> list[_Link]:
        found = []
        for operator in self.plan.main.operators:
            kind = int(operator.options.get("fusedActivationFunction", 0) or 0)
            if not self.own(operator) or kind not in (*_HOMOGENEOUS, _RELU6):
                continue
            tensor = operator.outputs[0]
            channels = self.plan.main.tensors[tensor].shape[-1]
            touched: list[int] = []
            consumers = self.consumers(tensor, channels, touched)
            if consumers and self.plan.groups.get(tensor) not in self.plan.fixed:
                found.append(_Link(tensor, operator, tuple(consumers), tuple(touched)))
        return found


def _factors(low: NDArray[np.float32], high: NDArray[np.float32]) -> NDArray[np.float32]:
    """What brings each channel to the largest one's range; 1 for dead channels."""
    sizes = np.maximum(np.abs(low), np.abs(high))
    largest = float(sizes.max(initial=0.0))
    alive = sizes > largest / _MOST
    return np.where(alive, largest / np.where(alive, sizes, 1.0), 1.0).astype(np.float32)


def _room(values: NDArray[Any], axis: int) -> NDArray[np.float32]:
    """How far each channel's weights can grow without widening the range of all."""
    axes = tuple(a for a in range(values.ndim) if a != axis)
    sizes = np.abs(values).max(axis=axes)
    largest = float(sizes.max(initial=0.0))
    room: NDArray[np.float32] = largest / np.maximum(sizes, largest / _MOST or 1.0)
    return room.astype(np.float32)


def _scaled(values: NDArray[Any], axis: int, factors: NDArray[Any]) -> NDArray[np.float32]:
    factors = np.tile(factors, values.shape[axis] // len(factors))
    shape = [-1 if a == axis else 1 for a in range(values.ndim)]
    scaled: NDArray[np.float32] = values * factors.reshape(shape)
    return scaled.astype(np.float32)


def equalized(
    plan: Plan, measure: Callable[[list[int]], Limits]
) -> tuple[Plan, frozenset[int]] | None:
    """The plan with equalized channels, and the groups whose ranges must be measured anew.

    None where nothing changes. `measure` gives each activation's least and greatest value a channel
    (its last axis) in the float model.
    """
    links = _Finder(plan).links()
    if not links:
        return None
    limits = measure([link.tensor for link in links])
    values = [weights.value for weights in plan.weights]
    touched: set[int] = set()
    for link in links:
        factors = _factors(*limits[link.tensor])
        places = WEIGHTED[link.producer.name]
        index = link.producer.inputs[places[0]]
        position, axis = plan.sources[index], CHANNEL_AXIS[link.producer.name]
        quantization = plan.main.tensors[index].quantization
        if quantization is None or not quantization.per_axis:
            factors = np.minimum(factors, _room(values[position], axis))
        if float(factors.max()) < _WORTH:
            continue
        touched.update(link.touched)
        values[position] = _scaled(values[position], axis, factors)
        bias = places[1]
        if bias is not None and len(link.producer.inputs) > bias:
            source = plan.sources.get(link.producer.inputs[bias])
            if source is not None:
                values[source] = _scaled(values[source], 0, factors)
        for consumer in link.consumers:
            position = plan.sources[consumer.inputs[WEIGHTED[consumer.name][0]]]
            inverse = 1.0 / factors
            if consumer.name == "DEPTHWISE_CONV_2D":
                inverse = np.repeat(inverse, values[position].shape[3] // len(inverse))
            values[position] = _scaled(values[position], _INPUT_AXIS[consumer.name], inverse)
    if not touched:
        return None
    weights: list[Weights] = [
        dataclasses.replace(w, value=v) for w, v in zip(plan.weights, values, strict=True)
    ]
    groups = frozenset(plan.groups[i] for i in touched if i in plan.groups) - plan.fixed
    return dataclasses.replace(plan, weights=weights), groups
