"""Representative samples: read, checked, or split off the evaluation set.

Guideline (TensorFlow Lite's post-training quantization guide and practice): 100 samples at least,
200 to 500 recommended, from the real distribution, every class covered.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.errors import CalibrationError, DatasetError
from pytest_edgequant.records import HeldOut
from pytest_edgequant.samples.inputs import (
    InputSpec,
    Raw,
    as_inputs,
    concatenate,
    fingerprint,
    freeze,
)
from pytest_edgequant.samples.stream import Samples
from pytest_edgequant.wording import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

WHERE = "edge_calibration"
RECOMMENDED_MINIMUM = 100
SPLIT_AT_MOST = 300
READ_AT_MOST = 10_000
_MOST_CLASSES = 1000


@dataclass(frozen=True, eq=False)
class Calibration:
    """Representative samples as they came. `elements` are whole arrays, batches or samples."""

    elements: tuple[Raw, ...]
    fingerprint: str
    origin: str
    notes: tuple[str, ...] = ()
    held_out: HeldOut | None = None

    def identity(self) -> dict[str, Any]:
        """What stands for the samples where a variant is told as plain data."""
        return {"origin": self.origin, "fingerprint": self.fingerprint, "notes": [*self.notes]}


def read_calibration(samples: Any, told: Callable[[int], None] = lambda done: None) -> Calibration:
    """Read an array, list, dict, generator, `tf.data.Dataset`, or a function that gives one.

    `told` hears how many elements of an iterable were read. Raises `CalibrationError` where there
    is nothing to calibrate with.
    """
    if isinstance(samples, Calibration):
        return samples
    if callable(samples) and not isinstance(samples, Iterable):
        samples = samples()
    notes: list[str] = []
    try:
        if isinstance(samples, tuple | Mapping) or hasattr(samples, "__array__"):
            elements = [freeze(samples, WHERE)]
        elif isinstance(samples, list):
            elements = [freeze(s, f"{WHERE} element {i}") for i, s in enumerate(samples)]
            if elements and all(isinstance(e, np.ndarray) and e.ndim == 0 for e in elements):
                elements = [np.asarray(elements)]
        elif isinstance(samples, Iterable) and not isinstance(samples, str | bytes):
            iterator = iter(samples)
            elements = []
            for i, element in enumerate(itertools.islice(iterator, READ_AT_MOST)):
                elements.append(freeze(element, f"{WHERE} element {i}"))
                told(i + 1)
            if len(elements) == READ_AT_MOST and next(iterator, None) is not None:
                notes.append(
                    f"calibration: only the first {READ_AT_MOST:,} elements of {WHERE} were used"
                )
        else:
            raise CalibrationError(
                f"{WHERE}: expected an array, a list, a dict, an iterable of samples or a function "
                f"that gives one, got {type(samples).__name__}"
            )
    except DatasetError as error:
        raise CalibrationError(str(error)) from None
    if not elements:
        used_up = hasattr(samples, "__next__")
        raise CalibrationError(
            f"{WHERE}: no samples"
            + (" (a generator that is used up? return an array or a function)" if used_up else "")
            + f"; give {RECOMMENDED_MINIMUM} at least"
        )
    return Calibration(tuple(elements), fingerprint(elements), WHERE, tuple(notes))


def _without_labels(element: Raw, specs: Sequence[InputSpec]) -> tuple[Raw, Raw | None]:
    """Split (x, y) as training pipelines give it; None for the label where there is none."""
    if isinstance(element, tuple) and len(element) in (2, 3):
        several_inside = isinstance(element[0], tuple | list | Mapping)
        if len(specs) == 1 or several_inside:
            return element[0], element[1]
    return element, None


def calibration_inputs(
    calibration: Calibration, specs: Sequence[InputSpec]
) -> tuple[list[NDArray[Any]], NDArray[Any] | None]:
    """The samples as one array (N, ...) an input, and their labels where they came with some.

    Raises `CalibrationError` for shapes that don't fit, and for values that are not finite.
    """
    batches, labels = [], []
    elements: Sequence[Raw] = calibration.elements
    if len(specs) == len(elements) > 1 and all(
        isinstance(e, np.ndarray) and e.shape[1:] == s.sample_shape
        for e, s in zip(elements, specs, strict=True)
    ):
        elements = [tuple(elements)]  # a list of whole inputs
    for index, element in enumerate(elements):
        x, y = _without_labels(element, specs)
        try:
            batches.append(as_inputs(x, specs, f"{calibration.origin} element {index}"))
        except DatasetError as error:
            raise CalibrationError(str(error)) from None
        if y is not None:
            given = np.asarray(y)
            one = len(batches[-1][0]) == 1 and given.shape[:1] != (1,)
            labels.append(given[np.newaxis] if one else given)
    inputs = concatenate(batches)
    labels = [y for y, batch in zip(labels, batches, strict=False) if len(y) == len(batch[0])]
    if len(inputs[0]) == 0:
        raise CalibrationError(f"{calibration.origin}: no samples; give {RECOMMENDED_MINIMUM}")
    for spec, array in zip(specs, inputs, strict=True):
        if array.dtype.kind != "f":
            continue
        bad = ~np.isfinite(array)
        if bad.any():
            sample = int(np.argwhere(bad)[0][0])
            raise CalibrationError(
                f"{calibration.origin}: {counted(int(bad.sum()), 'value')} of the input "
                f"{spec.name!r} are NaN or infinite, the first in sample {sample}; activation "
                "ranges can't be had from them: clean or drop these samples"
            )
    return inputs, np.concatenate(labels) if len(labels) == len(batches) else None


def quality_notes(
    calibration: Calibration, inputs: Sequence[NDArray[Any]], specs: Sequence[InputSpec]
) -> list[str]:
    """What the report should say of these samples.

    Raises `CalibrationError` where no input varies at all: no range can be had from that.
    """
    notes = []
    count = len(inputs[0])
    if count < RECOMMENDED_MINIMUM:
        notes.append(
            f"calibration: {counted(count, 'sample')} from {calibration.origin}, fewer than the "
            f"{RECOMMENDED_MINIMUM} that int8 ranges need at least (200-500 are recommended)"
        )
    constant = [
        (spec.name, array.flat[0])
        for spec, array in zip(specs, inputs, strict=True)
        if array.size and (array == array.flat[0]).all()
    ]
    if len(constant) == len(specs):
        raise CalibrationError(
            f"{calibration.origin}: every value of {', '.join(repr(n) for n, _ in constant)} is "
            f"{constant[0][1]}; constant samples give no activation ranges: use real ones"
        )
    notes += [
        f"calibration: the input {name!r} is {value} in all samples; its range is a guess"
        for name, value in constant
    ]
    return notes


def class_labels(y: NDArray[Any], *, declared: bool = False) -> NDArray[Any] | None:
    """Class numbers of (N,) integer or (N, classes) one-hot labels; None for other targets.

    Whole numbers that take very many values are taken for a regression's target, unless the
    labels are `declared` to be classes.
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2 and np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all():
        return np.asarray(y.argmax(axis=1))
    if y.ndim != 1:
        return None
    if y.dtype.kind in "biuUS":
        few = declared or y.dtype.kind not in "iu" or len(np.unique(y)) <= _MOST_CLASSES
        return y if few else None
    whole = np.isfinite(y).all() and (y == np.rint(y)).all()
    return y.astype(np.int64) if whole and (declared or len(np.unique(y)) <= 20) else None


def strata_of(y: NDArray[Any]) -> NDArray[Any]:
    """The stratum of each sample: its class, or the decile of its target."""
    classes = class_labels(y)
    if classes is not None:
        return np.unique(classes, return_inverse=True)[1]
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 1 and np.isfinite(y).all():
        return np.searchsorted(np.quantile(y, np.linspace(0.1, 0.9, 9)), y)
    return np.zeros(len(y), dtype=np.int64)


def split_samples(samples: Samples, specs: Sequence[InputSpec]) -> Calibration:
    """Representative samples out of the evaluation set, which then leaves them out.

    At most 300 samples and at most half of the set, stratified by class or by target decile; the
    same samples for the same dataset. It is read twice, for the labels and for the samples that
    were chosen, and never held. Raises `CalibrationError` when the set is too small.
    """
    y = samples.scan()
    if isinstance(y, Mapping):  # labels of several outputs: none is the class to go by
        y = np.zeros(samples.count or 0)
    total = len(y)
    count = min(SPLIT_AT_MOST, total // 2)
    if count == 0:
        raise CalibrationError(
            f"{samples.where}: {total} sample is too few to split off representative "
            f"samples; define the fixture {WHERE}"
        )
    strata = strata_of(y)
    order = np.random.default_rng(0).permutation(total)
    chosen: list[int] = []
    groups = [order[strata[order] == stratum] for stratum in np.unique(strata)]
    # Largest remainder, so that the shares add up to `count`; a stratum keeps one to evaluate.
    quotas = [len(group) * count / total for group in groups]
    sizes = [min(max(int(q), 1), len(g) - 1) for q, g in zip(quotas, groups, strict=True)]
    by_remainder = sorted(range(len(groups)), key=lambda i: (int(quotas[i]) - quotas[i], i))
    for i in itertools.islice(itertools.cycle(by_remainder), 2 * len(groups) + count):
        if sum(sizes) >= count:
            break
        if sizes[i] < len(groups[i]) - 1:
            sizes[i] += 1
    for group, size in zip(groups, sizes, strict=True):
        chosen += [int(i) for i in group[:size]]
    if len(chosen) > count:  # more classes than samples: some stay uncovered, and the note says so
        allowed = set(chosen)
        chosen = [int(i) for i in order if int(i) in allowed][:count]
    chosen.sort()
    if not chosen:
        raise CalibrationError(
            f"{samples.where}: no class has two samples, so none can be split off for "
            f"calibration; define the fixture {WHERE}"
        )
    notes = [
        f"calibration: {len(chosen)} of {total} samples split off {samples.where} "
        f"(no {WHERE} is defined) and left out of the evaluation"
    ]
    notes += coverage_notes(class_labels(y[chosen]), y)
    inputs = samples.taken(tuple(specs), np.asarray(chosen))
    element = {spec.name: array for spec, array in zip(specs, inputs, strict=True)}
    assert samples.fingerprint is not None  # it was read to its end
    return Calibration(
        (element,),
        fingerprint(element),
        f"the split of {samples.where}",
        tuple(notes),
        HeldOut(samples.fingerprint, tuple(chosen)),
    )


def coverage_notes(covered: NDArray[Any] | None, y: NDArray[Any]) -> list[str]:
    """A note for the classes of `y` that the calibration's labels don't cover."""
    classes = class_labels(y)
    if classes is None or covered is None:
        return []
    missing = sorted(set(classes.tolist()) - set(covered.tolist()))
    if not missing:
        return []
    shown = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
    return [
        f"calibration: no sample of {'class' if len(missing) == 1 else 'the classes'} {shown}; "
        "their activations may be clipped"
    ]
