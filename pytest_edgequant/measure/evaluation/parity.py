"""How far two runtimes differ on the same model and samples: in steps, and in decisions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.errors import MetricError
from pytest_edgequant.measure.evaluation.consuming import Outputs
from pytest_edgequant.records import RuntimeParity, TensorInfo
from pytest_edgequant.tflite.graph import Graph, Subgraph
from pytest_edgequant.wording import short

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FLOAT_STEP = float(np.finfo(np.float32).eps)


class ParityAccumulator:
    """Differences of two runtimes' real-valued outputs, batch by batch.

    A step is the output's scale where it is quantized, or dequantized at the very end; of other
    float outputs it is the distance of float32 numbers at the largest magnitude in the sample's
    output (2^-23 of it).
    """

    def __init__(self, graph: Graph, outputs: Sequence[TensorInfo]) -> None:
        self._outputs = [_before_dequantize(graph.main, info) for info in outputs]
        self._count = 0
        self._largest = 0.0
        self._where = ""
        self._sum = 0.0
        self._values = 0
        self._differing = 0
        self._changed = 0

    def update(self, first: Outputs, second: Outputs) -> None:
        """One batch of outputs (n, ...), one array an output; raises `MetricError` for NaN."""
        count = len(first[0])
        differing = np.zeros(count, dtype=bool)
        changed = np.zeros(count, dtype=bool)
        for info, left, right in zip(self._outputs, first, second, strict=True):
            a = left.astype(np.float64).reshape(count, -1)
            b = right.astype(np.float64).reshape(count, -1)
            if not (np.isfinite(a).all() and np.isfinite(b).all()):
                raise MetricError(f"the output {short(info.name)!r} has NaN or infinite values")
            steps = np.abs(a - b) / _step(info, a, b)
            if info.quantization is not None:
                steps = np.rint(steps)  # both are whole steps, up to the rounding of float32
            most = float(steps.max(initial=0.0))
            if most > self._largest:
                self._largest, self._where = most, info.name
            self._sum += float(steps.sum())
            self._values += steps.size
            differing |= (steps > 0).any(axis=1)
            changed |= _decisions(a, info) != _decisions(b, info)
        self._count += count
        self._differing += int(differing.sum())
        self._changed += int(changed.sum())

    def finish(self, runtimes: tuple[str, str], provenance: str) -> RuntimeParity:
        return RuntimeParity(
            runtimes=runtimes,
            count=self._count,
            max_steps=self._largest,
            mean_steps=self._sum / max(self._values, 1),
            differing=self._differing,
            changed=self._changed,
            output=self._where,
            provenance=provenance,
        )


def _before_dequantize(graph: Subgraph, info: TensorInfo) -> TensorInfo:
    """The integer tensor that a float output was, where it was one."""
    for operator in graph.operators:
        if info.index in operator.outputs and operator.name == "DEQUANTIZE":
            source = graph.tensors[operator.inputs[0]]
            if source.dtype.kind in "iu" and source.quantization is not None:
                return dataclasses.replace(
                    info, dtype=source.dtype, quantization=source.quantization
                )
    return info


def _step(info: TensorInfo, a: NDArray[Any], b: NDArray[Any]) -> Any:
    if info.quantization is None or info.quantization.per_axis:
        if info.dtype.kind != "f":
            return 1.0
        largest = np.maximum(np.abs(a), np.abs(b)).max(axis=1, initial=0.0, keepdims=True)
        return np.maximum(largest * _FLOAT_STEP, np.finfo(np.float32).tiny)
    return info.quantization.scales[0]


def _decisions(values: NDArray[Any], info: TensorInfo) -> NDArray[Any]:
    """The class of the highest score; of one unit, the side of its threshold."""
    if values.shape[1] > 1:
        return np.asarray(values.argmax(axis=1))
    probability = info.quantization is not None and _is_probability(info)
    return np.asarray(values[:, 0] > (0.5 if probability else 0.0))


def _is_probability(info: TensorInfo) -> bool:
    """Whether the output's range is that of a sigmoid: 256 or 65536 steps from 0 to 1."""
    assert info.quantization is not None
    scale, point = info.quantization.scales[0], info.quantization.zero_points[0]
    limits = np.iinfo(info.dtype)
    return abs(scale * (limits.max - point) - 1.0) < 0.02 and scale * (limits.min - point) <= 0.0
