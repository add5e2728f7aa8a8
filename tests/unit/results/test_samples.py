from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_edgequant.baseline.common import matched
from pytest_edgequant.results.samples import (
    Samples,
    pack,
    pack_hashes,
    shortened,
    unpack,
    unpack_hashes,
)


def samples(outcomes: Any = None, values: Any = None) -> Samples:
    given = outcomes if outcomes is not None else values
    return Samples(
        "d" * 32,
        len(given),
        outcomes is not None,
        outcomes is not None,
        None if outcomes is None else np.asarray(outcomes, bool),
        None if values is None else np.asarray(values, np.float32),
    )


@given(st.lists(st.booleans(), min_size=1, max_size=3000))
def test_outcomes_come_back(outcomes: list[bool]) -> None:
    found = unpack(json.loads(json.dumps(pack(samples(outcomes)))))
    assert found.outcomes is not None
    assert found.outcomes.tolist() == outcomes
    assert found.values is None


@given(st.integers(1, 400), st.integers(0, 10**6), st.floats(0, 1))
def test_rare_outcomes_come_back(count: int, seed: int, share: float) -> None:
    outcomes = np.random.default_rng(seed).random(count * 50) < share
    found = unpack(pack(samples(outcomes)))
    np.testing.assert_array_equal(found.outcomes, outcomes)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=200))
def test_values_come_back(values: list[float]) -> None:
    found = unpack(pack(samples(values=values)))
    np.testing.assert_array_equal(found.values, np.asarray(values, np.float32))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.5, 0.9, 0.98, 1.0])
def test_a_thousand_samples_take_less_than_a_kilobyte(share: float) -> None:
    outcomes = np.random.default_rng(0).random(1000) < share
    text = json.dumps({"accuracy": pack(samples(outcomes))})
    assert len(text) < 320
    if share > 0.95:
        assert len(text) < 180


def test_equal_outcomes_are_equal_bytes() -> None:
    outcomes = np.random.default_rng(1).random(500) < 0.9
    assert pack(samples(outcomes)) == pack(samples(outcomes.copy()))
    assert pack(samples([True] * 9)) == {
        "dataset": "d" * 32,
        "count": 9,
        "share": True,
        "higher_is_better": True,
        "wrong": "",
    }


SPOILT: list[tuple[dict[str, Any], str]] = [
    ({"count": 0}, "count is 0"),
    ({"count": True}, "count is True"),
    ({"count": 10**15}, "count is 1000000000000000"),
    ({"count": "9"}, "count is '9'"),
    ({"dataset": 3}, "dataset is 3"),
    ({"share": "yes"}, "true or false"),
    ({"bits": "AA=="}, "1 bytes of bits for 9"),
    ({"bits": 7}, "expected base64"),
    ({"bits": "é"}, "not base64"),
    ({"wrong": "CQ=="}, "sample 9 of 9"),
    ({"wrong": "gA=="}, "cut off"),
    ({"wrong": "gICAgICAgICAgICAgIAA"}, "too long"),
    ({"values": "AAAA"}, "3 bytes of values"),
    ({"values": "AADAfw=="}, "bytes of values"),
]


@pytest.mark.parametrize("spoilt, said", SPOILT)
def test_what_is_damaged_is_refused(spoilt: dict[str, Any], said: str) -> None:
    packed = {"dataset": "d", "count": 9, "share": True, "higher_is_better": True} | spoilt
    with pytest.raises(ValueError, match=said):
        unpack(packed)


def test_values_that_are_no_numbers_are_refused() -> None:
    packed = pack(samples(values=[1.0])) | {"values": "AADAfw=="}
    with pytest.raises(ValueError, match="not finite"):
        unpack(packed)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="dataset, higher_is_better, share is missing"):
        unpack({"count": 3})


HASHES = st.lists(st.integers(0, 2**64 - 1), max_size=300)
FEW = st.lists(st.integers(0, 9), max_size=40)


@given(HASHES)
def test_hashes_come_back(hashes: list[int]) -> None:
    kept = shortened(np.asarray(hashes, np.uint64))
    found = unpack_hashes(json.loads(json.dumps(pack_hashes(kept))))
    assert found.tolist() == [value % 2**32 for value in hashes]


@given(FEW, FEW)
def test_samples_are_met_as_often_as_both_have_them(before: list[int], after: list[int]) -> None:
    first, second = matched(np.asarray(before, np.uint32), np.asarray(after, np.uint32))
    assert [before[i] for i in first] == [after[i] for i in second]
    assert Counter(before[i] for i in first) == Counter(before) & Counter(after)
    assert len(set(first.tolist())) == len(first) == len(set(second.tolist()))
    assert first.tolist() == sorted(first.tolist())


@pytest.mark.parametrize(
    "packed, said",
    [(7, "expected base64"), ("é", "not base64"), ("AAAAAAA=", "5 bytes of hashes")],
)
def test_hashes_that_are_damaged_are_refused(packed: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        unpack_hashes(packed)


def test_as_many_hashes_as_samples() -> None:
    packed = pack(samples([True, False]))
    assert unpack(packed, np.zeros(2, np.uint32)).hashes is not None
    with pytest.raises(ValueError, match="3 hashes for 2 samples"):
        unpack(packed, np.zeros(3, np.uint32))
