"""What convolutions ask of the arena, with reference kernels and with CMSIS-NN.

CMSIS-NN's buffers follow its `arm_*_get_buffer_size` functions (`Source/ConvolutionFunctions`,
version 7, compiled with GCC), and what TFLM's kernels pass to them (`micro/kernels/cmsis_nn`).
"""

from __future__ import annotations

from pytest_edgequant.measure.arena.planner import align_up
from pytest_edgequant.measure.arena.view import Needs, View
from pytest_edgequant.targets.profiles import Profile

_REVERSED_ABOVE = 16
"""Input channels above which CMSIS-NN computes a transposed convolution as a reversed one."""


def _columns(channels: int, kernel: int, profile: Profile) -> int:
    """CMSIS-NN's im2col buffer of an int8 convolution: two int16 columns, or four padded int8."""
    length = channels * kernel
    return 4 * align_up(length, 16) if profile.mve else 4 * align_up(length, 4)


def _quotient(total: int) -> int:
    """The remainder of a division by 2 as C has it: negative for negative numbers."""
    return -(-total % 2) if total < 0 else total % 2


def _row_buffer(view: View, channels: int, before: int) -> int:
    """CMSIS-NN's buffer of a 1 x n convolution on Helium: the kernel's columns and the padding."""
    source, weights, output = view.need(0), view.need(1), view.output()
    stride, width = view.option("strideW", 1), weights.shape[2]
    odd = _quotient((output.shape[2] - 1) * stride + width - source.shape[2])
    right = max(1, -(-(before + odd) // stride)) if before + odd else 0
    left = max(1, -(-before // stride)) if before else 0
    if left + right > output.shape[2]:
        return _columns(channels, width, view.profile)
    after = right if odd else before
    return channels * max(width + before, width - 1 + after)


def _int8_buffer(view: View, channels: int) -> int:
    """`arm_convolve_wrapper_s8_get_buffer_size`."""
    source, weights = view.need(0), view.need(1)
    height, width = weights.shape[1:3]
    padding = view.padding(1)
    if height == width == 1 and padding == (0, 0) and view.undilated:
        return 0
    in_a_row = source.shape[1] == height == 1 and view.option("dilationWFactor", 1) == 1
    if view.profile.mve and in_a_row and view.option("strideW", 1) * channels % 4 == 0:
        return _row_buffer(view, channels, padding[1])
    return _columns(channels, height * width, view.profile)


def _int4_buffer(view: View, channels: int) -> int:
    """`arm_convolve_wrapper_s4_get_buffer_size`: as int8 on Helium, else without rounding."""
    size = _int8_buffer(view, channels)
    if view.profile.mve or not size:
        return size
    _, height, width, _ = view.need(1).shape
    return 4 * channels * height * width


def _arrays(view: View, channels: int) -> tuple[int, ...]:
    """Multipliers and shifts; CMSIS-NN's kernels leave them out for float."""
    if view.profile.cmsis and view.need(0).type not in ("INT8", "INT16"):
        return ()
    return 4 * channels, 4 * channels


def _reference(view: View, channels: int) -> Needs:
    weights = view.need(1)
    # Four-bit weights are unpacked before they are used.
    return Needs(_arrays(view, channels), (weights.elements,) if weights.type == "INT4" else ())


def _asked(*sizes: int) -> tuple[int, ...]:
    """Buffers of no size are not asked for."""
    return tuple(size for size in sizes if size > 0)


def conv(view: View) -> Needs:
    """CONV_2D. The input's channels count, also where a group of them meets each filter."""
    source, weights = view.need(0), view.need(1)
    count, height, width, _ = weights.shape
    if not view.profile.cmsis:
        return _reference(view, count)
    arrays, channels = _arrays(view, count), source.shape[3]
    if source.type == "INT16":
        length = channels * height * width
        return Needs(arrays, _asked(8 * align_up(length, 8) if view.profile.mve else 4 * length))
    if source.type != "INT8":
        return Needs(arrays)
    buffer = _int4_buffer if weights.type == "INT4" else _int8_buffer
    return Needs(arrays, _asked(buffer(view, channels)))


def depthwise(view: View) -> Needs:
    """DEPTHWISE_CONV_2D: fast kernels for a multiplier of 1, one sample and no dilation."""
    source, weights = view.need(0), view.need(1)
    _, height, width, count = weights.shape
    if not view.profile.cmsis:
        return _reference(view, count)
    arrays, channels, kernel = _arrays(view, count), source.shape[3], height * width
    if source.type != "INT8":
        return Needs(arrays)
    fast = channels == count and source.shape[0] == 1 and view.undilated
    if weights.type == "INT4":
        return Needs(arrays, _asked(2 * channels * kernel if fast else 0))
    if view.profile.mve and channels == 1 < count:
        # Computed as a convolution, with the weights laid out anew.
        return Needs(arrays, (_int8_buffer(view, 1) + weights.elements,))
    if not fast:
        return Needs(arrays)
    if view.profile.mve:
        return Needs(arrays, (496 * kernel,))
    small = (height, width) == (3, 3) and max(view.padding(1)) <= 1
    if small and not view.profile.release.depthwise_3x3_buffer:
        return Needs(arrays)
    return Needs(arrays, _asked(2 * channels * kernel if view.profile.dsp else 0))


def transpose_conv(view: View) -> Needs:
    """TRANSPOSE_CONV: accumulators, an int64 bias for an int16 one, or a reversed convolution."""
    weights, source = view.need(1), view.need(2)
    count, height, width, channels = weights.shape
    arrays = (4 * count, 4 * count)
    if source.type == "INT16":
        bias = view.input(3)
        converted = (8 * bias.elements,) if bias is not None and bias.type == "INT16" else ()
        return Needs(arrays, (8 * view.output().elements, *converted))
    if source.type != "INT8":
        return Needs(arrays)
    if not view.profile.cmsis:
        return Needs(arrays, (4 * view.output().elements,))
    stride_h, stride_w = view.option("strideH", 1), view.option("strideW", 1)
    if stride_h <= 2 and stride_w <= 2 and channels > _REVERSED_ABOVE:
        columns = _columns(channels, height * width, view.profile)
        return Needs(arrays, (columns, channels * height * width * count))
    rows = (source.shape[2] - 1) * stride_w + max(width, stride_h)
    return Needs(arrays, (4 * rows * count * max(height, stride_h), 0))
