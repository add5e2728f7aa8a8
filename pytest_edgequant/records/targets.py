"""A target as data: its figures with their sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_edgequant.records.telling import Telling, Told
from pytest_edgequant.units import format_frequency, format_size

UNVERIFIED = "unverified"


@dataclass(frozen=True)
class Figure:
    """One figure of a target with the source that it was read from.

    `source` is "unverified" where it is an assumption; `note` then says how it comes about.
    """

    value: int
    source: str
    note: str = ""

    @property
    def verified(self) -> bool:
        return self.source != UNVERIFIED


def _size(figure: Figure | None) -> str:
    if figure is None:
        return "no limit"
    return format_size(figure.value) + ("" if figure.verified else " (unverified)")


@dataclass(frozen=True)
class CompilerOption:
    """How a target's platform compiles the runtime's kernels, with the source as for a figure."""

    value: str
    source: str
    note: str = ""

    @property
    def verified(self) -> bool:
        return self.source != UNVERIFIED


@dataclass(frozen=True, repr=False)
class Target(Telling):
    """A board or device profile. Sizes in bytes, clock in Hz; None means there is no such limit.

    `flash_after_firmware` is shared by the model and the runtime's code, `flash_for_model` is the
    model's alone and wins where both are given. `tflm` is the age of the TFLM sources in the
    firmware, as "2024-08" or "2024-08-15"; None where it is not known. `release` is the library
    that ships them, where the arena has a profile of it. `custom_operators` are those that the
    firmware registers. `optimization` is the compiler's option (`-Os`, `-O3`) that the platform
    builds kernels with, None where that is not known.
    """

    name: str
    title: str
    vendor: str
    soc: str
    core: str
    isa: str
    runtime: str
    kernels: str
    variants: tuple[str, ...]
    refused: Mapping[str, str]
    aliases: tuple[str, ...] = ()
    accelerator: str | None = None
    requires_integer_io: bool = False
    tflm: str | None = None
    release: str | None = None
    custom_operators: tuple[str, ...] = ()
    optimization: CompilerOption | None = None
    clock: Figure | None = None
    flash: Figure | None = None
    sram: Figure | None = None
    flash_after_firmware: Figure | None = None
    flash_for_model: Figure | None = None
    sram_for_arena: Figure | None = None

    def _told(self) -> Told:
        clock = f" at {format_frequency(self.clock.value)}" if self.clock is not None else ""
        model = self.flash_for_model or self.flash_after_firmware
        return Told(
            f"{self.name}: {self.title}",
            (
                ("core", f"{self.core}{clock}"),
                ("runtime", f"{self.runtime} ({self.kernels})"),
                ("accelerator", self.accelerator or ""),
                ("variants", ", ".join(self.variants)),
                ("flash", _size(self.flash)),
                ("left of it", _size(model)),
                ("SRAM", _size(self.sram)),
                ("for the arena", _size(self.sram_for_arena)),
                ("aliases", ", ".join(self.aliases)),
            ),
        )

    def identity(self) -> Any:
        """Its name."""
        return self.name

    def __repr__(self) -> str:
        return f"<Target {self.name}>"

    @property
    def is_microcontroller(self) -> bool:
        return self.runtime == "tflm"

    @property
    def has_fpu(self) -> bool:
        """Whether the core computes float32 in hardware, as `isa` says."""
        return "no FPU" not in self.isa
