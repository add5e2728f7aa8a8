"""Limits as users write them, and what is refused of them."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from pytest_edgequant.errors import SettingsError
from pytest_edgequant.limits import (
    DropLimit,
    is_number,
    parse_drop,
    parse_floor,
    parse_fraction,
    within,
)
from pytest_edgequant.measure.metrics import get_metric

# -- points and per cent ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, limit",
    [
        (0.02, 0.02),
        (0, 0),
        (np.float32(0.5), 0.5),
        ("2 pt", 0.02),
        ("2pt", 0.02),
        ("1.5 points", 0.015),
        ("1 Point", 0.01),
        ("2 pp", 0.02),
        ("2 percentage points", 0.02),
        ("99.9 pt", 0.999),
    ],
)
def test_an_absolute_limit(given: Any, limit: float) -> None:
    found = parse_drop(given, "accuracy", True)
    assert (found.of(0.5), found.relative) == (pytest.approx(limit), False)


@pytest.mark.parametrize("given", ["2% relative", "2 % relative", "2% rel", "relative 2%"])
@pytest.mark.parametrize("share", [True, False])
def test_a_relative_limit_is_a_share_of_the_baseline(given: str, share: bool) -> None:
    found = parse_drop(given, "accuracy", share)
    assert found == DropLimit(0.02, relative=True)
    assert found.of(0.9) == pytest.approx(0.018)
    assert found.of(-50) == pytest.approx(1)


@pytest.mark.parametrize(
    "given, said",
    [
        (
            "2%",
            'points or a share of the baseline: write "2 pt" for .*88%, or "2% relative" for .*8',
        ),
        ("2 percent", "could mean points or a share"),
        ("0.02", "can't read '0.02': it has no unit; write the number 0.02, or \"2 pt\""),
        ("20", "can't read '20': it has no unit; 20 points are 0.2 or \"20 pt\""),
        (5, '5 is more than everything; .*: 5 points are 0.05 or "5 pt"'),
        ("two points", "can't read"),
        ("-2 pt", "can't read"),
        ("2 relative pt", "can't read"),
        ("2 pt relative", "points are not relative"),
        ("200 pt", "more than everything"),
        ("100 pt", "everything, so that it can't fail"),
        (1, "everything, so that it can't fail"),
        (1.0, "everything, so that it can't fail"),
        ("100% relative", "all of the baseline: it can't fail"),
        ("1000% relative", "all of the baseline: it can't fail"),
        (float("inf"), "expected a number of 0 or more"),
        ("", "can't read ''"),
        (1.5, "more than everything; accuracy is a fraction"),
        (-0.1, "expected a number of 0 or more"),
        (float("nan"), "expected a number of 0 or more"),
        (True, 'expected a number such as 0.02, "2 pt" or "2% relative"'),
        (None, "expected a number such as 0.02"),
    ],
)
def test_a_limit_that_can_not_be_read_is_refused(given: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=f"^max_drop: .*{said}"):
        parse_drop(given, "accuracy", True)


def test_an_error_may_more_than_double_and_a_score_fall_below_zero() -> None:
    assert parse_drop("150% relative", "mae", False).of(10) == 15
    assert parse_floor(0, get_metric("r2"), "min_accuracy") == 0


@pytest.mark.parametrize("given, share", [(0.01, 0.01), ("1%", 0.01), ("2.5 %", 0.025), (0, 0)])
def test_a_share_that_may_be(given: Any, share: float) -> None:
    assert parse_fraction(given, "max_changed") == pytest.approx(share)


@pytest.mark.parametrize(
    "given, said",
    [
        (5, '5 is all samples: it can\'t fail; 5 per cent are 0.05 or "5%"'),
        (1, "it can't fail"),
        ("100%", "it can't fail"),
        ("5", "can't read '5'"),
        (-0.1, "expected a number of 0 or more"),
        (True, "got True"),
    ],
)
def test_a_share_that_can_not_be_meant_is_refused(given: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=f"^max_changed: .*{said}"):
        parse_fraction(given, "max_changed")


def test_a_metric_that_is_no_fraction_has_no_points() -> None:
    with pytest.raises(SettingsError, match=r"write the number 20$"):
        parse_drop("20", "mae", False)
    assert parse_drop(50, "mae", False).of(10) == 50
    with pytest.raises(SettingsError, match=r'mae is not a fraction, .* or "2% relative"'):
        parse_drop("2 pt", "mae", False)


@pytest.mark.parametrize("given, floor", [(0.9, 0.9), ("90%", 0.9), ("92.5 %", 0.925), (1, 1)])
def test_a_floor(given: Any, floor: float) -> None:
    assert parse_floor(given, get_metric("accuracy"), "min_accuracy") == pytest.approx(floor)


@pytest.mark.parametrize(
    "metric, given, said",
    [
        ("accuracy", 90, 'min_accuracy: 90 is more than everything; 90 per cent are 0.9 or "90%"'),
        ("accuracy", 92.5, '92.5 per cent are 0.925 or "92.5%"'),
        ("accuracy", "90", "can't read '90'; 90 per cent are 0.9 or \"90%\""),
        ("accuracy", "0.9", 'write the number 0.9, or "90%"'),
        ("accuracy", "150%", "'150%' is more than everything"),
        ("accuracy", 150, '150 is more than everything; expected 0.9, or "90%"'),
        ("accuracy", "2 pt", "can't read"),
        ("r2", "90%", "can't read"),
        ("mae", 3, "mae is better when it is smaller, so it has no floor"),
        ("accuracy", None, "expected a number"),
        ("accuracy", 0, "min_accuracy: 0 can't fail: accuracy is never less"),
        ("accuracy", "0%", "min_accuracy: '0%' can't fail"),
        ("roc_auc", 0.0, "min_accuracy: 0.0 can't fail: roc_auc is never less"),
    ],
)
def test_a_floor_that_can_not_be_meant_is_refused(metric: str, given: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        parse_floor(given, get_metric(metric), "min_accuracy")


# -- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1.5, np.float32(2), np.int64(3), Fraction(1, 3), math.inf])
def test_what_is_a_number(value: Any) -> None:
    assert is_number(value)


@pytest.mark.parametrize("value", [True, np.True_, "1", None, 1j, np.array([1.0])])
def test_what_is_none(value: Any) -> None:
    assert not is_number(value)


def test_a_limit_holds_where_only_the_last_digit_says_otherwise() -> None:
    assert within(0.1 + 0.2, 0.3)
    assert within(-1, 0)
    assert not within(0.3 + 1e-6, 0.3)
    assert not within(1e-12, 0)
