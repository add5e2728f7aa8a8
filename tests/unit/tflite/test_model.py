"""What is read of a file is read once, and goes with its bytes."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest
from model_building import GraphBuilder

from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.errors import ModelError
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.tflite.graph import forget_graphs, read_graph
from pytest_edgequant.tflite.model import TFLiteModel, graph_of, model_of

Tiny = Mapping[str, Path]


def test_the_same_bytes_are_read_once_whatever_they_are_called(tiny: Tiny) -> None:
    content = tiny["int8"].read_bytes()
    first, second = TFLiteModel(content, "a"), TFLiteModel(bytes(bytearray(content)), "b")
    assert first.graph is second.graph
    assert first.graph is read_graph(content, "c")
    other = TFLiteModel(tiny["float32"].read_bytes(), "a")
    assert other.graph is not first.graph
    kept = first.graph
    forget_graphs()
    assert read_graph(content) is not kept


def test_all_that_ask_of_a_variant_share_a_reading(pipeline: Pipeline, tiny: Tiny) -> None:
    variant = load_variant(tiny["int8"])
    assert graph_of(variant) is graph_of(load_variant(tiny["int8"].read_bytes()))
    assert model_of(variant).graph is graph_of(variant)
    assert (model_of(variant).where, model_of(variant).fingerprint) == (
        "tiny_int8/int8",
        variant.fingerprint,
    )


@pytest.mark.parametrize("form", ["float32", "int8"])
def test_a_form_is_told_of_the_file(tiny: Tiny, form: str) -> None:
    assert TFLiteModel(tiny[form].read_bytes()).form == form


def test_each_name_stands_in_what_is_said_of_it() -> None:
    for where in ("one.tflite", "other.tflite", "one.tflite"):
        with pytest.raises(ModelError, match=rf"^{where}: the file is empty"):
            _ = TFLiteModel(b"", where).graph
    with pytest.raises(ModelError, match=r"^one: int8: not a \.tflite file"):
        _ = TFLiteModel(b"PK and something else", "one").at("int8").graph


def test_a_file_that_computes_nothing_has_a_graph_but_no_form() -> None:
    builder = GraphBuilder()
    builder.activation((1, 4), "FLOAT32")
    model = TFLiteModel(builder.build(), "idle.tflite")
    assert model.graph.main.operators == ()
    for _ in range(2):
        with pytest.raises(ModelError, match=r"^idle\.tflite: the model has no outputs"):
            _ = model.form


def test_bytes_and_name_alone_go_into_another_process(tiny: Tiny) -> None:
    model = TFLiteModel(tiny["int8"].read_bytes(), "m")
    before = pickle.dumps(model)
    assert model.graph.main.operators
    assert (model.form, len(model.fingerprint)) == ("int8", 64)
    assert pickle.dumps(model) == before
    assert len(before) < len(model.content) + 200
    there = pickle.loads(before)
    assert (there, there.fingerprint) == (model, model.fingerprint)
