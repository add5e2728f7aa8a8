"""Cosine similarity and SQNR of outputs, by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pytest_edgequant.errors import MetricError
from pytest_edgequant.measure.fidelity import FidelityAccumulator

REFERENCE = np.random.default_rng(0).normal(size=(100, 7))


def measured(*pairs: tuple[Any, Any], outputs: Any = ()) -> Any:
    accumulator = FidelityAccumulator(outputs)
    for reference, candidate in pairs:
        accumulator.update(reference, candidate)
    return accumulator.finish()


def test_figures_are_those_of_their_formulas() -> None:
    candidate = REFERENCE + 0.01 * np.random.default_rng(1).normal(size=REFERENCE.shape)
    found = measured((REFERENCE, candidate))
    a, b = REFERENCE.reshape(-1), candidate.reshape(-1)
    assert found.cosine == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert found.sqnr_db == pytest.approx(
        20 * math.log10(np.linalg.norm(a) / np.linalg.norm(a - b))
    )
    assert found.largest_error == np.abs(a - b).max()
    assert found.count == 100


def test_a_tenth_of_the_signal_as_noise_is_twenty_decibels() -> None:
    assert measured((np.ones((5, 2)), np.full((5, 2), 1.1))).sqnr_db == pytest.approx(20)


def test_batches_give_what_the_whole_gives() -> None:
    candidate = REFERENCE * 1.01 + 0.02
    whole = measured((REFERENCE, candidate))
    parts = measured((REFERENCE[:30], candidate[:30]), (REFERENCE[30:], candidate[30:]))
    assert parts.sqnr_db == pytest.approx(whole.sqnr_db)
    assert parts.cosine == pytest.approx(whole.cosine)
    assert parts.count == whole.count


def test_identical_outputs_have_no_noise() -> None:
    found = measured((REFERENCE, REFERENCE))
    assert (found.cosine, found.sqnr_db, found.largest_error) == (1.0, math.inf, 0.0)


def test_outputs_that_are_zero_have_no_figures() -> None:
    found = measured((np.zeros((3, 2)), np.ones((3, 2))))
    assert (found.cosine, found.sqnr_db) == (None, None)
    assert measured((np.ones((3, 2)), np.zeros((3, 2)))).sqnr_db == 0


def test_the_worst_of_several_outputs_counts() -> None:
    noisy = REFERENCE + 0.5
    found = measured(([REFERENCE, REFERENCE], [REFERENCE + 0.01, noisy]), outputs=["box", "digit"])
    assert found.output == "digit"
    assert found.sqnr_db == measured((REFERENCE, noisy)).sqnr_db


@pytest.mark.parametrize("candidate", [REFERENCE[:, :3], [REFERENCE, REFERENCE]])
def test_outputs_of_other_shapes_can_not_be_compared(candidate: Any) -> None:
    with pytest.raises(MetricError, match="outputs can't be compared: the baseline's have"):
        measured((REFERENCE, candidate))
    with pytest.raises(MetricError, match="no samples"):
        measured()
