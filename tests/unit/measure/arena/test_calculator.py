"""The arena's calculator against what TFLM really allocated."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_edgequant.errors import EdgeQuantError, ModelError
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.measure.arena import compute_arena, tflm_worker
from pytest_edgequant.measure.arena.calculator import calculate
from pytest_edgequant.measure.arena.planner import Buffer, lower_bound, plan
from pytest_edgequant.targets.profiles import Profile, make_profile
from pytest_edgequant.tflite.graph import Graph, read_graph

DATA = Path(__file__).parents[3] / "data"
BUILDS = {
    "cm4-ref": make_profile("arm32", "cortex-m4", "reference"),
    "cm4-cmsis": make_profile("arm32", "cortex-m4", "cmsis-nn"),
    "cm7-cmsis": make_profile("arm32", "cortex-m7", "cmsis-nn"),
    "cm55-cmsis": make_profile("arm32", "cortex-m55", "cmsis-nn"),
}
HOST = make_profile("x86_64", "-", "reference")
TINY = sorted(p for p in DATA.glob("tiny_*.tflite") if "float16" not in p.name)


def graph_of(path: Path) -> Graph:
    return read_graph(path.read_bytes(), path.name)


# -- Cortex-M: measured totals and the smallest arenas that work ----------------------------------


def measured(reference: Path) -> Iterator[tuple[Path, Profile, dict[str, str]]]:
    with open(reference / "arena_cortex_m.csv", newline="") as stream:
        for row in csv.DictReader(stream):
            path = reference / "models" / row["file"]
            if row["status"] == "ok" and path.exists():
                yield path, BUILDS[row["build"]], row


def test_equals_every_cortex_m_build_to_the_byte(reference: Path) -> None:
    wrong, compared = [], 0
    for path, profile, row in measured(reference):
        found = compute_arena(graph_of(path), profile)
        compared += 1
        ours = (found.nonpersistent_bytes, found.persistent_bytes, found.minimum_bytes)
        theirs = (int(row["head"]), int(row["tail"]), int(row["min_arena"] or ours[2]))
        if ours != theirs:
            wrong.append((path.name, row["build"], ours, theirs))
    assert not wrong
    assert compared > 100


def test_equals_every_planned_buffer_of_the_traces(reference: Path) -> None:
    compared = 0
    with gzip.open(reference / "allocation_traces.jsonl.gz", "rt") as lines:
        for line in lines:
            trace = json.loads(line)
            planned = [e for e in trace["trace"] if e["k"] == "plan"]
            path = reference / "models" / trace["file"]
            if not planned or not path.exists():
                continue
            found = calculate(graph_of(path), BUILDS[trace["build"]])
            ours = [(b.size, b.offset, b.first, b.last) for b in found.placed]
            theirs = [(e["size"], e["off"], e["first"], e["last"]) for e in planned]
            assert ours == theirs, (trace["file"], trace["build"])
            compared += 1
    assert compared > 100


def test_equals_boards_with_an_esp32(reference: Path) -> None:
    profile = make_profile("xtensa", "xtensa-lx6", "esp-nn")
    with open(reference / "device_arena.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["board"] == "ESP32"]
    for row in rows:
        found = compute_arena(graph_of(reference / "models" / row["file"]), profile)
        assert found.total_bytes == int(row["arena_used_bytes"])


def test_is_near_boards_with_an_older_library(reference: Path) -> None:
    profile = make_profile("arm32", "cortex-m4", "cmsis-nn", "chirale-2.0.0")
    with open(reference / "device_arena.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if "Chirale" in row["framework"]]
    assert rows
    for row in rows:
        found = compute_arena(graph_of(reference / "models" / row["file"]), profile)
        assert found.total_bytes == pytest.approx(int(row["arena_used_bytes"]), rel=0.001)
        assert not found.exact


# -- x86-64: the interpreter itself ---------------------------------------------------------------


def assert_equals_interpreter(path: Path, tflm: IsolatedProcess) -> bool:
    """Whether both know the model; they must agree then."""
    try:
        theirs = tflm.call(tflm_worker.measure, path.read_bytes())
        ours = calculate(graph_of(path), HOST)
    except EdgeQuantError:
        return False
    assert (ours.nonpersistent, ours.persistent) == (theirs.head, theirs.tail), path.name
    return True


@pytest.mark.parametrize("path", TINY, ids=lambda path: path.stem)
def test_equals_the_interpreter(path: Path, tflm: IsolatedProcess) -> None:
    expected = "dynamic_range" not in path.name
    assert assert_equals_interpreter(path, tflm) is expected


def test_equals_the_interpreter_on_all_models_at_hand(
    reference: Path, tflm: IsolatedProcess
) -> None:
    models = sorted((reference / "models").glob("*.tflite"))
    assert sum(assert_equals_interpreter(path, tflm) for path in models) > 100


# -- the planner ----------------------------------------------------------------------------------

buffers = st.lists(
    st.builds(
        lambda size, first, length: Buffer(16 * size, first, first + length),
        st.integers(1, 40),
        st.integers(0, 12),
        st.integers(0, 6),
    ),
    max_size=30,
)


@given(buffers)
def test_no_two_living_buffers_overlap(wanted: list[Buffer]) -> None:
    offsets = plan(wanted)
    for i, (one, at) in enumerate(zip(wanted, offsets, strict=True)):
        for other, there in list(zip(wanted, offsets, strict=True))[:i]:
            apart_in_time = one.last < other.first or other.last < one.first
            assert apart_in_time or at + one.size <= there or there + other.size <= at


@given(buffers)
def test_no_plan_is_below_the_lower_bound(wanted: list[Buffer]) -> None:
    ends = [at + b.size for at, b in zip(plan(wanted), wanted, strict=True)]
    assert max(ends, default=0) >= lower_bound(wanted)[0]


def test_an_offline_offset_is_kept() -> None:
    wanted = [Buffer(32, 0, 1), Buffer(64, 0, 1, offline=128), Buffer(16, 1, 2)]
    assert plan(wanted) == [0, 128, 32]


# -- what an Arena tells --------------------------------------------------------------------------


def test_the_parts_add_up() -> None:
    arena = compute_arena(graph_of(DATA / "tiny_int8.tflite"), BUILDS["cm4-cmsis"])
    assert arena.total_bytes == arena.nonpersistent_bytes + arena.persistent_bytes
    assert sum(arena.sections.values()) == arena.persistent_bytes
    assert arena.minimum_bytes >= arena.total_bytes
    assert arena.lower_bound_bytes is not None
    assert arena.lower_bound_bytes <= arena.nonpersistent_bytes
    assert arena.provenance == "exact, TFLM 90b983c2, arm32, cmsis-nn"


def test_explains_the_peak_by_tensors() -> None:
    arena = compute_arena(graph_of(DATA / "tiny_float32.tflite"), BUILDS["cm4-cmsis"])
    assert arena.peak is not None
    assert sum(b.size for b in arena.peak.alive) == arena.peak.bytes == arena.lower_bound_bytes
    text = arena.explain()
    assert f"{arena.minimum_bytes:,} B are needed" in text
    assert all(f"{b.size:,} B" in text for b in arena.peak.alive)


@pytest.mark.parametrize(
    ("abi", "core", "kernels", "said"),
    [
        ("riscv32", "riscv32", "reference", "estimated"),
        ("xtensa", "xtensa-lx7", "esp-nn", "upper bound: CONV_2D (operator 0)"),
        ("arm32", "cortex-m0plus", "cmsis-nn", "estimated"),
        ("arm32", "cortex-m55", "cmsis-nn", "exact"),
    ],
)
def test_says_how_sure_it_is(abi: str, core: str, kernels: str, said: str) -> None:
    profile = make_profile(abi, core, kernels)
    assert said in compute_arena(graph_of(DATA / "tiny_int8.tflite"), profile).provenance


def test_a_size_that_no_device_can_address_is_refused() -> None:
    import dataclasses

    graph = graph_of(DATA / "tiny_int8.tflite")
    huge: Any = dataclasses.replace(graph.main.tensors[-1], shape=(1, 70000, 70000))
    main = dataclasses.replace(graph.main, tensors=(*graph.main.tensors[:-1], huge))
    with pytest.raises(ModelError, match="32-bit device"):
        calculate(dataclasses.replace(graph, subgraphs=(main,)), HOST)
