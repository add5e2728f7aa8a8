"""The values of a model's constants, as NumPy arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.errors import ModelError
from pytest_edgequant.records import Quantization
from pytest_edgequant.tflite import schema
from pytest_edgequant.tflite.graph import Tensor
from pytest_edgequant.wording import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PACKED_TYPES = ("INT4", "UINT4", "INT2")


def constant_values(content: bytes, subgraph: int, tensor: Tensor) -> NDArray[Any]:
    """The stored values of a constant, in its own type and shape.

    `content` is a file that `read_graph` has read, and `tensor` one of it. Raises `ModelError` for
    data that don't fill the shape, and for types that are packed or have no numbers.
    """
    if tensor.dtype.hasobject or tensor.type in _PACKED_TYPES:
        raise ModelError(f"{tensor.shown}: values of the type {tensor.type} are not read")
    model = schema.Model.GetRootAsModel(content, 0)
    buffer = model.Buffers(model.Subgraphs(subgraph).Tensors(tensor.index).Buffer())
    if buffer.DataLength() > 0:
        data = buffer.DataAsNumpy().tobytes()
    else:
        data = content[buffer.Offset() : buffer.Offset() + buffer.Size()]
    if len(data) != tensor.elements * tensor.dtype.itemsize:
        raise ModelError(
            f"{tensor.shown}: {counted(len(data), 'byte')} of data for the shape {tensor.shape} of "
            f"{tensor.type}"
        )
    return np.frombuffer(data, tensor.dtype).reshape(tensor.shape)


def per_element(values: tuple[float, ...], quantization: Quantization, rank: int) -> NDArray[Any]:
    """Scales or zero points of a tensor, in a shape that broadcasts over it."""
    array = np.asarray(values, np.float64)
    if quantization.axis is None:
        return array[:1].reshape(())
    if not 0 <= quantization.axis < rank:
        raise ModelError(
            f"{len(values)} scales along axis {quantization.axis} of a tensor of {rank} dimensions"
        )
    shape = [1] * rank
    shape[quantization.axis] = -1
    return array.reshape(shape)
