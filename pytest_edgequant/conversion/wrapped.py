"""Models that tensorflow-model-optimization pruned or clustered, without the layers that did it.

Its wrappers keep the weights in variables that change while the model runs: integer files of them
are refused by every interpreter or compute nonsense, and a float file is larger and slower than
the model that is meant.
"""

from __future__ import annotations

from typing import Any

from pytest_edgequant.conversion.tracing import flatten_layers, shortened
from pytest_edgequant.errors import ModelError

_PACKAGE = "tensorflow_model_optimization"
_STRIPPED_BY = {
    "PruneLowMagnitude": ("sparsity", "strip_pruning"),
    "ClusterWeights": ("clustering", "strip_clustering"),
}
"""The class of a wrapper; the part of the package and the function that takes it off."""


def _wrappers(model: Any) -> dict[str, str]:
    """The kinds of wrappers in a model, each with the name of the first layer that is one."""
    found: dict[str, str] = {}
    for layer in flatten_layers(model):
        for cls in type(layer).__mro__:
            if cls.__name__ in _STRIPPED_BY and cls.__module__.split(".")[0] == _PACKAGE:
                found.setdefault(cls.__name__, str(layer.name))
    return found


def unwrapped(model: Any, where: str) -> Any:
    """The model without such layers; the same object where it has none.

    Raises `ModelError` where they can't be taken off.
    """
    for kind, layer in _wrappers(model).items():
        part, function = _STRIPPED_BY[kind]
        # The object is there, so its package is imported already.
        import tensorflow_model_optimization as tfmot

        try:
            model = getattr(getattr(tfmot, part).keras, function)(model)
        except Exception as error:
            raise ModelError(
                f"{where}: the layer {layer!r} is {kind} of {_PACKAGE}, whose variables change "
                f"while the model runs: hand over tfmot.{part}.keras.{function}(model), which "
                f"failed here: {type(error).__name__}: {shortened(error)}"
            ) from None
    return model
