"""Driving the child processes: samples go into shared memory block by block, outputs come back.

While the children work on one block, this process fills the next and hands on the results of the
last. However many samples there are, a few blocks are all that is held.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from pytest_edgequant.errors import CannotRunError, DatasetError, IsolatedProcessError
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.measure.evaluation.jobs import (
    Choice,
    Field,
    First,
    Memory,
    cached_samples,
    lay_out,
    output_shape,
)
from pytest_edgequant.measure.evaluation.tasks import Task, usable_cores
from pytest_edgequant.records import TensorInfo
from pytest_edgequant.samples.inputs import InputSpec
from pytest_edgequant.samples.quantize import Quantizer, is_stored
from pytest_edgequant.samples.stream import Samples, Specs, joined, take

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK_BYTES = 1 << 23
_BLOCK_SAMPLES = 1 << 14
_BLOCK_MACS = 20_000_000_000
_TFLM_SAMPLES = 1 << 12
_TFLM_MACS = 400_000_000
"""TFLM's kernels take about a second for so much, after which it is told how far it is."""
_SLOTS = 3
_LEAST_MEMORY = 1 << 24
_IDLE_MEMORIES = 2


Block = tuple[Any, "list[list[NDArray[Any]]]", "dict[Specs, list[NDArray[Any]]]"]


_Kind = tuple[InputSpec, ...] | tuple[TensorInfo, ...]
"""What a block holds samples for: real values, or what a model stores them as."""


@dataclass
class _Slot:
    """A block's place in shared memory."""

    inputs: dict[_Kind, list[Field]]
    outputs: list[list[Field]]
    filled: int = 0
    labels: list[Any] = field(default_factory=list)
    questions: list[list[int]] = field(default_factory=list)


def _shorter(fields: Sequence[Field], start: int, stop: int) -> list[Field]:
    """The fields of some of the samples."""
    shortened = []
    for each in fields:
        one = Field(0, each.dtype, each.shape[1:]).size
        shape = (stop - start, *each.shape[1:])
        shortened.append(Field(each.offset + start * one, each.dtype, shape))
    return shortened


class Lender:
    """Shared memory for one pass after the other: fresh pages cost time in both processes."""

    def __init__(self) -> None:
        self._idle: list[Memory] = []

    def lend(self, size: int) -> Memory:
        for memory in self._idle:
            if memory.size >= size:
                self._idle.remove(memory)
                return memory
        # The next dataset may be a little larger.
        return Memory(max(size, _LEAST_MEMORY))

    def take_back(self, memory: Memory) -> None:
        self._idle.append(memory)
        self._idle.sort(key=lambda m: m.size)
        while len(self._idle) > _IDLE_MEMORIES:
            self._idle.pop(0).close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


class Pass:
    """One pass of several models over the same samples.

    `choices` remembers how a model is run fastest. `keep` chooses samples: it is given a position
    and a count, and gives a boolean array, or None for all of them. `real_inputs` asks for the
    models' real-valued inputs with each block: integer ones are else quantized on the way there, a
    quarter of the memory to move.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        samples: Samples,
        lender: Lender,
        *,
        total: int | None = None,
        choices: Mapping[str, Choice] | None = None,
        keep: Callable[[int, int], NDArray[np.bool_] | None] | None = None,
        real_inputs: bool = False,
    ) -> None:
        self.tasks = tasks
        self.samples = samples
        self.threads = usable_cores()
        self.kept = 0
        self.found: dict[str, Choice] = {}
        self._lender = lender
        self._total = total
        self._known = choices or {}
        self._keep = keep
        self._specs = list(dict.fromkeys(task.specs for task in tasks))
        self._real_inputs = real_inputs
        self._kinds = {self._kind(task): task.specs for task in tasks}
        self._quantizers: dict[_Kind, list[Quantizer]] = {
            task.variant.inputs: [Quantizer(i, cached_samples([i])) for i in task.variant.inputs]
            for task in tasks
            if self._kind(task) is task.variant.inputs
        }
        self._size = self._block_size()
        self._memory: Memory | None = None
        self._begun = False
        self._preparing: list[tuple[Task, IsolatedProcess, int]] = []

    def _block_size(self) -> int:
        each = sum(_bytes(i.shape[1:], i.dtype) for kind in self._kinds for i in kind) + sum(
            _bytes(output_shape(task.job, i), info.dtype)
            for task in self.tasks
            for i, info in enumerate(task.job.outputs)
        )
        slow = any(task.job.runtime == "tflm" for task in self.tasks)
        most, most_macs = (_TFLM_SAMPLES, _TFLM_MACS) if slow else (_BLOCK_SAMPLES, _BLOCK_MACS)
        size = min(most, max(_BLOCK_BYTES // max(each, 1), 16 * self.threads))
        macs = sum(task.macs for task in self.tasks)
        size = min(size, max(most_macs // max(macs, 1), 8 * self.threads))
        if self._total is not None:
            size = min(size, max(self._total, 1))
        unit = math.lcm(*(task.job.unit for task in self.tasks))
        return -(-size // unit) * unit

    def _slots(self) -> list[_Slot]:
        arrays: list[tuple[str, tuple[int, ...]]] = []
        for kind in self._kinds:
            arrays += [(i.dtype.str, (self._size, *i.shape[1:])) for i in kind]
        for task in self.tasks:
            arrays += [
                (info.dtype.str, (self._size, *output_shape(task.job, i)))
                for i, info in enumerate(task.job.outputs)
            ]
        fields, size = lay_out(arrays * _SLOTS)
        self._memory = self._lender.lend(size)
        slots, left = [], iter(fields)
        for _ in range(_SLOTS):
            inputs = {kind: [next(left) for _ in kind] for kind in self._kinds}
            slots.append(_Slot(inputs, [[next(left) for _ in t.job.outputs] for t in self.tasks]))
        return slots

    def run(self) -> Iterator[Block]:
        """Block after block: labels, each task's raw outputs (n, ...), inputs by their specs.

        The arrays are overwritten later: copy what is kept. Raises `DatasetError`,
        `CannotRunError`, `IsolatedProcessError`.
        """
        slots = self._slots()
        try:
            for task in self.tasks:
                for process in task.processes:
                    number = process.post(task.worker.prepare, task.job)
                    self._preparing.append((task, process, number))
            yield from self._blocks(deque(slots))
        except Exception:
            self._settle(slots)
            raise
        except BaseException:
            # Left before its end, by an interrupt or by whoever takes the blocks.
            for process in {p for task in self.tasks for p in task.processes}:
                process.close()
            raise
        finally:
            if self._memory is not None:
                self._lender.take_back(self._memory)

    @staticmethod
    def give_up(blocks: Iterator[Block], error: Exception) -> NoReturn:
        """End a pass for an error of whoever takes its blocks, and raise that."""
        assert isinstance(blocks, Generator)
        blocks.throw(error)
        raise error

    def _blocks(self, free: deque[_Slot]) -> Iterator[Block]:
        busy: deque[_Slot] = deque()
        current = free.popleft()
        for inputs, y, count in self._chosen():
            done = 0
            while done < count:
                taken = min(count - done, self._size - current.filled)
                self._fill(current, inputs, y, done, taken)
                done += taken
                if current.filled < self._size:
                    continue
                self._post(current)
                busy.append(current)
                if not free:
                    free.append(busy[0])
                    yield self._collect(busy.popleft())
                current = free.popleft()
        if current.filled:
            self._post(current)
            busy.append(current)
        while busy:
            yield self._collect(busy.popleft())

    def _settle(self, slots: Sequence[_Slot]) -> None:
        """Take the answers that nobody waits for any more: they would be in the way."""
        for _, process, number in self._preparing:
            with contextlib.suppress(Exception):
                process.answer(number)
        for slot in slots:
            for task, numbers in zip(self.tasks, slot.questions, strict=False):
                for process, number in zip(task.processes, numbers, strict=False):
                    with contextlib.suppress(Exception):
                        process.answer(number)

    def _chosen(self) -> Iterator[tuple[dict[Specs, list[NDArray[Any]]], Any, int]]:
        """The samples that are evaluated."""
        for part in self.samples.read(self._specs, self._size):
            mask = self._keep(part.start, part.count) if self._keep is not None else None
            if mask is None or mask.all():
                self.kept += part.count
                yield part.inputs, part.y, part.count
            elif mask.any():
                count = int(mask.sum())
                self.kept += count
                yield (
                    {specs: [a[mask] for a in arrays] for specs, arrays in part.inputs.items()},
                    take(part.y, mask),
                    count,
                )

    def _fill(
        self, slot: _Slot, inputs: dict[Specs, list[NDArray[Any]]], y: Any, start: int, count: int
    ) -> None:
        """Copy some samples to the end of a block."""
        assert self._memory is not None
        begin, end = slot.filled, slot.filled + count
        for kind, places in slot.inputs.items():
            arrays = [array[start : start + count] for array in inputs[self._kinds[kind]]]
            targets = [self._memory.array(place)[begin:end] for place in places]
            if kind in self._quantizers:
                self._quantize(kind, arrays, targets)
            else:
                for array, target in zip(arrays, targets, strict=True):
                    np.copyto(target, array, casting="unsafe")
        slot.labels.append(take(y, slice(start, start + count)))
        slot.filled = end

    def _quantize(
        self, kind: _Kind, arrays: Sequence[NDArray[Any]], targets: Sequence[NDArray[Any]]
    ) -> None:
        """Real values as the model stores them, a few samples at a time."""
        for quantizer, array, target in zip(self._quantizers[kind], arrays, targets, strict=True):
            step = quantizer.capacity
            try:
                for first in range(0, len(array), step):
                    target[first : first + step] = quantizer(array[first : first + step])
            except DatasetError as error:
                raise self._counted(error, self._kinds[kind], arrays) from None

    def _kind(self, task: Task) -> _Kind:
        """What a block holds for a task, in the variant's order."""
        stored = any(map(is_stored, task.variant.inputs)) and not self._real_inputs
        return task.variant.inputs if stored else task.specs

    def _post(self, slot: _Slot) -> None:
        assert self._memory is not None
        # The models were being loaded while the first block was filled.
        while self._preparing:
            task, process, number = self._preparing.pop(0)
            self._ask(task, partial(process.answer, number))
        slot.questions = []
        path = str(self._memory.path)
        for task, outputs in zip(self.tasks, slot.outputs, strict=True):
            first = None
            if not self._begun:
                first = First(self._known.get(task.job.key), self.threads, self._total)
            fields = slot.inputs[self._kind(task)]
            inputs = [fields[place] for place in task.feeds]
            numbers = []
            for process, start, stop in _shares(task, slot.filled):
                numbers.append(
                    process.post(
                        task.worker.run,
                        task.job.key,
                        path,
                        _shorter(inputs, start, stop),
                        _shorter(outputs, start, stop),
                        first,
                    )
                )
            slot.questions.append(numbers)
        self._begun = True

    def _collect(self, slot: _Slot) -> Block:
        assert self._memory is not None
        outputs = []
        for task, numbers, fields in zip(self.tasks, slot.questions, slot.outputs, strict=True):
            for process, number in zip(task.processes, numbers, strict=False):
                try:
                    choice = self._ask(task, partial(process.answer, number))
                except DatasetError as error:
                    places = slot.inputs[self._kind(task)]
                    given = [self._memory.array(place)[: slot.filled] for place in places]
                    raise self._counted(error, task.specs, given) from None
                if choice is not None:
                    self.found[task.job.key] = choice
            outputs.append([self._memory.array(f)[: slot.filled] for f in fields])
        slot.questions = []
        y = joined(slot.labels)
        inputs = {
            self._kinds[kind]: [self._memory.array(f)[: slot.filled] for f in fields]
            for kind, fields in slot.inputs.items()
            if self._real_inputs
        }
        slot.labels, slot.filled = [], 0
        return y, outputs, inputs

    def _counted(
        self, error: DatasetError, specs: Specs, arrays: Sequence[NDArray[Any]]
    ) -> DatasetError:
        """A complaint of NaN, with the number of samples that have some."""
        for spec, values in zip(specs, arrays, strict=True):
            if values.dtype.kind != "f":
                continue
            bad = np.isnan(values.reshape(len(values), -1)).any(axis=1)
            if bad.any():
                return DatasetError(
                    f"{self.samples.where}: the input {spec.name!r} has NaN values in "
                    f"{int(bad.sum())} of {len(bad)} samples; expected finite values of shape "
                    f"{spec.sample_shape}: clean or drop these samples"
                )
        return error

    @staticmethod
    def _ask(task: Task, action: Callable[[], Any]) -> Any:
        label = task.variant.label
        try:
            return action()
        except CannotRunError as error:
            raise CannotRunError(f"{label}: {error}") from None
        except IsolatedProcessError as error:
            raise IsolatedProcessError(f"{label}: running it failed: {error}") from None


def _bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return math.prod(shape) * dtype.itemsize


def _shares(task: Task, count: int) -> Iterator[tuple[IsolatedProcess, int, int]]:
    """The samples of a block, one share for each process."""
    units = -(-count // task.job.unit)
    share = -(-units // len(task.processes)) * task.job.unit
    for position, process in enumerate(task.processes):
        start, stop = position * share, min((position + 1) * share, count)
        if start < stop:
            yield process, start, stop
