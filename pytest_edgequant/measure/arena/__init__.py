"""The tensor arena: what TFLM needs of SRAM, computed from the model for the device's build."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

from pytest_edgequant.measure.arena.calculator import Calculation, calculate
from pytest_edgequant.measure.arena.tools import ModelTools
from pytest_edgequant.records import Arena, Peak
from pytest_edgequant.targets.profiles import Profile
from pytest_edgequant.tflite.graph import Graph
from pytest_edgequant.wording import counted

_NAMED = 4
"""How many unknown operators a provenance names."""


def _peak(found: Calculation) -> Peak | None:
    alive = tuple(b for b in found.placed if b.first <= found.peak_scope <= b.last)
    if not alive:
        return None
    # Scratch belongs to the operator that runs then; else it is the last tensor to appear.
    running = [b for b in alive if b.kind == "scratch"] or [max(alive, key=lambda b: b.first)]
    operator = running[0].operator or "the model's inputs"
    return Peak(operator, found.lower_bound, alive)


@lru_cache(maxsize=128)
def _calculated(graph: Graph, profile: Profile, *, without_unknown: bool = False) -> Calculation:
    """What boards of the same build share: computed once for a model, whatever their names."""
    return calculate(graph, profile, without_unknown=without_unknown)


def compute_arena(graph: Graph, profile: Profile, content: bytes = b"") -> Arena:
    """The arena of a model for one build of TFLM.

    Operators whose memory is not known are bounded from above, and named in `unknown` and in the
    provenance. With the file's `content` the arena can suggest what would make it smaller.

    Raises `CannotRunError` where TFLM has no kernel for an operator, `ModelError` for a model that
    no arena can hold.
    """
    found = _calculated(graph, profile)
    provenance, low = profile.provenance, found.minimum
    if found.unknown:
        low = _calculated(graph, profile, without_unknown=True).minimum
        names = ", ".join(found.unknown[:_NAMED])
        if len(found.unknown) > _NAMED:
            names += f" and {counted(len(found.unknown) - _NAMED, 'other')}"
        many = len(found.unknown) > 1
        provenance = f"upper bound: {names} {'are' if many else 'is'} not known, {profile.build}"
        found = _bounded(found, low)
    sections: dict[str, int] = {}
    operators: dict[str, int] = {}
    for allocation in found.allocations:
        sections[allocation.purpose] = sections.get(allocation.purpose, 0) + allocation.bytes
        if allocation.owner:
            operators[allocation.owner] = operators.get(allocation.owner, 0) + allocation.bytes
    return Arena(
        total_bytes=found.nonpersistent + found.persistent,
        nonpersistent_bytes=found.nonpersistent,
        persistent_bytes=found.persistent,
        minimum_bytes=found.minimum,
        provenance=provenance,
        lower_bound_bytes=found.lower_bound,
        plan=tuple(found.placed),
        peak=_peak(found),
        sections=sections,
        operators=operators,
        unknown=found.unknown,
        low_bytes=low,
        tools=ModelTools(content, profile),
    )


def _bounded(found: Calculation, low: int) -> Calculation:
    """The bound, never below what is needed without the unknown operators' data.

    A larger scratch buffer changes the order in which the planner places the others, so that it
    might by chance come out lower.
    """
    return dataclasses.replace(found, minimum=max(found.minimum, low))
