"""Models of single operators as TensorFlow's converter makes them, in every type that it takes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

FORMS = ("native", "int8", "int16x8", "dynamic_range")
Function = Callable[..., Any]
FLOAT, INTEGER, LOGICAL = ("float32",), ("int32", "int64"), ("bool",)
NUMBERS = (*FLOAT, *INTEGER)
ANY = (*NUMBERS, "bool", "uint8", "int16", "float64", "complex64", "string")


# Over 60 lines: a table with a line for each operator, made by one builder.
def operators() -> dict[str, tuple[Function, list[tuple[int, ...]], tuple[str, ...]]]:
    """By name: the function, the shapes of its inputs, the types to try."""
    import tensorflow as tf

    vector, pair, image = [(1, 6)], [(1, 6), (1, 6)], [(1, 8, 8, 4)]
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> Any:
        return tf.constant(rng.normal(size=shape).astype(np.float32))

    def one(function: Function, types: tuple[str, ...] = FLOAT) -> Any:
        return function, vector, types

    def two(function: Function, types: tuple[str, ...] = FLOAT) -> Any:
        return function, pair, types

    def picture(function: Function, types: tuple[str, ...] = FLOAT) -> Any:
        return function, image, types

    nn, math = tf.nn, tf.math
    border, no_border = [[0, 0], [1, 1], [1, 1], [0, 0]], [[0, 0], [0, 0]]
    return {
        "abs": one(tf.abs, NUMBERS),
        "neg": one(math.negative, NUMBERS),
        "sign": one(tf.sign, FLOAT),
        "ceil": one(math.ceil),
        "floor": one(math.floor),
        "round": one(math.round),
        "exp": one(tf.exp),
        "log": one(lambda x: math.log(tf.abs(x) + 1.0)),
        "sqrt": one(lambda x: tf.sqrt(tf.abs(x) + 1.0)),
        "rsqrt": one(lambda x: math.rsqrt(tf.abs(x) + 1.0)),
        "sin": one(tf.sin),
        "cos": one(tf.cos),
        "square": one(tf.square, NUMBERS),
        "pow": one(lambda x: tf.pow(x, x), NUMBERS),
        "erf": one(math.erf),
        "softplus": one(math.softplus),
        "relu": one(nn.relu),
        "relu6": one(nn.relu6),
        "relu_n1": one(lambda x: tf.clip_by_value(x, -1.0, 1.0)),
        "elu": one(nn.elu),
        "gelu": one(nn.gelu),
        "gelu_tanh": one(lambda x: nn.gelu(x, approximate=True)),
        "leaky": one(nn.leaky_relu),
        "hard_swish": one(lambda x: x * nn.relu6(x + 3.0) / 6.0),
        "sigmoid": one(tf.sigmoid),
        "tanh": one(tf.tanh),
        "softmax": one(nn.softmax),
        "log_softmax": one(nn.log_softmax),
        "l2_normalize": one(lambda x: nn.l2_normalize(x, axis=-1)),
        "add": two(tf.add, NUMBERS),
        "sub": two(tf.subtract, NUMBERS),
        "mul": two(tf.multiply, NUMBERS),
        "div": two(lambda x, y: tf.divide(x, y)),
        "floordiv": two(math.floordiv, NUMBERS),
        "floormod": two(math.floormod, NUMBERS),
        "maximum": two(tf.maximum, NUMBERS),
        "minimum": two(tf.minimum, NUMBERS),
        "squared_difference": two(math.squared_difference, NUMBERS),
        "atan2": two(math.atan2),
        "equal": two(tf.equal, ANY),
        "not_equal": two(tf.not_equal, NUMBERS),
        "greater": two(tf.greater, NUMBERS),
        "greater_equal": two(tf.greater_equal, NUMBERS),
        "less": two(tf.less, NUMBERS),
        "less_equal": two(tf.less_equal, NUMBERS),
        "logical_and": two(tf.logical_and, LOGICAL),
        "logical_or": two(tf.logical_or, LOGICAL),
        "logical_not": one(tf.logical_not, LOGICAL),
        "add_n": (lambda x, y, z: tf.add_n([x, y, z]), [(1, 6)] * 3, FLOAT),
        "where": two(lambda x, y: tf.where(tf.greater(x, y), x, y), NUMBERS),
        "where_broadcast": two(lambda x, y: tf.where(x > y, x, tf.zeros_like(y[:, :1])), NUMBERS),
        "where_index": one(lambda x: tf.where(x > 0)),
        "argmax": one(lambda x: tf.argmax(x, -1, output_type=tf.int32), NUMBERS),
        "argmax64": one(lambda x: tf.argmax(x, -1), NUMBERS),
        "argmin": one(lambda x: tf.argmin(x, -1, output_type=tf.int32), NUMBERS),
        "top_k": one(lambda x: nn.top_k(x, 2).values),
        "sum": picture(lambda x: tf.reduce_sum(x, [1, 2]), NUMBERS),
        "mean": picture(lambda x: tf.reduce_mean(x, [1, 2]), NUMBERS),
        "mean_channel": picture(lambda x: tf.reduce_mean(x, -1, keepdims=True)),
        "reduce_max": picture(lambda x: tf.reduce_max(x, [1, 2]), NUMBERS),
        "reduce_min": picture(lambda x: tf.reduce_min(x, [1, 2]), NUMBERS),
        "reduce_prod": picture(lambda x: tf.reduce_prod(x, [1, 2]), NUMBERS),
        "reduce_all": picture(lambda x: tf.reduce_all(x, [1, 2]), LOGICAL),
        "reduce_any": picture(lambda x: tf.reduce_any(x, [1, 2]), LOGICAL),
        "cumsum": one(lambda x: tf.cumsum(x, axis=1), NUMBERS),
        "matmul": (tf.matmul, [(1, 3, 4), (1, 4, 5)], FLOAT),
        "dense": one(lambda x: tf.matmul(x, weights(6, 5)) + weights(5)),
        "conv": picture(lambda x: nn.conv2d(x, weights(3, 3, 4, 5), 1, "SAME")),
        "conv_valid": picture(lambda x: nn.conv2d(x, weights(3, 3, 4, 5), 2, "VALID")),
        "conv_grouped": picture(lambda x: nn.conv2d(x, weights(3, 3, 2, 6), 1, "SAME")),
        "depthwise": picture(
            lambda x: nn.depthwise_conv2d(x, weights(3, 3, 4, 1), [1, 1, 1, 1], "SAME")
        ),
        "conv_transpose": picture(
            lambda x: nn.conv2d_transpose(x, weights(3, 3, 5, 4), [1, 16, 16, 5], 2, "SAME")
        ),
        "conv3d": (
            lambda x: nn.conv3d(x, weights(2, 2, 2, 3, 4), [1] * 5, "SAME"),
            [(1, 4, 4, 4, 3)],
            FLOAT,
        ),
        "avg_pool": picture(lambda x: nn.avg_pool2d(x, 2, 2, "VALID")),
        "max_pool": picture(lambda x: nn.max_pool2d(x, 2, 2, "VALID")),
        "lrn": picture(nn.lrn),
        "concat": two(lambda x, y: tf.concat([x, y], 1), ANY),
        "stack": two(lambda x, y: tf.stack([x, y], 1), ANY),
        "unstack": picture(lambda x: tf.unstack(x, axis=3)[1] + tf.unstack(x, axis=3)[0], NUMBERS),
        "split": picture(lambda x: tf.concat(tf.split(x, 2, 3)[::-1], 3), NUMBERS),
        "split_v": picture(lambda x: tf.concat(tf.split(x, [1, 3], 3)[::-1], 3), NUMBERS),
        "reshape": picture(lambda x: tf.reshape(x, [1, 64, 4]), ANY),
        "squeeze": picture(lambda x: tf.squeeze(x[:, :1], 1), ANY),
        "expand_dims": one(lambda x: tf.expand_dims(x, 1), ANY),
        "transpose": picture(lambda x: tf.transpose(x, [0, 3, 1, 2]), ANY),
        "transpose5": (lambda x: tf.transpose(x, [0, 4, 3, 2, 1]), [(1, 2, 3, 4, 5)], NUMBERS),
        "transpose6": (
            lambda x: tf.transpose(x, [5, 4, 3, 2, 1, 0]),
            [(1, 2, 3, 2, 3, 2)],
            NUMBERS,
        ),
        "pad": picture(lambda x: tf.pad(x, border), NUMBERS),
        "pad_value": picture(lambda x: tf.pad(x, border, constant_values=1), NUMBERS),
        "pad_mirror": picture(lambda x: tf.pad(x, border, "REFLECT"), NUMBERS),
        "strided_slice": picture(lambda x: x[:, ::2, 1:5, 1:], ANY),
        "strided_slice5": (lambda x: x[:, ::2, :, 1:], [(1, 4, 3, 4, 5)], NUMBERS),
        "new_axis": picture(lambda x: x[:, tf.newaxis, 0], NUMBERS),
        "slice": picture(lambda x: tf.slice(x, [0, 1, 1, 0], [1, 3, 3, 2]), ANY),
        "gather": picture(lambda x: tf.gather(x, [0, 2, 1], axis=3), ANY),
        "gather_by": (
            lambda x, i: tf.gather(x[0], tf.cast(i[0], tf.int32)),
            [(1, 6, 3), (1, 2)],
            FLOAT,
        ),
        "gather_nd": picture(lambda x: tf.gather_nd(x[0], [[0, 1], [2, 3]]), NUMBERS),
        "scatter_nd": one(lambda x: tf.scatter_nd([[1], [3]], x[0, :2], [6]), NUMBERS),
        "tile": one(lambda x: tf.tile(x, [1, 3]), NUMBERS),
        "repeat": picture(lambda x: tf.repeat(x, 2, axis=1)),
        "broadcast_to": one(lambda x: tf.broadcast_to(x, [3, 6]), ANY),
        "reverse": one(lambda x: tf.reverse(x, [1]), ANY),
        "reverse_sequence": picture(lambda x: tf.reverse_sequence(x, [4], seq_axis=1)),
        "resize_bilinear": picture(lambda x: tf.image.resize(x, [16, 16])),
        "resize_nearest": picture(lambda x: tf.image.resize(x, [16, 16], "nearest")),
        "space_to_depth": picture(lambda x: nn.space_to_depth(x, 2), NUMBERS),
        "depth_to_space": picture(lambda x: nn.depth_to_space(x, 2), NUMBERS),
        "space_to_batch": picture(lambda x: tf.space_to_batch(x, [2, 2], no_border), NUMBERS),
        "batch_to_space": (
            lambda x: tf.batch_to_space(x, [2, 2], no_border),
            [(4, 4, 4, 2)],
            NUMBERS,
        ),
        "dilated": picture(lambda x: nn.conv2d(x, weights(3, 3, 4, 5), 1, "SAME", dilations=2)),
        "one_hot": one(lambda x: tf.one_hot(tf.cast(x, tf.int32), 4)),
        "cast_int": one(lambda x: tf.cast(x, tf.int32)),
        "cast_bool": one(lambda x: tf.cast(x > 0, tf.float32), NUMBERS),
        "cast_int64": one(lambda x: tf.cast(x, tf.int64), NUMBERS),
        "cast_uint8": one(lambda x: tf.cast(x, tf.uint8), NUMBERS),
        "cast_float64": one(lambda x: tf.cast(tf.cast(x, tf.float64) * 2.0, tf.float32)),
        "fill": one(lambda x: x + tf.fill([1, 6], tf.reduce_sum(x)), NUMBERS),
        "range": one(
            lambda x: x + tf.range(tf.cast(tf.shape(x)[1], x.dtype), dtype=x.dtype), NUMBERS
        ),
        "shape": one(lambda x: tf.shape(tf.where(x > 0))),
        "zeros_like": one(lambda x: tf.concat([x, tf.zeros_like(x)], 1), NUMBERS),
        "embedding": (
            lambda i: tf.gather(weights(5, 4), tf.cast(i, tf.int32)),
            [(1, 3)],
            ("int32", "int64", "float32"),
        ),
        "cond": one(lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: x + 1.0, lambda: tf.tanh(x))),
        "while": one(
            lambda x: tf.while_loop(lambda i, v: i < 3, lambda i, v: (i + 1, v * 2.0), [0, x])[1]
        ),
        "fft": one(lambda x: tf.abs(tf.signal.rfft(x, [8]))),
        "complex": two(lambda x, y: tf.abs(tf.complex(x, y))),
        "cumprod": one(lambda x: math.cumprod(x, axis=1)),
        "unique": one(lambda x: tf.unique(x[0])[0]),
        "dynamic_update": picture(
            lambda x: tf.raw_ops.XlaDynamicUpdateSlice(
                input=x, update=x[:, :2], indices=tf.constant([0, 1, 0, 0])
            )
        ),
    }


def models(name: str) -> dict[str, bytes]:
    """An operator in each native type, and where it is float as int8, int16x8 and hybrid.

    What the converter can't be made to produce is left out.
    """
    function, shapes, types = operators()[name]
    found = {}
    for kind in types:
        for form in FORMS if kind == "float32" else FORMS[:1]:
            with contextlib.suppress(Exception):
                found[f"{name}-{kind}-{form}"] = _convert(function, shapes, kind, form)
    return found


def _convert(function: Function, shapes: Any, kind: str, form: str) -> bytes:
    import tensorflow as tf

    specs = [tf.TensorSpec(shape, kind) for shape in shapes]
    concrete = tf.function(function).get_concrete_function(*specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    if form != "native":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if form in ("int8", "int16x8"):
        rng = np.random.default_rng(1)
        converter.representative_dataset = lambda: (
            [rng.normal(size=shape).astype(np.float32) for shape in shapes] for _ in range(8)
        )
        ops = tf.lite.OpsSet
        wide = ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [
            wide if form == "int16x8" else ops.TFLITE_BUILTINS_INT8,
            ops.TFLITE_BUILTINS,
        ]
    return bytes(converter.convert())
