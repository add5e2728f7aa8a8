"""Rounding to the grids of TFLite's quantization spec, with gradients as if there were none.

Weights are symmetric, from -127 to 127; activations go from -128 to 127, with zero exactly
representable. Functions take TensorFlow itself first, for nothing here imports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

NARROWEST = 1e-6
"""A range is never narrower: an activation that is 0 throughout still gets a scale."""


def scale_steps(values: NDArray[Any], channel: int | None) -> NDArray[np.float32]:
    """The unit in which a tensor is trained: its channels' largest values, shaped to broadcast.

    Channels of folded weights differ by orders of magnitude; one learning rate serves them all
    when each is trained relative to its own size. A channel of zeros takes the tensor's.
    """
    whole = float(np.abs(values).max(initial=0.0)) or 1.0
    if channel is None or values.ndim == 1:
        return np.full([1] * values.ndim, whole, np.float32)
    axes = tuple(a for a in range(values.ndim) if a != channel % values.ndim)
    found = np.abs(values).max(axis=axes, keepdims=True)
    return np.where(found > 1e-6 * whole, found, whole).astype(np.float32)


def straight_through(tf: Any, value: Any, step: Any) -> Any:
    """Rounded to multiples of a step; the gradient passes as if it were not."""
    return value + tf.stop_gradient(tf.round(value / step) * step - value)


def round_weights(tf: Any, value: Any, per_channel: bool) -> tuple[Any, Any]:
    """The nearest values of the symmetric int8 grid, and its step (one a channel, or one)."""
    axes = list(range(len(value.shape) - 1)) if per_channel else None
    largest = tf.reduce_max(tf.abs(value), axis=axes, keepdims=per_channel)
    step = tf.maximum(largest, NARROWEST * 1e-6) / 127.0
    return straight_through(tf, value, step), tf.reshape(step, (-1,))


def round_constant(tf: Any, value: Any) -> Any:
    """A constant that is added or multiplied: rounded to its own range."""
    low = tf.stop_gradient(tf.minimum(tf.reduce_min(value), 0.0))
    high = tf.stop_gradient(tf.maximum(tf.reduce_max(value), 0.0))
    return to_range(tf, value, low, tf.maximum(high, low + NARROWEST))


def to_range(tf: Any, value: Any, low: Any, high: Any) -> Any:
    """Rounded to the 256 steps of a range; what lies beyond it is cut off."""
    return tf.quantization.fake_quant_with_min_max_vars(value, low, high)
