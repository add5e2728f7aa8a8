"""What takes a board's memory, part by part: flash and SRAM, of firmware, runtime, model, arena."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_edgequant.records import Figure, Metric, Result, Target
from pytest_edgequant.units import format_bytes


@dataclass(frozen=True)
class Part:
    """A part of a memory; `kind` is firmware, runtime, model, arena or free."""

    kind: str
    name: str
    bytes: int

    @property
    def text(self) -> str:
        return f"{self.name} {format_bytes(self.bytes)}"


@dataclass(frozen=True)
class Memory:
    """One memory of a board: its parts in order, the last of them free, and what is too much."""

    name: str
    total: int
    parts: tuple[Part, ...]

    @property
    def over(self) -> int:
        """By how many bytes the parts are more than there is."""
        return max(0, sum(part.bytes for part in self.parts) - self.total)

    @property
    def full(self) -> float:
        """How much of it is taken, from 0; above 1 where it is too little."""
        taken = sum(part.bytes for part in self.parts if part.kind != "free")
        return taken / self.total if self.total > 0 else float("inf")

    def widths(self, whole: int) -> Iterator[tuple[Part, int, int]]:
        """Each part with its start and width, where all of the memory (and more) is `whole`.

        What is there is seen: no part is narrower than a few units.
        """
        scale = max(self.total, sum(part.bytes for part in self.parts), 1)
        start = 0
        for part in self.parts:
            end = start + part.bytes
            left, right = round(whole * start / scale), round(whole * end / scale)
            if part.bytes:
                least = max(2, whole // 250)
                left = min(left, whole - least)
                yield part, left, max(right - left, least)
            start = end

    def limit(self, whole: int) -> int | None:
        """Where the memory ends, if more than that is wanted."""
        return round(whole * self.total / (self.total + self.over)) if self.over else None


def _value(metric: Metric | None) -> int | None:
    return None if metric is None or metric.value is None else int(metric.value)


def _assumed(figure: Figure | None) -> str:
    return "" if figure is None or figure.verified else " (assumed)"


def _with_free(name: str, total: int, parts: list[Part], free: str = "free") -> Memory:
    left = total - sum(part.bytes for part in parts)
    return Memory(name, total, (*parts, Part("free", free, left)) if left > 0 else tuple(parts))


def _flash(result: Result, target: Target) -> Memory | None:
    size = _value(result.metrics.get("size_bytes"))
    left = target.flash_for_model or target.flash_after_firmware
    if size is None or (target.flash is None and left is None):
        return None
    code = _value(result.metrics.get("runtime_code_bytes"))
    total = target.flash.value if target.flash is not None else left.value if left else 0
    parts, free = [], "free"
    if left is not None and total > left.value:
        both = target.flash_for_model is not None
        what = "firmware and runtime" if both else "firmware"
        parts.append(Part("firmware", what + _assumed(left), total - left.value))
    if target.flash_for_model is None:
        if code is not None:
            exact = result.metrics["runtime_code_bytes"].low == code
            parts.append(Part("runtime", "runtime" if exact else "runtime, at most", code))
        else:
            free = "free or runtime" if left is not None else "free, firmware or runtime"
    parts.append(Part("model", "model", size))
    return _with_free("Flash", total, parts, free)


def _sram(result: Result, target: Target) -> Memory | None:
    arena = result.metrics.get("arena_bytes")
    need, left = _value(arena), target.sram_for_arena
    if arena is None or need is None or (target.sram is None and left is None):
        return None
    total = target.sram.value if target.sram is not None else left.value if left else 0
    parts = []
    if left is not None and total > left.value:
        parts.append(Part("firmware", "firmware" + _assumed(left), total - left.value))
    bounds = arena.low is not None and arena.low != arena.high
    parts.append(Part("arena", "arena, at most" if bounds else "arena", need))
    return _with_free("SRAM", total, parts, "free" if left is not None else "free or firmware")


def memories(result: Result, target: Target | None) -> list[Memory]:
    """The memories of a microcontroller with what a variant takes there, as far as it is known."""
    if target is None or not target.is_microcontroller:
        return []
    return [memory for memory in (_flash(result, target), _sram(result, target)) if memory]
