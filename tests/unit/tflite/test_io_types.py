from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from many_ends import signature
from model_building import GraphBuilder, one_operator, run_litert, tensor

from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.tflite.edit import pack, unpack
from pytest_edgequant.tflite.ends import file_inputs, file_outputs
from pytest_edgequant.tflite.graph import Graph, read_graph
from pytest_edgequant.tflite.io_types import ChangeIoType


def with_io_type(content: bytes, inner: str, io: str) -> bytes:
    found = ChangeIoType(inner, io).apply(content)
    assert not found.refused, found.reason
    return found.content


def refused(content: bytes, inner: str, io: str) -> str:
    found = ChangeIoType(inner, io).apply(content)
    assert found.refused
    return found.reason


FLOAT_IO = (Path(__file__).parents[2] / "data" / "tiny_int8_float_io.tflite").read_bytes()
CHANGED = {io: with_io_type(FLOAT_IO, "int8", io) for io in ("int8", "uint8")}
MEMBERS = {"int8": "int8", "uint8": "uint8_io"}


def integers(kind: str, count: int = 40) -> Any:
    limits = np.iinfo(kind)
    generator = np.random.default_rng(0)
    return generator.integers(limits.min, limits.max, (count, 8, 8, 1), kind, endpoint=True)


def ends(graph: Graph) -> list[tuple[str, float, int]]:
    found = []
    for index in (*graph.main.inputs, *graph.main.outputs):
        tensor = graph.main.tensors[index]
        assert tensor.quantization is not None
        found.append(
            (tensor.type, tensor.quantization.scales[0], tensor.quantization.zero_points[0])
        )
    return found


def constant_positions(content: bytes) -> list[int]:
    """Where in the file the data of each buffer begins."""
    model = schema.Model.GetRootAsModel(content, 0)
    found = []
    for index in range(model.BuffersLength()):
        table = model.Buffers(index)._tab
        field = flatbuffers.number_types.UOffsetTFlags.py_type(table.Offset(4))
        if field and table.VectorLen(field):
            found.append(table.Vector(field))
    return found


@pytest.mark.parametrize("io", CHANGED)
def test_integer_inputs_give_what_the_committed_model_gives(
    io: str, tiny: Mapping[str, Path]
) -> None:
    x = integers(io)
    committed = tiny[MEMBERS[io]].read_bytes()
    np.testing.assert_array_equal(run_litert(CHANGED[io], x), run_litert(committed, x))


@pytest.mark.parametrize("io", CHANGED)
def test_integers_give_what_the_float_model_gives_for_their_real_values(io: str) -> None:
    x = integers(io)
    (_, scale, zero), (_, out_scale, out_zero) = ends(read_graph(CHANGED[io]))
    real = (np.float32(scale) * (x.astype(np.float32) - zero)).astype(np.float32)
    y = run_litert(CHANGED[io], x).astype(np.float32)
    np.testing.assert_array_equal(
        np.float32(out_scale) * (y - out_zero), run_litert(FLOAT_IO, real)
    )


@pytest.mark.parametrize("io", CHANGED)
def test_inputs_and_outputs_have_the_type_and_the_scale(io: str) -> None:
    inner = ends(read_graph(CHANGED["int8"]))
    shift = 0 if io == "int8" else 128
    assert ends(read_graph(CHANGED[io])) == [(io.upper(), s, z + shift) for _, s, z in inner]


def test_the_same_type_drops_the_operators_at_the_edges() -> None:
    labels = {io: [o.name for o in read_graph(c).main.operators] for io, c in CHANGED.items()}
    assert labels["int8"] == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"]
    assert labels["uint8"] == ["QUANTIZE", *labels["int8"], "QUANTIZE"]


@pytest.mark.parametrize("io", CHANGED)
def test_the_signature_still_names_inputs_and_outputs(io: str) -> None:
    before, after = read_graph(FLOAT_IO), read_graph(CHANGED[io])
    for ends_of in (file_inputs, file_outputs):
        assert ends_of(after).names == ends_of(before).names
        assert len(ends_of(after).names) == 1


@pytest.mark.parametrize("io", CHANGED)
def test_no_tensor_and_no_operator_code_is_left_over(io: str) -> None:
    main = read_graph(CHANGED[io]).main
    used = {i for o in main.operators for i in (*o.inputs, *o.outputs)}
    assert used == set(range(len(main.tensors)))
    model = unpack(CHANGED[io])
    codes = [code.builtinCode for code in model.operatorCodes]
    assert {o.opcodeIndex for o in model.subgraphs[0].operators} == set(range(len(codes)))
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("io", CHANGED)
def test_constants_begin_at_multiples_of_sixteen(io: str) -> None:
    positions = constant_positions(CHANGED[io])
    assert len(positions) >= 4
    assert [position % 16 for position in positions] == [0] * len(positions)


def test_a_model_that_did_not_quantize_yet_learns_to() -> None:
    x = tensor("x", [1, 4], "INT8", scales=[0.5], zero_points=[-3])
    content = one_operator("DEQUANTIZE", [x], tensor("y", [1, 4], "FLOAT32"))
    changed = with_io_type(content, "int8", "uint8")
    assert [o.name for o in read_graph(changed).main.operators] == ["QUANTIZE"]
    samples = np.array([[-128, -1, 0, 127]], np.int8)
    assert run_litert(changed, samples).tolist() == [[0, 127, 128, 255]]


def test_packing_changes_nothing() -> None:
    x = integers("int8", 5)
    again = pack(unpack(CHANGED["int8"]))
    assert read_graph(again) == read_graph(CHANGED["int8"])
    np.testing.assert_array_equal(run_litert(again, x), run_litert(CHANGED["int8"], x))


def test_integer_inputs_and_outputs_stay_as_they_are(tiny: Mapping[str, Path]) -> None:
    content = tiny["int8"].read_bytes()
    assert read_graph(with_io_type(content, "int8", "uint8")) == read_graph(content)


@pytest.mark.parametrize("form", ["float32", "dynamic_range"])
def test_an_input_that_is_not_quantized_at_the_edge_is_named(
    form: str, tiny: Mapping[str, Path]
) -> None:
    said = refused(tiny[form].read_bytes(), "int8", "uint8")
    assert said.startswith("the input 'serving_default_image:0' is float and not quantized ")
    assert "can't be made uint8; use int8_float_io" in said


def test_another_inner_type_is_refused() -> None:
    assert "not quantized to int16 right there" in refused(FLOAT_IO, "int16", "int16")


def edges() -> bytes:
    """A float model, int8 inside: an input that is an output too, and one that nothing reads."""
    builder = GraphBuilder()
    read, unread = (builder.activation((1, 4), "FLOAT32", name) for name in ("read", "unread"))
    inside = builder.add("QUANTIZE", [read], (1, 4), "INT8")
    moved = builder.add("ABS", [inside], (1, 4), "INT8")
    made = builder.add("DEQUANTIZE", [moved], (1, 4), "FLOAT32")
    builder.build()
    builder.graph.inputs = np.asarray([unread, read], np.int32)
    builder.graph.outputs = np.asarray([made, read, made], np.int32)
    builder.model.signatureDefs = [
        signature(
            "serving_default", {"r": read, "u": unread}, {"p": read, "m": made, "again": made}, 0
        )
    ]
    return pack(builder.model)


@pytest.mark.parametrize("io", ["int8", "uint8"])
def test_inputs_that_are_outputs_or_that_nothing_reads(io: str, pipeline: Pipeline) -> None:
    changed = with_io_type(edges(), "int8", io)
    graph = read_graph(changed)
    main = graph.main
    assert {main.tensors[i].type for i in (*main.inputs, *main.outputs)} == {io.upper()}
    assert file_inputs(graph).names == ("u", "r")
    assert set(file_outputs(graph).names) == {"m", "p", "again"}
    x = {"r": np.array([[-2.0, -0.5, 0.0, 3.0]]), "u": np.array([[1e9, -7.0, 0.3, 2.0]])}
    variant = load_variant(changed)
    found = dict(zip((i.name for i in variant.outputs), variant.predict(x), strict=True))
    np.testing.assert_allclose(found["p"], x["r"], atol=0.05)
    np.testing.assert_allclose(found["m"], abs(x["r"]), atol=0.05)
    np.testing.assert_array_equal(found["again"], found["m"])


@pytest.mark.parametrize("io", ["int8", "uint8"])
def test_an_input_whose_readers_have_scales_of_their_own(io: str, pipeline: Pipeline) -> None:
    builder = GraphBuilder()
    x = builder.activation((1, 4), "FLOAT32", "x")
    for scale in (0.01, 0.05, 0.02):
        inside = builder.add("QUANTIZE", [x], (1, 4), "INT8")
        moved = builder.add("ABS", [inside], (1, 4), "INT8")
        for tensor_ in (inside, moved):
            builder.graph.tensors[tensor_].quantization.scale = np.asarray([scale], np.float32)
        builder.add("DEQUANTIZE", [moved], (1, 4), "FLOAT32")
    variant = load_variant(with_io_type(builder.build(), "int8", io))
    assert variant.inputs[0].scale == pytest.approx(0.05)
    samples = np.array([[-5.0, -0.6, 0.31, 6.0]])
    for found, most in zip(variant.predict(samples), (1.27, 6.35, 2.54), strict=True):
        np.testing.assert_allclose(found, np.minimum(abs(samples), most), atol=0.03)


def test_an_input_that_is_passed_on_alone_has_no_scale() -> None:
    builder = GraphBuilder()
    x = builder.activation((1, 4), "FLOAT32", "x")
    builder.build()
    builder.graph.outputs = builder.graph.inputs = np.asarray([x], np.int32)
    said = refused(pack(builder.model), "int8", "int8")
    assert "'x' is float and not quantized to int8" in said
