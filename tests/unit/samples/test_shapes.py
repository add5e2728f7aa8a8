"""What samples of another shape than the model's should have done to them."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_edgequant.errors import DatasetError
from pytest_edgequant.samples.inputs import InputSpec, as_inputs
from pytest_edgequant.samples.shapes import shape_hint

CALL = re.compile(r"np\.\w+\(x, .*?\)(?:\.reshape\([^)]*\))?(?= or|;| \(|$)|x\.T")


def followed(hint: str, x: Any) -> list[Any]:
    """What comes of each call that a hint names."""
    return [eval(call, {"np": np, "x": x}) for call in CALL.findall(hint)]


@pytest.mark.parametrize(
    ("given", "sample", "said"),
    [
        ((120, 3, 16, 16), (16, 16, 3), "np.moveaxis(x, 1, -1); a reshape would scramble"),
        ((120, 16, 16, 3), (3, 16, 16), "np.moveaxis(x, -1, 1); a reshape would scramble"),
        ((90, 6, 50), (50, 6), "np.moveaxis(x, 1, -1); a reshape would scramble"),
        ((90, 2, 3, 4, 5), (3, 4, 5, 2), "np.moveaxis(x, 1, -1); a reshape would scramble"),
        ((90, 2, 3, 4), (4, 3, 2), "np.transpose(x, (0, 3, 2, 1)); a reshape would scramble"),
        ((16, 16, 3, 90), (16, 16, 3), "np.moveaxis(x, -1, 0); a reshape would scramble"),
        ((8, 90), (8,), "x.T; a reshape would scramble"),
        ((3, 16, 16), (16, 16, 3), "for one sample its axes are in another order: np.moveaxis(x, "),
        (
            (90, 3, 256),
            (16, 16, 3),
            "np.moveaxis(x, 1, -1).reshape(-1, 16, 16, 3); a ",
        ),
        ((90, 4, 6), (3, 8), "the axes do not: a reshape would scramble them"),
        ((90, 784), (28, 28, 1), "reshape to (N, 28, 28, 1)"),
        ((90, 28, 28), (28, 28, 1), "reshape to (N, 28, 28, 1)"),
        ((90, 28, 28, 1), (28, 28), "reshape to (N, 28, 28)"),
        ((90, 16, 16, 3), (768,), "reshape to (N, 768)"),
        ((28, 28), (28, 28, 1), "for one sample: reshape to (1, 28, 28, 1)"),
    ],
)
def test_the_way_to_the_shape_is_told(given: Any, sample: Any, said: str) -> None:
    hint = shape_hint(given, sample)
    assert said in hint
    assert ("np." in hint or "x.T" in hint) == ("another order" in hint)


def test_axes_of_one_can_move_either_way() -> None:
    assert shape_hint((90, 1, 28, 28), (28, 28, 1)).endswith("order: np.moveaxis(x, 1, -1)")


def test_two_ways_that_fit_are_both_told() -> None:
    hint = shape_hint((9, 2, 2, 3), (2, 3, 2))
    found = followed(hint, np.arange(108).reshape(9, 2, 2, 3))
    assert [array.shape for array in found] == [(9, 2, 3, 2)] * 2
    assert not np.array_equal(*found)
    assert "only you know" in hint


@pytest.mark.parametrize("shape", [(), (0,), (7,), (9, 5), (9, 2, 5), (2,) * 9])
def test_what_can_not_fit_gets_no_advice(shape: Any) -> None:
    assert shape_hint(shape, (2, 3)) == ""


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_advice_gives_the_model_s_shape_and_keeps_each_sample(sizes: Any, chance: Any) -> None:
    sample = tuple(sizes)
    axes = chance.choice(list(itertools.permutations(range(len(sizes)))))
    right = np.arange(7 * np.prod(sizes)).reshape(7, *sample)
    x = np.transpose(right, (0, *(1 + axis for axis in axes)))
    if x.shape == right.shape:
        return
    found = followed(shape_hint(x.shape, sample), x)
    assert found
    assert all(array.shape == right.shape for array in found)
    if len(set(sizes)) == len(sizes):  # only one order fits
        assert len(found) == 1
        np.testing.assert_array_equal(found[0], right)


TWO = (
    InputSpec("wide", (1, 5), np.dtype(np.float32)),
    InputSpec("image", (1, 2, 3), np.dtype(np.float32)),
)


def test_arrays_that_fit_in_another_order_are_given_by_name() -> None:
    wide, image = np.zeros((4, 5)), np.zeros((4, 2, 3))
    with pytest.raises(DatasetError, match="another order than 'wide', 'image': give a dict"):
        as_inputs((image, wide), TWO, "here")
    with pytest.raises(DatasetError, match=r"np\.moveaxis\(x, 1, -1\)") as caught:
        as_inputs((wide, np.zeros((4, 3, 2))), TWO, "here")
    assert "give a dict" not in str(caught.value)
