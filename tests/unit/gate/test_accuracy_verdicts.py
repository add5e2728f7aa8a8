"""What the evidence makes of limits."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pytest_edgequant import AccuracyComparison, Outcome, compare_outcomes
from pytest_edgequant.gate.accuracy_verdicts import (
    judge_agreement,
    judge_drop,
    judge_floor,
    judge_worst_class,
)
from pytest_edgequant.limits import DropLimit
from pytest_edgequant.measure.metrics import compute, get_metric
from pytest_edgequant.measure.paired import compare_scores

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
