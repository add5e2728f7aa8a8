"""Inputs and outputs are met by tensor: in any order, on every runtime, from one cache."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st
from many_ends import ManyEnds, in_order, many_ends, signature
from model_building import GraphBuilder

from pytest_edgequant import compare_accuracy, evaluate, measure_runtime_parity, task_metric
from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.conversion.built import build_variant
from pytest_edgequant.pipeline.current import run_variant
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.records import Variant
from pytest_edgequant.tflite.edit import pack
from pytest_edgequant.tflite.ends import (
    aligned,
    file_inputs,
    file_outputs,
    model_inputs,
    model_outputs,
    unique,
)
from pytest_edgequant.tflite.graph import read_graph
from pytest_edgequant.tflite.model import TFLiteModel

RUNTIMES = ["litert", *(["tflm"] if find_spec("tflite_micro") else [])]


def of(model: ManyEnds) -> Variant:
    """The file as a conversion hands it out: in the model's order."""
    variant = build_variant(
        "float32", TFLiteModel(model.content, "m"), Path("m.tflite"), model.meta
    )
    return dataclasses.replace(variant, runner=run_variant)


def seen(variant: Variant, x: Any, count: int, runtime: str, output: Any) -> Any:
    """The values of one output that a metric is given."""
    found: list[Any] = []

    def keep(_: Any, outputs: Any) -> float:
        found.append(np.array(outputs))
        return 0.0

    metric = task_metric(keep, higher_is_better=False, on="scores")
    labels = np.zeros(count, int)
    evaluate(variant, (x, labels), metric=metric, runtime=runtime, output=output)
    return found[0]


@settings(max_examples=25)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10_000), st.booleans())
def test_names_stand_for_the_tensors_that_the_interpreter_knows(
    inputs: int, outputs: int, seed: int, signed: bool
) -> None:
    model = many_ends(inputs, outputs, seed)
    graph = read_graph(model.content)
    interpreter = Interpreter(model_content=model.content)
    known = interpreter._get_full_signature_list()["serving_default"]
    meta = model.meta if signed else {"inputs": None, "outputs": None}
    for ends, names, theirs, details in (
        (model_inputs(graph, meta["inputs"]), model.inputs, known["inputs"], "input"),
        (model_outputs(graph, meta["outputs"]), model.outputs, known["outputs"], "output"),
    ):
        assert dict(zip(ends.names, ends.tensors, strict=True)) == theirs
        if signed:
            assert ends.names == names
        else:
            own = getattr(interpreter, f"get_{details}_details")()
            assert list(ends.tensors) == [detail["index"] for detail in own]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 5), (2, 2), (5, 1), (12, 12)])
def test_every_output_is_its_own_on_every_runtime(
    runtime: str, signed: bool, inputs: int, outputs: int, pipeline: Pipeline
) -> None:
    model = many_ends(inputs, outputs, 10 * inputs + outputs, signed=signed)
    variant = of(model) if signed else load_variant(model.content)
    order = [info.name for info in variant.inputs]
    positional = in_order(model.samples, order)
    for position, info in enumerate(variant.outputs):
        if not signed and info.name not in model.expected:
            continue  # an input that is passed on has the input's name
        for x in (model.samples, positional if inputs > 1 else positional[0]):
            for output in (position, info.name):
                found = seen(variant, x, 9, runtime, output)
                np.testing.assert_array_equal(found, model.expected[info.name])


@pytest.mark.parametrize("seed", range(3))
def test_predict_gives_the_model_s_order(seed: int, pipeline: Pipeline) -> None:
    model = many_ends(6, 7, seed)
    for x in (model.samples, in_order(model.samples, model.inputs)):
        for found, name in zip(of(model).predict(x), model.outputs, strict=True):
            np.testing.assert_array_equal(found, model.expected[name])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_two_orders_of_the_same_bytes_keep_apart_in_one_cache(
    runtime: str, fresh_pipeline: Pipeline
) -> None:
    model = many_ends(4, 2, 5, alike=True)
    first, other = of(model), load_variant(model.content)
    orders = [[info.name for info in variant.inputs] for variant in (first, other)]
    assert orders[0] != orders[1]
    x = in_order(model.samples, model.inputs)
    for variant, order in ((first, orders[0]), (other, orders[1]), (first, orders[0])):
        # A tuple's arrays are other inputs' for each of them, and so are the outputs.
        given = dict(zip(order, x, strict=True))
        for position, info in enumerate(variant.outputs):
            right = variant.predict(given)[position]
            np.testing.assert_array_equal(seen(variant, x, 9, runtime, position), right)
            source = next(
                n for n in order if np.ptp(model.expected[info.name] - model.samples[n]) == 0
            )
            number = model.expected[info.name][0, 0] - model.samples[source][0, 0]
            np.testing.assert_array_equal(right, given[source] + number)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_outputs_are_computed_once_for_all_orders_where_samples_have_names(
    runtime: str, fresh_pipeline: Pipeline
) -> None:
    model = many_ends(3, 3, 8)
    dataset = model.samples, np.zeros(9, int)
    metric = task_metric(lambda y, p: float(p.sum()), higher_is_better=False, on="scores")
    evaluate(of(model), dataset, metric=metric, runtime=runtime, output="y_1")
    written = fresh_pipeline.cache.counts.writes
    found = evaluate(
        load_variant(model.content), dataset, metric=metric, runtime=runtime, output="y_1"
    )
    assert found.value == float(model.expected["y_1"].sum())
    assert fresh_pipeline.cache.counts.writes == written + 1  # the file's own bytes


@pytest.mark.skipif(len(RUNTIMES) < 2, reason="there is a wheel for Linux x86-64 only")
def test_runtimes_agree_on_many_inputs_and_outputs(pipeline: Pipeline) -> None:
    model = many_ends(8, 8, 3)
    parity = measure_runtime_parity(of(model), (model.samples, np.zeros(9, int)))
    assert parity.max_steps == 0
    assert parity.count == 9


def test_a_comparison_meets_outputs_by_name(pipeline: Pipeline) -> None:
    model = many_ends(4, 4, 11, alike=True)
    ours, theirs = of(model), load_variant(model.content)
    assert [i.name for i in ours.outputs] != [i.name for i in theirs.outputs]
    for candidate, baseline in ((ours, theirs), (theirs, ours)):
        x = in_order(model.samples, [i.name for i in baseline.inputs])
        found = compare_accuracy(
            candidate, baseline, (x, np.zeros(9, int)), metric="agreement", output=0
        )
        assert found.candidate == 1.0
        assert found.fidelity is not None
        assert found.fidelity.largest_error == 0.0


def test_what_has_other_names_keeps_its_order() -> None:
    one, other = of(many_ends(2, 2, 0)), of(many_ends(3, 3, 0))
    assert aligned(one, other) == one


def test_the_signature_of_the_first_subgraph_names_it() -> None:
    builder = GraphBuilder()
    x = builder.activation((1, 4), "FLOAT32", "x")
    y = builder.add("ABS", [x], (1, 4), "FLOAT32")
    builder.build()
    other = GraphBuilder()
    other.add("ABS", [other.activation((1, 9), "FLOAT32", "z")], (1, 9), "FLOAT32")
    other.build()
    builder.model.subgraphs = [builder.graph, other.graph]
    builder.model.signatureDefs = [
        signature("elsewhere", {"far": 0}, {"away": 1}, 1),
        signature("also", {"other": x}, {"another": y}, 0),
        signature("serving_default", {"near": x}, {"by": y}, 0),
    ]
    graph = read_graph(pack(builder.model))
    assert (file_inputs(graph).names, file_outputs(graph).names) == (("near",), ("by",))
    builder.model.signatureDefs = builder.model.signatureDefs[:2]
    assert file_inputs(read_graph(pack(builder.model))).names == ("other",)
    builder.model.signatureDefs = builder.model.signatureDefs[:1]
    assert file_inputs(read_graph(pack(builder.model))).names == ("x",)


def test_a_tensor_that_is_listed_twice_is_one_input_and_two_outputs() -> None:
    builder = GraphBuilder()
    x = builder.activation((1, 4), "FLOAT32", "x")
    y = builder.add("ABS", [x], (1, 4), "FLOAT32")
    builder.build()
    builder.graph.inputs = np.asarray([x, x], np.int32)
    builder.graph.outputs = np.asarray([y, x, y], np.int32)
    builder.model.signatureDefs = [
        signature("serving_default", {"a": x}, {"p": y, "q": y, "r": x}, 0)
    ]
    graph = read_graph(pack(builder.model))
    assert file_inputs(graph).names == ("a",)
    assert file_outputs(graph).names == ("p", "r", "q")
    assert file_outputs(graph).tensors == (y, x, y)


@given(st.lists(st.sampled_from(["", "a", "a_1", "a_2", "b", "x_0", "x_1"]), max_size=8))
def test_names_are_made_unique_and_else_left_alone(names: list[str]) -> None:
    found = unique(names, "x")
    assert len(set(found)) == len(names)
    assert "" not in found
    first = {}
    for name, made in zip(names, found, strict=True):
        if name and name not in first:
            first[name] = made
    assert all(name == made for name, made in first.items())


def test_inputs_without_names_can_be_told_apart(pipeline: Pipeline) -> None:
    builder = GraphBuilder()
    one, two = (builder.activation((1, 4), "FLOAT32") for _ in range(2))
    for tensor in (one, two):
        builder.graph.tensors[tensor].name = b"x"
    builder.add("SUB", [one, two], (1, 4), "FLOAT32")
    variant = load_variant(builder.build())
    assert [i.name for i in variant.inputs] == ["x", "x_1"]
    x = {"x": np.full((3, 4), 5.0), "x_1": np.full((3, 4), 2.0)}
    np.testing.assert_array_equal(variant.predict(x), np.full((3, 4), 3.0))
