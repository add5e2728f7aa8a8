"""Operators that training has no function for: they run as they are, as models of one operator.

Their constants and the scales around them stay those of the converter, so what runs in training is
the int8 operator itself. No gradient passes it: what is before it is trained through other paths
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.conversion.qat.plan import Plan, layer_of
from pytest_edgequant.errors import ConversionError
from pytest_edgequant.tflite.edit import drop_unused, pack, unpack
from pytest_edgequant.tflite.graph import Operator, Tensor, read_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

_QUANTIZED = ("INT8", "INT16", "INT32", "INT64")


def _given(plan: Plan, operator: Operator) -> tuple[int, ...]:
    """The inputs that other operators compute: neither constants nor a state of its own."""
    tensors = plan.main.tensors
    given = (i for i in operator.inputs if i >= 0)
    return tuple(
        dict.fromkeys(i for i in given if not tensors[i].constant and not tensors[i].is_variable)
    )


def one_operator(content: bytes, index: int, inputs: Sequence[int]) -> bytes:
    """A model of one operator of another, which takes its tensors `inputs`."""
    model = unpack(content)
    graph = model.subgraphs[0]
    graph.operators = [graph.operators[index]]
    graph.inputs = np.asarray(inputs, np.int32)
    graph.outputs = np.asarray(graph.operators[0].outputs, np.int32)
    model.signatureDefs = model.metadata = None
    drop_unused(model)
    used = {int(t.buffer) for t in graph.tensors}
    for number, buffer in enumerate(model.buffers):
        if number not in used:
            buffer.data = None
    return pack(model)


def dequantized(content: bytes) -> bytes:
    """The same model in float: types changed, constants with the real values of the stored ones."""
    from ai_edge_litert import schema_py_generated as schema

    model, graph = unpack(content), read_graph(content)
    for raw, tensor in zip(model.subgraphs[0].tensors, graph.main.tensors, strict=True):
        if tensor.quantization is None or tensor.type not in _QUANTIZED:
            continue
        raw.type, raw.quantization = schema.TensorType.FLOAT32, None
        if tensor.constant:
            data = np.asarray(model.buffers[raw.buffer].data, np.uint8).tobytes()
            stored = np.frombuffer(data, tensor.dtype).reshape(tensor.shape)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(_real(tensor, stored).tobytes(), np.uint8)
            raw.buffer = len(model.buffers)
            model.buffers.append(buffer)
    for operator in model.subgraphs[0].operators:
        operator.intermediates = None
    return pack(model)


def _parameters(tensor: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scale and zero point, shaped to broadcast."""
    assert tensor.quantization is not None
    shape = [1] * len(tensor.shape)
    if tensor.quantization.axis is not None:
        shape[tensor.quantization.axis] = -1
    scales = np.asarray(tensor.quantization.scales, np.float32).reshape(shape)
    return scales, np.asarray(tensor.quantization.zero_points, np.float32).reshape(shape)


def _real(tensor: Tensor, stored: NDArray[Any]) -> NDArray[np.float32]:
    scale, point = _parameters(tensor)
    found: NDArray[np.float32] = ((stored.astype(np.float32) - point) * scale).astype(np.float32)
    return found


def _stored(tensor: Tensor, real: NDArray[Any]) -> NDArray[Any]:
    if tensor.quantization is None:
        return real.astype(tensor.dtype)
    limits = np.iinfo(tensor.dtype)
    scale, point = _parameters(tensor)
    values = np.floor(real / scale + np.float32(0.5)) + point
    found: NDArray[Any] = np.clip(values, limits.min, limits.max).astype(tensor.dtype)
    return found


class Opaque:
    """One operator, run by TFLite's interpreter.

    Raises `ConversionError` where it can't run, or has an output whose shape is known only then.
    """

    def __init__(self, plan: Plan, operator: Operator, where: str) -> None:
        self.tensors, self.outputs = plan.main.tensors, operator.outputs
        self.inputs = _given(plan, operator)
        self.place = f"{operator.place}, layer {layer_of(plan, operator)!r}"
        self.where = where
        for index in self.outputs:
            if any(extent < 0 for extent in self.tensors[index].shape_signature):
                raise ConversionError(
                    f"{where}: qat_int8: the shape that {self.place} gives is known only at run "
                    "time; devices allocate all memory before. Replace the layer"
                )
        content = one_operator(plan.content, operator.index, self.inputs)
        self._models = {True: self._interpreter(content)}
        try:
            self._models[False] = self._interpreter(dequantized(content))
        except ConversionError:  # there is no kernel in float
            self._models[False] = self._models[True]

    def _interpreter(self, content: bytes) -> Any:
        from ai_edge_litert.interpreter import Interpreter

        try:
            interpreter = Interpreter(model_content=content)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ConversionError(
                f"{self.where}: qat_int8: {self.place}, does not run in int8: "
                f"{' '.join(str(error).split())}. Replace the layer, or use float32"
            ) from None
        return interpreter

    def __call__(self, tf: Any, values: Sequence[Any], quantize: bool) -> list[Any]:
        """Outputs (samples, *shape) for inputs (samples, *shape); real values."""
        types = [
            tf.float32 if self.tensors[i].quantization is not None else self.tensors[i].dtype
            for i in self.outputs
        ]

        def run(*arrays: NDArray[Any]) -> list[NDArray[Any]]:
            return self._run(arrays, quantize)

        found = tf.numpy_function(run, [tf.stop_gradient(v) for v in values], types)
        found = found if isinstance(found, list | tuple) else [found]
        return [
            tf.stop_gradient(tf.reshape(v, (-1, *self.tensors[i].shape)))
            for v, i in zip(found, self.outputs, strict=True)
        ]

    def _run(self, arrays: Sequence[NDArray[Any]], quantize: bool) -> list[NDArray[Any]]:
        interpreter = self._models[quantize]
        sources, sinks = interpreter.get_input_details(), interpreter.get_output_details()
        # Where an operator has no kernel in float, its int8 one serves for both.
        stores = quantize or interpreter is self._models[True]
        if stores:
            arrays = [_stored(self.tensors[i], a) for i, a in zip(self.inputs, arrays, strict=True)]
        rows = []
        for number in range(len(arrays[0])):
            interpreter.reset_all_variables()
            for source, array in zip(sources, arrays, strict=True):
                interpreter.set_tensor(source["index"], array[number])
            interpreter.invoke()
            rows.append([interpreter.get_tensor(sink["index"]) for sink in sinks])
        found = [np.stack(column) for column in zip(*rows, strict=True)]
        if stores:
            found = [
                _real(self.tensors[i], a) if self.tensors[i].quantization is not None else a
                for i, a in zip(self.outputs, found, strict=True)
            ]
        return found


def notes_of(plan: Plan) -> tuple[str, ...]:
    """What to say of each operator that was not simulated."""
    return tuple(
        f"{operator.place}, layer {layer_of(plan, operator)!r}, is not simulated in training: it "
        "stays as the converter quantized it, and no gradient passes it"
        for operator in plan.main.operators
        if operator.index in plan.opaque
    )
