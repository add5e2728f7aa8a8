"""What TFLM's arena depends on besides the model: ABI, core and kernel library, as data.

Sizes in bytes, read from allocation traces of TFLM 90b983c2 (2026-08-20) built with GCC 12.2 for
Cortex-M4, M7 and M55, and from the `tflite-micro` wheel's recording interpreter on x86-64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pytest_edgequant.names import fold, unknown

TFLM_COMMIT = "90b983c2"


@dataclass(frozen=True)
class Abi:
    """Sizes of the interpreter's records for one ABI.

    `enum` is the size of a C enum (1 with `-fshort-enums`, the default of the Arm EABI for
    bare-metal targets); `allocator` are the allocator's own objects at the arena's end. `request`
    and `allocation_info` are records that live while operators are prepared and while buffers are
    planned.
    """

    name: str
    pointer: int
    enum: int
    eval_tensor: int
    node: int
    tensor: int
    affine: int
    subgraph: int
    resource: int
    allocator: tuple[int, ...]
    request: int = 12
    allocation_info: int = 24


@dataclass(frozen=True)
class Release:
    """A release of TFLM as a library ships it: what differs from the newest one that is known.

    `node` are bytes that the record of an operator has more, `others` those that a model's records
    have more in all. `depthwise_3x3_buffer` tells that its
    CMSIS-NN asks for a buffer for 3 x 3 depthwise convolutions as for larger ones. `unknown` are
    operators whose kernels ask for something else in it that is not known. `error` is the largest
    difference from boards that was seen, as a share, None where it is exact.
    """

    name: str
    commit: str
    node: int = 0
    others: int = 0
    depthwise_3x3_buffer: bool = False
    unknown: frozenset[str] = frozenset()
    error: float | None = None

    def of(self, abi: Abi) -> Abi:
        """An ABI's records as this release has them."""
        allocator = (*abi.allocator, self.others) if self.others else abi.allocator
        return replace(abi, node=abi.node + self.node, allocator=allocator)


NEWEST = Release("2026-08", TFLM_COMMIT)
RELEASES = {
    NEWEST.name: NEWEST,
    "chirale-2.0.0": Release(
        "chirale-2.0.0",
        "as in Chirale_TensorFLowLite 2.0.0",
        node=12,
        others=12,
        depthwise_3x3_buffer=True,
        error=0.001,
    ),
}
"""Releases by name. The Arduino library's records were found from what a Nano 33 BLE reports for
two models (avionicharshit-byte/mcufit-bench@88f8d23f2b0b: results/results.jsonl)."""

ABIS = {
    "arm32": Abi("arm32", 4, 1, 12, 32, 32, 12, 8, 20, (36, 44, 36)),
    "xtensa": Abi("xtensa", 4, 4, 12, 32, 40, 12, 8, 20, (36, 44, 36)),
    "riscv32": Abi("riscv32", 4, 4, 12, 32, 40, 12, 8, 20, (36, 44, 36)),
    "x86_64": Abi("x86_64", 8, 4, 24, 64, 64, 24, 24, 48, (448,), 16, 32),
}
"""The recording allocator of x86-64 keeps its own objects out of what it reports."""

KERNELS = ("reference", "cmsis-nn", "esp-nn")

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
    "xtensa-lx6": "none",
    "xtensa-lx7": "vector",
    "riscv32": "none",
}
"""Instruction set extension of a core that changes what the kernel library asks for."""


@dataclass(frozen=True)
class Profile:
    """One build of TFLM: `extension` is none, dsp or mve (Helium) and matters to CMSIS-NN alone."""

    abi: Abi
    kernels: str
    extension: str
    release: Release = NEWEST

    @property
    def cmsis(self) -> bool:
        return self.kernels == "cmsis-nn"

    @property
    def mve(self) -> bool:
        return self.cmsis and self.extension == "mve"

    @property
    def dsp(self) -> bool:
        return self.cmsis and self.extension == "dsp"

    @property
    def caveat(self) -> str:
        """What keeps the number from being exact; empty where traces of such builds agree."""
        if self.release.error is not None:
            return f"within {self.release.error:.1%} of two models on a Nano 33 BLE"
        if self.abi.name == "riscv32":
            return "records laid out as on Xtensa, which no RISC-V build has confirmed"
        if self.cmsis and self.extension == "none":
            return "CMSIS-NN without DSP, as its source has it, which no trace has confirmed"
        return ""

    @property
    def build(self) -> str:
        """Release, ABI and kernel library in words."""
        return f"TFLM {self.release.commit}, {self.abi.name}, {self.kernels}"

    @property
    def provenance(self) -> str:
        """How a number of this profile comes about."""
        kind = f"estimated ({self.caveat})" if self.caveat else "exact"
        return f"{kind}, {self.build}"


def core_extension(core: str) -> str | None:
    """The extension of a core by name; None for a core that is not known."""
    by_fold = {fold(name): extension for name, extension in _EXTENSIONS.items()}
    return by_fold.get(fold(core))


def core_abi(core: str) -> str | None:
    """The ABI that firmware for a core is built with; None where it is not known."""
    folded = fold(core)
    if folded.startswith("cortexm"):
        return "arm32"
    if folded.startswith("xtensa"):
        return "xtensa"
    return "riscv32" if folded.startswith(("riscv", "rv32")) else None


def make_profile(abi: str, core: str, kernels: str, release: str = NEWEST.name) -> Profile:
    """The profile of a build; raises `UnknownNameError` for what it does not know."""
    if core_extension(core) is None and abi != "x86_64":
        raise unknown("core", core, _EXTENSIONS, "arena")
    if abi not in ABIS:
        raise unknown("ABI", abi, ABIS, "arena")
    if kernels not in KERNELS:
        raise unknown("kernel library", kernels, KERNELS, "arena")
    if release not in RELEASES:
        raise unknown("release of TFLM", release, RELEASES, "arena")
    chosen = RELEASES[release]
    return Profile(chosen.of(ABIS[abi]), kernels, core_extension(core) or "none", chosen)
