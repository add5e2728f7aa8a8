"""How well a variant's calibrated ranges fit what it is evaluated on: measured, not preached.

For each input and each inner activation, the share of values outside the range that calibration
gave it. Inputs: the real values against the input's range. Activations: the values of the float32
model against the ranges of the tensors with the same names, where a float32 reference is given and
has them; else the values of the variant itself that lie at the end of their integer range, where
an end can be reached by clipping alone (zero at the end of a ReLU's range is none, nor is the fixed
range of a softmax).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.conversion.calibration import (
    RECOMMENDED_MINIMUM,
    WHERE,
    Calibration,
    calibration_inputs,
    class_labels,
    read_calibration,
)
from pytest_edgequant.data import Dataset, input_specs, load_dataset
from pytest_edgequant.diagnose import range_worker
from pytest_edgequant.diagnose.range_worker import Seen
from pytest_edgequant.errors import DatasetError, MeasurementUnavailable, MetricError, user_facing
from pytest_edgequant.measure.classification import predicted_classes, read_labels
from pytest_edgequant.pipeline import current_pipeline, load_variant
from pytest_edgequant.quantize import quantize
from pytest_edgequant.records import CalibrationQuality, Quantization, TensorRange, Variant
from pytest_edgequant.tflite.graph import Subgraph, read_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLES = 256
"""How many evaluation samples the inner activations are observed on, evenly spread."""
INPUTS_OUTSIDE = 0.001
ACTIVATIONS_OUTSIDE = 0.01
RANGE_USED = 0.25
_FIXED_RANGE = frozenset({"SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION", "LOG_SOFTMAX"})
_PASSES_ON = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "QUANTIZE", "DEQUANTIZE"})


def _activations(graph: Subgraph) -> dict[int, str]:
    """The calibrated inner tensors: index to the operator that makes them."""
    found = {}
    for operator in graph.operators:
        if operator.name in _FIXED_RANGE | _PASSES_ON:
            continue
        for index in operator.outputs:
            tensor = graph.tensors[index]
            activation = tensor.type in ("INT8", "UINT8", "INT16") and tensor.elements > 0
            if activation and tensor.quantization is not None and not tensor.quantization.per_axis:
                found[index] = operator.place
    return found


def _range(quantization: Quantization, dtype: np.dtype[Any]) -> tuple[float, float]:
    """The real values that the ends of the integer type stand for."""
    limits = np.iinfo(dtype)
    scale, zero = quantization.scales[0], quantization.zero_points[0]
    # int16 activations are symmetric: the converter leaves the lowest number out.
    lowest = -limits.max if dtype == np.int16 else limits.min
    return scale * (lowest - zero), scale * (limits.max - zero)


def _input_ranges(variant: Variant, inputs: Sequence[NDArray[Any]]) -> list[TensorRange]:
    """Each integer input's real values against its range, over all samples."""
    found = []
    for info, array in zip(variant.inputs, inputs, strict=True):
        quantized = info.quantization is not None and info.dtype.kind in "iu"
        if not quantized or info.quantization is None or array.dtype.kind not in "fiu":
            continue
        low, high = _range(info.quantization, info.dtype)
        half = info.quantization.scales[0] / 2
        values = array.astype(np.float64)
        finite = values[np.isfinite(values)]
        if finite.size:
            found.append(
                TensorRange(
                    info.name,
                    "input",
                    low,
                    high,
                    float((values < low - half).mean()),
                    float((values > high + half).mean()),
                    float(finite.min()),
                    float(finite.max()),
                )
            )
    return found


def _observe(
    variant: Variant, inputs: Sequence[NDArray[Any]], limits: Mapping[int, tuple[float, float]]
) -> dict[int, Seen]:
    stored = [
        (info.index, quantize(array, info))
        for info, array in zip(variant.inputs, inputs, strict=True)
    ]
    if any(info.shape[:1] not in ((1,), (-1,)) for info in variant.inputs):
        raise MeasurementUnavailable(f"{variant.label}: its batch is not 1")
    return current_pipeline().observe(variant, range_worker.count_beyond, stored, limits)


def _against_reference(
    variant: Variant, reference: Variant, inputs: Sequence[NDArray[Any]]
) -> list[TensorRange] | None:
    """The float32 model's values against the variant's ranges; None where too few names match."""
    graph = read_graph(variant.content, variant.label).main
    theirs = read_graph(reference.content, reference.label).main
    by_name = {t.name: t.index for t in theirs.tensors if t.type == "FLOAT32" and not t.constant}
    activations = _activations(graph)
    limits: dict[int, tuple[float, float]] = {}
    matched: list[tuple[int, int, str]] = []
    for index, operator in activations.items():
        tensor = graph.tensors[index]
        other = by_name.get(tensor.name)
        if other is None or tensor.quantization is None:
            continue
        low, high = _range(tensor.quantization, tensor.dtype)
        half = tensor.quantization.scales[0] / 2
        limits[other] = (low - half, high + half)
        matched.append((index, other, operator))
    if not matched or 2 * len(matched) < len(activations):
        return None
    seen = _observe(reference, inputs, limits)
    found = []
    for index, other, operator in matched:
        tensor = graph.tensors[index]
        assert tensor.quantization is not None
        low, high = _range(tensor.quantization, tensor.dtype)
        total = max(seen[other].total, 1)
        found.append(
            TensorRange(
                tensor.name,
                operator,
                low,
                high,
                seen[other].below / total,
                seen[other].above / total,
                seen[other].low,
                seen[other].high,
            )
        )
    return found


def _at_the_ends(variant: Variant, inputs: Sequence[NDArray[Any]]) -> list[TensorRange]:
    """The variant's own values at the ends of their integer range."""
    graph = read_graph(variant.content, variant.label).main
    activations = _activations(graph)
    limits: dict[int, tuple[float, float]] = {}
    for index in activations:
        tensor = graph.tensors[index]
        assert tensor.quantization is not None
        ends = np.iinfo(tensor.dtype)
        lowest = -ends.max if tensor.dtype == np.int16 else ends.min
        zero_at_end = tensor.quantization.zero_points[0] <= lowest
        limits[index] = (-math.inf if zero_at_end else lowest + 1, ends.max - 1)
    seen = _observe(variant, inputs, limits)
    found = []
    for index, operator in activations.items():
        tensor = graph.tensors[index]
        assert tensor.quantization is not None
        scale, zero = tensor.quantization.scales[0], tensor.quantization.zero_points[0]
        low, high = _range(tensor.quantization, tensor.dtype)
        total = max(seen[index].total, 1)
        found.append(
            TensorRange(
                tensor.name,
                operator,
                low,
                high,
                seen[index].below / total,
                seen[index].above / total,
                scale * (seen[index].low - zero),
                scale * (seen[index].high - zero),
            )
        )
    return found


def _hashes(inputs: Sequence[NDArray[Any]]) -> list[bytes]:
    """One digest a sample, over the values of all inputs as float32."""
    import hashlib

    arrays = [np.ascontiguousarray(a, dtype=np.float32) for a in inputs]
    return [
        hashlib.blake2b(b"".join(a[i].tobytes() for a in arrays), digest_size=16).digest()
        for i in range(len(arrays[0]))
    ]


def _kept(variant: Variant, dataset: Dataset, inputs: list[NDArray[Any]]) -> Any:
    """Indices of the samples that are evaluated on: not those that calibration was split off."""
    held = variant.held_out
    every = np.arange(len(inputs[0]))
    if held is None or held.dataset != dataset.fingerprint:
        return every
    return np.setdiff1d(every, np.asarray(held.indices))


@user_facing
def calibration_quality(
    variant: Any,
    calibration: Any = None,
    dataset: Any = None,
    *,
    reference: Any = None,
) -> CalibrationQuality:
    """How well the calibrated ranges of an integer variant fit the evaluation set.

    `variant` is a Variant, a path or the bytes of a .tflite; `calibration` are the samples that it
    was calibrated with (arrays, batches, with or without labels; default: those that the Variant
    was made with), `dataset` the evaluation set, `reference` the float32 model, on whose values the
    inner ranges are judged. Activations are observed on at most 256 samples, evenly spread.

    Raises `DatasetError` and `CalibrationError` for samples that don't fit,
    `MeasurementUnavailable` for a variant without calibrated ranges.
    """
    loaded = load_variant(variant)
    if dataset is None:
        raise MeasurementUnavailable(
            f"{loaded.label}: calibration is judged on evaluation samples; give dataset=(x, y)"
        )
    graph = read_graph(loaded.content, loaded.label).main
    if not _activations(graph) and not any(i.quantization for i in loaded.inputs):
        raise MeasurementUnavailable(
            f"{loaded.label} has no calibrated ranges (float inputs and activations)"
        )
    specs = input_specs(loaded)
    data = load_dataset(dataset)
    inputs = data.inputs(specs)
    kept = _kept(loaded, data, inputs)
    inputs = [array[kept] for array in inputs]
    spread = np.unique(np.linspace(0, len(kept) - 1, min(SAMPLES, len(kept))).astype(np.int64))
    shown = [array[spread] for array in inputs]
    activations: list[TensorRange] | None = None
    float32 = load_variant(reference) if reference is not None else None
    method = "float32 values against calibrated ranges"
    if float32 is not None:
        activations = _against_reference(loaded, float32, shown)
    if activations is None:
        activations = _at_the_ends(loaded, shown)
        method = "integer values at the ends of their range"
    given = calibration if calibration is not None else loaded.calibration
    count = missing = shared = None
    labelled = True
    if given is not None:
        samples = given if isinstance(given, Calibration) else read_calibration(given)
        own, labels = calibration_inputs(samples, specs)
        count = len(own[0])
        calibrated = set(_hashes(own))
        shared = sum(digest in calibrated for digest in _hashes(inputs))
        labelled = labels is not None
        missing = _missing_classes(float32 or loaded, own, labels, data.y[kept])
    quality = CalibrationQuality(
        count=count,
        evaluated=len(kept),
        inputs=tuple(_input_ranges(loaded, inputs)),
        activations=tuple(sorted(activations, key=lambda t: -t.outside)),
        missing_classes=missing,
        shared_samples=shared,
        method=method,
        labelled=labelled,
    )
    return _with_findings(quality)


def _missing_classes(
    decider: Variant, inputs: list[NDArray[Any]], labels: NDArray[Any] | None, y: NDArray[Any]
) -> tuple[int, ...] | None:
    """Classes of the evaluation set without a calibration sample; None for other targets.

    By the calibration's labels, else by what the model itself takes its samples for.
    """
    evaluated = class_labels(y)
    if evaluated is None or evaluated.dtype.kind in "US":
        return None
    covered = class_labels(labels) if labels is not None else None
    if covered is None:
        outputs = current_pipeline().predict(
            decider, {i.name: part for i, part in zip(decider.inputs, inputs, strict=True)}
        )
        try:
            read_labels(evaluated, outputs[0][:1].repeat(len(evaluated), axis=0), "coverage")
        except (MetricError, DatasetError):
            return None
        covered = predicted_classes(outputs[0])
    return tuple(sorted(set(evaluated.astype(int).tolist()) - set(covered.astype(int).tolist())))


def _with_findings(quality: CalibrationQuality) -> CalibrationQuality:
    """What is wrong, one sentence each, the gravest first."""
    import dataclasses

    findings = []
    for tensor in quality.inputs:
        spans = f"{tensor.seen_low:.4g} to {tensor.seen_high:.4g}"
        if tensor.outside > INPUTS_OUTSIDE:
            findings.append(
                f"{tensor.outside:.1%} of the evaluation's values of the input {tensor.name!r} are "
                f"outside the calibrated range {tensor.low:.4g} to {tensor.high:.4g} (they span "
                f"{spans}): calibrate with the same preprocessing"
            )
        elif tensor.used < RANGE_USED:
            findings.append(
                f"the evaluation's values of the input {tensor.name!r} span {spans}, "
                f"{tensor.used:.1%} of the calibrated range {tensor.low:.4g} to {tensor.high:.4g}: "
                "calibrate with the same preprocessing"
            )
    clipped = [t for t in quality.activations if t.outside > ACTIVATIONS_OUTSIDE]
    if clipped:
        worst = clipped[0]
        findings.append(
            f"{len(clipped)} of {len(quality.activations)} inner tensors have over "
            f"{ACTIVATIONS_OUTSIDE:.0%} of their values outside the calibrated range, most of all "
            f"{worst.name!r} of {worst.operator}: {worst.outside:.1%} outside {worst.low:.4g} to "
            f"{worst.high:.4g}: calibrate with more varied samples"
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
            f"calibration had {quality.count} {'sample' if quality.count == 1 else 'samples'}, "
            f"{RECOMMENDED_MINIMUM} are the least and 200-500 recommended ({WHERE})"
        )
    if quality.shared_samples:
        findings.append(
            f"{quality.shared_samples} of {quality.evaluated} evaluation samples were calibrated "
            "with: the accuracy is flattered; calibrate with validation data"
        )
    return dataclasses.replace(quality, findings=tuple(findings))
