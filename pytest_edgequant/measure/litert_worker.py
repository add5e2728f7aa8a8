"""Running a .tflite on LiteRT, in a child process: batched where that changes no bit, on all cores.

One sample at a time is what the device does, and what counts. A batched copy of the model
(`tflite.batching`) gives the same bits in less time, or it is not used: each evaluation compares it
with the deployed file on its own first samples. How many samples an inference, and how many
threads, is measured once for a model and machine; the result does not depend on it.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
_BATCHES = (8, 32, 128, 512)
_LEAST_GAIN = 1.03
"""A larger batch must be faster by this factor."""
_LEAST_TASK = 2e-5
_CHUNK_SAMPLES = 256
_CHUNK_BYTES = 1 << 17
_TURN_SECONDS = 0.003
_TURNS = 8
_MEASURING_SECONDS = 0.15
_WORTH_MEASURING = 1.0
"""Seconds that an evaluation takes one by one, under which nothing is measured first."""
_MEASURING_SHARE = 0.05
"""Of these seconds, what measuring may take at most."""
_UNMEASURED_BATCH = 32
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
        job, interpreter = self._job, self._interpreter
        stored = [q(s[start:stop]) for q, s in zip(self._quantizers, samples, strict=True)]
        for begin in range(start, stop, self.samples):
            end = min(begin + self.samples, stop)
            if job.stateful:
                interpreter.reset_all_variables()
            for info, array in zip(job.inputs, stored, strict=True):
                value = array[begin - start : end - start]
                if len(value) < self.samples:
                    lacking = self.samples - len(value)
                    value = np.concatenate([value, np.repeat(value[-1:], lacking, axis=0)])
                interpreter.set_tensor(info.index, value if info.shape else value.reshape(()))
            interpreter.invoke()
            for info, shape, result in zip(job.outputs, self._shapes, results, strict=True):
                value = interpreter.get_tensor(info.index)
                result[begin:end] = value.reshape(shape)[: end - begin]


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
        count = len(samples[0])
        tasks = self._tasks(count, choice)
        _in_threads(
            min(choice.threads, max(1, len(tasks))),
            tasks,
            lambda thread, task: self._task(choice.batch, thread, task, samples, results),
        )

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
        if batch > 1:
            # A few samples at the end are done sooner one by one than as a batch filled up.
            rest = (stop - start) % batch
            whole = stop - rest if 4 * rest < batch else stop
            self._copies[batch][thread].run(samples, results, start, whole)
            start = whole
        if start < stop:
            self._single(thread).run(samples, results, start, stop)

    # -- batched or not -----------------------------------------------------------------------

    def verified(self, samples: Arrays, choice: Choice) -> Choice:
        """The choice, or one sample at a time where the copy does not give the same bits."""
        if choice.batch > 1:
            part = [s[: choice.batch] for s in samples]
            reason = self._differs(part, self._one_by_one(part), choice.batch)
            if reason:
                choice = Choice(1, choice.threads, reason, measured=choice.measured)
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
        few = [s[: count * unit] for s in samples]
        each = float("inf")
        for _ in range(2):  # the first time costs more
            begin = _clock()
            self._one_by_one(few)
            each = min(each, max((_clock() - begin) / count, 1e-9))
        most = min(available, int(_TRIAL_SECONDS / each))
        whole = float("inf") if total is None else each * total / unit
        if whole < _WORTH_MEASURING:
            sizes = [size for size in _BATCHES if size <= min(most, _UNMEASURED_BATCH)]
            batches, reason = self._faithful(samples, sizes[-1:])
            batch = batches[-1]
            return Choice(batch, threads if each * batch >= _LEAST_TASK else 1, reason)
        batches, reason = self._faithful(samples, [size for size in _BATCHES if size <= most])
        seconds = min(_MEASURING_SECONDS, _MEASURING_SHARE * whole)
        best = self._fastest(samples, batches, threads, each, seconds)
        self._copies = {size: self._copies[size] for size in self._copies if size == best.batch}
        return dataclasses.replace(best, reason=reason, measured=True)

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
        trials = []
        for batch in batches:
            # Threads that hand Python's lock to and fro for a few microseconds of work lose.
            used = threads if each * batch >= _LEAST_TASK else 1
            choice = Choice(batch, used)
            self._instances(batch, used)
            step = batch * used
            count = min(len(samples[0]), max(step, min(4 * step, int(_TURN_SECONDS / each))))
            trials.append((choice, [s[:count] for s in samples], self._empty(count)))
        times = dict.fromkeys((choice for choice, _, _ in trials), float("inf"))
        end = time.perf_counter() + seconds
        for turn in range(_TURNS):
            if turn >= 2 and time.perf_counter() > end:
                break
            for choice, part, results in trials:
                begin = _clock()
                self.run(part, results, choice)
                elapsed = (_clock() - begin) / len(part[0])
                if _CLOCK_COUNTS_THREADS:
                    elapsed /= choice.threads
                times[choice] = min(times[choice], elapsed)
        best = trials[0][0]
        for choice, elapsed in times.items():
            if elapsed * _LEAST_GAIN < times[best]:
                best = choice
        return best

    def _faithful(self, samples: Arrays, sizes: Sequence[int]) -> tuple[list[int], str]:
        """One, and of these batches those that give the same bits; and why there are no others."""
        if self.job.stateful:
            return [1], "the model keeps state"
        if self.job.unit > 1:
            return [1], f"the model takes {self.job.unit} samples an inference"
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


_pool: ThreadPoolExecutor | None = None


def _in_threads(
    threads: int, tasks: Sequence[tuple[int, int]], work: Callable[[int, tuple[int, int]], None]
) -> None:
    """Do all tasks; a thread takes the next one when it is done with the last."""
    global _pool
    if threads <= 1:
        for task in tasks:
            work(0, task)
        return
    if _pool is None:
        _pool = ThreadPoolExecutor(64)
    left: Iterator[tuple[int, int]] = iter(tasks)

    def loop(thread: int) -> None:
        for task in left:
            work(thread, task)

    others = [_pool.submit(loop, thread) for thread in range(1, threads)]
    try:
        loop(0)
    finally:
        failures = [other.exception() for other in others]
    for failure in failures:
        if failure is not None:
            raise failure


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
) -> Choice | None:
    """Run a prepared model over samples in shared memory, and leave the raw outputs there.

    `first` comes with the first block of an evaluation. Gives the choice that holds from there on;
    raises `CannotRunError` where an inference fails.
    """
    runner = _runners[key]
    samples = [attach(path, field) for field in inputs]
    results = [attach(path, field) for field in outputs]
    try:
        if first is not None:
            choice = first.choice or runner.choose(samples, first.threads, first.total)
            runner.choice = runner.verified(samples, choice)
        assert runner.choice is not None
        runner.run(samples, results, runner.choice)
    except (RuntimeError, ValueError) as error:
        raise CannotRunError(f"LiteRT fails at inference: {_message(error)}") from None
    return runner.choice
