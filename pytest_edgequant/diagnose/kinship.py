"""Whether two files are forms of one model, and which of them is nearer to the float original."""

from __future__ import annotations

import numpy as np

from pytest_edgequant.diagnose.weights import layer_weights
from pytest_edgequant.errors import ModelError
from pytest_edgequant.records import Variant

_SURELY_RELATED_DB = 6.0
"""Of weights with one another, half the amplitude in common; unrelated ones have -3 dB."""
_FLOAT32, _FLOAT16, _INTEGER = 2, 1, 0


def _precision(variant: Variant) -> int:
    types = {t.dtype.kind for t in variant.tensors if t.quantization is not None}
    if types & {"i", "u"}:
        return _INTEGER
    return _FLOAT16 if any(t.dtype == np.float16 for t in variant.tensors) else _FLOAT32


def _related(variant: Variant, original: Variant) -> bool:
    """Whether one's weights are the other's, quantized."""
    try:
        layers = layer_weights(variant.content, original.content, variant.label)
    except ModelError:
        return False
    found = [layer.sqnr_db for layer in layers if layer.measured and layer.sqnr_db is not None]
    return bool(found) and float(np.median(found)) > _SURELY_RELATED_DB


def _alike(variant: Variant, other: Variant) -> bool:
    """Whether the names say that both are one model, and the shapes don't object."""
    shapes = [[info.shape for info in (*each.inputs, *each.outputs)] for each in (variant, other)]
    return variant.model_name == other.model_name and shapes[0] == shapes[1]


def is_quantized_form(variant: Variant, original: Variant) -> bool:
    """Whether `variant` is a quantized form of the model that `original` is a nearer form of."""
    if _precision(variant) >= _precision(original):
        return False
    return _alike(variant, original) or _related(variant, original)
