"""The training loop over a simulation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pytest_edgequant.conversion.qat import losses
from pytest_edgequant.conversion.qat.equalize import equalized
from pytest_edgequant.conversion.qat.plan import Plan
from pytest_edgequant.conversion.qat.recipe import Arrays, TrainingRecipe, default_epochs
from pytest_edgequant.conversion.qat.rewrite import write
from pytest_edgequant.conversion.qat.rounding import NARROWEST
from pytest_edgequant.conversion.qat.simulation import Mode, Simulation
from pytest_edgequant.errors import TrainingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH = 128
_MEASURE_WITH = 512
_STATISTICS_FOLLOW = 1 / 3
"""The share of the epochs in which batch normalization's statistics follow the batches."""


@dataclasses.dataclass(frozen=True)
class Score:
    """What validation says: `drop` from the float model's (less is better), and the loss."""

    value: float
    drop: float
    loss: float

    @property
    def order(self) -> tuple[float, float]:
        """Less is better. Above the float model all are alike: there it is luck."""
        return (max(self.drop, 0.0), self.loss)


@dataclasses.dataclass(frozen=True)
class Progress:
    """What is known after an epoch (0: before the first)."""

    epoch: int
    epochs: int
    loss: float
    score: Score
    best: int
    finished: bool


@dataclasses.dataclass(frozen=True)
class Ends:
    """Where the user's inputs and outputs are among the file's, and what outputs are."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    kinds: tuple[losses.OutputKind, ...]


def _classes(y: NDArray[Any], prediction: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Labels and predictions as class numbers."""
    if prediction.shape[-1] > 1:
        found = prediction.argmax(axis=-1)
        if y.shape == prediction.shape:
            y = y.argmax(axis=-1)
    else:
        found = prediction[..., 0] > 0.5
    return y.reshape(found.shape), found


class Judged(Protocol):
    """What a score needs to know."""

    tf: Any
    arrays: Arrays
    descriptions: Sequence[Any]
    losses: Sequence[Any]
    judged: bool


def judge(model: Judged, found: Sequence[NDArray[Any]], reference: Score | None) -> Score:
    """The score of validation outputs, next to the float model's (None: it is the float model)."""
    tf, labels = model.tf, model.arrays.y_validation
    loss = sum(
        float(function(tf.constant(y), tf.constant(p)))
        for function, y, p in zip(model.losses, labels, found, strict=True)
    )
    if not model.judged:
        return Score(loss, loss - reference.loss if reference else 0.0, loss)
    right = []
    for description, y, prediction in zip(model.descriptions, labels, found, strict=True):
        config = description.get("config", {}) if isinstance(description, dict) else {}
        if config.get("from_logits") and prediction.shape[-1] == 1:
            prediction = prediction + np.float32(0.5)  # above 0 is the class 1
        truth, guess = _classes(y, prediction)
        right.append(float((truth == guess).mean()))
    value = float(np.mean(right))
    return Score(value, reference.value - value if reference else 0.0, loss)


def nan_in_training(where: str, loss: float, epoch: int) -> TrainingError:
    """The error for a loss that is no number any more."""
    return TrainingError(
        f"{where}: qat_int8: the loss became {loss} in epoch {epoch}. Lower the learning rate, and "
        "check the loss and the labels; the float model is unchanged"
    )


def nan_in_validation(where: str, loss: float, epoch: int) -> TrainingError:
    """The error for a validation loss that is no number any more."""
    return TrainingError(
        f"{where}: qat_int8: the validation loss became {loss} in epoch {epoch}. Lower the "
        "learning rate, and check the loss and the labels; the float model is unchanged"
    )


class Candidate:
    """A simulation with its data: what it predicts, how good that is, what it sees."""

    def __init__(
        self, plan: Plan, ends: Ends, arrays: Arrays, descriptions: Sequence[Any], where: str
    ) -> None:
        import tensorflow as tf

        self.tf, self.plan, self.ends, self.arrays = tf, plan, ends, arrays
        self.descriptions: Sequence[Any] = descriptions
        self.losses: Sequence[Any] = [losses.make_loss(d) for d in descriptions]
        self.judged = all(losses.judges_classes(d) for d in descriptions)
        self.simulation = Simulation(plan, where)
        if plan.normalized:
            self.simulation.start_statistics(self._float_moments())
        self._predict: dict[bool, Any] = {}

    def ordered(self, x: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Inputs in the file's order, float32 unless the model takes whole numbers."""
        tensors = (self.plan.main.tensors[i] for i in self.plan.main.inputs)
        types = [t.dtype if t.quantization is None else np.dtype(np.float32) for t in tensors]
        return [
            x[i].astype(kind, copy=False) for i, kind in zip(self.ends.inputs, types, strict=True)
        ]

    def outputs(self, found: Sequence[Any]) -> list[Any]:
        """Outputs in the user's order, without the file's batch dimension."""
        return [
            self.tf.reshape(found[i], (-1, *kind.shape))
            for i, kind in zip(self.ends.outputs, self.ends.kinds, strict=True)
        ]

    def predict(
        self, x: Sequence[NDArray[Any]], *, quantize: bool = True
    ) -> list[NDArray[np.float32]]:
        """Outputs of the simulated model (or of the float one) in the user's order."""
        tf = self.tf
        if quantize not in self._predict:
            mode = Mode(quantize=quantize)

            @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator,unused-ignore]
            def run(inputs: Any) -> Any:
                return self.outputs(self.simulation(inputs, mode)[0])

            self._predict[quantize] = run
        run = self._predict[quantize]
        parts = [[np.asarray(o) for o in run(batch)] for batch, _ in self._batches(x)]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def _batches(self, x: Sequence[NDArray[Any]]) -> Iterator[tuple[list[Any], int]]:
        ordered = self.ordered(x)
        for i in range(0, len(ordered[0]), _BATCH):
            batch = [self.tf.constant(a[i : i + _BATCH]) for a in ordered]
            yield batch, len(ordered[0][i : i + _BATCH])

    def score(self, *, quantize: bool = True, reference: Score | None = None) -> Score:
        """What validation says, next to the float model's score."""
        found = self.predict(self.arrays.x_validation, quantize=quantize)
        return judge(self, found, reference)

    # -- measuring the float model ----------------------------------------------------------------

    def _observed(self, mode: Mode, what: str) -> Iterator[tuple[dict[int, Any], int]]:
        """What passes in a mode gather over training samples, and how many samples each."""
        tf = self.tf

        @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator,unused-ignore]
        def run(inputs: Any) -> Any:
            state = self.simulation(inputs, mode)[1]
            if what == "ranges":
                return {
                    g: (tf.reduce_min(tf.stack(state.lows[g])), tf.reduce_max(tf.stack(highs)))
                    for g, highs in state.highs.items()
                }
            return getattr(state, what)

        for batch, count in self._batches([a[:_MEASURE_WITH] for a in self.arrays.x]):
            yield run(batch), count

    def _limits(self, mode: Mode, what: str) -> dict[int, tuple[NDArray[Any], NDArray[Any]]]:
        """Least and greatest values over the batches."""
        found: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}
        for batch, _ in self._observed(mode, what):
            for key, (low, high) in batch.items():
                low, high = np.asarray(low), np.asarray(high)
                before = found.get(key, (low, high))
                found[key] = (np.minimum(before[0], low), np.maximum(before[1], high))
        return found

    def channel_limits(
        self, tensors: Sequence[int]
    ) -> dict[int, tuple[NDArray[Any], NDArray[Any]]]:
        """The least and the greatest value a channel of activations in the float model."""
        return self._limits(Mode(quantize=False, channels_of=tuple(tensors)), "channels")

    def measure_ranges(self, groups: Iterable[int]) -> NDArray[np.float32]:
        """The plan's ranges, those of `groups` as the float model has them."""
        found = self._limits(Mode(quantize=False, follow_ranges=True), "ranges")
        ranges = np.array(self.plan.ranges)
        for group in groups:
            if group in found:
                low, high = (float(v) for v in found[group])
                ranges[group] = min(low, 0.0), max(high, min(low, 0.0) + NARROWEST, 0.0)
        return ranges

    def _float_moments(self) -> dict[int, tuple[NDArray[Any], NDArray[Any]]]:
        """Mean and variance a channel of what batch normalizations see in the float model."""
        means: dict[int, list[Any]] = {}
        variances: dict[int, list[Any]] = {}
        counts = []
        mode = Mode(quantize=False, follow_statistics=True)
        for batch, count in self._observed(mode, "moments"):
            counts.append(count)
            for index, (mean, variance) in batch.items():
                means.setdefault(index, []).append(np.asarray(mean, np.float64))
                variances.setdefault(index, []).append(np.asarray(variance, np.float64))
        found = {}
        for index, parts in means.items():
            mean = np.average(parts, axis=0, weights=counts)
            spread = np.average(np.square(parts), axis=0, weights=counts) - np.square(mean)
            variance = np.average(variances[index], axis=0, weights=counts) + spread
            found[index] = (mean.astype(np.float32), np.maximum(variance, 0).astype(np.float32))
        return found


class Trainer:
    """One training: begun, taken epoch by epoch, finished."""

    def __init__(
        self, plan: Plan, ends: Ends, arrays: Arrays, recipe: TrainingRecipe, specs: Any, where: str
    ) -> None:
        import tensorflow as tf

        loss_description, optimizer_description = specs
        self.tf, self.arrays, self.recipe, self.where = tf, arrays, recipe, where
        descriptions = losses.for_outputs(loss_description, ends.kinds, arrays.y)
        candidate = Candidate(plan, ends, arrays, descriptions, where)
        self.float_score = candidate.score(quantize=False)
        self.untrained = candidate.score(reference=self.float_score)
        if not np.isfinite(self.untrained.loss):
            raise TrainingError(
                f"{where}: qat_int8: the loss is {self.untrained.loss} before training; check that "
                "it fits the model's outputs (probabilities or logits) and the labels"
            )
        self.candidate, self.start = candidate, self.untrained
        other = equalized(plan, candidate.channel_limits)
        if other is not None:
            self._try(*other, ends, descriptions)
        self.batch = min(recipe.batch_size, arrays.count)
        self.steps = max(arrays.count // self.batch, 1)
        self.epochs = recipe.epochs or default_epochs(self.steps)
        self.optimizer = losses.make_optimizer(
            optimizer_description, recipe.learning_rate, self.steps * self.epochs
        )
        self.optimizer.build(self.simulation.trained)
        self.random = np.random.default_rng(recipe.seed)
        self.epoch = 0
        self.following = math.ceil(self.epochs * _STATISTICS_FOLLOW) if plan.normalized else 0
        self._x = [tf.constant(a) for a in self.candidate.ordered(arrays.x)]
        self._y = [tf.constant(y) for y in arrays.y]
        self._steps: dict[bool, Any] = {}
        self.score, self.best_epoch, self.best = self.start, 0, self.start
        self._kept = self.simulation.snapshot()

    def _try(
        self, plan: Plan, groups: frozenset[int], ends: Ends, descriptions: Sequence[Any]
    ) -> None:
        """Begin from another plan of the same float model where it is better quantized."""
        probe = Candidate(plan, ends, self.arrays, descriptions, self.where)
        plan = dataclasses.replace(plan, ranges=probe.measure_ranges(groups))
        other = Candidate(plan, ends, self.arrays, descriptions, self.where)
        score = other.score(reference=self.float_score)
        if np.isfinite(score.loss) and score.order < self.start.order:
            self.candidate, self.start = other, score

    @property
    def simulation(self) -> Simulation:
        return self.candidate.simulation

    @property
    def judged(self) -> bool:
        return self.candidate.judged

    def predict(self, x: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """What the simulated model gives, in the user's order."""
        return self.candidate.predict(x)

    # -- training ---------------------------------------------------------------------------------

    def _step(self, follow_statistics: bool) -> Any:
        if follow_statistics in self._steps:
            return self._steps[follow_statistics]
        tf, simulation = self.tf, self.simulation
        mode = Mode(follow_ranges=True, follow_statistics=follow_statistics, loss=True)
        variables = [v.value for v in simulation.trained]

        @tf.function  # type: ignore[untyped-decorator,unused-ignore]
        def step(chosen: Any) -> Any:
            inputs = [tf.gather(x, chosen) for x in self._x]
            labels = [tf.gather(y, chosen) for y in self._y]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                found, state = simulation(inputs, mode)
                outputs = self.candidate.outputs(found)
                loss = tf.add_n(
                    [
                        f(y, p)
                        for f, y, p in zip(self.candidate.losses, labels, outputs, strict=True)
                    ]
                )
            gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
            self.optimizer.apply(gradients, simulation.trained)
            simulation.follow(state)
            return loss

        self._steps[follow_statistics] = step
        return step

    def run_epoch(self) -> Progress:
        """Train one epoch and validate; raises `TrainingError` when the loss is no number."""
        tf = self.tf
        step = self._step(self.epoch < self.following)
        order = self.random.permutation(self.arrays.count)
        found = [
            step(tf.constant(order[i * self.batch : (i + 1) * self.batch], tf.int32))
            for i in range(self.steps)
        ]
        values = np.asarray([np.asarray(loss) for loss in found])
        if not np.isfinite(values).all():
            first = int(np.argmin(np.isfinite(values)))
            raise nan_in_training(self.where, float(values[first]), self.epoch + 1)
        self.epoch += 1
        self.score = self.candidate.score(reference=self.float_score)
        if not np.isfinite(self.score.loss):
            raise nan_in_validation(self.where, self.score.loss, self.epoch)
        if self.score.order < self.best.order:
            self.best, self.best_epoch = self.score, self.epoch
            self._kept = self.simulation.snapshot()
        return self.progress(float(values.mean()))

    def progress(self, loss: float) -> Progress:
        finished = self.epoch >= self.epochs or self.epoch - self.best_epoch >= self.recipe.patience
        return Progress(self.epoch, self.epochs, loss, self.score, self.best_epoch, finished)

    def finish(self) -> bytes:
        """Go back to the best epoch and give its file."""
        self.simulation.restore(self._kept)
        gains = {}
        for index in self.simulation.statistics:
            gain = self.simulation.gain(index)
            assert gain is not None
            gains[index] = (np.asarray(gain[0]), np.asarray(gain[1]))
        return write(
            self.candidate.plan,
            self.simulation.weights_in_file(),
            np.asarray(self.simulation.ranges),
            gains,
        )
