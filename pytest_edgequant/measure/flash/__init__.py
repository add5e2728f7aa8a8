"""How a target's flash is shared: the model, TFLM's code for its operators, what is left.

Measured on a Cortex-M4 with CMSIS-NN (`cortex_m4.toml`). Operators share code, so the figure is an
upper bound: of every whole program that was measured, its size and what each further operator adds
alone; the smallest of these sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from pytest_edgequant.records import Metric, Target
from pytest_edgequant.tflite.graph import Graph
from pytest_edgequant.toml import load_toml

OTHER_CORES = 1.5
"""What code takes on other cores beside a Cortex-M with Thumb-2, at most: an assumption."""

_MEASURED = "sources of 2026-08-20, Cortex-M4, CMSIS-NN, with assertions and log strings"


@cache
def _table() -> Mapping[str, Any]:
    name = "cortex_m4.toml"
    return load_toml((resources.files(__package__) / name).read_bytes(), name)


def _bound(build: str, operators: Iterable[str]) -> int | None:
    """The most that the interpreter with these operators takes; None where one is not known."""
    wanted = set(operators)
    added: Mapping[str, int] = _table()[build]["operators"]
    programs: list[tuple[int, set[str]]] = [(_table()[build]["interpreter"], set())]
    programs += [(entry[build], set(entry["operators"])) for entry in _table()["sets"]]
    bounds = [
        total + sum(added[name] for name in wanted - included)
        for total, included in programs
        if all(name in added for name in wanted - included)
    ]
    return min(bounds, default=None)


def runtime_code(graph: Graph, target: Target) -> Metric:
    """The flash that TFLM's interpreter and the kernels of a model's operators take, in bytes.

    `value` is an upper bound for a build with assertions and log strings, every operator registered
    for all types; `low` what a build without them takes at most, where it is known. On other cores
    than those with Thumb-2 an upper estimate. Operators that only the firmware knows count nothing.
    """
    names = {o.custom_code if o.name == "CUSTOM" else o.name for _, o in graph.operators()}
    names -= set(target.custom_operators)
    most = _bound("default", names)
    if most is None:
        unknown = sorted(names - set(_table()["default"]["operators"]))
        return Metric.unavailable("bytes", f"TFLM's code for {', '.join(unknown)} is not known")
    least = _bound("release", names)
    thumb2 = target.core.startswith("cortex-m") and not target.core.startswith("cortex-m0")
    if thumb2:
        provenance = f"upper bound (measured by operator: TFLM {_MEASURED})"
    else:
        provenance = (
            f"upper estimate ({OTHER_CORES} times what a Cortex-M4 takes, an assumption; "
            f"TFLM {_MEASURED})"
        )
        most, least = int(most * OTHER_CORES), None
    return Metric(most, "bytes", provenance, low=least, high=most)


@dataclass(frozen=True)
class FlashSplit:
    """What a model takes of a target's flash, in bytes.

    `limit` is what the model may take at most: what the firmware leaves, less `runtime`. None where
    the target states no limit. `runtime` is TFLM's code, None where it is not counted (the target
    states the model's own share).
    """

    model: int
    limit: int | None
    runtime: Metric | None
    after_firmware: int | None = None

    @property
    def left(self) -> int | None:
        return None if self.limit is None else self.limit - self.model

    def describe(self) -> str:
        """One line: of what the firmware leaves, the model, the runtime, what is left."""
        if self.limit is None or self.runtime is None or self.runtime.value is None:
            return ""
        return (
            f"{self.after_firmware:,} B of flash after firmware: {self.model:,} B model, "
            f"{self.runtime.value:,} B TFLM's code at most, {self.left:,} B left"
        )


def split_flash(size_bytes: int, graph: Graph, target: Target) -> FlashSplit:
    """How a model of that size would share the target's flash."""
    if target.flash_for_model is not None:
        return FlashSplit(size_bytes, target.flash_for_model.value, None)
    if target.flash_after_firmware is None:
        return FlashSplit(size_bytes, None, None)
    room = target.flash_after_firmware.value
    runtime = runtime_code(graph, target)
    limit = None if runtime.value is None else max(room - int(runtime.value), 0)
    return FlashSplit(size_bytes, limit, runtime, room)
