"""Folded copies give, bit for bit, what the deployed file gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from model_building import GraphBuilder, run_litert
from random_models import options

from pytest_edgequant.tflite.edit import unpack
from pytest_edgequant.tflite.folding import KERNELS, FoldPixels, Tiles

WIDE = Tiles(1, 512, 512)
"""Tiles so large that every convolution gains by folding as far as it goes"""


def folded_copy(content: bytes, tiles: Tiles) -> bytes | None:
    found = FoldPixels(tiles).apply(content)
    return found.content if found.changed else None


def convolution(
    shape: tuple[int, int, int],
    channels: int,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    *,
    same: bool = True,
    per_channel: bool = True,
    dilation: int = 1,
) -> bytes:
    """A convolution with random weights, zero points and scales."""
    rng = np.random.default_rng([*shape, channels, *kernel, *stride])
    builder = GraphBuilder()
    x = builder.activation((1, *shape), "INT8")
    builder.graph.tensors[x].quantization.zeroPoint = np.asarray([-17], np.int64)
    count = channels if per_channel else 1
    scales = rng.uniform(0.001, 0.01, count).tolist()
    weights = rng.integers(-127, 128, (channels, *kernel, shape[2])).astype(np.int8)
    bias = rng.integers(-3000, 3000, channels).astype(np.int32)
    inputs = [
        x,
        builder.constant(weights, "INT8", scales=scales),
        builder.constant(bias, "INT32", scales=[0.05 * s for s in scales]),
    ]
    sizes = []
    for extent, size, step in zip(shape[:2], kernel, stride, strict=True):
        reach = extent if same else extent - (size - 1) * dilation
        sizes.append(-(-reach // step))
    padding = schema.Padding.SAME if same else schema.Padding.VALID
    chosen = options(
        "Conv2DOptions",
        padding=padding,
        strideH=stride[0],
        strideW=stride[1],
        dilationHFactor=dilation,
        dilationWFactor=dilation,
        fusedActivationFunction=schema.ActivationFunctionType.RELU,
    )
    result = builder.add("CONV_2D", inputs, (1, *sizes, channels), "INT8", chosen)
    scale = float(np.sqrt(np.prod(weights.shape[1:]))) * 0.005 * 70
    builder.graph.tensors[result].quantization.scale = np.asarray([scale * 0.05], np.float32)
    builder.graph.tensors[result].quantization.zeroPoint = np.asarray([-30], np.int64)
    return builder.build()


def drawn(content: bytes, count: int) -> Any:
    graph = unpack(content).subgraphs[0]
    shape = tuple(graph.tensors[graph.inputs[0]].shape)
    rng = np.random.default_rng(0)
    return rng.integers(-128, 128, (count, *shape[1:])).astype(np.int8)


@given(
    shape=st.tuples(st.integers(1, 6), st.integers(2, 16), st.integers(1, 5)),
    channels=st.integers(1, 12),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    same=st.booleans(),
    per_channel=st.booleans(),
    tiles=st.sampled_from([WIDE, *KERNELS.values(), Tiles(1, 32, 1), Tiles(1, 1, 32)]),
)
@settings(max_examples=150, deadline=None)
def test_any_convolution(
    shape: tuple[int, int, int],
    channels: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    same: bool,
    per_channel: bool,
    tiles: Tiles,
) -> None:
    if not same:
        kernel = min(kernel[0], shape[0]), min(kernel[1], shape[1])
    content = convolution(shape, channels, kernel, stride, same=same, per_channel=per_channel)
    folded = folded_copy(content, tiles)
    assume(folded is not None)
    samples = drawn(content, 3)
    for reference in (False, True):
        expected = run_litert(content, samples, reference_kernels=reference)
        found = run_litert(folded, samples, reference_kernels=reference)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "shape, kernel, stride, same, filters",
    [
        ((8, 8, 1), (3, 3), (1, 1), True, (128, 3, 1, 8)),
        ((8, 12, 2), (3, 3), (1, 1), True, (192, 3, 1, 24)),
        ((9, 12, 2), (3, 3), (2, 2), True, (96, 3, 1, 24)),
        ((8, 13, 1), (3, 3), (1, 1), False, (176, 3, 1, 13)),
    ],
)
def test_rows_are_folded_whole_where_tiles_are_large(
    shape: Any, kernel: Any, stride: Any, same: bool, filters: tuple[int, ...]
) -> None:
    folded = folded_copy(convolution(shape, 16, kernel, stride, same=same), WIDE)
    assert folded is not None
    graph = unpack(folded).subgraphs[0]
    (conv,) = (o for o in graph.operators if len(o.inputs) == 3)
    assert tuple(graph.tensors[conv.inputs[1]].shape) == filters


def test_pairs_of_pixels_are_folded_where_that_fills_a_tile() -> None:
    folded = folded_copy(convolution((8, 8, 16), 32, (3, 3)), KERNELS["amx"])
    assert folded is not None
    graph = unpack(folded).subgraphs[0]
    (conv,) = (o for o in graph.operators if len(o.inputs) == 3)
    assert tuple(graph.tensors[conv.inputs[1]].shape) == (64, 3, 3, 32)


@pytest.mark.parametrize(
    "content",
    [
        convolution((8, 8, 64), 64, (3, 3)),
        convolution((8, 8, 1), 16, (3, 3), same=False, dilation=2),
        convolution((8, 1, 1), 16, (3, 1)),
    ],
    ids=["fills its tiles", "dilated", "one pixel wide"],
)
def test_what_gains_nothing_is_left(content: bytes) -> None:
    assert folded_copy(content, KERNELS["amx"]) is None


@pytest.mark.parametrize("form", ["float32", "dynamic_range", "int16x8"])
def test_what_is_not_int8_is_left(form: str, tiny: Mapping[str, Path]) -> None:
    assert folded_copy(tiny[form].read_bytes(), WIDE) is None


def test_a_filter_without_quantization_is_left() -> None:
    builder = GraphBuilder()
    x = builder.activation((1, 8, 8, 1), "INT8")
    weights = builder.constant(np.ones((4, 3, 3, 1), np.int8), "INT8")
    chosen = options("Conv2DOptions", strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1)
    builder.add("CONV_2D", [x, weights], (1, 8, 8, 4), "INT8", chosen)
    assert folded_copy(builder.build(), WIDE) is None


def test_whole_models(reference: Path) -> None:
    compared = 0
    for path in sorted((reference / "models").glob("*_int8.tflite"))[::3]:
        content = path.read_bytes()
        folded = folded_copy(content, WIDE)
        if folded is None:
            continue
        samples = drawn(content, 4)
        try:
            expected = run_litert(content, samples)
        except (RuntimeError, ValueError):
            continue
        np.testing.assert_array_equal(run_litert(folded, samples), expected, path.name)
        compared += 1
    assert compared > 10
