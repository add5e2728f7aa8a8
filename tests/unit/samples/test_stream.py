"""What datasets may be, read part by part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_edgequant.errors import DatasetError
from pytest_edgequant.samples.inputs import InputSpec, load_pair
from pytest_edgequant.samples.stream import Drawn, Samples

SPECS = (InputSpec("image", (1, 2, 3), np.dtype(np.float32)),)
TWO = (
    InputSpec("a", (1, 2), np.dtype(np.float32)),
    InputSpec("b", (1, 3), np.dtype(np.float32)),
)
X = np.arange(60, dtype=np.float32).reshape(10, 2, 3)
Y = np.arange(10)


def batches(size: int = 4) -> Iterator[tuple[Any, Any]]:
    for start in range(0, len(X), size):
        yield X[start : start + size], Y[start : start + size]


class Indexed:
    """As Keras' PyDataset: no iterator of its own, and no error behind its end."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return X[4 * index : 4 * index + 4], Y[4 * index : 4 * index + 4]


def read(samples: Samples, size: int = 3) -> tuple[Any, Any]:
    parts = list(samples.read([SPECS], size))
    assert [p.start for p in parts] == [sum(p.count for p in parts[:i]) for i in range(len(parts))]
    return (
        np.concatenate([p.inputs[SPECS][0] for p in parts]),
        np.concatenate([p.y for p in parts]),
    )


@pytest.mark.parametrize(
    "dataset",
    [
        (X, Y),
        (list(X), list(Y)),
        [X, Y],
        list(batches()),
        batches(),
        batches,
        lambda: (X, Y),
        lambda: list(batches(1)),
        Indexed(),
        lambda: Indexed(),
        zip(X, Y, strict=True),
        ({"image": X}, Y),
        [({"image": x}, y) for x, y in batches()],
        [(x, y, np.ones(len(y))) for x, y in batches()],
    ],
)
def test_everything_that_may_be_a_dataset(dataset: Any) -> None:
    x, y = read(Samples(dataset))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)


def test_a_memory_map_is_read_in_parts(tmp_path: Path) -> None:
    stored = np.memmap(tmp_path / "x", np.float32, "w+", shape=X.shape)
    stored[:] = X
    part = next(iter(Samples((stored, Y)).read([SPECS], 3)))
    assert np.shares_memory(part.inputs[SPECS][0], stored)
    assert part.count == 3


def test_two_inputs_by_name_and_in_order() -> None:
    a, b = np.zeros((10, 2), np.float32), np.ones((10, 3), np.float32)
    for x in ({"b": b, "a": a}, (a, b), [a, b]):
        parts = list(Samples((x, Y)).read([TWO], 4))
        assert [p.count for p in parts] == [4, 4, 2]
        np.testing.assert_array_equal(np.concatenate([p.inputs[TWO][1] for p in parts]), b)


def test_the_fingerprint_does_not_depend_on_how_samples_come() -> None:
    found = set()
    for dataset in ((X, Y), list(batches()), batches, batches(5), Indexed()):
        samples = Samples(dataset)
        read(samples)
        found.add(samples.fingerprint)
    assert found == {load_pair((X, Y)).fingerprint}
    other = X.copy()
    other[7, 1, 1] += 1
    assert Samples((other, Y)).fingerprint not in found
    assert Samples((X, Y[::-1])).fingerprint not in found


@pytest.mark.parametrize("form", ["array", "dict", "pair", "preprocessed"])
def test_reading_arrays_tells_their_fingerprint(form: str) -> None:
    x = {"dict": {"image": X, "more": X + 1}, "pair": (X, X + 1)}.get(form, X)
    preprocess = (lambda given: given) if form == "preprocessed" else None
    expected = load_pair((x, Y)).fingerprint
    samples = Samples((x, Y), preprocess=preprocess)
    assert samples.probe is not None
    assert samples.known_fingerprint is None
    parts = samples.read((), 7)
    next(parts)
    assert samples.known_fingerprint is None
    assert sum(part.count for part in parts) == len(Y) - 7
    assert samples.known_fingerprint == samples.fingerprint == expected


def test_probes_are_of_the_samples() -> None:
    probes = {Samples((x, y)).probe for x, y in ((X, Y), (X + 1, Y), (X, Y + 1), (X[1:], Y[1:]))}
    assert len(probes) == 4
    assert Samples((X.copy(), Y.copy())).probe in probes
    assert Samples((list(X), Y)).probe is None
    assert Samples([(X, Y)]).probe is None


def test_every_value_and_every_place_counts_in_large_arrays() -> None:
    x = np.random.default_rng(0).random((90_000, 2, 3, 2), dtype=np.float32)
    y = np.zeros(90_000)
    found = {load_pair((x, y)).fingerprint}
    for cut in (1, 70_000, 89_999):
        parts = Samples([(x[:cut], y[:cut]), (x[cut:], y[cut:])])
        parts.scan()
        assert parts.fingerprint in found
    for place in (0, 1, 262_143, 262_144, 1_079_999):
        for change in (np.nextafter, lambda value, _: -value):
            other = x.copy()
            other.flat[place] = change(other.flat[place], np.float32(2))
            found.add(load_pair((other, y)).fingerprint)
    swapped = x.copy()
    swapped[[0, 80_000]] = swapped[[80_000, 0]]
    found.add(load_pair((swapped, y)).fingerprint)
    found.add(load_pair((-x, y)).fingerprint)
    found.add(load_pair((x.astype(np.float64), y)).fingerprint)
    assert len(found) == 14


def test_a_function_serves_many_passes_and_a_generator_one() -> None:
    again = Samples(batches)
    assert len(read(again)[1]) == len(read(again)[1]) == 10
    assert not again.one_shot
    once = Samples(batches())
    read(once)
    assert once.one_shot
    with pytest.raises(DatasetError, match="a generator serves one evaluation only"):
        read(once)


def test_preprocessing_takes_raw_batches() -> None:
    for dataset in ((X.reshape(10, 6), Y), [(x.reshape(-1, 6), y) for x, y in batches()]):
        samples = Samples(dataset, preprocess=lambda x: (x / 2).reshape(-1, 2, 3))
        np.testing.assert_array_equal(read(samples)[0], X / 2)


def broken() -> Iterator[tuple[Any, Any]]:
    yield X, Y
    raise OSError("disk is gone")


@pytest.mark.parametrize(
    ("dataset", "preprocess", "message"),
    [
        (None, None, "edge_dataset: got None"),
        (7, None, r"edge_dataset: expected \(x, y\), an iterable"),
        (iter(()), None, "this one is used up"),
        ([], None, "edge_dataset: no samples; return"),
        ((X[:0], Y[:0]), None, "edge_dataset: no samples"),
        ((X, Y[:3]), None, "10 samples and 3 labels"),
        ([(X, Y), (X, Y[:3])], None, "edge_dataset batch 1: 10 samples and 3 labels"),
        ((X[:, :1], Y), None, r"takes samples of shape \(2, 3\), got an array of shape \(10, 1, 3"),
        ([X[0]], None, r"edge_dataset batch 0: expected \(x, y\)"),
        (broken, None, "edge_dataset batch 1: reading it raised OSError: disk is gone"),
        (lambda: 1 / 0, None, "that gives the samples raised ZeroDivisionError"),
        ((X, Y), lambda x: 1 / 0, "edge_preprocess raised ZeroDivisionError"),
        ((X, Y), lambda x: x[:, :1], r"\(after edge_preprocess\): .* takes samples of shape"),
        ((X, Y), lambda x: x[1:], "samples 0 to 2 .after edge_preprocess.: 2 samples and 3 labels"),
    ],
)
def test_bad_datasets_name_the_fixture(dataset: Any, preprocess: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read(Samples(dataset, preprocess=preprocess))


def test_samples_drawn_from_a_generator_are_the_same_and_in_order() -> None:
    drawn = [Drawn(Samples(batches(size)), [SPECS], 4) for size in (1, 3, 10)]
    for one in drawn:
        parts = list(one.read([SPECS], 4))
        assert (one.count, one.total) == (4, 10)
        assert [int(p.y[0]) for p in parts] == [int(p.y[0]) for p in drawn[0].read([SPECS], 4)]
        for part in parts:
            np.testing.assert_array_equal(part.inputs[SPECS][0][0], X[part.y[0]])
    assert Drawn(Samples(batches()), [SPECS], 100).count == 10
