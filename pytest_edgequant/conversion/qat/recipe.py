"""What a model is trained with: data, loss, optimizer, and when to stop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.cache import digest
from pytest_edgequant.conversion.calibration import Calibration, strata_of
from pytest_edgequant.errors import DatasetError, TrainingError
from pytest_edgequant.samples.inputs import (
    InputSpec,
    Raw,
    as_inputs,
    concatenate,
    fingerprint,
    freeze,
    to_numpy,
)
from pytest_edgequant.wording import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

WHERE = "edge_training"
_CALIBRATE_WITH = 300
_MOST_VALIDATION = 2000
_MOST_DIFFERENT = 8.0
_COMPARED = 1000
_STEPS = 2000
_INFINITE = -1
"""What `tf.data.Dataset.cardinality()` gives for a dataset without end."""
ENGINES = ("simulation", "tfmot")


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingRecipe:
    """How a model is fine-tuned with simulated quantization.

    `data` is (x, y), an iterable of (x, y) batches (a `tf.data.Dataset`), or a function that gives
    either; x as the model takes it (`edge_preprocess` is not applied), y for several outputs a
    tuple in their order or a dict by name. `validation` is the same; without it a tenth of the
    data is split off, stratified by class.

    `loss` is a name, a Keras loss, or a function `loss(y_true, y_pred)` of TensorFlow; a list in
    the order of the outputs, or a dict by name, for several. Default: cross-entropy for labels
    that are classes, mean squared error for others. `optimizer` is a name or a Keras optimizer;
    default: Adam from `learning_rate` down to a hundredth of it on a cosine. Weights are trained
    relative to the largest of their channel, so a rate of 1e-3 is about 0.1 % a step.

    `epochs` at most (default: about 2,000 steps, between 3 and 50 epochs); training stops after
    `patience` epochs in which the validation drop (accuracy of the float model minus that of the
    quantized one; the loss where there is no accuracy) got no better, and the best epoch is kept.

    `engine` is "simulation" (this package's own) or "tfmot" (tensorflow-model-optimization, for
    tf_keras models alone, at a tenth of `learning_rate`). Default: tf_keras models through
    tensorflow-model-optimization where the extra `qat` is installed, all others by simulation.
    """

    data: Any
    validation: Any = None
    loss: Any = None
    optimizer: Any = None
    learning_rate: float = 1e-3
    epochs: int | None = None
    batch_size: int = 32
    patience: int = 8
    seed: int = 0
    engine: str | None = None


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs and labels as they came, in elements (whole, or batches)."""

    x: tuple[Raw, ...]
    y: tuple[Raw, ...]
    where: str

    @property
    def fingerprint(self) -> str:
        return fingerprint([list(self.x), list(self.y)])

    def inputs(self, specs: Sequence[InputSpec]) -> list[NDArray[Any]]:
        """All samples, one array (N, ...) an input, finite."""
        found = concatenate([as_inputs(x, specs, self.where) for x in self.x])
        for spec, array in zip(specs, found, strict=True):
            _check_finite(array, f"{self.where}: the input {spec.name!r}")
        return found

    def labels(self, names: Sequence[str]) -> list[NDArray[Any]]:
        """All labels, one array (N, ...) an output, finite."""
        parts = [_outputs(y, names, self.where) for y in self.y]
        found = [np.concatenate(column) for column in zip(*parts, strict=True)]
        for name, array in zip(names, found, strict=True):
            if array.dtype.kind not in "biuf":
                raise DatasetError(
                    f"{self.where}: the labels of {name!r} are {array.dtype}; give numbers"
                )
            _check_finite(array, f"{self.where}: the labels of {name!r}")
        return found


@dataclass(frozen=True, eq=False)
class Training:
    """A recipe that was read: samples in arrays, the rest in plain values."""

    samples: Samples
    validation: Samples | None
    recipe: TrainingRecipe
    loss: Any
    optimizer: Any

    @property
    def fingerprint(self) -> str:
        recipe = self.recipe
        return digest(
            self.samples.fingerprint,
            self.validation.fingerprint if self.validation else None,
            self.loss,
            self.optimizer,
            [recipe.learning_rate, recipe.epochs, recipe.batch_size, recipe.patience, recipe.seed],
            recipe.engine,
        )


def _check_finite(array: NDArray[Any], what: str) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        first = int(np.argwhere(~np.isfinite(array))[0][0])
        raise DatasetError(
            f"{what} has {counted(count, 'value')} that are NaN or infinite, the first in sample "
            f"{first}; clean or drop these samples"
        )


def _outputs(y: Raw, names: Sequence[str], where: str) -> list[NDArray[Any]]:
    """One element's labels, one array an output."""
    if len(names) == 1:
        if isinstance(y, Mapping):
            y = next(iter(y.values())) if len(y) == 1 else y
        elif isinstance(y, tuple) and len(y) == 1:
            y = y[0]
        return [to_numpy(y, f"{where} y")]
    if isinstance(y, Mapping):
        if sorted(y) != sorted(names):
            raise DatasetError(
                f"{where}: the labels have the keys {sorted(map(str, y))}, the model's outputs are "
                f"{list(names)}"
            )
        return [to_numpy(y[name], f"{where} y[{name!r}]") for name in names]
    if isinstance(y, tuple | list) and len(y) == len(names):
        return [to_numpy(part, f"{where} y") for part in y]
    raise DatasetError(
        f"{where}: the model has {len(names)} outputs {list(names)}; give their labels as a tuple "
        "in this order or as a dict by name"
    )


def _is_pair(value: Any) -> bool:
    """Whether a value is (x, y): any tuple of two, or a list of two that are no batches."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    batches = (isinstance(part, tuple) and len(part) in (2, 3) for part in value)
    return isinstance(value, tuple) or not all(batches)


def read_samples(data: Any, where: str) -> Samples:
    """Read (x, y), an iterable of (x, y) batches, or a function that gives one.

    Raises `DatasetError`.
    """
    if callable(data) and not isinstance(data, Iterable):
        data = data()
    if data is None or isinstance(data, str | bytes | Mapping | np.ndarray):
        raise DatasetError(
            f"{where}: expected (x, y), an iterable of (x, y) batches, or a function that gives "
            f"one, got {'None' if data is None else type(data).__name__}"
        )
    if _is_pair(data):
        pairs = [data]
    elif isinstance(data, Iterable):
        cardinality = getattr(data, "cardinality", None)
        if callable(cardinality) and int(cardinality()) == _INFINITE:
            raise DatasetError(
                f"{where}: the dataset repeats without end; give one pass over the data (leave out "
                "repeat(), or add take())"
            )
        pairs = list(data)
    else:
        raise DatasetError(f"{where}: expected (x, y), got {type(data).__name__}")
    xs, ys = [], []
    for number, pair in enumerate(pairs):
        place = where if len(pairs) == 1 else f"{where} batch {number}"
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            extra = " (sample weights are not supported)" if _has_weights(pair) else ""
            raise DatasetError(f"{place}: expected (x, y), got {type(pair).__name__}{extra}")
        xs.append(freeze(pair[0], f"{place} x"))
        ys.append(freeze(pair[1], f"{place} y"))
    if not xs:
        raise DatasetError(
            f"{where}: no samples"
            + (" (a generator that is used up?)" if hasattr(data, "__next__") else "")
            + "; give (x, y)"
        )
    return Samples(tuple(xs), tuple(ys), where)


def _has_weights(pair: Any) -> bool:
    return isinstance(pair, tuple | list) and len(pair) == 3


def _check_numbers(recipe: TrainingRecipe) -> None:
    """Raise `TrainingError` for numbers with which nothing can be trained."""
    for name, least in (("batch_size", 1), ("patience", 1), ("epochs", 1), ("seed", 0)):
        value = getattr(recipe, name)
        if name == "epochs" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise TrainingError(
                f"{WHERE}: {name} must be a whole number of at least {least}, got {value!r}"
            )
    if recipe.engine not in (None, *ENGINES):
        raise TrainingError(
            f"{WHERE}: engine must be one of {', '.join(ENGINES)}, got {recipe.engine!r}"
        )
    rate = recipe.learning_rate
    if not isinstance(rate, int | float) or not np.isfinite(rate) or rate <= 0:
        raise TrainingError(f"{WHERE}: learning_rate must be a number above 0, got {rate!r}")


def read_training(training: Any) -> Training:
    """Read what `edge_training` or `convert(training=...)` gave: (x, y), or a `TrainingRecipe`.

    Raises `TrainingError` for a recipe that can't be followed, `DatasetError` for its data.
    """
    from pytest_edgequant.conversion.qat import losses

    if isinstance(training, Training):
        return training
    if callable(training) and not isinstance(training, Iterable | TrainingRecipe):
        training = training()
    if training is None:
        raise TrainingError(
            "qat_int8 needs training data: define the fixture edge_training, which returns (x, y) "
            "of the training set or a TrainingRecipe; with convert(), give training=..."
        )
    recipe = training if isinstance(training, TrainingRecipe) else TrainingRecipe(data=training)
    _check_numbers(recipe)
    samples = read_samples(recipe.data, WHERE)
    validation = (
        read_samples(recipe.validation, f"{WHERE} validation")
        if recipe.validation is not None
        else None
    )
    return Training(
        samples,
        validation,
        replace(recipe, data=None, validation=None, loss=None, optimizer=None),
        losses.describe_loss(recipe.loss),
        losses.describe_optimizer(recipe.optimizer),
    )


@dataclass(frozen=True, eq=False)
class Arrays:
    """Training and validation samples, one array an input and one an output."""

    x: list[NDArray[Any]]
    y: list[NDArray[Any]]
    x_validation: list[NDArray[Any]]
    y_validation: list[NDArray[Any]]

    @property
    def count(self) -> int:
        return len(self.x[0])


def split(training: Training, specs: Sequence[InputSpec], outputs: Sequence[str]) -> Arrays:
    """The arrays of a training, validation split off where there is none.

    Raises `DatasetError` where inputs and labels don't fit the model or each other.
    """

    def read(samples: Samples) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        x, y = samples.inputs(specs), samples.labels(outputs)
        for array in y:
            if array.ndim == 0 or len(array) != len(x[0]):
                count = len(array) if array.ndim else 0
                raise DatasetError(
                    f"{samples.where}: {counted(len(x[0]), 'sample')} and "
                    f"{counted(count, 'label')}; every sample needs one label"
                )
        return x, y

    x, y = read(training.samples)
    if training.validation is not None:
        return Arrays(x, y, *read(training.validation))
    count = len(x[0])
    if count < 4:
        raise DatasetError(f"{WHERE}: {count} samples are too few to train and validate with")
    held = min(max(count // 10, 2), _MOST_VALIDATION)
    groups = strata_of(y[0].reshape(count, -1) if y[0].ndim > 2 else y[0])
    order = np.random.default_rng(training.recipe.seed).permutation(count)
    # Every class in turn, so that the held-out samples cover them as evenly as they can.
    rank = np.empty(count, np.float64)
    for group in np.unique(groups):
        members = order[groups[order] == group]
        rank[members] = (np.arange(len(members)) + 0.5) / len(members)
    by_rank = sorted(range(count), key=lambda i: (rank[i], int(i)))
    held_out = np.sort(np.asarray(by_rank[:held]))
    kept = np.setdiff1d(np.arange(count), held_out)
    return Arrays(
        [a[kept] for a in x],
        [a[kept] for a in y],
        [a[held_out] for a in x],
        [a[held_out] for a in y],
    )


def calibration_from(training: Training, specs: Sequence[InputSpec]) -> Calibration:
    """Representative samples out of the training data, where the user gives none."""
    inputs = training.samples.inputs(specs)
    count = len(inputs[0])
    chosen = np.sort(np.random.default_rng(0).permutation(count)[:_CALIBRATE_WITH])
    element = {s.name: array[chosen] for s, array in zip(specs, inputs, strict=True)}
    return Calibration((element,), fingerprint(element), f"the samples of {WHERE}")


def scale_notes(
    calibration: Sequence[NDArray[Any]],
    training: Sequence[NDArray[Any]],
    specs: Sequence[InputSpec],
) -> tuple[str, ...]:
    """A note for each input whose training values are of another size than the calibration's.

    Both are taken as the model takes them; one of them without its preprocessing is most often
    off by a large factor (pixels from 0 to 255 next to 0 to 1).
    """
    notes = []
    for spec, ours, theirs in zip(specs, training, calibration, strict=True):
        if spec.dtype.kind != "f":
            continue
        some = [a[:: max(len(a) // _COMPARED, 1)] for a in (ours, theirs)]
        sizes = [float(np.sqrt(np.mean(np.square(a, dtype=np.float64)))) for a in some]
        if max(sizes) > _MOST_DIFFERENT * min(sizes):
            notes.append(
                f"training: the input {spec.name!r} is {sizes[0]:.3g} in {WHERE} (root mean "
                f"square) and {sizes[1]:.3g} in calibration; both are taken as the model takes "
                "them, edge_preprocess is not applied: apply it in the fixture"
            )
    return tuple(notes)


def default_epochs(steps: int) -> int:
    """About 2,000 steps in all, between 3 and 50 epochs."""
    return int(np.clip(np.ceil(_STEPS / max(steps, 1)), 3, 50))
