"""How a target's flash is shared: the model, TFLM's code for its operators, what is left.

Measured on a Cortex-M4 with CMSIS-NN (`cortex_m4.toml`). Operators share code, so the figure is a
pair of bounds. The upper one: of every whole program that was measured with assertions and log
strings, its size and what each further operator adds alone; the smallest of these sums. The lower
one: the largest program measured without them that has none but the model's operators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
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


@cache
def _programs(build: str) -> list[tuple[int, set[str]]]:
    """The size of each whole program that was measured, and the operators that it has."""
    added: Mapping[str, int] = _table()[build]["operators"]
    interpreter: int = _table()[build]["interpreter"]
    alone = [(interpreter + size, {name}) for name, size in added.items()]
    sets = [(entry[build], set(entry["operators"])) for entry in _table()["sets"]]
    return [(interpreter, set()), *alone, *sets]


@lru_cache(maxsize=256)
def _most(wanted: frozenset[str]) -> int | None:
    """The most that the interpreter with these operators takes; None where one is not known."""
    added: Mapping[str, int] = _table()["default"]["operators"]
    bounds = [
        total + sum(added[name] for name in wanted - included)
        for total, included in _programs("default")
        if all(name in added for name in wanted - included)
    ]
    return min(bounds, default=None)


@lru_cache(maxsize=256)
def _least(wanted: frozenset[str]) -> int:
    """The least: the largest measured program without assertions that has none but these."""
    # The same operators were measured in more than one program: the smallest is the least.
    sizes: dict[frozenset[str], int] = {}
    for total, included in _programs("release"):
        key = frozenset(included)
        sizes[key] = min(total, sizes.get(key, total))
    return max(total for included, total in sizes.items() if included <= wanted)


def _as_measured(target: Target) -> bool:
    """Whether a target's code is like the measured one: Thumb-2, with CMSIS-NN."""
    thumb2 = target.core.startswith("cortex-m") and not target.core.startswith("cortex-m0")
    return thumb2 and target.kernels == "cmsis-nn"


def _bounds(graph: Graph, target: Target) -> tuple[int, int | None]:
    """The least and the most that TFLM's code takes; the most is None where it is not known."""
    names = _operators(graph, target)
    least, most = _least(names), _most(names)
    if not _as_measured(target):
        # Which kernels are smaller elsewhere was not measured: the interpreter is in any of them.
        least = int(_least(frozenset()) / OTHER_CORES)
        most = None if most is None else int(most * OTHER_CORES)
    return least, most


def _operators(graph: Graph, target: Target) -> frozenset[str]:
    """The model's operators whose kernels TFLM brings along."""
    names = {o.custom_code if o.name == "CUSTOM" else o.name for _, o in graph.operators()}
    return frozenset(names - set(target.custom_operators))


def runtime_code(graph: Graph, target: Target) -> Metric:
    """The flash that TFLM's interpreter and the kernels of a model's operators take, in bytes.

    Between `low`, a build without assertions and log strings, and `high`, one with both; `value` is
    `high`. Every operator is registered for all types. On other cores than those with Thumb-2, or
    with other kernels, an estimate. Operators that only the firmware knows count nothing.
    """
    least, most = _bounds(graph, target)
    if most is None:
        unknown = sorted(_operators(graph, target) - set(_table()["default"]["operators"]))
        return Metric.unavailable("bytes", f"TFLM's code for {', '.join(unknown)} is not known")
    if _as_measured(target):
        provenance = f"upper bound (measured by operator: TFLM {_MEASURED})"
    else:
        provenance = (
            f"upper estimate ({OTHER_CORES} times what a Cortex-M4 takes, an assumption; "
            f"TFLM {_MEASURED})"
        )
    return Metric(most, "bytes", provenance, low=least, high=most)


@dataclass(frozen=True)
class FlashSplit:
    """What a model takes of a target's flash, in bytes.

    `limit` is what is left to the model for certain: what the firmware leaves, less the most that
    TFLM's code takes; `at_most` is what may be left, less the least. Both are below 0 where the
    code alone doesn't fit, and equal where the target states the model's own share (then `runtime`
    is None). None where the target states no limit, and `limit` where the code is not known.
    """

    model: int
    limit: int | None
    runtime: Metric | None
    after_firmware: int | None = None
    at_most: int | None = None

    @property
    def left(self) -> Metric | None:
        """What is left beside the model; below 0 where it doesn't fit."""
        if self.limit is None or self.runtime is None:
            return None
        low = self.limit - self.model
        high = low if self.at_most is None else self.at_most - self.model
        provenance = f"after TFLM's code: {self.runtime.provenance}"
        return Metric(low, "bytes", provenance, low=low, high=high)

    def describe(self) -> str:
        """One line: of what the firmware leaves, the model, the runtime, what is left."""
        left, runtime = self.left, self.runtime
        if left is None or runtime is None or runtime.value is None or left.high is None:
            return ""
        least = f"{runtime.low:,} to " if runtime.low != runtime.value else ""
        more = f" to {left.high:,}" if left.high != left.value else ""
        return (
            f"{self.after_firmware:,} B of flash after firmware: {self.model:,} B model, "
            f"{least}{runtime.value:,} B TFLM's code, {left.value:,}{more} B left"
        )


def split_flash(size_bytes: int, graph: Graph, target: Target) -> FlashSplit:
    """How a model of that size would share the target's flash."""
    if target.flash_for_model is not None:
        share = target.flash_for_model.value
        return FlashSplit(size_bytes, share, None, at_most=share)
    if target.flash_after_firmware is None:
        return FlashSplit(size_bytes, None, None)
    room = target.flash_after_firmware.value
    least, most = _bounds(graph, target)
    limit = None if most is None else room - most
    return FlashSplit(size_bytes, limit, runtime_code(graph, target), room, room - least)
