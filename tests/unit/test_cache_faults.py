"""A cache that is damaged, full, or written to by killed processes: slower, never wrong."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_edgequant import cache as store
from pytest_edgequant import pruning
from pytest_edgequant.cache import Cache, Entry, digest
from pytest_edgequant.errors import SettingsError
from pytest_edgequant.measure.evaluation.jobs import Choice
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.pipeline.request import CalibrationRequest
from pytest_edgequant.results.session import Session

MODEL = Path(__file__).parents[1] / "data" / "tiny_int8.tflite"
KEY = digest("a value")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def index_of(cache: Cache) -> Path:
    return next(cache.folder.glob(f"*/{KEY}.json"))


def damage(cache: Cache, how: str) -> None:
    """What may have become of an entry."""
    index = index_of(cache)
    path = index.with_suffix(".bin")
    if how == "nested without end":
        index.write_text('{"a":' * 100_000)
    elif how == "an index that is a folder":
        index.unlink()
        index.mkdir()
    elif how == "content that is a folder":
        path.unlink()
        path.mkdir()
    elif how == "an index that is a list":
        index.write_text("[]")
    elif how == "a file's name that is a number":
        index.write_text(index.read_text().replace(f'"{path.name}"', "3"))
    elif how == "a link to nowhere":
        path.unlink()
        path.symlink_to(path.with_suffix(".gone"))


DAMAGES = (
    *("nested without end", "an index that is a folder", "content that is a folder"),
    *("an index that is a list", "a file's name that is a number", "a link to nowhere"),
)


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_entry_is_absent_and_the_value_goes_on(cache: Cache, how: str) -> None:
    cache.put(KEY, b"right", {"n": 1}, ".bin")
    damage(cache, how)
    assert cache.get(KEY) is None
    assert cache.counts.damaged == 1
    with cache.lock(KEY):
        made = cache.put(KEY, b"right", {"n": 1}, ".bin")
    assert (made.content, made.meta, made.path.read_bytes()) == (b"right", {"n": 1}, b"right")


def test_meta_of_another_shape_counts_as_damaged(cache: Cache) -> None:
    def choice(entry: Entry) -> Choice:
        return Choice(**entry.meta)

    for meta in ({}, {"batch": 1}, {"batch": 1, "threads": 1, "other": 2}):
        cache.put(KEY, b"", meta, ".bin")
        assert cache.value(KEY, choice) is None
    assert cache.counts.damaged == 3
    cache.put(KEY, b"", {"batch": 3, "threads": 1}, ".bin")
    assert cache.value(KEY, choice) == Choice(3, 1)


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"arrays": 3},
        {"arrays": [["O", [1]]]},
        {"arrays": [["<f4", [-1]]]},
        {"arrays": [["<f4", [10**12]]]},
        {"arrays": [["no type", [1]]]},
        {"arrays": [["<f4", "x"]]},
    ],
)
def test_arrays_of_another_shape_count_as_damaged(cache: Cache, meta: Any) -> None:
    cache.put(KEY, bytes(16), meta, ".arrays")
    assert cache.get_arrays(KEY) is None
    assert (cache.counts.damaged, cache.counts.hits) == (1, 0)


def test_entries_of_another_shape_are_made_again(tmp_path: Path) -> None:
    """Every answer that a pipeline keeps, replaced by one with a right checksum and other meta."""
    x = np.zeros((2, 8, 8, 1), np.float32)

    def run() -> tuple[Any, int]:
        pipeline = Pipeline(tmp_path, timeout=120)
        try:
            variant = pipeline.variant(MODEL, "as_is", CalibrationRequest())
            outputs = pipeline.predict(variant, x)
            refused = pipeline.engine.refusal(variant, "litert")
            pipeline.interpreters.check_litert(variant.content)
            return (outputs[0].tolist(), refused), pipeline.cache.counts.damaged
        finally:
            pipeline.close()

    right, damaged = run()
    assert damaged == 0
    kept = Cache(tmp_path)
    indices = list(kept.folder.glob("*/*.json"))
    assert len(indices) >= 2
    for index in indices:
        kept.put(index.stem, b"", {"refused": 3, "batch": "x", "threads": {}, "total": []}, ".x")
    again, damaged = run()
    assert again == right
    assert damaged == len(indices)


# -- no room ------------------------------------------------------------------------------------


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The disk is full from its call on."""

    def fill() -> None:
        def fail(path: Path, content: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(store, "_write", fail)

    return fill


def test_on_a_full_disk_the_value_goes_on_and_it_is_said_once(
    cache: Cache, full: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    cache.put(KEY, b"right", {}, ".bin")
    full()
    with caplog.at_level(logging.WARNING, "pytest_edgequant"):
        for number in range(3):
            made = cache.put(digest(number), b"%d" % number, {"n": number}, ".bin")
            assert made.path.read_bytes() == made.content == b"%d" % number
    assert [r.getMessage().count("No space left on device") for r in caplog.records] == [1]
    assert cache.counts.unkept == "No space left on device"
    found = cache.get(KEY)
    assert found is not None
    assert found.content == b"right"


def test_a_run_says_that_nothing_was_kept() -> None:
    from pytest_edgequant.report.terminal import summary_lines

    session = Session()
    event = {"kind": "cache", "damaged": 0, "unkept": "No space left on device"}
    session.add([event], "test_it.py::test_it")
    session.add([event], "test_it.py::test_other")
    said = "\n".join(summary_lines(session))
    assert said.count("nothing could be kept (No space left on device)") == 1


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write")
def test_a_folder_that_became_read_only_does_not_end_the_run(cache: Cache) -> None:
    cache.folder.chmod(0o500)
    try:
        with cache.lock(KEY):
            assert cache.put(KEY, b"right", {}, ".bin").content == b"right"
        assert cache.counts.unkept
    finally:
        cache.folder.chmod(0o700)


def test_a_folder_that_can_not_be_locked_does_not_end_the_run(cache: Cache) -> None:
    (cache.folder / KEY[:2]).write_bytes(b"a file where the folder should be")
    with cache.lock(KEY):
        assert cache.put(KEY, b"right", {}, ".bin").content == b"right"
    assert cache.get(KEY) is None
    assert cache.counts.unkept
    with pytest.raises(SettingsError, match="edge_cache_dir: can't write to"):
        Cache(cache.folder / KEY[:2])


# -- what goes ------------------------------------------------------------------------------------


def aged(path: Path, days: float) -> Path:
    then = time.time() - days * pruning.DAY
    os.utime(path, (then, then))
    return path


def test_what_killed_processes_left_and_what_is_old_goes_once_a_day(cache: Cache) -> None:
    folder = cache.folder / KEY[:2]
    cache.put(KEY, b"young", {}, ".bin")
    Cache(cache.root)
    old = digest("old")
    cache.put(old, b"old", {}, ".bin")
    for path in cache.folder.glob(f"*/{old}.*"):
        aged(path, 91)
    left, writing = folder / ".tmp-left", folder / ".tmp-writing"
    for path in (left, writing):
        path.write_bytes(b"half")
    aged(left, 2)
    Cache(cache.root)
    assert left.exists()  # it was swept today
    aged(cache.folder / "pruned", 1.1)
    Cache(cache.root)
    assert [p.exists() for p in (left, writing)] == [False, True]
    assert list(cache.folder.glob(f"*/{old}.*")) == []
    assert cache.get(KEY) is not None


def test_what_was_used_longest_ago_goes_where_it_is_too_much(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "MOST_BYTES", 3000)
    keys = [digest("entry", number) for number in range(4)]
    for number, key in enumerate(keys):
        cache.put(key, bytes(1000), {}, ".bin")
        for path in cache.folder.glob(f"*/{key}.*"):
            aged(path, 10 - number)
    assert cache.get(keys[0]) is not None  # the oldest file, and used now
    Cache(cache.root)
    assert [cache.get(key) is not None for key in keys] == [True, False, False, True]
