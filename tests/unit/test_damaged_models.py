"""Damaged models through all that takes one: it works, or an error of ours names what is wrong."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

import fuzz
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as s
from damage import KINDS, damaged
from model_building import one_operator, tensor

import pytest_edgequant as eq
from pytest_edgequant.measure.arena.planner import MOST_STEPS, Buffer, plan, steps
from pytest_edgequant.results.recording import unrecorded
from pytest_edgequant.tflite.edit import pack, unpack
from pytest_edgequant.tflite.fingerprint import logical_fingerprint
from pytest_edgequant.tflite.graph import MOST_NESTED

FILES = fuzz.sources(None)


@pytest.fixture(autouse=True)
def nothing_recorded() -> Iterator[None]:
    """The run that tests this package has no gates on these models."""
    with unrecorded():
        yield


LATER = [pytest.param(first, marks=pytest.mark.slow) for first in range(100, 500, 100)]


@pytest.mark.parametrize("first", [0, *LATER])
def test_a_damaged_model_is_read_or_refused_by_name(first: int) -> None:
    found: Counter[str] = Counter()
    wrong = []
    for seed in range(first, first + 100):
        kind, content, target = fuzz.case(FILES, seed)
        for step, what, text in fuzz.outcomes(content, target, fuzz.STEPS):
            found[what] += 1
            if what not in (fuzz.OK, fuzz.NAMED):
                wrong.append(f"seed {seed}, {kind}, {step}: {what} {text}")
    assert wrong == []
    assert min(found[fuzz.OK], found[fuzz.NAMED]) > 100


def test_every_way_to_damage_changes_the_file_and_comes_up() -> None:
    content = FILES[0].read_bytes()
    kinds = Counter(damaged(content, seed)[0] for seed in range(300))
    assert kinds.keys() == KINDS.keys()
    assert sum(damaged(content, seed)[1] != content for seed in range(100)) > 90


@pytest.mark.parametrize("seed", [1050, 1220, 1500, 2150, 2886, 6107, 6819])
def test_what_evaluating_stumbled_over_is_named(seed: int) -> None:
    _, content, target = fuzz.case(FILES, seed)
    for step, what, text in fuzz.outcomes(content, target, fuzz.INTERPRETED):
        assert what in (fuzz.OK, fuzz.NAMED), (step, text)


def changed(change: Callable[[s.ModelT, s.SubGraphT], object]) -> bytes:
    model = unpack((fuzz.ROOT / "tests" / "data" / "tiny_int8.tflite").read_bytes())
    change(model, model.subgraphs[0])
    return pack(model)


def test_a_subgraph_that_nothing_calls_is_planned() -> None:
    twice = changed(lambda model, graph: setattr(model, "subgraphs", model.subgraphs * 2))
    once = changed(lambda model, graph: None)
    more = eq.measure_arena(twice, "nano33ble").minimum_bytes
    assert more > eq.measure_arena(once, "nano33ble").minimum_bytes


@pytest.mark.parametrize("axis", [0, 3, 9])
def test_scales_that_do_not_fit_an_input_are_named_where_it_is_filled(axis: int) -> None:
    def change(model: s.ModelT, graph: s.SubGraphT) -> None:
        found = graph.tensors[graph.inputs[0]].quantization
        found.scale, found.zeroPoint = np.asarray([0.1, 0.2], np.float32), np.zeros(2, np.int64)
        found.quantizedDimension = axis

    with pytest.raises(eq.EdgeQuantError, match="scales"):
        eq.evaluate(changed(change), (np.zeros((2, 8, 8, 1), np.float32), np.array([0, 1])))


# -- time ---------------------------------------------------------------------------------------


def chain(count: int) -> bytes:
    """RELUs, one behind the other."""
    model = unpack(
        one_operator("RELU", [tensor("t0", [1, 8], "INT8")], tensor("t", [1, 8], "INT8"))
    )
    graph = model.subgraphs[0]
    one = graph.operators[0]
    graph.tensors = [
        tensor(f"t{i}", [1, 8], "INT8", scales=[0.1], zero_points=[0]) for i in range(count + 1)
    ]
    graph.operators = []
    for i in range(count):
        operator = s.OperatorT()
        operator.opcodeIndex = one.opcodeIndex
        operator.inputs, operator.outputs = np.asarray([i]), np.asarray([i + 1])
        graph.operators.append(operator)
    graph.outputs = np.asarray([count])
    return pack(model)


def test_a_gate_on_many_operators_fails_in_a_time_that_grows_with_them() -> None:
    def seconds(count: int) -> float:
        content = chain(count)
        eq.convert(content, "as_is")
        start = time.process_time()
        with pytest.raises(eq.ArenaExceeded):
            eq.assert_arena_fits(content, "uno-r4")
        return time.process_time() - start

    seconds(500)
    # Twice the operators took four times as long.
    assert seconds(3000) < 3 * seconds(1500) + 0.5


def test_more_operators_than_are_read_are_refused_by_everything() -> None:
    content = chain(50_001)
    for step, what, _ in fuzz.outcomes(content, "nano33ble", fuzz.STEPS):
        assert what == fuzz.NAMED, step


def test_a_plan_that_would_take_too_long_is_refused_by_name() -> None:
    few = [Buffer(16, 0, 10) for _ in range(1000)]
    assert plan(few)[0] == 16 * 999
    many = [Buffer(16, 0, 10) for _ in range(6000)]
    assert steps(many) > MOST_STEPS
    with pytest.raises(eq.ModelError, match="6,000 buffers are too many to plan"):
        plan(many)
    # As many of which few meet are no trouble.
    assert max(plan([Buffer(16, i, i + 1) for i in range(6000)])) == 16


@pytest.mark.parametrize("depth", [MOST_NESTED - 2, 200, 3000])
def test_subgraphs_that_call_each_other_have_an_end(depth: int) -> None:
    """Each calls the next one twice: 2 ** depth ways through them."""
    x, y = tensor("x", [1], "BOOL"), tensor("y", [1], "BOOL")
    model = unpack(one_operator("IF", [x], y))
    graphs = []
    for number in range(depth):
        graph = unpack(one_operator("IF", [x], y)).subgraphs[0]
        options = s.IfOptionsT()
        options.thenSubgraphIndex = options.elseSubgraphIndex = number + 1
        graph.operators[0].builtinOptions = options
        graph.operators[0].builtinOptionsType = s.BuiltinOptions.IfOptions
        graphs.append(graph)
    last = unpack(one_operator("IF", [x], y)).subgraphs[0]
    last.operators = []
    model.subgraphs = [*graphs, last]
    content = pack(model)
    start = time.process_time()
    if depth > MOST_NESTED:
        with pytest.raises(eq.ModelError, match=f"more than {MOST_NESTED} deep"):
            logical_fingerprint(content)
    else:
        assert len(logical_fingerprint(content)) == 64
    with pytest.raises(eq.EdgeQuantError):
        eq.optimize_arena(content, "nano33ble")
        eq.measure_arena(content, "nano33ble")
    assert time.process_time() - start < 20
