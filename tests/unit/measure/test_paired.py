"""Paired comparisons: what they refuse, the bootstrap against other libraries, and by class."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pytest_edgequant import compare_outcomes
from pytest_edgequant.errors import DatasetError, MeasurementUnavailable, SettingsError
from pytest_edgequant.measure.confidence import critical_value
from pytest_edgequant.measure.metrics import compute, get_metric, task_metric
from pytest_edgequant.measure.paired import bootstrap_interval, compare_scores
from pytest_edgequant.measure.proportions import (
    samples_to_decide,
    tango_interval,
)

# -- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "baseline, candidate, said",
    [
        ([], [], r"baseline: expected a boolean array of shape \(N,\).*\(0,\)"),
        ([[True]], [True], r"baseline: expected .* shape \(1, 1\)"),
        ([True, False], [True], "baseline has 2 outcomes and candidate 1"),
        ([True], [0.3], "candidate: expected booleans .* got float64"),
        ([True], ["yes"], "candidate: expected booleans"),
        ([True], [float("nan")], "candidate: expected booleans"),
    ],
)
def test_what_are_no_outcomes_is_refused(baseline: Any, candidate: Any, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        compare_outcomes(baseline=baseline, candidate=candidate)


def test_outcomes_may_be_zeros_and_ones_or_a_list() -> None:
    found = compare_outcomes(baseline=[1, 1, 0], candidate=np.array([1.0, 0.0, 1.0]))
    assert (found.lost, found.gained, found.count) == (1, 1, 3)


@pytest.mark.parametrize("confidence", [0, 1, 95, -0.5, "0.95", True, None, float("nan")])
def test_what_is_no_confidence_is_refused(confidence: Any) -> None:
    with pytest.raises(SettingsError, match=r"confidence: expected a number such as 0\.95"):
        compare_outcomes(baseline=[True], candidate=[True], confidence=confidence)


@pytest.mark.parametrize(
    "confidence, why",
    [(1e-12, "no evidence would pass"), (0.49, "no evidence would pass"), (0.99999, "no number")],
)
def test_a_confidence_that_decides_nothing_is_refused(confidence: float, why: str) -> None:
    with pytest.raises(SettingsError, match=f"confidence: {confidence}: .*{why}"):
        compare_outcomes(baseline=[True], candidate=[True], confidence=confidence)
    compare_outcomes(baseline=[True], candidate=[True], confidence=0.5)
    compare_outcomes(baseline=[True], candidate=[True], confidence=0.9999)


def test_outcomes_are_keywords_only() -> None:
    with pytest.raises(TypeError):
        compare_outcomes([True], [True])  # type: ignore[misc]


# -- the bootstrap ------------------------------------------------------------------------------


def scores(metric: Any, y_true: Any, *predictions: Any) -> list[Any]:
    return [compute(metric, y_true, y_pred, "digits/int8") for y_pred in predictions]


def test_the_bootstrap_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(3, 2, 2000)
    low, high = bootstrap_interval(
        lambda w: w @ values / w.sum(axis=1), float(values.mean()), len(values), 0.95
    )
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_the_bootstrap_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(5).exponential(1, 80)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", random_state=0
    ).confidence_interval
    ours = bootstrap_interval(
        lambda w: w @ values / w.sum(axis=1), float(values.mean()), len(values), 0.95
    )
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.03)


def test_the_same_samples_give_the_same_interval() -> None:
    y_true, noise, more = np.random.default_rng(0).normal(size=(3, 300))
    metric = get_metric("rmse")
    pair = scores(metric, y_true, y_true + 0.1 * noise, y_true + 0.12 * more)
    first, again = (compare_scores(metric, *pair) for _ in range(2))
    assert (first.low, first.high) == (again.low, again.high)
    assert first.method == "paired bootstrap (BCa, 2,000 resamples)"
    assert (first.lost, first.p_value) == (None, None)


@pytest.mark.parametrize("name, better", [("mae", False), ("rmse", False), ("r2", True)])
def test_a_drop_of_a_regression_is_paired(name: str, better: bool) -> None:
    """Errors that both share cancel out: the interval is that of the difference."""
    generator = np.random.default_rng(1)
    y_true = generator.normal(size=(500, 2))
    shared = y_true + generator.normal(0, 1, (500, 2))
    metric = get_metric(name)
    pair = scores(metric, y_true, shared, shared + generator.normal(0, 0.05, (500, 2)))
    found = compare_scores(metric, *pair)
    assert found.low < found.drop < found.high
    assert found.high - found.low < 0.02
    assert found.detectable == found.drop - found.low
    worse = compare_scores(metric, pair[0], scores(metric, y_true, shared * 1.5)[0])
    assert worse.drop > worse.low > 0
    assert (worse.baseline > worse.candidate) is better


@pytest.mark.parametrize("name", ["roc_auc", "macro_f1", "macro_recall", "worst_class_recall"])
def test_a_drop_of_a_classifier_has_an_interval(name: str) -> None:
    generator = np.random.default_rng(2)
    labels = generator.integers(0, 2, 400)
    good = np.clip(labels + generator.normal(0, 0.4, 400), 0, 1)
    poor = np.clip(labels + generator.normal(0, 1.5, 400), 0, 1)
    metric = get_metric(name)
    pair = scores(metric, labels, good, poor)
    found = compare_scores(metric, *pair)
    assert found.drop == pytest.approx(pair[0].value - pair[1].value)
    assert 0 < found.low < found.drop < found.high < 1


def test_few_samples_without_a_change_prove_little() -> None:
    """Resampling alone would give an interval without width."""
    labels = np.arange(40) % 4
    outputs = np.eye(4)[labels]
    metric = get_metric("macro_f1")
    found = compare_scores(metric, *scores(metric, labels, outputs, outputs))
    z = critical_value(0.95)
    assert found.high == pytest.approx(z * z / (40 + z * z))


def test_a_callable_is_resampled_too() -> None:
    generator = np.random.default_rng(3)
    y_true = generator.normal(size=200)
    metric = task_metric(
        lambda t, p: float(np.corrcoef(t, p[:, 0])[0, 1]), name="pearson", higher_is_better=True
    )
    outputs = [(y_true + generator.normal(0, s, 200))[:, None] for s in (0.3, 1.0)]
    found = compare_scores(metric, *scores(metric, y_true, *outputs))
    assert 0 < found.low < found.drop < found.high
    assert found.method == "paired bootstrap (BCa, 500 resamples)"


def test_too_few_samples_have_no_interval_and_say_why() -> None:
    metric = get_metric("mae")
    y_true = np.arange(9.0)
    found = compare_scores(metric, *scores(metric, y_true, y_true, y_true + 1))
    assert (found.drop, found.low, found.high, found.detectable) == (1, None, None, None)
    assert found.reason == "9 samples are too few for an interval by resampling (10 at least)"
    assert samples_to_decide(found, 0.5) is None


def test_a_metric_that_is_not_defined_for_resamples_has_no_interval() -> None:
    """One anomaly in twenty is missing from a third of the resamples."""
    labels = np.arange(20) == 0
    metric = get_metric("roc_auc")
    outputs = np.linspace(1, 0, 20)
    found = compare_scores(metric, *scores(metric, labels, outputs, outputs))
    assert found.low is None
    assert "is not defined for" in (found.reason or "")


def test_a_metric_that_raises_on_resamples_has_no_interval() -> None:
    with pytest.raises(MeasurementUnavailable, match="not defined for 2000 of 2000 resamples"):
        bootstrap_interval(lambda w: np.full(len(w), np.nan), 0.0, 50, 0.95)


def test_different_samples_can_not_be_compared() -> None:
    metric = get_metric("mae")
    first = scores(metric, np.arange(12.0), np.arange(12.0))[0]
    second = scores(metric, np.arange(11.0), np.arange(11.0))[0]
    with pytest.raises(DatasetError, match="on 12 samples and the candidate on 11"):
        compare_scores(metric, first, second)


# -- by class -----------------------------------------------------------------------------------


def test_the_worst_class_comes_first_with_its_own_interval() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    before = np.eye(3)[labels]
    after = before.copy()
    after[80:90] = [1, 0, 0]  # half of class 2 is lost
    after[0] = [0, 1, 0]
    metric = get_metric("accuracy")
    found = compare_scores(metric, *scores(metric, labels, before, after))
    worst = found.worst_class
    assert (worst.label, worst.drop, worst.count) == (2, 0.5, 20)
    assert (worst.low, worst.high) == tango_interval(10, 0, 20)
    assert [c.label for c in found.classes] == [2, 0, 1]
    assert found.drop == 0.11


def test_the_classes_of_top_k_are_judged_by_top_k() -> None:
    labels = np.repeat([0, 1, 2, 3], 10)
    before = np.eye(4)[labels]
    after = before.copy()
    after[:10] = [1, 2, 0, 0]  # second place: right by top-2
    after[30:] = [3, 2, 1, 0]
    metric = get_metric("top-2")
    found = compare_scores(metric, *scores(metric, labels, before, after))
    assert [(c.label, c.drop) for c in found.classes] == [(3, 1.0), (0, 0.0), (1, 0.0), (2, 0.0)]
