"""Calibrations that are broken on purpose are caught, and by their cause."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_edgequant import (
    AccuracyDropExceeded,
    CalibrationError,
    Inconclusive,
    SettingsError,
    assert_calibration_robust,
    assert_max_accuracy_drop,
    calibration_robustness,
    compare_accuracy,
    convert,
)

Tiny = Mapping[str, Path]


@pytest.mark.parametrize(
    "broken, cause",
    [
        (lambda x: x / 10, "values of the input 'image' are outside the calibrated range 0 to 0.1"),
        (lambda x: 255 * x, "0.4% of the calibrated range 0 to 255"),
    ],
    ids=["divided twice", "not divided"],
)
def test_wrong_preprocessing_is_caught(
    broken: Any, cause: str, tiny: Tiny, tiny_dataset: Any, tiny_calibration: Any
) -> None:
    variant = convert(tiny["keras"], "int8", calibration=broken(tiny_calibration))
    with pytest.raises(AccuracyDropExceeded) as caught:
        assert_max_accuracy_drop(variant, tiny["float32"], tiny_dataset)
    message = str(caught.value)
    assert cause in message
    assert "A drop of over 10 points means no or bad calibration data" in message
    assert ": conclusive." in message


def test_a_good_calibration_is_not_blamed(
    tiny: Tiny, tiny_dataset: Any, tiny_calibration: Any
) -> None:
    variant = convert(tiny["keras"], "int8", calibration=tiny_calibration)
    comparison = compare_accuracy(variant, tiny["float32"], tiny_dataset)
    assert abs(comparison.drop) < 0.01
    assert comparison.fidelity is not None
    assert comparison.fidelity.sqnr_db is not None
    assert comparison.fidelity.sqnr_db > 30
    with pytest.raises(Inconclusive, match=r"inconclusive; about [0-9,]+ samples would decide"):
        assert_max_accuracy_drop(
            variant, tiny["float32"], tiny_dataset, max_drop="0.1 pt", confidence=0.95
        )


def test_robustness_is_measured_with_the_same_parts_each_time(
    tiny: Tiny, tiny_dataset: Any, tiny_calibration: Any
) -> None:
    found, again = (
        calibration_robustness(
            tiny["keras"], tiny_calibration, tiny_dataset, subsets=2, sizes=[20, 60], seed=4
        )
        for _ in range(2)
    )
    assert found.trials == again.trials
    assert [(t.size, t.seed) for t in found.trials] == [(20, 4), (20, 5), (60, 4), (60, 5)]
    assert found.worst.drop == max(t.drop for t in found.trials)
    assert_calibration_robust(found, "5 pt")


def test_the_worst_calibration_is_gated(
    tiny: Tiny, tiny_dataset: Any, tiny_calibration: Any
) -> None:
    """Half of the samples are all but black: parts of two are often broken."""
    samples = tiny_calibration.copy()
    samples[::2] *= 0.01
    found = calibration_robustness(tiny["keras"], samples, tiny_dataset, subsets=6, sizes=[2])
    assert found.worst.drop > 0.05
    with pytest.raises(AccuracyDropExceeded, match="calibrated with 6 different parts of the samp"):
        assert_calibration_robust(found)


def test_parts_that_can_not_be_drawn_are_refused(tiny: Tiny, tiny_dataset: Any) -> None:
    x, _ = tiny_dataset
    with pytest.raises(CalibrationError, match="subsets of 50 samples can't be drawn from 50"):
        calibration_robustness(tiny["keras"], x[:50], tiny_dataset, sizes=[50])
    for options in ({"subsets": 0}, {"sizes": [0]}, {"variant": "float16"}):
        with pytest.raises(SettingsError):
            calibration_robustness(tiny["keras"], x[:50], tiny_dataset, **options)
    assert np.isfinite(x).all()
