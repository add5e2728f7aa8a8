"""The layer that a tensor's name tells, and what replaces an operator in it."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from model_building import GraphBuilder

from pytest_edgequant.conversion.replacing import instead, layer_of, replacements
from pytest_edgequant.measure.legality import graph_refusals
from pytest_edgequant.targets import Targets
from pytest_edgequant.tflite.graph import read_graph


@pytest.mark.parametrize(
    "name, layer",
    [
        ("sequential_1/embedding_1/SelectV2", "embedding_1"),
        ("model/dense/MatMul;model/dense/BiasAdd;model/other/Relu", "dense"),
        ("StatefulPartitionedCall/sequential/conv2d/Conv2D", "conv2d"),
        ("model/bidirectional/forward_lstm/lstm_cell/MatMul", "bidirectional"),
        ("embedding/SelectV2", "embedding"),
        ("StatefulPartitionedCall:0", None),
        ("tfl.dequantize", None),
        ("arith.constant6", None),
        ("serving_default_input:0", None),
        ("t2", None),
        ("", None),
        ("a//;/", None),
    ],
)
def test_the_layer_of_a_name(name: str, layer: str | None) -> None:
    assert layer_of(name) == layer


@pytest.mark.parametrize(
    "operator, name, kind, word",
    [
        ("NEG", "m/layer_normalization_1/Neg", "FLOAT32", "BatchNormalization"),
        ("NEG", "m/group_normalization/Neg", "FLOAT32", "BatchNormalization"),
        ("NEG", "m/my_layer/Neg", "FLOAT32", "0.0 - x"),
        ("SQUARE", "m/unit_normalization/Square", "FLOAT32", "rsqrt"),
        ("SQUARE", "m/my_layer/Square", "FLOAT32", "x * x"),
        ("TILE", "m/repeat_vector/Repeat/Tile", "INT8", "stack"),
        ("TILE", "m/up_sampling1d/Repeat/Tile", "INT8", "resize"),
        ("SELECT", "m/dense/Selu9", "INT8", "swish"),
        ("SELECT", "m/mine/SelectV2", "INT8", "keras.ops.where(mask, x, 0.0)"),
        ("EXP", "m/dense/Softplus1", "INT8", "swish"),
        ("REDUCE_ANY", "m/masking_1/Any", "BOOL", "mask_zero=False"),
        ("UNPACK", "m/lstm/unstack_1", "BOOL", "mask_zero=False"),
        ("REDUCE_MAX", "m/global_max_pooling2d/Max", "INT16", "MaxPooling2D"),
        ("REDUCE_MAX", "m/global_max_pooling2d/Max", "INT8", None),
        ("ADD", "m/add/add", "INT8", None),
    ],
)
def test_what_replaces_an_operator_depends_on_its_layer(
    operator: str, name: str, kind: str, word: str | None
) -> None:
    way = instead(operator, name, kind)
    assert (way is None) if word is None else (way is not None and word in way)


def lookup(layer: str) -> bytes:
    """As Keras 3 looks up: indices made positive by a SELECT, then a GATHER."""
    builder = GraphBuilder()
    negative = builder.activation([1, 8], "BOOL")
    ids = builder.activation([1, 8], "INT32")
    positive = builder.add("SELECT", [negative, ids, ids], [1, 8], "INT32")
    table = builder.constant(np.ones((50, 4), np.float32), "FLOAT32")
    options = schema.GatherOptionsT()
    builder.add("GATHER", [table, positive], [1, 8, 4], "FLOAT32", options)
    builder.graph.tensors[positive].name = f"sequential/{layer}/SelectV2".encode()
    return builder.build()


@pytest.mark.parametrize("layer", ["embedding", "words"])
def test_a_lookup_is_told_by_what_it_feeds(layer: str) -> None:
    """Its layer may have any name."""
    (said,) = graph_refusals(read_graph(lookup(layer)), Targets().get("nano33ble"))
    assert f"In the layer '{layer}': Keras 3 adds it to Embedding" in said
    assert "tf.gather(self.table, ids)" in said


def test_each_layer_and_way_is_told_once() -> None:
    builder = GraphBuilder()
    x = builder.activation([1, 4], "FLOAT32")
    for name in ("m/one/Neg", "m/one/Neg_1", "m/two/Neg", "m/two/add"):
        x = builder.add("NEG" if "Neg" in name else "ABS", [x], [1, 4], "FLOAT32")
        builder.graph.tensors[x].name = name.encode()
    told = replacements(read_graph(builder.build()), {"NEG", "ABS"})
    assert [way.split(":")[0] for way in told] == ["In the layer 'one'", "In the layer 'two'"]


# Operators and names in a row, their shape, the operator that is asked about, a word of the way
LAYERS_OF_ANY_NAME = {
    "layer normalization": (
        [("MEAN", "mean"), ("SQUARED_DIFFERENCE", "sd"), ("RSQRT", "Rsqrt"), ("NEG", "Neg")],
        [1, 4],
        "NEG",
        "BatchNormalization",
    ),
    "rms normalization": (
        [("SQUARE", "Square"), ("MEAN", "Mean"), ("RSQRT", "Rsqrt")],
        [1, 4],
        "SQUARE",
        "x * keras.ops.rsqrt",
    ),
    "repeat vector": ([("TILE", "Repeat/Tile")], [1, 1, 1, 6], "TILE", "axis=1"),
    "up-sampling": ([("TILE", "Repeat/Tile")], [1, 4, 1, 4, 3], "TILE", "image.resize"),
    "mask": (
        [("NOT_EQUAL", "NotEqual"), ("REDUCE_ANY", "Any")],
        [1, 6, 3],
        "NOT_EQUAL",
        "mask_zero=False",
    ),
    "own layer": ([("NEG", "Neg"), ("ABS", "Abs")], [1, 4], "NEG", "0.0 - x"),
}


@pytest.mark.parametrize("case", LAYERS_OF_ANY_NAME)
def test_a_layer_is_told_by_its_operators_whatever_its_name(case: str) -> None:
    """An operator of that kind in another layer has no part in it."""
    operators, shape, asked, word = LAYERS_OF_ANY_NAME[case]
    builder = GraphBuilder()
    x = builder.activation(shape, "FLOAT32")
    x = builder.add("RSQRT", [x], shape, "FLOAT32")
    builder.graph.tensors[x].name = b"model/before/Rsqrt"
    for operator, name in operators:
        x = builder.add(operator, [x], shape, "FLOAT32")
        builder.graph.tensors[x].name = f"model/block_a/{name}".encode()
    (told,) = replacements(read_graph(builder.build()), {asked})
    assert told.startswith("In the layer 'block_a': ")
    assert word in told


def test_several_slices_of_more_than_four_dimensions_are_steps() -> None:
    builder = GraphBuilder()
    x = builder.activation([1, 4, 8, 8, 1], "INT8")
    for step in range(2):
        y = builder.add("STRIDED_SLICE", [x], [1, 8, 8, 1], "INT8")
        builder.graph.tensors[y].name = f"model/steps/strided_slice_{step}".encode()
    (told,) = replacements(read_graph(builder.build()), {"STRIDED_SLICE"})
    assert told.startswith("In the layer 'steps': Give each step as an input of its own")


@pytest.mark.parametrize("kind", ["UINT8", "INT32"])
def test_an_integer_input_that_is_made_float_is_named(kind: str) -> None:
    """It is the input that has to change: no layer of the model has that operator."""
    builder = GraphBuilder()
    other = builder.activation([1, 4], "FLOAT32", name="serving_default_other:0")
    pixels = builder.activation([1, 4], kind, name="serving_default_pixels:0")
    builder.graph.inputs = [other, pixels]
    cast = builder.add("CAST", [pixels], [1, 4], "FLOAT32")
    builder.graph.tensors[cast].name = b"model/Cast"
    builder.add("ADD", [cast, other], [1, 4], "FLOAT32")
    (told,) = replacements(read_graph(builder.build()), {"CAST"})
    assert "The input 'serving_default_pixels:0'" in told
    assert kind in told
    assert "float32" in told
