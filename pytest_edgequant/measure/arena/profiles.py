"""What TFLM's arena depends on besides the model: ABI, core and kernel library, as data.

Sizes in bytes, read from allocation traces of TFLM 90b983c2 (2026-08-20) built with GCC 12.2 for
Cortex-M4, M7 and M55, and from the `tflite-micro` wheel's recording interpreter on x86-64.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_edgequant.names import fold, unknown

TFLM_COMMIT = "90b983c2"


@dataclass(frozen=True)
class Abi:
    """Sizes of the interpreter's records for one ABI.

    `enum` is the size of a C enum (1 with `-fshort-enums`, the default of the Arm EABI for
    bare-metal targets); `allocator` are the allocator's own objects at the arena's end.
    """

    name: str
    pointer: int
    enum: int
    eval_tensor: int
    node: int
    tensor: int
    affine: int
    allocator: tuple[int, ...]


ABIS = {
    "arm32": Abi("arm32", 4, 1, 12, 32, 32, 12, (36, 44, 36)),
    "x86_64": Abi("x86_64", 8, 4, 24, 64, 64, 24, ()),
}
"""The recording allocator of x86-64 keeps its own objects out of what it reports."""

KERNELS = ("reference", "cmsis-nn")

_EXTENSIONS = {
    "cortex-m0": "none",
    "cortex-m0plus": "none",
    "cortex-m3": "none",
    "cortex-m23": "none",
    "cortex-m4": "dsp",
    "cortex-m7": "dsp",
    "cortex-m33": "dsp",
    "cortex-m35p": "dsp",
    "cortex-m52": "mve",
    "cortex-m55": "mve",
    "cortex-m85": "mve",
}
"""Instruction set extension of a core that changes what CMSIS-NN asks for."""


@dataclass(frozen=True)
class Profile:
    """One build of TFLM: `extension` is none, dsp or mve (Helium) and matters to CMSIS-NN alone."""

    abi: Abi
    kernels: str
    extension: str

    @property
    def cmsis(self) -> bool:
        return self.kernels == "cmsis-nn"

    @property
    def mve(self) -> bool:
        return self.cmsis and self.extension == "mve"

    @property
    def dsp(self) -> bool:
        return self.cmsis and self.extension == "dsp"

    def __str__(self) -> str:
        return f"TFLM {TFLM_COMMIT}, {self.abi.name}, {self.kernels}"


def core_extension(core: str) -> str | None:
    """The extension of a core by name; None for a core that is no known Cortex-M."""
    by_fold = {fold(name): extension for name, extension in _EXTENSIONS.items()}
    return by_fold.get(fold(core))


def make_profile(abi: str, core: str, kernels: str) -> Profile:
    """The profile of a build; raises `UnknownNameError` for an ABI or library it does not know."""
    if abi not in ABIS:
        raise unknown("ABI", abi, ABIS, "arena")
    if kernels not in KERNELS:
        raise unknown("kernel library", kernels, KERNELS, "arena")
    return Profile(ABIS[abi], kernels, core_extension(core) or "none")
