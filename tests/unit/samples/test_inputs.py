from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_edgequant.errors import DatasetError
from pytest_edgequant.samples.inputs import (
    ContentHash,
    Dataset,
    InputSpec,
    as_inputs,
    concatenate,
    fingerprint,
    freeze,
    load_pair,
    to_numpy,
)
from pytest_edgequant.samples.stream import Samples, joined

ONE = [InputSpec("image", (1, 2, 3), np.dtype(np.float32))]
TWO = [
    InputSpec("image", (1, 2, 3), np.dtype(np.float32)),
    InputSpec("age", (1, 1), np.dtype(np.int32)),
]
X = np.arange(60, dtype=np.float32).reshape(10, 2, 3)
AGE = np.arange(10, dtype=np.int32).reshape(10, 1)
Y = np.arange(10) % 3


def batches(size: int = 4) -> Iterator[tuple[Any, Any]]:
    for start in range(0, 10, size):
        yield X[start : start + size], Y[start : start + size]


# -- one element: what as_inputs takes ----------------------------------------------------------


@pytest.mark.parametrize(
    "x",
    [X, X.tolist(), list(X), {"image": X}, (X,), [X], X.astype(np.float64), X.astype(np.uint8)],
    ids=["array", "nested lists", "samples", "dict", "tuple", "list", "float64", "uint8"],
)
def test_samples_come_in_many_forms(x: Any) -> None:
    (found,) = as_inputs(x, ONE, "here")
    np.testing.assert_array_equal(found, X)


def test_one_sample_is_a_batch_of_one() -> None:
    assert as_inputs(X[3], ONE, "here")[0].shape == (1, 2, 3)
    assert as_inputs(3, [InputSpec("n", (1,), np.dtype(np.int32))], "here")[0].tolist() == [3]


@pytest.mark.parametrize(
    "x",
    [{"age": AGE, "image": X}, (X, AGE), [X, AGE], [X.tolist(), AGE.tolist()]],
    ids=["dict", "tuple", "list", "nested lists"],
)
def test_several_inputs_come_by_name_or_in_order(x: Any) -> None:
    image, age = as_inputs(x, TWO, "here")
    np.testing.assert_array_equal(image, X)
    np.testing.assert_array_equal(age, AGE)


def test_a_tensor_of_a_framework_is_read() -> None:
    class Tensor:
        def detach(self) -> Tensor:
            return self

        def cpu(self) -> Any:
            return X

    np.testing.assert_array_equal(to_numpy(Tensor(), "here"), X)


@pytest.mark.parametrize(
    "x, specs, said",
    [
        (
            X.reshape(10, 6),
            ONE,
            "here: the model's input 'image' takes samples of shape (2, 3), got an array of shape "
            "(10, 6); the number of elements fits: reshape to (N, 2, 3)",
        ),
        (
            X[:, :1],
            ONE,
            "here: the model's input 'image' takes samples of shape (2, 3), got an array of shape "
            "(10, 1, 3)",
        ),
        ({"image": X}, TWO, "here: no samples for the input 'age'; got the keys ['image']"),
        ({"image": X, "x": X}, ONE, "here: the model has no input 'x'; it takes 'image': (N, 2"),
        (X, TWO, "here: the model has 2 inputs ('image': (N, 2, 3) float32, 'age': "),
        ((X, AGE, AGE), TWO, "here: the model has 2 inputs"),
        (
            (X, AGE[:4]),
            TWO,
            "here: the inputs have different numbers of samples: 'image': 10, 'age': 4",
        ),
        ([[1, 2], [3]], ONE, "here: can't be read as an array"),
        ([X[0], X[0, :1]], ONE, "here: can't be read as an array"),
        (
            np.array([[["a"] * 3] * 2]),
            ONE,
            "here: the model's input 'image' takes float32, got <U1",
        ),
        (np.array([None]), ONE, "here: samples of different shapes (or not numbers at all)"),
        ((X, AGE + 0.5), TWO, "here: the model's input 'age' takes whole numbers (int32), got "),
    ],
)
def test_what_does_not_fit_names_place_input_and_shape(x: Any, specs: Any, said: str) -> None:
    with pytest.raises(DatasetError) as caught:
        as_inputs(x, specs, "here")
    assert str(caught.value).startswith(said)


def test_whole_numbers_in_floats_fit_integer_inputs() -> None:
    assert as_inputs((X, AGE.astype(np.float64)), TWO, "here")[1].tolist() == AGE.tolist()


def test_batches_join_input_by_input() -> None:
    image, age = concatenate([[X[:4], AGE[:4]], [X[4:], AGE[4:]]])
    np.testing.assert_array_equal(image, X)
    np.testing.assert_array_equal(age, AGE)


# -- a dataset ----------------------------------------------------------------------------------

DATASETS: dict[str, Callable[[], Any]] = {
    "a pair": lambda: (X, Y),
    "a pair in a list": lambda: [X, Y],
    "a pair of lists": lambda: (X.tolist(), Y.tolist()),
    "a pair with a dict": lambda: ({"image": X}, Y),
    "a pair with samples": lambda: (list(X), Y),
    "a generator of batches": batches,
    "a list of batches": lambda: list(batches()),
    "two batches": lambda: list(batches(5)),
    "a tuple of two batches": lambda: tuple(batches(5)),
    "one batch": lambda: list(batches(10)),
    "samples": lambda: list(zip(X, Y, strict=True)),
    "batches with weights": lambda: [(x, y, np.ones(len(y))) for x, y in batches()],
    "a function that gives a pair": lambda: lambda: (X, Y),
    "a function that gives batches": lambda: batches,
}


def read(dataset: Any, specs: Any, where: str = "edge_dataset") -> tuple[Any, Any]:
    """All samples and labels, read part by part."""
    samples = Samples(dataset, where)
    parts = list(samples.read((tuple(specs),), 3))
    return concatenate([part.inputs[tuple(specs)] for part in parts]), joined([p.y for p in parts])


@pytest.mark.parametrize("form", DATASETS)
def test_a_dataset_comes_in_many_forms(form: str) -> None:
    (x,), y = read(DATASETS[form](), ONE)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)


@pytest.mark.parametrize("labels", [np.eye(3)[Y], Y / 7, Y[:, np.newaxis]])
def test_labels_keep_their_form(labels: Any) -> None:
    np.testing.assert_array_equal(load_pair((X, labels)).y, labels)


def test_several_inputs_come_from_a_pair_or_from_batches() -> None:
    for dataset in (((X, AGE), Y), [({"age": AGE[:4], "image": X[:4]}, Y[:4])]):
        (image, age), _ = read(dataset, TWO)
        np.testing.assert_array_equal(image, X[: len(age)])


@pytest.mark.parametrize(
    "dataset, said",
    [
        (None, "here: got None; return (x, y)"),
        ((X[:0], Y[:0]), "here: no samples; return (x, y) with at least one sample"),
        ([], "here: no samples; return (x, y) with at least one sample"),
        (X, "here: expected (x, y), got ndarray without labels"),
        ({"x": X}, "here: expected (x, y), got dict without labels"),
        ("digits", "here: expected (x, y), got str without labels"),
        (3, "here: expected (x, y), an iterable of (x, y) batches, or a function"),
        ([X, X, X], "here batch 0: expected (x, y), got ndarray"),
        ((X, 3), "here: y must be an array of labels, got 3"),
        ((1.5, Y), "here: x must be samples (N, ...), got one value of shape ()"),
        (({"image": X, "age": 3}, Y), "here: x must be samples (N, ...), got one value"),
        ((X, Y[:7]), "here: 10 samples and 7 labels; every sample needs one label"),
        (({"image": X}, Y[:7]), "here: 10 samples and 7 labels"),
        (([[1, 2], [3]], Y[:2]), "here x: can't be read as an array"),
        ((X, [[1], [2, 3]]), "here y: can't be read as an array"),
    ],
)
def test_what_is_no_dataset_says_why(dataset: Any, said: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read(dataset, ONE, "here")
    assert str(caught.value).startswith(said)


def test_labels_are_counted_against_samples_given_as_a_list() -> None:
    """Samples or inputs: only the model can tell what a list holds."""
    dataset = load_pair((list(X), Y[:7]), "here")
    with pytest.raises(DatasetError, match=r"^here: 10 samples and 7 labels"):
        dataset.inputs(ONE)


def test_a_generator_that_is_used_up_says_so() -> None:
    generator = batches()
    read(generator, ONE)
    with pytest.raises(DatasetError, match="a generator serves one evaluation only, and this one"):
        read(generator, ONE)


def test_a_wrong_shape_names_the_dataset() -> None:
    with pytest.raises(DatasetError, match=r"^my set: the model's input 'image' takes samples of"):
        read((X[:, :1], Y), ONE, "my set")


# -- fingerprints -------------------------------------------------------------------------------


def test_the_same_samples_have_the_same_fingerprint() -> None:
    assert load_pair((X, Y)).fingerprint == load_pair((X.copy(), Y.copy())).fingerprint
    assert fingerprint({"a": X, "b": Y}) == fingerprint({"b": Y, "a": X})
    assert fingerprint(X.T.copy()) == fingerprint(X.T)


def changed(array: Any) -> Any:
    array = array.copy()
    array.flat[-1] += 1
    return array


@pytest.mark.parametrize(
    "other",
    [
        changed(X),
        X.astype(np.float64),
        X.reshape(10, 6),
        X.view(np.int32),
        [X],
        (X[:5], X[5:]),
        {"image": X},
        None,
    ],
)
def test_other_samples_have_another_fingerprint(other: Any) -> None:
    assert fingerprint(X) != fingerprint(other)


def test_other_labels_make_another_dataset() -> None:
    assert load_pair((X, Y)).fingerprint != load_pair((X, changed(Y))).fingerprint


def test_freezing_keeps_the_structure() -> None:
    frozen = freeze({"a": [1, 2], "b": (X, [AGE, X])}, "here")
    assert isinstance(frozen["a"], np.ndarray)
    assert isinstance(frozen["b"], tuple)
    assert isinstance(frozen["b"][1], list)
    assert isinstance(load_pair((X, Y)), Dataset)


def test_labels_that_shift_between_batches_are_noticed() -> None:
    x, y = np.zeros((100, 4), np.float32), np.zeros(100, int)
    specs = [InputSpec("x", (1, 4), np.dtype(np.float32))]
    with pytest.raises(DatasetError, match="batch 0: 50 samples and 49 labels"):
        read([(x[:50], y[:49]), (x[50:], y[49:])], specs)


@pytest.mark.parametrize("other", [lambda y: y[:, np.newaxis], lambda y: {"digit": y}])
def test_batches_with_labels_of_different_shapes_are_refused(other: Callable[[Any], Any]) -> None:
    with pytest.raises(DatasetError, match=r"batch 1: labels of shape .* in the batches before"):
        read([(X[:5], Y[:5]), (X[5:], other(Y[5:]))], ONE)


# -- the content's hash ---------------------------------------------------------------------------


@given(st.integers(0, 300_000), st.lists(st.integers(0, 300_000), max_size=6), st.data())
@settings(max_examples=30, deadline=None)
def test_the_hash_depends_on_the_bytes_and_not_on_how_they_are_cut(
    count: int, cuts: list[int], data: st.DataObject
) -> None:
    values = np.random.default_rng(count).integers(0, 256, count, dtype=np.uint8)
    whole, parts = ContentHash(), ContentHash()
    whole.update(values, values[:1])
    edges = [0, *sorted(cut % (count + 1) for cut in cuts), count]
    for number, (begin, end) in enumerate(itertools.pairwise(edges)):
        parts.update(values[begin:end], values[:0] if number else values[:1])
    assert whole.digest() == parts.digest()
    if count:
        other = values.copy()
        other[data.draw(st.integers(0, count - 1))] ^= data.draw(st.integers(1, 255))
        changed = ContentHash()
        changed.update(other, values[:1])
        assert changed.digest() != whole.digest()


def test_two_signs_that_change_together_change_the_hash() -> None:
    """The upper bit of a word would vanish from a sum modulo 2^64 that has it twice."""
    values = np.ones(4096, np.float32)
    digests = set()
    for first, second in [(1, 3), (1, 5), (3, 5), (0, 2), (0, 1)]:
        changed = values.copy()
        changed[[first, second]] *= -1
        found = ContentHash()
        found.update(changed, np.zeros(1))
        digests.add(found.digest())
    assert len(digests) == 5


def test_a_hash_of_zeros_tells_their_number() -> None:
    digests = set()
    for count in (0, 1, 7, 8, 9, 4096):
        found = ContentHash()
        found.update(np.zeros(count, np.uint8), np.zeros(1))
        digests.add(found.digest())
    assert len(digests) == 6


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": {"b": X}, "c": Y}, {"a": {"b": X, "c": Y}}),
        ({"a": X, "b": Y}, {"a": [X], "b": Y}),
        ((X, Y), [X, Y]),
    ],
)
def test_samples_in_another_structure_are_others(one: Any, other: Any) -> None:
    assert fingerprint(one) != fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([{"a": {"b": X}}], [{"a/b": X}]),
        ([X[:5], X[5:]], [X[:5], X[5:].view(np.int32)]),
        ([X[:5], X[5:].view(np.int32)], [X[:5].view(np.int32), X[5:]]),
    ],
)
def test_the_hash_knows_places_and_types(one: Any, other: Any) -> None:
    digests = []
    for batches_ in (one, other):
        found = ContentHash()
        for batch in batches_:
            found.update(batch, Y[:5])
        digests.append(found.digest())
    assert digests[0] != digests[1]
