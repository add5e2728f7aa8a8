"""What a kernel does for an operator, counted: calls, rows, copies, inner loops, rescalings.

An operator runs on a path (a kernel's code for a type and a kind of shape), and its instructions
are a sum over that path's terms, each a count known from the shapes times a cost that is fitted.
The paths follow the structure of TFLM's reference kernels and of CMSIS-NN's (loops over 4 values
with DSP instructions and over 16 with Helium, columns copied before a convolution, a 3x3 path for
depthwise convolutions), as their public source has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod

from pytest_edgequant.measure.latency.shapes import OperatorShape
from pytest_edgequant.targets.profiles import core_extension

BUILDS = ("reference", "dsp", "mve")
"""TFLM with reference kernels, with CMSIS-NN for DSP (M4, M7, M33), with CMSIS-NN for Helium."""


@dataclass(frozen=True)
class Work:
    """One operator's path, and the terms that are counted on it.

    `inner` names the terms in which values are multiplied.
    """

    path: str
    terms: Mapping[str, float] = field(default_factory=dict)


def _valid(size: int, out: int, kernel: int, stride: int, dilation: int, before: int) -> int:
    """How many (output, kernel) positions along one axis lie inside the input."""
    count = 0
    for position in range(kernel):
        reach = before - position * dilation
        first = max(0, -(-reach // stride))
        last = min(out - 1, (size - 1 + reach) // stride)
        count += max(0, last - first + 1)
    return count


def inside(shape: OperatorShape) -> int:
    """(output pixel, kernel position) pairs that lie inside the input, over the batch."""
    found = prod(shape.output[:1])
    for axis in (0, 1):
        found *= _valid(
            shape.source[axis + 1],
            shape.output[axis + 1],
            shape.weights[axis + 1],
            shape.stride[axis],
            shape.dilation[axis],
            shape.padding[axis],
        )
    return found


def _columns(shape: OperatorShape, block: int) -> dict[str, float]:
    """A convolution that copies columns, then multiplies them with all filters."""
    count, height, width, channels = shape.weights
    pixels = prod(shape.output[:3])
    depth = height * width * channels
    copied = inside(shape)
    return {
        "call": 1,
        "pixels": pixels,
        "positions": copied,
        "outside": pixels * height * width - copied,
        "copied": copied * (channels // 4),
        "copied_rest": copied * (channels % 4),
        "outputs": pixels * count,
        "blocks": pixels * count * (depth // block),
        "rest": pixels * count * (depth % block),
        "odd": pixels * (count % 2) * depth,
        "left": (pixels % 2) * count * depth,
        "channels": count,
    }


def _matrix(rows: int, units: int, depth: int, block: int, *, passes: int = 1) -> dict[str, float]:
    """Rows times a matrix of weights, in `passes` of equally many rows, two rows at a time."""
    return {
        "call": passes,
        "rows": rows,
        "outputs": rows * units,
        "blocks": rows * units * (depth // block),
        "rest": rows * units * (depth % block),
        "odd": rows * (units % 2) * depth,
        "left": passes * (rows // passes % 2) * units * depth,
        "channels": passes * units,
        "weights": passes * units * depth,
    }


def _loops(shape: OperatorShape, per_position: float, outputs: float, path: str) -> Work:
    """A convolution as plain loops: positions outside the input are left out."""
    pixels = prod(shape.output[:3])
    positions = prod(shape.weights[1:3])
    found = inside(shape)
    return Work(
        path,
        {
            "call": 1,
            "pixels": pixels,
            "outputs": outputs,
            "positions": found * outputs / max(pixels, 1),
            "outside": (pixels * positions - found) * outputs / max(pixels, 1),
            "macs": found * per_position,
        },
    )


def _dilated(shape: OperatorShape) -> bool:
    return shape.dilation != (1, 1)


def _conv(shape: OperatorShape, build: str) -> Work:
    count, height, width, channels = shape.weights
    kind = shape.type
    pixels = prod(shape.output[:3])
    if build == "reference" or kind not in ("INT8", "INT16"):
        return _loops(shape, channels * count, pixels * count, f"conv/{kind}/loops")
    if shape.source[3] != channels:
        return Work(f"conv/{kind}/grouped", _columns(shape, 4))
    block = 4 if build == "dsp" else 16
    if kind == "INT16":
        return Work("conv/INT16/columns", _columns(shape, 4 if build == "dsp" else 8))
    if height * width == 1 and shape.padding == (0, 0) and not _dilated(shape):
        # With a stride, each row of the output is a product of its own.
        passes = prod(shape.output[:2]) if shape.stride != (1, 1) else 1
        terms = _matrix(pixels, count, channels, block, passes=max(passes, 1))
        return Work("conv/INT8/pointwise", terms)
    if shape.source[1] == height == 1 and build == "mve":
        return Work("conv/INT8/row", _columns(shape, block))
    return Work("conv/INT8/columns", _columns(shape, block))


def _depthwise(shape: OperatorShape, build: str) -> Work:
    _, height, width, count = shape.weights
    kind, channels = shape.type, shape.source[3]
    pixels = prod(shape.output[:3])
    outputs = pixels * count
    if build == "reference" or kind not in ("INT8", "INT16"):
        return _loops(shape, count, outputs, f"depthwise/{kind}/loops")
    positions = height * width
    found = inside(shape)
    terms = {
        "call": 1,
        "pixels": pixels,
        "outputs": outputs,
        "positions": found,
        "outside": pixels * positions - found,
        "macs": found * count,
        "padded": (pixels * positions - found) * count,
        "channels": count,
    }
    if channels != count or shape.source[0] != 1 or _dilated(shape):
        if channels == 1 and build == "mve" and kind == "INT8":
            return Work("depthwise/INT8/as_conv", _columns(shape, 16))
        if kind == "INT8" and count // channels % 4 == 0 and not _dilated(shape):
            return Work("depthwise/INT8/multiplied", terms)
        return Work(f"depthwise/{kind}/generic", terms)
    lanes = 4 if build == "dsp" else 16
    whole, rest = divmod(count, lanes)
    special = kind == "INT8" and (height, width) == (3, 3) and max(shape.padding) <= 1
    if not (special and build == "dsp"):
        del terms["outside"], terms["padded"]
    terms |= {
        "groups": pixels * whole,
        "blocks": pixels * whole * (positions // 2 if build == "dsp" else positions),
        "odd": pixels * whole * (positions % 2),
        "rest": pixels * rest * positions,
        "rest_outputs": pixels * rest,
    }
    if special and build == "dsp":
        return Work("depthwise/INT8/3x3", terms)
    return Work(f"depthwise/{kind}/lanes", terms)


def _fully_connected(shape: OperatorShape, build: str) -> Work:
    units, depth = shape.weights
    kind = shape.type
    rows = max(shape.source_elements // depth, 1)
    if build == "reference" or kind not in ("INT8", "INT16"):
        axis = "/axis" if shape.per_axis else ""
        outputs = rows * units
        terms = {"call": 1, "rows": rows, "outputs": outputs, "macs": outputs * depth}
        return Work(f"dense/{kind}/loops{axis}", terms)
    block = 4 if build == "dsp" else 16
    path = f"dense/{kind}"
    if shape.per_axis:
        path += "/axis"
    if len(shape.output) > 2 and depth % 4 == 0 and kind == "INT8" and not shape.per_axis:
        path = "dense/INT8/as_conv"
    return Work(path, _matrix(rows, units, depth, block))


def _transpose_conv(shape: OperatorShape, build: str) -> Work:
    count, height, width, channels = shape.weights
    pixels = prod(shape.source[:3])
    terms = {
        "call": 1,
        "pixels": pixels,
        "positions": pixels * height * width,
        "outputs": shape.output_elements,
        "macs": pixels * height * width * channels * count,
        "columns": pixels * height * width * count,
    }
    path = f"transpose_conv/{shape.type}"
    if build != "reference" and shape.type == "INT8":
        small = max(shape.stride) <= 2 and channels > 16
        path += "/upsampled" if small else "/scattered"
    return Work(path, terms)


def _pool(shape: OperatorShape, build: str) -> Work:
    found = inside(shape)
    channels = shape.source[3]
    pixels = prod(shape.output[:3])
    terms = {
        "call": 1,
        "pixels": pixels,
        "outputs": pixels * channels,
        "positions": found,
        "values": found * channels,
        "values_rest": found * (channels % (16 if build == "mve" else 4)),
    }
    return Work(f"{shape.operator.lower()}/{shape.type}", terms)


def _softmax(shape: OperatorShape, build: str) -> Work:
    depth = shape.source[-1] if shape.source else 1
    rows = shape.source_elements // max(depth, 1)
    terms = {"call": 1, "rows": rows, "values": shape.source_elements}
    return Work(f"softmax/{shape.type}-{shape.output_type}", terms)


def _lstm(shape: OperatorShape, build: str) -> Work:
    hidden, depth = (*shape.weights, 1)[:2]
    steps = shape.source_elements // max(shape.source[-1] if shape.source else 1, 1)
    terms = {
        "call": 1,
        "steps": steps,
        "outputs": steps * hidden,
        "macs": steps * 4 * hidden * (hidden + depth),
    }
    return Work(f"lstm/{shape.type}", terms)


def _svdf(shape: OperatorShape, build: str) -> Work:
    filters, depth = (*shape.weights, 1)[:2]
    terms = {
        "call": 1,
        "outputs": shape.output_elements,
        "filters": filters,
        "macs": filters * depth,
    }
    return Work(f"svdf/{shape.type}", terms)


def _batch_matmul(shape: OperatorShape, build: str) -> Work:
    depth = shape.source[-1] if shape.source else 1
    terms = {
        "call": 1,
        "outputs": shape.output_elements,
        "macs": shape.output_elements * depth,
        "values": shape.source_elements + prod(shape.weights),
    }
    return Work(f"batch_matmul/{shape.type}", terms)


def _add(shape: OperatorShape, build: str) -> Work:
    path = f"{shape.operator.lower()}/{shape.type}"
    if shape.weights != shape.source:
        path += "/scalar" if prod(shape.weights) == 1 else "/broadcast"
    return Work(path, {"call": 1, "values": max(shape.output_elements, 1)})


def _elements(shape: OperatorShape, build: str) -> Work:
    path = f"{shape.operator.lower()}/{shape.type}"
    if shape.output_type != shape.type:
        path += f"-{shape.output_type}"
    terms = {
        "call": 1,
        "inputs": max(shape.inputs - 1, 0),
        "values": shape.source_elements,
        "outputs": shape.output_elements,
    }
    return Work(path, terms)


def _concatenation(shape: OperatorShape, build: str) -> Work:
    """Each input is copied in runs: as long as its part along the axis, one an outer index."""
    pairs = zip(shape.source, shape.output, strict=False)
    axis = next((i for i, (own, whole) in enumerate(pairs) if own != whole), 0)
    terms = {
        "call": 1,
        "inputs": shape.inputs,
        "runs": prod(shape.output[:axis]) * shape.inputs,
        "values": shape.output_elements,
    }
    return Work(f"concatenation/{shape.type}", terms)


def _slices(shape: OperatorShape, build: str) -> Work:
    work = _elements(shape, build)
    return Work(work.path, {**work.terms, "rows": prod(shape.output[:-1])})


def _reduce(shape: OperatorShape, build: str) -> Work:
    """Averages over rows and columns that keep the rank have a loop of their own."""
    work = _elements(shape, build)
    kept = (*shape.source[:1], 1, 1, *shape.source[3:])
    if len(shape.source) == 4 and shape.output == kept:
        return Work(f"{work.path}/spatial", work.terms)
    return work


_KINDS: Mapping[str, Callable[[OperatorShape, str], Work]] = {
    "ADD": _add,
    "AVERAGE_POOL_2D": _pool,
    "BATCH_MATMUL": _batch_matmul,
    "CONCATENATION": _concatenation,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "MAX_POOL_2D": _pool,
    "MEAN": _reduce,
    "MUL": _add,
    "PACK": _slices,
    "PAD": _slices,
    "SLICE": _slices,
    "SOFTMAX": _softmax,
    "SPLIT": _slices,
    "SPLIT_V": _slices,
    "STRIDED_SLICE": _slices,
    "SUB": _add,
    "SUM": _reduce,
    "SVDF": _svdf,
    "TRANSPOSE": _slices,
    "TRANSPOSE_CONV": _transpose_conv,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
    "UNPACK": _slices,
}


def work_of(shape: OperatorShape, build: str) -> Work:
    """The path and terms of an operator on one of `BUILDS`."""
    work = _KINDS.get(shape.operator, _elements)(shape, build)
    return Work(work.path, {name: float(v) for name, v in work.terms.items() if v})


def build_of(core: str, kernels: str) -> str | None:
    """Which counted build a target's is like; None where none is."""
    if kernels == "reference":
        return "reference"
    extension = core_extension(core)
    return extension if kernels == "cmsis-nn" and extension in BUILDS else None
