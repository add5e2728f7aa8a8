"""What can't be trained, said before anything is tried."""

from __future__ import annotations

from typing import Any

from pytest_edgequant.conversion.layers import flatten_layers
from pytest_edgequant.errors import ModelError
from pytest_edgequant.tflite.model import TFLiteModel

_HALF = ("float16", "bfloat16")


def _policies(layer: Any) -> set[str]:
    """The types that a layer computes and stores in."""
    found = {str(getattr(layer, name, None)) for name in ("compute_dtype", "dtype")}
    return found | {str(getattr(w, "dtype", None)) for w in getattr(layer, "weights", ())}


def check_model(model: Any, where: str) -> None:
    """Raise `ModelError` for half precision, quantized layers, and a model without weights."""
    for layer in [model, *flatten_layers(model)]:
        name = getattr(layer, "name", type(layer).__name__)
        half = sorted(t for t in _policies(layer) if any(h in t for h in _HALF))
        if half:
            raise ModelError(
                f"{where}: qat_int8: the layer {name!r} computes in {half[0]} (mixed precision); "
                "training with simulated int8 needs float32: build the model under the policy "
                "'float32' and load the same weights"
            )
        if getattr(layer, "quantization_mode", None) or "Quantize" in type(layer).__name__:
            raise ModelError(
                f"{where}: qat_int8: the layer {name!r} is quantized already "
                f"({getattr(layer, 'quantization_mode', None) or type(layer).__name__}); "
                "give the float model"
            )
    if not model.weights:
        raise ModelError(
            f"{where}: qat_int8: the model has no weights, so there is nothing to train; "
            "use int8 instead"
        )


def check_graph(model: TFLiteModel) -> None:
    """The same for what has no layers: the float model's graph."""
    for subgraph in model.graph.subgraphs:
        for tensor in subgraph.tensors:
            if tensor.type in ("FLOAT16", "BFLOAT16"):
                raise ModelError(
                    f"{model.where}: qat_int8: {tensor.shown} is {tensor.type} (mixed precision); "
                    "training with simulated int8 needs a float32 model"
                )
            if tensor.quantization is not None:
                raise ModelError(
                    f"{model.where}: qat_int8: {tensor.shown} is quantized already; give the float "
                    "model"
                )
