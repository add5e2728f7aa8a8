"""The range of every tensor over representative samples: of all that was seen. Runs in a child.

As TensorFlow's converter has it: one range from the least to the largest value, whatever the order
of the samples. A moving average over single samples would clip what few of them reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.errors import CalibrationError, ConversionError
from pytest_edgequant.tflite.ends import file_inputs
from pytest_edgequant.tflite.model import TFLiteModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

Range = tuple[float, float]

_ENDLESS = 3e38
"""Beyond this, either way, values stand for infinity: what a padding or a mask is filled with."""


def _interpreter(content: bytes, inputs: Sequence[int], samples: Sequence[NDArray[Any]]) -> Any:
    """An interpreter on LiteRT's own kernels, which keeps what is in every tensor, for one sample.

    Delegates (XNNPACK) would not keep what is in theirs.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    details = {detail["index"]: detail for detail in interpreter.get_input_details()}
    for index, array in zip(inputs, samples, strict=True):
        shape = (1, *array.shape[1:])
        if tuple(details[index]["shape"]) != shape:
            interpreter.resize_tensor_input(index, shape)
    interpreter.allocate_tensors()
    return interpreter


def _merged(known: Range | None, values: NDArray[Any]) -> Range | None:
    """A range widened by the finite ones of these values."""
    low, high = float(values.min()), float(values.max())
    if low <= -_ENDLESS or high >= _ENDLESS:
        values = values[np.abs(values) < _ENDLESS]
        if not values.size:
            return known
        low, high = float(values.min()), float(values.max())
    return (low, high) if known is None else (min(known[0], low), max(known[1], high))


def observed_ranges(
    model: TFLiteModel, samples: Sequence[NDArray[Any]]
) -> dict[tuple[int, int], Range]:
    """The least and the largest value of every float activation, by (subgraph, tensor).

    `samples` are one array (N, ...) an input, in the file's order. Values that stand for infinity
    are left out. Raises `CalibrationError` where a tensor gets NaN, `ConversionError` where LiteRT
    can't run the model.
    """
    inputs = file_inputs(model.graph).tensors
    tensors = [
        (number, tensor)
        for number, subgraph in enumerate(model.graph.subgraphs)
        for tensor in subgraph.tensors
        if tensor.type == "FLOAT32" and not tensor.constant
    ]
    found: dict[tuple[int, int], Range] = {}
    try:
        interpreter = _interpreter(model.content, inputs, samples)
        for sample in range(len(samples[0])):
            interpreter.reset_all_variables()
            for index, array in zip(inputs, samples, strict=True):
                interpreter.set_tensor(index, array[sample : sample + 1])
            interpreter.invoke()
            for number, tensor in tensors:
                values = _content(interpreter, number, tensor.index)
                if values is None:
                    continue
                if np.isnan(values).any():
                    raise CalibrationError(
                        f"{model.where}: the tensor {tensor.shown} becomes NaN in sample {sample} "
                        "of the representative samples; no range can be had from that: clean or "
                        "drop such samples, or mend the model"
                    )
                seen = _merged(found.get((number, tensor.index)), values)
                if seen is not None:
                    found[number, tensor.index] = seen
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise ConversionError(
            f"{model.where}: LiteRT can't run the float model: {text[:600]}"
        ) from None
    return found


def _content(interpreter: Any, subgraph: int, tensor: int) -> NDArray[Any] | None:
    """What a tensor holds; None where it holds nothing, as in a branch that was not taken."""
    try:
        values: NDArray[Any] = interpreter.get_tensor(tensor, subgraph)
    except ValueError:
        return None
    return values if values.size else None
