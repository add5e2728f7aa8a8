"""Finding representative samples: what the user gives, or a split off the dataset."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any

from pytest_edgequant.conversion.calibration import (
    WHERE,
    Calibration,
    calibration_inputs,
    class_labels,
    coverage_notes,
    read_calibration,
    split_samples,
)
from pytest_edgequant.conversion.qat.recipe import Training, calibration_from, read_training
from pytest_edgequant.conversion.source import Source
from pytest_edgequant.errors import CalibrationError
from pytest_edgequant.forms import VariantSpec
from pytest_edgequant.measure.evaluation.engine import Engine
from pytest_edgequant.pipeline.descriptions import Descriptions
from pytest_edgequant.pipeline.request import CalibrationRequest, Representative
from pytest_edgequant.progress import Progress
from pytest_edgequant.samples.inputs import InputSpec
from pytest_edgequant.samples.stream import Samples

_MOST_SPLITS = 8


@dataclasses.dataclass(frozen=True)
class _Split:
    """A dataset that was split, and by what it is known again."""

    dataset: Any
    preprocess: Any
    inputs: tuple[InputSpec, ...]
    calibration: Calibration

    def is_of(self, dataset: Any, preprocess: Any, inputs: tuple[InputSpec, ...]) -> bool:
        return self.dataset is dataset and self.preprocess is preprocess and self.inputs == inputs


class Calibrations:
    """Finds representative samples; a stream that was split is not read again."""

    def __init__(self, descriptions: Descriptions, engine: Engine, progress: Progress) -> None:
        self._descriptions = descriptions
        self._engine = engine
        self._progress = progress
        self._splits: deque[_Split] = deque(maxlen=_MOST_SPLITS)

    def find(
        self, source: Source, spec: VariantSpec, request: CalibrationRequest
    ) -> Representative:
        """All that this variant of the source takes, and the samples that it takes off the dataset.

        A file that is the variant already takes none. A float form takes none either, but leaves
        out what its integer forms are calibrated with, so that all are judged on the same samples.

        Raises `CalibrationError` where a calibrated variant has no samples, `DatasetError`.
        """
        calibration, training = None, None
        if not source.is_form(spec):
            training = read_training(request.training()) if spec.trained else None
            calibration = self._calibration(source, spec, request, training)
        if calibration is not None and calibration.held_out is not None:
            return Representative(calibration, training, calibration.held_out)
        held_out = None
        if request.split_applies and source.quantizable:
            dataset = request.dataset()
            if dataset is not None and not hasattr(dataset, "__next__"):
                held_out = self._split(source, dataset, request.preprocess()).held_out
        return Representative(calibration, training, held_out)

    def _calibration(
        self,
        source: Source,
        spec: VariantSpec,
        request: CalibrationRequest,
        training: Training | None,
    ) -> Calibration | None:
        if not spec.calibrated:
            return None
        with self._progress("reading the calibration samples") as step:
            samples = request.samples()
            if samples is not None:
                calibration = read_calibration(samples, partial(step.at, unit="elements"))
                return self._with_coverage(source, calibration, request)
        if training is not None:
            return calibration_from(training, self._descriptions.of(source).inputs)
        dataset = request.dataset()
        if hasattr(dataset, "__next__"):
            raise CalibrationError(
                f"edge_dataset is a generator, which serves one evaluation only, so no samples can "
                f"be split off: define the fixture {WHERE}, or return arrays or a function"
            )
        if dataset is not None:
            return self._split(source, dataset, request.preprocess())
        raise CalibrationError(
            f"{source.where}: {spec.name} needs representative samples: define the fixture {WHERE} "
            "(100 samples at least, from validation data), or edge_dataset to split them off; "
            "in a command, give --calibration FILE; with convert(), give calibration=..."
        )

    def _split(self, source: Source, dataset: Any, preprocess: Any) -> Calibration:
        inputs = self._descriptions.of(source).inputs
        for split in self._splits:
            if split.is_of(dataset, preprocess, inputs):
                return split.calibration
        samples = Samples(dataset, preprocess=preprocess)
        with self._progress("splitting calibration samples off the dataset"):
            calibration = split_samples(samples, inputs)
        if samples.fingerprint is not None and not samples.is_array:
            # A stream takes long to read, and is not changed in its place.
            self._engine.note(dataset, samples.fingerprint)
            self._splits.append(_Split(dataset, preprocess, inputs, calibration))
        return calibration

    def _with_coverage(
        self, source: Source, calibration: Calibration, request: CalibrationRequest
    ) -> Calibration:
        """Note the classes of the dataset that labelled calibration samples don't cover."""
        if not any(isinstance(element, tuple) for element in calibration.elements):
            return calibration
        dataset = request.dataset()
        if dataset is None or hasattr(dataset, "__next__"):
            return calibration
        _, labels = calibration_inputs(calibration, self._descriptions.of(source).inputs)
        if labels is None:
            return calibration
        y = Samples(dataset).scan()
        if isinstance(y, Mapping):
            return calibration
        notes = coverage_notes(class_labels(labels), y)
        return dataclasses.replace(calibration, notes=(*calibration.notes, *notes))
