"""What tells samples apart, whatever form and order they come in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_edgequant.measure.evaluation.runtimes import stratified_part
from pytest_edgequant.samples.inputs import InputSpec
from pytest_edgequant.samples.stream import Drawn, Samples

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4, 3)).astype(np.float32)
Z = RNG.integers(0, 255, (60, 2)).astype(np.uint8)
Y = RNG.integers(0, 5, 60)
SPECS = (InputSpec("x", (1, 4, 3), np.dtype(np.float32)),)


def hashes(dataset: Any) -> list[int]:
    found = Samples(dataset).hashes()
    assert found is not None
    return [int(value) for value in found]


def batches(size: int) -> Callable[[], Any]:
    return lambda: ((X[i : i + size], Y[i : i + size]) for i in range(0, len(Y), size))


def test_every_form_of_a_dataset_has_the_same_samples() -> None:
    whole = hashes((X, Y))
    assert len(set(whole)) == 60
    assert hashes(batches(7)) == hashes([(X[:50], Y[:50]), (X[50:], Y[50:])]) == whole
    assert hashes(lambda: zip(X, Y, strict=True)) == whole
    assert hashes(([*X], Y.astype(np.uint8))) == whole
    assert hashes((X[::-1][::-1], Y.tolist())) == whole
    order = RNG.permutation(60)
    assert hashes((X[order], Y[order])) == [whole[i] for i in order]


def test_several_inputs_and_labels_are_all_of_a_sample() -> None:
    whole = hashes(({"b": X, "a": Z}, Y))
    assert hashes(lambda: iter([({"a": Z[:9], "b": X[:9]}, Y[:9])])) == whole[:9]
    assert whole != hashes(({"a": X, "b": Z}, Y))
    assert hashes(((X, Z), Y)) != hashes(((Z, X), Y))
    named = hashes(lambda: iter([(X, {"first": Y, "second": Y[::-1]})]))
    assert named != hashes(lambda: iter([(X, {"first": Y[::-1], "second": Y})]))


@pytest.mark.parametrize("place", [0, 31, 59])
def test_a_change_of_one_sample_or_label_is_one_sample(place: int) -> None:
    whole = hashes((X, Y))
    x, y = X.copy(), Y.copy()
    x[place, 3, 2] = np.nextafter(x[place, 3, 2], 9)
    y[place] += 1
    for changed in (hashes((x, Y)), hashes((X, y)), hashes((X, np.asarray(y, np.int8)))):
        assert [i for i in range(60) if changed[i] != whole[i]] == [place]


def test_what_can_not_be_told_apart_is_unknown() -> None:
    assert Samples(lambda: iter([(X, Y)])).hashes() is not None
    assert Samples(lambda: iter([([X, X[:5]], Y)])).hashes() is None
    used = Samples(iter([(X, Y)]))
    assert used.hashes() is None


def test_text_labels_are_told_apart_in_any_width() -> None:
    words = np.array(["yes", "no", "unknown"])[Y % 3]
    wide = [(X[i : i + 1], words[i : i + 1].astype("U9")) for i in range(60)]
    assert hashes(wide) == hashes((X, words))


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=80),
    st.integers(1, 80),
    st.integers(1, 80),
    st.booleans(),
    st.integers(0, 5),
)
def test_a_part_holds_every_smaller_one(
    labels: list[int], first: int, second: int, known: bool, left_out: int
) -> None:
    y = np.asarray(labels)
    keys = np.asarray(labels, np.uint64) * np.uint64(977) % np.uint64(13) if known else None
    positions = np.arange(len(y))[left_out:] if len(y) > left_out else np.arange(len(y))
    small, large = sorted((first, second))
    part, whole = (stratified_part(y, positions, n, keys) for n in (small, large))
    assert len(part) == min(small, len(positions))
    assert set(part.tolist()) <= set(whole.tolist()) <= set(positions.tolist())


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 9))
def test_a_draw_holds_every_smaller_one(first: int, second: int, size: int) -> None:
    small, large = sorted((first, second))
    drawn = [Drawn(Samples(iter(batches(size)())), [SPECS], n) for n in (small, large)]
    starts = [[part.start for part in one.read([SPECS], 9)] for one in drawn]
    assert len(starts[0]) == small
    assert set(starts[0]) <= set(starts[1])
    found = drawn[0].hashes()
    assert found is not None
    assert found.tolist() == [hashes((X, Y))[i] for i in starts[0]]


def test_a_part_stays_nearly_the_same_in_a_dataset_that_changed_a_little() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2000, 5)).astype(np.float32), rng.integers(0, 10, 2000)

    def part(x: Any, y: Any) -> set[int]:
        known = Samples((x, y)).hashes()
        assert known is not None
        return {int(known[i]) for i in stratified_part(y, np.arange(len(y)), 500, known)}

    order = rng.permutation(2000)
    assert part(x[order], y[order]) == part(x, y)
    assert len(part(x[1:], y[1:]) & part(x, y)) >= 490
    shares = np.bincount(y[stratified_part(y, np.arange(2000), 500)])
    assert shares.tolist() == pytest.approx((np.bincount(y) / 4).tolist(), abs=1)
