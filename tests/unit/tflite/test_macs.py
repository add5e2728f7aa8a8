"""MACs against published totals, and against what single operators do by their definition."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from model_building import one_operator, tensor

from pytest_edgequant.tflite.graph import read_graph
from pytest_edgequant.tflite.macs import model_macs, operator_macs


@pytest.mark.parametrize(
    ("model", "macs"),
    [  # MLPerf Tiny's published totals
        ("mlperf_kws_int8", 2_656_768),
        ("mltkzip_visual_wake_words", 7_489_664),
        ("mlperf_ic_int8", 12_501_632),
        ("mlperf_ad_int8", 264_192),
    ],
)
def test_published_totals(reference: Path, model: str, macs: int) -> None:
    content = (reference / "models" / f"{model}.tflite").read_bytes()
    assert model_macs(read_graph(content)) == macs


def test_reference_models(reference: Path) -> None:
    """Equal to the figures recorded beside the models, which leave recurrent operators out."""
    compared = 0
    with open(reference / "models.csv", newline="") as stream:
        for row in csv.DictReader(stream):
            if not row["macs"]:
                continue
            content = (reference / "models" / row["file"]).read_bytes()
            graph = read_graph(content, row["file"])
            counted = sum(
                operator_macs(subgraph, operator)
                for subgraph, operator in graph.operators()
                if "LSTM" not in operator.name
            )
            assert counted == int(row["macs"]), row["file"]
            compared += 1
    assert compared > 30


def test_recurrent_layer(reference: Path) -> None:
    """28 steps of an LSTM with 20 units on 28 features: four gates of (28 + 20) inputs each."""
    content = (reference / "models" / "tflm_mnist_lstm_f32.tflite").read_bytes()
    assert model_macs(read_graph(content)) == 28 * 4 * 20 * (28 + 20) + 560 * 10


@pytest.mark.parametrize(
    ("name", "shapes", "output", "macs"),
    [
        ("CONV_2D", [(1, 8, 8, 4), (16, 3, 3, 2)], (1, 8, 8, 16), 64 * 16 * 9 * 2),  # two groups
        ("CONV_3D", [(1, 4, 4, 4, 2), (3, 3, 3, 2, 5)], (1, 2, 2, 2, 5), 8 * 5 * 27 * 2),
        ("DEPTHWISE_CONV_2D", [(1, 8, 8, 4), (1, 3, 3, 8)], (1, 8, 8, 8), 64 * 8 * 9),
        ("FULLY_CONNECTED", [(2, 12), (5, 12)], (2, 5), 2 * 5 * 12),
        ("BATCH_MATMUL", [(3, 4, 6), (3, 6, 7)], (3, 4, 7), 3 * 4 * 6 * 7),
        ("SVDF", [(1, 10), (8, 10), (8, 5)], (1, 4), 8 * (10 + 5)),
        ("MUL", [(1, 8), (1, 8)], (1, 8), 0),
        ("AVERAGE_POOL_2D", [(1, 8, 8, 4)], (1, 4, 4, 4), 0),
    ],
)
def test_one_operator(
    name: str, shapes: list[tuple[int, ...]], output: tuple[int, ...], macs: int
) -> None:
    inputs = [tensor(f"in{i}", shape, "FLOAT32") for i, shape in enumerate(shapes)]
    content = one_operator(name, inputs, tensor("out", output, "FLOAT32"))
    assert model_macs(read_graph(content)) == macs


def test_transpose_conv_counts_its_data_input() -> None:
    """Each of 4 x 4 x 3 inputs meets 3 x 3 weights of each of 6 output channels."""
    given = [
        tensor("shape", (4,), "INT32"),
        tensor("filter", (6, 3, 3, 3), "FLOAT32"),
        tensor("in", (1, 4, 4, 3), "FLOAT32"),
    ]
    content = one_operator(
        "TRANSPOSE_CONV",
        given,
        tensor("out", (1, 8, 8, 6), "FLOAT32"),
        constants={0: np.asarray([1, 8, 8, 6], np.int32)},
    )
    assert model_macs(read_graph(content)) == 48 * 9 * 6
