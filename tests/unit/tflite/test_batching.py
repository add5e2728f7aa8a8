"""Batched copies give, bit for bit, what the deployed file gives one sample at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from model_building import GraphBuilder, one_operator, tensor
from random_models import options

from pytest_edgequant.tflite.batching import BatchSamples

COUNT = 16
OVERWRITES = "tflm_keyword_scrambled_8bit.tflite"
"""LiteRT 2.3 writes past its tensors here, which ends or damages a process that is not its own."""


def batched_copy(content: bytes, count: int) -> bytes:
    found = BatchSamples(count).apply(content)
    assert found.changed, found.reason
    return found.content


def interpreter(content: bytes) -> Any:
    made = Interpreter(model_content=content, num_threads=1)
    made.allocate_tensors()
    return made


def drawn(details: Any, count: int, rng: np.random.Generator) -> Any:
    """Samples (count, *shape) of an input's type."""
    shape, dtype = (count, *details["shape"]), np.dtype(details["dtype"])
    if dtype.kind == "f":
        return rng.normal(size=shape).astype(dtype)
    if dtype.itemsize > 2:
        return rng.integers(0, 4, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)


def assert_same_bits(content: bytes, where: str = "") -> None:
    single, batched = interpreter(content), interpreter(batched_copy(content, COUNT))
    rng = np.random.default_rng(0)
    samples = [drawn(details, COUNT, rng) for details in single.get_input_details()]
    expected = []
    for position in range(COUNT):
        for details, array in zip(single.get_input_details(), samples, strict=True):
            single.set_tensor(details["index"], array[position])
        single.invoke()
        expected.append([single.get_tensor(d["index"]) for d in single.get_output_details()])
    for details, array in zip(batched.get_input_details(), samples, strict=True):
        batched.set_tensor(details["index"], array.reshape(details["shape"]))
    batched.invoke()
    for number, details in enumerate(batched.get_output_details()):
        found = batched.get_tensor(details["index"])
        wanted = np.stack([outputs[number] for outputs in expected])
        assert found.reshape(wanted.shape).tobytes() == wanted.tobytes(), where


@pytest.mark.parametrize(
    "form", ["float32", "float16", "dynamic_range", "int8", "int8_float_io", "uint8_io", "int16x8"]
)
def test_the_small_model_in_every_form(form: str, tiny: Mapping[str, Path]) -> None:
    assert_same_bits(tiny[form].read_bytes())


# LiteRT writes beyond its buffers when it runs this one's SVDF; the process dies some time later.
CORRUPTS = "tflm_keyword_scrambled_8bit.tflite"


def test_reference_models(reference: Path) -> None:
    """Every model that LiteRT runs and that the rules take; most are of that kind."""
    compared = 0
    for path in sorted((reference / "models").glob("*.tflite"))[::4]:
        if path.name == OVERWRITES:
            continue
        content = path.read_bytes()
        if path.name == CORRUPTS:
            continue
        try:
            single = interpreter(content)
            for details in single.get_input_details():
                single.set_tensor(details["index"], np.ones(details["shape"], details["dtype"]))
            single.invoke()
        except (RuntimeError, ValueError):
            continue
        if BatchSamples(COUNT).apply(content).refused:
            continue
        assert_same_bits(content, path.name)
        compared += 1
    assert compared > 50


def refused(content: bytes) -> str:
    found = BatchSamples(4).apply(content)
    assert found.refused
    assert found.content is content
    return found.reason


def test_operators_along_the_batch_axis_are_refused() -> None:
    given = [tensor("x", (1, 4), "FLOAT32"), tensor("axis", (1,), "INT32")]
    output = tensor("y", (1, 4), "FLOAT32")
    content = one_operator("SUM", given, output, constants={1: np.asarray([0], np.int32)})
    assert refused(content) == "SUM (operator 0) works along the batch axis"
    given = [tensor("x", (1, 4), "FLOAT32"), tensor("perm", (2,), "INT32")]
    output = tensor("y", (4, 1), "FLOAT32")
    content = one_operator("TRANSPOSE", given, output, constants={1: np.asarray([1, 0], np.int32)})
    assert refused(content) == "TRANSPOSE (operator 0) moves the batch axis"


def test_constants_along_the_batch_axis_are_refused() -> None:
    given = [tensor("x", (3, 4), "FLOAT32"), tensor("c", (3, 4), "FLOAT32")]
    content = one_operator(
        "ADD", given, tensor("y", (3, 4), "FLOAT32"), constants={1: np.ones((3, 4), np.float32)}
    )
    assert refused(content) == "ADD (operator 0) has a constant along the batch axis"


def test_unknown_operators_are_refused() -> None:
    content = one_operator(
        "CUSTOM", [tensor("x", (1, 4), "FLOAT32")], tensor("y", (1, 4), "FLOAT32"), custom_code="z"
    )
    assert "has no rule" in refused(content)


def test_models_with_state_are_refused(reference: Path) -> None:
    content = (reference / "models" / "tflm_mnist_lstm_f32.tflite").read_bytes()
    assert refused(content) == "the model keeps state in variables"


def test_a_constant_that_others_share_stays_as_it_is(tiny: Mapping[str, Path]) -> None:
    """Two copies of one model don't depend on each other, nor on the order they are made in."""
    content = tiny["int8"].read_bytes()
    first = batched_copy(content, 4)
    batched_copy(content, 8)
    assert batched_copy(content, 4) == first


# -- unrolled recurrent layers --------------------------------------------------------------------


def unrolled(
    *, move: str = "RESHAPE", order: tuple[int, ...] = (1, 0, 2), back: bool = True
) -> Any:
    """Steps (5, 1, 4) of a sample (1, 5, 4), one summed to the next; twice, as two layers are."""
    builder = GraphBuilder()

    def moved(tensor: int, shape: tuple[int, ...]) -> int:
        if move == "RESHAPE":
            chosen = options("ReshapeOptions", newShape=list(shape))
            return builder.add(move, [tensor, builder.integers(*shape)], shape, "FLOAT32", chosen)
        return builder.add(move, [tensor, builder.integers(*order)], shape, "FLOAT32")

    steps = moved(builder.activation((1, 5, 4), "FLOAT32"), (5, 1, 4))
    for _ in range(2):
        chosen = options("UnpackOptions", num=5, axis=0)
        first = builder.add("UNPACK", [steps], [(1, 4)] * 5, "FLOAT32", chosen)
        found = [first]
        for step in range(first + 1, first + 5):
            flat = builder.add(
                "RESHAPE",
                [found[-1], builder.integers(4)],
                (4,),
                "FLOAT32",
                options("ReshapeOptions", newShape=[4]),
            )
            added = builder.add("ADD", [step, flat], (1, 4), "FLOAT32", options("AddOptions"))
            found.append(builder.add("TANH", [added], (1, 4), "FLOAT32"))
        chosen = options("PackOptions", valuesCount=5, axis=0)
        steps = builder.add("PACK", found, (5, 1, 4), "FLOAT32", chosen)
    if back:
        moved(steps, (1, 5, 4))
    return builder.build()


@pytest.mark.parametrize("move", ["RESHAPE", "TRANSPOSE"])
def test_unrolled_layers(move: str) -> None:
    assert_same_bits(unrolled(move=move))


def test_unrolled_layers_of_the_converter(reference: Path) -> None:
    paths = sorted((reference / "models").glob("op_*_unroll_*.tflite"))
    assert paths
    for path in paths:
        assert_same_bits(path.read_bytes(), path.name)


def test_steps_that_are_given_out_are_refused() -> None:
    assert "PACK" in refused(unrolled(back=False))


def test_steps_that_are_transposed_in_another_order_are_refused() -> None:
    assert "TRANSPOSE" in refused(unrolled(move="TRANSPOSE", order=(2, 0, 1)))
