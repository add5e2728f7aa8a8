"""Representative samples are found in one visit, and asked for only where they are needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_edgequant.conversion.source import open_source
from pytest_edgequant.errors import CalibrationError
from pytest_edgequant.forms import get_spec
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.pipeline.request import CalibrationRequest, Representative

Tiny = Mapping[str, Path]


class Asked:
    """A request that counts how often each of its inputs is asked for."""

    def __init__(self, **given: Any) -> None:
        self.times: Counter[str] = Counter()
        self.split_applies = given.pop("split_applies", False)
        self.request = CalibrationRequest(
            **{name: self._counted(name, value) for name, value in given.items()},
            split_applies=self.split_applies,
        )

    def _counted(self, name: str, value: Any) -> Callable[[], Any]:
        def give() -> Any:
            self.times[name] += 1
            return value

        return give


def found(pipeline: Pipeline, path: Path, form: str, asked: Asked) -> Representative:
    return pipeline.calibrations.find(open_source(path), get_spec(form), asked.request)


@pytest.mark.parametrize("form", ["int8", "as_is"])
def test_a_file_that_is_the_form_already_takes_no_samples(
    fresh_pipeline: Pipeline, tiny: Tiny, tiny_dataset: tuple[Any, Any], form: str
) -> None:
    asked = Asked(samples=tiny_dataset[0], dataset=tiny_dataset, split_applies=True)
    assert found(fresh_pipeline, tiny["int8"], form, asked) == Representative()
    assert not asked.times


def test_samples_that_are_given_leave_the_dataset_whole(
    fresh_pipeline: Pipeline, tiny: Tiny, tiny_dataset: tuple[Any, Any]
) -> None:
    asked = Asked(samples=tiny_dataset[0][:120], dataset=tiny_dataset)
    representative = found(fresh_pipeline, tiny["float32"], "int8", asked)
    assert representative.calibration is not None
    assert representative.calibration.origin == "edge_calibration"
    assert representative.held_out is None
    assert asked.times == {"samples": 1}


def test_every_form_leaves_out_what_the_integer_forms_are_calibrated_with(
    fresh_pipeline: Pipeline, tiny: Tiny, tiny_dataset: tuple[Any, Any]
) -> None:
    asked = [Asked(dataset=tiny_dataset, split_applies=True) for _ in range(3)]
    forms = ("float32", "int8", "int16x8")
    all_found = [
        found(fresh_pipeline, tiny["float32"], f, a) for f, a in zip(forms, asked, strict=True)
    ]
    assert [f.calibration is None for f in all_found] == [True, False, False]
    held_out = all_found[1].held_out
    assert held_out is not None
    assert len(held_out.indices) == 198
    assert all(f.held_out == held_out for f in all_found)
    assert [a.times["dataset"] for a in asked] == [1, 1, 1]


def test_a_stream_is_split_once_for_all_forms(
    fresh_pipeline: Pipeline, tiny: Tiny, tiny_dataset: tuple[Any, Any]
) -> None:
    x, y = tiny_dataset
    read = 0

    def batches() -> Iterator[tuple[Any, Any]]:
        nonlocal read
        read += 1
        for start in range(0, len(x), 64):
            yield x[start : start + 64], y[start : start + 64]

    first = found(fresh_pipeline, tiny["float32"], "int8", Asked(dataset=batches))
    times = read
    again = found(fresh_pipeline, tiny["float32"], "int16x8", Asked(dataset=batches))
    assert read == times
    assert again.calibration is first.calibration

    def other(values: Any) -> Any:
        return values * 0.5

    changed = found(
        fresh_pipeline, tiny["float32"], "int8", Asked(dataset=batches, preprocess=other)
    )
    assert read > times
    assert changed.calibration is not None
    assert first.calibration is not None
    assert changed.calibration.fingerprint != first.calibration.fingerprint


def test_a_generator_is_not_used_up(
    fresh_pipeline: Pipeline, tiny: Tiny, tiny_dataset: tuple[Any, Any]
) -> None:
    one_shot = iter([tiny_dataset])
    asked = Asked(dataset=one_shot, split_applies=True)
    assert found(fresh_pipeline, tiny["float32"], "float32", asked) == Representative()
    with pytest.raises(CalibrationError, match="serves one evaluation only"):
        found(fresh_pipeline, tiny["float32"], "int8", asked)
    assert next(one_shot) is tiny_dataset


def test_without_any_samples_it_says_what_to_define(fresh_pipeline: Pipeline, tiny: Tiny) -> None:
    for form in ("int8", "int16x8"):
        with pytest.raises(CalibrationError, match=rf"tiny_float32\.tflite: {form} needs"):
            found(fresh_pipeline, tiny["float32"], form, Asked())


def test_labelled_samples_are_told_which_classes_they_lack(
    fresh_pipeline: Pipeline, tiny: Tiny, tiny_dataset: tuple[Any, Any]
) -> None:
    x, y = tiny_dataset
    few = np.isin(y, [0, 1, 2, 3, 4, 5, 6, 8])
    asked = Asked(samples=[(x[few][:120], y[few][:120])], dataset=tiny_dataset)
    calibration = found(fresh_pipeline, tiny["float32"], "int8", asked).calibration
    assert calibration is not None
    assert any("classes 7, 9" in note for note in calibration.notes)
    assert asked.times == {"samples": 1, "dataset": 1}
