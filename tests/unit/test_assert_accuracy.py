"""Accuracy gates on the small models: limits, evidence, and what can't be computed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorded_events import recording

from pytest_edgequant import (
    AccuracyDropExceeded,
    Inconclusive,
    MetricError,
    SettingsError,
    Unavailable,
    assert_max_accuracy_drop,
    compare_accuracy,
    evaluate,
    task_metric,
)
from pytest_edgequant.pipeline import load_variant

Tiny = Mapping[str, Path]
pytestmark = pytest.mark.usefixtures("pipeline")


def contested(tiny: Tiny, lost: int, count: int) -> tuple[Any, Any]:
    """Samples with the float32 model's decisions as labels, of which int8 loses that many."""
    x = np.random.default_rng(0).uniform(0, 1, (6000, 8, 8, 1)).astype(np.float32)
    y, other = (
        np.asarray(load_variant(tiny[form]).predict(x)).argmax(axis=1)
        for form in ("float32", "int8")
    )
    changed, same = np.flatnonzero(y != other), np.flatnonzero(y == other)
    assert len(changed) >= lost
    chosen = np.concatenate([changed[:lost], same[: count - lost]])
    return x[chosen], y[chosen]


@pytest.fixture(scope="module")
def models(tiny: Tiny) -> tuple[Path, Path]:
    return tiny["int8"], tiny["float32"]


def test_a_drop_of_eight_points_is_found(tiny: Tiny, models: Any) -> None:
    dataset = contested(tiny, 16, 200)
    with pytest.raises(AccuracyDropExceeded, match=r"a drop of 8\.00 points.*: conclusive\."):
        assert_max_accuracy_drop(*models, dataset, confidence=0.95)


def test_a_drop_of_a_tenth_of_a_point_is_inconclusive(tiny: Tiny, models: Any) -> None:
    dataset = contested(tiny, 1, 1000)
    with pytest.raises(Inconclusive, match=r"about [0-9,]+ samples would decide") as caught:
        assert_max_accuracy_drop(*models, dataset, "0.2 pt", confidence=0.95)
    assert caught.value.verdict is not None
    assert caught.value.verdict.verdict.value == "inconclusive"
    found = assert_max_accuracy_drop(*models, dataset, "0.2 pt")
    assert (found.drop, found.lost, found.gained) == (0.001, 1, 0)
    assert found.low is not None
    assert found.low < 0 < found.drop < (found.detectable or 0)
    assert_max_accuracy_drop(*models, dataset, "2 pt", confidence=0.95)


def test_two_points_are_the_default(tiny: Tiny, models: Any) -> None:
    assert_max_accuracy_drop(*models, contested(tiny, 4, 200))
    with pytest.raises(AccuracyDropExceeded):
        assert_max_accuracy_drop(*models, contested(tiny, 5, 200))


def test_every_limit_has_a_verdict_and_every_failure_is_told(tiny: Tiny, models: Any) -> None:
    dataset = contested(tiny, 16, 200)
    with recording() as events, pytest.raises(AccuracyDropExceeded) as caught:
        assert_max_accuracy_drop(
            *models,
            dataset,
            "1 pt",
            min_accuracy="95%",
            max_worst_class_drop="50% relative",
            min_agreement=0.5,
        )
    verdicts = {
        event["verdict"]["check"]: event["verdict"]["verdict"]
        for event in events
        if event["kind"] == "verdict"
    }
    assert verdicts == {
        "accuracy_drop": "fail",
        "min_accuracy": "fail",
        "worst_class_drop": "pass",
        "agreement": "pass",
    }
    assert "accuracy 92.00% is below the floor of 95.00%" in str(caught.value)
    assert "allowed are 1.00 points" in str(caught.value)


def test_the_report_has_the_interval_and_the_fidelity(models: Any, tiny_dataset: Any) -> None:
    with recording() as events:
        found = compare_accuracy(*models, tiny_dataset, confidence=0.9)
    metrics = {e["name"]: e["metric"] for e in events if e["kind"] == "metric"}
    drop = metrics["accuracy_drop"]
    assert (drop["value"], drop["low"], drop["high"]) == (found.drop, found.low, found.high)
    assert drop["provenance"].endswith("; 90% interval, Tango's score interval")
    assert metrics["output_sqnr"]["value"] > 20
    assert 0.99 < metrics["output_cosine"]["value"] < 1
    assert metrics["agreement"]["value"] == found.agreement
    worst = found.worst_class
    assert worst is not None
    assert metrics["worst_class_drop"]["value"] == worst.drop


def test_identical_outputs_have_an_infinite_sqnr_that_is_no_number(
    tiny: Tiny, tiny_dataset: Any
) -> None:
    with recording() as events:
        compare_accuracy(tiny["int8"], tiny["uint8_io"], tiny_dataset)
    metrics = {e["name"]: e["metric"] for e in events if e["kind"] == "metric"}
    assert metrics["output_sqnr"]["value"] is None
    assert "identical" in metrics["output_sqnr"]["reason"]
    with recording() as events:
        compare_accuracy(tiny["int8"], tiny["int8"], tiny_dataset)
    assert "output_sqnr" not in {e.get("name") for e in events}


def test_agreement_with_the_baseline_is_a_metric(
    tiny: Tiny, models: Any, tiny_dataset: Any
) -> None:
    x, y = contested(tiny, 5, 100)
    found = compare_accuracy(*models, (x, (y + 1) % 10), metric="agreement")
    assert (found.baseline, found.candidate, found.drop) == (1, 0.95, 0.05)
    assert (found.lost, found.gained) == (5, 0)
    with pytest.raises(MetricError, match="agreement is with a baseline: use compare_accuracy"):
        evaluate(models[0], tiny_dataset, metric="agreement")


@pytest.mark.parametrize("metric", ["top-3", "macro_f1", "macro_recall", "worst_class_recall"])
def test_metrics_of_classes(metric: str, models: Any, tiny_dataset: Any) -> None:
    x, y = tiny_dataset
    found = compare_accuracy(*models, (x, np.eye(10)[y]), metric=metric)
    assert 0.6 < found.candidate <= 1
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.drop <= found.high
    assert found.share
    assert len(found.classes) == 10
    assert found.agreement is not None


def test_details_have_the_recall_of_each_class(models: Any, tiny_dataset: Any) -> None:
    x, y = tiny_dataset
    evaluation = evaluate(models[0], (x, y))
    right = np.asarray(load_variant(models[0]).predict(x)).argmax(axis=1) == y
    assert evaluation.details == pytest.approx(
        {f"recall[{c}]": right[y == c].mean() for c in range(10)}
    )


# -- what can't be computed ---------------------------------------------------------------------


def broken(y_true: Any, y_pred: Any) -> float:
    raise ZeroDivisionError("no")


@pytest.mark.parametrize(
    "metric, said",
    [
        (broken, "the metric 'broken' raised ZeroDivisionError: no"),
        (task_metric(lambda t, p: float("nan"), name="mine"), "the metric 'mine' gave nan"),
        ("roc_auc", "roc_auc needs"),
    ],
)
def test_a_metric_that_can_not_be_computed_fails_the_gate(
    metric: Any, said: str, models: Any, tiny_dataset: Any
) -> None:
    x, y = tiny_dataset
    with recording() as events, pytest.raises(Unavailable, match=said) as caught:
        assert_max_accuracy_drop(*models, (x, y > 4), 1, metric=metric)
    assert isinstance(caught.value.__cause__, MetricError)
    (verdict,) = [e["verdict"] for e in events if e["kind"] == "verdict"]
    assert (verdict["check"], verdict["verdict"]) == ("accuracy_drop", "unavailable")
    (figure,) = [e["metric"] for e in events if e["kind"] == "metric"]
    assert figure["value"] is None
    assert said in figure["reason"]


def test_a_limit_on_what_the_metric_does_not_tell_is_unavailable(
    models: Any, tiny_dataset: Any
) -> None:
    x, y = tiny_dataset
    for limit in ({"max_worst_class_drop": 0.5}, {"min_agreement": 0.5}):
        with pytest.raises(Unavailable, match="is unavailable: mae"):
            assert_max_accuracy_drop(*models, (x, np.eye(10)[y]), 1, metric="mae", **limit)


@pytest.mark.parametrize(
    "limits, said",
    [
        ({"max_drop": "2%"}, 'max_drop: .* write "2 pt" .* or "2% relative"'),
        ({"min_accuracy": 95}, "min_accuracy: 95 is more than everything"),
        ({"max_worst_class_drop": "10%"}, "max_worst_class_drop: '10%' could mean"),
        ({"min_agreement": "most"}, "min_agreement: can't read 'most'"),
        ({"confidence": 95}, "confidence: expected a number such as"),
        ({"metric": "mae", "min_accuracy": 0.9}, "mae is better when it is smaller"),
    ],
)
def test_limits_are_checked_before_anything_is_measured(
    limits: dict[str, Any], said: str, models: Any
) -> None:
    with pytest.raises(SettingsError, match=said):
        assert_max_accuracy_drop(*models, None, **limits)
