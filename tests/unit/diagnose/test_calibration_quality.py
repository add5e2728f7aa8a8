"""Calibrated ranges against the evaluation set, on the small models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_edgequant import (
    CalibrationError,
    DatasetError,
    MeasurementUnavailable,
    calibration_quality,
)

Tiny = Mapping[str, Path]
pytestmark = pytest.mark.usefixtures("pipeline")
INTEGER = ["int8", "int16x8", "uint8_io"]


@pytest.mark.parametrize("form", INTEGER)
@pytest.mark.parametrize("with_reference", [True, False])
def test_ranges_that_fit_have_no_finding(
    form: str, with_reference: bool, tiny: Tiny, tiny_dataset: Any, tiny_calibration: Any
) -> None:
    reference = tiny["float32"] if with_reference else None
    found = calibration_quality(tiny[form], tiny_calibration, tiny_dataset, reference=reference)
    assert found.findings == ()
    assert (found.count, found.evaluated, found.shared_samples) == (200, 397, 0)
    assert found.missing_classes == ()
    (image,) = found.inputs
    assert (image.outside, image.seen_low, image.seen_high) == (0, 0, 1)
    assert len(found.activations) == 2  # the convolution and the dense layer, not the softmax
    assert all(tensor.outside < 0.01 for tensor in found.activations)
    assert found.method.startswith("float32 values" if with_reference else "integer values")


@pytest.mark.parametrize("form", ["int8", "int16x8"])
def test_brighter_images_are_outside(form: str, tiny: Tiny, tiny_dataset: Any) -> None:
    x, y = tiny_dataset
    found = calibration_quality(tiny[form], None, (4 * x, y), reference=tiny["float32"])
    beyond = float((4 * x > 1.002).mean())
    assert found.inputs[0].above == pytest.approx(beyond, abs=1e-3)
    assert found.inputs[0].below == 0
    assert found.activations[0].outside > 0.2
    first, second = found.findings
    assert f"{beyond:.1%} of the evaluation's values of the input 'image' are outside" in first
    assert "same preprocessing" in first
    assert "2 of 2 inner tensors" in second
    assert (found.count, found.shared_samples, found.missing_classes) == (None, None, None)


def test_clipping_is_seen_without_a_float_model(tiny: Tiny, tiny_dataset: Any) -> None:
    x, y = tiny_dataset
    found = calibration_quality(tiny["int8_float_io"], None, (x[:, ::-1, ::-1] * 0.999, y))
    ranges = {t.operator.split()[0]: t for t in found.activations}
    # What a ReLU makes zero lies at the end of its range, and is not clipped.
    assert ranges["CONV_2D"].below == 0
    assert found.method.startswith("integer values")


def test_darker_images_use_little_of_the_range(tiny: Tiny, tiny_dataset: Any) -> None:
    x, y = tiny_dataset
    found = calibration_quality(tiny["int8"], None, (x / 255, y))
    assert found.inputs[0].used == pytest.approx(1 / 255)
    assert "span 0 to 0.003922, 0.4% of the calibrated range 0 to 1" in found.findings[0]


def test_the_same_samples_are_found_by_their_values(
    tiny: Tiny, tiny_dataset: Any, tiny_calibration: Any
) -> None:
    x, y = tiny_dataset
    mixed = [*x[:30].astype(np.float64), *tiny_calibration]
    found = calibration_quality(tiny["int8"], mixed, (x, y))
    assert found.shared_samples == 30
    assert "30 of 397 evaluation samples were calibrated with" in found.findings[-1]


def test_classes_without_a_sample_are_named(tiny: Tiny, tiny_dataset: Any) -> None:
    x, y = tiny_dataset
    few = np.isin(y, (0, 1, 2, 5))
    labelled = calibration_quality(tiny["int8"], (x[few], y[few]), (x, y))
    assert labelled.missing_classes == (3, 4, 6, 7, 8, 9)
    said = "calibration has no sample of the classes 3, 4, 6, 7, 8, 9"
    assert said in labelled.findings
    decided = calibration_quality(tiny["int8"], x[y == 0], (x, y))
    assert decided.missing_classes is not None
    assert set(decided.missing_classes) >= {2, 3, 4}
    assert any("by what the model takes its samples for" in text for text in decided.findings)


@pytest.mark.parametrize("count, word", [(99, "99 samples"), (1, "1 sample")])
def test_few_samples_are_told(
    count: int, word: str, tiny: Tiny, tiny_dataset: Any, tiny_calibration: Any
) -> None:
    found = calibration_quality(tiny["int8"], tiny_calibration[:count], tiny_dataset)
    assert f"calibration had {word}, 100 are the least and 200-500 recommended" in "".join(
        found.findings
    )


@pytest.mark.parametrize("form", ["float32", "float16", "dynamic_range"])
def test_a_float_form_has_no_ranges(form: str, tiny: Tiny, tiny_dataset: Any) -> None:
    with pytest.raises(MeasurementUnavailable, match=rf"tiny_{form}/{form} has no calibrated ran"):
        calibration_quality(tiny[form], None, tiny_dataset)


def test_samples_that_do_not_fit_are_told(tiny: Tiny, tiny_dataset: Any) -> None:
    x, y = tiny_dataset
    with pytest.raises(DatasetError, match="edge_dataset: the model's input 'image' takes samples"):
        calibration_quality(tiny["int8"], None, (x[:, :4], y))
    with pytest.raises(CalibrationError, match="edge_calibration"):
        calibration_quality(tiny["int8"], x[:, :4], (x, y))
    with pytest.raises(MeasurementUnavailable, match="give dataset="):
        calibration_quality(tiny["int8"], x)


def test_a_stream_is_read_once_in_parts(
    tiny: Tiny, tiny_dataset: Any, tiny_calibration: Any
) -> None:
    x, y = tiny_dataset
    passes = []

    def batches() -> Any:
        passes.append(1)
        for start in range(0, 397, 50):
            yield x[start : start + 50], y[start : start + 50]

    whole = calibration_quality(tiny["int8"], tiny_calibration, (3 * x, y))
    parts = calibration_quality(
        tiny["int8"], tiny_calibration, batches, preprocess=lambda part: 3 * part
    )
    assert (parts.evaluated, len(passes)) == (397, 1)
    assert parts.inputs == whole.inputs
    assert parts.activations == whole.activations
    assert parts.findings == whole.findings
