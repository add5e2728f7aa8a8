"""The arena of random graphs, written without a converter, against the interpreter to the byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_building import TENSOR_TYPES, GraphBuilder
from random_models import LAYERS, options, random_model

from pytest_edgequant.errors import CannotRunError
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.measure.arena import compute_arena, tflm_worker
from pytest_edgequant.targets.profiles import make_profile
from pytest_edgequant.tflite.graph import read_graph

HOST = make_profile("x86_64", "-", "reference")
KINDS = ("INT8", "INT16", "FLOAT32")
TENSOR_CODES = {name: code for code, name in TENSOR_TYPES.items()}
UNHURRIED = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def compare(content: bytes, tflm: IsolatedProcess) -> bool:
    """Whether the interpreter takes the model; ours must equal what it reports then."""
    try:
        theirs = tflm.call(tflm_worker.measure, content)
    except CannotRunError:
        return False
    ours = compute_arena(read_graph(content), HOST)
    assert (ours.nonpersistent_bytes, ours.persistent_bytes) == (theirs.head, theirs.tail)
    assert ours.total_bytes == theirs.total
    return True


@UNHURRIED
@given(data=st.data())
def test_random_graphs_equal_the_interpreter(data: Any, tflm: IsolatedProcess) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    length = data.draw(st.integers(1, 12))
    content = random_model(lambda low, high: data.draw(st.integers(low, high)), kind, length)
    compare(content, tflm)


@pytest.mark.parametrize("number", range(len(LAYERS)))
def test_each_kind_of_layer_equals_the_interpreter(number: int, tflm: IsolatedProcess) -> None:
    import random

    compared = 0
    for kind in KINDS:
        for seed in range(3):
            b = GraphBuilder()
            pick = random.Random(1000 * number + seed).randint
            x = b.activation((pick(1, 2), pick(1, 4) * 2, pick(1, 4) * 2, pick(1, 20)), kind)
            LAYERS[number](b, x, pick)
            compared += bool(b.graph.operators) and compare(b.build(), tflm)
    if not compared:
        pytest.skip("the interpreter takes none of these, or they need other shapes")


# -- deep graphs: planning, and time that grows with the model -------------------------------------


def chain(count: int) -> bytes:
    b = GraphBuilder()
    x = b.activation((1, 8, 8, 4), "INT8")
    for _ in range(count):
        x = b.add("RELU", [x], (1, 8, 8, 4), "INT8")
    return b.build()


@pytest.mark.parametrize("count", [1, 50, 400])
def test_long_chains_equal_the_interpreter(count: int, tflm: IsolatedProcess) -> None:
    assert compare(chain(count), tflm)


# -- custom operators that come with TFLM ----------------------------------------------------------


def custom(
    code: str,
    given: Sequence[tuple[tuple[int, ...], str | float]],
    made: list[tuple[tuple[int, ...], str]],
    **values: Any,
) -> bytes:
    """A model of one custom operator with its options as a flexbuffer."""
    from flatbuffers import flexbuffers

    builder = flexbuffers.Builder()
    with builder.Map():
        for key, value in sorted(values.items()):
            builder.Key(key)
            builder.Add(value)
    b = GraphBuilder()
    # A number for a kind stands for a constant of that value: anchors, and boxes that are valid.
    inputs = [
        b.activation(shape, kind)
        if isinstance(kind, str)
        else b.constant(np.full(shape, kind, np.float32), "FLOAT32")
        for shape, kind in given
    ]
    y = b.add(
        "CUSTOM",
        inputs,
        [shape for shape, _ in made],
        made[0][1],
        custom_code=code,
        custom_options=bytes(builder.Finish()),
    )
    for index, (_, kind) in enumerate(made):
        b.graph.tensors[y + index].type = TENSOR_CODES[kind]
    return b.build()


I16, F32, BOOL = "INT16", "FLOAT32", "BOOL"
CUSTOM_MODELS = {
    "delay": custom("SignalDelay", [((3, 64), I16)], [((3, 64), I16)], delay_length=7),
    "framer": custom(
        "SignalFramer",
        [((2, 160), I16)],
        [((2, 2, 100), I16), ((), BOOL)],
        frame_size=100,
        frame_step=80,
        prefill=True,
    ),
    "stacker": custom(
        "SignalStacker",
        [((40,), I16)],
        [((120,), I16), ((), BOOL)],
        num_channels=40,
        stacker_left_context=1,
        stacker_right_context=1,
        stacker_step=2,
    ),
    "overlap_add": custom(
        "SignalOverlapAdd", [((2, 4, 32), I16)], [((2, 64), I16)], T=7, frame_step=16
    ),
    "overlap_add_float": custom(
        "SignalOverlapAdd", [((1, 4, 30), F32)], [((1, 60), F32)], T=0, frame_step=15
    ),
    "rfft": custom("SignalRfft", [((1, 128), I16)], [((1, 130), I16)], T=7, fft_length=128),
    "rfft_float": custom("SignalRfft", [((1, 64), F32)], [((1, 66), F32)], T=0, fft_length=64),
    "rfft_int32": custom(
        "SignalRfft", [((1, 64), "INT32")], [((1, 66), "INT32")], T=2, fft_length=64
    ),
    "irfft": custom("SignalIrfft", [((1, 130), I16)], [((1, 128), I16)], T=7, fft_length=128),
    "irfft_float": custom("SignalIrfft", [((1, 66), F32)], [((1, 64), F32)], T=0, fft_length=64),
    "circular_buffer": custom(
        "CIRCULAR_BUFFER", [((1, 1, 1, 8), "INT8")], [((1, 5, 1, 8), "INT8")], cycles_max=1
    ),
    "detection": custom(
        "TFLite_Detection_PostProcess",
        [((1, 6, 4), 0.0), ((1, 6, 3), F32), ((6, 4), 1.0)],
        [((1, 3, 4), F32), ((1, 3), F32), ((1, 3), F32), ((1,), F32)],
        max_detections=3,
        max_classes_per_detection=1,
        num_classes=2,
        nms_score_threshold=0.0,
        nms_iou_threshold=0.5,
        y_scale=10.0,
        x_scale=10.0,
        h_scale=5.0,
        w_scale=5.0,
    ),
}


@pytest.mark.parametrize("name", CUSTOM_MODELS)
def test_custom_operators_equal_the_interpreter(name: str, tflm: IsolatedProcess) -> None:
    content = CUSTOM_MODELS[name]
    assert compute_arena(read_graph(content), HOST).exact
    assert compare(content, tflm)


# -- weights of four bits, and weights that are computed -------------------------------------------


def with_weights(name: str, kind: str | None) -> bytes:
    """One layer whose weights are packed four-bit constants, or (None) an input."""
    b = GraphBuilder()
    shapes = {
        "CONV_2D": ((1, 6, 6, 4), (8, 3, 3, 4), (1, 6, 6, 8), 0),
        "DEPTHWISE_CONV_2D": ((1, 6, 6, 4), (1, 3, 3, 4), (1, 6, 6, 4), 3),
        "FULLY_CONNECTED": ((1, 32), (10, 32), (1, 10), 0),
    }
    source, shape, output, axis = shapes[name]
    x = b.activation(source, "INT8")
    if kind is None:
        weights = b.activation(shape, "INT8")
    else:
        count = 1 if name == "FULLY_CONNECTED" else shape[axis]
        packed = np.zeros((int(np.prod(shape)) + 1) // 2, np.int8)
        weights = b.constant(packed, kind, scales=[0.01] * count, axis=axis)
        b.graph.tensors[weights].shape = list(shape)
    made = {
        "CONV_2D": options("Conv2DOptions", strideH=1, strideW=1),
        "DEPTHWISE_CONV_2D": options(
            "DepthwiseConv2DOptions", strideH=1, strideW=1, depthMultiplier=1
        ),
        "FULLY_CONNECTED": options("FullyConnectedOptions"),
    }
    bias = b.bias(shape[axis], "INT8", axis != 0) if kind is not None else -1
    inputs = [x, weights, bias]
    b.add(name, inputs, output, "INT8", made[name])
    return b.build()


@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
def test_four_bit_weights_equal_the_interpreter(name: str, tflm: IsolatedProcess) -> None:
    assert compare(with_weights(name, "INT4"), tflm)


def test_weights_that_are_computed_equal_the_interpreter(tflm: IsolatedProcess) -> None:
    assert compare(with_weights("FULLY_CONNECTED", None), tflm)


def test_sums_of_weights_that_are_computed_are_scratch_on_helium() -> None:
    helium = make_profile("arm32", "cortex-m55", "cmsis-nn")
    found = compute_arena(read_graph(with_weights("FULLY_CONNECTED", None)), helium)
    assert [b.size for b in found.plan if b.kind == "scratch"] == [48]
