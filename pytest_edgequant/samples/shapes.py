"""What to do with samples whose shape is not the model's: move an axis, reshape, or neither.

Reshaping keeps the order of the numbers in memory. Where the axes are in another order (channels
first for a model that takes them last) it gives the right shape and scrambled samples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

_MOST_AXES = 6
"""Of more axes nobody tries all orders."""
_MOST_SHOWN = 3

Shape = tuple[int, ...]
Order = tuple[int, ...]


def batch_shape(sample: Sequence[int]) -> str:
    """`(N, 28, 28, 1)`: a sample's shape behind any number of samples."""
    return f"({', '.join(['N', *map(str, sample)])})"


def shape_hint(given: Shape, sample: Shape) -> str:
    """How an array of the shape `given` becomes samples of the shape `sample`, as messages end.

    Empty where the number of elements does not fit.
    """
    moves = list(_moves(given, sample))
    if moves:
        calls = " or ".join(_call(order) for order in moves[:_MOST_SHOWN])
        which = " (which axis is which, only you know)" if len(moves) > 1 else ""
        if moves[0][0] == 0 and _nested(given[1:], sample):  # an axis of one moved
            return f"; its axes are in another order: {calls}"
        return f"; its axes are in another order: {calls}{which}; a reshape would scramble them"
    if len(given) <= len(sample) and math.prod(given) == math.prod(sample):
        return _for_one_sample(given, sample)
    if not given or math.prod(given[1:]) != math.prod(sample):
        return ""
    if _nested(given[1:], sample):
        return f"; the number of elements fits: reshape to {batch_shape(sample)}"
    merged = [o for o in _orders(given) if o[0] == 0 and _nested(_at(given, o[1:]), sample)]
    if merged:
        numbers = ", ".join(map(str, sample))
        order = min(merged, key=_effort)
        return (
            f"; its axes are in another order: {_call(order)}.reshape(-1, {numbers}); a reshape "
            "alone would scramble them"
        )
    return (
        "; the number of elements fits, the axes do not: a reshape would scramble them, check how "
        "the samples were made"
    )


def _for_one_sample(given: Shape, sample: Shape) -> str:
    """The hint for a single sample, without an axis for their number."""
    if _nested(given, sample):
        return f"; for one sample: reshape to ({', '.join(map(str, (1, *sample)))})"
    order = min((o for o in _orders(given) if _at(given, o) == sample), key=_effort, default=None)
    if order is None:
        return ""
    return (
        f"; for one sample its axes are in another order: {_call(order)}; a reshape would scramble "
        "them"
    )


def _at(shape: Shape, order: Sequence[int]) -> Shape:
    return tuple(shape[axis] for axis in order)


def _orders(given: Shape) -> Iterator[Order]:
    return itertools.permutations(range(len(given) if len(given) <= _MOST_AXES else 0))


def _moves(given: Shape, sample: Shape) -> list[Order]:
    """Orders of all axes that give samples of this shape; the simplest ones alone.

    Samples stay outermost where they can be; one axis is moved where that does.
    """
    if len(given) != len(sample) + 1:
        return []
    fitting = [o for o in _orders(given) if _at(given, o[1:]) == sample]
    fitting = [order for order in fitting if order[0] == 0] or fitting
    least = min(map(_effort, fitting), default=0)
    return [order for order in fitting if _effort(order) == least]


def _effort(order: Order) -> int:
    """0 for axes as they are, 1 for one that moved, 2 for more."""
    if list(order) == sorted(order):
        return 0
    return 1 if _moved(order) is not None else 2


def _moved(order: Order) -> tuple[int, int] | None:
    """Which axis moved where, if moving one gives this order."""
    for source, target in itertools.permutations(range(len(order)), 2):
        rest = [axis for axis in range(len(order)) if axis != source]
        rest.insert(target, source)
        if tuple(rest) == order:
            return source, target
    return None


def _call(order: Order) -> str:
    """The NumPy call that brings the axes of `x` into this order."""
    if order == (1, 0):
        return "x.T"
    moved = _moved(order)
    if moved is None:
        return f"np.transpose(x, {order})"
    source, target = (-1 if axis == len(order) - 1 else axis for axis in moved)
    return f"np.moveaxis(x, {source}, {target})"


def _nested(one: Shape, other: Shape) -> bool:
    """Whether axes of one are only split or merged to make the other: a flattened image, say."""
    bounds = [set(itertools.accumulate(shape, int.__mul__)) | {1} for shape in (one, other)]
    return math.prod(one) == math.prod(other) and (bounds[0] <= bounds[1] or bounds[1] <= bounds[0])
