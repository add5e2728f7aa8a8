from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_edgequant.conversion.calibration import (
    READ_AT_MOST,
    SPLIT_AT_MOST,
    Calibration,
    calibration_inputs,
    class_labels,
    coverage_notes,
    quality_notes,
    read_calibration,
    split_samples,
)
from pytest_edgequant.errors import CalibrationError
from pytest_edgequant.samples.inputs import InputSpec, load_pair
from pytest_edgequant.samples.stream import Samples

ONE = [InputSpec("image", (1, 4), np.dtype(np.float32))]
TWO = [
    InputSpec("image", (1, 4), np.dtype(np.float32)),
    InputSpec("age", (1, 1), np.dtype(np.float32)),
]
X = np.arange(480, dtype=np.float32).reshape(120, 4)
AGE = np.arange(120, dtype=np.float32).reshape(120, 1)
Y = np.arange(120) % 5


def notes_of(samples: Any) -> list[str]:
    calibration = read_calibration(samples)
    inputs, _ = calibration_inputs(calibration, ONE)
    return quality_notes(calibration, inputs, ONE)


# -- forms --------------------------------------------------------------------------------------

FORMS: dict[str, Callable[[], Any]] = {
    "an array": lambda: X,
    "nested lists": lambda: X.tolist(),
    "a list of samples": lambda: list(X),
    "a list of batches": lambda: [X[:50], X[50:]],
    "a dict": lambda: {"image": X},
    "a tuple of one input": lambda: (X,),
    "a generator of samples": lambda: (x for x in X),
    "a generator of lists": lambda: (x.tolist() for x in X),
    "a generator as TensorFlow's guide has it": lambda: ([x[np.newaxis]] for x in X),
    "a generator of dicts": lambda: ({"image": x} for x in X),
    "a function": lambda: lambda: X,
    "a function that gives a generator": lambda: lambda: (x for x in X),
}
LABELLED: dict[str, Callable[[], Any]] = {
    "a pair": lambda: (X, Y),
    "a generator of pairs": lambda: zip(X, Y, strict=True),
    "a generator of batches": lambda: ((X[i : i + 50], Y[i : i + 50]) for i in (0, 50, 100)),
}


@pytest.mark.parametrize("form", FORMS)
def test_samples_come_in_many_forms(form: str) -> None:
    (x,), labels = calibration_inputs(read_calibration(FORMS[form]()), ONE)
    np.testing.assert_array_equal(x, X)
    assert labels is None


@pytest.mark.parametrize("form", LABELLED)
def test_labels_are_told_from_samples(form: str) -> None:
    (x,), labels = calibration_inputs(read_calibration(LABELLED[form]()), ONE)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(labels, Y)


@pytest.mark.parametrize(
    "samples, labelled",
    [
        ({"age": AGE, "image": X}, False),
        ((X, AGE), False),
        (((X, AGE), Y), True),
        (({"image": X, "age": AGE}, Y), True),
    ],
)
def test_several_inputs_come_by_name_or_in_order(samples: Any, labelled: bool) -> None:
    (image, age), labels = calibration_inputs(read_calibration(samples), TWO)
    np.testing.assert_array_equal(image, X)
    np.testing.assert_array_equal(age, AGE)
    assert (labels is not None) is labelled


def test_calibration_that_is_read_stays_as_it_is() -> None:
    calibration = read_calibration(X)
    assert read_calibration(calibration) is calibration


def test_an_endless_generator_is_cut_and_noted() -> None:
    def endless() -> Any:
        while True:
            yield X[0]

    calibration = read_calibration(endless)
    assert len(calibration.elements) == READ_AT_MOST
    assert calibration.notes == (
        "calibration: only the first 10,000 elements of edge_calibration were used",
    )


def test_the_same_samples_have_the_same_fingerprint() -> None:
    assert read_calibration(X).fingerprint == read_calibration(lambda: X.copy()).fingerprint
    assert read_calibration(X).fingerprint != read_calibration(X + 1).fingerprint


# -- what can't be calibrated with --------------------------------------------------------------


@pytest.mark.parametrize(
    "samples, said",
    [
        ([], "no samples; give 100 at least"),
        (iter([]), "no samples (a generator that is used up? return an array or a function)"),
        (X[:0], "no samples; give at least one"),
        (3, "expected an array, a list, a dict, an iterable of samples or a function"),
        ("digits", "expected an array, a list, a dict"),
        ([[1.0, 2.0], [3.0]], "takes samples of shape (4,), got an array of shape (2,)"),
        (X[:, :3], "the model's input 'image' takes samples of shape (4,), got an array of shape"),
        (X.reshape(120, 2, 2), "the number of elements fits: reshape to (N, 4)"),
        ({"age": X}, "no samples for the input 'image'"),
    ],
)
def test_what_does_not_fit_names_the_place(samples: Any, said: str) -> None:
    with pytest.raises(CalibrationError) as caught:
        calibration_inputs(read_calibration(samples), ONE)
    assert str(caught.value).startswith("edge_calibration")
    assert said in str(caught.value)


def test_the_element_of_a_generator_is_named() -> None:
    wrong = [X[0], X[1], X[2, :3]]
    with pytest.raises(CalibrationError, match=r"^edge_calibration element 2: the model's input"):
        calibration_inputs(read_calibration(iter(wrong)), ONE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_name_input_and_first_sample(value: float) -> None:
    x = X.copy()
    x[7, 1] = x[9, 2] = value
    with pytest.raises(CalibrationError) as caught:
        calibration_inputs(read_calibration(x), ONE)
    assert str(caught.value).startswith(
        "edge_calibration: 2 values of the input 'image' are NaN or infinite, the first in sample 7"
    )


def test_whole_numbers_are_finite() -> None:
    (x,), _ = calibration_inputs(read_calibration(X.astype(np.uint8)), ONE)
    assert x.dtype == np.uint8


def test_constant_samples_are_refused() -> None:
    with pytest.raises(CalibrationError, match=r"every value of 'image' is 0\.5; constant samples"):
        notes_of(np.full((120, 4), 0.5, np.float32))


def test_one_constant_input_of_several_is_noted() -> None:
    calibration = read_calibration((X, np.zeros_like(AGE)))
    inputs, _ = calibration_inputs(calibration, TWO)
    assert quality_notes(calibration, inputs, TWO) == [
        "calibration: the input 'age' is 0.0 in all samples; its range is a guess"
    ]


def test_few_samples_are_noted() -> None:
    assert notes_of(X[:100]) == []
    assert notes_of(X[:99]) == [
        "calibration: 99 samples from edge_calibration, fewer than the 100 that int8 ranges need "
        "at least (200-500 are recommended)"
    ]


# -- labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels, classes",
    [
        (Y, Y),
        (Y.astype(np.float32), Y),
        (Y[:, np.newaxis], Y),
        (np.eye(5)[Y], Y),
        (np.array(["cat", "dog"]), np.array(["cat", "dog"])),
        (np.array([True, False]), np.array([True, False])),
        (np.linspace(0, 1, 50), None),
        (np.linspace(0, 1, 50)[:, np.newaxis], None),
        (np.arange(2000), None),
        (np.array([0.0, np.nan]), None),
        (np.zeros((3, 4)), None),
        (np.ones((3, 4)) / 4, None),
        (np.zeros((3, 4, 4)), None),
    ],
)
def test_classes_are_told_from_targets(labels: Any, classes: Any) -> None:
    found = class_labels(labels)
    if classes is None:
        assert found is None
    else:
        np.testing.assert_array_equal(found, classes)


def test_classes_that_are_not_covered_are_noted() -> None:
    assert coverage_notes(np.array([0, 1]), np.array([0, 1, 1])) == []
    assert coverage_notes(np.array([0, 2]), np.array([0, 1, 2])) == [
        "calibration: no sample of class 1; their activations may be clipped"
    ]
    (note,) = coverage_notes(np.array([0]), np.arange(20))
    assert "no sample of the classes 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ...;" in note


# -- the split ----------------------------------------------------------------------------------


class Batch(np.ndarray):  # type: ignore[type-arg]
    """An array that can be referred to weakly, and told by what it is."""

    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__  # type: ignore[assignment]


def split(y: Any) -> Calibration:
    x = np.arange(len(y) * 4, dtype=np.float32).reshape(-1, 4)
    return split_samples(Samples((x, y)), ONE)


def chosen(y: Any) -> Any:
    held_out = split(y).held_out
    assert held_out is not None
    return np.asarray(held_out.indices)


def test_the_split_is_its_own_samples_and_says_so() -> None:
    calibration = split(Y)
    assert calibration.held_out is not None
    indices = list(calibration.held_out.indices)
    (x,), _ = calibration_inputs(calibration, ONE)
    np.testing.assert_array_equal(x, X[indices])
    assert calibration.notes == (
        "calibration: 60 of 120 samples split off edge_dataset (no edge_calibration is defined) "
        "and left out of the evaluation",
    )
    assert calibration.held_out.dataset == load_pair((X, Y)).fingerprint


def test_the_split_is_always_the_same() -> None:
    assert split(Y).held_out == split(Y).held_out
    assert split(Y).fingerprint == split(Y).fingerprint


@given(st.lists(st.integers(0, 6), min_size=2, max_size=60))
def test_the_split_takes_no_more_than_half_and_leaves_every_class(labels: list[int]) -> None:
    y = np.asarray(labels)
    if len(set(labels)) == len(labels):
        with pytest.raises(CalibrationError, match="no class has two samples"):
            split(y)
        return
    indices = chosen(y)
    assert 1 <= len(indices) <= len(y) // 2
    assert len(set(indices.tolist())) == len(indices)
    assert set(np.delete(y, indices).tolist()) == set(labels)


def test_the_split_of_a_stream_is_that_of_its_arrays_and_holds_few_batches() -> None:
    y = np.arange(3000) % 7
    x = np.arange(len(y) * 4, dtype=np.float32).reshape(-1, 4)
    alive: weakref.WeakSet[Batch] = weakref.WeakSet()
    most = 0

    def batches() -> Iterator[Any]:
        nonlocal most
        for start in range(0, len(y), 10):
            batch = x[start : start + 10].copy().view(Batch)
            alive.add(batch)
            most = max(most, len(alive))
            yield batch, y[start : start + 10]

    streamed, whole = split_samples(Samples(batches), ONE), split_samples(Samples((x, y)), ONE)
    assert streamed.held_out == whole.held_out
    assert (streamed.fingerprint, streamed.notes) == (whole.fingerprint, whole.notes)
    assert most < 10
    doubled = split_samples(Samples(batches, preprocess=lambda x: np.asarray(x) * 2), ONE)
    assert doubled.held_out == whole.held_out
    np.testing.assert_array_equal(doubled.elements[0]["image"], 2 * whole.elements[0]["image"])


def test_labels_of_several_outputs_are_split_at_random() -> None:
    y = {"a": np.arange(100) % 3, "b": np.zeros(100)}
    x = np.zeros((100, 4), np.float32)
    held_out = split_samples(Samples([(x, y)]), ONE).held_out
    assert held_out is not None
    assert len(set(held_out.indices)) == 50


def test_the_split_takes_300_at_most() -> None:
    assert len(chosen(np.arange(599) % 7)) == 299
    assert len(chosen(np.arange(5000) % 7)) == SPLIT_AT_MOST == 300


def test_the_split_has_every_class_by_its_share() -> None:
    y = np.repeat([0, 1, 2], [600, 300, 100])
    assert np.bincount(y[chosen(y)]).tolist() == [180, 90, 30]


@pytest.mark.parametrize("form", [lambda y: np.eye(3)[y], lambda y: y[:, np.newaxis], np.float32])
def test_the_split_is_the_same_whatever_the_form_of_the_labels(form: Callable[[Any], Any]) -> None:
    y = np.repeat([0, 1, 2], [60, 30, 10])
    np.testing.assert_array_equal(chosen(form(y)), chosen(y))


def test_a_class_with_one_sample_stays_in_the_evaluation_and_is_noted() -> None:
    y = np.array([0] * 10 + [1] * 10 + [7])
    calibration = split(y)
    assert calibration.held_out is not None
    assert 20 not in calibration.held_out.indices
    assert calibration.notes[1] == (
        "calibration: no sample of class 7; their activations may be clipped"
    )


@pytest.mark.parametrize("column", [False, True])
def test_targets_are_split_by_decile(column: bool) -> None:
    y = np.random.default_rng(1).permutation(np.linspace(-5, 5, 1000))
    indices = chosen(y[:, np.newaxis] if column else y)
    assert len(indices) == 300
    counts, _ = np.histogram(y[indices], bins=10, range=(-5, 5))
    assert counts.tolist() == [30] * 10


def test_several_targets_are_split_without_strata() -> None:
    y = np.random.default_rng(1).normal(size=(50, 2))
    assert len(chosen(y)) == 25


def test_one_sample_is_too_few() -> None:
    with pytest.raises(CalibrationError, match="1 sample is too few to split off"):
        split(np.array([1]))


def test_a_list_of_labelled_batches_is_read_as_a_generator_is() -> None:
    batches = [(X[:60], np.zeros(60, int)), (X[60:], np.ones(60, int))]
    inputs, labels = calibration_inputs(read_calibration(batches), ONE)
    assert np.array_equal(inputs[0], X)
    assert labels is not None
    assert len(labels) == len(X)


def test_one_hot_labels_of_single_samples_keep_their_shape() -> None:
    one_hot = np.eye(5)[np.arange(len(X)) % 5]
    _, labels = calibration_inputs(read_calibration(zip(X, one_hot, strict=True)), ONE)
    assert labels is not None
    assert labels.shape == (len(X), 5)
