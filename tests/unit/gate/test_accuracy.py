"""Accuracy gates on the small models: limits, evidence, and what can't be computed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contested import Tiny, contested
from model_building import one_operator, tensor
from recorded_events import recording

from pytest_edgequant import (
    AccuracyDropExceeded,
    DatasetError,
    Inconclusive,
    MetricError,
    SettingsError,
    Unavailable,
    assert_max_accuracy_drop,
    compare_accuracy,
    evaluate,
    task_metric,
)
from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.tflite.constants import constant_values
from pytest_edgequant.tflite.graph import read_graph

pytestmark = pytest.mark.usefixtures("pipeline")


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
    assert "accuracy 92.00% on 200 samples is below the floor of 95.00%" in str(caught.value)
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
        assert_max_accuracy_drop(*models, (x, y > 4), 0.5, metric=metric)
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
        ({"confidence": 1e-12}, "confidence: 1e-12: as good as no evidence would pass"),
        ({"max_drop": 1.0}, "max_drop: 1.0 is everything, so that it can't fail"),
        ({"max_drop": "100 pt"}, "max_drop: '100 pt' is everything, so that it can't fail"),
        ({"max_drop": "100% relative"}, "all of the baseline: it can't fail"),
        ({"min_accuracy": 0}, "min_accuracy: 0 can't fail"),
        ({"max_worst_class_drop": 1}, "max_worst_class_drop: 1 is everything"),
        ({"min_agreement": "0%"}, "min_agreement: '0%' can't fail"),
        ({"metric": "mae", "min_accuracy": 0.9}, "mae is better when it is smaller"),
    ],
)
def test_limits_are_checked_before_anything_is_measured(
    limits: dict[str, Any], said: str, models: Any
) -> None:
    with pytest.raises(SettingsError, match=said):
        assert_max_accuracy_drop(*models, None, **limits)


# -- what no gate can be built on ---------------------------------------------------------------


def messages(events: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {
        e["verdict"]["check"]: (e["verdict"]["verdict"], e["verdict"]["message"])
        for e in events
        if e["kind"] == "verdict"
    }


@pytest.mark.parametrize(
    "shift, said",
    [
        (lambda y: np.roll(y, 7), "check that labels and samples belong together"),
        (lambda y: (y + 1) % 10, "of the labels are one more than the model's class"),
        (lambda y: (y - 1) % 10, "of the labels are one less than the model's class"),
        (lambda y: np.full_like(y, 3), "all 397 samples are of class 3"),
    ],
)
@pytest.mark.parametrize("metric", [None, "top-2", "macro_recall"])
def test_a_baseline_that_is_at_chance_decides_nothing(
    shift: Any, said: str, metric: Any, models: Any, tiny_dataset: Any
) -> None:
    x, y = tiny_dataset
    with recording() as events, pytest.raises(Inconclusive) as caught:
        assert_max_accuracy_drop(
            *models, (x, shift(y)), "90 pt", metric=metric, max_worst_class_drop="99.9 pt",
            min_agreement=0.5,
        )  # fmt: skip
    assert "is not better than chance: always answering class" in str(caught.value)
    assert said in str(caught.value)
    found = {check: verdict for check, (verdict, _) in messages(events).items()}
    # How alike the models decide has nothing to do with labels.
    assert found == {
        "accuracy_drop": "inconclusive",
        "worst_class_drop": "inconclusive",
        "agreement": "pass",
    }


def test_more_samples_are_not_asked_for_of_a_model_that_guesses(
    models: Any, tiny_dataset: Any
) -> None:
    x, y = tiny_dataset
    with pytest.raises(Inconclusive, match=r"^Check the labels and samples: ") as caught:
        assert_max_accuracy_drop(
            models[1], models[1], (x[:40], np.roll(y[:40], 7)), 0.02, confidence=0.95
        )
    assert "is not better than chance" in str(caught.value)


def test_agreement_gates_without_labels(models: Any, tiny_dataset: Any) -> None:
    x, y = tiny_dataset
    assert_max_accuracy_drop(*models, (x, np.roll(y, 7)), "5 pt", metric="agreement")


def test_agreement_with_decisions_that_are_all_the_same_proves_nothing(
    models: Any, tiny_dataset: Any
) -> None:
    x, y = tiny_dataset
    same = load_variant(models[1]).predict(x).argmax(axis=-1) == 4
    with pytest.raises(Inconclusive, match="always deciding class 4, as the baseline does"):
        assert_max_accuracy_drop(*models, (x[same], y[same]), "5 pt", metric="agreement")


def test_a_broken_drop_stays_broken_where_the_baseline_is_at_chance(
    tiny: Tiny, models: Any
) -> None:
    x, y = contested(tiny, 16, 40)
    with pytest.raises(AccuracyDropExceeded):
        assert_max_accuracy_drop(*models, (x, y), 0.01)


def test_a_floor_that_a_constant_answer_reaches_proves_nothing(
    models: Any, tiny_dataset: Any
) -> None:
    """Nearly all samples are of one class: 90% are reached without looking."""
    x, y = tiny_dataset
    chosen = np.concatenate([np.flatnonzero(y == 4), np.flatnonzero(y == 7)[:1]])
    with recording() as events, pytest.raises(Inconclusive, match="use macro_recall, or roc_auc"):
        assert_max_accuracy_drop(*models, (x[chosen], y[chosen]), "5 pt", min_accuracy="90%")
    assert messages(events)["min_accuracy"][0] == "inconclusive"


@pytest.mark.parametrize("count, few", [(1, True), (99, True), (100, False)])
def test_few_samples_are_told_beside_the_verdict(
    count: int, few: bool, models: Any, tiny_dataset: Any
) -> None:
    x, y = (part[:count] for part in tiny_dataset)
    with recording() as events:
        assert_max_accuracy_drop(*models, (x, y), "20 pt", metric="agreement")
    (verdict,) = [e["verdict"] for e in events if e["kind"] == "verdict"]
    note = f"only {count} sample{'' if count == 1 else 's'}"
    assert verdict["note"] == (note if few else "")
    assert verdict["message"].endswith(f" Note: {note}.") is few


@pytest.mark.parametrize("metric", [lambda y_true, y_pred: 0.9, "agreement"])
def test_outputs_that_are_all_the_same_are_told(metric: Any, models: Any) -> None:
    """One answer is all that the baseline has: with no metric is it more than chance."""
    x = np.full((120, 8, 8, 1), 0.3)
    with recording() as events, pytest.raises(Inconclusive, match="is not better than chance"):
        assert_max_accuracy_drop(*models, (x, np.arange(120)), 0.1, metric=metric)
    _, message = messages(events)["accuracy_drop"]
    assert "the baseline's outputs are the same for every sample" in message
    assert "the candidate's outputs are the same for every sample" in message


def test_candidate_and_baseline_exchanged_are_noticed(tiny: Tiny, tiny_dataset: Any) -> None:
    for first, second in (
        ("float32", "int8"), ("float32", "float16"), ("float32", "dynamic_range"),
        ("float16", "int16x8"), ("float32", "int8_float_io"), ("float32", "uint8_io"),
    ):  # fmt: skip
        with pytest.raises(SettingsError, match=f"exchanged: tiny_{second}/{second} is a quan"):
            assert_max_accuracy_drop(tiny[first], tiny[second], tiny_dataset, 0.05)
        assert_max_accuracy_drop(tiny[second], tiny[first], tiny_dataset, 0.05)
    assert_max_accuracy_drop(tiny["float32"], tiny["float32"], tiny_dataset, 0.05)


def test_another_model_is_no_exchange(tiny: Tiny, tiny_dataset: Any) -> None:
    """The same layers with other weights: a float model against one that shipped quantized."""
    other = bytearray(tiny["float32"].read_bytes())
    graph = read_graph(bytes(other), "other")
    generator = np.random.default_rng(0)
    for found in graph.subgraphs[0].tensors:
        if found.constant and found.type == "FLOAT32" and len(found.shape) > 1:
            values = constant_values(bytes(other), 0, found)
            at = bytes(other).index(values.tobytes())
            mixed = generator.permutation(values.ravel())
            other[at : at + mixed.nbytes] = mixed.tobytes()
    with pytest.raises((AccuracyDropExceeded, Inconclusive)):
        assert_max_accuracy_drop(bytes(other), tiny["int8"], tiny_dataset, 0.05)


def reconstruction(width: int) -> bytes:
    x, y = (tensor(name, [1, width], "FLOAT32") for name in ("x", "y"))
    return one_operator("ABS", [x], y)


@pytest.mark.parametrize("metric", [None, "top-5", "macro_recall"])
def test_an_autoencoder_has_no_classes(metric: Any) -> None:
    x = np.abs(np.random.default_rng(0).normal(size=(120, 640))).astype(np.float32)
    y = (np.arange(120) < 60) * 1
    with pytest.raises(MetricError, match=r"640 values, as many as the input.*'roc_auc'"):
        evaluate(reconstruction(640), (x, y), metric=metric)
    with pytest.raises(Unavailable, match=r"the labels are of 2 classes, .*'roc_auc'"):
        assert_max_accuracy_drop(reconstruction(640), reconstruction(640), (x, y), metric=metric)
    noise = np.where(y[:, None] == 1, -1, 1) * x
    found = evaluate(reconstruction(640), (noise, y), metric="roc_auc")
    assert found.value == 1


def test_a_classifier_of_as_many_classes_as_features_is_one() -> None:
    x = np.random.default_rng(0).random((120, 10)).astype(np.float32)
    assert evaluate(reconstruction(10), (x, x.argmax(axis=1))).value == 1


def test_labels_that_are_counted_from_one_are_told(models: Any, tiny_dataset: Any) -> None:
    x, y = tiny_dataset
    with pytest.raises(DatasetError, match=r"from 1 to 10, .* counted from 1: give y - 1"):
        evaluate(models[0], (x, y + 1))


def test_importing_the_gate_loads_nothing_that_only_an_assertion_needs() -> None:
    """Converters, interpreters and engines wait for the first question."""
    script = "import sys, pytest_edgequant.gate.accuracy; print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(told.stdout.split())
    assert "pytest_edgequant.gate.accuracy" in loaded
    heavy = {"scipy", "ai_edge_litert", "tensorflow", "pytest_edgequant.pipeline.pipeline"}
    assert not heavy & loaded
    rooms = ("conversion", "measure.evaluation", "measure.legality", "tflite", "targets")
    prefixes = tuple(f"pytest_edgequant.{room}" for room in rooms)
    assert [name for name in loaded if name.startswith(prefixes)] == []
