"""The quantization forms, one entry each.

Variants of one family share one conversion and differ in the type of their inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

from pytest_edgequant.names import fold, unknown


@dataclass(frozen=True)
class VariantSpec:
    """One form: what is quantized, the type of its inputs and outputs, whether it is calibrated.

    `activations` is the type that an integer form must have inside, None for the others. `trained`
    forms need training data; `runs_as` names the form that a target must run to run this one.
    """

    name: str
    family: str
    summary: str
    io: str = "float32"
    activations: str | None = None
    trained: bool = False
    runs_as: str | None = None

    @property
    def calibrated(self) -> bool:
        """Whether its conversion needs representative samples."""
        return self.activations is not None


_SPECS = (
    VariantSpec("float32", "float32", "float32 throughout"),
    VariantSpec("float16", "float16", "weights stored as float16, computed in float32"),
    VariantSpec(
        "dynamic_range", "dynamic_range", "int8 weights, float activations and inputs and outputs"
    ),
    VariantSpec("int8", "int8", "int8 weights, activations, inputs and outputs", "int8", "int8"),
    VariantSpec(
        "int8_float_io", "int8", "int8 inside, float inputs and outputs", "float32", "int8"
    ),
    VariantSpec("uint8_io", "int8", "int8 inside, uint8 inputs and outputs", "uint8", "int8"),
    VariantSpec(
        "int16x8",
        "int16x8",
        "int8 weights, int16 activations, inputs and outputs",
        "int16",
        "int16",
    ),
    VariantSpec(
        "qat_int8",
        "qat_int8",
        "as int8, after fine-tuning with simulated quantization",
        "int8",
        "int8",
        trained=True,
        runs_as="int8",
    ),
    VariantSpec("as_is", "as_is", "a .tflite file as it is, whatever its form"),
)
VARIANTS = MappingProxyType({spec.name: spec for spec in _SPECS})


def get_spec(name: str, where: str = "") -> VariantSpec:
    """The entry of that name (without case, dashes, underscores); raises `UnknownNameError`."""
    for spec in VARIANTS.values():
        if fold(spec.name) == fold(name):
            return spec
    raise unknown("variant", name, VARIANTS, where)


def family_members(family: str) -> Iterable[VariantSpec]:
    """The forms that are made by one conversion."""
    return (spec for spec in VARIANTS.values() if spec.family == family)
