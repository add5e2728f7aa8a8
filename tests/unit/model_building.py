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

TENSOR_TYPES: dict[int, str] = {
    code: name
    for name, code in vars(schema.TensorType).items()
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


class GraphBuilder:
    """A model of one subgraph, written tensor by tensor and operator by operator.

    Quantized activations have one scale; weights have one scale a channel unless told otherwise.
    What is not constant and that no operator makes is an input, what no operator takes an output.
    """

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.tensors = []
        self.graph.operators = []
        self._codes: dict[tuple[str, str], int] = {}
        self._constant: set[int] = set()

    def shape(self, index: int) -> tuple[int, ...]:
        return tuple(int(extent) for extent in self.graph.tensors[index].shape)

    def kind(self, index: int) -> str:
        return TENSOR_TYPES[self.graph.tensors[index].type]

    def activation(self, shape: Sequence[int], kind: str, name: str = "") -> int:
        """A tensor without data; INT8 and INT16 are quantized, other types are not."""
        scaled = kind in ("INT8", "INT16")
        index = len(self.graph.tensors)
        scales: dict[str, Any] = {"scales": [0.05], "zero_points": [0]} if scaled else {}
        self.graph.tensors.append(tensor(name or f"t{index}", shape, kind, **scales))
        return index

    def constant(self, data: Any, kind: str, *, scales: Sequence[float] = (), axis: int = 0) -> int:
        """A tensor with data (an array; INT4 takes packed bytes with `shape` set by the caller)."""
        index = len(self.graph.tensors)
        made = tensor(
            f"c{index}",
            np.shape(data),
            kind,
            scales=scales,
            zero_points=[0] * len(scales),
            axis=axis,
        )
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
        made.buffer = len(self.model.buffers)
        self.model.buffers.append(buffer)
        self.graph.tensors.append(made)
        self._constant.add(index)
        return index

    def integers(self, *values: int) -> int:
        """A constant vector of int32: axes, shapes, paddings."""
        return self.constant(np.asarray(values, np.int32), "INT32")

    def weights(self, shape: Sequence[int], kind: str, axis: int, per_channel: bool = True) -> int:
        """Weights that fit activations of a kind: float32, or int8 with scales."""
        if kind == "FLOAT32":
            return self.constant(np.full(shape, 0.1, np.float32), kind)
        count = shape[axis] if per_channel else 1
        return self.constant(np.ones(shape, np.int8), "INT8", scales=[0.01] * count, axis=axis)

    def bias(self, count: int, kind: str, per_channel: bool = True) -> int:
        """A bias that fits activations of a kind."""
        if kind == "FLOAT32":
            return self.constant(np.zeros(count, np.float32), kind)
        stored, name = (np.int32, "INT32") if kind == "INT8" else (np.int64, "INT64")
        scales = [0.0005] * (count if per_channel else 1)
        return self.constant(np.zeros(count, stored), name, scales=scales)

    def add(
        self,
        name: str,
        inputs: Sequence[int],
        shapes: Sequence[Sequence[int]] | Sequence[int],
        kind: str,
        options: Any = None,
        *,
        custom_code: str = "",
        custom_options: bytes = b"",
    ) -> int:
        """An operator with one output (`shapes` is its shape) or several; gives the first one."""
        many = bool(shapes) and not isinstance(shapes[0], (int, np.integer))
        outputs = [self.activation(s, kind) for s in (shapes if many else [shapes])]  # type: ignore[arg-type,list-item]
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(name, custom_code)
        operator.inputs = np.asarray(inputs, np.int32)
        operator.outputs = np.asarray(outputs, np.int32)
        if options is not None:
            operator.builtinOptions = options
            kinds = vars(schema.BuiltinOptions)
            operator.builtinOptionsType = kinds[type(options).__name__.removesuffix("T")]
        if custom_options:
            operator.customOptions = np.frombuffer(custom_options, np.uint8)
        self.graph.operators.append(operator)
        return outputs[0]

    def _code(self, name: str, custom_code: str) -> int:
        key = (name, custom_code)
        if key not in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode = BUILTIN_CODES[name]
            code.deprecatedBuiltinCode = min(BUILTIN_CODES[name], 127)
            code.customCode = custom_code.encode() or None
            code.version = 1
            self._codes[key] = len(self.model.operatorCodes)
            self.model.operatorCodes.append(code)
        return self._codes[key]

    def build(self, *others: Any) -> bytes:
        """The .tflite file, with other subgraphs behind the main one."""
        made = {int(i) for op in self.graph.operators for i in op.outputs}
        taken = {int(i) for op in self.graph.operators for i in op.inputs}
        free = set(range(len(self.graph.tensors))) - self._constant
        variables = {i for i in free if self.graph.tensors[i].isVariable}
        self.graph.inputs = np.asarray(sorted(free - made - variables), np.int32)
        self.graph.outputs = np.asarray(sorted(made - taken), np.int32)
        self.model.subgraphs = [self.graph, *others]
        return pack(self.model)


def kept_in_variable(*reads: float) -> bytes:
    """A value that goes through a variable, assigned with the scale 0.1 and read with others."""
    builder = GraphBuilder()
    x = builder.activation([1, 4], "INT8", "x")
    options = schema.VarHandleOptionsT()
    options.sharedName = b"state"
    handle = builder.add("VAR_HANDLE", [], (1,), "RESOURCE", options)
    builder.add("ASSIGN_VARIABLE", [handle, x], (1, 4), "INT8", schema.AssignVariableOptionsT())
    builder.graph.operators[-1].outputs = np.asarray([], np.int32)
    read = schema.ReadVariableOptionsT()
    read_as = {builder.add("READ_VARIABLE", [handle], (1, 4), "INT8", read): s for s in reads}
    for tensor_index, scale in {x: 0.1, **read_as}.items():
        builder.graph.tensors[tensor_index].quantization.scale = np.asarray([scale], np.float32)
    return builder.build()
