"""Ways to a smaller arena: computed, and true of the model that they describe."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from model_building import GraphBuilder
from random_models import options, random_model

from pytest_edgequant import SizeExceeded, assert_size_within, measure_arena, optimize_arena
from pytest_edgequant.measure.arena import compute_arena
from pytest_edgequant.measure.arena.suggestions import suggest
from pytest_edgequant.targets.profiles import make_profile
from pytest_edgequant.tflite.graph import read_graph

DATA = Path(__file__).parents[3] / "data"
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


def test_integer_ends_save_what_the_file_with_them_really_saves() -> None:
    before = (DATA / "tiny_int8_float_io.tflite").read_bytes()
    after = (DATA / "tiny_int8.tflite").read_bytes()
    found = effects(before)
    assert "int8 instead of float32" not in found
    saved = found["int8 inputs and outputs instead of float32"]
    assert saved == minimum(before) - minimum(after)


@pytest.mark.parametrize(("operator", "possible"), [("COS", False), ("NEG", False), ("ABS", True)])
def test_int8_is_a_way_out_only_where_kernels_take_it(operator: str, possible: bool) -> None:
    b = GraphBuilder()
    x = b.activation((1, 8, 8, 2), "FLOAT32")
    b.inputs = [x]
    b.outputs = [b.add(operator, [x], (1, 8, 8, 2), "FLOAT32")]
    assert ("int8 instead of float32" in effects(b.build())) is possible


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


def two_blocks(widths: tuple[int, int], units: int = 12) -> bytes:
    """Two blocks with the same peak when they are equally wide, then a flattened dense head."""
    b = GraphBuilder()
    x = b.activation((1, 16, 16, 2), "INT8")
    for index, count in enumerate((*widths, *widths[::-1])):
        weights = b.weights((count, 3, 3, b.shape(x)[3]), "INT8", 0)
        made = options("Conv2DOptions", padding=0, strideH=1, strideW=1)
        shape = (1, 16, 16, count)
        x = b.add("CONV_2D", [x, weights, b.bias(count, "INT8")], shape, "INT8", made)
        if index % 2:
            gate = b.add("LOGISTIC", [x], shape, "INT8")
            x = b.add("MUL", [x, gate], shape, "INT8", options("MulOptions"))
    made = options("Pool2DOptions", padding=1, strideH=8, strideW=8, filterWidth=8, filterHeight=8)
    x = b.add("MAX_POOL_2D", [x], (1, 2, 2, widths[0]), "INT8", made)
    flat = 4 * widths[0]
    x = b.add("RESHAPE", [x, b.integers(1, flat)], (1, flat), "INT8", options("ReshapeOptions"))
    for count, taken in ((units, flat), (3, units)):
        inputs = [x, b.weights((count, taken), "INT8", 0, False), b.bias(count, "INT8", False)]
        made = options("FullyConnectedOptions")
        x = b.add("FULLY_CONNECTED", inputs, (1, count), "INT8", made)
    return b.build()


@pytest.mark.parametrize("profile", [CMSIS, REFERENCE])
@pytest.mark.parametrize(("share", "part"), [("half", 2), ("a quarter", 4)])
def test_fewer_channels_everywhere_need_what_such_a_model_needs(
    share: str, part: int, profile: object
) -> None:
    """The oracle is a model built with fewer filters and units, planned anew."""
    before, after = two_blocks((16, 24)), two_blocks((16 // part, 24 // part), 12 // part)
    saved = effects(before, profile)[f"{share} of the channels in every layer"]

    def need(content: bytes) -> int:
        return compute_arena(read_graph(content), profile).minimum_bytes  # type: ignore[arg-type]

    assert saved == need(before) - need(after)


def test_where_the_next_layer_has_the_same_peak_that_of_all_is_said_first() -> None:
    found = suggest(two_blocks((16, 16)), CMSIS)
    texts = [s.text for s in found]
    everywhere = texts.index("a quarter of the channels in every layer")
    at_peak = [
        n for n, text in enumerate(texts) if text.startswith("half the channels at the peak")
    ]
    assert everywhere == 0
    assert all(found[n].bytes < 0.5 * found[0].bytes for n in at_peak)
    several = [s for s in found if "highest peaks" in s.text]
    assert several
    assert max(s.bytes for s in several) > max((found[n].bytes for n in at_peak), default=0)


def test_what_needs_most_afterwards_is_named() -> None:
    before, after = two_blocks((16, 24)), two_blocks((8, 12), 6)
    (way,) = [s for s in suggest(before, CMSIS) if s.text.startswith("half of the channels")]
    peak = compute_arena(read_graph(after), CMSIS).peak
    assert peak is not None
    assert peak.operator in way.then
    assert f"{peak.bytes:,} B" in way.then
    assert way.then in str(way)


def test_what_inputs_and_outputs_dictate_is_not_narrowed() -> None:
    b = GraphBuilder()
    x = b.activation((1, 8, 8, 6), "INT8")
    made = options("Conv2DOptions", padding=0, strideH=1, strideW=1)
    y = b.add(
        "CONV_2D",
        [x, b.weights((6, 3, 3, 6), "INT8", 0), b.bias(6, "INT8")],
        (1, 8, 8, 6),
        "INT8",
        made,
    )
    b.add("ADD", [x, y], (1, 8, 8, 6), "INT8", options("AddOptions"))
    assert not any("channels" in text for text in effects(b.build()))


def unrolled_model(steps: int, units: int = 8, features: int = 5, kind: str = "INT8") -> bytes:
    """h = tanh(x W + h R), step by step, in an order that differs from step to step."""
    b = GraphBuilder()
    whole = b.activation((1, steps, features), kind)
    shape = b.integers(steps, 1, features)
    made = options("ReshapeOptions")
    moved = b.add("RESHAPE", [whole, shape], (steps, 1, features), kind, made)
    first = b.add(
        "UNPACK", [moved], [(1, features)] * steps, kind, options("UnpackOptions", num=steps)
    )
    kernel = b.weights((units, features), kind, 0, False)
    recurrent = b.weights((units, units), kind, 0, False)
    dense = options("FullyConnectedOptions")
    state = b.add("FULLY_CONNECTED", [first, kernel], (1, units), kind, dense)
    for step in range(1, steps):
        parts = {"input": [first + step, kernel], "state": [state, recurrent]}
        both = {}
        for name in ("input", "state") if step % 3 else ("state", "input"):
            both[name] = b.add("FULLY_CONNECTED", parts[name], (1, units), kind, dense)
        pair = [both["input"], both["state"]]
        total = b.add("ADD", pair, (1, units), kind, options("AddOptions"))
        state = b.add("TANH", [total], (1, units), kind)
    inputs = [state, b.weights((3, units), kind, 0, False), b.bias(3, kind, False)]
    b.add("FULLY_CONNECTED", inputs, (1, 3), kind, dense)
    return b.build()


@pytest.mark.parametrize("profile", [CMSIS, REFERENCE])
@pytest.mark.parametrize(("steps", "half"), [(20, 10), (13, 7)])
def test_half_the_time_steps_need_what_such_a_model_needs(
    steps: int, half: int, profile: object
) -> None:
    found = effects(unrolled_model(steps), profile)
    saved = found[f"{half} time steps instead of {steps} in the unrolled recurrent layers"]
    need = [
        compute_arena(read_graph(unrolled_model(count)), profile).minimum_bytes  # type: ignore[arg-type]
        for count in (steps, half)
    ]
    assert saved == need[0] - need[1]


def test_unrolled_layers_have_a_fused_operator_and_a_loop_for_ways_out() -> None:
    found = effects(unrolled_model(30))
    fused = next(v for k, v in found.items() if "UNIDIRECTIONAL_SEQUENCE_LSTM" in k)
    loop = found["float32, where the recurrent layers stay loops"]
    shorter = next(v for k, v in found.items() if "time steps" in k)
    assert fused > loop > shorter > 0
    assert not any("channels" in text for text in list(found)[:3])


def test_an_arena_says_that_layers_are_unrolled() -> None:
    content = unrolled_model(30)
    arena = compute_arena(read_graph(content), CMSIS, content)
    assert "the recurrent layer is unrolled: 30 steps of up to 3 operators" in arena.explain()
    assert f"of the file's {len(content):,} B" in arena.explain()
    few = unrolled_model(3)
    assert compute_arena(read_graph(few), CMSIS, few).unrolled() == ""
    plain = two_blocks((4, 4))
    assert compute_arena(read_graph(plain), CMSIS, plain).unrolled() == ""


def test_a_file_that_is_too_large_for_its_steps_says_so(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    for steps in (30, 3):
        path.write_bytes(unrolled_model(steps))
        with pytest.raises(SizeExceeded) as caught:
            assert_size_within(path, "1 kB")
        assert ("30 steps of up to 3 operators" in str(caught.value)) == (steps == 30)
        assert ("Fewer time steps" in str(caught.value)) == (steps == 30)
