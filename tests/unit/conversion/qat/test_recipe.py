"""Reading training data and recipes, and what follows from them without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_edgequant.conversion.qat.losses import OutputKind, default_loss, for_outputs
from pytest_edgequant.conversion.qat.recipe import (
    Training,
    TrainingRecipe,
    default_epochs,
    read_samples,
    scale_notes,
    split,
)
from pytest_edgequant.errors import DatasetError, TrainingError
from pytest_edgequant.samples.inputs import InputSpec

SPEC = (InputSpec("x", (1, 3), np.dtype(np.float32)),)
X = np.arange(60, dtype=np.float32).reshape(20, 3)
Y = np.arange(20) % 4


def training(data: Any, **changes: Any) -> Training:
    validation = changes.pop("validation", None)
    return Training(
        read_samples(data, "edge_training"),
        read_samples(validation, "v") if validation is not None else None,
        TrainingRecipe(data=None, **changes),
        None,
        None,
    )


def batches() -> Iterator[tuple[Any, Any]]:
    yield X[:8], Y[:8]
    yield X[8:], Y[8:]


@pytest.mark.parametrize(
    "data",
    [(X, Y), [X, Y], [(X[:8], Y[:8]), (X[8:], Y[8:])], batches(), batches, ({"x": X}, {"out": Y})],
    ids=["tuple", "list", "batches", "generator", "function", "dicts"],
)
def test_every_form_of_data_is_the_same(data: Any) -> None:
    arrays = split(training(data), SPEC, ["out"])
    expected = split(training((X, Y)), SPEC, ["out"])
    for ours, theirs in zip(arrays.x + arrays.y, expected.x + expected.y, strict=True):
        assert np.array_equal(ours, theirs)


@given(st.integers(4, 300), st.integers(1, 5), st.integers(0, 3))
def test_validation_is_a_tenth_and_leaves_training(count: int, classes: int, seed: int) -> None:
    x = np.arange(count * 3, dtype=np.float32).reshape(count, 3)
    y = np.arange(count) % classes
    arrays = split(training((x, y), seed=seed), SPEC, ["out"])
    held = arrays.x_validation[0][:, 0].tolist()
    kept = arrays.x[0][:, 0].tolist()
    assert sorted(held + kept) == x[:, 0].tolist()
    assert len(held) == max(count // 10, 2)


def test_validation_covers_the_classes_evenly() -> None:
    y = np.arange(200) % 4
    x = np.zeros((200, 3), np.float32)
    arrays = split(training((x, y)), SPEC, ["out"])
    assert np.bincount(arrays.y_validation[0]).tolist() == [5, 5, 5, 5]


def test_validation_of_its_own_is_used() -> None:
    arrays = split(training((X, Y), validation=(X[:5], Y[:5])), SPEC, ["out"])
    assert len(arrays.x[0]) == 20
    assert len(arrays.x_validation[0]) == 5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "got None"),
        (X, "got ndarray"),
        ("data.csv", "got str"),
        ({"x": X}, "got dict"),
        (7, "got int"),
        (iter(()), "no samples"),
        ([(X, Y, np.ones(20))], "sample weights are not supported"),
    ],
)
def test_data_of_a_wrong_kind(data: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_samples(data, "edge_training")


def test_a_dataset_without_end_is_refused() -> None:
    class Endless:
        def cardinality(self) -> int:
            return -1

        def __iter__(self) -> Iterator[Any]:
            while True:
                yield X, Y

    with pytest.raises(DatasetError, match="without end"):
        read_samples(Endless(), "edge_training")


def test_labels_of_several_outputs() -> None:
    two = np.ones((20, 2), np.float32)
    for y in ({"a": Y, "b": two}, (Y, two)):
        arrays = split(training((X, y)), SPEC, ["a", "b"])
        assert [a.shape[1:] for a in arrays.y] == [(), (2,)]
    with pytest.raises(DatasetError, match=r"keys \['a'\]"):
        split(training((X, {"a": Y})), SPEC, ["a", "b"])
    with pytest.raises(DatasetError, match="2 outputs"):
        split(training((X, Y)), SPEC, ["a", "b"])


@pytest.mark.parametrize(
    ("shape", "operator", "y", "expected"),
    [
        ((4,), "SOFTMAX", Y, ("SparseCategoricalCrossentropy", False)),
        ((4,), "FULLY_CONNECTED", Y[:, None], ("SparseCategoricalCrossentropy", True)),
        ((4,), "SOFTMAX", np.eye(4)[Y], ("CategoricalCrossentropy", False)),
        ((4,), "FULLY_CONNECTED", np.eye(4)[Y], ("CategoricalCrossentropy", True)),
        ((1,), "LOGISTIC", (Y > 1).astype(float), ("BinaryCrossentropy", False)),
        ((1,), "FULLY_CONNECTED", Y > 1, ("BinaryCrossentropy", True)),
        ((4,), "LOGISTIC", np.tile([1, 0, 1, 1], (20, 1)), ("BinaryCrossentropy", False)),
        ((1,), "FULLY_CONNECTED", X[:, 0], ("MeanSquaredError", None)),
        ((3,), "FULLY_CONNECTED", X, ("MeanSquaredError", None)),
        ((5, 4), "SOFTMAX", np.zeros((20, 5), int), ("SparseCategoricalCrossentropy", False)),
    ],
)
def test_the_default_loss(shape: Any, operator: str, y: Any, expected: Any) -> None:
    found = default_loss(OutputKind("out", shape, operator), np.asarray(y))
    assert (found["class_name"], found["config"].get("from_logits")) == expected


def test_class_numbers_that_the_output_does_not_have() -> None:
    with pytest.raises(TrainingError, match="from 0 to 4"):
        default_loss(OutputKind("out", (4,), "SOFTMAX"), np.arange(5))


def test_losses_by_output() -> None:
    kinds = [OutputKind("a", (4,), "SOFTMAX"), OutputKind("b", (1,), "")]
    y = [Y, X[:, :1]]
    assert for_outputs({"by_name": {"b": "mae"}}, kinds, y)[1] == "mae"
    assert for_outputs(["x", "y"], kinds, y) == ["x", "y"]
    with pytest.raises(TrainingError, match="'c'"):
        for_outputs({"by_name": {"c": "mae"}}, kinds, y)
    with pytest.raises(TrainingError, match="1 loss for 2 outputs"):
        for_outputs(["x"], kinds, y)


@given(st.integers(1, 10**7))
def test_default_epochs_stay_in_bounds(steps: int) -> None:
    assert 3 <= default_epochs(steps) <= 50


def test_the_fingerprint_follows_data_and_recipe() -> None:
    base = training((X, Y)).fingerprint
    assert training((X.copy(), Y.copy())).fingerprint == base
    assert training((X + 1, Y)).fingerprint != base
    assert training((X, Y[::-1])).fingerprint != base
    assert training((X, Y), seed=1).fingerprint != base
    assert training((X, Y), epochs=7).fingerprint != base
    assert training((X, Y), validation=(X, Y)).fingerprint != base


@pytest.mark.parametrize(
    ("factor", "dtype", "noted"),
    [
        (1, "float32", False),
        (3, "float32", False),
        (255, "float32", True),
        (1 / 255, "float32", True),
        (0, "float32", True),
        (255, "int32", False),
    ],
)
def test_training_values_of_another_size_are_noted(factor: float, dtype: str, noted: bool) -> None:
    values = np.random.default_rng(0).uniform(0, 1, (50, 3)).astype(np.float32)
    specs = [InputSpec("x", (1, 3), np.dtype(dtype))]
    notes = scale_notes([values], [values * np.float32(factor)], specs)
    assert bool(notes) == noted
    assert all("'x'" in note and "edge_preprocess is not applied" in note for note in notes)
