"""Weights layer by layer: how they are spread, their scales, and what quantization cost them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.errors import ModelError, reading
from pytest_edgequant.records import Quantization
from pytest_edgequant.tflite.constants import constant_values, per_element
from pytest_edgequant.tflite.graph import Operator, Subgraph, Tensor, read_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 48
_TYPES = ("FLOAT32", "FLOAT16", "INT8", "UINT8", "INT16")


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one operator.

    `counts` is their histogram in `BINS` equal bins from -`limit` to `limit`, the largest
    magnitude, as real values. `scales` are the smallest and the largest scale of `channels`, None
    for floats. `used` is the largest share of the integer range that a channel uses, 0 to 1.
    `sqnr_db` is the signal to quantization noise ratio in dB: against the float weights where
    `measured`, else that of rounding to the scale alone (its variance is scale squared over 12);
    None for floats and infinite where nothing was lost. `largest_error` is that of any weight.
    """

    name: str
    operator: str
    type: str
    shape: tuple[int, ...]
    limit: float
    counts: tuple[int, ...]
    scales: tuple[float, float] | None
    channels: int
    used: float | None
    sqnr_db: float | None
    largest_error: float | None
    measured: bool


@dataclass(frozen=True)
class _Found:
    operator: Operator
    tensor: Tensor
    stored: NDArray[Any]
    real: NDArray[np.float64]


def _dequantized(subgraph: Subgraph) -> dict[int, int]:
    """What each output of a DEQUANTIZE was before."""
    return {
        output: operator.inputs[0]
        for operator in reversed(subgraph.operators)
        if operator.name == "DEQUANTIZE" and operator.inputs and operator.inputs[0] >= 0
        for output in operator.outputs
    }


def _source(subgraph: Subgraph, index: int, dequantized: Mapping[int, int]) -> Tensor | None:
    """The constant behind an operator's input, through a DEQUANTIZE where there is one."""
    if index < 0:
        return None
    tensor = subgraph.tensors[index]
    if tensor.constant:
        return tensor
    if index not in dequantized:
        return None
    behind = subgraph.tensors[dequantized[index]]
    return behind if behind.constant else None


def _real(stored: NDArray[Any], quantization: Quantization | None) -> NDArray[np.float64]:
    values = stored.astype(np.float64)
    if quantization is None or stored.dtype.kind == "f":
        return values
    scale = per_element(quantization.scales, quantization, stored.ndim)
    zero = per_element(quantization.zero_points, quantization, stored.ndim)
    return np.asarray(scale * (values - zero), np.float64)


def _weights(content: bytes, where: str) -> list[_Found]:
    """Constants of two dimensions or more that operators compute with, in their order."""
    found = []
    for number, subgraph in enumerate(read_graph(content, where).subgraphs):
        seen: set[int] = set()
        dequantized = _dequantized(subgraph)
        for operator in subgraph.operators:
            if operator.name == "DEQUANTIZE":
                continue
            for index in operator.inputs:
                tensor = _source(subgraph, index, dequantized)
                if tensor is None or tensor.index in seen or tensor.type not in _TYPES:
                    continue
                if len(tensor.shape) < 2 or tensor.elements == 0:
                    continue
                seen.add(tensor.index)
                stored = constant_values(content, number, tensor)
                real = _real(stored, tensor.quantization)
                found.append(_Found(operator, tensor, stored, real))
    return found


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _errors(
    found: _Found, original: NDArray[np.float64] | None
) -> tuple[float | None, float | None, bool]:
    """SQNR in dB, the largest error, and whether they were measured against the float weights."""
    if original is not None:
        error = found.real - original
        signal = float(np.mean(original**2))
        return _decibels(signal, float(np.mean(error**2))), float(np.abs(error).max()), True
    quantization = found.tensor.quantization
    if quantization is None or found.stored.dtype.kind == "f":
        return None, None, False
    scales = per_element(quantization.scales, quantization, found.stored.ndim)
    noise = float(np.mean(np.broadcast_to(scales, found.stored.shape) ** 2)) / 12
    signal = float(np.mean(found.real**2))
    return _decibels(signal, noise), float(scales.max()) / 2, False


def _used(found: _Found) -> float | None:
    quantization = found.tensor.quantization
    if quantization is None or found.stored.dtype.kind == "f":
        return None
    zero = per_element(quantization.zero_points, quantization, found.stored.ndim)
    distance = np.abs(found.stored.astype(np.float64) - zero)
    return min(1.0, float(distance.max()) / np.iinfo(found.stored.dtype).max)


def _layer(found: _Found, original: NDArray[np.float64] | None) -> LayerWeights:
    finite = found.real[np.isfinite(found.real)]
    limit = float(np.abs(finite).max()) if finite.size else 0.0
    counts, _ = np.histogram(finite, BINS, (-limit, limit) if limit > 0 else (-1.0, 1.0))
    quantization = found.tensor.quantization if found.stored.dtype.kind != "f" else None
    scales = (min(quantization.scales), max(quantization.scales)) if quantization else None
    sqnr, largest, measured = _errors(found, original)
    return LayerWeights(
        name=found.tensor.name,
        operator=found.operator.place,
        type=found.tensor.type,
        shape=found.tensor.shape,
        limit=limit,
        counts=tuple(int(count) for count in counts),
        scales=scales,
        channels=len(quantization.scales) if quantization else 0,
        used=_used(found),
        sqnr_db=sqnr,
        largest_error=largest,
        measured=measured,
    )


@reading("its weights")
def layer_weights(
    content: bytes, float32: bytes | None = None, where: str = "model"
) -> list[LayerWeights]:
    """The weights of each operator of a .tflite, in order; `where` names the model in messages.

    `float32` is the same model unquantized: where its layers are the same, by operator and shape,
    errors are measured against its weights.

    Raises `ModelError` for a file that is damaged.
    """
    try:
        found = _weights(content, where)
        originals = _weights(float32, where) if float32 is not None else []
    except (ValueError, IndexError) as error:
        raise ModelError(f"{where}: its weights can't be read ({error})") from None
    same = [(f.operator.name, f.tensor.shape) for f in found] == [
        (f.operator.name, f.tensor.shape) for f in originals
    ]
    return [
        _layer(layer, originals[i].real if same and content != float32 else None)
        for i, layer in enumerate(found)
    ]
