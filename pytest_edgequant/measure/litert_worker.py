"""Running a .tflite on LiteRT, in a child process: batched where that changes no bit, on all cores.

One sample at a time is what the device does, and what counts. A batched copy of the model
(`tflite.batching`) gives the same bits in less time, or it is not used: each evaluation compares it
with the deployed file on its own first samples. How many samples an inference, and how many
threads, is measured once for a model and machine; the result does not depend on it.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.errors import CannotRunError
from pytest_edgequant.measure.evaluation.jobs import (
    Choice,
    Field,
    First,
    Job,
    Loaded,
    attach,
    output_shape,
)
from pytest_edgequant.quantize import Quantizer
from pytest_edgequant.tflite.batching import NotBatchableError, batched_copy

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRIAL_SECONDS = 0.004
"""What one by one may take for the samples that a batched copy is compared on."""
_MORE = 64
_BATCHES = (8, 32, 128, 512)
_LEAST_GAIN = 1.01
"""A larger batch must be faster by this factor."""
_LEAST_TASK = 4e-6
_CHUNK_SAMPLES = 1024
_CHUNK_BYTES = 1 << 19
_TURN_SECONDS = 0.003
_TURNS = 8
_MEASURING_SECONDS = 0.15
_WORTH_MEASURING = 0.25
"""Seconds that an evaluation takes one by one, under which nothing is measured first."""
_MEASURING_SHARE = 0.05
"""Of these seconds, what measuring may take at most."""
_UNMEASURED_SECONDS = 0.001
"""What a batch that was not measured takes at most, sample by sample: it should fit the cache."""
_CHECKED = 32
"""Samples that the copy is compared on in each evaluation."""
# Processor time, not the clock on the wall: what else the machine does should decide nothing.
_CLOCK_COUNTS_THREADS = sys.platform != "win32"  # there it comes in steps of 16 ms
_clock = time.process_time if _CLOCK_COUNTS_THREADS else time.perf_counter

Arrays = Sequence["NDArray[Any]"]


def _message(error: Exception) -> str:
    return " ".join(str(error).split())[:600]


class _Instance:
    """One interpreter on `batch` units of samples, used by one thread at a time."""

    def __init__(self, job: Job, content: bytes, batch: int) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        resolver = (
            OpResolverType.BUILTIN_REF if job.runtime == "litert-reference" else OpResolverType.AUTO
        )
        self._job = job
        self.samples = batch * job.unit
        self._interpreter = Interpreter(
            model_content=content, num_threads=1, experimental_op_resolver_type=resolver
        )
        self._interpreter.allocate_tensors()
        self._quantizers = [Quantizer(info, chunk_size(job, batch)) for info in job.inputs]
        # A batched output may have its samples along an axis that is longer for each of them.
        self._shapes = [(self.samples, *output_shape(job, i)) for i in range(len(job.outputs))]

    def run(self, samples: Arrays, results: Arrays, start: int, stop: int) -> None:
        """The real-valued samples from `start` to `stop`; what lacks is filled up by the last."""
        stored = [q(s[start:stop]) for q, s in zip(self._quantizers, samples, strict=True)]
        if self.samples == 1:
            self._one_by_one(stored, [r[start:stop] for r in results])
            return
        job, interpreter = self._job, self._interpreter
        for begin in range(start, stop, self.samples):
            end = min(begin + self.samples, stop)
            if job.stateful:
                interpreter.reset_all_variables()
            for info, array in zip(job.inputs, stored, strict=True):
                value = array[begin - start : end - start]
                if len(value) < self.samples:
                    lacking = self.samples - len(value)
                    value = np.concatenate([value, np.repeat(value[-1:], lacking, axis=0)])
                interpreter.set_tensor(info.index, value)
            interpreter.invoke()
            for info, shape, result in zip(job.outputs, self._shapes, results, strict=True):
                value = interpreter.get_tensor(info.index)
                result[begin:end] = value.reshape(shape)[: end - begin]

    def _one_by_one(self, stored: Arrays, results: Arrays) -> None:
        """As few steps a sample as there can be: a small model takes no longer than they do."""
        job, interpreter = self._job, self._interpreter
        set_tensor, invoke = interpreter.set_tensor, interpreter.invoke
        get_tensor, reset = interpreter.get_tensor, interpreter.reset_all_variables
        given = [
            (info.index, array.reshape(len(array), *info.shape))
            for info, array in zip(job.inputs, stored, strict=True)
        ]
        taken = [(info.index, result) for info, result in zip(job.outputs, results, strict=True)]
        for position in range(len(stored[0])):
            if job.stateful:
                reset()
            for index, array in given:
                set_tensor(index, array[position])
            invoke()
            for index, result in taken:
                # An axis of one sample in front is dropped.
                result[position] = get_tensor(index)


def chunk_size(job: Job, batch: int) -> int:
    """Samples that a thread takes at once: whole batches that fit the cache beside the model."""
    each = sum(4 * math.prod(info.shape[1:]) for info in job.inputs)
    step = batch * job.unit
    wanted = min(_CHUNK_SAMPLES, _CHUNK_BYTES // max(each, 1))
    return max(wanted // step, 1) * step


class _Runner:
    """A model with its interpreters: the deployed file's, and those of the batched copy."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.choice: Choice | None = None
        self._seconds: float | None = None
        self._never = ""
        if job.stateful:
            self._never = "the model keeps state"
        elif job.unit > 1:
            self._never = f"the model takes {job.unit} samples an inference"
        self._singles: list[_Instance] = []
        self._copies: dict[int, list[_Instance]] = {}
        self._single(0)

    # -- interpreters -------------------------------------------------------------------------

    def _make(self, content: bytes, batch: int) -> _Instance:
        try:
            return _Instance(self.job, content, batch)
        except (RuntimeError, ValueError) as error:
            raise CannotRunError(f"LiteRT refuses the model: {_message(error)}") from None

    def _single(self, thread: int) -> _Instance:
        while len(self._singles) <= thread:
            self._singles.append(self._make(self.job.content, 1))
        return self._singles[thread]

    def _instances(self, batch: int, threads: int) -> list[_Instance]:
        """Interpreters of the copy for `batch`; raises `NotBatchableError`, `CannotRunError`."""
        if batch == 1:
            return [self._single(thread) for thread in range(threads)]
        made = self._copies.setdefault(batch, [])
        if len(made) < threads:
            content = batched_copy(self.job.content, batch)
            while len(made) < threads:
                made.append(self._make(content, batch))
        return made

    # -- running ------------------------------------------------------------------------------

    def run(self, samples: Arrays, results: Arrays, choice: Choice) -> None:
        """All samples into `results`, as the choice has it."""
        if choice.threads > 1:
            self.begin(samples, results, choice).result()
            return
        for task in self._tasks(len(samples[0]), choice):
            self._task(choice.batch, 0, task, samples, results)

    def begin(self, samples: Arrays, results: Arrays, choice: Choice) -> Future[Choice]:
        """Have threads work on it when they are done with what was begun before."""
        return _Begun(
            choice,
            self._tasks(len(samples[0]), choice),
            lambda thread, task: self._task(choice.batch, thread, task, samples, results),
        ).done

    def _tasks(self, count: int, choice: Choice) -> list[tuple[int, int]]:
        """Ranges of samples, each for one thread at a time; short enough to keep all busy."""
        batch = choice.batch * self.job.unit
        most = count // (4 * choice.threads)
        step = min(chunk_size(self.job, choice.batch), max(most // batch, 1) * batch)
        return [(start, min(start + step, count)) for start in range(0, count, step)]

    def _task(
        self, batch: int, thread: int, task: tuple[int, int], samples: Arrays, results: Arrays
    ) -> None:
        start, stop = task
        whole = stop
        try:
            if batch > 1:
                # A few samples at the end are done sooner one by one than as a batch filled up.
                rest = (stop - start) % batch
                whole = stop - rest if 4 * rest < batch else stop
                self._copies[batch][thread].run(samples, results, start, whole)
                start = whole
            if start < stop:
                self._single(thread).run(samples, results, start, stop)
        except (RuntimeError, ValueError) as error:
            raise CannotRunError(f"LiteRT fails at inference: {_message(error)}") from None

    # -- batched or not -----------------------------------------------------------------------

    def verified(self, samples: Arrays, choice: Choice) -> Choice:
        """The choice, or one sample at a time where the copy does not give the same bits."""
        if choice.batch > 1:
            part = [s[: min(choice.batch, _CHECKED)] for s in samples]
            reason = self._differs(part, self._one_by_one(part), choice.batch)
            if reason:
                choice = Choice(1, choice.threads, reason, measured=choice.measured)
        self._instances(1, choice.threads)
        self._instances(choice.batch, choice.threads)
        return choice

    def _empty(self, count: int) -> list[NDArray[Any]]:
        return [
            np.empty((count, *output_shape(self.job, i)), info.dtype)
            for i, info in enumerate(self.job.outputs)
        ]

    def _one_by_one(self, samples: Arrays) -> list[NDArray[Any]]:
        results = self._empty(len(samples[0]))
        self.run(samples, results, Choice(1, 1))
        return results

    def choose(self, samples: Arrays, threads: int, total: int | None) -> Choice:
        """What is fastest on these samples, of what gives the same bits.

        Measured only where the whole evaluation, of `total` samples, takes longer than measuring.
        """
        unit = self.job.unit
        available = len(samples[0]) // unit
        count = min(available, 8)
        if count < 2:
            return Choice(1, 1)
        if self._seconds is None:
            self._seconds = self._time_of_one(samples, count)
            if self._seconds * _MORE < _TRIAL_SECONDS:  # too little for the clock
                self._seconds = self._time_of_one(samples, min(available, _MORE))
        each = self._seconds
        # Each thread needs whole batches of a block.
        most = min(available // threads, int(_TRIAL_SECONDS / each))
        whole = float("inf") if total is None else each * total / unit
        if whole < _WORTH_MEASURING:
            few = min(most, int(_UNMEASURED_SECONDS / each))
            batch = max((size for size in _BATCHES if size <= few), default=1)
            used = threads if each * batch >= _LEAST_TASK else 1
            return Choice(1 if self._never else batch, used, self._never)
        batches, reason = self._faithful(samples, [size for size in _BATCHES if size <= most])
        seconds = min(_MEASURING_SECONDS, _MEASURING_SHARE * whole)
        best = self._fastest(samples, batches, threads, each, seconds)
        self._copies = {size: self._copies[size] for size in self._copies if size == best.batch}
        return dataclasses.replace(best, reason=reason, measured=True)

    def _time_of_one(self, samples: Arrays, count: int) -> float:
        """Seconds an inference of the deployed file takes, from so many of them."""
        few = [s[: count * self.job.unit] for s in samples]
        best = float("inf")
        for _ in range(2):  # the first time costs more
            begin = _clock()
            self._one_by_one(few)
            best = min(best, max((_clock() - begin) / count, 1e-9))
        return best

    def _fastest(
        self,
        samples: Arrays,
        batches: Sequence[int],
        threads: int,
        each: float,
        seconds: float,
    ) -> Choice:
        """The batch with the shortest time a sample, the best of several turns.

        All take their turns, so that what else the machine does falls on each of them.
        """
        choices = []
        for batch in batches:
            # Threads that hand Python's lock to and fro for a few microseconds of work lose.
            used = threads if each * batch >= _LEAST_TASK else 1
            choices.append(Choice(batch, used))
            self._instances(batch, used)
        step = batches[-1] * threads
        count = -(-int(_TURN_SECONDS / each) // step) * step
        part = [s[:count] for s in samples]
        results = self._empty(len(part[0]))
        times = dict.fromkeys(choices, float("inf"))
        end = time.perf_counter() + seconds
        for turn in range(_TURNS):
            if turn >= 2 and time.perf_counter() > end:
                break
            for choice in choices:
                begin = _clock()
                self.run(part, results, choice)
                elapsed = (_clock() - begin) / len(part[0])
                if _CLOCK_COUNTS_THREADS:
                    elapsed /= choice.threads
                times[choice] = min(times[choice], elapsed)
        best = choices[0]
        for choice, elapsed in times.items():
            if elapsed * _LEAST_GAIN < times[best]:
                best = choice
        return best

    def _faithful(self, samples: Arrays, sizes: Sequence[int]) -> tuple[list[int], str]:
        """One, and of these batches those that give the same bits; and why there are no others."""
        if self._never:
            return [1], self._never
        if not sizes:
            return [1], ""
        trial = [s[: sizes[-1]] for s in samples]
        expected = self._one_by_one(trial)
        for size in sizes:
            part, wanted = [s[:size] for s in trial], [e[:size] for e in expected]
            reason = self._differs(part, wanted, size)
            if reason:
                # One size that differs makes the others suspect.
                return [1], reason
        return [1, *sizes], ""

    def _differs(self, samples: Arrays, expected: Arrays, batch: int) -> str:
        """Why the copy can't stand for the deployed file; empty where it gives the same bits."""
        try:
            instance = self._instances(batch, 1)[0]
            results = self._empty(len(samples[0]))
            instance.run(samples, results, 0, len(samples[0]))
        except (NotBatchableError, CannotRunError, RuntimeError, ValueError) as error:
            return f"can't be batched: {_message(error)}"
        if all(a.tobytes() == b.tobytes() for a, b in zip(results, expected, strict=True)):
            return ""
        return "its batched copy gives other bits than the deployed file"


class _Begun:
    """Tasks that threads share; a thread takes the next one when it is done with the last.

    A thread that finds none left goes on with what was begun next, and waits for no other.
    """

    def __init__(
        self,
        choice: Choice,
        tasks: Iterable[tuple[int, int]],
        work: Callable[[int, tuple[int, int]], None],
    ) -> None:
        self.done: Future[Choice] = Future()
        self._choice = choice
        self._left = iter(tasks)
        self._work = work
        self._lock = threading.Lock()
        self._busy = choice.threads
        self._error: BaseException | None = None
        pool = _threads(choice.threads)
        for _ in range(choice.threads):
            pool.submit(self._loop)

    def _loop(self) -> None:
        try:
            for task in self._left:
                self._work(_local.number, task)
        except BaseException as error:
            self._left = iter(())
            self._error = error
        with self._lock:
            self._busy -= 1
            last = not self._busy
        if last and self._error is None:
            self.done.set_result(self._choice)
        elif last:
            self.done.set_exception(self._error)


_local = threading.local()
_pool: tuple[int, ThreadPoolExecutor] | None = None


def _threads(count: int) -> ThreadPoolExecutor:
    """A pool of so many threads, each with its number from 0 on."""
    global _pool
    if _pool is None or _pool[0] != count:
        if _pool is not None:
            _pool[1].shutdown()
        numbers = itertools.count()

        def start() -> None:
            _local.number = next(numbers)

        _pool = count, ThreadPoolExecutor(count, initializer=start)
    return _pool[1]


_runners = Loaded(_Runner)


# -- what the parent calls ------------------------------------------------------------------------


def check(content: bytes) -> None:
    """Allocate a model's tensors; raises `CannotRunError` where LiteRT refuses it."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        Interpreter(model_content=content, num_threads=1).allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise CannotRunError(f"LiteRT refuses the model: {_message(error)}") from None


def prepare(job: Job) -> None:
    """Load a model; raises `CannotRunError` where LiteRT refuses it."""
    _runners.prepare(job)


def run(
    key: str,
    path: str,
    inputs: Sequence[Field],
    outputs: Sequence[Field],
    first: First | None,
) -> Choice | Future[Choice]:
    """Run a prepared model over samples in shared memory, and leave the raw outputs there.

    `first` comes with the first block of an evaluation. Gives the choice that holds from there on;
    raises `CannotRunError` where an inference fails.
    """
    runner = _runners[key]
    samples = [attach(path, field) for field in inputs]
    results = [attach(path, field) for field in outputs]
    if first is not None:
        _finish()  # what else runs would be measured too
        choice = first.choice or runner.choose(samples, first.threads, first.total)
        runner.choice = runner.verified(samples, choice)
    assert runner.choice is not None
    if runner.choice.threads == 1:
        runner.run(samples, results, runner.choice)
        return runner.choice
    begun = runner.begin(samples, results, runner.choice)
    _unfinished.append(begun)
    begun.add_done_callback(_unfinished.remove)
    return begun


_unfinished: list[Future[Choice]] = []


def _finish() -> None:
    """Wait for all that was begun."""
    wait(_unfinished.copy())
