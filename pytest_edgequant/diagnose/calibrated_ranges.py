"""Values against the ranges that calibration gave their tensors: of inputs, and of activations.

Inputs: the real values against the input's range. Activations: the values of the float32 model
against the ranges of the tensors with the same names, where a float32 reference is given and has
them; else the values of the variant itself that lie at the end of their integer range, where an end
can be reached by clipping alone (zero at the end of a ReLU's range is none, nor is the fixed range
of a softmax).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.diagnose import range_worker
from pytest_edgequant.diagnose.range_worker import Seen
from pytest_edgequant.errors import MeasurementUnavailable
from pytest_edgequant.pipeline.current import current_pipeline
from pytest_edgequant.records import Quantization, TensorInfo, TensorRange, Variant
from pytest_edgequant.samples.quantize import quantize
from pytest_edgequant.tflite.graph import Subgraph
from pytest_edgequant.tflite.model import graph_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FIXED_RANGE = frozenset({"SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION", "LOG_SOFTMAX"})
_PASSES_ON = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "QUANTIZE", "DEQUANTIZE"})


def calibrated_activations(graph: Subgraph) -> dict[int, str]:
    """The calibrated inner tensors: index to the operator that makes them."""
    found = {}
    for operator in graph.operators:
        if operator.name in _FIXED_RANGE | _PASSES_ON:
            continue
        for index in operator.outputs:
            tensor = graph.tensors[index]
            activation = tensor.type in ("INT8", "UINT8", "INT16") and tensor.elements > 0
            if activation and tensor.quantization is not None and not tensor.quantization.per_axis:
                found[index] = operator.place
    return found


def _range(quantization: Quantization, dtype: np.dtype[Any]) -> tuple[float, float]:
    """The real values that the ends of the integer type stand for."""
    limits = np.iinfo(dtype)
    scale, zero = quantization.scales[0], quantization.zero_points[0]
    # int16 activations are symmetric: the converter leaves the lowest number out.
    lowest = -limits.max if dtype == np.int16 else limits.min
    return scale * (lowest - zero), scale * (limits.max - zero)


class InputRange:
    """One integer input's real values against its range, part by part."""

    def __init__(self, info: TensorInfo) -> None:
        self._info = info
        self._seen = Seen()

    def update(self, values: NDArray[Any]) -> None:
        quantization = self._info.quantization
        if quantization is None or values.dtype.kind not in "fiu":
            return
        low, high = _range(quantization, self._info.dtype)
        half = quantization.scales[0] / 2
        seen, real = self._seen, values.astype(np.float64)
        finite = real[np.isfinite(real)]
        seen.below += int((real < low - half).sum())
        seen.above += int((real > high + half).sum())
        seen.total += real.size
        if finite.size:
            seen.low = min(seen.low, float(finite.min()))
            seen.high = max(seen.high, float(finite.max()))

    def finish(self) -> TensorRange | None:
        quantization = self._info.quantization
        if quantization is None or not math.isfinite(self._seen.low):
            return None
        low, high = _range(quantization, self._info.dtype)
        return _tensor_range(self._info.name, "input", (low, high), self._seen)


def _tensor_range(
    name: str,
    operator: str,
    limits: tuple[float, float],
    seen: Seen,
    scale: float = 1,
    zero: int = 0,
) -> TensorRange:
    """The record of what was seen; `scale` and `zero` turn it into real values."""
    total = max(seen.total, 1)
    ends = (scale * (value - zero) for value in (seen.low, seen.high))
    return TensorRange(name, operator, *limits, seen.below / total, seen.above / total, *ends)


def _observe(
    variant: Variant, inputs: Sequence[NDArray[Any]], limits: Mapping[int, tuple[float, float]]
) -> dict[int, Seen]:
    stored = [
        (info.index, quantize(array, info))
        for info, array in zip(variant.inputs, inputs, strict=True)
    ]
    if any(info.shape[:1] not in ((1,), (-1,)) for info in variant.inputs):
        raise MeasurementUnavailable(f"{variant.label}: its batch is not 1")
    return current_pipeline().observe(variant, range_worker.count_beyond, stored, limits)


def against_reference(
    variant: Variant, reference: Variant, inputs: Sequence[NDArray[Any]]
) -> list[TensorRange] | None:
    """The float32 model's values against the variant's ranges; None where too few names match."""
    graph = graph_of(variant).main
    theirs = graph_of(reference).main
    by_name = {t.name: t.index for t in theirs.tensors if t.type == "FLOAT32" and not t.constant}
    activations = calibrated_activations(graph)
    limits: dict[int, tuple[float, float]] = {}
    matched: list[tuple[int, int, str]] = []
    for index, operator in activations.items():
        tensor = graph.tensors[index]
        other = by_name.get(tensor.name)
        if other is None or tensor.quantization is None:
            continue
        low, high = _range(tensor.quantization, tensor.dtype)
        half = tensor.quantization.scales[0] / 2
        limits[other] = (low - half, high + half)
        matched.append((index, other, operator))
    if not matched or 2 * len(matched) < len(activations):
        return None
    seen = _observe(reference, inputs, limits)
    found = []
    for index, other, operator in matched:
        tensor = graph.tensors[index]
        assert tensor.quantization is not None
        span = _range(tensor.quantization, tensor.dtype)
        found.append(_tensor_range(tensor.name, operator, span, seen[other]))
    return found


def at_the_ends(variant: Variant, inputs: Sequence[NDArray[Any]]) -> list[TensorRange]:
    """The variant's own values at the ends of their integer range."""
    graph = graph_of(variant).main
    activations = calibrated_activations(graph)
    limits: dict[int, tuple[float, float]] = {}
    for index in activations:
        tensor = graph.tensors[index]
        assert tensor.quantization is not None
        ends = np.iinfo(tensor.dtype)
        lowest = -ends.max if tensor.dtype == np.int16 else ends.min
        zero_at_end = tensor.quantization.zero_points[0] <= lowest
        limits[index] = (-math.inf if zero_at_end else lowest + 1, ends.max - 1)
    seen = _observe(variant, inputs, limits)
    found = []
    for index, operator in activations.items():
        tensor = graph.tensors[index]
        assert tensor.quantization is not None
        scale, zero = tensor.quantization.scales[0], tensor.quantization.zero_points[0]
        span = _range(tensor.quantization, tensor.dtype)
        found.append(_tensor_range(tensor.name, operator, span, seen[index], scale, zero))
    return found
