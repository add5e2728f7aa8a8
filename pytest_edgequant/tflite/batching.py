"""A copy of a model that takes several samples at once, each computed as the model would alone.

What is deployed is pinned at batch 1, and not by its inputs alone: RESHAPE, SLICE and others carry
the batch in constants. The copy has every tensor that depends on the inputs enlarged along its
outermost axis, and those constants with it. In row-major order the samples then lie one after the
other in every tensor, which each operator has to preserve: `_RULES` knows for which that holds, and
an operator without a rule makes the model not batchable.

That samples are computed apart follows from the rules; that the same kernel gives the same bits
whatever the batch does not, so whoever runs the copy compares it with the deployed file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from pytest_edgequant.tflite.edit import (
    add_tensor,
    builtin_code_index,
    operator_code,
    pack,
    tensor_data,
    unpack,
)
from pytest_edgequant.tflite.time_major import samples_outermost

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CODES: dict[str, int] = {
    name: code
    for name, code in vars(schema.BuiltinOperator).items()
    if isinstance(code, int) and not name.startswith("_")
}
_NAMES = {code: name for name, code in _CODES.items()}


class NotBatchableError(Exception):
    """The model can't take several samples at once; the message names the operator."""


@dataclass
class _Batching:
    """A model on its way to `count` samples an inference."""

    model: Any
    count: int
    batched: set[int] = field(default_factory=set)
    """Tensors that hold `count` samples, enlarged along axis 0."""
    unknown: set[int] = field(default_factory=set)
    """Tensors computed from shapes: neither samples nor constants, they follow by themselves."""

    @property
    def graph(self) -> Any:
        return self.model.subgraphs[0]

    def shape(self, index: int) -> list[int]:
        """A tensor's shape for one sample."""
        shape = self.graph.tensors[index].shape
        return [] if shape is None else [int(extent) for extent in shape]

    def constant(self, index: int) -> NDArray[Any] | None:
        """An integer constant's values; None for what is computed."""
        data = tensor_data(self.model, index)
        if not data:
            return None
        dtype = {
            schema.TensorType.INT32: np.int32,
            schema.TensorType.INT64: np.int64,
        }.get(self.graph.tensors[index].type)
        if dtype is None:
            raise NotBatchableError("has a constant of an unexpected type")
        return np.frombuffer(data, dtype).reshape(-1)

    def new_constant(self, values: Sequence[int], dtype: Any = np.int32) -> int:
        """A new constant tensor of integers; gives its index."""
        array = np.asarray(values, dtype)
        kind = schema.TensorType.INT64 if dtype == np.int64 else schema.TensorType.INT32
        return add_tensor(self.model, b"batched", array.shape, kind, array)

    def replace(self, operator: Any, position: int, values: Sequence[int]) -> None:
        """Give the operator a constant of its own: others may share the old one."""
        old = self.constant(int(operator.inputs[position]))
        assert old is not None
        operator.inputs = np.array(operator.inputs, np.int32)
        operator.inputs[position] = self.new_constant(values, old.dtype.type)


def _inputs(operator: Any) -> list[int]:
    return [] if operator.inputs is None else [int(i) for i in operator.inputs]


def _need(condition: bool, reason: str) -> None:
    if not condition:
        raise NotBatchableError(reason)


def _data(batching: _Batching, operator: Any, *positions: int) -> None:
    """Only the inputs at these positions may hold samples."""
    for position, tensor in enumerate(_inputs(operator)):
        _need(
            tensor not in batching.batched or position in positions,
            f"takes samples as input {position}",
        )


def _axis(batching: _Batching, tensor: int, axis: int) -> None:
    rank = len(batching.shape(tensor))
    _need(rank > 0 and axis % rank != 0, "works along the batch axis")


def _unary(batching: _Batching, operator: Any) -> None:
    _data(batching, operator, 0)


def _aligned(batching: _Batching, operator: Any) -> None:
    """Element by element over several inputs: broadcasting must not mix samples."""
    given = _inputs(operator)
    samples = [batching.shape(t) for t in given if t in batching.batched]
    ranks = {len(shape) for shape in samples}
    _need(len(ranks) == 1 and ranks != {0}, "broadcasts samples of different rank")
    extents = {shape[0] for shape in samples}
    _need(len(extents) == 1, "broadcasts along the batch axis")
    for tensor in given:
        if tensor < 0 or tensor in batching.batched:
            continue
        shape = batching.shape(tensor)
        _need(tensor not in batching.unknown, "combines samples with computed shapes")
        aligned = len(shape) < len(samples[0]) or (len(shape) == len(samples[0]) and shape[0] == 1)
        _need(aligned, "has a constant along the batch axis")


def _last_axis(batching: _Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    _axis(batching, _inputs(operator)[0], -1)


def _spatial(batching: _Batching, operator: Any) -> None:
    """Batch, then space, then channels; filters and sizes are constants."""
    _data(batching, operator, 0)
    _need(len(batching.shape(_inputs(operator)[0])) >= 4, "takes samples of an unexpected rank")


def _fully_connected(batching: _Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    given, weights = _inputs(operator)[:2]
    shape = batching.shape(given)
    options = operator.builtinOptions
    _need(not (options is not None and options.keepNumDims and len(shape) < 2), "keeps one axis")
    features = batching.shape(weights)[-1]
    _need(features > 0 and int(np.prod(shape)) % features == 0, "mixes samples")


def _transpose_conv(batching: _Batching, operator: Any) -> None:
    _data(batching, operator, 2)
    shape = batching.constant(_inputs(operator)[0])
    if shape is not None:
        batching.replace(operator, 0, [int(shape[0]) * batching.count, *shape[1:].tolist()])


def _conv_3d_transpose(batching: _Batching, operator: Any) -> None:
    _transpose_conv(batching, operator)


def _reshape(batching: _Batching, operator: Any) -> None:
    """RESHAPE, SQUEEZE and EXPAND_DIMS move nothing: all become RESHAPE to the enlarged shape."""
    _data(batching, operator, 0)
    given = _inputs(operator)
    result = batching.shape(int(operator.outputs[0]))
    _need(len(result) > 0, "gives a scalar")
    if len(given) > 1 and given[1] in batching.unknown:
        return
    shape = batching.new_constant([result[0] * batching.count, *result[1:]])
    operator.inputs = np.asarray([given[0], shape], np.int32)
    operator.opcodeIndex = builtin_code_index(batching.model, _CODES["RESHAPE"])
    operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
    operator.builtinOptions = schema.ReshapeOptionsT()
    operator.builtinOptions.newShape = [result[0] * batching.count, *result[1:]]


def _parameter(batching: _Batching, operator: Any, position: int) -> list[int]:
    """A constant integer input, which must be known."""
    given = _inputs(operator)
    _need(len(given) > position and given[position] >= 0, "lacks an expected input")
    values = batching.constant(given[position])
    if values is None:
        raise NotBatchableError(f"computes its input {position}")
    return [int(v) for v in values]


def _transpose(batching: _Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    _need(_parameter(batching, operator, 1)[0] == 0, "moves the batch axis")


def _reduce(batching: _Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    for axis in _parameter(batching, operator, 1):
        _axis(batching, _inputs(operator)[0], axis)


def _pad(batching: _Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    _need(not any(_parameter(batching, operator, 1)[:2]), "pads the batch axis")


def _slice(batching: _Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    extent = batching.shape(_inputs(operator)[0])[0]
    begin, size = _parameter(batching, operator, 1), _parameter(batching, operator, 2)
    _need(begin[0] == 0 and size[0] in (-1, extent), "cuts the batch axis")
    if size[0] != -1:
        batching.replace(operator, 2, [extent * batching.count, *size[1:]])


def _strided_slice(batching: _Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    options = operator.builtinOptions
    extent = batching.shape(_inputs(operator)[0])[0]
    begin, end, strides = (_parameter(batching, operator, i) for i in (1, 2, 3))
    plain = not (options.ellipsisMask or options.newAxisMask or options.shrinkAxisMask & 1)
    starts = bool(options.beginMask & 1) or begin[0] == 0
    ends = bool(options.endMask & 1) or end[0] >= extent
    whole = plain and starts and ends and strides[0] == 1 and not getattr(options, "offset", False)
    _need(whole, "cuts the batch axis")
    if not options.endMask & 1:
        batching.replace(operator, 2, [extent * batching.count, *end[1:]])


def _gather(batching: _Batching, operator: Any) -> None:
    options = operator.builtinOptions
    table, _ = _inputs(operator)[:2]
    axis = 0 if options is None else int(options.axis)
    _need(options is None or not options.batchDims, "gathers by batch")
    if table in batching.batched:
        _data(batching, operator, 0)
        _axis(batching, table, axis)
    else:
        _data(batching, operator, 1)
        _need(axis == 0, "gathers along an inner axis of a constant")


def _embedding_lookup(batching: _Batching, operator: Any) -> None:
    _data(batching, operator, 0)


def _together(batching: _Batching, operator: Any) -> None:
    """Every input holds samples, along the same axis 0."""
    given = _inputs(operator)
    _need(all(t in batching.batched for t in given), "joins samples with constants")
    _need(len({batching.shape(t)[0] for t in given}) == 1, "joins different extents")


def _concatenation(batching: _Batching, operator: Any) -> None:
    _together(batching, operator)
    _axis(batching, _inputs(operator)[0], int(operator.builtinOptions.axis))


def _pack(batching: _Batching, operator: Any) -> None:
    _together(batching, operator)
    _axis(batching, int(operator.outputs[0]), int(operator.builtinOptions.axis))


def _unpack(batching: _Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    _axis(batching, _inputs(operator)[0], int(operator.builtinOptions.axis))


def _split(batching: _Batching, operator: Any) -> None:
    _data(batching, operator, 1)
    _axis(batching, _inputs(operator)[1], _parameter(batching, operator, 0)[0])


def _split_v(batching: _Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    _axis(batching, _inputs(operator)[0], _parameter(batching, operator, 2)[0])


def _along_parameter(batching: _Batching, operator: Any) -> None:
    """ARG_MAX, CUMSUM, REVERSE_V2: an axis, or several, as a constant."""
    _reduce(batching, operator)


def _tile(batching: _Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    _need(_parameter(batching, operator, 1)[0] == 1, "repeats samples")


def _broadcast_to(batching: _Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    shape = _parameter(batching, operator, 1)
    given = batching.shape(_inputs(operator)[0])
    _need(len(shape) == len(given) and shape[0] == given[0], "broadcasts the batch axis")
    batching.replace(operator, 1, [shape[0] * batching.count, *shape[1:]])


def _batch_matmul(batching: _Batching, operator: Any) -> None:
    left, right = _inputs(operator)[:2]
    shapes = batching.shape(left), batching.shape(right)
    if left in batching.batched and right in batching.batched:
        _need(
            len(shapes[0]) == len(shapes[1]) >= 3 and shapes[0][0] == shapes[1][0],
            "multiplies samples with each other",
        )
    else:
        which = 0 if left in batching.batched else 1
        data, other = shapes[which], shapes[1 - which]
        fits = len(other) < len(data) or (len(other) == len(data) and other[0] == 1)
        _need(len(data) >= 3 and fits, "multiplies along the batch axis")


_Rule = Callable[[_Batching, Any], None]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(
        "ABS CAST CEIL COS DEQUANTIZE ELU EXP FLOOR GELU HARD_SWISH LEAKY_RELU LOG LOGICAL_NOT "
        "LOGISTIC NEG QUANTIZE RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 ROUND RSQRT SIGN SIN SQRT "
        "SQUARE TANH ZEROS_LIKE".split(),
        _unary,
    ),
    **dict.fromkeys(
        "ADD ADD_N ATAN2 DIV EQUAL FLOOR_DIV FLOOR_MOD GREATER GREATER_EQUAL LESS LESS_EQUAL "
        "LOGICAL_AND LOGICAL_OR MAXIMUM MINIMUM MUL NOT_EQUAL POW PRELU SELECT_V2 "
        "SQUARED_DIFFERENCE SUB".split(),
        _aligned,
    ),
    **dict.fromkeys("L2_NORMALIZATION LOG_SOFTMAX SOFTMAX".split(), _last_axis),
    **dict.fromkeys(
        "AVERAGE_POOL_2D CONV_2D CONV_3D DEPTHWISE_CONV_2D DEPTH_TO_SPACE L2_POOL_2D "
        "LOCAL_RESPONSE_NORMALIZATION MAX_POOL_2D RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR "
        "SPACE_TO_DEPTH".split(),
        _spatial,
    ),
    **dict.fromkeys("EXPAND_DIMS RESHAPE SQUEEZE".split(), _reshape),
    **dict.fromkeys(
        "MEAN REDUCE_ALL REDUCE_ANY REDUCE_MAX REDUCE_MIN REDUCE_PROD SUM".split(), _reduce
    ),
    **dict.fromkeys("MIRROR_PAD PAD PADV2".split(), _pad),
    **dict.fromkeys("ARG_MAX ARG_MIN CUMSUM REVERSE_V2".split(), _along_parameter),
    "BATCH_MATMUL": _batch_matmul,
    "BROADCAST_TO": _broadcast_to,
    "CONCATENATION": _concatenation,
    "CONV_3D_TRANSPOSE": _conv_3d_transpose,
    "EMBEDDING_LOOKUP": _embedding_lookup,
    "FULLY_CONNECTED": _fully_connected,
    "GATHER": _gather,
    "PACK": _pack,
    "SLICE": _slice,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "STRIDED_SLICE": _strided_slice,
    "TILE": _tile,
    "TRANSPOSE": _transpose,
    "TRANSPOSE_CONV": _transpose_conv,
    "UNPACK": _unpack,
}


def _visit(batching: _Batching, operator: Any) -> None:
    """Apply the operator's rule, and mark what it gives."""
    given = set(_inputs(operator)) - {-1}
    outputs = {int(i) for i in operator.outputs}
    name = _NAMES.get(operator_code(batching.model, operator), "?")
    if name == "SHAPE" and given & batching.batched:
        batching.unknown |= outputs
    elif not given & batching.batched:
        # Constants at work, or shapes: what they give is no sample.
        if given & batching.unknown:
            batching.unknown |= outputs
        _need((bool(given) and name in _RULES) or name == "SHAPE", "holds state or is not known")
    else:
        rule = _RULES.get(name)
        _need(rule is not None, "has no rule that keeps samples apart")
        assert rule is not None
        try:
            rule(batching, operator)
        except IndexError:  # a scalar where the operator takes a matrix, say
            _need(False, "has inputs of other ranks than it takes")
        batching.batched |= outputs
        ranks = [len(batching.shape(i)) for i in outputs]
        _need(all(ranks), "gives a scalar")


def batched_copy(content: bytes, count: int) -> bytes:
    """The model enlarged to `count` samples along axis 0 of every input and output.

    Raises `NotBatchableError` where samples would not stay apart, or the model keeps state.
    """
    model = unpack(content)
    if len(model.subgraphs) > 1:
        raise NotBatchableError("the model has several subgraphs")
    graph = model.subgraphs[0]
    samples_outermost(model)
    graph.tensors = list(graph.tensors)
    for tensor in graph.tensors:
        if tensor.isVariable:
            raise NotBatchableError("the model keeps state in variables")
    batching = _Batching(model, count, set(map(int, graph.inputs)))
    for index in batching.batched:
        if not batching.shape(index):
            raise NotBatchableError("an input is a scalar")
    for position, operator in enumerate(graph.operators):
        try:
            _visit(batching, operator)
        except NotBatchableError as error:
            name = _NAMES.get(operator_code(model, operator), "?")
            raise NotBatchableError(f"{name} (operator {position}) {error}") from None
    for index in map(int, graph.outputs):
        if index not in batching.batched:
            raise NotBatchableError("an output does not depend on the inputs")
    for index in batching.batched:
        tensor = graph.tensors[index]
        tensor.shape = np.array(tensor.shape, np.int32)
        tensor.shape[0] *= count
        tensor.shapeSignature = None
    # A plan for the arena was made for the old sizes; signatures and metadata are of no use here.
    model.metadata = None
    return pack(model)
