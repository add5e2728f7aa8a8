"""A Keras model object and its layers: which Keras it is of, how it is set, what state it keeps.

Works with Keras 3 and with tf_keras objects, and imports neither.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np

from pytest_edgequant.errors import ConversionError


def is_keras_model(model: object) -> bool:
    """Whether the object is a Keras 3 or tf_keras model, without importing either."""
    return any(
        cls.__name__ == "Model" and cls.__module__.split(".")[0] in ("keras", "tf_keras")
        for cls in type(model).__mro__
    )


def is_legacy_keras(model: object) -> bool:
    """Whether the model is one of tf_keras (Keras 2)."""
    return any(cls.__module__.split(".")[0] == "tf_keras" for cls in type(model).__mro__)


def flatten_layers(model: Any) -> list[Any]:
    """Every layer of the model, nested ones and those inside wrappers included."""
    flatten = getattr(model, "_flatten_layers", None)
    if flatten is not None:
        return list(flatten())
    return [m for m in model.submodules if hasattr(m, "call")]


def settings(model: Any) -> str:
    """What the attributes of the model and its layers are set to: values and functions.

    Reading them costs less than a trace, which a change of one can make another.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, tuple | list):
            return [plain(item) for item in value]
        if isinstance(value, bool | int | float | str | bytes | type(None)):
            return value
        if isinstance(value, np.ndarray) and value.dtype != object:
            return hashlib.sha256(value.tobytes()).hexdigest()
        # A function is known by being this one; of other objects their kind must do.
        return id(value) if inspect.isroutine(value) else type(value).__qualname__

    # What Keras notes of a call, a trace included, is no setting.
    owners = [model, *flatten_layers(model)]
    found = [
        sorted((name, plain(v)) for name, v in vars(owner).items() if name != "_called")
        for owner in owners
    ]
    return repr(found)


def has_recurrent_layers(model: Any) -> bool:
    """Whether an LSTM, GRU or the like is in it, which can be unrolled."""
    return any(hasattr(layer, "unroll") for layer in flatten_layers(model))


@contextlib.contextmanager
def unrolled_layers(model: Any, active: bool) -> Iterator[None]:
    """The model's recurrent layers unrolled while it is traced, then as they were."""
    layers = [layer for layer in flatten_layers(model) if hasattr(layer, "unroll")] * active
    changes = [(layer, "unroll", layer.unroll, True) for layer in layers] + [
        # tf_keras decides for its fused operator when the layer is made.
        (layer, "_could_use_gpu_kernel", layer._could_use_gpu_kernel, False)
        for layer in layers
        if hasattr(layer, "_could_use_gpu_kernel")
    ]
    try:
        for layer, name, _, value in changes:
            setattr(layer, name, value)
        yield
    finally:
        for layer, name, value, _ in changes:
            setattr(layer, name, value)


def stateful_layers(model: Any) -> list[Any]:
    """The recurrent layers that keep their state from one call to the next."""
    return [
        layer
        for layer in flatten_layers(model)
        if getattr(layer, "stateful", False) is True and hasattr(layer, "states")
    ]


def stateful_layer_names(model: Any) -> tuple[str, ...]:
    """Their names."""
    return tuple(str(layer.name) for layer in stateful_layers(model))


def check_states(model: Any, where: str) -> None:
    """Refuse states of several samples at a time: what is made takes one."""
    for layer in stateful_layers(model):
        states = [state for state in layer.states or () if state is not None]
        batch = next((int(s.shape[0]) for s in states if s.shape[0] not in (None, 1)), 1)
        if batch != 1:
            raise ConversionError(
                f"{where}: the layer {layer.name!r} ({type(layer).__name__}) keeps the state of "
                f"{batch} samples at a time (stateful=True), and a device gives the model one. "
                "Build the model again with a batch of 1 (batch_shape=(1, ...) of its Input) and "
                "load the same weights (set_weights(model.get_weights())), or with stateful=False"
            )


@contextlib.contextmanager
def initial_states(model: Any) -> Iterator[None]:
    """The states of the model's recurrent layers at zero, then as they were.

    What is exported begins with the states that it has then, whatever the model has seen before.
    """
    states = [s for layer in stateful_layers(model) for s in layer.states or () if s is not None]
    before = [state.numpy().copy() for state in states]
    try:
        for state, value in zip(states, before, strict=True):
            state.assign(np.zeros_like(value))
        yield
    finally:
        for state, value in zip(states, before, strict=True):
            state.assign(value)
