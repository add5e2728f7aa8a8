"""Metrics against scikit-learn, by hand, in batches, and on what they can't judge."""

# Over 400 lines: one metric after the other against the same labels.

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from pytest_edgequant import mean_iou, roc_auc, task_metric, top_k
from pytest_edgequant.errors import DatasetError, MetricError
from pytest_edgequant.measure.metrics import Score, compute, get_metric

GENERATOR = np.random.default_rng(0)
LABELS = GENERATOR.integers(0, 5, 300)
SCORES = GENERATOR.random((300, 5)).astype(np.float32)
SCORES[np.arange(300), LABELS] += 0.4
BINARY = LABELS > 2
ROUNDED = np.round(SCORES[:, 0], 1)  # many equal scores


def score(metric: Any, y_true: Any, y_pred: Any, x: Any = None, outputs: Any = ()) -> Score:
    return compute(get_metric(metric), y_true, y_pred, "digits/int8", outputs, x)


def value(*args: Any, **kwargs: Any) -> float:
    return score(*args, **kwargs).value


# -- other libraries ----------------------------------------------------------------------------


def test_classification_is_that_of_scikit_learn() -> None:
    theirs = pytest.importorskip("sklearn.metrics")
    predicted = SCORES.argmax(axis=1)
    assert value("macro_f1", LABELS, SCORES) == pytest.approx(
        theirs.f1_score(LABELS, predicted, average="macro")
    )
    recalls = theirs.recall_score(LABELS, predicted, average=None)
    assert value("macro_recall", LABELS, SCORES) == pytest.approx(recalls.mean())
    assert value("worst_class_recall", LABELS, SCORES) == pytest.approx(recalls.min())
    details = score("accuracy", LABELS, SCORES).details
    assert details == pytest.approx({f"recall[{i}]": r for i, r in enumerate(recalls)})
    for k in (1, 2, 3):
        assert value(top_k(k), LABELS, SCORES) == pytest.approx(
            theirs.top_k_accuracy_score(LABELS, SCORES, k=k)
        )


def test_classes_without_a_label_count_in_f1_only() -> None:
    theirs = pytest.importorskip("sklearn.metrics")
    labels, outputs = np.array([0, 0, 1, 1]), np.eye(4)[[0, 3, 1, 1]]
    assert value("macro_f1", labels, outputs) == pytest.approx(
        theirs.f1_score(labels, [0, 3, 1, 1], average="macro", zero_division=0)
    )
    assert value("macro_recall", labels, outputs) == 0.75


@pytest.mark.parametrize("max_fpr", [None, 0.05, 0.1, 0.5, 1.0])
def test_roc_auc_is_that_of_scikit_learn(max_fpr: float | None) -> None:
    theirs = pytest.importorskip("sklearn.metrics")
    metric = roc_auc(max_fpr=max_fpr)
    assert value(metric, BINARY, ROUNDED) == pytest.approx(
        theirs.roc_auc_score(BINARY, ROUNDED, max_fpr=max_fpr)
    )
    assert value(metric, BINARY, -ROUNDED) == pytest.approx(
        theirs.roc_auc_score(BINARY, -ROUNDED, max_fpr=max_fpr)
    )


@pytest.mark.parametrize(
    "name, options, kind, higher",
    [
        ("accuracy_score", {}, "labels", True),
        ("f1_score", {"average": "macro"}, "labels", True),
        ("cohen_kappa_score", {}, "labels", True),
        ("zero_one_loss", {}, "labels", False),
        ("log_loss", {}, "scores", False),
        ("top_k_accuracy_score", {"k": 2}, "scores", True),
        ("roc_auc_score", {"multi_class": "ovr"}, "scores", True),
    ],
)
def test_scikit_learns_functions_get_what_they_want(
    name: str, options: dict[str, Any], kind: str, higher: bool
) -> None:
    function = getattr(pytest.importorskip("sklearn.metrics"), name)
    shares = SCORES.astype(np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    given = shares.argmax(axis=1) if kind == "labels" else shares
    metric = get_metric(functools.partial(function, **options))
    assert (metric.name, metric.higher_is_better) == (name, higher)
    labels = LABELS if kind == "scores" else np.eye(5)[LABELS]
    assert value(metric, labels, shares) == pytest.approx(function(LABELS, given, **options))


def test_scikit_learns_ranking_gets_the_second_of_two_classes() -> None:
    function = pytest.importorskip("sklearn.metrics").roc_auc_score
    both = np.stack([1 - ROUNDED, ROUNDED], axis=1)
    for output in (both, ROUNDED[:, None]):
        assert value(function, BINARY, output) == pytest.approx(function(BINARY, ROUNDED))


def test_scikit_learns_errors_are_to_be_minimized() -> None:
    theirs = pytest.importorskip("sklearn.metrics")
    metric = get_metric(theirs.mean_absolute_error)
    assert metric.higher_is_better is False
    assert value(metric, ROUNDED, ROUNDED[:, None] + 1) == pytest.approx(1)


# -- batches ------------------------------------------------------------------------------------

IMAGES = GENERATOR.integers(0, 3, (40, 6, 5))
MAPS = GENERATOR.random((40, 6, 5, 3))


@pytest.mark.parametrize(
    "metric, y_true, y_pred",
    [
        ("accuracy", LABELS, SCORES),
        ("accuracy", BINARY, 3 * SCORES[:, :1]),  # only one batch tells that these are logits
        ("top-2", LABELS, SCORES),
        ("macro_f1", LABELS, SCORES),
        ("roc_auc", BINARY, ROUNDED),
        ("mean_iou", IMAGES, MAPS),
        ("mae", SCORES, SCORES**2),
        ("rmse", SCORES, SCORES**2),
        ("r2", SCORES, SCORES**2),
        (lambda t, p: float((t * p.sum(axis=1)).mean()), LABELS, SCORES),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_batches_give_what_the_whole_gives(metric: Any, y_true: Any, y_pred: Any) -> None:
    whole = score(metric, y_true, y_pred)
    accumulator = get_metric(metric).start("digits/int8")
    for start, stop in ((0, 1), (1, 17), (17, len(y_true))):
        accumulator.update(y_true[start:stop], y_pred[start:stop])
    parts = accumulator.finish()
    assert parts.value == pytest.approx(whole.value, rel=1e-12)
    assert parts.details == pytest.approx(dict(whole.details))
    if whole.outcomes is not None:
        assert (parts.outcomes == whole.outcomes).all()


def test_what_is_kept_of_a_sample_is_a_few_bytes() -> None:
    for metric, y_true, y_pred in (
        ("accuracy", LABELS, SCORES),
        ("top-3", LABELS, SCORES),
        ("rmse", SCORES, SCORES),
        ("roc_auc", BINARY, ROUNDED),
    ):
        kept = score(metric, y_true, y_pred).kept
        assert sum(part.nbytes for part in kept) <= 24 * len(y_true), metric


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "roc_auc", "mae", "rmse", "r2"])
def test_resampling_is_what_repeating_the_samples_gives(metric: str) -> None:
    y_true = BINARY.astype(np.float32)
    y_pred = SCORES[:, :1]
    whole = score(metric, y_true, y_pred)
    drawn = np.random.default_rng(1).integers(0, 300, (3, 300))
    weights = np.stack([np.bincount(row, minlength=300) for row in drawn]).astype(np.float64)
    found = get_metric(metric).resampled(whole.kept, weights)
    repeated = [value(metric, y_true[row], y_pred[row]) for row in drawn]
    assert found == pytest.approx(repeated)


# -- top-k --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["top-3", "top3", "Top_3", "top-3-accuracy"])
def test_top_k_by_name(name: str) -> None:
    metric = get_metric(name)
    assert (metric.name, metric.higher_is_better) == ("top_3", True)
    assert value(metric, LABELS, SCORES) == value(top_k(3), LABELS, SCORES)


def test_of_equal_scores_the_first_count() -> None:
    outputs = np.zeros((3, 4))
    assert score("top-2", np.array([0, 1, 2]), outputs).outcomes.tolist() == [True, True, False]
    assert value("top-1", np.array([0, 1, 2]), outputs) == pytest.approx(1 / 3)


def test_top_k_of_as_many_classes_says_nothing() -> None:
    with pytest.raises(MetricError, match=r"top_5 says nothing of an output of 5 classes"):
        value("top-5", LABELS, SCORES)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "2"])
def test_what_is_no_k_is_refused(k: Any) -> None:
    with pytest.raises(MetricError, match="top_k takes a whole number from 1 on"):
        top_k(k)


# -- ROC-AUC of anomaly detectors ---------------------------------------------------------------


def test_the_score_of_an_autoencoder_is_its_reconstruction_error() -> None:
    x = GENERATOR.normal(size=(60, 4, 5)).astype(np.float32)
    anomaly = np.arange(60) % 3 == 0
    rebuilt = (x + 0.1 * (1 + anomaly[:, None, None]) * GENERATOR.normal(size=x.shape)).reshape(
        60, 20
    )
    error = np.square(x.reshape(60, 20) - rebuilt).mean(axis=1)
    assert value("roc_auc", anomaly, rebuilt, x) == value("roc_auc", anomaly, error) > 0.8
    assert value("roc_auc", anomaly, rebuilt, [np.ones((60, 3)), x]) > 0.8


def test_windows_are_ranked_by_the_mean_of_their_recording() -> None:
    """As MLPerf Tiny's anomaly detection: a file is judged, not each window of it."""
    recording = np.repeat([10, 11, 12, 13], [5, 3, 4, 2])
    label = np.isin(recording, (11, 13)).astype(int)
    windows = GENERATOR.random(14)
    means = [windows[recording == r].mean() for r in (10, 11, 12, 13)]
    y_true = np.stack([label, recording], axis=1)
    order = GENERATOR.permutation(14)
    found = score(roc_auc(grouped=True), y_true[order], windows[order])
    assert found.value == value("roc_auc", np.array([0, 1, 0, 1]), np.array(means))
    assert len(found.kept[0]) == 4


def test_a_recording_has_one_label() -> None:
    with pytest.raises(DatasetError, match="the samples of recording 7 have different labels"):
        value(roc_auc(grouped=True), np.array([[0, 7], [1, 7]]), np.array([0.1, 0.2]))


def test_logits_of_two_classes_rank_by_their_difference() -> None:
    logits = GENERATOR.normal(size=(100, 2))
    labels = logits[:, 1] - logits[:, 0] > 0.3
    assert value("auc", labels, logits) == 1
    assert value("auc", np.eye(2)[labels * 1], logits) == 1


@pytest.mark.parametrize(
    "y_true, y_pred, error, said",
    [
        (np.ones(4, int), np.ones(4), MetricError, "needs samples of both classes, all 4 labels a"),
        (np.arange(4), np.ones(4), DatasetError, r"labels range from 0 to 3.*roc_auc\(positive="),
        (np.ones((4, 3)) / 3, np.ones(4), MetricError, r"needs labels 0 \(normal\) and 1.*\(4,\)"),
        (np.arange(4) % 2, np.ones((4, 9)), MetricError, r"needs one score a sample.*\(4, 9\)"),
    ],
    ids=["one class", "many classes", "no labels", "several classes out"],
)
def test_what_roc_auc_can_not_rank(
    y_true: Any, y_pred: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        value("roc_auc", y_true, y_pred)


def test_one_class_may_be_the_positive_one() -> None:
    assert value(roc_auc(positive=3), np.array([0, 3, 1, 3]), np.array([0, 2, 1, 3.0])) == 1


@pytest.mark.parametrize("options", [{"max_fpr": 0}, {"max_fpr": 2}, {"score": "mean"}])
def test_options_of_roc_auc_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(MetricError, match="edge_metric: roc_auc"):
        roc_auc(**options)


# -- segmentation -------------------------------------------------------------------------------


def test_mean_iou_is_that_of_the_confusion_matrix() -> None:
    theirs = pytest.importorskip("sklearn.metrics")
    ious = theirs.jaccard_score(IMAGES.reshape(-1), MAPS.argmax(axis=-1).reshape(-1), average=None)
    found = score("mean_iou", IMAGES, MAPS)
    assert found.value == pytest.approx(ious.mean())
    assert found.details == pytest.approx({f"iou[{i}]": v for i, v in enumerate(ious)})
    assert value("miou", IMAGES[..., None], MAPS) == found.value
    assert value("miou", np.eye(3)[IMAGES], MAPS) == found.value


def test_mean_iou_of_one_unit_reads_probabilities_and_logits() -> None:
    mask = IMAGES[:, :, :, None] == 2
    probability = np.where(mask, 0.9, 0.2)
    assert value("mean_iou", mask, probability) == 1
    assert value("mean_iou", mask, np.log(probability / (1 - probability))) == 1


def test_pixels_to_ignore_are_left_out() -> None:
    outputs = np.eye(3)[IMAGES]
    labels = IMAGES.copy()
    labels[:, 0] = 255
    with pytest.raises(DatasetError, match=r"labelled 0 to 255.*3 classes.*mean_iou\(ignore=255\)"):
        value("mean_iou", labels, outputs)
    assert value(mean_iou(ignore=255), labels, outputs) == 1


def test_maps_of_another_size_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"needs labels of shape \(40, 6, 5\).*got \(40, 5, 6\)"):
        value("mean_iou", IMAGES.transpose(0, 2, 1), MAPS)
    with pytest.raises(MetricError, match=r"output of pixels and classes .* \(300, 5\)"):
        value("mean_iou", LABELS, SCORES)


# -- several outputs ----------------------------------------------------------------------------


@pytest.mark.parametrize("output", [1, -1, "digit"])
@pytest.mark.parametrize("labels", [LABELS, {"box": BINARY, "digit": LABELS}, [BINARY, LABELS]])
def test_an_output_is_chosen_by_name_or_position(output: Any, labels: Any) -> None:
    if isinstance(labels, dict) and output == -1:
        output = "digit"
    outputs = [ROUNDED[:, None], SCORES]
    metric = get_metric("accuracy", output)
    found = compute(metric, labels, outputs, "x", ("box", "digit"))
    assert found.value == value("accuracy", LABELS, SCORES)


@pytest.mark.parametrize("output, said", [("digits", "'digits', which.*1: 'digit'"), (2, "has 2")])
def test_an_output_that_is_not_there_is_told(output: Any, said: str) -> None:
    with pytest.raises(MetricError, match=f"accuracy reads the output.*{said}"):
        compute(get_metric("accuracy", output), LABELS, [SCORES, SCORES], "x", ("box", "digit"))


def test_an_output_is_a_name_or_a_position() -> None:
    for output in (1.5, True, ["a"]):
        with pytest.raises(MetricError, match="output: expected a name or a position"):
            get_metric("accuracy", output)


# -- agreement ----------------------------------------------------------------------------------


def test_agreement_is_the_share_of_equal_decisions() -> None:
    other = SCORES.copy()
    other[:30] = SCORES[:30, ::-1]
    expected = (other.argmax(axis=1) == SCORES.argmax(axis=1)).mean()
    assert value("agreement", SCORES, other) == expected
    # Probabilities of one unit are told from logits by the baseline, for both.
    assert value("agreement", np.array([[0.2], [0.9]]), np.array([[0.4], [1.1]])) == 1
    with pytest.raises(MetricError, match=r"the baseline's is \(300, 5\), the candidate's \(300, "):
        value("agreement", SCORES, SCORES[:, :3])


# -- declared, not guessed ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mse", "val_loss", "hausdorff_distance", "word_error", "wer"])
def test_what_sounds_like_an_error_must_say_so(name: str) -> None:
    def metric(y_true: Any, y_pred: Any) -> float:
        return 1.0

    metric.__name__ = name
    with pytest.raises(MetricError, match=rf"is a larger {name} better.*task_metric\({name}, high"):
        get_metric(metric)
    declared = task_metric(metric, higher_is_better=False, name="ours", output=0)
    assert (declared.name, declared.higher_is_better, declared.output) == ("ours", False, 0)


def test_what_a_callable_reads_is_declared() -> None:
    seen: list[Any] = []

    def share(y_true: Any, y_pred: Any) -> float:
        seen.append((y_true, y_pred))
        return 0.5

    assert value(task_metric(share, on="labels"), np.eye(5)[LABELS], SCORES) == 0.5
    assert (seen[0][0] == LABELS).all()
    assert (seen[0][1] == SCORES.argmax(axis=1)).all()
    assert value(task_metric(share), np.eye(5)[LABELS], SCORES) == 0.5
    assert (seen[1][0] == np.eye(5)[LABELS]).all()
    assert (seen[1][1] == SCORES).all()
    with pytest.raises(MetricError, match="on='classes': expected"):
        task_metric(share, on="classes")


# -- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metric, y_true, error, said",
    [
        ("accuracy", LABELS[:7], DatasetError, r"edge_dataset: 7 labels for 300 samples.*\(300, "),
        ("accuracy", LABELS + 1, DatasetError, r"edge_dataset: labels range from 1 to 5.*0 to 4"),
        ("mae", LABELS, MetricError, r"edge_dataset: targets of shape \(300,\).*\(300, 5\)"),
        ("mae", np.full((300, 5), np.nan), MetricError, "targets are NaN or infinite"),
        ("mae", np.full((300, 5), "a"), MetricError, "mae needs numbers as targets"),
        ("macro_f1", ROUNDED, MetricError, r"edge_dataset: macro_f1 needs class numbers.*\(300,\)"),
    ],
)
def test_labels_that_do_not_fit_are_told_by_fixture_and_shape(
    metric: str, y_true: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        value(metric, y_true, SCORES)


def test_no_sample_at_all_has_no_value() -> None:
    with pytest.raises(DatasetError, match="edge_dataset: no samples"):
        get_metric("accuracy").start().finish()


def test_batches_of_different_shapes_are_told() -> None:
    accumulator = get_metric(lambda t, p: 0.5).start()
    accumulator.update(np.zeros((2, 3)), SCORES[:2])
    accumulator.update(np.zeros((2, 4)), SCORES[:2])
    with pytest.raises(DatasetError, match="edge_dataset: batches of different shapes"):
        accumulator.finish()


def test_outputs_that_are_not_finite_are_counted_over_all_batches() -> None:
    bad = SCORES.copy()
    bad[[3, 150, 151], 0] = np.nan
    accumulator = get_metric("accuracy").start("digits/int8")
    for start in (0, 100, 200):
        accumulator.update(LABELS[start : start + 100], bad[start : start + 100])
    with pytest.raises(MetricError, match=r"digits/int8: .* NaN or infinite for 3 of 300 samples"):
        accumulator.finish()
