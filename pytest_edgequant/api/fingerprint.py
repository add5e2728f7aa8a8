"""What a model computes, as one number: for scripts that compare files."""

from __future__ import annotations

from typing import Any

from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.errors import user_facing
from pytest_edgequant.tflite.fingerprint import logical_fingerprint


@user_facing
def model_fingerprint(model: Any) -> str:
    """The logical fingerprint (64 hex digits) of a Variant, a path or the bytes of a .tflite.

    Equal for files that compute the same: graph, shapes, types, quantization and weights. Raises
    `ModelError` for what is no .tflite file.
    """
    variant = load_variant(model)
    return logical_fingerprint(variant.content, variant.label)
