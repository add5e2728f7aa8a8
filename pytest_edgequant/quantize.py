"""Real values to a tensor's integers and back, with the tensor's own scale and zero point.

q = round(r / s) + z, rounded half away from zero and saturated at the type's limits, in float32
arithmetic: what TFLite's reference and TFLM's QUANTIZE kernels do (`AffineQuantize`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.errors import DatasetError
from pytest_edgequant.records import TensorInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _along_axis(values: tuple[float, ...] | tuple[int, ...], info: TensorInfo) -> NDArray[Any]:
    """The parameters shaped to broadcast against arrays (N, ...) of the tensor."""
    array = np.asarray(values, dtype=np.float64)
    assert info.quantization is not None
    if info.quantization.axis is None:
        return array[0]  # type: ignore[no-any-return]
    shape = [1] * len(info.shape)
    shape[info.quantization.axis] = len(array)
    return array.reshape(shape)


def quantize(values: NDArray[Any], info: TensorInfo) -> NDArray[Any]:
    """Real values (N, ...) as the tensor's type; unquantized tensors are only cast.

    Raises `DatasetError` for NaN, which no integer stands for.
    """
    if info.dtype.kind not in "iu" or info.quantization is None:
        return np.ascontiguousarray(values, dtype=info.dtype)
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise DatasetError(f"the input {info.name!r} has NaN values, which can't be quantized")
    scaled = np.asarray(values, dtype=np.float32) / _along_axis(
        info.quantization.scales, info
    ).astype(np.float32)
    wide = scaled.astype(np.float64)
    rounded = np.trunc(wide + np.copysign(0.5, wide))
    limits = np.iinfo(info.dtype)
    shifted = rounded + _along_axis(info.quantization.zero_points, info)
    return np.ascontiguousarray(np.clip(shifted, limits.min, limits.max).astype(info.dtype))


def dequantize(values: NDArray[Any], info: TensorInfo) -> NDArray[Any]:
    """The tensor's integers as float32 reals: r = s * (q - z); unquantized ones as they are."""
    if values.dtype.kind not in "iu" or info.quantization is None:
        return values
    real: NDArray[Any] = _along_axis(info.quantization.scales, info) * (
        values.astype(np.float64) - _along_axis(info.quantization.zero_points, info)
    )
    return np.asarray(real, dtype=np.float32)
