"""How well a variant's calibrated ranges fit what it is evaluated on: measured, not preached.

For each input and each inner activation, the share of values outside the range that calibration
gave it (`calibrated_ranges`); and whether the calibration's samples cover the classes, are enough,
and are none of those that accuracy is measured on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.conversion.calibration import (
    RECOMMENDED_MINIMUM,
    WHERE,
    Calibration,
    calibration_inputs,
    class_labels,
    read_calibration,
)
from pytest_edgequant.diagnose.calibrated_ranges import (
    InputRange,
    against_reference,
    at_the_ends,
    calibrated_activations,
)
from pytest_edgequant.errors import DatasetError, MeasurementUnavailable, user_facing
from pytest_edgequant.measure.classification import predicted_classes
from pytest_edgequant.pipeline.current import current_pipeline
from pytest_edgequant.records import (
    CalibrationQuality,
    TensorRange,
    Variant,
)
from pytest_edgequant.samples.inputs import input_specs
from pytest_edgequant.samples.stream import Preprocess, Samples, Specs
from pytest_edgequant.tflite.ends import aligned
from pytest_edgequant.tflite.model import graph_of
from pytest_edgequant.wording import counted, short

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLES = 256
"""How many evaluation samples the inner activations are observed on at least, where there are."""
INPUTS_OUTSIDE = 0.001
ACTIVATIONS_OUTSIDE = 0.01
RANGE_USED = 0.25


class _Spread:
    """Samples evenly spread over a stream of unknown length: SAMPLES at least, twice that at most.

    Every second one is dropped whenever there are too many.
    """

    def __init__(self) -> None:
        self._kept: list[list[NDArray[Any]]] = []
        self._step = 1
        self._number = 0

    def update(self, inputs: Sequence[NDArray[Any]]) -> None:
        count = len(inputs[0])
        first = -self._number % self._step
        for position in range(first, count, self._step):
            self._kept.append([array[position : position + 1].copy() for array in inputs])
        self._number += count
        while len(self._kept) > 2 * SAMPLES:
            self._kept = self._kept[::2]
            self._step *= 2

    def arrays(self) -> list[NDArray[Any]]:
        return [np.concatenate(parts) for parts in zip(*self._kept, strict=True)]


def _hashes(inputs: Sequence[NDArray[Any]]) -> list[bytes]:
    """One digest a sample, over the values of all inputs as float32."""
    import hashlib

    arrays = [np.ascontiguousarray(a, dtype=np.float32) for a in inputs]
    return [
        hashlib.blake2b(b"".join(a[i].tobytes() for a in arrays), digest_size=16).digest()
        for i in range(len(arrays[0]))
    ]


@user_facing
def calibration_quality(
    variant: Any,
    calibration: Any = None,
    dataset: Any = None,
    *,
    reference: Any = None,
    preprocess: Preprocess | None = None,
) -> CalibrationQuality:
    """How well the calibrated ranges of an integer variant fit the evaluation set.

    `variant` is a Variant, a path or the bytes of a .tflite; `calibration` are the samples that it
    was calibrated with (arrays, batches, with or without labels; default: those that the Variant
    was made with), `dataset` the evaluation set, read once, `reference` the float32 model, on whose
    values the inner ranges are judged. `preprocess` is applied to x of each batch of `dataset`.
    Activations are observed on 256 to 512 samples, evenly spread.

    Raises `DatasetError` and `CalibrationError` for samples that don't fit,
    `MeasurementUnavailable` for a variant without calibrated ranges.
    """
    loaded = load_variant(variant)
    if dataset is None:
        raise MeasurementUnavailable(
            f"{loaded.label}: calibration is judged on evaluation samples; give dataset=(x, y)"
        )
    graph = graph_of(loaded).main
    if not calibrated_activations(graph) and not any(i.quantization for i in loaded.inputs):
        raise MeasurementUnavailable(
            f"{loaded.label} has no calibrated ranges (float inputs and activations)"
        )
    specs = input_specs(loaded)
    given = calibration if calibration is not None else loaded.calibration
    own = labels = None
    if given is not None:
        whole = given if isinstance(given, Calibration) else read_calibration(given)
        own, labels = calibration_inputs(whole, specs)
    samples = Samples(dataset, preprocess=preprocess)
    float32 = aligned(load_variant(reference), loaded) if reference is not None else None
    with current_pipeline().progress(f"looking at the ranges of {loaded.label}"):
        seen = _read(loaded, samples, specs, own)
        activations: list[TensorRange] | None = None
        method = "float32 values against calibrated ranges"
        if float32 is not None:
            activations = against_reference(loaded, float32, seen.shown)
        if activations is None:
            activations = at_the_ends(loaded, seen.shown)
            method = "integer values at the ends of their range"
    quality = CalibrationQuality(
        count=None if own is None else len(own[0]),
        evaluated=seen.count,
        inputs=tuple(seen.inputs),
        activations=tuple(sorted(activations, key=lambda t: -t.outside)),
        missing_classes=None
        if own is None or seen.classes is None
        else _missing_classes(float32 or loaded, own, labels, seen.classes),
        shared_samples=seen.shared,
        method=method,
        labelled=own is None or labels is not None,
    )
    return _with_findings(quality)


@dataclass(frozen=True)
class _Read:
    """What one pass over the evaluation set found."""

    count: int
    inputs: list[TensorRange]
    shown: list[NDArray[Any]]
    classes: set[int] | None
    shared: int | None


def _read(
    variant: Variant, samples: Samples, specs: Specs, calibration: list[NDArray[Any]] | None
) -> _Read:
    """Read the evaluation set once, without the samples that calibration was split off."""
    held = variant.held_out
    left_out = np.zeros(0, np.int64)
    if held is not None and held.dataset == current_pipeline().engine.fingerprint(samples):
        left_out = np.asarray(held.indices, dtype=np.int64)
    calibrated = None if calibration is None else set(_hashes(calibration))
    main = graph_of(variant).main
    read = {index for operator in main.operators for index in operator.inputs}
    integer = [i if i.dtype.kind in "iu" and i.index in read else None for i in variant.inputs]
    ranges = [None if info is None else InputRange(info) for info in integer]
    spread = _Spread()
    count = shared = 0
    classes: set[int] | None = set()
    for part in samples.read([specs], SAMPLES):
        kept = np.setdiff1d(np.arange(part.start, part.start + part.count), left_out) - part.start
        if not len(kept):
            continue
        inputs = [array[kept] for array in part.inputs[specs]]
        count += len(kept)
        for found, array in zip(ranges, inputs, strict=True):
            if found is not None:
                found.update(array)
        if calibrated is not None:
            shared += sum(digest in calibrated for digest in _hashes(inputs))
        spread.update(inputs)
        labels = None if isinstance(part.y, Mapping) else class_labels(part.y[kept])
        if classes is not None and labels is not None and labels.dtype.kind not in "US":
            classes.update(labels.astype(int).tolist())
        else:
            classes = None
    if not count:
        raise DatasetError(f"{samples.where}: no sample is left that was not calibrated with")
    found_ranges = [found.finish() for found in ranges if found is not None]
    return _Read(
        count,
        [found for found in found_ranges if found is not None],
        spread.arrays(),
        classes,
        None if calibrated is None else shared,
    )


def _missing_classes(
    decider: Variant,
    inputs: list[NDArray[Any]],
    labels: NDArray[Any] | None,
    evaluated: set[int],
) -> tuple[int, ...] | None:
    """Classes of the evaluation set without a calibration sample; None for other targets.

    By the calibration's labels, else by what the model itself takes its samples for.
    """
    covered = class_labels(labels) if labels is not None else None
    if covered is None:
        outputs = current_pipeline().predict(
            decider, {i.name: part for i, part in zip(decider.inputs, inputs, strict=True)}
        )
        width = int(np.prod(outputs[0].shape[1:]))
        if len(outputs) > 1 or not evaluated <= set(range(2 if width == 1 else width)):
            return None
        covered = predicted_classes(outputs[0])
    return tuple(sorted(evaluated - set(covered.astype(int).tolist())))


def _with_findings(quality: CalibrationQuality) -> CalibrationQuality:
    """What is wrong, one sentence each, the gravest first."""
    import dataclasses

    findings = []
    for tensor in quality.inputs:
        spans = f"{tensor.seen_low:.4g} to {tensor.seen_high:.4g}"
        if tensor.outside > INPUTS_OUTSIDE:
            findings.append(
                f"{tensor.outside:.1%} of the evaluation's values of the input "
                f"{short(tensor.name)!r} are outside the calibrated range {tensor.low:.4g} to "
                f"{tensor.high:.4g} (they span {spans}): calibrate with the same preprocessing"
            )
        elif tensor.used < RANGE_USED:
            findings.append(
                f"the evaluation's values of the input {short(tensor.name)!r} span {spans}, "
                f"{tensor.used:.1%} of the calibrated range {tensor.low:.4g} to {tensor.high:.4g}: "
                "calibrate with the same preprocessing"
            )
    clipped = [t for t in quality.activations if t.outside > ACTIVATIONS_OUTSIDE]
    if clipped:
        worst = clipped[0]
        findings.append(
            f"{len(clipped)} of {len(quality.activations)} inner tensors have over "
            f"{ACTIVATIONS_OUTSIDE:.0%} of their values outside the calibrated range, most of all "
            f"{short(worst.name)!r} of {worst.operator}: {worst.outside:.1%} outside "
            f"{worst.low:.4g} to {worst.high:.4g}: calibrate with more varied samples"
        )
    if quality.missing_classes:
        names = ", ".join(map(str, quality.missing_classes[:10]))
        more = ", ..." if len(quality.missing_classes) > 10 else ""
        one = len(quality.missing_classes) == 1
        findings.append(
            f"calibration has no sample of {'class' if one else 'the classes'} {names}{more}"
            + ("" if quality.labelled else " (by what the model takes its samples for)")
        )
    if quality.count is not None and quality.count < RECOMMENDED_MINIMUM:
        findings.append(
            f"calibration had {counted(quality.count, 'sample')}, "
            f"{RECOMMENDED_MINIMUM} are the least and 200-500 recommended ({WHERE})"
        )
    if quality.shared_samples:
        findings.append(
            f"{quality.shared_samples} of {quality.evaluated} evaluation samples were calibrated "
            "with: the accuracy is flattered; calibrate with validation data"
        )
    return dataclasses.replace(quality, findings=tuple(findings))
