"""The float values behind the constants that the converter quantized: what training moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.errors import ConversionError
from pytest_edgequant.tflite.edit import unpack
from pytest_edgequant.tflite.form import EDGES
from pytest_edgequant.tflite.graph import Graph, Operator, Tensor, read_graph
from pytest_edgequant.tflite.model import TFLiteModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTED = {
    "CONV_2D": (1, 2),
    "DEPTHWISE_CONV_2D": (1, 2),
    "FULLY_CONNECTED": (1, 2),
    "TRANSPOSE_CONV": (1, 3),
    "BATCH_MATMUL": (1, None),
}
"""Operators with weights: the places of weights and bias among their inputs."""
CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}
MOVES_DATA = frozenset(
    "RESHAPE SQUEEZE EXPAND_DIMS TRANSPOSE SLICE STRIDED_SLICE GATHER SPLIT SPLIT_V UNPACK PACK "
    "CONCATENATION MAX_POOL_2D PAD PADV2 MIRROR_PAD TILE BROADCAST_TO MAXIMUM MINIMUM REDUCE_MAX "
    "REDUCE_MIN RESIZE_NEAREST_NEIGHBOR DEPTH_TO_SPACE SPACE_TO_DEPTH SPACE_TO_BATCH_ND "
    "BATCH_TO_SPACE_ND REVERSE_V2 GATHER_ND TOPK_V2 DYNAMIC_UPDATE_SLICE".split()
)
"""Operators whose outputs are values of their inputs: on the grid where scales are equal."""


@dataclass(frozen=True, eq=False)
class Weights:
    """A float constant that is trained. `value` is in the file's layout.

    `channel` is the axis of the output channels, by which steps are scaled; None for a tensor
    without one.
    """

    name: str
    value: NDArray[np.float32]
    channel: int | None
    trained: bool = True


def constants_of(content: bytes) -> dict[int, NDArray[Any]]:
    """The values of the main subgraph's constants by tensor index, as stored."""
    model, graph = unpack(content), read_graph(content)
    found = {}
    for tensor, raw in zip(graph.main.tensors, model.subgraphs[0].tensors, strict=True):
        data = model.buffers[raw.buffer].data
        if tensor.constant and data is not None and tensor.dtype != object:
            values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), tensor.dtype)
            if values.size == tensor.elements:
                found[tensor.index] = values.reshape(tensor.shape)
    return found


def _dequantized(tensor: Tensor, stored: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The real values of a quantized constant, and the size of a step, shaped to broadcast."""
    assert tensor.quantization is not None
    scales = np.asarray(tensor.quantization.scales, np.float64)
    points = np.asarray(tensor.quantization.zero_points, np.float64)
    if tensor.quantization.axis is not None:
        shape = [1] * stored.ndim
        shape[tensor.quantization.axis] = -1
        scales, points = scales.reshape(shape), points.reshape(shape)
    else:
        scales, points = scales[0], points[0]
    return (stored.astype(np.float64) - points) * scales, np.broadcast_to(scales, stored.shape)


def range_of(tensor: Tensor) -> tuple[float, float]:
    """The real values of the least and the greatest number of an int8 tensor."""
    assert tensor.quantization is not None
    scale, point = tensor.quantization.scales[0], tensor.quantization.zero_points[0]
    return (-128 - point) * scale, (127 - point) * scale


class _FloatConstants:
    """The float model's constants, found for the template's by operator, and checked by value."""

    def __init__(self, floating: TFLiteModel, template: Graph) -> None:
        self.values = {
            index: value
            for index, value in constants_of(floating.content).items()
            if value.dtype == np.float32
        }
        ours = [o for o in template.main.operators if o.name not in EDGES]
        theirs = [o for o in floating.graph.main.operators if o.name not in EDGES]
        same = [o.name for o in ours] == [o.name for o in theirs]
        self.twins = {o.index: t for o, t in zip(ours, theirs, strict=False)} if same else {}

    def find(self, operator: Operator, position: int, tensor: Tensor, stored: Any) -> int | None:
        """The index of the float tensor that this constant was quantized from."""
        real, step = _dequantized(tensor, stored)
        whole = tensor.quantization is not None and not tensor.quantization.per_axis
        low, high = range_of(tensor) if whole and tensor.type == "INT8" else (-np.inf, np.inf)
        twin = self.twins.get(operator.index)
        candidates: list[int] = []
        if twin is not None and position < len(twin.inputs):
            candidates.append(twin.inputs[position])
        candidates += [i for i in self.values if i not in candidates]
        best: tuple[float, int] | None = None
        for index in candidates:
            value = self.values.get(index)
            if value is None or value.shape != stored.shape:
                continue
            # The converter clips to 127 steps, and widens the scale where a bias would overflow.
            # A table has the scale of the rows that calibration saw: others may be cut off.
            cut = np.clip(value, low, high)
            error = float((np.abs(real - cut) / np.maximum(step, 1e-30)).max(initial=0.0))
            if error <= 1.01:
                return index
            if best is None or error < best[0]:
                best = (error, index)
        return None


class FoundWeights:
    """The weights of a template, found in its float twin.

    `sources` tells by a constant's tensor index which of `weights` it was quantized from;
    `passed_on` are constants among the values that an operator passes on as they are, with the
    tensor that it gives them to. `opaque` operators keep what they have.

    Raises `ConversionError` where a constant isn't in the float model, or one that an opaque
    operator shares would be trained.
    """

    def __init__(
        self,
        template: TFLiteModel,
        constants: dict[int, NDArray[Any]],
        floating: TFLiteModel,
        opaque: frozenset[int],
    ) -> None:
        self.weights: list[Weights] = []
        self.sources: dict[int, int] = {}
        self.passed_on: dict[int, int] = {}
        self._where = template.where
        self._tensors = template.graph.main.tensors
        self._constants = constants
        self._floats = _FloatConstants(floating, template.graph)
        self._positions: dict[int, int] = {}
        operators = template.graph.main.operators
        self._kept = {i for o in operators if o.index in opaque for i in o.inputs}
        for operator in operators:
            if operator.index not in opaque:
                for place, index in enumerate(operator.inputs):
                    self._take(operator, place, index)

    def _take(self, operator: Operator, place: int, index: int) -> None:
        """An input of an operator, where it is a quantized constant that was not met before."""
        if index < 0 or index in self.sources or index not in self._constants:
            return
        tensor = self._tensors[index]
        if tensor.quantization is None or tensor.type not in ("INT8", "INT32"):
            return
        if index in self._kept:
            raise ConversionError(
                f"{self._where}: qat_int8: {tensor.shown} is shared by {operator.place} and an "
                "operator that can't be simulated in training. Give each its own, or use int8"
            )
        twin = self._floats.find(operator, place, tensor, self._constants[index])
        if twin is None:
            raise ConversionError(
                f"{self._where}: qat_int8: the float values of {tensor.shown}, "
                f"{operator.place}, can't be found in the float model"
            )
        if twin not in self._positions:
            self._positions[twin] = len(self.weights)
            self.weights.append(self._weights(operator, place, tensor, twin))
        self.sources[index] = self._positions[twin]
        output = self._tensors[operator.outputs[0]]
        if operator.name in MOVES_DATA and tensor.quantization == output.quantization:
            self.passed_on[index] = output.index

    def _weights(self, operator: Operator, place: int, tensor: Tensor, twin: int) -> Weights:
        value = self._floats.values[twin]
        weights, bias = WEIGHTED.get(operator.name, (None, None))
        channel = CHANNEL_AXIS.get(operator.name) if place == weights else None
        if place == bias:
            channel = 0
        trained = place in (weights, bias) or value.size > 1
        return Weights(tensor.name, value, channel, trained and operator.name != "PADV2")
