"""Layers for random models: each takes a builder and a tensor, and gives the next tensor.

They cover what TFLM has kernels for, with strides, dilation, groups, broadcasting, branches.
"""

# Over 400 lines: one function a kind of layer, in one table.

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from model_building import GraphBuilder

SAME, VALID = 0, 1
Pick = Callable[[int, int], int]
"""Draws an integer between two bounds, both included."""
Layer = Callable[[GraphBuilder, int, Pick], int]


def options(name: str, **values: Any) -> Any:
    made = getattr(schema, f"{name}T")()
    for key, value in values.items():
        assert hasattr(made, key), key
        setattr(made, key, value)
    return made


def windows(extent: int, size: int, stride: int, dilation: int, padding: int) -> int:
    reach = (size - 1) * dilation + 1
    return -(-extent // stride) if padding == SAME else (extent - reach) // stride + 1


class Window:
    """A random window that fits a picture."""

    def __init__(self, shape: Sequence[int], pick: Pick, *, dilated: bool = True) -> None:
        height, width = shape[1], shape[2]
        self.padding = pick(SAME, VALID)
        self.size = (pick(1, min(5, height)), pick(1, min(5, width)))
        self.stride = (pick(1, 3), pick(1, 3))
        self.dilation = (1, 1)
        if dilated and pick(0, 3) == 0:
            self.stride = (1, 1)
            self.dilation = tuple(  # type: ignore[assignment]
                2 if (size - 1) * 2 < extent else 1
                for size, extent in zip(self.size, (height, width), strict=True)
            )
        self.output = tuple(
            windows(*args, self.padding)
            for args in zip((height, width), self.size, self.stride, self.dilation, strict=True)
        )


def conv(b: GraphBuilder, x: int, pick: Pick) -> int:
    n, _, _, c = shape = b.shape(x)
    kind, window, count = b.kind(x), Window(shape, pick), pick(1, 20)
    groups = 1
    if pick(0, 4) == 0:
        groups = math.gcd(c, count)
    filters = b.weights((count, *window.size, c // groups), kind, 0, pick(0, 1) == 1)
    return b.add(
        "CONV_2D",
        [x, filters, b.bias(count, kind)][: 2 + pick(0, 3)],
        (n, *window.output, count),
        kind,
        options(
            "Conv2DOptions",
            padding=window.padding,
            strideH=window.stride[0],
            strideW=window.stride[1],
            dilationHFactor=window.dilation[0],
            dilationWFactor=window.dilation[1],
            fusedActivationFunction=pick(0, 1),
        ),
    )


def depthwise(b: GraphBuilder, x: int, pick: Pick) -> int:
    n, _, _, c = shape = b.shape(x)
    kind, window, multiplier = b.kind(x), Window(shape, pick), pick(1, 3)
    filters = b.weights((1, *window.size, c * multiplier), kind, 3)
    return b.add(
        "DEPTHWISE_CONV_2D",
        [x, filters, b.bias(c * multiplier, kind)],
        (n, *window.output, c * multiplier),
        kind,
        options(
            "DepthwiseConv2DOptions",
            padding=window.padding,
            strideH=window.stride[0],
            strideW=window.stride[1],
            depthMultiplier=multiplier,
            dilationHFactor=window.dilation[0],
            dilationWFactor=window.dilation[1],
        ),
    )


def transpose_conv(b: GraphBuilder, x: int, pick: Pick) -> int:
    n, height, width, c = b.shape(x)
    kind, count = b.kind(x), pick(1, 6)
    size, stride = pick(1, 4), pick(1, 2)
    output = (n, height * stride, width * stride, count)
    inputs = [b.integers(*output), b.weights((count, size, size, c), kind, 0), x]
    if pick(0, 1) or kind == "INT16":
        inputs.append(b.bias(count, kind))
    return b.add(
        "TRANSPOSE_CONV",
        inputs,
        output,
        kind,
        options("TransposeConvOptions", padding=SAME, strideH=stride, strideW=stride),
    )


def _pool(name: str) -> Layer:
    def pool(b: GraphBuilder, x: int, pick: Pick) -> int:
        n, _, _, c = shape = b.shape(x)
        window = Window(shape, pick, dilated=False)
        made = options(
            "Pool2DOptions",
            padding=window.padding,
            strideH=window.stride[0],
            strideW=window.stride[1],
            filterHeight=window.size[0],
            filterWidth=window.size[1],
        )
        return b.add(name, [x], (n, *window.output, c), b.kind(x), made)

    return pool


def _unary(name: str, made: Callable[[], Any] | None = None, kinds: str = "") -> Layer:
    def unary(b: GraphBuilder, x: int, pick: Pick) -> int:
        if kinds and b.kind(x) not in kinds.split():
            return x
        return b.add(name, [x], b.shape(x), b.kind(x), made() if made else None)

    return unary


def _binary(name: str, option: str | None = None) -> Layer:
    def binary(b: GraphBuilder, x: int, pick: Pick) -> int:
        shape, kind = b.shape(x), b.kind(x)
        other = [x, -1, -1, -1][pick(0, 3)]
        if other == -1:
            smaller = tuple(1 if pick(0, 3) == 0 else e for e in shape)
            if pick(0, 1):
                other = b.activation(smaller, kind)
            elif kind == "FLOAT32":
                other = b.constant(np.ones(smaller, np.float32), kind)
            else:
                stored = np.int8 if kind == "INT8" else np.int16
                other = b.constant(np.ones(smaller, stored), kind, scales=[0.05])
        return b.add(name, [x, other], shape, kind, options(option) if option else None)

    return binary


def _comparison(name: str) -> Layer:
    def compare(b: GraphBuilder, x: int, pick: Pick) -> int:
        shape, kind = b.shape(x), b.kind(x)
        if kind == "INT16":
            return x
        b.add(name, [x, b.activation(shape, kind)], shape, "BOOL")
        return x

    return compare


def select(b: GraphBuilder, x: int, pick: Pick) -> int:
    shape, kind = b.shape(x), b.kind(x)
    inputs = [b.activation(shape, "BOOL"), x, b.activation(shape, kind)]
    return b.add("SELECT_V2", inputs, shape, kind)


def _reduce(name: str) -> Layer:
    def reduce(b: GraphBuilder, x: int, pick: Pick) -> int:
        shape = b.shape(x)
        axes = [[1, 2], [3], [1], [2, 3], [1, 2, 3]][pick(0, 4)]
        keep = pick(0, 3) > 0
        output = [1 if i in axes else e for i, e in enumerate(shape)]
        if not keep:
            output = [e for i, e in enumerate(shape) if i not in axes]
        made = options("ReducerOptions", keepDims=keep)
        y = b.add(name, [x, b.integers(*axes)], output, b.kind(x), made)
        if keep:
            return y
        four = [shape[0], 1, 1, math.prod(output) // shape[0]]
        return b.add(
            "RESHAPE",
            [y, b.integers(*four)],
            four,
            b.kind(x),
            options("ReshapeOptions", newShape=four),
        )

    return reduce


def dense(b: GraphBuilder, x: int, pick: Pick) -> int:
    shape, kind, units = b.shape(x), b.kind(x), pick(1, 24)
    per_channel = pick(0, 1) == 1
    keep = pick(0, 1) == 1
    if keep:
        depth, output = shape[3], (*shape[:3], units)
    else:
        depth, output = math.prod(shape[1:]), (shape[0], units)
    if depth * units > 1 << 16:
        return x
    inputs = [x, b.weights((units, depth), kind, 0, per_channel)]
    inputs.append(b.bias(units, kind, per_channel) if pick(0, 3) else -1)
    made = options("FullyConnectedOptions", keepNumDims=keep)
    y = b.add("FULLY_CONNECTED", inputs, output, kind, made)
    if keep:
        return y
    four = [shape[0], 1, 1, units]
    return b.add(
        "RESHAPE", [y, b.integers(*four)], four, kind, options("ReshapeOptions", newShape=four)
    )


def concatenate(b: GraphBuilder, x: int, pick: Pick) -> int:
    shape, axis = list(b.shape(x)), pick(1, 3)
    other = list(shape)
    other[axis] = pick(1, 4)
    output = list(shape)
    output[axis] += other[axis]
    inputs = [x, b.activation(other, b.kind(x))]
    return b.add(
        "CONCATENATION", inputs, output, b.kind(x), options("ConcatenationOptions", axis=axis)
    )


def pad(b: GraphBuilder, x: int, pick: Pick) -> int:
    shape = b.shape(x)
    around = [[0, 0], [pick(0, 2), pick(0, 2)], [pick(0, 2), pick(0, 2)], [0, pick(0, 1)]]
    output = [e + sum(p) for e, p in zip(shape, around, strict=True)]
    padding = b.constant(np.asarray(around, np.int32), "INT32")
    return b.add("PAD", [x, padding], output, b.kind(x), options("PadOptions"))


def mirror_pad(b: GraphBuilder, x: int, pick: Pick) -> int:
    shape = b.shape(x)
    around = [[0, 0], *([min(1, e - 1)] * 2 for e in shape[1:3]), [0, 0]]
    output = [e + sum(p) for e, p in zip(shape, around, strict=True)]
    if b.kind(x) == "INT16":
        return x
    padding = b.constant(np.asarray(around, np.int32), "INT32")
    return b.add("MIRROR_PAD", [x, padding], output, b.kind(x), options("MirrorPadOptions"))


def strided_slice(b: GraphBuilder, x: int, pick: Pick) -> int:
    shape = b.shape(x)
    steps = [1, pick(1, 2), pick(1, 2), 1]
    output = [-(-e // s) for e, s in zip(shape, steps, strict=True)]
    inputs = [x, b.integers(0, 0, 0, 0), b.integers(*shape), b.integers(*steps)]
    return b.add("STRIDED_SLICE", inputs, output, b.kind(x), options("StridedSliceOptions"))


def slice_(b: GraphBuilder, x: int, pick: Pick) -> int:
    shape = b.shape(x)
    output = [shape[0], *(pick(1, e) for e in shape[1:])]
    return b.add("SLICE", [x, b.integers(0, 0, 0, 0), b.integers(*output)], output, b.kind(x))


def split(b: GraphBuilder, x: int, pick: Pick) -> int:
    shape = list(b.shape(x))
    if shape[3] % 2:
        return x
    shape[3] //= 2
    made = options("SplitOptions", numSplits=2)
    y = b.add("SPLIT", [b.integers(3), x], [shape, shape], b.kind(x), made)
    return b.add("ADD", [y, y + 1], shape, b.kind(x), options("AddOptions"))


def unpack_pack(b: GraphBuilder, x: int, pick: Pick) -> int:
    shape, kind = b.shape(x), b.kind(x)
    if shape[1] > 4:
        return x
    rest = (shape[0], *shape[2:])
    many = [rest] * shape[1]
    y = b.add("UNPACK", [x], many, kind, options("UnpackOptions", num=shape[1], axis=1))
    made = options("PackOptions", valuesCount=shape[1], axis=1)
    return b.add("PACK", list(range(y, y + shape[1])), shape, kind, made)


def transpose(b: GraphBuilder, x: int, pick: Pick) -> int:
    n, height, width, c = b.shape(x)
    return b.add("TRANSPOSE", [x, b.integers(0, 2, 1, 3)], (n, width, height, c), b.kind(x))


def space_to_depth(b: GraphBuilder, x: int, pick: Pick) -> int:
    n, height, width, c = b.shape(x)
    if height % 2 or width % 2 or c > 16 or b.kind(x) == "INT16":
        return x
    made = options("SpaceToDepthOptions", blockSize=2)
    y = b.add("SPACE_TO_DEPTH", [x], (n, height // 2, width // 2, 4 * c), b.kind(x), made)
    if pick(0, 1):
        made = options("DepthToSpaceOptions", blockSize=2)
        y = b.add("DEPTH_TO_SPACE", [y], (n, height, width, c), b.kind(x), made)
    return y


def space_to_batch(b: GraphBuilder, x: int, pick: Pick) -> int:
    n, height, width, c = b.shape(x)
    if height % 2 or width % 2 or b.kind(x) == "INT16":
        return x
    crops = b.constant(np.zeros((2, 2), np.int32), "INT32")
    y = b.add(
        "SPACE_TO_BATCH_ND",
        [x, b.integers(2, 2), crops],
        (4 * n, height // 2, width // 2, c),
        b.kind(x),
    )
    return b.add(
        "BATCH_TO_SPACE_ND", [y, b.integers(2, 2), crops], (n, height, width, c), b.kind(x)
    )


def _resize(name: str, option: str) -> Layer:
    def resize(b: GraphBuilder, x: int, pick: Pick) -> int:
        n, height, width, c = b.shape(x)
        if height * width > 400:
            return x
        size = b.integers(2 * height, 2 * width)
        return b.add(name, [x, size], (n, 2 * height, 2 * width, c), b.kind(x), options(option))

    return resize


def quantize(b: GraphBuilder, x: int, pick: Pick) -> int:
    shape, kind = b.shape(x), b.kind(x)
    if kind == "FLOAT32":
        y = b.add("QUANTIZE", [x], shape, "INT8")
        return b.add("DEQUANTIZE", [y], shape, "FLOAT32")
    y = b.add("DEQUANTIZE", [x], shape, "FLOAT32")
    return b.add("QUANTIZE", [y], shape, kind)


def softmax(b: GraphBuilder, x: int, pick: Pick) -> int:
    made = options("SoftmaxOptions", beta=1.0)
    shape, kind = b.shape(x), b.kind(x)
    y = b.add("SOFTMAX", [x], shape, kind, made)
    if kind != "FLOAT32":
        scale, point = (1 / 256, -128) if kind == "INT8" else (1 / 32768, 0)
        b.graph.tensors[y].quantization.scale = np.asarray([scale], np.float32)
        b.graph.tensors[y].quantization.zeroPoint = np.asarray([point], np.int64)
    return y


def log_softmax(b: GraphBuilder, x: int, pick: Pick) -> int:
    shape, kind = b.shape(x), b.kind(x)
    if kind == "INT16":
        return x
    y = b.add("LOG_SOFTMAX", [x], shape, kind, options("LogSoftmaxOptions"))
    if kind == "INT8":
        b.graph.tensors[y].quantization.scale = np.asarray([16 / 256], np.float32)
        b.graph.tensors[y].quantization.zeroPoint = np.asarray([127], np.int64)
    return y


def logistic(b: GraphBuilder, x: int, pick: Pick) -> int:
    shape, kind = b.shape(x), b.kind(x)
    name = ["LOGISTIC", "TANH"][pick(0, 1)]
    y = b.add(name, [x], shape, kind)
    if kind != "FLOAT32":
        unit = 256 if kind == "INT8" else 32768
        scale = (1 if name == "LOGISTIC" or kind == "INT16" else 2) / unit
        point = -128 if (name, kind) == ("LOGISTIC", "INT8") else 0
        b.graph.tensors[y].quantization.scale = np.asarray([scale], np.float32)
        b.graph.tensors[y].quantization.zeroPoint = np.asarray([point], np.int64)
    return y


def prelu(b: GraphBuilder, x: int, pick: Pick) -> int:
    shape, kind = b.shape(x), b.kind(x)
    if kind == "INT16":
        return x
    stored = np.float32 if kind == "FLOAT32" else np.int8
    alpha = b.constant(
        np.ones((1, 1, shape[3]), stored), kind, scales=[0.01] if kind == "INT8" else ()
    )
    return b.add("PRELU", [x, alpha], shape, kind)


def batch_matmul(b: GraphBuilder, x: int, pick: Pick) -> int:
    n, height, width, c = b.shape(x)
    kind, columns = b.kind(x), pick(1, 8)
    left, right = pick(0, 1) == 1, pick(0, 1) == 1
    rows, depth = (c, width) if left else (width, c)
    shape = (n, height, columns, depth) if right else (n, height, depth, columns)
    other = b.activation(shape[pick(0, 1) :], kind)
    made = options("BatchMatMulOptions", adjX=left, adjY=right)
    return b.add("BATCH_MATMUL", [x, other], (n, height, rows, columns), kind, made)


def gather(b: GraphBuilder, x: int, pick: Pick) -> int:
    shape = list(b.shape(x))
    if b.kind(x) == "INT16":
        return x
    count = pick(1, 3)
    output = [*shape[:3], count]
    made = options("GatherOptions", axis=3)
    return b.add("GATHER", [x, b.integers(*([0] * count))], output, b.kind(x), made)


def add_n(b: GraphBuilder, x: int, pick: Pick) -> int:
    shape, kind = b.shape(x), b.kind(x)
    if kind == "INT16":
        return x
    inputs = [x, *(b.activation(shape, kind) for _ in range(pick(1, 3)))]
    return b.add("ADD_N", inputs, shape, kind)


def arg_max(b: GraphBuilder, x: int, pick: Pick) -> int:
    shape, kind = b.shape(x), b.kind(x)
    if kind == "INT16":
        return x
    name = ["ARG_MAX", "ARG_MIN"][pick(0, 1)]
    made = options(f"Arg{name[4:].title()}Options", outputType=schema.TensorType.INT32)
    b.add(name, [x, b.integers(3)], shape[:3], "INT32", made)
    return x


def cumsum(b: GraphBuilder, x: int, pick: Pick) -> int:
    if b.kind(x) == "INT16":
        return x
    return b.add("CUMSUM", [x, b.integers(1)], b.shape(x), b.kind(x), options("CumsumOptions"))


def reverse(b: GraphBuilder, x: int, pick: Pick) -> int:
    return b.add("REVERSE_V2", [x, b.integers(1)], b.shape(x), b.kind(x))


def cast(b: GraphBuilder, x: int, pick: Pick) -> int:
    kind = b.kind(x)
    made = options("CastOptions")
    y = b.add("CAST", [x], b.shape(x), "INT32", made)
    return b.add("CAST", [y], b.shape(x), kind, made)


def broadcast_to(b: GraphBuilder, x: int, pick: Pick) -> int:
    n, height, width, c = b.shape(x)
    if height != 1:
        return x
    output = (n, 2, width, c)
    return b.add("BROADCAST_TO", [x, b.integers(*output)], output, b.kind(x))


def squeeze(b: GraphBuilder, x: int, pick: Pick) -> int:
    shape, kind = b.shape(x), b.kind(x)
    if shape[1] != 1:
        return x
    y = b.add(
        "SQUEEZE", [x], (shape[0], *shape[2:]), kind, options("SqueezeOptions", squeezeDims=[1])
    )
    return b.add("EXPAND_DIMS", [y, b.integers(1)], shape, kind)


def leaky(b: GraphBuilder, x: int, pick: Pick) -> int:
    return b.add("LEAKY_RELU", [x], b.shape(x), b.kind(x), options("LeakyReluOptions", alpha=0.1))


def l2_normalization(b: GraphBuilder, x: int, pick: Pick) -> int:
    if b.kind(x) == "INT16":
        return x
    y = b.add("L2_NORMALIZATION", [x], b.shape(x), b.kind(x), options("L2NormOptions"))
    if b.kind(x) == "INT8":
        b.graph.tensors[y].quantization.scale = np.asarray([1 / 128], np.float32)
    return y


def elementwise_integers(b: GraphBuilder, x: int, pick: Pick) -> int:
    """Logic and shapes beside the data path."""
    shape = b.shape(x)
    kind = pick(0, 4)
    if kind == 0:
        left, right = (b.activation(shape, "BOOL") for _ in range(2))
        both = b.add(["LOGICAL_AND", "LOGICAL_OR"][pick(0, 1)], [left, right], shape, "BOOL")
        b.add("LOGICAL_NOT", [both], shape, "BOOL")
    elif kind == 1:
        b.add("SHAPE", [x], (4,), "INT32", options("ShapeOptions", outType=schema.TensorType.INT32))
    elif kind == 2:
        b.add("ZEROS_LIKE", [b.activation(shape, "INT32")], shape, "INT32")
    elif kind == 3:
        value = b.activation((), "INT32")
        b.add("FILL", [b.integers(2, 3), value], (2, 3), "INT32")
    else:
        bools = b.activation(shape, "BOOL")
        output = (*shape[:3], 1)
        made = options("ReducerOptions", keepDims=True)
        b.add("REDUCE_ALL", [bools, b.integers(3)], output, "BOOL", made)
    return x


FLOAT = "FLOAT32"
LAYERS: tuple[Layer, ...] = (
    conv,
    depthwise,
    transpose_conv,
    _pool("AVERAGE_POOL_2D"),
    _pool("MAX_POOL_2D"),
    lambda b, x, pick: _pool("L2_POOL_2D")(b, x, pick) if b.kind(x) == FLOAT else x,
    dense,
    concatenate,
    pad,
    mirror_pad,
    strided_slice,
    slice_,
    split,
    unpack_pack,
    transpose,
    space_to_depth,
    space_to_batch,
    _resize("RESIZE_BILINEAR", "ResizeBilinearOptions"),
    _resize("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
    quantize,
    softmax,
    log_softmax,
    logistic,
    prelu,
    batch_matmul,
    gather,
    add_n,
    arg_max,
    cumsum,
    reverse,
    cast,
    broadcast_to,
    squeeze,
    leaky,
    l2_normalization,
    elementwise_integers,
    select,
    *(_binary(f"{n}", f"{n.title()}Options") for n in ("ADD", "SUB", "MUL", "DIV")),
    _binary("MAXIMUM", "MaximumMinimumOptions"),
    _binary("MINIMUM", "MaximumMinimumOptions"),
    _binary("SQUARED_DIFFERENCE"),
    *(
        lambda b, x, pick, n=n: _binary(n)(b, x, pick) if b.kind(x) == FLOAT else x
        for n in ("FLOOR_DIV", "FLOOR_MOD")
    ),
    *(_reduce(name) for name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")),
    *(
        _comparison(n)
        for n in ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL")
    ),
    *(_unary(n) for n in ("RELU", "RELU6")),
    *(_unary(n, kinds="FLOAT32 INT8") for n in ("HARD_SWISH", "ELU")),
    *(_unary(n, kinds="FLOAT32 INT8 INT16") for n in ("ABS", "RSQRT")),
    *(
        _unary(n, kinds=FLOAT)
        for n in ("SIN", "COS", "LOG", "SQRT", "SQUARE", "CEIL", "FLOOR", "ROUND", "EXP", "NEG")
    ),
)


def random_model(pick: Pick, kind: str, length: int) -> bytes:
    """A model of up to `length` layers, with a branch that may come back."""
    b = GraphBuilder()
    x = b.activation((pick(1, 2), pick(1, 9), pick(1, 9), pick(1, 20)), kind)
    kept: list[int] = [x]
    for _ in range(length):
        layer = LAYERS[pick(0, len(LAYERS) - 1)]
        y = layer(b, x, pick)
        if math.prod(b.shape(y)) <= 40_000:
            x = y
        kept.append(x)
        earlier = kept[pick(0, len(kept) - 1)]
        if pick(0, 3) == 0 and earlier != x and b.shape(earlier) == b.shape(x):
            x = b.add("ADD", [x, earlier], b.shape(x), kind, options("AddOptions"))
    if not b.graph.operators:
        b.add("RELU", [x], b.shape(x), kind)
    return b.build()
