"""Losses and optimizers: described in the test process, made in the child that trains.

A description is plain values: a name, or a Keras configuration. A loss that is a function of the
user's is traced to a TensorFlow graph, which needs no import of the user's code in the child.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.conversion.calibration import class_labels
from pytest_edgequant.errors import TrainingError, missing_extra
from pytest_edgequant.wording import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

WHERE = "edge_training"
_ALIASES = {"mse": "mean_squared_error", "mae": "mean_absolute_error"}


def _keras() -> Any:
    try:
        import keras
    except ImportError:
        raise missing_extra("training a model", "tensorflow") from None
    return keras


def _config_of(value: Any, what: str) -> dict[str, Any] | None:
    """Name and configuration of a Keras object (Keras 3 or tf_keras); None for anything else."""
    if not any(c.__module__.split(".")[0] in ("keras", "tf_keras") for c in type(value).__mro__):
        return None
    if not hasattr(value, "get_config"):
        return None
    found = _keras()
    serialize = getattr(found, f"{what}s").serialize
    if type(value).__module__.split(".")[0] == "tf_keras":
        return {"class_name": type(value).__name__, "config": _plain(value.get_config())}
    return dict(_plain(serialize(value)))


def _plain(value: Any) -> Any:
    """Configurations as JSON takes them."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value


def describe_loss(loss: Any) -> Any:
    """A loss as plain values; a list or dict of them for several outputs.

    Raises `TrainingError` for what is no loss.
    """
    if loss is None or isinstance(loss, str):
        return _checked("loss", "losses", loss)
    if isinstance(loss, Mapping):
        return {"by_name": {str(k): describe_loss(v) for k, v in loss.items()}}
    if isinstance(loss, list | tuple):
        return [describe_loss(part) for part in loss]
    config = _config_of(loss, "losse") if not isinstance(loss, type) else None
    if config is not None:
        return config
    module = str(getattr(loss, "__module__", "")).split(".")[0]
    if callable(loss) and module in ("keras", "tf_keras") and hasattr(loss, "__name__"):
        return _checked("loss", "losses", str(loss.__name__))
    if callable(loss) and not isinstance(loss, type):
        return _traced(loss)
    raise TrainingError(
        f"{WHERE}: loss must be a name, a Keras loss, or a function (y_true, y_pred), got "
        f"{type(loss).__name__}"
    )


def describe_optimizer(optimizer: Any) -> Any:
    """As `describe_loss`, for an optimizer."""
    if optimizer is None or isinstance(optimizer, str):
        return _checked("optimizer", "optimizers", optimizer)
    config = _config_of(optimizer, "optimizer") if not isinstance(optimizer, type) else None
    if config is None:
        raise TrainingError(
            f"{WHERE}: optimizer must be a name or a Keras optimizer, got "
            f"{type(optimizer).__name__}"
        )
    return config


def _checked(what: str, module: str, name: str | None) -> str | None:
    if name is None:
        return None
    name = _ALIASES.get(name, name)
    try:
        getattr(_keras(), module).get(name)
    except ValueError:
        raise TrainingError(
            f"{WHERE}: Keras knows no {what} {name!r}; give one of its names, or the object itself"
        ) from None
    return name


def _traced(loss: Callable[[Any, Any], Any]) -> dict[str, Any]:
    """A function of the user's as a serialized TensorFlow graph without fixed shapes."""
    _keras()
    import tensorflow as tf

    specs = [tf.TensorSpec(None, tf.float32, name=n) for n in ("y_true", "y_pred")]
    try:
        function = tf.function(lambda y_true, y_pred: tf.reduce_mean(loss(y_true, y_pred)))
        concrete = function.get_concrete_function(*specs)
        if concrete.captured_inputs:
            raise TrainingError("it refers to variables or tensors of another graph")
        graph = concrete.graph.as_graph_def()
    except Exception as error:
        raise TrainingError(
            f"{WHERE}: the loss {getattr(loss, '__name__', type(loss).__name__)!r} can't be traced "
            f"by TensorFlow: {' '.join(str(error).split())[:400]}"
        ) from None
    return {
        "graph": graph.SerializeToString(deterministic=True).hex(),
        "inputs": [tensor.name for tensor in concrete.inputs],
        "output": concrete.outputs[0].name,
    }


@dataclasses.dataclass(frozen=True)
class OutputKind:
    """What is known of an output: its shape per sample, and the operator that it comes from."""

    name: str
    shape: tuple[int, ...]
    operator: str


def default_loss(output: OutputKind, y: NDArray[Any]) -> dict[str, Any]:
    """Cross-entropy for labels that are classes, mean squared error for others."""
    classes = output.shape[-1] if output.shape else 1
    logits = output.operator not in ("SOFTMAX", "LOGISTIC")
    labels = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    whole = labels.dtype.kind in "biu" or bool((labels == np.rint(labels)).all())
    if classes > 1 and labels.ndim == len(output.shape):
        # One number for what has an axis of classes: their index.
        if whole and labels.min() >= 0 and labels.max() < classes:
            return _entropy("SparseCategoricalCrossentropy", logits)
        raise TrainingError(
            f"{WHERE}: the output {output.name!r} has {counted(classes, 'value')} and the labels "
            f"run from {labels.min()} to {labels.max()}; give class numbers from 0 to "
            f"{classes - 1}, or a loss and labels of the output's shape"
        )
    binary = bool(np.isin(y, (0, 1)).all())
    same = y.shape[1:] == output.shape
    one_hot = same and classes > 1 and binary and output.operator != "LOGISTIC"
    if one_hot and (output.operator == "SOFTMAX" or class_labels(y) is not None):
        return _entropy("CategoricalCrossentropy", logits)
    if binary and (output.operator == "LOGISTIC" or (classes == 1 and y.dtype.kind in "biu")):
        return _entropy("BinaryCrossentropy", logits)
    return {"class_name": "MeanSquaredError", "config": {}}


def _entropy(name: str, logits: bool) -> dict[str, Any]:
    return {"class_name": name, "config": {"from_logits": logits}}


def judges_classes(description: Any) -> bool:
    """Whether a loss is one over classes, so that accuracy tells more than its value."""
    name = description.get("class_name", "") if isinstance(description, Mapping) else description
    return "entropy" in str(name).lower()


def for_outputs(description: Any, outputs: Sequence[OutputKind], y: Sequence[Any]) -> list[Any]:
    """One description for each output, defaults filled in.

    Raises `TrainingError` where they don't fit the outputs.
    """
    names = [output.name for output in outputs]
    if isinstance(description, Mapping) and "by_name" in description:
        given = description["by_name"]
        unknown = sorted(set(given) - set(names))
        if unknown:
            raise TrainingError(f"{WHERE}: loss for {unknown[0]!r}: the outputs are {names}")
        parts = [given.get(name) for name in names]
    elif isinstance(description, list):
        parts = list(description)
        if len(parts) != len(names):
            raise TrainingError(
                f"{WHERE}: {counted(len(parts), 'loss')} for {counted(len(names), 'output')} "
                f"{names}; give one for each"
            )
    else:
        parts = [description] * len(names)
    return [
        default_loss(output, labels) if part is None else part
        for part, output, labels in zip(parts, outputs, y, strict=True)
    ]


def make_loss(description: Any, keras: Any = None) -> Callable[[Any, Any], Any]:
    """The loss of a description, a mean over the samples; `keras` is Keras 3 or tf_keras."""
    import tensorflow as tf

    keras = keras or _keras()

    if isinstance(description, Mapping) and "graph" in description:
        graph = tf.compat.v1.GraphDef.FromString(bytes.fromhex(description["graph"]))

        def load() -> None:
            tf.graph_util.import_graph_def(graph, name="")

        wrapped = tf.compat.v1.wrap_function(load, [])
        pruned = wrapped.prune(description["inputs"], description["output"])
        return lambda y, p: pruned(tf.cast(y, tf.float32), p)
    found = keras.losses.get(_known(description))
    return lambda y, p: tf.reduce_mean(found(y, p))


def _known(description: Any) -> Any:
    """A configuration that Keras 3 and tf_keras take: class and arguments alone."""
    if not isinstance(description, Mapping):
        return description
    config = {k: v for k, v in description.get("config", {}).items() if k != "dtype"}
    return {"class_name": description["class_name"], "config": config}


def make_optimizer(description: Any, learning_rate: float, steps: int, keras: Any = None) -> Any:
    """The optimizer of a description; Adam on a cosine by default."""
    keras = keras or _keras()
    if description is None:
        schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps, alpha=0.01)
        return keras.optimizers.Adam(schedule)
    if isinstance(description, str):
        optimizer = keras.optimizers.get(description)
        optimizer.learning_rate = learning_rate
        return optimizer
    return keras.optimizers.get(_known(description))
