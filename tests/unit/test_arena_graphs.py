"""The arena of random graphs, written without a converter, against the interpreter to the byte."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_building import GraphBuilder
from random_models import LAYERS, random_model

from pytest_edgequant.errors import CannotRunError
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.measure.arena import compute_arena, tflm_worker
from pytest_edgequant.measure.arena.profiles import make_profile
from pytest_edgequant.tflite.graph import read_graph

HOST = make_profile("x86_64", "-", "reference")
KINDS = ("INT8", "INT16", "FLOAT32")
UNHURRIED = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def interpreter() -> Iterator[IsolatedProcess]:
    pytest.importorskip("tflite_micro", reason="there is no tflite-micro wheel for this machine")
    process = IsolatedProcess("interpreter", timeout=60)
    yield process
    process.close()


def compare(content: bytes, interpreter: IsolatedProcess) -> bool:
    """Whether the interpreter takes the model; ours must equal what it reports then."""
    try:
        theirs = interpreter.call(tflm_worker.measure, content)
    except CannotRunError:
        return False
    ours = compute_arena(read_graph(content), HOST)
    assert (ours.nonpersistent_bytes, ours.persistent_bytes) == (theirs.head, theirs.tail)
    assert ours.total_bytes == theirs.total
    return True


@UNHURRIED
@given(data=st.data())
def test_random_graphs_equal_the_interpreter(data: Any, interpreter: IsolatedProcess) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    length = data.draw(st.integers(1, 12))
    content = random_model(lambda low, high: data.draw(st.integers(low, high)), kind, length)
    compare(content, interpreter)


@pytest.mark.parametrize("number", range(len(LAYERS)))
def test_each_kind_of_layer_equals_the_interpreter(
    number: int, interpreter: IsolatedProcess
) -> None:
    import random

    compared = 0
    for kind in KINDS:
        for seed in range(3):
            b = GraphBuilder()
            pick = random.Random(1000 * number + seed).randint
            x = b.activation((pick(1, 2), pick(1, 4) * 2, pick(1, 4) * 2, pick(1, 20)), kind)
            LAYERS[number](b, x, pick)
            compared += bool(b.graph.operators) and compare(b.build(), interpreter)
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
def test_long_chains_equal_the_interpreter(count: int, interpreter: IsolatedProcess) -> None:
    assert compare(chain(count), interpreter)
