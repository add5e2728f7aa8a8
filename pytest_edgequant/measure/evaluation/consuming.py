"""Who takes what an evaluation gives, block by block, and who hears how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_edgequant.measure.evaluation.selection import Selection
from pytest_edgequant.samples.stream import Samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

Outputs = list["NDArray[Any]"]
Consumer = Callable[[Any, list[Outputs], Outputs | None], None]
"""Takes a block: labels, real-valued outputs (n, ...) of each variant, and the first one's inputs.

The inputs are overwritten later, and None where nobody asked for them.
"""
Told = Callable[[int, int | None], None]
"""Takes how many samples are done, and of how many where that is known."""


def counting(consumer: Consumer, told: Told, samples: Samples, selection: Selection) -> Consumer:
    """A consumer that tells how many samples it was given."""
    done = 0

    def consume(y: Any, blocks: list[Outputs], x: Outputs | None) -> None:
        nonlocal done
        consumer(y, blocks, x)
        done += len(blocks[0][0])
        told(done, selection.size(samples.count))

    return consume
