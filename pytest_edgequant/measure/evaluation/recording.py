"""Outputs that were computed in this run: few of them in memory, many in a file without a name.

So that each variant runs once over a dataset, however large its outputs are, and a stream of any
length is evaluated in little memory.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.cache import Cache

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ENTRY_BYTES = 1 << 25
"""Outputs of arrays that are kept in memory, and in the cache."""
_STREAM_BYTES = 1 << 22
"""Outputs of streams that are kept in memory: who streams samples has little of it."""
_TOTAL_BYTES = 1 << 28
_FILE_BYTES = 1 << 32
_SHARE_OF_DISK = 0.25
_READ_BYTES = 1 << 23


class Spool:
    """One output's values (N, ...) in a file, read part by part."""

    def __init__(self, like: NDArray[Any], folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with the object
        self._dtype, self._shape = like.dtype, like.shape[1:]
        self._each = max(like[:1].nbytes, 1)
        self._count = 0

    def add(self, values: NDArray[Any]) -> None:
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(values).data)
        self._count += len(values)

    def __len__(self) -> int:
        return self._count

    @property
    def file_bytes(self) -> int:
        return self._count * self._each

    def __getitem__(self, part: slice) -> NDArray[Any]:
        start, stop, _ = part.indices(self._count)
        self._file.seek(start * self._each)
        data = self._file.read(max(stop - start, 0) * self._each)
        return np.frombuffer(data, self._dtype).reshape(-1, *self._shape)


Recorded = Sequence["NDArray[Any] | Spool"]
"""What a variant gave for a whole dataset: an array (N, ...) an output, or the file of one."""


def part_length(recorded: Sequence[Recorded]) -> int:
    """How many samples of these to look at together; all of what is in memory anyway."""
    spools = [part for entry in recorded for part in entry if isinstance(part, Spool)]
    each = max((spool.file_bytes // len(spool) for spool in spools), default=0)
    count = len(recorded[0][0])
    return max(_READ_BYTES // each, 1) if each else max(count, 1)


class Recorder:
    """Collects a variant's raw outputs as they come."""

    def __init__(self, cache: Cache, *, stream: bool) -> None:
        self._folder = cache.folder
        self._limit = _STREAM_BYTES if stream else _ENTRY_BYTES
        self._bytes = 0
        self._blocks: list[list[NDArray[Any]]] = []
        self._spools: list[Spool] | None = None
        self._most = _FILE_BYTES
        self._full = False

    def add(self, raw: Sequence[NDArray[Any]]) -> None:
        """One block; too many, or too many for the disk, and nothing is kept."""
        self._bytes += sum(array.nbytes for array in raw)
        if self._full:
            return
        try:
            self._take(raw)
        except OSError:
            self._give_up()

    def _take(self, raw: Sequence[NDArray[Any]]) -> None:
        if self._bytes <= self._limit:
            self._blocks.append([array.copy() for array in raw])
            return
        if self._spools is None:
            free = shutil.disk_usage(self._folder).free
            self._most = min(_FILE_BYTES, int(free * _SHARE_OF_DISK))
            self._spools = [Spool(array, self._folder) for array in raw]
        if self._bytes > self._most:
            self._give_up()
            return
        for block in (*self._blocks, raw):
            for spool, array in zip(self._spools, block, strict=True):
                spool.add(array)
        self._blocks = []

    def _give_up(self) -> None:
        self._full, self._spools, self._blocks = True, None, []

    def recorded(self) -> Recorded | None:
        """All of it; None where nothing came, or too much to keep."""
        if self._spools is not None:
            return self._spools
        if not self._blocks:
            return None
        return [np.concatenate(parts) for parts in zip(*self._blocks, strict=True)]


class OutputStore:
    """What was recorded, by key: what was used longest ago goes first. Small arrays go to disk."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._kept: OrderedDict[str, Recorded] = OrderedDict()

    def find(self, key: str, *, lasting: bool) -> Recorded | None:
        """What was recorded under a key; `lasting` looks for it in the cache too."""
        if key not in self._kept and lasting:
            found = self._cache.get_arrays(key)
            if found is not None:
                self._keep(key, found)
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: str, recorded: Recorded, *, lasting: bool) -> None:
        self._keep(key, recorded)
        arrays = [part for part in recorded if not isinstance(part, Spool)]
        if lasting and len(arrays) == len(recorded):
            self._cache.put_arrays(key, arrays)

    def clear(self) -> None:
        self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)

    def _keep(self, key: str, recorded: Recorded) -> None:
        self._kept[key] = recorded
        while len(self._kept) > 1:
            parts = [part for entry in self._kept.values() for part in entry]
            in_memory = sum(part.nbytes for part in parts if not isinstance(part, Spool))
            in_files = sum(part.file_bytes for part in parts if isinstance(part, Spool))
            if in_memory <= _TOTAL_BYTES and in_files <= _FILE_BYTES:
                return
            self._kept.popitem(last=False)
