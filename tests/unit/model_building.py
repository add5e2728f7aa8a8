"""Models of one operator, written with the schema's own classes, and LiteRT as an oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from pytest_edgequant.tflite.edit import pack

BUILTIN_CODES: dict[str, int] = {
    name: code
    for name, code in vars(schema.BuiltinOperator).items()
    if isinstance(code, int) and not name.startswith("_")
}


def tensor(
    name: str,
    shape: Sequence[int],
    kind: str,
    *,
    scales: Sequence[float] = (),
    zero_points: Sequence[int] = (),
    axis: int = 0,
) -> Any:
    """A tensor without data; `kind` is the schema's name of its type."""
    made = schema.TensorT()
    made.name = name.encode()
    made.shape = list(shape)
    made.type = getattr(schema.TensorType, kind)
    made.buffer = 0
    if scales:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale = np.asarray(scales, np.float32)
        made.quantization.zeroPoint = np.asarray(zero_points, np.int64)
        made.quantization.quantizedDimension = axis
    return made


def one_operator(
    name: str,
    inputs: Sequence[Any],
    output: Any,
    *,
    custom_code: str = "",
    constants: Mapping[int, Any] = MappingProxyType({}),
) -> bytes:
    """A model of one operator. `constants` maps an input's position to its data (an array)."""
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    code = schema.OperatorCodeT()
    code.builtinCode = BUILTIN_CODES[name]
    code.deprecatedBuiltinCode = min(BUILTIN_CODES[name], 127)
    code.customCode = custom_code.encode() or None
    code.version = 1
    model.operatorCodes = [code]
    for position, data in constants.items():
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data.tobytes(), np.uint8)
        inputs[position].buffer = len(model.buffers)
        model.buffers.append(buffer)
    operator = schema.OperatorT()
    operator.inputs = np.arange(len(inputs), dtype=np.int32)
    operator.outputs = np.asarray([len(inputs)], np.int32)
    graph = schema.SubGraphT()
    graph.tensors = [*inputs, output]
    free = [i for i in range(len(inputs)) if i not in constants]
    graph.inputs, graph.outputs = np.asarray(free, np.int32), operator.outputs
    graph.operators = [operator]
    model.subgraphs = [graph]
    return pack(model)


def run_litert(content: bytes, samples: Any, *, reference_kernels: bool = False) -> Any:
    """The first output for samples (N, ...) of a model with one input, one at a time."""
    resolver = OpResolverType.BUILTIN_REF if reference_kernels else OpResolverType.AUTO
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    taken = interpreter.get_input_details()[0]["index"]
    given = interpreter.get_output_details()[0]["index"]
    outputs = []
    for sample in samples:
        interpreter.set_tensor(taken, sample[np.newaxis])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(given)[0])
    return np.stack(outputs)
