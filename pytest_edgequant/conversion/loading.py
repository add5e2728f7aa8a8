"""Keras files and SavedModels become objects here, and nowhere else.

No loader sees a file before `foreign_code` has read it: what it brings is not run.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

from pytest_edgequant.conversion import foreign_code, tracing, wrapped
from pytest_edgequant.conversion.foreign_code import Finding
from pytest_edgequant.errors import ModelError

_REFUSED_AS_UNSAFE = re.compile(r"safe_mode|unsafe_deserialization|disallowed|for security", re.I)
_BY_KERAS_3 = "keras.saving.load_model(path, safe_mode=False)"
_BY_TF_KERAS = "tf_keras.models.load_model(path)"
_HAND_OVER = (
    "its custom layers are not known to another process: hand over the model object itself "
    "from the fixture edge_model (load it with custom_objects=...)"
)


def _refusal(path: str, where: str, finding: Finding) -> ModelError:
    """The error for a file that would run something, and what its owner can do."""
    known = wrapped.advice(finding.kind)
    if known is not None:
        return ModelError(f"{where}: {finding.place} can't be loaded from a file: {known}")
    if finding.custom:
        return ModelError(f"{where}: {finding}: nothing is imported for a file, and {_HAND_OVER}")
    load = _BY_KERAS_3 if path.endswith(".keras") else f"{_BY_TF_KERAS} or {_BY_KERAS_3}"
    return ModelError(
        f"{where}: {finding}. Loading the file would run what it brings, so it was not loaded. If "
        f"you trust it, load it yourself ({load}) and hand over the model object, from the fixture "
        "edge_model or to convert(); else replace that layer by a class of your own code or by "
        "operations of Keras, and write the file again"
    )


def _check_reason(path: str, where: str, whose: str, error: Exception) -> str:
    """A loader's reason on one line; raises `ModelError` where it holds the file to be unsafe."""
    text = " ".join(str(error).split())
    if _REFUSED_AS_UNSAFE.search(text):
        raise _refusal(path, where, Finding(whose, f"refuses it as unsafe: {text[:400]}")) from None
    return text


def tf_keras_model(path: str, where: str) -> Any:
    """A file through tf_keras, or None where it can't load it either.

    Raises `ModelError` where the file would run something, `ImportError` without tf_keras.
    """
    found = foreign_code.configurations(path)
    finding = foreign_code.for_tf_keras(found or ())
    if finding is not None:
        raise _refusal(path, where, finding)
    import tf_keras
    from tf_keras.src.saving import serialization_lib

    if not found:  # what can't be read can't be judged
        return None
    try:
        # Its reader of HDF5 has no option for this; in the scope its layers refuse bytecode.
        with serialization_lib.SafeModeScope(safe_mode=True):
            return tf_keras.models.load_model(path, compile=False)
    except Exception as error:
        _check_reason(path, where, "tf_keras", error)
    return None


def _as_keras_2_means_it(path: str, where: str, changed: Finding) -> Any:
    """A file that Keras 3 would load without a word, and compute something else."""
    with contextlib.suppress(ImportError):
        model = tf_keras_model(path, where)
        if model is not None:
            return model
    raise ModelError(
        f"{where}: {changed}. The file is of Keras 2, and only tf_keras reads it as it was meant: "
        "install tf-keras (extra `qat`), or load the model yourself and hand over the object"
    )


def _is_operation(class_name: str) -> bool:
    """Whether a class of that name is an operation of Keras 3 (`keras.ops`)."""
    import keras

    kinds = keras.Operation.__subclasses__()
    return any(kind.__name__ == class_name and ".ops." in kind.__module__ for kind in kinds)


def keras_model(path: str, where: str) -> Any:
    """A `.keras` or `.h5` file through Keras 3, or tf_keras for what only that can read.

    Raises `ModelError`, which names the layer where the file would run something.
    """
    found = foreign_code.configurations(path) or ()
    finding = foreign_code.for_any_loader(found)
    if finding is not None:
        raise _refusal(path, where, finding)
    changed = foreign_code.changed_since_keras_2(found)
    if changed is not None:
        return _as_keras_2_means_it(path, where, changed)
    import keras

    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:
        first = error
    reason = _check_reason(path, where, "Keras", first)
    unknown = re.search(r"Could not locate \w+ '([^']+)'|Unknown layer: '?([\w>]+)'?", reason)
    known = wrapped.advice(unknown[1] or unknown[2]) if unknown else None
    if unknown and known:
        raise ModelError(f"{where}: Keras can't load it: {unknown.group()}: {known}") from None
    told = f"{type(first).__name__}: {unknown.group() if unknown else reason[:400]}"
    advice = "write the file again, or hand over the model object itself"
    try:
        model = tf_keras_model(path, where)
    except ModelError as error:
        raise ModelError(f"{error}. (Keras 3 can't load it: {told})") from None
    except ImportError:
        model = None
        if path.endswith(".h5"):
            advice = (
                "if Keras 2 wrote it, install tf-keras (extra `qat`); else write the file again"
            )
    if model is not None:
        return model
    if unknown and _is_operation(unknown[1] or unknown[2]):
        advice = "Keras does not read operations of keras.ops from HDF5: write it as .keras"
    elif unknown or "custom" in reason.lower():
        advice = _HAND_OVER
    raise ModelError(f"{where}: Keras can't load it: {told}; {advice}")


def saved_model(path: str, where: str) -> Any:
    """A SavedModel folder; raises `ModelError` where it reaches out of its graph."""
    import tensorflow as tf

    foreign_code.check_saved_model(path, where)
    try:
        return tf.saved_model.load(path)
    except Exception as error:
        raise ModelError(
            f"{where}: not a SavedModel that TensorFlow can load: {tracing.shortened(error)}"
        ) from None
