"""What runs in the child that has TensorFlow: begin a training, take an epoch, finish.

One call an epoch, so that the test process can show progress and a hang is found in time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.conversion import check, tensorflow_worker
from pytest_edgequant.conversion.calibration import Calibration, calibration_inputs
from pytest_edgequant.conversion.order import Converted
from pytest_edgequant.conversion.qat import failures, losses, preconditions
from pytest_edgequant.conversion.qat.opaque import notes_of
from pytest_edgequant.conversion.qat.plan import make_plan
from pytest_edgequant.conversion.qat.recipe import Training, scale_notes, split
from pytest_edgequant.conversion.qat.training import Ends, Progress, Trainer
from pytest_edgequant.conversion.tracing import Exported
from pytest_edgequant.forms import VARIANTS
from pytest_edgequant.tflite.ends import model_inputs, model_outputs, positions_of
from pytest_edgequant.tflite.graph import Graph
from pytest_edgequant.tflite.model import TFLiteModel
from pytest_edgequant.tflite.passthrough import MoveIntegers

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AGREEMENT_WITH = 500

Origin = Exported | tensorflow_worker.Stored
"""A SavedModel with the batch at 1, or a file."""


@dataclass
class _Run:
    trainer: Any
    """A `Trainer` or a `LegacyTrainer`."""
    exported: Exported | None
    notes: tuple[str, ...]
    where: str
    names: Callable[[str], str]
    """Finds the layer that a message of TensorFlow is about."""

    def guarded(self) -> AbstractContextManager[None]:
        """What TensorFlow raises inside is a `TrainingError`."""
        return failures.as_training_error(self.where, self.names)


_current: dict[str, _Run] = {}


def _kind(graph: Graph, name: str, index: int) -> losses.OutputKind:
    makers = {o: operator for operator in graph.main.operators for o in operator.outputs}
    maker = makers.get(index)
    while maker is not None and maker.name in ("DEQUANTIZE", "QUANTIZE", "RESHAPE"):
        maker = makers.get(maker.inputs[0])
    shape = graph.main.tensors[index].shape[1:]
    return losses.OutputKind(name, shape, maker.name if maker is not None else "")


def _ends(graph: Graph, exported: Exported) -> Ends:
    main = graph.main
    given = model_inputs(graph, [(key, key) for key in exported.input_keys])
    wanted = model_outputs(
        graph, tuple(zip(exported.output_names, exported.output_keys, strict=True))
    )
    return Ends(
        positions_of(main.inputs, given.tensors),
        positions_of(wanted.tensors, main.outputs),
        tuple(_kind(graph, n, i) for n, i in zip(wanted.names, wanted.tensors, strict=True)),
    )


def begin(
    origin: Origin,
    where: str,
    calibration: Calibration,
    training: Training,
    *,
    unrolled: bool,
    dense_per_channel: bool,
) -> Progress:
    """Prepare a training: the template, the simulation, the data; gives the state before it.

    Raises `ConversionError` where the result could not be int8, `ModelError` for a model that can't
    be trained, `DatasetError`, `TrainingError`.
    """
    _prepare(training)
    if isinstance(origin, Exported):
        exported = origin
    else:
        model, exported = tensorflow_worker.exported_file(origin, where, unrolled)
        if model is not None:
            preconditions.check_model(model, where)
    arrays = split(training, exported.inputs, exported.output_names)
    samples, _ = calibration_inputs(calibration, exported.inputs)
    notes = scale_notes(samples, arrays.x, exported.inputs)
    converted = tensorflow_worker.convert_exported(exported, where, "float32", None)
    floating = TFLiteModel(converted.content, where)
    preconditions.check_graph(floating)
    converted = tensorflow_worker.convert_exported(
        exported, where, "int8", calibration, dense_per_channel=dense_per_channel
    )
    template = TFLiteModel(MoveIntegers().apply(converted.content).content, where)
    # Before hours of training, not after: what the converter leaves in float stays there.
    check.check_inside(template.at("qat_int8"), VARIANTS["qat_int8"])
    plan = make_plan(template, floating)
    ends = _ends(template.graph, exported)
    names = failures.operator_namer(plan)
    with failures.as_training_error(where, names):
        trainer = Trainer(
            plan, ends, arrays, training.recipe, (training.loss, training.optimizer), where
        )
    all_notes = (*converted.notes, *notes, *notes_of(plan))
    _current["run"] = _Run(trainer, exported, all_notes, where, names)
    return trainer.progress(float("nan"))


def begin_legacy(path: str, where: str, training: Training, *, dense_per_channel: bool) -> Progress:
    """As `begin`, for a file of tf_keras through tensorflow-model-optimization.

    Raises `NotDerivableError` where that library can't quantize the model.
    """
    from pytest_edgequant.conversion.qat.legacy import LegacyTrainer

    _prepare(training)
    with failures.as_training_error(where, lambda _: ""):
        trainer = LegacyTrainer(path, training, where, dense_per_channel)
    names = failures.layer_namer(layer.name for layer in trainer.simulated.layers)
    _current["run"] = _Run(trainer, None, (), where, names)
    return trainer.progress(float("nan"))


def _prepare(training: Training) -> None:
    _current.clear()
    tf = tensorflow_worker.tensorflow()
    tf.config.experimental.enable_op_determinism()
    tf.random.set_seed(training.recipe.seed)


def run_epoch() -> Progress:
    """Train and validate one epoch."""
    run = _current["run"]
    with run.guarded():
        progress: Progress = run.trainer.run_epoch()
    return progress


def finish() -> Converted:
    """The best epoch as a file, and what the training came to."""
    run = _current.pop("run")
    with run.guarded():
        return _finished(run)


def _finished(run: _Run) -> Converted:
    trainer = run.trainer
    content = trainer.finish()
    exported = run.exported or trainer.exported
    x = [a[:_AGREEMENT_WITH] for a in trainer.arrays.x_validation]
    agreement = _agreement(content, exported, x, trainer.predict(x))
    summary = {
        "metric": "accuracy" if trainer.judged else "loss",
        "float_value": trainer.float_score.value,
        "untrained_value": trainer.untrained.value if trainer.untrained else None,
        "trained_value": trainer.best.value,
        "samples": len(trainer.arrays.x_validation[0]),
        "epochs": trainer.epoch,
        "best_epoch": trainer.best_epoch,
        "agreement": agreement,
    }
    names = tuple(spec.name for spec in exported.inputs)
    return Converted(
        content,
        tuple(zip(names, exported.input_keys, strict=True)),
        tuple(zip(exported.output_names, exported.output_keys, strict=True)),
        run.notes,
        summary,
    )


def _agreement(
    content: bytes,
    exported: Exported,
    x: list[NDArray[Any]],
    simulated: list[NDArray[np.float32]],
) -> float | None:
    """The share of samples for which file and simulation name the same class; None without any."""
    classes = [s.ndim > 1 and s.shape[-1] > 1 for s in simulated]
    if not any(classes):
        return None
    found = _run_file(content, exported, x)
    same = [
        (f.reshape(s.shape).argmax(-1) == s.argmax(-1)).mean()
        for f, s, several in zip(found, simulated, classes, strict=True)
        if several
    ]
    return float(np.mean(same))


def _run_file(
    content: bytes, exported: Exported, x: list[NDArray[Any]]
) -> list[NDArray[np.float32]]:
    # LiteRT's own: that of TensorFlow 2.21 computes BATCH_MATMUL of two int8 activations wrongly.
    from ai_edge_litert.interpreter import Interpreter

    with tensorflow_worker.quiet():
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
        runner = interpreter.get_signature_runner()
        rows = []
        for i in range(len(x[0])):
            sample = {
                key: np.ascontiguousarray(a[i : i + 1], dtype=spec.dtype)
                for key, a, spec in zip(exported.input_keys, x, exported.inputs, strict=True)
            }
            interpreter.reset_all_variables()
            result = runner(**sample)
            rows.append([np.array(result[key]) for key in exported.output_keys])
    return [np.concatenate(column) for column in zip(*rows, strict=True)]
