"""A smaller .tflite for nothing: without what the device never reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.errors import user_facing
from pytest_edgequant.pipeline.current import current_pipeline
from pytest_edgequant.records import Variant
from pytest_edgequant.tflite.model import model_of


@user_facing
def strip_model(model: Any) -> tuple[bytes, str]:
    """A .tflite without names, signatures, minima, maxima and old metadata, and the proof.

    `model` is a Variant, a path or the bytes of a .tflite. Outputs are compared to the bit on
    LiteRT and on TFLM, where they are installed and run the model; the text says on which. A memory
    plan that TFLM follows stays, and constants lie at multiples of 16 bytes. Gives the model's own
    bytes where there is nothing to take off.

    Raises `ModelError`, and `ConversionError` where outputs are not equal.
    """
    variant = load_variant(model if isinstance(model, Variant | bytes) else Path(model))
    found = current_pipeline().stripper.stripped(model_of(variant))
    return found.content, found.proof
