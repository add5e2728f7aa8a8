"""Which samples of a dataset are evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_edgequant.cache import digest

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Selection:
    """Which samples of a dataset are evaluated; `token` stands for the choice in cache keys.

    `left_out` and `only` are positions; None for no restriction.
    """

    left_out: NDArray[np.int64] | None = None
    only: NDArray[np.int64] | None = None

    def size(self, count: int | None) -> int | None:
        """How many of `count` samples are evaluated; None where that is not known."""
        if self.only is not None:
            return len(self.only)
        if count is None:
            return None
        return count if self.left_out is None else count - len(self.left_out)

    @property
    def token(self) -> str:
        return digest(*(b"" if p is None else p.tobytes() for p in (self.left_out, self.only)))

    def mask(self, start: int, count: int) -> NDArray[np.bool_] | None:
        """Which samples of a part are evaluated; None for all of them."""
        if self.left_out is None and self.only is None:
            return None
        mask = np.ones(count, dtype=bool)
        if self.only is not None:
            mask[:] = False
            mask[_within(self.only, start, count)] = True
        if self.left_out is not None:
            mask[_within(self.left_out, start, count)] = False
        return mask


def _within(positions: NDArray[np.int64], start: int, count: int) -> NDArray[np.int64]:
    """Sorted positions that lie in a part, relative to its start."""
    low, high = np.searchsorted(positions, (start, start + count))
    return positions[low:high] - start
