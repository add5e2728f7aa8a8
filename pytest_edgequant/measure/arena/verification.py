"""Our arena against TFLM's own interpreter: what it reports, and the smallest that it accepts.

The interpreter of the `tflite-micro` wheel is an x86-64 build with reference kernels, so the same
rules are checked with that profile. An arena that is too small can make the interpreter abort,
hang, or give wrong outputs without a word: each try runs in the child process, and counts as
accepted when its outputs equal those in a large arena.
"""

from __future__ import annotations

from collections.abc import Callable

from pytest_edgequant.errors import (
    ArenaMismatch,
    CannotRunError,
    IsolatedProcessError,
    MeasurementUnavailable,
)
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.measure.arena import compute_arena, tflm_worker
from pytest_edgequant.measure.arena.planner import ALIGNMENT, align_up
from pytest_edgequant.targets.profiles import make_profile
from pytest_edgequant.tflite.model import TFLiteModel

MOST_SECONDS = 60.0
"""How long one try may take: a hanging interpreter counts as one that refused the arena."""


def smallest_arena(process: IsolatedProcess, content: bytes, expected: int) -> int:
    """The smallest arena in bytes (steps of 16) in which the interpreter gives right outputs.

    `expected` is where the search begins. Raises `CannotRunError` where no arena is large enough.
    """
    large = align_up(2 * expected + (1 << 16))
    try:
        right = process.call(tflm_worker.outputs, content, large)
    except IsolatedProcessError as error:
        raise CannotRunError(f"TFLM's interpreter failed on the model: {error}") from None

    def accepts(size: int) -> bool:
        try:
            return bool(process.call(tflm_worker.outputs, content, size) == right)
        except (CannotRunError, IsolatedProcessError):
            return False

    begin = align_up(expected) // ALIGNMENT
    low, high = 0, large // ALIGNMENT
    # One below and the expected one settle it where the expectation is right.
    for step in (begin, begin - 1):
        if low < step < high:
            if accepts(step * ALIGNMENT):
                high = step
            else:
                low = step
    while high - low > 1:
        middle = (low + high) // 2
        if accepts(middle * ALIGNMENT):
            high = middle
        else:
            low = middle
    return high * ALIGNMENT


def check_arena(
    model: TFLiteModel,
    reported: tflm_worker.TFLMAllocation,
    smallest: Callable[[int], int],
) -> str:
    """Compare head, tail, total and smallest arena, and say that they were equal.

    `reported` is the interpreter's own report, `smallest` finds the smallest arena that it accepts,
    beginning at the one expected. Raises `ArenaMismatch` with both numbers.
    """
    profile = make_profile("x86_64", "-", "reference")
    try:
        ours = compute_arena(model.graph, profile)
    except (CannotRunError, MeasurementUnavailable) as error:
        return f"not verified: {error}"
    if ours.unknown:
        return f"not verified: the memory of {', '.join(ours.unknown)} is not known"
    found = smallest(ours.minimum_bytes)
    pairs = (
        ("planned", ours.nonpersistent_bytes, reported.head),
        ("persistent", ours.persistent_bytes, reported.tail),
        ("in total", ours.total_bytes, reported.total),
        ("in the smallest arena that works", ours.minimum_bytes, found),
    )
    wrong = [
        f"{mine:,} B {what}, it has {theirs:,} B" for what, mine, theirs in pairs if mine != theirs
    ]
    if wrong:
        raise ArenaMismatch(
            f"{model.where}: the arena computed for x86-64 with reference kernels is not what the "
            f"interpreter needs: {'; '.join(wrong)}. Please report it with the model"
        )
    return "verified against the interpreter on x86-64"
