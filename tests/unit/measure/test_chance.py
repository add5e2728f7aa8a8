"""Whether a value is better than guessing: against oracles that we did not write, and as a gate."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, matthews_corrcoef

from pytest_edgequant.measure.chance import association, rank_test
from pytest_edgequant.measure.metrics import (
    TaskMetric,
    compute,
    get_metric,
    mean_iou,
    roc_auc,
    task_metric,
)
from pytest_edgequant.records import Chance

GENERATOR = np.random.default_rng(0)


def chance(metric: Any, y_true: Any, y_pred: Any) -> Chance:
    found = get_metric(metric)
    held = found.chance(compute(found, np.asarray(y_true), np.asarray(y_pred), "m").kept)
    assert held is not None
    return held


def decided(labels: Any, classes: int) -> Any:
    return np.eye(classes)[np.asarray(labels)]


# -- the tests ----------------------------------------------------------------------------------


def test_the_test_of_ranks_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    for decimals in (0, 1, 6):
        scores = GENERATOR.normal(size=60).round(decimals)
        positive = GENERATOR.random(60) < 0.3
        theirs = stats.mannwhitneyu(
            scores[positive], scores[~positive], alternative="greater", method="asymptotic"
        )
        assert rank_test(positive, scores) == pytest.approx(theirs.pvalue)


def test_association_has_the_moments_of_all_permutations() -> None:
    labels = np.array([0, 0, 0, 2, 2, 1, 1])
    predicted = np.array([0, 0, 2, 2, 1, 1, 3])

    def recalls(decisions: Any) -> float:
        return sum(float((decisions[labels == c] == c).mean()) for c in (0, 1, 2))

    found = [recalls(predicted[list(p)]) for p in itertools.permutations(range(7))]
    z = (recalls(predicted) - np.mean(found)) / np.std(found)
    assert association(labels, predicted) == pytest.approx(math.erfc(z / math.sqrt(2)) / 2)


# -- metrics ------------------------------------------------------------------------------------

LABELS = GENERATOR.integers(0, 10, 400)
RARE = (np.arange(400) % 50 == 0) * 1
TARGETS = GENERATOR.normal(size=(200, 1)) * 30 + 100


IMAGES = GENERATOR.integers(0, 3, (40, 16, 16))


def mostly(labels: Any, classes: int, wrong: int) -> Any:
    """Scores that are right but for so many samples at the beginning."""
    labels = np.array(labels)
    labels[:wrong] = (labels[:wrong] + 1) % classes
    return decided(labels, classes)


def false_alarms(labels: Any, predicted: Any) -> float:
    """Which no constant answer but the frequent one has: 0, less than any useful model."""
    return float(((labels == 0) & (predicted == 1)).mean())


MATTHEWS = task_metric(matthews_corrcoef, higher_is_better=True, on="labels")
FALSE_ALARMS = task_metric(false_alarms, higher_is_better=False, on="labels")

GOOD: list[tuple[str | TaskMetric, Any, Any]] = [
    ("accuracy", LABELS, mostly(LABELS, 10, 40)),
    ("accuracy", LABELS, mostly(LABELS, 10, 320)),  # weak, and no accident
    ("accuracy", [0, 1, 2], decided([0, 1, 2], 10)),
    ("top-3", LABELS, mostly(LABELS, 10, 40)),
    ("macro_recall", RARE, mostly(RARE, 2, 5)),
    ("macro_f1", LABELS, mostly(LABELS, 10, 40)),
    ("worst_class_recall", LABELS, mostly(LABELS, 10, 40)),
    ("roc_auc", RARE, 3 * RARE[:, None] + GENERATOR.normal(size=(400, 1))),
    (roc_auc(max_fpr=0.1), RARE, RARE[:, None] + 0.1 * GENERATOR.normal(size=(400, 1))),
    ("mae", TARGETS, TARGETS + 10),
    ("mse", TARGETS, TARGETS + 10),
    ("rmse", np.tile(TARGETS, 7), np.tile(TARGETS, 7) + 10),
    ("mae", np.tile(TARGETS, 7), np.tile(TARGETS, 7) + 10),
    ("r2", TARGETS, TARGETS + 10),
    ("mean_iou", np.tile([[0, 1]], (9, 4, 1)), decided(np.tile([[0, 1]], (9, 4, 1)), 3)),
    (accuracy_score, LABELS, mostly(LABELS, 10, 320)),
    (MATTHEWS, RARE, mostly(RARE, 2, 5)),
    (FALSE_ALARMS, RARE, mostly(RARE, 2, 5)),
]
BAD: list[tuple[str | TaskMetric, Any, Any]] = [
    ("accuracy", LABELS, decided(np.roll(LABELS, 1), 10)),
    ("accuracy", LABELS, decided((LABELS + 1) % 10, 10)),
    ("accuracy", LABELS, decided(0 * LABELS, 10)),
    ("accuracy", RARE, decided(0 * RARE, 2)),
    ("accuracy", RARE, mostly(RARE, 2, 5)),
    ("accuracy", [0, 1], decided([0, 1], 2)),
    ("accuracy", [3] * 50, decided([3] * 50, 10)),
    ("top-3", LABELS, decided(0 * LABELS, 10)),
    ("top-3", LABELS % 3, decided(LABELS % 3, 10)),
    ("macro_recall", RARE, decided(0 * RARE, 2)),
    ("macro_recall", LABELS, decided(np.roll(LABELS, 1), 10)),
    ("macro_f1", LABELS, decided(np.roll(LABELS, 1), 10)),
    ("worst_class_recall", LABELS, decided(LABELS % 9, 10)),
    ("roc_auc", RARE, GENERATOR.normal(size=(400, 1))),
    ("roc_auc", RARE, -RARE[:, None] + GENERATOR.normal(size=(400, 1))),
    (roc_auc(max_fpr=0.1), RARE, np.zeros((400, 1))),
    ("mae", TARGETS, np.roll(TARGETS, 1)),
    ("mae", TARGETS, np.full_like(TARGETS, np.median(TARGETS))),
    ("mse", TARGETS, TARGETS / 1000),
    ("rmse", np.full((9, 1), 4.0), np.full((9, 1), 4.0)),
    ("r2", TARGETS, np.full_like(TARGETS, TARGETS.mean())),
    ("mean_iou", np.tile([[0, 1]], (9, 4, 1)), decided(np.zeros((9, 4, 2), int), 2)),
    ("mean_iou", IMAGES, decided(np.roll(IMAGES, 7, axis=1), 3)),
    (mean_iou(), np.zeros((9, 4, 2), int), decided(np.zeros((9, 4, 2), int), 2)),
    (accuracy_score, LABELS, decided(np.roll(LABELS, 1), 10)),
    (accuracy_score, RARE, decided(0 * RARE, 2)),
    (MATTHEWS, RARE, decided(np.roll(RARE, 1), 2)),
    (FALSE_ALARMS, RARE, decided(np.roll(RARE, 1), 2)),
]


@pytest.mark.parametrize("metric, y_true, y_pred", GOOD)
def test_what_a_model_knows_is_better_than_chance(metric: Any, y_true: Any, y_pred: Any) -> None:
    assert chance(metric, y_true, y_pred).beaten


@pytest.mark.parametrize("metric, y_true, y_pred", BAD)
def test_what_a_constant_answer_can_do_is_not(metric: Any, y_true: Any, y_pred: Any) -> None:
    assert not chance(metric, y_true, y_pred).beaten


@pytest.mark.parametrize("metric", ["agreement", lambda t, p: 0.5])
def test_of_what_chance_is_not_known_nothing_is_said(metric: Any) -> None:
    found = get_metric(metric)
    scores = decided(LABELS, 10)
    assert found.chance(compute(found, scores, scores, "m").kept) is None


@pytest.mark.parametrize(
    "decisions, known", [([2] * 30, True), ([2] * 29 + [1], False), ([2], False)]
)
def test_equal_decisions_say_nothing_where_the_baseline_has_one(
    decisions: list[int], known: bool
) -> None:
    found = get_metric("agreement")
    scores = decided(decisions, 3)
    assert (found.chance(compute(found, scores, scores, "m").kept) is not None) is known


@pytest.mark.parametrize(
    "y_true, y_pred, said",
    [
        (LABELS % 9 + 1, decided(LABELS % 9, 10), "one more than the model's class"),
        (LABELS % 9, decided(LABELS % 9 + 1, 10), "one less than the model's class"),
        ([3] * 50, decided([3] * 50, 10), "all 50 samples are of class 3"),
        ([0, 1], decided([0, 1], 2), "2 samples can't show more than that, even if all were right"),
        (RARE, decided(0 * RARE, 2), "use macro_recall, or roc_auc"),
    ],
)
def test_what_is_wrong_with_the_labels_is_told(y_true: Any, y_pred: Any, said: str) -> None:
    assert said in chance("accuracy", y_true, y_pred).hint


def test_exchanged_anomalies_are_told() -> None:
    found = chance("roc_auc", RARE, -RARE[:, None] + 0.1 * GENERATOR.normal(size=(400, 1)))
    assert "labels 0 and 1 may be exchanged" in found.hint


def test_the_most_frequent_class_is_what_accuracy_is_held_against() -> None:
    found = chance("accuracy", [1, 1, 1, 4], decided([1, 1, 1, 1], 5))
    assert (found.value, found.guess) == (0.75, "always answering class 1")
    assert found.p_value == pytest.approx(0.75**4 + 4 * 0.75**3 * 0.25)


def test_pixels_have_the_moments_of_all_permutations() -> None:
    labels, pixels = np.array([[[0, 0, 2, 2, 1, 0]]]), np.array([0, 2, 2, 1, 1, 0])
    held = chance("mean_iou", labels, decided(pixels, 3)[None, None])
    found = [(labels == pixels[list(p)]).sum() for p in itertools.permutations(range(6))]
    z = ((labels == pixels).sum() - np.mean(found)) / np.std(found)
    assert held.p_value == pytest.approx(math.erfc(z / math.sqrt(2)) / 2)


def test_guessed_pictures_seldom_pass_for_knowledge() -> None:
    generator = np.random.default_rng(2)
    passed = 0
    for _ in range(200):
        labels, predicted = generator.integers(0, 3, (2, 5, 8, 8))
        passed += chance("mean_iou", labels, decided(predicted, 3)).beaten
    assert passed <= 16


@pytest.mark.parametrize("metric", ["accuracy", "top-2", "macro_recall", "roc_auc"])
def test_guesses_seldom_pass_for_knowledge(metric: str) -> None:
    """One in twenty at most would, by the level of the tests, with some room for the draw."""
    generator = np.random.default_rng(1)
    classes = 2 if metric == "roc_auc" else 4
    passed = 0
    for _ in range(500):
        labels = np.concatenate([np.arange(classes), generator.integers(0, classes, 80)])
        passed += chance(metric, labels, generator.random((len(labels), classes))).beaten
    assert passed <= 35
