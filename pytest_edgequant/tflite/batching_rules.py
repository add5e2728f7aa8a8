"""What each operator needs so that samples along the outermost axis stay apart.

A rule looks at an operator of a model on its way to several samples an inference, raises
`NotRewritableError` where samples would meet, and enlarges the constants that carry the batch. An
operator without a rule makes the model not batchable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.tflite import schema
from pytest_edgequant.tflite.edit import add_tensor, builtin_code_index, tensor_data
from pytest_edgequant.tflite.rewrite import NotRewritableError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass
class Batching:
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
            raise NotRewritableError("has a constant of an unexpected type")
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


def inputs_of(operator: Any) -> list[int]:
    """An operator's inputs, -1 for those left out."""
    return [] if operator.inputs is None else [int(i) for i in operator.inputs]


def need(condition: bool, reason: str) -> None:
    """Refuse the rewrite unless a condition holds."""
    if not condition:
        raise NotRewritableError(reason)


def _data(batching: Batching, operator: Any, *positions: int) -> None:
    """Only the inputs at these positions may hold samples."""
    for position, tensor in enumerate(inputs_of(operator)):
        need(
            tensor not in batching.batched or position in positions,
            f"takes samples as input {position}",
        )


def _axis(batching: Batching, tensor: int, axis: int) -> None:
    rank = len(batching.shape(tensor))
    need(rank > 0 and axis % rank != 0, "works along the batch axis")


def _unary(batching: Batching, operator: Any) -> None:
    _data(batching, operator, 0)


def _aligned(batching: Batching, operator: Any) -> None:
    """Element by element over several inputs: broadcasting must not mix samples."""
    given = inputs_of(operator)
    samples = [batching.shape(t) for t in given if t in batching.batched]
    ranks = {len(shape) for shape in samples}
    need(len(ranks) == 1 and ranks != {0}, "broadcasts samples of different rank")
    extents = {shape[0] for shape in samples}
    need(len(extents) == 1, "broadcasts along the batch axis")
    for tensor in given:
        if tensor < 0 or tensor in batching.batched:
            continue
        shape = batching.shape(tensor)
        need(tensor not in batching.unknown, "combines samples with computed shapes")
        aligned = len(shape) < len(samples[0]) or (len(shape) == len(samples[0]) and shape[0] == 1)
        need(aligned, "has a constant along the batch axis")


def _last_axis(batching: Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    _axis(batching, inputs_of(operator)[0], -1)


def _spatial(batching: Batching, operator: Any) -> None:
    """Batch, then space, then channels; filters and sizes are constants."""
    _data(batching, operator, 0)
    need(len(batching.shape(inputs_of(operator)[0])) >= 4, "takes samples of an unexpected rank")


def _fully_connected(batching: Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    given, weights = inputs_of(operator)[:2]
    shape = batching.shape(given)
    options = operator.builtinOptions
    need(not (options is not None and options.keepNumDims and len(shape) < 2), "keeps one axis")
    features = batching.shape(weights)[-1]
    need(features > 0 and int(np.prod(shape)) % features == 0, "mixes samples")


def _transpose_conv(batching: Batching, operator: Any) -> None:
    _data(batching, operator, 2)
    shape = batching.constant(inputs_of(operator)[0])
    if shape is not None:
        batching.replace(operator, 0, [int(shape[0]) * batching.count, *shape[1:].tolist()])


def _conv_3d_transpose(batching: Batching, operator: Any) -> None:
    _transpose_conv(batching, operator)


def _reshape(batching: Batching, operator: Any) -> None:
    """RESHAPE, SQUEEZE and EXPAND_DIMS move nothing: all become RESHAPE to the enlarged shape."""
    _data(batching, operator, 0)
    given = inputs_of(operator)
    result = batching.shape(int(operator.outputs[0]))
    need(len(result) > 0, "gives a scalar")
    if len(given) > 1 and given[1] in batching.unknown:
        return
    shape = batching.new_constant([result[0] * batching.count, *result[1:]])
    operator.inputs = np.asarray([given[0], shape], np.int32)
    operator.opcodeIndex = builtin_code_index(batching.model, schema.BuiltinOperator.RESHAPE)
    operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
    operator.builtinOptions = schema.ReshapeOptionsT()
    operator.builtinOptions.newShape = [result[0] * batching.count, *result[1:]]


def _parameter(batching: Batching, operator: Any, position: int) -> list[int]:
    """A constant integer input, which must be known."""
    given = inputs_of(operator)
    need(len(given) > position and given[position] >= 0, "lacks an expected input")
    values = batching.constant(given[position])
    if values is None:
        raise NotRewritableError(f"computes its input {position}")
    return [int(v) for v in values]


def _transpose(batching: Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    need(_parameter(batching, operator, 1)[0] == 0, "moves the batch axis")


def _reduce(batching: Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    for axis in _parameter(batching, operator, 1):
        _axis(batching, inputs_of(operator)[0], axis)


def _pad(batching: Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    need(not any(_parameter(batching, operator, 1)[:2]), "pads the batch axis")


def _slice(batching: Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    extent = batching.shape(inputs_of(operator)[0])[0]
    begin, size = _parameter(batching, operator, 1), _parameter(batching, operator, 2)
    need(begin[0] == 0 and size[0] in (-1, extent), "cuts the batch axis")
    if size[0] != -1:
        batching.replace(operator, 2, [extent * batching.count, *size[1:]])


def _strided_slice(batching: Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    options = operator.builtinOptions
    extent = batching.shape(inputs_of(operator)[0])[0]
    begin, end, strides = (_parameter(batching, operator, i) for i in (1, 2, 3))
    plain = not (options.ellipsisMask or options.newAxisMask or options.shrinkAxisMask & 1)
    starts = bool(options.beginMask & 1) or begin[0] == 0
    ends = bool(options.endMask & 1) or end[0] >= extent
    whole = plain and starts and ends and strides[0] == 1 and not getattr(options, "offset", False)
    need(whole, "cuts the batch axis")
    if not options.endMask & 1:
        batching.replace(operator, 2, [extent * batching.count, *end[1:]])


def _gather(batching: Batching, operator: Any) -> None:
    options = operator.builtinOptions
    table, _ = inputs_of(operator)[:2]
    axis = 0 if options is None else int(options.axis)
    need(options is None or not options.batchDims, "gathers by batch")
    if table in batching.batched:
        _data(batching, operator, 0)
        _axis(batching, table, axis)
    else:
        _data(batching, operator, 1)
        need(axis == 0, "gathers along an inner axis of a constant")


def _embedding_lookup(batching: Batching, operator: Any) -> None:
    _data(batching, operator, 0)


def _together(batching: Batching, operator: Any) -> None:
    """Every input holds samples, along the same axis 0."""
    given = inputs_of(operator)
    need(all(t in batching.batched for t in given), "joins samples with constants")
    need(len({batching.shape(t)[0] for t in given}) == 1, "joins different extents")


def _concatenation(batching: Batching, operator: Any) -> None:
    _together(batching, operator)
    _axis(batching, inputs_of(operator)[0], int(operator.builtinOptions.axis))


def _pack(batching: Batching, operator: Any) -> None:
    _together(batching, operator)
    _axis(batching, int(operator.outputs[0]), int(operator.builtinOptions.axis))


def _unpack(batching: Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    _axis(batching, inputs_of(operator)[0], int(operator.builtinOptions.axis))


def _split(batching: Batching, operator: Any) -> None:
    _data(batching, operator, 1)
    _axis(batching, inputs_of(operator)[1], _parameter(batching, operator, 0)[0])


def _split_v(batching: Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    _axis(batching, inputs_of(operator)[0], _parameter(batching, operator, 2)[0])


def _along_parameter(batching: Batching, operator: Any) -> None:
    """ARG_MAX, CUMSUM, REVERSE_V2: an axis, or several, as a constant."""
    _reduce(batching, operator)


def _tile(batching: Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    need(_parameter(batching, operator, 1)[0] == 1, "repeats samples")


def _broadcast_to(batching: Batching, operator: Any) -> None:
    _data(batching, operator, 0)
    shape = _parameter(batching, operator, 1)
    given = batching.shape(inputs_of(operator)[0])
    need(len(shape) == len(given) and shape[0] == given[0], "broadcasts the batch axis")
    batching.replace(operator, 1, [shape[0] * batching.count, *shape[1:]])


def _batch_matmul(batching: Batching, operator: Any) -> None:
    left, right = inputs_of(operator)[:2]
    shapes = batching.shape(left), batching.shape(right)
    if left in batching.batched and right in batching.batched:
        need(
            len(shapes[0]) == len(shapes[1]) >= 3 and shapes[0][0] == shapes[1][0],
            "multiplies samples with each other",
        )
    else:
        which = 0 if left in batching.batched else 1
        data, other = shapes[which], shapes[1 - which]
        fits = len(other) < len(data) or (len(other) == len(data) and other[0] == 1)
        need(len(data) >= 3 and fits, "multiplies along the batch axis")


_Rule = Callable[[Batching, Any], None]
RULES: dict[str, _Rule] = {
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
