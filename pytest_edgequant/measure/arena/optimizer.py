"""A tighter plan of the arena, carried in the model's metadata as TFLM's offline memory plan.

TFLM's greedy planner places the largest buffer first. Where that is above the lower bound (the most
that is alive at once), other orders are tried: by when and how long buffers are alive, and by
moving what lies on top to the front. The search is bounded by a number of tries and not by the
clock, so that the same model always gives the same plan. Scratch can't be planned offline: TFLM
places it afterwards, and the search counts with that.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from pytest_edgequant.errors import reading
from pytest_edgequant.measure.arena.calculator import calculate
from pytest_edgequant.measure.arena.planner import Buffer, lower_bound, place, plan, steps
from pytest_edgequant.records import PlannedBuffer
from pytest_edgequant.targets.profiles import Profile
from pytest_edgequant.tflite.graph import Graph
from pytest_edgequant.tflite.offline_plan import PlanOffline

_TRIES = 400
_MOST_STEPS = 20_000_000
"""Of all tries together: models with hundreds of buffers get all of the tries."""

_ORDERS: tuple[Callable[[Buffer], Any], ...] = (
    lambda b: -b.size,
    lambda b: (-(b.last - b.first), -b.size),
    lambda b: -b.size * (b.last - b.first + 1),
    lambda b: (b.first, -b.size),
    lambda b: (-b.last, -b.size),
)


def _top(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    return max((o + b.size for o, b in zip(offsets, buffers, strict=True)), default=0)


def best_placement(
    tensors: Sequence[Buffer],
    scratch: Sequence[Buffer],
    goal: int,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, list[int]]:
    """The lowest top that was found for tensors placed offline and scratch placed after them.

    `goal` is the top at which the search ends. Gives the top and the tensors' offsets. `told` hears
    how many plans were tried, and of how many.
    """

    def outcome(order: Sequence[int]) -> tuple[int, list[int]]:
        offsets = place(tensors, order)
        fixed = [
            Buffer(b.size, b.first, b.last, offset)
            for b, offset in zip(tensors, offsets, strict=True)
        ]
        everything = [*fixed, *scratch]
        return _top(everything, plan(everything)), offsets

    indices = range(len(tensors))
    orders = [sorted(indices, key=lambda i, by=by: by(tensors[i])) for by in _ORDERS]  # type: ignore[misc]
    tried = [(outcome(order), order) for order in orders]
    (best, offsets), order = min(tried, key=lambda entry: entry[0][0])
    chance = random.Random(0)
    tries = min(_TRIES, _MOST_STEPS // max(steps([*tensors, *scratch]), 1))
    for tried_plans in range(tries if len(tensors) > 1 else 0):
        told(tried_plans, tries)
        if best <= goal:
            break
        candidate = list(order)
        # What lies on top is what makes the arena high: give it an earlier choice.
        highest = max(indices, key=lambda i: offsets[i] + tensors[i].size)
        moved = highest if chance.random() < 0.5 else chance.randrange(len(tensors))
        candidate.remove(moved)
        candidate.insert(chance.randrange(len(tensors)), moved)
        top, placed = outcome(candidate)
        if top <= best:
            best, offsets, order = top, placed, candidate
    return best, offsets


def _as_buffer(placed: PlannedBuffer) -> Buffer:
    return Buffer(placed.size, placed.first, placed.last)


@reading("the memory plan")
def optimized(
    content: bytes,
    graph: Graph,
    profile: Profile,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> bytes:
    """The model with a plan that needs less; the same bytes where none was found.

    Models with several subgraphs stay as they are: the plan covers the main one alone. `told` as
    for `best_placement`.
    """
    if len(graph.subgraphs) > 1:
        return content
    before = calculate(graph, profile)
    planned = [b for b in before.placed if b.tensor is not None]
    tensors = [_as_buffer(b) for b in planned]
    scratch = [_as_buffer(b) for b in before.placed if b.tensor is None]
    goal = lower_bound([*tensors, *scratch])[0]
    if before.nonpersistent <= goal:
        return content
    top, offsets = best_placement(tensors, scratch, goal, told)
    if top >= before.nonpersistent:
        return content
    by_tensor = {
        b.tensor: offset for b, offset in zip(planned, offsets, strict=True) if b.tensor is not None
    }
    everywhere = tuple(by_tensor.get(i, -1) for i in range(len(graph.main.tensors)))
    return PlanOffline(everywhere).apply(content).content
