from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import isolation_functions
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_edgequant.cache import Cache, digest
from pytest_edgequant.errors import SettingsError

KEY = digest("a key")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def stored(cache: Cache) -> Cache:
    """A cache with one entry, opened anew."""
    cache.put(KEY, b"content", {"notes": ["a", 1]}, ".tflite")
    return Cache(cache.root)


def index_of(cache: Cache) -> Path:
    (path,) = cache.root.rglob("*.json")
    return path


# -- keys ---------------------------------------------------------------------------------------

CUTS = st.sets(st.integers(0, 6), max_size=3)


def pieces(whole: Any, cuts: set[int]) -> list[Any]:
    bounds = [0, *sorted(cuts), len(whole)]
    return [whole[low:high] for low, high in pairwise(bounds)]


@pytest.mark.parametrize(
    "one, other",
    [
        (("ab", "c"), ("a", "bc")),
        (("a",), (b"a",)),
        (("a", None), ("a",)),
        ((1,), ("1",)),
        ((["a", "b"],), ("a", "b")),
        ((b"",), (b"", b"")),
        (('"a"',), ("a",)),
    ],
)
def test_lists_that_differ_have_different_keys(one: Any, other: Any) -> None:
    assert digest(*one) != digest(*other)


@given(st.text(max_size=6) | st.binary(max_size=6), CUTS, CUTS)
def test_the_same_bytes_cut_elsewhere_have_another_key(
    whole: Any, cuts: set[int], others: set[int]
) -> None:
    one, other = pieces(whole, cuts), pieces(whole, others)
    assert (digest(*one) == digest(*other)) is (one == other)


def test_the_order_of_a_mapping_does_not_count() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


# -- values -------------------------------------------------------------------------------------


def test_what_was_put_is_there(stored: Cache) -> None:
    entry = stored.get(KEY)
    assert entry is not None
    assert (entry.content, dict(entry.meta)) == (b"content", {"notes": ["a", 1]})
    assert entry.path.read_bytes() == b"content"
    assert entry.path.suffix == ".tflite"
    assert (stored.counts.hits, stored.counts.damaged) == (1, 0)


def test_what_was_not_put_is_not_there(stored: Cache) -> None:
    assert stored.get(digest("another key")) is None
    assert (stored.counts.hits, stored.counts.damaged) == (0, 0)


def test_the_last_writer_wins(stored: Cache) -> None:
    stored.put(KEY, b"newer", {}, ".tflite")
    entry = stored.get(KEY)
    assert entry is not None
    assert (entry.content, entry.meta) == (b"newer", {})
    assert stored.counts.writes == 1


def test_no_temporary_file_is_left(stored: Cache) -> None:
    files = (path for path in stored.root.rglob("*") if path.is_file() and path.name != "pruned")
    assert {path.suffix for path in files} == {
        ".json",
        ".tflite",
    }


@pytest.mark.parametrize(
    "arrays",
    [
        [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((0, 4), np.int8)],
        [np.array([], np.int64)],
        [np.full((1,), np.nan, np.float32)] * 12,
        [np.array(3.5)],
    ],
)
def test_arrays_come_back_in_order_with_type_and_shape(cache: Cache, arrays: list[Any]) -> None:
    cache.put_arrays(KEY, arrays)
    found = cache.get_arrays(KEY)
    assert found is not None
    assert [(a.dtype, a.shape) for a in found] == [(a.dtype, a.shape) for a in arrays]
    for ours, theirs in zip(found, arrays, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_no_arrays_are_none(cache: Cache) -> None:
    assert cache.get_arrays(KEY) is None


# -- damage -------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def change(**values: Any) -> Callable[[Path], None]:
    """Change the index, or remove the keys whose value is None."""

    def damage(path: Path) -> None:
        document = json.loads(path.read_text()) | values
        path.write_text(json.dumps({k: v for k, v in document.items() if v is not None}))

    return damage


DAMAGES: dict[str, Callable[[Path], None]] = {
    "truncated": cut,
    "empty": lambda path: path.write_bytes(b"") and None,
    "not JSON": lambda path: path.write_bytes(b"{]") and None,
    "not text": lambda path: path.write_bytes(b"\xff\xfe") and None,
    "a list": lambda path: path.write_bytes(b"[1]") and None,
    "null": lambda path: path.write_bytes(b"null") and None,
    "another key": change(key=digest("another key")),
    "no key": change(key=None),
    "no file": change(file=None),
    "a file that is not there": change(file="nothing.tflite"),
    "a file elsewhere": change(file="../outside.tflite"),
    "no name": change(file=""),
    "another checksum": change(xxh3="0" * 32),
    "another meta": change(meta={"notes": ["b"]}),
    "no meta": change(meta=None),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_counts_as_absent(stored: Cache, damage: str) -> None:
    DAMAGES[damage](index_of(stored))
    assert stored.get(KEY) is None
    assert (stored.counts.hits, stored.counts.damaged) == (0, 1)


def test_a_key_in_the_place_of_another_counts_as_damaged(stored: Cache) -> None:
    index = index_of(stored)
    other = KEY[:-1] + ("0" if KEY[-1] != "0" else "1")
    index.rename(index.with_name(f"{other}.json"))
    assert stored.get(other) is None
    assert stored.counts.damaged == 1


@pytest.mark.parametrize("content", [b"conten", b"Content", b"", None])
def test_damaged_or_missing_content_counts_as_absent(stored: Cache, content: bytes | None) -> None:
    path = index_of(stored).with_suffix(".tflite")
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    assert stored.get(KEY) is None
    assert stored.counts.damaged == 1


def test_a_folder_in_the_place_of_an_index_counts_as_damaged(stored: Cache) -> None:
    index = index_of(stored)
    index.unlink()
    index.mkdir()
    assert stored.get(KEY) is None
    assert stored.counts.damaged == 1


def test_a_second_look_under_the_lock_does_not_count_the_damage_again(stored: Cache) -> None:
    cut(index_of(stored))
    assert stored.get(KEY) is stored.get(KEY, again=True) is None
    assert stored.counts.damaged == 1


def test_a_damaged_entry_can_be_written_again(stored: Cache) -> None:
    cut(index_of(stored))
    assert stored.get(KEY) is None
    stored.put(KEY, b"content", {}, ".tflite")
    assert stored.get(KEY) is not None


# -- places -------------------------------------------------------------------------------------


def test_a_folder_that_can_not_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SettingsError) as caught:
        Cache(tmp_path / "file" / "cache")
    said = str(caught.value)
    assert said.startswith(f"edge_cache_dir: can't write to '{tmp_path / 'file' / 'cache'}' (")
    assert said.endswith("give another folder, or --edge-no-cache")


def test_two_processes_make_a_value_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(2)
    log = tmp_path / "log"
    arguments = (str(tmp_path / "cache"), KEY, str(log), barrier)
    processes = [
        spawn.Process(target=isolation_functions.make_once, args=arguments) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert log.read_text() == "made\n"
    assert Cache(tmp_path / "cache").get(KEY) is not None
