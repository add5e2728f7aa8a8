"""Training of tf_keras models through tensorflow-model-optimization.

Runs in a child of its own in which `TF_USE_LEGACY_KERAS` is set before TensorFlow is imported:
tensorflow-model-optimization refuses Keras 3, and the two must not meet in one process.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.conversion import foreign_code, layers, loading, tensorflow_worker, tracing
from pytest_edgequant.conversion.converter_messages import converter_reason
from pytest_edgequant.conversion.qat import losses, preconditions
from pytest_edgequant.conversion.qat.recipe import Arrays, Training, default_epochs, split
from pytest_edgequant.conversion.qat.training import (
    Ends,
    Progress,
    Score,
    judge,
    nan_in_training,
    nan_in_validation,
)
from pytest_edgequant.conversion.tracing import Exported
from pytest_edgequant.errors import ConversionError, ModelError, NotDerivableError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENVIRONMENT = {"TF_USE_LEGACY_KERAS": "1"}
_BATCH = 128
_RATE = 0.1
"""Of the recipe's learning rate, which is relative to a channel's largest weight."""


def installed() -> bool:
    """Whether the extra `qat` is."""
    return all(find_spec(name) for name in ("tensorflow_model_optimization", "tf_keras"))


def _load(path: str, where: str) -> Any:
    model = loading.tf_keras_model(path, where)
    if model is None:
        raise NotDerivableError(f"{where}: tf_keras can't load the model in another process")
    return model


def _in_dicts(model: Any) -> bool:
    ends = (getattr(model, name, None) for name in ("_nested_inputs", "_nested_outputs"))
    return any(isinstance(structure, dict) for structure in ends)


def _annotated(model: Any, where: str) -> Any:
    import tensorflow_model_optimization as tfmot

    try:
        with tensorflow_worker.quiet():
            found = tfmot.quantization.keras.quantize_model(model)
            # Whatever structure the model has: here inputs and outputs are lists.
            return type(found)(found.inputs, found.outputs) if _in_dicts(found) else found
    except Exception as error:
        raise NotDerivableError(
            f"{where}: tensorflow-model-optimization can't quantize the model: "
            f"{tracing.shortened(error)}"
        ) from None


def _check_gradients(model: Any, where: str) -> None:
    """Raise `NotDerivableError` for layers whose gradients TensorFlow has with oneDNN alone.

    Left to the processor, a model would be trained by one engine here and by another one there.
    """
    for layer in layers.flatten_layers(model):
        if "Depthwise" in type(layer).__name__ or "Conv" not in type(layer).__name__:
            continue
        dilated = max(np.ravel(getattr(layer, "dilation_rate", 1))) > 1
        if dilated or getattr(layer, "groups", 1) > 1:
            kind = "dilated" if dilated else "grouped"
            raise NotDerivableError(
                f"{where}: the layer {layer.name!r} is a {kind} convolution, which "
                "tensorflow-model-optimization trains on some processors only"
            )


class LegacyTrainer:
    """As `training.Trainer`, with the simulated model of tensorflow-model-optimization."""

    untrained: Score | None = None
    exported: Exported | None = None
    """The names of inputs and outputs in the file, once it is finished."""

    def __init__(self, path: str, training: Training, where: str, dense_per_channel: bool) -> None:
        import tf_keras

        self.tf = tensorflow_worker.tensorflow()
        model = _load(path, where)
        preconditions.check_model(model, where)
        if training.recipe.engine is None:
            _check_gradients(model, where)
        self.where, self.recipe = where, training.recipe
        self.dense_per_channel = dense_per_channel
        traced = tracing.trace(model, where)
        self.inputs, self.output_names = traced.inputs, traced.output_names
        self.arrays: Arrays = split(training, traced.inputs, traced.output_names)
        self.ends = self._ends(model)
        self.descriptions: Sequence[Any] = losses.for_outputs(
            training.loss, self.ends.kinds, self.arrays.y
        )
        self.losses: Sequence[Any] = [losses.make_loss(d, tf_keras) for d in self.descriptions]
        self.judged = all(losses.judges_classes(d) for d in self.descriptions)
        self.simulated = _annotated(model, where)
        self.float_score = judge(self, self._predict(model, self.arrays.x_validation), None)
        self.batch = min(self.recipe.batch_size, self.arrays.count)
        self.steps = max(self.arrays.count // self.batch, 1)
        self.epochs = self.recipe.epochs or default_epochs(self.steps)
        optimizer = losses.make_optimizer(
            training.optimizer,
            self.recipe.learning_rate * _RATE,
            self.steps * self.epochs,
            tf_keras,
        )
        with tensorflow_worker.quiet():
            self.simulated.compile(optimizer, self.losses, jit_compile=False)
        self.random = np.random.default_rng(self.recipe.seed)
        self.epoch = self.best_epoch = 0
        self.score = self.best = self.float_score
        self._kept: list[NDArray[Any]] | None = None

    def _ends(self, model: Any) -> Ends:
        kinds = []
        tensors = self.tf.nest.flatten(model.outputs)
        for name, tensor in zip(self.output_names, tensors, strict=True):
            layer = getattr(tensor, "_keras_history", [None])[0]
            activation = getattr(getattr(layer, "activation", None), "__name__", "")
            kind = activation or type(layer).__name__.lower()
            operator = {"softmax": "SOFTMAX", "sigmoid": "LOGISTIC"}.get(kind, "")
            kinds.append(losses.OutputKind(name, tuple(tensor.shape[1:]), operator))
        order = tuple(range(len(kinds)))
        return Ends(tuple(range(len(self.inputs))), order, tuple(kinds))

    def _predict(self, model: Any, x: list[NDArray[Any]]) -> list[NDArray[np.float32]]:
        parts = []
        for i in range(0, len(x[0]), _BATCH):
            batch = [self.tf.constant(a[i : i + _BATCH].astype(np.float32)) for a in x]
            found = model(batch if len(batch) > 1 else batch[0], training=False)
            parts.append([np.asarray(o) for o in self.tf.nest.flatten(found)])
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def predict(self, x: list[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """What the simulated model gives."""
        return self._predict(self.simulated, x)

    def run_epoch(self) -> Progress:
        """Train one epoch and validate; raises `TrainingError` when the loss is no number."""
        order = self.random.permutation(self.arrays.count)[: self.steps * self.batch]
        x, y = ([a[order] for a in part] for part in (self.arrays.x, self.arrays.y))
        with tensorflow_worker.quiet():
            history = self.simulated.fit(
                x if len(x) > 1 else x[0],
                y if len(y) > 1 else y[0],
                batch_size=self.batch,
                epochs=1,
                shuffle=False,
                verbose=0,
            )
        loss = float(history.history["loss"][-1])
        self.epoch += 1
        if not np.isfinite(loss):
            raise nan_in_training(self.where, loss, self.epoch)
        self.score = judge(self, self.predict(self.arrays.x_validation), self.float_score)
        if not np.isfinite(self.score.loss):
            raise nan_in_validation(self.where, self.score.loss, self.epoch)
        if self._kept is None or self.score.order < self.best.order:
            self.best, self.best_epoch = self.score, self.epoch
            self._kept = self.simulated.get_weights()
        return self.progress(loss)

    def progress(self, loss: float) -> Progress:
        finished = self.epoch >= self.epochs or self.epoch - self.best_epoch >= self.recipe.patience
        return Progress(self.epoch, self.epochs, loss, self.score, self.best_epoch, finished)

    def finish(self) -> bytes:
        """Go back to the best epoch and give its file, converted with the trained ranges."""
        assert self._kept is not None
        self.simulated.set_weights(self._kept)
        tf = self.tf
        with tempfile.TemporaryDirectory(prefix="edgequant-") as folder:
            traced = tracing.trace(self.simulated, self.where)
            exported = tracing.export(self.simulated, traced, Path(folder))
            # The library calls its layers, and so the outputs, by other names.
            self.exported = replace(exported, inputs=self.inputs, output_names=self.output_names)
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter._experimental_disable_per_channel_quantization_for_dense_layers = (
                not self.dense_per_channel
            )
            try:
                with tensorflow_worker.quiet():
                    return bytes(converter.convert())
            except Exception as error:
                raise ConversionError(
                    f"{self.where}: TensorFlow's converter refused qat_int8: "
                    f"{converter_reason(error)}"
                ) from None


def save(model: Any, folder: Path, where: str) -> str:
    """A live tf_keras model as a file for the child; raises `NotDerivableError`."""
    path = folder / "model.h5"
    try:
        with tensorflow_worker.quiet():
            model.save(path, include_optimizer=False)
    except Exception as error:
        raise NotDerivableError(
            f"{where}: tf_keras can't save the model: {tracing.shortened(error)}"
        ) from None
    if not path.is_file():
        raise ModelError(f"{where}: tf_keras wrote no file")
    finding = foreign_code.for_tf_keras(foreign_code.configurations(str(path)) or ())
    if finding is not None:  # no other process takes a function from a file
        raise NotDerivableError(f"{where}: {finding}")
    return str(path)
