"""What the evaluating process and its child processes agree on. Imported by both."""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from pytest_edgequant.errors import ModelError
from pytest_edgequant.records import TensorInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ALIGNMENT = 64
_KEPT = 6
_CHUNK_SAMPLES = 1024
_CHUNK_BYTES = 1 << 19
_Runner = TypeVar("_Runner")


@dataclass(frozen=True)
class Job:
    """One model to run: the deployed file, and how its inputs and outputs are stored.

    These are in the file's own order, so that `key` stands for all of it: whatever a variant of
    these bytes calls them, and in which order, is the matter of `Task`.

    `runtime` is "litert", "litert-reference" or "tflm". `stateful` models are reset before each
    inference; LiteRT itself does not reset `resources`, variables beside the graph
    (`tflite.restarting`). `unit` is how many samples the deployed file takes an inference.
    """

    key: str
    content: bytes
    runtime: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    stateful: bool
    resources: bool
    unit: int


class Loaded(Generic[_Runner]):
    """The models that a child process used last, ready to run, by their jobs' keys."""

    def __init__(self, make: Callable[[Job], _Runner]) -> None:
        self._make = make
        self._runners: OrderedDict[str, _Runner] = OrderedDict()

    def prepare(self, job: Job) -> None:
        if job.key not in self._runners:
            self._runners[job.key] = self._make(job)
        self._runners.move_to_end(job.key)
        while len(self._runners) > _KEPT:
            self._runners.popitem(last=False)

    def __getitem__(self, key: str) -> _Runner:
        return self._runners[key]


@dataclass(frozen=True)
class Choice:
    """How a model is run fastest here: samples an inference, threads, and folding.

    `folding` names the kernel for whose tiles convolutions are folded (`tflite.folding`).
    `reason` tells why the model is not batched where it can't be. A choice that was `measured` is
    worth remembering. It changes nothing but the time: results are the same whatever it is.
    """

    batch: int
    threads: int
    reason: str = ""
    measured: bool = False
    folding: str = ""

    @property
    def copied(self) -> bool:
        """Whether a copy of the model runs, and not the deployed file."""
        return self.batch > 1 or bool(self.folding)


@dataclass(frozen=True)
class First:
    """What comes with the first block of an evaluation.

    `choice` is what is remembered of the model, None to find out. `threads` is how many there may
    be, `total` the number of samples to come, None where that is not known.
    """

    choice: Choice | None
    threads: int
    total: int | None


@dataclass(frozen=True)
class Field:
    """An array (count, ...) in shared memory."""

    offset: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


def lay_out(arrays: Sequence[tuple[str, tuple[int, ...]]]) -> tuple[list[Field], int]:
    """Fields for arrays of these types and shapes, one after the other, and their total size."""
    fields, offset = [], 0
    for dtype, shape in arrays:
        field = Field(offset, dtype, shape)
        fields.append(field)
        offset += -(-field.size // _ALIGNMENT) * _ALIGNMENT
    return fields, offset


def cached_samples(inputs: Sequence[TensorInfo]) -> int:
    """How many real-valued samples to take at once, so that the processor's cache holds them."""
    each = sum(4 * math.prod(info.shape[1:]) for info in inputs)
    return max(min(_CHUNK_SAMPLES, _CHUNK_BYTES // max(each, 1)), 1)


def output_shape(job: Job, position: int) -> tuple[int, ...]:
    """The shape of one sample's output: without the batch where the output has one."""
    shape = job.outputs[position].shape
    return shape[1:] if shape and shape[0] == job.unit else shape


def _folder(size: int) -> str:
    """Where a file of this size can be mapped.

    A file may be made longer than there is room for: writing to it would then end this process.
    Raises `ModelError` where there is no room anywhere.
    """
    folders = ["/dev/shm"] if os.access("/dev/shm", os.W_OK) else []
    folders.append(tempfile.gettempdir())
    for folder in folders:
        if shutil.disk_usage(folder).free > size:
            return folder
    raise ModelError(
        f"{size:,} bytes for the inputs and outputs of its samples are more than there is room for "
        f"in {' or '.join(folders)}"
    )


class Memory:
    """A block of memory that this process and its children share, as a file mapped by each."""

    def __init__(self, size: int) -> None:
        handle, name = tempfile.mkstemp(prefix="edgequant-", dir=_folder(size))
        self.path = Path(name)
        self.size = max(size, 1)
        with os.fdopen(handle, "r+b") as stream:
            stream.truncate(self.size)
            self._map = mmap.mmap(stream.fileno(), self.size)

    def array(self, field: Field) -> NDArray[Any]:
        return _view(self._map, field)

    def close(self) -> None:
        """Remove the file. The pages go when the last array on them does."""
        with contextlib.suppress(OSError):  # Windows keeps a file that is still mapped
            self.path.unlink(missing_ok=True)


def _view(mapped: mmap.mmap, field: Field) -> NDArray[Any]:
    count = int(np.prod(field.shape, dtype=np.int64))
    flat: NDArray[Any] = np.frombuffer(mapped, np.dtype(field.dtype), count, field.offset)
    return flat.reshape(field.shape)


_attached: tuple[str, mmap.mmap] | None = None


def attach(path: str, field: Field) -> NDArray[Any]:
    """The array in another process' memory; the last mapping is kept."""
    global _attached
    if _attached is None or _attached[0] != path:
        with open(path, "r+b") as stream:
            _attached = path, mmap.mmap(stream.fileno(), 0)
    return _view(_attached[1], field)
