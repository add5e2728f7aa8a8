"""The parts of a board's memory: what is known, what is at most, and what is too much."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_edgequant import load_target
from pytest_edgequant.records import Figure, Metric, Result, Target
from pytest_edgequant.report.board_memory import memories


def target(**figures: int | None) -> Target:
    """A microcontroller with these figures alone."""
    names = ("flash", "sram", "flash_after_firmware", "flash_for_model", "sram_for_arena")
    found = {
        name: None if figures.get(name) is None else Figure(int(figures[name] or 0), "a source")
        for name in names
    }
    return dataclasses.replace(load_target("pico"), **found)


def result(**metrics: Metric) -> Result:
    return Result("kws", "int8", "pico", metrics, [])


def size(value: int) -> Metric:
    return Metric(value, "bytes", "exact (file size)")


def parts(found: Result, board: Target) -> dict[str, list[tuple[str, int]]]:
    return {m.name: [(p.name, p.bytes) for p in m.parts] for m in memories(found, board)}


CODE = Metric(90, "bytes", "upper bound", 40, 90)


@pytest.mark.parametrize(
    ("figures", "metrics", "shown"),
    [
        (
            {"flash": 1_000, "flash_after_firmware": 800},
            {"size_bytes": size(300), "runtime_code_bytes": CODE},
            [("firmware", 200), ("runtime, at most", 90), ("model", 300), ("free", 410)],
        ),
        (
            {"flash": 1_000, "flash_for_model": 700},
            {"size_bytes": size(300), "runtime_code_bytes": CODE},
            [("firmware and runtime", 300), ("model", 300), ("free", 400)],
        ),
        (
            {"flash": 1_000, "flash_after_firmware": 800},
            {"size_bytes": size(300)},
            [("firmware", 200), ("model", 300), ("free or runtime", 500)],
        ),
        (
            {"flash": 1_000},
            {"size_bytes": size(300)},
            [("model", 300), ("free, firmware or runtime", 700)],
        ),
        (
            {"flash_for_model": 700},
            {"size_bytes": size(800)},
            [("model", 800)],
        ),
    ],
)
def test_flash_is_shared_by_what_is_known(
    figures: dict[str, int], metrics: dict[str, Metric], shown: list[tuple[str, int]]
) -> None:
    assert parts(result(**metrics), target(**figures)) == {"Flash": shown}


def test_an_arena_that_is_known_between_bounds_is_at_most_so_much() -> None:
    board = target(sram=500, sram_for_arena=400)
    exact = result(arena_bytes=size(150))
    assert parts(exact, board)["SRAM"] == [("firmware", 100), ("arena", 150), ("free", 250)]
    bounds = result(arena_bytes=Metric(450, "bytes", "upper bound", 150, 450))
    assert parts(bounds, board)["SRAM"] == [("firmware", 100), ("arena, at most", 450)]


def test_what_is_too_much_is_told_and_the_memory_ends_before_it() -> None:
    board = target(sram=500, sram_for_arena=400)
    (sram,) = memories(result(arena_bytes=size(650)), board)
    assert sram.over == 250
    assert sram.limit(1000) == pytest.approx(1000 * 500 / 750, abs=1)
    assert [(p.kind, x, w) for p, x, w in sram.widths(1000)] == [
        ("firmware", 0, 133),
        ("arena", 133, 867),
    ]
    assert sram.full == 1.5


def test_a_part_that_is_there_is_seen_and_none_leaves_the_picture() -> None:
    board = target(sram=10**9, sram_for_arena=10**9 - 1)
    (sram,) = memories(result(arena_bytes=size(1)), board)
    drawn = list(sram.widths(1000))
    assert [part.kind for part, _, _ in drawn] == ["firmware", "arena", "free"]
    assert all(width >= 2 for _, _, width in drawn)
    assert all(x >= 0 and x + width <= 1000 for _, x, width in drawn)


def test_what_is_not_known_has_no_picture() -> None:
    missing = Metric.unavailable("bytes", "no wheel")
    assert memories(result(size_bytes=missing, arena_bytes=missing), target(flash=9, sram=9)) == []
    assert memories(result(size_bytes=size(5)), target()) == []
    assert memories(result(size_bytes=size(5)), None) == []
    assert memories(result(size_bytes=size(5)), load_target("rpi4")) == []
