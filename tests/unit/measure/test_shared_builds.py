"""Boards of the same build are computed once; others are not taken for the same."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest
from random_models import GraphBuilder, dense, logistic, options

from pytest_edgequant.api.latency import estimate_latency
from pytest_edgequant.api.memory import measure_arena
from pytest_edgequant.errors import ArenaExceeded
from pytest_edgequant.gate.deployment import assert_arena_fits
from pytest_edgequant.measure import arena
from pytest_edgequant.measure.arena import suggestions
from pytest_edgequant.measure.latency import estimate
from pytest_edgequant.records import Figure
from pytest_edgequant.targets import Targets

SAME = ("nano33ble", "microbit-v2", "sparkfun-edge", "xiao-nrf52840")
"""A Cortex-M4 with CMSIS-NN, each of them with other sizes and clocks."""


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each of the expensive calculations was made."""
    counts: Counter[str] = Counter()

    def counted(module: Any, name: str, what: str) -> None:
        inner = getattr(module, name)

        def count(*args: Any, **kwargs: Any) -> Any:
            counts[what] += 1
            return inner(*args, **kwargs)

        monkeypatch.setattr(module, name, count)

    counted(arena, "calculate", "arena")
    counted(suggestions, "_changes", "suggestions")
    counted(estimate, "operator_shape", "operator of a latency")
    return counts


def model(steps: int) -> bytes:
    """An unrolled cell; another for each test, for what was computed once is known."""
    builder = GraphBuilder()
    state = builder.activation((1, 24), "INT8")
    for _ in range(steps):
        gate = logistic(
            builder, dense(builder, state, lambda low, high: low), lambda low, high: low
        )
        shape = builder.shape(gate)
        state = builder.add("ADD", [gate, gate], shape, "INT8", options("AddOptions"))
    return builder.build()


def test_boards_of_one_build_share_the_arena_and_the_cost_of_operators(
    computed: Counter[str],
) -> None:
    content = model(3)
    arenas = [measure_arena(content, board) for board in SAME]
    assert len({found.minimum_bytes for found in arenas}) == 1
    assert computed["arena"] == 1 + bool(arenas[0].unknown)
    first = estimate_latency(content, SAME[0])
    once = computed["operator of a latency"]
    others = [estimate_latency(content, board) for board in SAME[1:]]
    assert computed["operator of a latency"] == once > 0
    assert len({found.value for found in (first, *others)}) > 1  # clocks and chips still count


def test_another_build_is_another_arena(computed: Counter[str]) -> None:
    content = model(4)
    boards = ("nano33ble", "esp32", "pico")
    found = [measure_arena(content, board) for board in boards]
    assert computed["arena"] == len(boards) * (1 + bool(found[0].unknown))
    assert len({each.provenance for each in found}) == len(boards)


def test_a_release_of_the_runtime_is_part_of_the_build() -> None:
    content = model(5)
    newest = measure_arena(content, "nano33ble")
    older = measure_arena(content, "nano33ble", release="chirale-2.0.0")
    assert older.minimum_bytes > newest.minimum_bytes


def test_ways_out_are_computed_once_and_judged_by_each_board(computed: Counter[str]) -> None:
    content = model(6)
    need = measure_arena(content, "nano33ble").minimum_bytes
    messages = []
    for less in (1, need // 2):
        board = Targets().get("nano33ble")
        small = dataclasses.replace(board, sram_for_arena=Figure(need - less, "a test"))
        with pytest.raises(ArenaExceeded) as caught:
            assert_arena_fits(content, small)
        messages.append(str(caught.value))
    assert computed["suggestions"] == 1
    assert "by 1 B" in messages[0]
    assert f"by {need // 2:,} B" in messages[1]
