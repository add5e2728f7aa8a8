from __future__ import annotations

import math

import pytest

from pytest_edgequant.gate.verdicts import judge
from pytest_edgequant.records import Metric, Outcome, Verdict
from pytest_edgequant.units import format_bytes


def judged(metric: Metric, limit: float) -> Verdict:
    return judge(
        "size",
        metric,
        limit,
        subject="digits/int8",
        show=lambda v: format_bytes(int(v)),
        advice="Use fewer channels",
    )


def measured(value: float | None) -> Metric:
    return Metric(value, "bytes", "exact (file size)")


@pytest.mark.parametrize("value", [0, 1999, 2000])
def test_at_most_the_limit_passes_without_advice(value: int) -> None:
    verdict = judged(measured(value), 2000)
    assert (verdict.check, verdict.verdict, verdict.limit, verdict.value) == (
        "size",
        Outcome.PASS,
        2000,
        value,
    )
    assert verdict.message == f"digits/int8: size {value:,} B is within the limit of 2,000 B"


def test_more_than_the_limit_fails_with_the_difference_and_advice() -> None:
    verdict = judged(measured(2001), 2000)
    assert verdict.verdict is Outcome.FAIL
    assert verdict.message == (
        "digits/int8: size 2,001 B is over the limit of 2,000 B by 1 B. Use fewer channels"
    )


def test_a_missing_figure_never_passes_and_says_why() -> None:
    verdict = judged(Metric.unavailable("bytes", "there is no wheel here"), 10**9)
    assert (verdict.verdict, verdict.value, verdict.limit) == (Outcome.UNAVAILABLE, None, 10**9)
    assert verdict.message == "digits/int8: size is unavailable: there is no wheel here"


def test_a_figure_that_is_no_number_never_passes() -> None:
    verdict = judge("drop", measured(math.nan), 1.0, subject="digits/int8", show=str)
    assert verdict.verdict is Outcome.FAIL
