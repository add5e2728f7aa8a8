"""Real values to a tensor's integers and back, with the tensor's own scale and zero point.

q = round(r / s) + z, rounded half away from zero and saturated at the type's limits, in float32
arithmetic: what TFLite's reference and TFLM's QUANTIZE kernels do (`AffineQuantize`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.errors import DatasetError, ModelError
from pytest_edgequant.records import Quantization, TensorInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _along_axis(values: tuple[float, ...] | tuple[int, ...], info: TensorInfo) -> NDArray[Any]:
    """The parameters shaped to broadcast against arrays (N, ...) of the tensor."""
    array = np.asarray(values, dtype=np.float64)
    assert info.quantization is not None
    if info.quantization.axis is None:
        return array[0]  # type: ignore[no-any-return]
    axis, shape = info.quantization.axis, [1] * len(info.shape)
    if not 0 <= axis < len(shape) or info.shape[axis] != len(array):
        raise ModelError(
            f"the tensor {info.name!r} of shape {info.shape} has {len(array)} scales along axis "
            f"{axis}, which do not fit it: convert the model again"
        )
    shape[axis] = len(array)
    return array.reshape(shape)


def is_stored(info: TensorInfo) -> bool:
    """Whether a tensor holds integers that stand for real values."""
    return info.dtype.kind in "iu" and info.quantization is not None


class Quantizer:
    """Quantizes batches of one input, up to `capacity` samples each, without allocating.

    What it gives is overwritten by the next call.
    """

    def __init__(self, info: TensorInfo, capacity: int) -> None:
        self._info = info
        self.capacity = capacity
        quantization = info.quantization
        self._plain = not is_stored(info)
        # Wider types have limits, and zero points could have values, that float32 can't hold.
        self._fast = not self._plain and info.dtype.itemsize <= 2
        if self._plain or quantization is None:
            return
        self._scale = _along_axis(quantization.scales, info).astype(np.float32)
        points = _along_axis(quantization.zero_points, info)
        limits = np.iinfo(info.dtype)
        if self._fast:
            shape = (capacity, *info.shape[1:]) if info.shape else (capacity,)
            self._unsigned = np.dtype(f"u{info.dtype.itemsize}")
            self._low = (limits.min - points).astype(np.float32)
            self._high = (limits.max - points).astype(np.float32)
            self._points = points.astype(np.int64).astype(info.dtype)
            self._scaled = np.empty(shape, np.float32)
            self._offset = np.empty(shape, np.float32)
            self._whole = np.empty(shape, np.int32)
            self._stored = np.empty(shape, info.dtype)

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        """Real values (n, ...) as the tensor's type; raises `DatasetError` for NaN."""
        info = self._info
        if self._plain:
            if values.dtype.kind == "f" and np.isnan(values.min(initial=0)):
                raise _nan_in(info)
            return np.ascontiguousarray(values, dtype=info.dtype)
        if self._fast and len(values) <= self.capacity and values.shape[1:] == info.shape[1:]:
            with _fitting(info):
                return self._fast_path(values)
        return quantize(values, info)

    def stored(self, values: NDArray[Any]) -> NDArray[Any]:
        """What another process has prepared: quantized already, or real values in float32."""
        quantized = not self._plain and values.dtype == self._info.dtype
        return values if quantized else self(values)

    def _fast_path(self, values: NDArray[Any]) -> NDArray[Any]:
        count = len(values)
        scaled, stored = self._scaled[:count], self._stored[:count]
        with np.errstate(over="ignore"):  # what overflows saturates, as it should
            np.divide(values, self._scale, out=scaled, dtype=np.float32, casting="unsafe")
        low, high = scaled.min(initial=0), scaled.max(initial=0)
        if np.isnan(low):
            raise _nan_in(self._info)
        within = bool((low >= self._low).all() and (high <= self._high).all())
        # Half away from zero: the largest float below 0.5 with the value's sign, added; then cut.
        if within and low >= 0:
            np.add(scaled, _BELOW_HALF, out=scaled)
            np.copyto(stored.view(self._unsigned), scaled, casting="unsafe")
        else:
            bits, whole = self._offset[:count].view(np.uint32), self._whole[:count]
            np.bitwise_and(scaled.view(np.uint32), _SIGN, out=bits)
            np.bitwise_or(bits, _BELOW_HALF.view(np.uint32), out=bits)
            np.add(scaled, self._offset[:count], out=scaled)
            if not within:
                np.clip(scaled, self._low, self._high, out=scaled)
            np.copyto(whole, scaled, casting="unsafe")
            np.copyto(stored, whole, casting="unsafe")
        # Modulo the type's range: q - z may lie outside it, q does not.
        np.add(stored, self._points, out=stored)
        return stored


_SIGN = np.uint32(0x80000000)
_BELOW_HALF = np.nextafter(np.float32(0.5), np.float32(0))


def _nan_in(info: TensorInfo) -> DatasetError:
    return DatasetError(f"the input {info.name!r} has NaN values: clean or drop these samples")


@contextlib.contextmanager
def _fitting(info: TensorInfo) -> Iterator[None]:
    """Raise `ModelError` where a tensor's scales don't fit the values of its samples."""
    try:
        yield
    except ValueError as error:
        raise ModelError(
            f"the scales of the tensor {info.name!r} of shape {info.shape} don't fit its samples "
            f"({error}): convert the model again"
        ) from None


def quantize(values: NDArray[Any], info: TensorInfo) -> NDArray[Any]:
    """Real values (N, ...) as the tensor's type; unquantized tensors are only cast.

    Raises `DatasetError` for NaN, which no integer stands for.
    """
    if info.dtype.kind not in "iu" or info.quantization is None:
        return np.ascontiguousarray(values, dtype=info.dtype)
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise _nan_in(info)
    with _fitting(info):
        return _quantized(values, info.quantization, info)


def _quantized(values: NDArray[Any], quantization: Quantization, info: TensorInfo) -> NDArray[Any]:
    scaled = np.asarray(values, dtype=np.float32) / _along_axis(quantization.scales, info).astype(
        np.float32
    )
    wide = scaled.astype(np.float64)
    rounded = np.trunc(wide + np.copysign(0.5, wide))
    limits = np.iinfo(info.dtype)
    shifted = rounded + _along_axis(quantization.zero_points, info)
    return np.ascontiguousarray(np.clip(shifted, limits.min, limits.max).astype(info.dtype))


def dequantize(values: NDArray[Any], info: TensorInfo) -> NDArray[Any]:
    """The tensor's integers as float32 reals: r = s * (q - z); unquantized ones as they are."""
    if values.dtype.kind not in "iu" or info.quantization is None:
        return values
    with _fitting(info):
        return _dequantized(values, info.quantization, info)


def _dequantized(
    values: NDArray[Any], quantization: Quantization, info: TensorInfo
) -> NDArray[Any]:
    if values.dtype.itemsize <= 2:
        # Exact in float32 up to the product, which is rounded once either way.
        short = values.astype(np.float32)
        short -= _along_axis(quantization.zero_points, info).astype(np.float32)
        short *= _along_axis(quantization.scales, info).astype(np.float32)
        return short
    real: NDArray[Any] = _along_axis(quantization.scales, info) * (
        values.astype(np.float64) - _along_axis(quantization.zero_points, info)
    )
    return np.asarray(real, dtype=np.float32)
