"""Convolutions in training, in a form whose gradients TensorFlow has on every processor.

TensorFlow's own kernels have no gradient for dilated and for grouped convolutions, and none at all
for depthwise ones with different strides; oneDNN's have, and TensorFlow uses those only where the
processor has AVX-512. What runs here is the same everywhere: dilated ones as dense ones on the
interleaved parts of the image, grouped ones group by group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pytest_edgequant.conversion.qat.kernels import (
    KERNELS,
    Call,
    Value,
    computes,
    padding_of,
    samples,
    strides_of,
)

OPERATORS = KERNELS
"""Those of `kernels`, with this module's."""

Dense = Callable[[Any, str], Any]
"""A convolution with stride and dilation 1, given its data and its padding."""


def _dilations(call: Call) -> list[int]:
    return [call.option("dilationHFactor", 1) or 1, call.option("dilationWFactor", 1) or 1]


def _padded(tf: Any, data: Any, call: Call, source: Value, window: Sequence[int]) -> Any:
    """The image with the zeros around it that SAME puts there for these strides."""
    pads = [[0, 0]]
    for axis, (stride, dilation) in enumerate(
        zip(strides_of(call)[1:3], _dilations(call), strict=True), start=1
    ):
        span = (window[axis - 1] - 1) * dilation + 1
        extent = source.shape[axis]
        whole = max((-(-extent // stride) - 1) * stride + span - extent, 0)
        pads.append([whole // 2, whole - whole // 2])
    return tf.pad(data, [*pads, [0, 0]])


def _from_dense(tf: Any, call: Call, window: Sequence[int], dense: Dense) -> Any:
    """Any strides and dilations out of a convolution that has neither."""
    source, padding = call.value(0), padding_of(call)
    strides, dilations = strides_of(call)[1:3], _dilations(call)
    data = samples(source)
    if strides != [1, 1] and padding == "SAME":
        data, padding = _padded(tf, data, call, source, window), "VALID"
    if dilations == [1, 1]:
        found = dense(data, padding)
    else:
        found = tf.compat.v1.nn.with_space_to_batch(
            data,
            dilations,
            padding,
            lambda part, _, inner: dense(part, inner),
            filter_shape=list(window),
        )
    return found[:, :: strides[0], :: strides[1]]


def _one_group(tf: Any, call: Call, kernel: Any, strides: Sequence[int]) -> Dense:
    """Convolve with all input channels at once, or with each group's own."""
    inside = call.value(1).shape[-1]
    groups = call.value(0).shape[-1] // inside

    def convolve(data: Any, padding: str) -> Any:
        if groups == 1:
            return tf.nn.conv2d(data, kernel, strides, padding)
        parts = zip(tf.split(data, groups, -1), tf.split(kernel, groups, -1), strict=True)
        found = [tf.nn.conv2d(part, weights, strides, padding) for part, weights in parts]
        return tf.concat(found, -1)

    return convolve


@computes("CONV_2D")
def _conv_2d(tf: Any, call: Call) -> Any:
    kernel = call.value(1).tensor
    if _dilations(call) == [1, 1]:
        dense = _one_group(tf, call, kernel, strides_of(call))
        return dense(samples(call.value(0)), padding_of(call))
    return _from_dense(
        tf, call, call.value(1).shape[1:3], _one_group(tf, call, kernel, [1, 1, 1, 1])
    )


@computes("DEPTHWISE_CONV_2D")
def _depthwise_conv_2d(tf: Any, call: Call) -> Any:
    source, filters = call.value(0), call.value(1)
    channels = source.shape[-1]
    multiplier = filters.shape[-1] // channels
    kernel = tf.reshape(filters.tensor, (*filters.shape[1:3], channels, multiplier))
    strides = strides_of(call)
    if _dilations(call) == [1, 1] and strides[1] == strides[2]:
        return tf.nn.depthwise_conv2d(samples(source), kernel, strides, padding_of(call))
    return _from_dense(
        tf,
        call,
        filters.shape[1:3],
        lambda data, padding: tf.nn.depthwise_conv2d(data, kernel, [1, 1, 1, 1], padding),
    )


@computes("TRANSPOSE_CONV")
def _transpose_conv(tf: Any, call: Call) -> Any:
    data = samples(call.value(2))
    height, width, channels = call.shapes[0][1:]
    # Output channel last here; TensorFlow wants (height, width, out, in).
    kernel = tf.transpose(call.value(1).tensor, (0, 1, 3, 2))
    shape = tf.stack([tf.shape(data)[0], height, width, channels])
    return tf.nn.conv2d_transpose(data, kernel, shape, strides_of(call), padding_of(call))
