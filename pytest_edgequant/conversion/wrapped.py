"""Models that tensorflow-model-optimization pruned or clustered, without the layers that did it.

Its wrappers keep the weights in variables that change while the model runs: integer files of them
are refused by every interpreter or compute nonsense, and a float file is larger and slower than
the model that is meant.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from typing import Any

from pytest_edgequant.conversion.layers import flatten_layers
from pytest_edgequant.conversion.tracing import shortened
from pytest_edgequant.errors import ModelError

_PACKAGE = "tensorflow_model_optimization"
_STRIPPED_BY = {
    "PruneLowMagnitude": ("sparsity", "strip_pruning"),
    "ClusterWeights": ("clustering", "strip_clustering"),
    "ClusterWeightsMHA": ("clustering", "strip_clustering"),
}
"""The class of a wrapper; the part of the package and the function that takes it off."""


_SIMULATING = ("QuantizeWrapper", "QuantizeWrapperV2", "QuantizeLayer", "QuantizeAwareActivation")
_OWN = re.compile(r"\b((prune_low_magnitude|cluster)_[^/]*)/(mask|pulling_indices)")
"""The variables of wrappers, by the layers that hold them."""


def _wrappers(model: Any) -> dict[str, str]:
    """The kinds of wrappers in a model, each with the name of the first layer that is one."""
    found: dict[str, str] = {}
    for layer in flatten_layers(model):
        for cls in type(layer).__mro__:
            if cls.__name__ in _STRIPPED_BY and cls.__module__.split(".")[0] == _PACKAGE:
                found.setdefault(cls.__name__, str(layer.name))
    return found


def _copied(model: Any) -> Any:
    """The model again where it can be made: taking wrappers off calls the layers once more."""
    import tf_keras

    with contextlib.suppress(Exception):  # a custom layer without a configuration
        copy = tf_keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        return copy
    return model


def unwrapped(model: Any, where: str) -> Any:
    """The model without such layers; the same object where it has none.

    Raises `ModelError` where they can't be taken off.
    """
    for kind, layer in _wrappers(model).items():
        part, function = _STRIPPED_BY[kind]
        # The object is there, so its package is imported already.
        import tensorflow_model_optimization as tfmot

        try:
            model = getattr(getattr(tfmot, part).keras, function)(_copied(model))
        except Exception as error:
            raise ModelError(
                f"{where}: the layer {layer!r} is {kind} of {_PACKAGE}, whose variables change "
                f"while the model runs: hand over tfmot.{part}.keras.{function}(model), which "
                f"failed here: {type(error).__name__}: {shortened(error)}"
            ) from None
    return model


def advice(class_name: str) -> str | None:
    """What to do about a file with a layer of that class; None where it is not the package's."""
    if class_name in _STRIPPED_BY:
        part, function = _STRIPPED_BY[class_name]
        return (
            "it is wrapped by tensorflow-model-optimization, for training alone: save the model "
            f"without, as tfmot.{part}.keras.{function}(model) gives it"
        )
    if class_name in _SIMULATING:
        return (
            "it simulates quantization by tensorflow-model-optimization: load the file yourself "
            "(with tfmot.quantization.keras.quantize_scope(): tf_keras.models.load_model(path)) "
            "and hand over the model object from the fixture edge_model"
        )
    return None


def writing_wrapper(nodes: Iterable[tuple[str, str]]) -> str | None:
    """What to do about a graph whose wrappers write weights; None where there is none.

    `nodes` are operators with their names, which begin with the layers' and so the wrappers'.
    """
    every = list(nodes)
    own = {found[1]: found[2] for _, name in every if (found := _OWN.search(name))}
    for operator, name in every:
        for scope in name.split("/"):
            if operator.startswith("Assign") and scope in own:
                kind = "PruneLowMagnitude" if own[scope] != "cluster" else "ClusterWeights"
                return f"the layer {scope!r} writes its weights in inference: {advice(kind)}"
    return None
