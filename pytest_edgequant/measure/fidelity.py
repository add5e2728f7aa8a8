"""How near a variant's outputs are to the baseline's: cosine similarity, SQNR, equal decisions.

Over all values of all samples of an output, batch by batch. SQNR = 10 log10(sum of squares of the
baseline's outputs / sum of squares of the differences), in dB; 6 dB are about one bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.errors import MetricError
from pytest_edgequant.records import Fidelity

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Sums:
    """The running sums of one output."""

    def __init__(self) -> None:
        self.reference = 0.0
        self.candidate = 0.0
        self.product = 0.0
        self.noise = 0.0
        self.largest = 0.0

    def add(self, reference: NDArray[Any], candidate: NDArray[Any]) -> None:
        first = np.asarray(reference, dtype=np.float64).reshape(-1)
        second = np.asarray(candidate, dtype=np.float64).reshape(-1)
        difference = first - second
        self.reference += float(first @ first)
        self.candidate += float(second @ second)
        self.product += float(first @ second)
        self.noise += float(difference @ difference)
        self.largest = max(self.largest, float(np.abs(difference).max(initial=0.0)))

    @property
    def cosine(self) -> float | None:
        if self.noise == 0:
            return 1.0
        norm = math.sqrt(self.reference) * math.sqrt(self.candidate)
        return min(1.0, max(-1.0, self.product / norm)) if norm > 0 else None

    @property
    def sqnr_db(self) -> float | None:
        if self.noise == 0:
            return math.inf
        return 10 * math.log10(self.reference / self.noise) if self.reference > 0 else None


class FidelityAccumulator:
    """Cosine similarity and SQNR of a candidate's outputs against a reference's, in one pass.

    Of several outputs the worst one counts (the lowest SQNR).
    """

    def __init__(self, outputs: Sequence[str] = ()) -> None:
        self._names = tuple(outputs)
        self._sums: list[_Sums] = []
        self._count = 0

    def update(self, reference: Any, candidate: Any) -> None:
        """One batch of real-valued outputs (n, ...), a list of them for several outputs.

        Raises `MetricError` for outputs of different number or shape.
        """
        first = reference if isinstance(reference, list | tuple) else [reference]
        second = candidate if isinstance(candidate, list | tuple) else [candidate]
        shapes = [[np.shape(part)[1:] for part in parts] for parts in (first, second)]
        if shapes[0] != shapes[1]:
            raise MetricError(
                f"outputs can't be compared: the baseline's have the shapes {shapes[0]}, the "
                f"candidate's {shapes[1]}"
            )
        self._sums = self._sums or [_Sums() for _ in first]
        self._count += len(first[0])
        for sums, ours, theirs in zip(self._sums, first, second, strict=True):
            sums.add(ours, theirs)

    def finish(self) -> Fidelity:
        """The worst output's figures; None where they are not defined (all values are zero)."""
        if not self._sums:
            raise MetricError("outputs can't be compared: no samples")
        noisiest = min(
            range(len(self._sums)),
            key=lambda i: -math.inf if (found := self._sums[i].sqnr_db) is None else found,
        )
        sums = self._sums[noisiest]
        name = self._names[noisiest] if noisiest < len(self._names) else str(noisiest)
        return Fidelity(sums.cosine, sums.sqnr_db, sums.largest, self._count, name)
