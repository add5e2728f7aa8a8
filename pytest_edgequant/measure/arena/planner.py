"""TFLM's greedy memory planner: where each buffer of the non-persistent part comes to lie.

Largest first, of equal sizes the one added last; each at the lowest offset that is free during its
life. Buffers with an offline offset come before all others.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_edgequant.errors import ModelError

ALIGNMENT = 16
_FEW = 100


def align_up(size: int, alignment: int = ALIGNMENT) -> int:
    """The next multiple of an alignment, in bytes."""
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


class _All:
    """Placed buffers in one list by offset, each looked at for each: for few, or where all meet."""

    def __init__(self) -> None:
        self.placed: list[tuple[int, int, int, int]] = []

    def add(self, buffer: Buffer, offset: int) -> None:
        insort(self.placed, (offset, buffer.size, buffer.first, buffer.last))

    def beside(self, buffer: Buffer) -> list[tuple[int, int]]:
        """(offset, size) of those that are alive at some time with this one, by offset."""
        first, last = buffer.first, buffer.last
        return [(o, s) for o, s, begin, end in self.placed if begin <= last and end >= first]


class _ByTime:
    """Placed buffers by when they are alive: those that are alive with another, without the rest.

    A segment tree over time has, on the way from a time to the root, those that are alive then;
    those that begin later are a slice of all by their beginning.
    """

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        # Time begins at -1: what nothing uses.
        self.size = max((b.last for b in buffers), default=0) + 2
        self.nodes: dict[int, list[tuple[int, int]]] = {}
        self.begins: list[tuple[int, int, int]] = []

    def add(self, buffer: Buffer, offset: int) -> None:
        span = offset, buffer.size
        insort(self.begins, (buffer.first, *span))
        low, high = buffer.first + 1 + self.size, buffer.last + 2 + self.size
        while low < high:
            if low % 2:
                self.nodes.setdefault(low, []).append(span)
                low += 1
            if high % 2:
                high -= 1
                self.nodes.setdefault(high, []).append(span)
            low, high = low // 2, high // 2

    def beside(self, buffer: Buffer) -> list[tuple[int, int]]:
        """(offset, size) of those that are alive at some time with this one, by offset."""
        found: list[tuple[int, int]] = []
        node = buffer.first + 1 + self.size
        while node:
            found += self.nodes.get(node, ())
            node //= 2
        begin = bisect_left(self.begins, (buffer.first + 1,))
        end = bisect_left(self.begins, (buffer.last + 1,))
        found += [(offset, size) for _, offset, size in self.begins[begin:end]]
        return sorted(found)


MOST_STEPS = 10_000_000
"""Of one plan, each the look at one buffer for another: seconds. 4,000 buffers that are all alive
together need as many; the largest of real models need a tenth."""
_STEPS_BY_TIME = 20
"""What it takes to find one buffer by time, compared with looking at one in a list."""


def steps(buffers: Sequence[Buffer]) -> int:
    """About how many steps a plan of these buffers takes."""
    begins = sorted(b.first for b in buffers)
    meetings = sum(bisect_right(begins, b.last) - bisect_left(begins, b.first) for b in buffers)
    return min(len(buffers) ** 2 // 2, _STEPS_BY_TIME * meetings)


def place(buffers: Sequence[Buffer], order: Sequence[int]) -> list[int]:
    """The offset of each buffer when they are placed in that order, each as low as it can lie.

    Raises `ModelError` for more buffers than can be planned in a reasonable time.
    """
    offsets = [0] * len(buffers)
    placed: _All | _ByTime = _All()
    if len(buffers) > _FEW:
        expected = steps(buffers)
        if expected > MOST_STEPS:
            raise ModelError(
                f"{len(buffers):,} buffers are too many to plan: so many of them are alive "
                f"together that it would take {expected:,} steps, and at most {MOST_STEPS:,} are "
                "taken"
            )
        if expected < len(buffers) ** 2 // 2:
            placed = _ByTime(buffers)
    for index in order:
        buffer = buffers[index]
        if buffer.offline is not None:
            offsets[index] = buffer.offline
        else:
            offsets[index] = _lowest_gap(buffer.size, placed.beside(buffer))
        placed.add(buffer, offsets[index])
    return offsets


def _lowest_gap(size: int, taken: Sequence[tuple[int, int]]) -> int:
    """The lowest offset at which so many bytes meet none of these (offset, size), sorted."""
    candidate = 0
    for offset, length in taken:
        if offset - candidate >= size:
            break
        candidate = max(candidate, offset + length)
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
