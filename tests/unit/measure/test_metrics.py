from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_edgequant.errors import DatasetError, MetricError, UnknownNameError
from pytest_edgequant.measure.classification import predicted_classes
from pytest_edgequant.measure.metrics import METRIC_NAMES, Score, compute, get_metric, task_metric

SCORES = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.4, 0.5, 0.1]])
LABELS = np.array([0, 1, 2, 0])
RIGHT = [True, True, True, False]


def score(metric: Any, y_true: Any, y_pred: Any) -> Score:
    return compute(get_metric(metric), np.asarray(y_true), y_pred, "digits/int8")


def value(metric: Any, y_true: Any, y_pred: Any) -> float:
    return score(metric, y_true, y_pred).value


def top1_outcomes(y_true: Any, y_pred: Any) -> Any:
    return score("accuracy", y_true, y_pred).outcomes


# -- top-1 --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels", [LABELS, LABELS.astype(np.float32), LABELS[:, np.newaxis], np.eye(3)[LABELS]]
)
def test_labels_are_numbers_or_one_hot(labels: Any) -> None:
    assert top1_outcomes(labels, SCORES).tolist() == RIGHT
    assert value(None, labels, SCORES) == 0.75


@pytest.mark.parametrize("metric", ["accuracy", "top-2", "macro_f1", "macro_recall", "agreement"])
def test_a_value_is_a_number_of_python(metric: str) -> None:
    """Values travel between xdist's processes, which take no NumPy scalars."""
    labels = SCORES if metric == "agreement" else LABELS
    found = score(metric, labels, SCORES)
    assert {type(v) for v in (found.value, *found.details.values())} == {float}


def test_scores_of_any_shape_are_one_row_a_sample() -> None:
    assert top1_outcomes(LABELS, SCORES[:, np.newaxis, np.newaxis]).tolist() == RIGHT


@pytest.mark.parametrize(
    "unit, classes",
    [
        ([0.0, 0.5, 0.51, 1.0], [0, 0, 1, 1]),
        ([-2.0, 0.0, 0.1, 3.0], [0, 0, 1, 1]),
        ([0.2, 0.3, 0.4, -0.1], [1, 1, 1, 0]),
    ],
    ids=["probabilities", "logits", "small logits"],
)
@pytest.mark.parametrize("column", [False, True])
def test_one_unit_is_a_probability_or_a_logit(
    unit: list[float], classes: list[int], column: bool
) -> None:
    y_pred = np.asarray(unit)[:, np.newaxis] if column else np.asarray(unit)
    assert predicted_classes(y_pred).tolist() == classes
    assert top1_outcomes(np.asarray(classes, bool), y_pred).all()


@pytest.mark.parametrize("labels, said", [([0, 1, 2, 3], "0 to 3"), ([-1, 0, 1, 2], "-1 to 2")])
def test_labels_without_an_output_are_refused(labels: list[int], said: str) -> None:
    with pytest.raises(DatasetError, match=f"labels range from {said}, the model's output.* 3 cl"):
        top1_outcomes(np.asarray(labels), SCORES)


def test_one_unit_tells_two_classes_apart() -> None:
    with pytest.raises(DatasetError, match="tells 2 classes apart"):
        top1_outcomes(np.array([0, 2]), np.array([[0.1], [0.9]]))


@pytest.mark.parametrize(
    "labels",
    [np.linspace(0, 1, 4), np.array(["a", "b", "c", "d"]), np.ones((4, 3)) / 3],
    ids=["targets", "strings", "probabilities"],
)
def test_what_are_no_classes_asks_for_another_metric(labels: Any) -> None:
    with pytest.raises(MetricError, match=r"needs class numbers or one-hot labels.*edge_metric"):
        top1_outcomes(labels, SCORES)


def test_several_outputs_ask_for_a_callable() -> None:
    for metric in ("accuracy", "mae"):
        with pytest.raises(MetricError, match=r"needs one output, the model has 2.*edge_metric"):
            value(metric, LABELS, [SCORES, SCORES])


# -- regression ---------------------------------------------------------------------------------


def test_errors_by_hand() -> None:
    y_true, y_pred = [1.0, 2.0, 4.0, 5.0], np.array([1.0, 3.0, 2.0, 5.0], np.float32)
    assert value("mae", y_true, y_pred) == pytest.approx(3 / 4)
    assert value("rmse", y_true, y_pred) == pytest.approx((5 / 4) ** 0.5)
    assert value("r2", y_true, y_pred) == pytest.approx(1 - 5 / 10)


def test_errors_are_those_of_scikit_learn() -> None:
    theirs = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    y_true, y_pred = generator.normal(size=(2, 50))
    assert value("mae", y_true, y_pred) == pytest.approx(theirs.mean_absolute_error(y_true, y_pred))
    assert value("rmse", y_true, y_pred) == pytest.approx(
        theirs.mean_squared_error(y_true, y_pred) ** 0.5
    )
    assert value("r2", y_true, y_pred) == pytest.approx(theirs.r2_score(y_true, y_pred))


def test_a_column_of_outputs_fits_a_row_of_targets() -> None:
    assert value("mae", [1.0, 2.0], np.array([[1.0], [3.0]])) == 0.5


def test_targets_that_do_not_fit_are_refused() -> None:
    with pytest.raises(MetricError, match=r"targets of shape \(2,\) don't fit outputs of shape"):
        value("mae", [1.0, 2.0], np.ones((2, 3)))


def test_r2_of_constant_targets_is_not_defined() -> None:
    with pytest.raises(MetricError, match="R2 is not defined"):
        value("r2", [1.0, 1.0], np.array([1.0, 2.0]))


# -- by name and by callable --------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, known, higher",
    [
        (None, "accuracy", True),
        ("Top-1", "accuracy", True),
        ("MAE", "mae", False),
        ("rmse", "rmse", False),
        ("R2", "r2", True),
    ],
)
def test_a_metric_has_a_name_and_a_direction(name: str | None, known: str, higher: bool) -> None:
    metric = get_metric(name)
    assert (metric.name, metric.higher_is_better) == (known, higher)
    assert get_metric(metric) is metric


def test_an_unknown_name_gives_the_closest() -> None:
    with pytest.raises(
        UnknownNameError, match=r"edge_metric: unknown metric 'acuracy'\. Did you me"
    ):
        get_metric("acuracy")


def f_score(y_true: Any, y_pred: Any) -> float:
    return float(len(y_true) + len(y_pred))


def pixel_error(y_true: Any, y_pred: Any) -> float:
    return 1.0


def test_a_callable_gets_labels_and_outputs_as_they_are() -> None:
    assert value(f_score, LABELS, SCORES) == 8
    assert value(f_score, LABELS, [SCORES, SCORES]) == 6
    metric = get_metric(f_score)
    assert (metric.name, metric.higher_is_better) == ("f_score", True)
    assert score(metric, LABELS, SCORES).outcomes is None


@pytest.mark.parametrize("name", ["pixel_error", "log_loss"])
def test_a_callable_that_sounds_like_an_error_must_say_its_direction(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_error, "__name__", name)
    with pytest.raises(MetricError, match=f"is a larger {name} better or worse"):
        get_metric(pixel_error)
    for direction in (True, False):
        monkeypatch.setattr(pixel_error, "higher_is_better", direction, raising=False)
        assert get_metric(pixel_error).higher_is_better is direction


def test_an_object_that_is_called_is_named_by_its_class() -> None:
    class Dice:
        higher_is_better = False

        def __call__(self, y_true: Any, y_pred: Any) -> float:
            return 0.25

    metric = get_metric(Dice())
    assert (metric.name, metric.higher_is_better) == ("Dice", False)
    assert value(metric, LABELS, SCORES) == 0.25


def test_what_is_no_metric_is_refused() -> None:
    with pytest.raises(MetricError, match="expected a name or a callable, got 3"):
        get_metric(3)


# -- what can't be had --------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("several", [False, True])
def test_outputs_that_are_not_finite_are_counted(bad: float, several: bool) -> None:
    scores = SCORES.copy()
    scores[1, 0] = scores[1, 1] = scores[3, 2] = bad
    outputs = [SCORES, scores] if several else scores
    with pytest.raises(MetricError) as caught:
        value(f_score, LABELS, outputs)
    assert str(caught.value).startswith(
        "digits/int8: the model's outputs are NaN or infinite for 2 of 4 samples; check the "
        "samples of edge_dataset"
    )


def test_a_callable_that_raises_is_named_and_its_error_kept() -> None:
    def broken(y_true: Any, y_pred: Any) -> float:
        return y_true["x"]

    said = (
        r"^digits/int8: the metric 'broken' raised IndexError: .* \(edge_metric takes .* here of "
    )
    with pytest.raises(MetricError, match=said + r"shape \(4,\) and \(4, 3\)") as e:
        value(broken, LABELS, SCORES)
    assert isinstance(e.value.__cause__, IndexError)


@pytest.mark.parametrize("given", [float("nan"), float("inf"), np.float32("nan")])
def test_a_value_that_is_not_finite_is_refused(given: Any) -> None:
    metric = task_metric(lambda t, p: given, name="mine", higher_is_better=True)
    with pytest.raises(
        MetricError, match=r"digits/int8: the metric 'mine' gave (nan|inf) \(edge_m"
    ):
        value(metric, LABELS, SCORES)


@pytest.mark.parametrize("given", [None, "0.5x", [1, 2]])
def test_a_value_that_is_no_number_is_refused(given: Any) -> None:
    metric = task_metric(lambda t, p: given, name="mine", higher_is_better=True)
    with pytest.raises(MetricError, match=r"the metric 'mine' raised (TypeError|ValueError)"):
        value(metric, LABELS, SCORES)


def test_our_own_errors_stay_what_they_are() -> None:
    with pytest.raises(DatasetError, match="labels range"):
        value("accuracy", [0, 1, 2, 9], SCORES)


# -- documentation --------------------------------------------------------------------------------


def test_the_readme_has_every_metric_and_its_direction() -> None:
    text = (Path(__file__).parents[3] / "README.md").read_text("utf-8")
    table = text[text.index("### Metrics") : text.index("### Calibration")]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    said = {
        name: row[-1].rstrip(" |")
        for row in rows
        for name in re.findall(r"`([\w-]+)`", row[0].lstrip("| "))
    }
    known = {name: get_metric(name).higher_is_better for name in METRIC_NAMES}
    assert said == {name: "higher" if higher else "lower" for name, higher in known.items()}
