"""Drops of accuracy against limits, to the sample."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from checked import Tiny, outcomes, said

from pytest_edgequant import (
    AccuracyDropExceeded,
    SettingsError,
    Variant,
    assert_max_accuracy_drop,
    compare_accuracy,
)
from pytest_edgequant.api.convert import load_variant

pytestmark = pytest.mark.usefixtures("pipeline")


class Contested:
    """Samples with the baseline's answers as labels, so that every disagreement is a loss."""

    def __init__(self, baseline: Variant, candidate: Variant) -> None:
        x = np.random.default_rng(0).uniform(0, 1, (1500, 8, 8, 1)).astype(np.float32)
        self.x = x
        self.y, other = (
            np.asarray(variant.predict(x)).argmax(axis=1) for variant in (baseline, candidate)
        )
        self.lost = np.flatnonzero(self.y != other)
        self.kept = np.flatnonzero(self.y == other)

    def dataset(self, lost: int, count: int) -> tuple[Any, Any]:
        assert len(self.lost) >= lost
        chosen = np.concatenate([self.lost[:lost], self.kept[: count - lost]])
        return self.x[chosen], self.y[chosen]


@pytest.fixture
def contest(tiny: Tiny) -> Contested:
    return Contested(load_variant(tiny["float32"]), load_variant(tiny["int8"]))


@pytest.mark.parametrize("lost, count", [(0, 50), (1, 3), (1, 7), (3, 300), (7, 100)])
def test_a_drop_of_exactly_the_limit_passes(
    lost: int, count: int, contest: Contested, tiny: Tiny
) -> None:
    dataset = contest.dataset(lost, count)
    check = partial(assert_max_accuracy_drop, tiny["int8"], tiny["float32"], dataset, lost / count)
    assert outcomes(check) == [("accuracy_drop", "pass")]
    comparison = compare_accuracy(tiny["int8"], tiny["float32"], dataset)
    assert (comparison.lost, comparison.gained, comparison.count) == (lost, 0, count)
    assert (comparison.baseline, comparison.drop) == (1.0, pytest.approx(lost / count))


@pytest.mark.parametrize(
    "count, advice",
    [
        (300, "A drop under 5 points is a trade-off to decide"),
        (50, "A drop of 5 to 10 points asks for more and more diverse calibration samples"),
        (15, "A drop of over 10 points means no or bad calibration data"),
    ],
)
def test_a_larger_drop_fails_with_advice_by_its_size(
    count: int, advice: str, contest: Contested, tiny: Tiny
) -> None:
    dataset = contest.dataset(3, count)
    check = partial(assert_max_accuracy_drop, tiny["int8"], tiny["float32"], dataset, 2.9 / count)
    message = said(AccuracyDropExceeded, check)
    assert message.startswith(
        f"tiny_int8/int8: accuracy 100.00% -> {1 - 3 / count:.2%} on {count} samples, a drop of "
        f"{300 / count:.2f} points; allowed are {290 / count:.2f} points (3 samples lost, 0 gained)"
    )
    assert advice in message
    assert outcomes(check) == [("accuracy_drop", "fail")]


def test_a_form_without_calibration_gets_no_advice_about_it(tiny: Tiny) -> None:
    contest = Contested(load_variant(tiny["int8"]), load_variant(tiny["dynamic_range"]))
    dataset = contest.dataset(3, 15)
    check = partial(assert_max_accuracy_drop, tiny["dynamic_range"], tiny["int8"], dataset, 0.1)
    assert "This form needs no calibration data" in said(AccuracyDropExceeded, check)


def test_a_gain_is_a_negative_drop(tiny: Tiny) -> None:
    contest = Contested(load_variant(tiny["dynamic_range"]), load_variant(tiny["int8"]))
    dataset = contest.dataset(3, 50)
    comparison = compare_accuracy(tiny["dynamic_range"], tiny["int8"], dataset)
    assert (comparison.drop, comparison.lost, comparison.gained) == (-3 / 50, 0, 3)
    assert_max_accuracy_drop(tiny["dynamic_range"], tiny["int8"], dataset, 0)


def test_less_is_better_for_an_error(tiny: Tiny, tiny_dataset: tuple[Any, Any]) -> None:
    x, y = tiny_dataset
    dataset = (x, np.eye(10)[y])
    comparison = compare_accuracy(tiny["int8"], tiny["float32"], dataset, metric="mae")
    assert comparison.drop == comparison.candidate - comparison.baseline != 0
    assert (comparison.lost, comparison.gained) == (None, None)


@pytest.mark.parametrize(
    "shift, advice", [(0.3, "over 10 points"), (0.07, "5 to 10 points"), (0.02, "under 5 points")]
)
def test_the_size_of_another_metrics_drop_is_relative(
    shift: float, advice: str, tiny: Tiny
) -> None:
    scores = iter([50.0, 50.0 * (1 - shift)])

    def score(y_true: Any, y_pred: Any) -> float:
        return next(scores)

    dataset = (np.zeros((2, 8, 8, 1)), [0, 1])
    check = partial(
        assert_max_accuracy_drop, tiny["int8"], tiny["float32"], dataset, 0.1, metric=score
    )
    message = said(AccuracyDropExceeded, check)
    assert message.startswith(
        f"tiny_int8/int8: score 50 -> {50 * (1 - shift):.6g} on 2 samples, a drop of "
        f"{50 * shift:.6g}; allowed are 0.1. "
    )
    assert advice in message


def test_a_metric_of_ones_own_may_drop_by_more_than_one(tiny: Tiny) -> None:
    def score(y_true: Any, y_pred: Any) -> float:
        return 100 * float(y_pred.max())

    dataset = (np.stack([np.full((8, 8, 1), 0.3), np.zeros((8, 8, 1))]), [0, 1])
    assert_max_accuracy_drop(tiny["int8"], tiny["float32"], dataset, 50, metric=score)


@pytest.mark.parametrize("limit", ["2%", "0.02", None, True, -0.01, float("nan"), 2, 1.5])
def test_a_limit_that_can_not_be_meant_is_refused(
    limit: Any, tiny: Tiny, tiny_dataset: tuple[Any, Any]
) -> None:
    check = partial(assert_max_accuracy_drop, tiny["int8"], tiny["float32"], tiny_dataset, limit)
    assert said(SettingsError, check).startswith("max_drop: ")


def test_a_baseline_may_be_what_the_target_refuses(
    tiny: Tiny, tiny_dataset: tuple[Any, Any]
) -> None:
    assert_max_accuracy_drop(tiny["int8"], tiny["float16"], tiny_dataset, 0.05, target="nano33ble")
