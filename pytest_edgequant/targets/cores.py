"""What a core can run: a microcontroller's has no operating system for LiteRT."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pytest_edgequant.errors import TargetError
from pytest_edgequant.records import Target

_CORES = re.compile(
    r"cortex-?[mr]\d|star-?mc|xtensa|tensilica|lx[67]|hifi|esp32|(risc-?v|rv)-?32|avr|atmega|"
    r"msp430|tricore|arc-?(em|v2)|c28|rx\d{2}|picorv|ibex|hazard3|ch32|pic32|m0plus",
)
_ISAS = re.compile(r"armv[678](\.\d)?e?-?[mr]\b|(risc-?v|rv)-?32|xtensa|thumb")
_KERNELS = ("cmsis-nn", "esp-nn")


def _folded(text: str) -> str:
    return re.sub(r"[\s_]+", "-", text.strip().lower())


def _microcontroller_by(target: Target) -> str | None:
    """What in a target says that it is a microcontroller; None where nothing does."""
    if _CORES.search(_folded(target.core)):
        return f"the core {target.core!r} is a microcontroller's"
    if _ISAS.search(_folded(target.isa)):
        return f"the instruction set {target.isa!r} is a microcontroller's"
    if target.kernels in _KERNELS:
        return f"the kernels {target.kernels!r} are TFLM's"
    if target.sram_for_arena is not None:
        return f"sram_for_arena ({target.sram_for_arena.value:,} B) limits TFLM's arena"
    return None


def check_runtime(target: Target, table: Mapping[str, object], where: str) -> None:
    """Make sure that a target's runtime can run on it.

    LiteRT has no arena and no limit of SRAM: on a microcontroller nothing would be checked.
    Raises `TargetError` that says what to change.
    """
    if target.runtime != "litert":
        return
    reason = _microcontroller_by(target)
    if reason is None:
        return
    inherited = "" if "runtime" in table else f" (from the base {table.get('base')!r})"
    raise TargetError(
        f'{where}: runtime = "litert"{inherited} needs an operating system, and {reason}: its '
        'arena and its operators would not be checked. Use runtime = "tflm"; for a board with '
        'Linux state its core and isa (cortex-a53), kernels = "xnnpack", and no sram_for_arena '
        '(base = "rpi4" has all of them)'
    )
