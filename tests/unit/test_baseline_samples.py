from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_edgequant.baseline.samples import Samples, pack, unpack


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
