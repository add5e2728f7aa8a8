"""Ways to a smaller arena: computed, and true of the model that they describe."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from model_building import GraphBuilder
from random_models import options, random_model

from pytest_edgequant import measure_arena, optimize_arena
from pytest_edgequant.measure.arena import compute_arena
from pytest_edgequant.measure.arena.profiles import make_profile
from pytest_edgequant.measure.arena.suggestions import suggest
from pytest_edgequant.tflite.graph import read_graph

DATA = Path(__file__).parents[1] / "data"
CMSIS = make_profile("arm32", "cortex-m4", "cmsis-nn")
REFERENCE = make_profile("arm32", "cortex-m4", "reference")


def effects(content: bytes, profile: object = CMSIS) -> dict[str, int]:
    return {s.text: s.bytes for s in suggest(content, profile)}  # type: ignore[arg-type]


def minimum(content: bytes) -> int:
    return compute_arena(read_graph(content), CMSIS).minimum_bytes


def test_none_is_given_whose_effect_is_zero() -> None:
    for seed in range(40):
        content = random_model(
            random.Random(seed).randint, ("INT8", "INT16", "FLOAT32")[seed % 3], 8
        )
        found = suggest(content, CMSIS)
        assert all(s.bytes > 0 for s in found)
        assert [s.bytes for s in found] == sorted((s.bytes for s in found), reverse=True)
        assert found == suggest(content, CMSIS)


@pytest.mark.parametrize(("form", "name"), [("float32", "float32"), ("int16x8", "int16x8")])
def test_int8_saves_what_the_int8_model_really_saves(form: str, name: str) -> None:
    before = (DATA / f"tiny_{form}.tflite").read_bytes()
    after = (DATA / "tiny_int8.tflite").read_bytes()
    saved = effects(before)[f"int8 instead of {name}"]
    assert saved == pytest.approx(minimum(before) - minimum(after), abs=64)


def test_an_offline_plan_saves_what_it_says() -> None:
    content = (DATA / "residual_int8.tflite").read_bytes()
    saved = effects(content)["an offline memory plan (optimize_arena)"]
    after = measure_arena(optimize_arena(content, "nano33ble"), "nano33ble")
    assert measure_arena(content, "nano33ble").minimum_bytes - after.minimum_bytes == saved


def conv_model(channels: int) -> bytes:
    """Two convolutions with a depthwise one between them, so many channels inside."""
    b = GraphBuilder()
    x = b.activation((1, 12, 12, 3), "INT8")
    for count in (channels, 4):
        weights = b.weights((count, 3, 3, b.shape(x)[3]), "INT8", 0)
        made = options("Conv2DOptions", padding=0, strideH=1, strideW=1)
        x = b.add("CONV_2D", [x, weights, b.bias(count, "INT8")], (1, 12, 12, count), "INT8", made)
        if count == channels:
            weights = b.weights((1, 3, 3, count), "INT8", 3)
            made = options(
                "DepthwiseConv2DOptions", padding=0, strideH=1, strideW=1, depthMultiplier=1
            )
            x = b.add(
                "DEPTHWISE_CONV_2D",
                [x, weights, b.bias(count, "INT8")],
                (1, 12, 12, count),
                "INT8",
                made,
            )
    return b.build()


@pytest.mark.parametrize("channels", [16, 32])
def test_half_the_channels_at_the_peak_need_what_such_a_model_needs(channels: int) -> None:
    before, after = conv_model(channels), conv_model(channels // 2)
    (saved,) = [v for k, v in effects(before).items() if k.startswith("half the channels")]
    assert saved == minimum(before) - minimum(after)


def dense_model(per_channel: bool) -> bytes:
    b = GraphBuilder()
    x = b.activation((1, 32), "INT8")
    inputs = [x, b.weights((64, 32), "INT8", 0, per_channel), b.bias(64, "INT8", per_channel)]
    b.add("FULLY_CONNECTED", inputs, (1, 64), "INT8", options("FullyConnectedOptions"))
    return b.build()


def test_dense_weights_per_tensor_save_what_such_a_model_saves() -> None:
    saved = effects(dense_model(True))["Dense weights per tensor instead of per channel"]
    assert saved == minimum(dense_model(True)) - minimum(dense_model(False))
    assert not any("Dense" in text for text in effects(dense_model(False)))


def batch_model(dynamic: bool) -> bytes:
    """A reshape to a constant shape, or to one that is computed from the input's."""
    b = GraphBuilder()
    x = b.activation((1, 4, 4, 2), "FLOAT32")
    shape = b.integers(1, 32)
    if dynamic:
        made = options("ShapeOptions", outType=2)
        whole = b.add("SHAPE", [x], (4,), "INT32", made)
        inputs = [whole, b.integers(0), b.integers(1), b.integers(1)]
        made = options("StridedSliceOptions", shrinkAxisMask=1)
        first = b.add("STRIDED_SLICE", inputs, (), "INT32", made)
        second = b.constant(_scalar(32), "INT32")
        shape = b.add("PACK", [first, second], (2,), "INT32", options("PackOptions", valuesCount=2))
    b.add("RESHAPE", [x, shape], (1, 32), "FLOAT32", options("ReshapeOptions"))
    return b.build()


def _scalar(value: int) -> object:
    import numpy as np

    return np.asarray(value, np.int32)


def test_a_batch_that_is_pinned_saves_the_shape_arithmetic() -> None:
    (saved,) = [v for k, v in effects(batch_model(True)).items() if k.startswith("pin the batch")]
    assert saved > 100
    assert not any("pin" in text for text in effects(batch_model(False)))


def test_an_arena_explains_itself_with_ways_out() -> None:
    arena = measure_arena(DATA / "tiny_float32.tflite", "nano33ble")
    text = arena.explain()
    assert "what would make it smaller:" in text
    for suggestion in arena.suggestions():
        assert f"{suggestion.bytes:,} B  {suggestion.text}" in text


def test_an_arena_without_its_model_gives_none() -> None:
    assert compute_arena(read_graph(dense_model(True)), CMSIS).suggestions() == ()
