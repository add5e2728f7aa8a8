"""TFLM's greedy memory planner: where each buffer of the non-persistent part comes to lie.

Largest first, of equal sizes the one added last; each at the lowest offset that is free during its
life. Buffers with an offline offset come before all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 16


def align_up(size: int, alignment: int = ALIGNMENT) -> int:
    return -(-size // alignment) * alignment


@dataclass(frozen=True)
class Buffer:
    """A buffer to be placed: bytes, first and last time at which it is alive, offline offset."""

    size: int
    first: int
    last: int
    offline: int | None = None


def plan(buffers: Sequence[Buffer]) -> list[int]:
    """The offset of each buffer in bytes."""
    offline = [i for i, b in enumerate(buffers) if b.offline is not None]
    online = [i for i, b in enumerate(buffers) if b.offline is None]
    # Of equal sizes the last one added comes first.
    online.sort(key=lambda i: (-buffers[i].size, -i))
    return place(buffers, (*offline, *online))


def place(buffers: Sequence[Buffer], order: Sequence[int]) -> list[int]:
    """The offset of each buffer when they are placed in that order, each as low as it can lie."""
    offsets = [0] * len(buffers)
    placed: list[int] = []
    for index in order:
        buffer = buffers[index]
        if buffer.offline is not None:
            offsets[index] = buffer.offline
        else:
            offsets[index] = _lowest_gap(buffer, buffers, offsets, placed)
        position = len(placed)
        while position and offsets[placed[position - 1]] > offsets[index]:
            position -= 1
        placed.insert(position, index)
    return offsets


def _lowest_gap(
    buffer: Buffer, buffers: Sequence[Buffer], offsets: Sequence[int], placed: Sequence[int]
) -> int:
    """The lowest offset at which the buffer meets no other that is alive with it.

    `placed` is sorted by offset.
    """
    candidate = 0
    for index in placed:
        other = buffers[index]
        if other.last < buffer.first or other.first > buffer.last:
            continue
        if offsets[index] - candidate >= buffer.size:
            break
        candidate = max(candidate, offsets[index] + other.size)
    return candidate


def lower_bound(buffers: Sequence[Buffer]) -> tuple[int, int]:
    """The most bytes that are alive at once, and the first time at which they are."""
    changes: dict[int, int] = {}
    for buffer in buffers:
        changes[buffer.first] = changes.get(buffer.first, 0) + buffer.size
        changes[buffer.last + 1] = changes.get(buffer.last + 1, 0) - buffer.size
    alive = most = 0
    when = 0
    for time in sorted(changes):
        alive += changes[time]
        if alive > most:
            most, when = alive, time
    return most, when
