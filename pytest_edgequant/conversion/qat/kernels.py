"""TFLite's operators in float, as TensorFlow functions that gradients flow through.

The file's graph has the batch at 1 and may move that dimension anywhere, so samples run along an
axis of their own in front: an activation of shape S in the file is (samples, *S) here. Constants
keep their shape. Layouts of weights are those that `stored_layout` gives: output channel last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_edgequant.tflite.graph import Operator


@dataclass(frozen=True)
class Value:
    """An operator's argument: samples in front where it is `batched`; `shape` as in the file."""

    tensor: Any
    shape: tuple[int, ...]
    batched: bool

    @property
    def constant(self) -> Any:
        """The value of a constant that the operator needs to know (axes, shapes)."""
        return np.asarray(self.tensor)


@dataclass(frozen=True)
class Call:
    """One operator with its arguments; an input that is left out is None."""

    operator: Operator
    inputs: Sequence[Value | None]
    shapes: Sequence[tuple[int, ...]]
    types: Sequence[str] = ()
    """The outputs' types, float32 for quantized ones."""

    def option(self, name: str, default: int = 0) -> int:
        return int(self.operator.options.get(name, default) or 0)

    def value(self, position: int = 0) -> Value:
        found = self.inputs[position]
        assert found is not None
        return found


Kernel = Callable[[Any, Call], Any]
KERNELS: dict[str, Kernel] = {}


def computes(*names: str) -> Callable[[Kernel], Kernel]:
    """Register a function for operators."""

    def register(function: Kernel) -> Kernel:
        for name in names:
            KERNELS[name] = function
        return function

    return register


# -- layout -----------------------------------------------------------------------------------

_TO_TRAINED = {"CONV_2D": (1, 2, 3, 0), "TRANSPOSE_CONV": (1, 2, 3, 0), "FULLY_CONNECTED": (1, 0)}


def to_trained(name: str, rank: int) -> tuple[int, ...] | None:
    """The permutation from the file's layout of an operator's weights to output channel last."""
    order = _TO_TRAINED.get(name)
    return order if order is not None and len(order) == rank else None


def samples(value: Value) -> Any:
    """(samples * batch, ...): the shape that TensorFlow's operators with a batch take."""
    import tensorflow as tf

    if not value.batched:
        return tf.convert_to_tensor(value.tensor)
    return tf.reshape(value.tensor, (-1, *value.shape[1:]))


def aligned(tf: Any, value: Value, rank: int) -> Any:
    """With 1s before its shape where it must be broadcast to a higher rank."""
    missing = rank - len(value.shape)
    if not value.batched or missing <= 0:
        return tf.convert_to_tensor(value.tensor)
    return tf.reshape(value.tensor, (-1, *([1] * missing), *value.shape))


def axes_of(value: Value, rank: int) -> list[int]:
    """The axes that a constant names, counted from the front."""
    return sorted({int(a) % rank for a in value.constant.reshape(-1)})


def activate(tf: Any, tensor: Any, kind: int) -> Any:
    """The activation that is fused into an operator, by the schema's ActivationFunctionType."""
    if kind == 1:
        return tf.nn.relu(tensor)
    if kind == 2:
        return tf.clip_by_value(tensor, -1.0, 1.0)
    if kind == 3:
        return tf.nn.relu6(tensor)
    if kind == 4:
        return tf.tanh(tensor)
    return tensor


def padding_of(call: Call) -> str:
    """SAME or VALID, by the schema's Padding."""
    return "VALID" if call.option("padding") == 1 else "SAME"


def strides_of(call: Call) -> list[int]:
    """Strides as TensorFlow takes them."""
    return [1, call.option("strideH", 1), call.option("strideW", 1), 1]


# -- with weights -------------------------------------------------------------------------------


@computes("FULLY_CONNECTED")
def _fully_connected(tf: Any, call: Call) -> Any:
    source, weights = call.value(0), call.value(1)
    if weights.batched:  # the weights are computed in the graph
        data = tf.reshape(source.tensor, (tf.shape(source.tensor)[0], -1, weights.shape[-1]))
        return tf.matmul(data, weights.tensor, transpose_b=True)
    inside = weights.shape[1]
    return tf.matmul(tf.reshape(source.tensor, (-1, inside)), weights.tensor)


@computes("BATCH_MATMUL")
def _batch_matmul(tf: Any, call: Call) -> Any:
    first, second = (call.value(i) for i in (0, 1))
    rank = max(len(first.shape), len(second.shape))
    return tf.matmul(
        aligned(tf, first, rank),
        aligned(tf, second, rank),
        transpose_a=bool(call.option("adjX")),
        transpose_b=bool(call.option("adjY")),
    )


# -- element by element ---------------------------------------------------------------------------


def _binary(function: Callable[[Any], Callable[[Any, Any], Any]]) -> Kernel:
    def kernel(tf: Any, call: Call) -> Any:
        rank = len(call.shapes[0])
        return function(tf)(*(aligned(tf, call.value(i), rank) for i in (0, 1)))

    return kernel


KERNELS["ADD"] = _binary(lambda tf: tf.add)
KERNELS["SUB"] = _binary(lambda tf: tf.subtract)
KERNELS["MUL"] = _binary(lambda tf: tf.multiply)
KERNELS["DIV"] = _binary(lambda tf: tf.divide)
KERNELS["MAXIMUM"] = _binary(lambda tf: tf.maximum)
KERNELS["MINIMUM"] = _binary(lambda tf: tf.minimum)
KERNELS["SQUARED_DIFFERENCE"] = _binary(lambda tf: tf.math.squared_difference)


# Comparisons and choices: what guards the indices of an embedding.
KERNELS["LESS"] = _binary(lambda tf: tf.less)
KERNELS["LESS_EQUAL"] = _binary(lambda tf: tf.less_equal)
KERNELS["GREATER"] = _binary(lambda tf: tf.greater)
KERNELS["GREATER_EQUAL"] = _binary(lambda tf: tf.greater_equal)
KERNELS["EQUAL"] = _binary(lambda tf: tf.equal)
KERNELS["NOT_EQUAL"] = _binary(lambda tf: tf.not_equal)
KERNELS["LOGICAL_AND"] = _binary(lambda tf: tf.logical_and)
KERNELS["LOGICAL_OR"] = _binary(lambda tf: tf.logical_or)
KERNELS["FLOOR_MOD"] = _binary(lambda tf: tf.math.floormod)
KERNELS["FLOOR_DIV"] = _binary(lambda tf: tf.math.floordiv)


@computes("ADD_N")
def _add_n(tf: Any, call: Call) -> Any:
    return tf.add_n([call.value(i).tensor for i in range(len(call.inputs))])


@computes("SELECT", "SELECT_V2")
def _select(tf: Any, call: Call) -> Any:
    rank = len(call.shapes[0])
    return tf.where(*(aligned(tf, call.value(i), rank) for i in range(3)))


def _unary(function: Callable[[Any], Callable[[Any], Any]]) -> Kernel:
    def kernel(tf: Any, call: Call) -> Any:
        return function(tf)(call.value(0).tensor)

    return kernel


KERNELS["QUANTIZE"] = _unary(lambda tf: tf.identity)
KERNELS["DEQUANTIZE"] = _unary(lambda tf: tf.identity)
KERNELS["RELU"] = _unary(lambda tf: tf.nn.relu)
KERNELS["RELU6"] = _unary(lambda tf: tf.nn.relu6)
KERNELS["RELU_N1_TO_1"] = _unary(lambda tf: lambda x: tf.clip_by_value(x, -1.0, 1.0))
KERNELS["RELU_0_TO_1"] = _unary(lambda tf: lambda x: tf.clip_by_value(x, 0.0, 1.0))
KERNELS["LOGISTIC"] = _unary(lambda tf: tf.sigmoid)
KERNELS["TANH"] = _unary(lambda tf: tf.tanh)
KERNELS["ELU"] = _unary(lambda tf: tf.nn.elu)
KERNELS["EXP"] = _unary(lambda tf: tf.exp)
KERNELS["LOG"] = _unary(lambda tf: tf.math.log)
KERNELS["LOGICAL_NOT"] = _unary(lambda tf: tf.logical_not)
KERNELS["ZEROS_LIKE"] = _unary(lambda tf: tf.zeros_like)
KERNELS["ABS"] = _unary(lambda tf: tf.abs)
KERNELS["NEG"] = _unary(lambda tf: tf.negative)
KERNELS["SQRT"] = _unary(lambda tf: tf.sqrt)
KERNELS["RSQRT"] = _unary(lambda tf: tf.math.rsqrt)
KERNELS["SQUARE"] = _unary(lambda tf: tf.square)
KERNELS["SIN"] = _unary(lambda tf: tf.sin)
KERNELS["COS"] = _unary(lambda tf: tf.cos)
KERNELS["HARD_SWISH"] = _unary(lambda tf: lambda x: x * tf.nn.relu6(x + 3.0) / 6.0)
KERNELS["LOG_SOFTMAX"] = _unary(lambda tf: tf.nn.log_softmax)


@computes("GELU")
def _gelu(tf: Any, call: Call) -> Any:
    return tf.nn.gelu(call.value(0).tensor, approximate=bool(call.option("approximate")))


@computes("LEAKY_RELU")
def _leaky_relu(tf: Any, call: Call) -> Any:
    return tf.nn.leaky_relu(call.value(0).tensor, float(call.operator.options.get("alpha", 0.2)))


@computes("PRELU")
def _prelu(tf: Any, call: Call) -> Any:
    source = call.value(0).tensor
    return tf.nn.relu(source) - call.value(1).tensor * tf.nn.relu(-source)


@computes("SOFTMAX")
def _softmax(tf: Any, call: Call) -> Any:
    return tf.nn.softmax(call.value(0).tensor * float(call.operator.options.get("beta", 1.0)))


@computes("L2_NORMALIZATION")
def _l2_normalization(tf: Any, call: Call) -> Any:
    return tf.math.l2_normalize(call.value(0).tensor, axis=-1)


@computes("CAST")
def _cast(tf: Any, call: Call) -> Any:
    return tf.cast(call.value(0).tensor, call.types[0])


# -- reductions and pooling -----------------------------------------------------------------------


def _reduction(function: Callable[[Any], Callable[..., Any]]) -> Kernel:
    def kernel(tf: Any, call: Call) -> Any:
        source = call.value(0)
        axes = [a + 1 for a in axes_of(call.value(1), len(source.shape))]
        return function(tf)(source.tensor, axis=axes)

    return kernel


KERNELS["MEAN"] = _reduction(lambda tf: tf.reduce_mean)
KERNELS["SUM"] = _reduction(lambda tf: tf.reduce_sum)
KERNELS["REDUCE_MAX"] = _reduction(lambda tf: tf.reduce_max)
KERNELS["REDUCE_MIN"] = _reduction(lambda tf: tf.reduce_min)
KERNELS["REDUCE_PROD"] = _reduction(lambda tf: tf.reduce_prod)
KERNELS["REDUCE_ALL"] = _reduction(lambda tf: tf.reduce_all)
KERNELS["REDUCE_ANY"] = _reduction(lambda tf: tf.reduce_any)


def _axis(call: Call) -> int:
    """The one axis that the second input names, with samples in front."""
    return axes_of(call.value(1), len(call.value(0).shape))[0] + 1


@computes("ARG_MAX", "ARG_MIN")
def _arg(tf: Any, call: Call) -> Any:
    function = tf.argmax if call.operator.name == "ARG_MAX" else tf.argmin
    return function(call.value(0).tensor, _axis(call), output_type=call.types[0])


@computes("CUMSUM")
def _cumsum(tf: Any, call: Call) -> Any:
    return tf.cumsum(
        call.value(0).tensor,
        _axis(call),
        exclusive=bool(call.option("exclusive")),
        reverse=bool(call.option("reverse")),
    )


def _pooling(function: Callable[[Any], Callable[..., Any]]) -> Kernel:
    def kernel(tf: Any, call: Call) -> Any:
        window = [call.option("filterHeight", 1), call.option("filterWidth", 1)]
        return function(tf)(
            samples(call.value(0)), [1, *window, 1], strides_of(call), padding_of(call)
        )

    return kernel


KERNELS["MAX_POOL_2D"] = _pooling(lambda tf: tf.nn.max_pool2d)
KERNELS["AVERAGE_POOL_2D"] = _pooling(lambda tf: tf.nn.avg_pool2d)
