"""Outputs that are kept: in memory, in files, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_edgequant import compare_accuracy
from pytest_edgequant.cache import Cache
from pytest_edgequant.measure.evaluation import recording
from pytest_edgequant.measure.evaluation.recording import (
    OutputStore,
    Recorder,
    Spool,
    part_length,
)
from pytest_edgequant.pipeline.pipeline import Pipeline

BLOCKS = [
    [np.arange(start, start + count) * 1.5, np.ones((count, 2, 3), np.int8) * start]
    for start, count in ((0, 7), (7, 1), (8, 12))
]
WHOLE = [np.concatenate(parts) for parts in zip(*BLOCKS, strict=True)]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def recorded(cache: Cache, *, stream: bool = False) -> Any:
    recorder = Recorder(cache, stream=stream)
    for block in BLOCKS:
        recorder.add(block)
    return recorder.recorded()


@pytest.mark.parametrize("limit", [0, 60, 120, 10_000])
def test_what_is_recorded_is_what_came(
    limit: int, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "_STREAM_BYTES", limit)
    found = recorded(cache, stream=True)
    assert isinstance(found[0], Spool) == (limit < 10_000)
    for values, expected in zip(found, WHOLE, strict=True):
        assert len(values) == 20
        for part in (slice(0, 20), slice(3, 9), slice(15, 40), slice(20, 30)):
            assert values[part].dtype == expected.dtype
            np.testing.assert_array_equal(values[part], expected[part])


def test_nothing_is_nothing(cache: Cache) -> None:
    assert Recorder(cache, stream=True).recorded() is None


def test_what_the_disk_has_no_room_for_is_not_kept(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "_ENTRY_BYTES", 0)
    monkeypatch.setattr(recording, "_FILE_BYTES", 200)
    assert recorded(cache) is None
    monkeypatch.setattr(recording, "_FILE_BYTES", 1 << 20)
    assert recorded(cache) is not None

    def full(spool: Spool, values: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "add", full)
    assert recorded(cache) is None


def test_files_are_looked_at_in_parts(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    assert part_length([WHOLE, WHOLE]) == 20
    monkeypatch.setattr(recording, "_ENTRY_BYTES", 0)
    monkeypatch.setattr(recording, "_READ_BYTES", 24)
    assert part_length([WHOLE, recorded(cache)]) == 3


def test_what_was_used_longest_ago_goes_first(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "_TOTAL_BYTES", 2 * sum(part.nbytes for part in WHOLE))
    store = OutputStore(cache)
    for key in "ab":
        store.put(key, WHOLE, lasting=False)
    assert store.find("a", lasting=False) is not None
    store.put("c", WHOLE, lasting=False)
    assert [store.find(key, lasting=False) is None for key in "abc"] == [False, True, False]


def test_only_arrays_last(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    OutputStore(cache).put("arrays", WHOLE, lasting=True)
    monkeypatch.setattr(recording, "_ENTRY_BYTES", 0)
    OutputStore(cache).put("spools", recorded(cache), lasting=True)
    later = OutputStore(cache)
    found = later.find("arrays", lasting=True)
    assert found is not None
    np.testing.assert_array_equal(found[1], WHOLE[1])
    assert later.find("spools", lasting=True) is None


def test_a_comparison_is_the_same_from_files(
    fresh_pipeline: Pipeline,
    tiny: Mapping[str, Path],
    tiny_dataset: tuple[Any, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def compared() -> list[Any]:
        found = [compare_accuracy(tiny[f], tiny["float32"], tiny_dataset) for f in ("int8", "int8")]
        return [(f.drop, f.lost, f.gained, f.classes, f.agreement, f.count) for f in found]

    expected = compared()
    monkeypatch.setattr(recording, "_ENTRY_BYTES", 100)
    monkeypatch.setattr(recording, "_READ_BYTES", 1000)
    monkeypatch.setattr(fresh_pipeline.cache, "get_arrays", lambda key: None)
    fresh_pipeline.engine._outputs.clear()
    assert compared() == expected
    assert all(
        isinstance(p, Spool) for e in fresh_pipeline.engine._outputs._kept.values() for p in e
    )
