"""What each operator's kernel asks of the arena: parameters, data, arrays and scratch.

Rules as data where a size is fixed, as a small function where it depends on shapes. Read from
allocation traces (see `profiles`) and from TFLM's kernels. Convolutions are in `convolutions`,
custom operators in `custom`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pytest_edgequant.measure.arena.convolutions import conv, depthwise, transpose_conv
from pytest_edgequant.measure.arena.lifetimes import tensor_bytes
from pytest_edgequant.measure.arena.view import Needs, View
from pytest_edgequant.targets.profiles import Profile

KERNEL_ALIGNMENT = 16


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
    "IF": _data(8, 8),
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
    "REDUCE_ALL": _data(44, 44),
    "REDUCE_MAX": _data(44, 44),
    "REDUCE_MIN": _data(44, 44),
    "RELU": _data(28, 28),
    "RELU6": _data(8, 8),
    "RSQRT": _data(28, 28),
    "SELECT_V2": _data(2, 2),
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
    elif view.profile.mve and source.type == "INT8":
        # Sums of the weights: kept where they never change, else computed in each run.
        if weights.constant:
            arrays = (*arrays, 4 * units)
        else:
            scratch = (4 * units,)
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
    shapes = (*shapes, 4 + 4 * len(view.output().shape))
    if left.type not in ("INT8", "INT16"):
        return Needs(shapes)
    if not view.profile.cmsis:
        return Needs((28, *shapes))
    sums = (4 * right.shape[-2 if transposed_right else -1],)
    return Needs((*shapes, 28), sums if view.profile.mve and left.type == "INT8" else ())


def _arrays_of_rank(view: View) -> Needs:
    """GATHER, SPACE_TO_DEPTH, DEPTH_TO_SPACE: the output's dimensions, kept."""
    return Needs((4 + 4 * len(view.output().shape),))


def _cumsum(view: View) -> Needs:
    return Needs((36,)) if view.output().type == "INT8" else Needs()


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
    "CONV_2D": conv,
    "CUMSUM": _cumsum,
    "DEPTHWISE_CONV_2D": depthwise,
    "DEPTH_TO_SPACE": _arrays_of_rank,
    "FULLY_CONNECTED": _fully_connected,
    "GATHER": _arrays_of_rank,
    "GATHER_ND": _arrays_of_rank,
    "L2_POOL_2D": _arrays_of_rank,
    "LOG_SOFTMAX": _log_softmax,
    "MEAN": _reduce,
    "MIRROR_PAD": _mirror_pad,
    "REDUCE_ALL": _reduce_extreme,
    "REDUCE_MAX": _reduce_extreme,
    "REDUCE_MIN": _reduce_extreme,
    "SOFTMAX": _softmax,
    "SPACE_TO_DEPTH": _arrays_of_rank,
    "SUM": _reduce,
    "SVDF": _svdf,
    "TRANSPOSE_CONV": transpose_conv,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
}
