"""What each operator's kernel asks of the arena: parameters, data, arrays and scratch.

Rules as data where a size is fixed, as a small function where it depends on shapes. Read from
allocation traces (see `profiles`); CMSIS-NN's buffer formulas follow its
`arm_*_get_buffer_size` functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pytest_edgequant.measure.arena.lifetimes import tensor_bytes
from pytest_edgequant.measure.arena.planner import align_up
from pytest_edgequant.measure.arena.profiles import Profile
from pytest_edgequant.tflite.graph import Operator, Subgraph, Tensor

KERNEL_ALIGNMENT = 16


@dataclass(frozen=True)
class Needs:
    """Bytes that one operator asks for when it is prepared.

    `arrays` are persistent, in order; `scratch` lives while the operator runs.
    """

    arrays: tuple[int, ...] = ()
    scratch: tuple[int, ...] = ()


@dataclass(frozen=True)
class View:
    """An operator with its tensors, as rules look at it."""

    operator: Operator
    subgraph: Subgraph
    profile: Profile

    def input(self, position: int) -> Tensor | None:
        """The input at that position; None where it is left out."""
        indices = self.operator.inputs
        if position >= len(indices) or indices[position] < 0:
            return None
        return self.subgraph.tensors[indices[position]]

    def output(self, position: int = 0) -> Tensor:
        return self.subgraph.tensors[self.operator.outputs[position]]

    def need(self, position: int) -> Tensor:
        """The input at that position, which the operator can't do without."""
        tensor = self.input(position)
        if tensor is None:
            raise ValueError(f"{self.operator.label}: input {position} is missing")
        return tensor

    def option(self, name: str, default: int = 0) -> int:
        return int(self.operator.options.get(name, default))


@dataclass(frozen=True)
class Fixed:
    """A record of fixed size: on 32-bit cores with reference kernels, with CMSIS-NN, on x86-64.

    `wide` is its size on 32-bit cores whose enums take 4 bytes, where that differs.
    """

    reference: int
    cmsis: int
    x86_64: int
    alignment: int = KERNEL_ALIGNMENT
    x86_alignment: int | None = None
    wide: int | None = None

    def size(self, profile: Profile) -> tuple[int, int]:
        """Bytes and alignment on a profile."""
        if profile.abi.name == "x86_64":
            return self.x86_64, self.x86_alignment or self.alignment
        if self.wide is not None and profile.abi.enum == 4:
            return self.wide, 4
        return (self.cmsis if profile.cmsis else self.reference), self.alignment


def _parsed(
    arm: int, alignment: int, x86: int, x86_alignment: int = 4, wide: int | None = None
) -> Fixed:
    return Fixed(arm, arm, x86, alignment, x86_alignment, wide)


_ONE_ENUM = _parsed(1, 1, 4, wide=4)
_ONE_BOOL = _parsed(1, 1, 1, 1)
_TWO_INTS = _parsed(8, 4, 8)
_ONE_INT = _parsed(4, 4, 4)
_POOL = _parsed(40, 4, 40)
_TWO_BOOLS = _parsed(2, 1, 2, 1)

PARSED: Mapping[str, Fixed] = {
    "ADD": _parsed(2, 1, 8, wide=8),
    "ARG_MAX": _ONE_ENUM,
    "ARG_MIN": _ONE_ENUM,
    "AVERAGE_POOL_2D": _POOL,
    "BATCH_MATMUL": _parsed(3, 1, 3, 1),
    "CALL_ONCE": _parsed(4, 4, 8, 8),
    "CAST": _parsed(2, 1, 8, wide=8),
    "CONCATENATION": _TWO_INTS,
    "CONV_2D": _parsed(28, 4, 28),
    "CUMSUM": _TWO_BOOLS,
    "DEPTHWISE_CONV_2D": _parsed(28, 4, 28),
    "DEPTH_TO_SPACE": _ONE_INT,
    "DIV": _ONE_ENUM,
    "FULLY_CONNECTED": _parsed(5, 1, 32, 8, wide=16),
    "GATHER": _TWO_INTS,
    "IF": _TWO_INTS,
    "L2_NORMALIZATION": _ONE_ENUM,
    "L2_POOL_2D": _POOL,
    "LEAKY_RELU": _ONE_INT,
    "MAX_POOL_2D": _POOL,
    "MEAN": _ONE_BOOL,
    "MIRROR_PAD": _ONE_ENUM,
    "MUL": _ONE_ENUM,
    "PACK": _TWO_INTS,
    "REDUCE_ALL": _ONE_BOOL,
    "REDUCE_MAX": _ONE_BOOL,
    "REDUCE_MIN": _ONE_BOOL,
    "RESHAPE": _parsed(36, 4, 36),
    "RESIZE_BILINEAR": _TWO_BOOLS,
    "RESIZE_NEAREST_NEIGHBOR": _TWO_BOOLS,
    "SHAPE": _ONE_ENUM,
    "SOFTMAX": _ONE_INT,
    "SPACE_TO_DEPTH": _ONE_INT,
    "SPLIT": _ONE_INT,
    "SPLIT_V": _ONE_INT,
    "SQUEEZE": _parsed(36, 4, 36),
    "STRIDED_SLICE": _parsed(24, 4, 24),
    "SUB": _parsed(2, 1, 8, wide=8),
    "SUM": _ONE_BOOL,
    "SVDF": _parsed(8, 4, 12, wide=12),
    "TRANSPOSE_CONV": _parsed(16, 4, 20, wide=20),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _parsed(16, 4, 16),
    "UNPACK": _TWO_INTS,
    "VAR_HANDLE": _parsed(8, 4, 28, 4),
    "WHILE": _TWO_INTS,
}
"""Parameters that are parsed out of the file; operators that are not here have none."""


def _data(reference: int, x86_64: int, cmsis: int | None = None) -> Fixed:
    return Fixed(reference, reference if cmsis is None else cmsis, x86_64)


_COMPARISON = _data(32, 32)

DATA: Mapping[str, Fixed] = {
    "ABS": _data(28, 28),
    "ADD": _data(60, 60),
    "AVERAGE_POOL_2D": _data(32, 32, 36),
    "BATCH_MATMUL": _data(16, 32, 36),
    "CALL_ONCE": _data(8, 8),
    "CONCATENATION": _data(24, 80),
    "CONV_2D": _data(56, 80, 60),
    "DEPTHWISE_CONV_2D": _data(56, 80, 60),
    "DEQUANTIZE": _data(32, 32),
    "DIV": _data(28, 28),
    "ELU": _data(256, 256),
    "EQUAL": _COMPARISON,
    "FULLY_CONNECTED": _data(48, 72, 72),
    "GREATER": _COMPARISON,
    "GREATER_EQUAL": _COMPARISON,
    "HARD_SWISH": _data(20, 20),
    "L2_NORMALIZATION": _data(4, 4),
    "LEAKY_RELU": _data(24, 24),
    "LESS": _COMPARISON,
    "LESS_EQUAL": _COMPARISON,
    "LOGISTIC": _data(16, 16),
    "MAX_POOL_2D": _data(32, 32, 36),
    "MEAN": _data(44, 44),
    "MIRROR_PAD": _data(20, 20),
    "MUL": _data(36, 36),
    "NOT_EQUAL": _COMPARISON,
    "PAD": _data(56, 56),
    "PADV2": _data(56, 56),
    "PRELU": _data(28, 28),
    "QUANTIZE": _data(32, 32),
    "REDUCE_MAX": _data(44, 44),
    "REDUCE_MIN": _data(44, 44),
    "RELU": _data(28, 28),
    "RELU6": _data(8, 8),
    "RSQRT": _data(28, 28),
    "SOFTMAX": _data(56, 80, 64),
    "SPACE_TO_BATCH_ND": _data(4, 4),
    "SQUARED_DIFFERENCE": _data(112, 112),
    "STRIDED_SLICE": _data(84, 84),
    "SUB": _data(52, 52),
    "SUM": _data(44, 44),
    "SVDF": _data(36, 36, 40),
    "TANH": _data(16, 16),
    "TRANSPOSE_CONV": _data(72, 88, 76),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _data(688, 688, 912),
    "VAR_HANDLE": _data(4, 4),
    "WHILE": _data(8, 8),
}
"""What kernels keep from init on; operators that are not here keep nothing."""


_SAME = 0


def _padding(view: View, filter_index: int) -> tuple[int, int]:
    """Padding before the first row and column, as TFLite computes it for SAME and VALID."""
    if view.option("padding") != _SAME:
        return 0, 0
    kernel, output = view.need(filter_index), view.output()
    source = view.need(0)
    found = []
    for axis, stride, dilation in (
        (1, "strideH", "dilationHFactor"),
        (2, "strideW", "dilationWFactor"),
    ):
        reach = (kernel.shape[axis] - 1) * view.option(dilation, 1) + 1
        total = (output.shape[axis] - 1) * view.option(stride, 1) + reach - source.shape[axis]
        found.append(max(total, 0) // 2)
    return found[0], found[1]


def _undilated(view: View) -> bool:
    return view.option("dilationHFactor", 1) == 1 and view.option("dilationWFactor", 1) == 1


def _columns(channels: int, kernel: int, profile: Profile) -> int:
    """CMSIS-NN's im2col buffer of an int8 convolution: two int16 columns, or four padded int8."""
    length = channels * kernel
    return 4 * align_up(length, 16) if profile.mve else 4 * align_up(length, 4)


def _row_buffer(view: View) -> int:
    """CMSIS-NN's buffer of a 1 x n convolution on Helium: the kernel's columns and the padding."""
    source, weights, output = view.need(0), view.need(1), view.output()
    stride, channels, width = view.option("strideW", 1), weights.shape[3], weights.shape[2]
    _, before = _padding(view, 1)
    total = (output.shape[2] - 1) * stride + width - source.shape[2]
    after = before + total % 2
    left, right = (-(-pad // stride) for pad in (before, after))
    if left + right > output.shape[2]:
        return _columns(channels, width, view.profile)
    return channels * (width + max(before, right if total % 2 else before))


def _quantizer_arrays(view: View, channels: int) -> tuple[tuple[int, ...], Needs | None]:
    """A convolution's multipliers and shifts, and all that it needs where that is no more."""
    source, weights = view.need(0), view.need(1)
    arrays = (4 * channels, 4 * channels)
    if view.profile.cmsis:
        return arrays, None if source.type in ("INT8", "INT16") else Needs()
    return arrays, Needs(arrays, (weights.elements,) if weights.type == "INT4" else ())


def _conv(view: View) -> Needs:
    source, weights = view.need(0), view.need(1)
    count, height, width, channels = weights.shape
    arrays, all_there_is = _quantizer_arrays(view, count)
    if all_there_is is not None:
        return all_there_is
    kernel = height * width
    if source.type == "INT16":
        size = 8 * align_up(kernel * channels, 8) if view.profile.mve else 4 * kernel * channels
        return Needs(arrays, (size,))
    pointwise = kernel == 1 and _padding(view, 1) == (0, 0) and _undilated(view)
    if pointwise:
        return Needs(arrays)
    stride = view.option("strideW", 1)
    in_a_row = source.shape[1] == height == 1 and _undilated(view) and stride * channels % 4 == 0
    if view.profile.mve and in_a_row:
        return Needs(arrays, (_row_buffer(view),))
    return Needs(arrays, (_columns(channels, kernel, view.profile),))


def _depthwise(view: View) -> Needs:
    source, weights = view.need(0), view.need(1)
    _, height, width, count = weights.shape
    arrays, all_there_is = _quantizer_arrays(view, count)
    if all_there_is is not None:
        return all_there_is
    kernel = height * width
    channels = source.shape[3]
    if channels != count or source.shape[0] != 1 or not _undilated(view):
        if view.profile.mve and channels == 1 and source.type == "INT8" and source.shape[0] == 1:
            return Needs(arrays, (_columns(1, kernel, view.profile) + weights.elements,))
        return Needs(arrays)
    if source.type == "INT16":
        return Needs(arrays)
    if view.profile.mve:
        return Needs(arrays, (496 * kernel,))
    if (height, width) == (3, 3) and max(_padding(view, 1)) <= 1:
        return Needs(arrays)
    return Needs(arrays, (2 * channels * kernel,) if view.profile.dsp else ())


def _fully_connected(view: View) -> Needs:
    source, weights = view.need(0), view.need(1)
    units = weights.shape[0]
    per_channel = weights.quantization is not None and weights.quantization.per_axis
    quantized = source.type in ("INT8", "INT16")
    arrays: tuple[int, ...] = (4 * units, 4 * units) if per_channel and quantized else ()
    scratch: tuple[int, ...] = ()
    if weights.type == "INT4" and not view.profile.cmsis:
        scratch = (weights.elements,)
    as_convolution = len(view.output().shape) > 2 and weights.shape[1] % 4 == 0
    if view.profile.cmsis and source.type == "INT8" and as_convolution:
        scratch = () if per_channel else (8 * units,)
    elif view.profile.mve and source.type == "INT8" and weights.constant:
        arrays = (*arrays, 4 * units)
    return Needs(arrays, scratch)


def _pool(view: View) -> Needs:
    source = view.need(0)
    if view.profile.dsp and source.type in ("INT8", "INT16"):
        return Needs((), (4 * source.shape[3],))
    return Needs()


def _softmax(view: View) -> Needs:
    return Needs((1026, 1026)) if view.need(0).type == "INT16" else Needs()


def _log_softmax(view: View) -> Needs:
    if view.need(0).type != "INT8":
        return Needs()
    return Needs((40 if view.profile.abi.name == "x86_64" else 28,))


def _reduce(view: View) -> Needs:
    """MEAN and SUM: 4 bytes an output (quantized ones), a dimension and an axis."""
    source, axes = view.need(0), view.need(1)
    scratch = (4 * len(source.shape), 4 * axes.elements)
    if source.type == "FLOAT32":
        return Needs((), scratch)
    return Needs((), (4 * view.output().elements, *scratch))


def _reduce_extreme(view: View) -> Needs:
    source, axes = view.need(0), view.need(1)
    return Needs((), (4 * len(source.shape), 4 * axes.elements))


def _svdf(view: View) -> Needs:
    source, features = view.need(0), view.need(1)
    if source.type != "INT8":
        filters = features.shape[0]
        return Needs((), (4 * source.shape[0] * filters,))
    filters, batch = features.shape[0], source.shape[0]
    units = filters // max(view.option("rank", 1), 1)
    arrays = (4 * filters,) if view.profile.mve else ()
    return Needs(arrays, (4 * batch * filters, 4 * batch * units))


def _transpose_conv(view: View) -> Needs:
    weights, source = view.need(1), view.need(2)
    count, height, width, channels = weights.shape
    arrays = (4 * count, 4 * count)
    if source.type == "FLOAT32":
        return Needs(arrays)
    if not view.profile.cmsis or source.type == "INT16":
        unit = 8 if source.type == "INT16" else 4
        return Needs(arrays, (unit * view.output().elements,))
    stride_h, stride_w = view.option("strideH", 1), view.option("strideW", 1)
    if stride_h <= 2 and stride_w <= 2 and channels > 16:
        columns = _columns(channels, height * width, view.profile)
        return Needs(arrays, (columns, channels * height * width * count))
    rows = (source.shape[2] - 1) * stride_w + max(width, stride_h)
    return Needs(arrays, (4 * rows * count * max(height, stride_h), 0))


def _lstm(view: View) -> Needs:
    source, state = view.need(0), view.output()
    hidden = state.shape[-1]
    time_major = bool(view.operator.options.get("timeMajor"))
    batch = source.shape[1 if time_major else 0]
    element = {"FLOAT32": 4, "INT8": 2, "INT16": 2}.get(source.type, 4)
    buffer = element * batch * hidden
    if view.profile.cmsis and source.type in ("INT8", "INT16"):
        each = (4 if source.type == "INT8" else 8) * hidden
        return Needs((each,) * 8, (buffer,) * 3)
    return Needs((), (buffer,) * 4)


def _batch_matmul(view: View) -> Needs:
    """Operands that are not transposed as the kernel wants them are copied: record, shape, data."""
    left, right = view.need(0), view.need(1)
    eval_tensor = view.profile.abi.eval_tensor
    transposed_right = bool(view.operator.options.get("adjY"))
    shapes: tuple[int, ...] = ()
    for tensor, copied in (
        (left, bool(view.operator.options.get("adjX"))),
        (right, not transposed_right),
    ):
        if copied:
            dimensions = 4 + 4 * len(tensor.shape)
            shapes = (*shapes, eval_tensor, dimensions, tensor_bytes(tensor))
    shapes = (*shapes, 4 + 4 * len(left.shape))
    if left.type not in ("INT8", "INT16"):
        return Needs(shapes)
    if not view.profile.cmsis:
        return Needs((28, *shapes))
    sums = (4 * right.shape[-2 if transposed_right else -1],)
    return Needs((*shapes, 28), sums if view.profile.mve and left.type == "INT8" else ())


def _arrays_of_rank(view: View) -> Needs:
    """GATHER, SPACE_TO_DEPTH, DEPTH_TO_SPACE: the output's dimensions, kept."""
    return Needs((4 + 4 * len(view.output().shape),))


def _mirror_pad(view: View) -> Needs:
    rank = len(view.need(0).shape)
    return Needs((), (4 * rank, 4 * rank))


def _add_n(view: View) -> Needs:
    if view.need(0).type == "FLOAT32":
        return Needs((), (view.profile.abi.pointer * len(view.operator.inputs),))
    return Needs((40,), (view.profile.abi.pointer * len(view.operator.inputs),))


PREPARED: Mapping[str, Callable[[View], Needs]] = {
    "ADD_N": _add_n,
    "AVERAGE_POOL_2D": _pool,
    "BATCH_MATMUL": _batch_matmul,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DEPTH_TO_SPACE": _arrays_of_rank,
    "FULLY_CONNECTED": _fully_connected,
    "GATHER": _arrays_of_rank,
    "GATHER_ND": _arrays_of_rank,
    "LOG_SOFTMAX": _log_softmax,
    "MEAN": _reduce,
    "MIRROR_PAD": _mirror_pad,
    "REDUCE_MAX": _reduce_extreme,
    "REDUCE_MIN": _reduce_extreme,
    "SOFTMAX": _softmax,
    "SPACE_TO_DEPTH": _arrays_of_rank,
    "SUM": _reduce,
    "SVDF": _svdf,
    "TRANSPOSE_CONV": _transpose_conv,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
}
