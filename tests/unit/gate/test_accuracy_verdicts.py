"""Limits as users write them, and what the evidence makes of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pytest_edgequant import AccuracyComparison, Outcome, compare_outcomes
from pytest_edgequant.errors import SettingsError
from pytest_edgequant.gate.accuracy_verdicts import (
    judge_agreement,
    judge_drop,
    judge_floor,
    judge_worst_class,
)
from pytest_edgequant.limits import DropLimit, parse_drop, parse_floor, parse_fraction
from pytest_edgequant.measure.metrics import compute, get_metric
from pytest_edgequant.measure.paired import compare_scores

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


# -- the verdict on a drop ----------------------------------------------------------------------


def compared(lost: int, gained: int, count: int) -> AccuracyComparison:
    baseline, candidate = np.ones(count, bool), np.ones(count, bool)
    candidate[:lost] = False
    baseline[lost : lost + gained] = False
    return compare_outcomes(baseline=baseline, candidate=candidate)


@pytest.mark.parametrize(
    "lost, count, limit, by_point, by_evidence",
    [
        (0, 1000, 0.02, Outcome.PASS, Outcome.PASS),
        (10, 1000, 0.02, Outcome.PASS, Outcome.PASS),
        (16, 1000, 0.02, Outcome.PASS, Outcome.INCONCLUSIVE),
        (24, 1000, 0.02, Outcome.FAIL, Outcome.INCONCLUSIVE),
        (40, 1000, 0.02, Outcome.FAIL, Outcome.FAIL),
        (0, 100, 0.02, Outcome.PASS, Outcome.INCONCLUSIVE),
        (2, 100, 0.02, Outcome.PASS, Outcome.INCONCLUSIVE),
        (0, 100, 0.0, Outcome.PASS, Outcome.INCONCLUSIVE),
        (0, 1, 0.02, Outcome.PASS, Outcome.INCONCLUSIVE),
    ],
)
def test_the_point_decides_unless_evidence_is_demanded(
    lost: int, count: int, limit: float, by_point: Outcome, by_evidence: Outcome
) -> None:
    comparison = compared(lost, 0, count)
    plain = judge_drop("m/int8", comparison, DropLimit(limit))
    strict = judge_drop("m/int8", comparison, DropLimit(limit), demanded=True)
    assert (plain.verdict, strict.verdict) == (by_point, by_evidence)
    # What decides nothing begins with what to do.
    undecided = strict.verdict is Outcome.INCONCLUSIVE
    do, _, rest = strict.message.partition(": ") if undecided else ("", "", strict.message)
    assert do.startswith("Evaluate about " if "would decide" in rest else "Set " if do else "")
    assert plain.message == rest
    conclusive = by_evidence is not Outcome.INCONCLUSIVE
    assert (": conclusive." in plain.message) is conclusive
    assert ("inconclusive" in plain.message) is not conclusive


def test_the_message_says_how_many_samples_would_decide() -> None:
    verdict = judge_drop("m/int8", compared(3, 1, 200), DropLimit(0.02), demanded=True)
    assert verdict.message == (
        "Evaluate about 1,032 samples: "
        "m/int8: accuracy 99.50% -> 98.50% on 200 samples, a drop of 1.00 points; allowed are 2.00 "
        "points (3 samples lost, 1 gained). The 95% interval of the drop is -1.43 to 3.88 points "
        "(McNemar p=0.62): inconclusive; about 1,032 samples would decide at these rates."
    )
    assert (verdict.limit, verdict.value) == (0.02, 0.01)
    again = judge_drop("m/int8", compared(18, 6, 1200), DropLimit(0.02), demanded=True)
    assert again.verdict is Outcome.PASS


def test_a_relative_limit_is_told_as_both() -> None:
    verdict = judge_drop("m/int8", compared(3, 0, 100), DropLimit(0.02, relative=True))
    assert "allowed are 2.00 points (2% of the baseline)" in verdict.message


def test_without_an_interval_nothing_is_conclusive() -> None:
    y_true = np.arange(5.0)
    metric = get_metric("mae")
    scores = [compute(metric, y_true, y_true + shift, "m") for shift in (1, 1.5)]
    comparison = compare_scores(metric, *scores)
    plain = judge_drop("m/int8", comparison, DropLimit(1))
    assert plain.verdict is Outcome.PASS
    assert "mae 1 -> 1.5 on 5 samples, a drop of 0.5; allowed are 1. No interval can be " in (
        plain.message
    )
    strict = judge_drop("m/int8", comparison, DropLimit(1), demanded=True)
    assert strict.verdict is Outcome.INCONCLUSIVE
    assert "Inconclusive: No interval can be had: 5 samples are too few" in strict.message


# -- floors, classes, agreement -----------------------------------------------------------------


@pytest.mark.parametrize(
    "value, interval, by_point, by_evidence",
    [
        (0.95, (0.92, 0.97), Outcome.PASS, Outcome.PASS),
        (0.91, (0.88, 0.93), Outcome.PASS, Outcome.INCONCLUSIVE),
        (0.90, (0.88, 0.93), Outcome.PASS, Outcome.INCONCLUSIVE),
        (0.89, (0.87, 0.91), Outcome.FAIL, Outcome.INCONCLUSIVE),
        (0.85, (0.82, 0.88), Outcome.FAIL, Outcome.FAIL),
        (0.95, None, Outcome.PASS, Outcome.INCONCLUSIVE),
    ],
)
def test_a_floor_is_judged_like_a_drop(
    value: float, interval: Any, by_point: Outcome, by_evidence: Outcome
) -> None:
    for demanded, expected in ((False, by_point), (True, by_evidence)):
        verdict = judge_floor(
            "m/int8", "min_accuracy", value, 0.9, share=True, what="accuracy",
            interval=interval, demanded=demanded,
        )  # fmt: skip
        assert verdict.verdict is expected
        relation = "at least" if value >= 0.9 else "below"
        assert f"accuracy {value:.2%} is {relation} the floor of 90.00%" in verdict.message


def by_class() -> AccuracyComparison:
    """Class 1 loses 30 of 100 samples, class 0 none of 300."""
    labels = np.repeat([0, 1], [300, 100])
    before = np.eye(2)[labels]
    after = before.copy()
    after[300:330] = [1, 0]
    metric = get_metric("accuracy")
    return compare_scores(metric, *(compute(metric, labels, p, "m") for p in (before, after)))


@pytest.mark.parametrize(
    "limit, demanded, outcome",
    [
        (0.05, False, Outcome.FAIL),
        (0.05, True, Outcome.FAIL),
        (0.3, False, Outcome.PASS),
        (0.35, True, Outcome.INCONCLUSIVE),
        (0.45, True, Outcome.PASS),
    ],
)
def test_the_worst_class_is_limited(limit: float, demanded: bool, outcome: Outcome) -> None:
    verdict = judge_worst_class("m/int8", by_class(), DropLimit(limit), demanded=demanded)
    assert verdict.verdict is outcome
    assert "recall of class 1 100.00% -> 70.00% on 100 samples of it" in verdict.message
    assert verdict.value == 0.3


def test_a_metric_without_classes_has_no_worst_class() -> None:
    verdict = judge_worst_class("m/int8", compared(0, 0, 5), DropLimit(0.1))
    assert verdict.verdict is Outcome.UNAVAILABLE


@pytest.mark.parametrize(
    "agreement, demanded, outcome",
    [
        (0.99, False, Outcome.PASS),
        (0.97, False, Outcome.FAIL),
        (0.985, True, Outcome.INCONCLUSIVE),
        (None, False, Outcome.UNAVAILABLE),
    ],
)
def test_agreement_is_limited(agreement: Any, demanded: bool, outcome: Outcome) -> None:
    comparison = dataclasses.replace(compared(0, 0, 200), agreement=agreement)
    verdict = judge_agreement("m/int8", comparison, 0.98, demanded=demanded)
    assert verdict.verdict is outcome
