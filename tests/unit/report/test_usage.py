"""The use of limits in words: exact figures, readable limits, no rounding that misleads."""

from __future__ import annotations

import math

import pytest

from pytest_edgequant.records import Metric, Outcome, Result, Verdict
from pytest_edgequant.report.usage import format_limit, percent, tightest, uses


def result(*verdicts: Verdict, **metrics: Metric) -> Result:
    return Result("digits", "int8", "pico", metrics, verdicts)


def verdict(check: str, value: float | None, limit: float | str | None) -> Verdict:
    return Verdict(check, Outcome.PASS, "", limit, value)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (1e-9, "<1 %"),
        (0.0281, "3 %"),
        (0.9996, "99.9 %"),
        (1, "100 %"),
        (1.0001, "100.1 %"),
        (15.03, "1,503 %"),
    ],
)
def test_per_cent_never_say_none_or_all_of_what_is_not(share: float, text: str) -> None:
    assert percent(share) == text


def test_a_figure_stands_beside_its_limit_and_its_use() -> None:
    found = uses(result(verdict("arena", 5_280, 187_792), verdict("size", 18_800, 20_480)))
    assert [use.text for use in found] == [
        "18,800 B, 92 % of 20 KiB",
        "5,280 B, 3 % of 183 KiB",
    ]
    assert tightest(found) == found[0]
    assert tightest(found, "arena_bytes") == found[1]
    assert tightest(found, "latency_ms") is None


def test_drops_read_in_points_where_the_task_is_accuracy_and_in_units_elsewhere() -> None:
    drop = verdict("accuracy_drop", 0.013, 0.02)
    accuracy = Metric(0.9, "fraction", "measured")
    assert uses(result(drop, accuracy=accuracy))[0].text == "+1.30 pt, 65 % of 2 pt"
    assert uses(result(drop, mae=accuracy))[0].text == "+0.013, 65 % of 0.02"


def test_a_gain_uses_nothing_and_nothing_can_be_used_of_nothing() -> None:
    gain, over = uses(result(verdict("accuracy_drop", -0.01, 0.0)))[0], verdict("size", 5, 0)
    assert gain.share == 0
    assert uses(result(over))[0].share == math.inf
    assert uses(result(over))[0].text == "5 B, over 0 B"


def test_of_a_floor_nothing_is_used() -> None:
    accuracy = Metric(0.94, "fraction", "measured")
    floor = result(verdict("min_accuracy", 0.94, 0.9), verdict("size", 1, 4), accuracy=accuracy)
    assert [use.text for use in uses(floor)] == ["1 B, 25 % of 4 B", "94.00%, at least 90.00%"]
    assert tightest(uses(floor)) == uses(floor)[0]


def test_what_has_no_value_no_limit_or_no_figure_has_no_use() -> None:
    none = (
        verdict("arena", None, 5),
        verdict("size", 5, None),
        verdict("runtime_parity", 1, "2 steps"),
        verdict("fully_integer", 0, 0),
    )
    assert uses(result(*none)) == []


def test_two_limits_of_one_check_are_two_and_the_same_one_is_one() -> None:
    twice = (verdict("size", 5, 10), verdict("size", 5, 10), verdict("size", 5, 6))
    assert [use.limit for use in uses(result(*twice))] == [6, 10]


def test_where_the_figure_is_not_shown_the_limit_says_what_it_is_of() -> None:
    accuracy = Metric(0.94, "fraction", "measured")
    mine = Metric(0.9, "fraction", "measured")
    arena, floor = verdict("arena", 5_280, 187_792), verdict("min_accuracy", 0.94, 0.9)
    assert [use.told for use in uses(result(arena, floor, accuracy=accuracy))] == [
        "arena 3 % of 183 KiB",
        "score 94.00%, at least 90.00%",
    ]
    assert uses(result(floor, macro_f1=mine))[0].figure == "macro_f1"


@pytest.mark.parametrize(
    "count, shown",
    [
        (800, "800 B"),
        (1_024, "1 KiB"),
        (32_768, "32 KiB"),
        (25_999, "25.4 KiB"),
        (187_792, "183 KiB"),
        (1_048_575, "1024 KiB"),
        (1_572_864, "1.5 MiB"),
    ],
)
def test_limits_are_told_as_people_know_them(count: int, shown: str) -> None:
    assert format_limit(count) == shown


def test_what_rounding_would_make_equal_is_told_exactly() -> None:
    (use,) = uses(result(verdict("arena", 32_769, 32_768)))
    assert use.text == "32,769 B, 100.1 % of 32,768 B"
