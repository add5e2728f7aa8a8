"""Evaluations of real models: what they give, keep, leave out and refuse."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from checked import Tiny, said

from pytest_edgequant import (
    DatasetError,
    compare_accuracy,
    context,
    evaluate,
)
from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.records import HeldOut
from pytest_edgequant.samples.inputs import load_pair

pytestmark = pytest.mark.usefixtures("pipeline")


@pytest.mark.parametrize("form", ["float32", "float16", "dynamic_range", "int8", "int16x8"])
def test_the_models_know_their_digits(form: str, tiny: Tiny, tiny_dataset: tuple[Any, Any]) -> None:
    evaluation = evaluate(tiny[form], tiny_dataset)
    assert evaluation.value > 0.9
    assert (evaluation.metric, evaluation.count) == ("accuracy", 397)
    assert evaluation.outcomes is not None
    assert evaluation.outcomes.mean() == pytest.approx(evaluation.value)


def test_an_evaluation_is_made_once_and_then_comes_from_the_cache(
    fresh_pipeline: Pipeline,
    tiny: Tiny,
    tiny_dataset: tuple[Any, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y = tiny_dataset
    first = evaluate(tiny["int8"], (x, y))
    again = Pipeline(fresh_pipeline.cache.root, timeout=120)
    monkeypatch.setattr(context, "pipeline_factory", lambda: again)
    assert evaluate(tiny["int8"], (x.copy(), y.copy())).value == first.value
    assert (fresh_pipeline._interpreter.starts, again._interpreter.starts) == (1, 0)


def test_samples_that_were_held_out_are_left_out(tiny: Tiny, tiny_dataset: tuple[Any, Any]) -> None:
    variant = load_variant(tiny["int8"])
    right = evaluate(variant, tiny_dataset).outcomes
    assert right is not None
    wrong = tuple(int(i) for i in np.flatnonzero(~right))
    assert len(wrong) > 5
    held = HeldOut(load_pair(tiny_dataset).fingerprint, wrong)
    evaluation = evaluate(dataclasses.replace(variant, held_out=held), tiny_dataset)
    assert (evaluation.value, evaluation.count) == (1.0, 397 - len(wrong))
    elsewhere = dataclasses.replace(variant, held_out=HeldOut("another dataset", wrong))
    assert evaluate(elsewhere, tiny_dataset).count == 397


def test_samples_that_either_was_calibrated_with_are_left_out_of_both(
    tiny: Tiny, tiny_dataset: tuple[Any, Any]
) -> None:
    fingerprint = load_pair(tiny_dataset).fingerprint
    candidate, baseline = (
        dataclasses.replace(load_variant(tiny[form]), held_out=HeldOut(fingerprint, indices))
        for form, indices in (("int8", (0, 1, 2)), ("int16x8", (2, 3)))
    )
    assert compare_accuracy(candidate, baseline, tiny_dataset).count == 393


def test_a_callable_gets_what_is_right_and_what_was_given(
    tiny: Tiny, tiny_dataset: tuple[Any, Any]
) -> None:
    def share_of_sevens(y_true: Any, y_pred: Any) -> float:
        return float(((y_pred.argmax(axis=1) == 7) & (y_true == 7)).sum() / (y_true == 7).sum())

    evaluation = evaluate(tiny["int8"], tiny_dataset, metric=share_of_sevens)
    assert 0.9 < evaluation.value <= 1
    assert (evaluation.metric, evaluation.outcomes) == ("share_of_sevens", None)


@pytest.mark.parametrize("form", ["int8", "float32"])
def test_nan_in_the_samples_is_told(form: str, tiny: Tiny) -> None:
    samples = np.zeros((3, 8, 8, 1), np.float32)
    samples[1:, 0] = np.nan
    message = said(DatasetError, lambda: evaluate(tiny[form], (samples, [0, 1, 2])))
    assert message.startswith("edge_dataset: the input 'image' has NaN values in 2 of 3 samples")
    assert "shape (8, 8, 1)" in message


def test_samples_of_another_shape_are_told(tiny: Tiny) -> None:
    message = said(DatasetError, lambda: evaluate(tiny["int8"], (np.zeros((2, 64)), [0, 1])))
    assert message.startswith("edge_dataset: the model's input 'image' takes samples of shape (8, ")
    assert "reshape to (N, 8, 8, 1)" in message
