"""Offline plans: never worse, never wrong, and what TFLM does with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_edgequant import measure_arena, optimize_arena
from pytest_edgequant.measure.arena.calculator import calculate
from pytest_edgequant.measure.arena.optimizer import best_placement, optimized
from pytest_edgequant.measure.arena.planner import Buffer, lower_bound, plan
from pytest_edgequant.targets.profiles import make_profile
from pytest_edgequant.tflite.graph import read_graph

DATA = Path(__file__).parents[3] / "data"
RESIDUAL = DATA / "residual_int8.tflite"
HOST = make_profile("x86_64", "-", "reference")

buffers = st.lists(
    st.builds(
        lambda size, first, length: Buffer(16 * size, first, first + length),
        st.integers(1, 40),
        st.integers(0, 12),
        st.integers(0, 6),
    ),
    max_size=14,
)


@given(buffers, buffers)
def test_never_worse_than_greedy_and_never_below_the_bound(
    tensors: list[Buffer], scratch: list[Buffer]
) -> None:
    everything = [*tensors, *scratch]
    goal = lower_bound(everything)[0]
    top, offsets = best_placement(tensors, [], lower_bound(tensors)[0])
    greedy = max((o + b.size for o, b in zip(plan(tensors), tensors, strict=True)), default=0)
    assert top <= greedy
    with_scratch, offsets = best_placement(tensors, scratch, goal)
    assert with_scratch >= goal
    for i, (one, at) in enumerate(zip(tensors, offsets, strict=True)):
        for other, there in list(zip(tensors, offsets, strict=True))[:i]:
            apart = one.last < other.first or other.last < one.first
            assert apart or at + one.size <= there or there + other.size <= at


def test_saves_what_it_says_on_the_target() -> None:
    before = measure_arena(RESIDUAL, "nano33ble")
    after = measure_arena(optimize_arena(RESIDUAL, "nano33ble"), "nano33ble")
    assert after.nonpersistent_bytes < before.nonpersistent_bytes
    assert after.lower_bound_bytes == before.lower_bound_bytes
    assert after.persistent_bytes == before.persistent_bytes


def test_a_model_that_can_not_be_improved_stays_as_it_is() -> None:
    content = (DATA / "tiny_int8.tflite").read_bytes()
    assert optimize_arena(content, "nano33ble") == content
    better = optimize_arena(RESIDUAL)
    assert optimize_arena(better) == better


def test_the_same_model_gives_the_same_plan() -> None:
    assert optimize_arena(RESIDUAL) == optimize_arena(RESIDUAL)


def outputs(runtime: Any, content: bytes, samples: Any) -> list[Any]:
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=1 << 24)
    found = []
    for sample in samples:
        interpreter.set_input(sample, 0)
        interpreter.invoke()
        found.append(interpreter.get_output(0).copy())
    return found


def assert_same_outputs(runtime: Any, content: bytes) -> bool:
    graph = read_graph(content)
    better = optimized(content, graph, HOST)
    if better == content:
        return False
    source = graph.main.tensors[graph.main.inputs[0]]
    chance = np.random.default_rng(0)
    samples = [(chance.normal(size=source.shape) * 40).astype(source.dtype) for _ in range(3)]
    before, after = (outputs(runtime, c, samples) for c in (content, better))
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    ours = calculate(read_graph(better), HOST).nonpersistent
    assert ours < calculate(graph, HOST).nonpersistent
    return True


def test_tflm_follows_the_plan_with_identical_outputs(
    reference: Path,
) -> None:
    runtime = pytest.importorskip("tflite_micro").runtime
    models = sorted((reference / "models").glob("made_res*.tflite"))
    assert sum(assert_same_outputs(runtime, path.read_bytes()) for path in models) > 0


def test_tflm_follows_the_plan_of_our_own_model() -> None:
    runtime = pytest.importorskip("tflite_micro").runtime
    assert assert_same_outputs(runtime, RESIDUAL.read_bytes())
