"""What each runtime can run, before any model is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

INTEGER_VARIANTS = ("int8", "int8_float_io", "uint8_io", "int16x8")


@dataclass(frozen=True)
class Runtime:
    """A runtime: the variants that it can run, and why not the others."""

    name: str
    title: str
    variants: tuple[str, ...]
    refused: Mapping[str, str]


RUNTIMES = {
    "tflm": Runtime(
        name="tflm",
        title="TensorFlow Lite for Microcontrollers",
        variants=("float32", *INTEGER_VARIANTS),
        refused={
            "dynamic_range": (
                "TFLM has no hybrid kernels (float activations with int8 weights): dynamic range "
                "quantization never runs on a microcontroller. Use int8"
            ),
            "float16": (
                "TFLM has no float16 kernels and can't dequantize float16 weights. "
                "Use int8, or float32 where the core has an FPU"
            ),
        },
    ),
    "litert": Runtime(
        name="litert",
        title="LiteRT (TensorFlow Lite)",
        variants=("float32", "float16", "dynamic_range", *INTEGER_VARIANTS),
        refused={},
    ),
}
