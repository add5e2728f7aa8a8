"""A file that refers to the same bytes over and over is refused before it takes memory or time."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import pytest
from model_building import one_operator, tensor
from shared_bytes import packed

from pytest_edgequant.errors import ModelError
from pytest_edgequant.tflite.ends import unique
from pytest_edgequant.tflite.graph import MOST_OPERATORS, read_graph
from pytest_edgequant.tflite.room import Room

SHARED: dict[str, tuple[Mapping[str, int], Mapping[str, int]]] = {
    "a tensor's name": ({"tensor_name": 300_000}, {"tensor": 1000}),
    "a custom code": ({"custom_code": 300_000}, {"operator": 1000}),
    "a subgraph's name": ({"subgraph_name": 300_000}, {"subgraph": 1000}),
    "a name in a signature": ({"signature_name": 300_000}, {"signature": 1000}),
    "metadata": ({"data": 300_000}, {"metadata": 1000}),
    "a buffer": ({"data": 300_000}, {"buffer": 1000}),
    "scales of tensors": ({"scales": 75_000}, {"tensor": 1000}),
    "scales of operators": ({"scales": 75_000}, {"operator": 1000}),
    "the shape of an operator": ({"new_shape": 75_000}, {"operator": 1000}),
    "tensors of subgraphs": ({}, {"tensor": 1000, "subgraph": 1000}),
    "operators of subgraphs": ({}, {"operator": 1000, "subgraph": 40}),
    "kinds in a variant": ({}, {"variant": 10_000, "tensor": 1000}),
}


@pytest.mark.parametrize("what", SHARED)
def test_what_is_shared_a_thousand_times_is_refused_at_once(what: str) -> None:
    content = packed(*SHARED[what])
    assert len(content) < 500_000
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(ModelError, match=r"^m: .tflite file that is not read: .*over and over"):
            read_graph(content, "m")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50_000_000
    assert time.process_time() - start < 10


@pytest.mark.parametrize("what", SHARED)
def test_what_is_shared_a_few_times_is_read(what: str) -> None:
    lengths, counts = SHARED[what]
    few = dict.fromkeys(counts, 3)
    graph = read_graph(packed(dict.fromkeys(lengths, 100), few))
    assert len(graph.main.operators) == few.get("operator", 1)


def test_scales_that_tensors_share_are_one_record() -> None:
    tensors = read_graph(packed({"scales": 100}, {"tensor": 3})).main.tensors
    assert tensors[0].quantization is tensors[1].quantization
    assert tensors[0].quantization is not None
    assert len(tensors[0].quantization.scales) == 100


def test_more_operators_than_are_read_are_counted() -> None:
    content = packed({}, {"operator": MOST_OPERATORS + 1})
    with pytest.raises(ModelError, match=r"50,001 operators; up to 50,000 are read"):
        read_graph(content)


def test_a_tensor_of_more_dimensions_than_numpy_has_is_named() -> None:
    for count in (33, 70):
        x, y = tensor("x", [1], "INT8"), tensor("long", [1] * count, "INT8")
        said = f"tensor 1 'long' has {count} dimensions; up to 32 are read"
        with pytest.raises(ModelError, match=said):
            read_graph(one_operator("RELU", [x], y))
    y = tensor("long", [1] * 32, "INT8")
    assert len(read_graph(one_operator("RELU", [x], y)).main.tensors[1].shape) == 32


def test_a_tensor_that_no_memory_holds_is_named() -> None:
    x, y = tensor("x", [1], "INT8"), tensor("huge", [2**31 - 1] * 2, "INT8")
    with pytest.raises(
        ModelError, match=r"tensor 1 'huge' has the shape .* elements that are read"
    ):
        read_graph(one_operator("RELU", [x], y))


def test_real_models_need_a_third_of_their_room_at_most(reference: Path) -> None:
    from pytest_edgequant.tflite.graph import _Reader

    files = sorted((reference / "models").glob("*.tflite"))[::7]
    assert len(files) > 40
    for path in files:
        content = path.read_bytes()
        reader = _Reader(content)
        reader.graph()
        assert reader.room.left > 2 / 3 * Room(len(content)).left, path.name


def test_names_for_very_many_ends_are_found_in_time() -> None:
    many = 30_000
    start = time.process_time()
    assert unique(["x"] * many, "input")[-1] == f"x_{many - 1}"
    assert unique([""] * many, "input")[-1] == f"input_{many - 1}"
    # Each empty name stands where all that follow are taken.
    taken = [f"input_{n}" for n in range(many)]
    assert unique([""] * many + taken, "input")[:2] == (f"input_{many}", f"input_{many + 1}")
    assert len(set(unique([""] * many + taken, "input"))) == 2 * many
    assert time.process_time() - start < 5
