"""How a model is run fastest on LiteRT: samples an inference, folding, threads.

One sample at a time is what the device does, and what counts. A batched copy of the model
(`tflite.batching`), perhaps with its convolutions folded (`tflite.folding`), gives the same bits in
less time, or it is not used: each evaluation compares it with the deployed file on its own first
samples. Which copy, and how many threads, is measured once for a model and machine.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.errors import CannotRunError
from pytest_edgequant.measure.evaluation.jobs import Choice, Job, output_shape
from pytest_edgequant.measure.evaluation.litert_instance import Arrays, Instance, chunk_size
from pytest_edgequant.measure.evaluation.processor import usual_kernel
from pytest_edgequant.measure.evaluation.sharing import Begun
from pytest_edgequant.tflite.batching import BatchSamples
from pytest_edgequant.tflite.folding import KERNELS, FoldPixels
from pytest_edgequant.tflite.restarting import RestartVariables
from pytest_edgequant.tflite.rewrite import NotRewritableError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRIAL_SECONDS = 0.004
"""What one by one may take for the samples that a batched copy is compared on."""
_MORE = 64
_BATCHES = (8, 32, 128, 512)
_LEAST_GAIN = 1.01
"""A larger batch must be faster by this factor."""
_LEAST_TASK = 1e-5
"""Seconds of an inference from which on two threads gain: shorter ones wait for Python's lock"""
_TURN_SECONDS = 0.003
_TURNS = 8
_MEASURING_SECONDS = 0.15
_WORTH_MEASURING = 0.25
"""Seconds that an evaluation takes one by one, under which nothing is measured first."""
_SLOW = 0.0015
"""Seconds of an inference from which on batches gain nothing, and measuring takes long."""
_MEASURING_SHARE = 0.05
"""Of these seconds, what measuring may take at most."""
_UNMEASURED_SECONDS = 0.001
"""What a batch that was not measured takes at most, sample by sample: it should fit the cache."""
_PROBED = 32
"""The batch on which foldings are compared; by which one is fastest, it matters little."""
_WORTH_FOLDING = 0.03
"""Seconds that an evaluation takes one by one, under which making another copy gains nothing."""
_CHECKED = 32
"""Samples that a copy is compared on in each evaluation at most"""
_CHECKED_AT_LEAST = 8
"""... and at least, of slow models two and as many as take no longer than this:"""
_CHECKING_SECONDS = 0.02
# Processor time, not the clock on the wall: what else the machine does should decide nothing.
_CLOCK_COUNTS_THREADS = sys.platform != "win32"  # there it comes in steps of 16 ms
_clock = time.process_time if _CLOCK_COUNTS_THREADS else time.perf_counter


def message(error: Exception) -> str:
    """What an error of LiteRT says, in one line of bounded length."""
    return " ".join(str(error).split())[:600]


def _equal(first: Arrays, second: Arrays) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


class Runner:
    """A model with its interpreters: the deployed file's, and those of the batched copy."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.choice: Choice | None = None
        self._seconds: float | None = None
        self._asked = 0.0
        """Seconds that all evaluations so far would have taken one by one"""
        self._never = ""
        if job.stateful:
            self._never = "the model keeps state"
        elif job.unit > 1:
            self._never = f"the model takes {job.unit} samples an inference"
        self._content, self._renewed = job.content, False
        if job.resources:
            restarting = RestartVariables().apply(job.content)
            self._content, self._renewed = restarting.content, not restarting.changed
        self._singles: list[Instance] = []
        self._folded: dict[str, bytes | None] = {}
        self._copies: dict[tuple[int, str], list[Instance]] = {}
        self._single(0)

    # -- interpreters -------------------------------------------------------------------------

    def _make(self, content: bytes, batch: int) -> Instance:
        try:
            return Instance(self.job, content, batch, renewed=self._renewed)
        except (RuntimeError, ValueError) as error:
            raise CannotRunError(f"LiteRT refuses the model: {message(error)}") from None

    def _single(self, thread: int) -> Instance:
        while len(self._singles) <= thread:
            self._singles.append(self._make(self._content, 1))
        return self._singles[thread]

    def _folded_model(self, kernel: str) -> bytes | None:
        """The model with convolutions folded to a kernel's tiles; None where that gains nothing."""
        if not kernel or self.job.runtime != "litert":
            return None  # the reference kernels compute no tiles
        if kernel not in self._folded:
            folded = FoldPixels(KERNELS[kernel]).apply(self.job.content)
            self._folded[kernel] = folded.content if folded.changed else None
        return self._folded[kernel]

    def _foldings(self) -> list[str]:
        """The kernels whose tiles ask for a folded copy, each for another one."""
        kernels: dict[bytes | None, str] = {}
        for kernel in KERNELS:
            kernels.setdefault(self._folded_model(kernel), kernel)
        return [kernel for made, kernel in kernels.items() if made is not None]

    def _instances(self, choice: Choice) -> list[Instance]:
        """Interpreters for a choice; raises `NotRewritableError`, `CannotRunError`."""
        if not choice.copied:
            return [self._single(thread) for thread in range(choice.threads)]
        made = self._copies.setdefault((choice.batch, choice.folding), [])
        if len(made) < choice.threads:
            content = self._folded_model(choice.folding) or self.job.content
            if choice.batch > 1:
                batched = BatchSamples(choice.batch).apply(content)
                if batched.refused:
                    raise NotRewritableError(batched.reason)
                content = batched.content
            while len(made) < choice.threads:
                made.append(self._make(content, choice.batch))
        return made

    # -- running ------------------------------------------------------------------------------

    def run(self, samples: Arrays, results: Arrays, choice: Choice) -> None:
        """All samples into `results`, as the choice has it."""
        if choice.threads > 1:
            self.begin(samples, results, choice).result()
            return
        for task in self._tasks(len(samples[0]), choice):
            self._task(choice, 0, task, samples, results)

    def begin(self, samples: Arrays, results: Arrays, choice: Choice) -> Future[Choice]:
        """Have threads work on it when they are done with what was begun before."""
        return Begun(
            choice,
            self._tasks(len(samples[0]), choice),
            lambda thread, task: self._task(choice, thread, task, samples, results),
        ).done

    def _tasks(self, count: int, choice: Choice) -> list[tuple[int, int]]:
        """Ranges of samples, each for one thread at a time; short enough to keep all busy."""
        batch = choice.batch * self.job.unit
        most = count // (4 * choice.threads)
        step = min(chunk_size(self.job, choice.batch), max(most // batch, 1) * batch)
        return [(start, min(start + step, count)) for start in range(0, count, step)]

    def _task(
        self, choice: Choice, thread: int, task: tuple[int, int], samples: Arrays, results: Arrays
    ) -> None:
        start, stop = task
        whole, batch = stop, choice.batch
        try:
            if choice.copied:
                # A few samples at the end are done sooner one by one than as a batch filled up.
                rest = (stop - start) % batch
                whole = stop - rest if 4 * rest < batch else stop
                self._copies[batch, choice.folding][thread].run(samples, results, start, whole)
                start = whole
            if start < stop:
                self._single(thread).run(samples, results, start, stop)
        except (RuntimeError, ValueError) as error:
            raise CannotRunError(f"LiteRT fails at inference: {message(error)}") from None

    # -- batched or not -----------------------------------------------------------------------

    def verified(self, samples: Arrays, choice: Choice) -> Choice:
        """The choice, or a plainer one where its copy does not give the same bits."""
        if self.job.resources and not self._renewed:
            self._check_restarts([s[: _CHECKED_AT_LEAST * self.job.unit] for s in samples])
        if choice.copied:
            least = _CHECKED_AT_LEAST
            if self._seconds is not None:
                least = max(2, min(least, int(_CHECKING_SECONDS / self._seconds)))
            part = [s[: min(max(choice.batch, least), _CHECKED)] for s in samples]
            expected = self._one_by_one(part)
            reason = self._differs(part, expected, choice)
            if reason and choice.folding:
                choice = dataclasses.replace(choice, folding="")
                reason = self._differs(part, expected, choice) if choice.copied else ""
            if reason:
                choice = Choice(1, choice.threads, reason, measured=choice.measured)
        self._instances(Choice(1, choice.threads))
        self._instances(choice)
        return choice

    def _check_restarts(self, samples: Arrays) -> None:
        """Load the model anew for each sample where its copy does not do the same."""
        found = self._one_by_one(samples)
        self._renewed = True
        expected = self._empty(len(samples[0]))
        anew = self._make(self.job.content, 1)
        anew.run(samples, expected, 0, len(samples[0]))
        self._renewed = not _equal(found, expected)
        if self._renewed:
            self._content, self._singles = self.job.content, [anew]

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

        Measured only where evaluating `total` samples, with what was evaluated before, takes longer
        than measuring.
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
        self._asked += float("inf") if total is None else each * total / unit
        whole = self._asked
        if whole < _WORTH_MEASURING or each > _SLOW:
            few = min(most, int(_UNMEASURED_SECONDS / each))
            batch = max((size for size in _BATCHES if size <= few), default=1)
            kernel = usual_kernel() if whole > _WORTH_FOLDING and not self._never else ""
            folding = kernel if self._folded_model(kernel) is not None else ""
            choice = self._threaded(batch, threads, each, folding)
            return dataclasses.replace(
                choice, batch=1 if self._never else batch, reason=self._never
            )
        sizes = [size for size in _BATCHES if size <= most]
        choices, reason = [self._threaded(1, threads, each)], self._never
        seconds = min(_MEASURING_SECONDS, _MEASURING_SHARE * whole)
        if not reason:
            found, reason = self._faithful(samples, sizes, threads, each, seconds)
            choices += found
        best = self._fastest(samples, choices, each, seconds)
        kept = (best.batch, best.folding)
        self._copies = {key: made for key, made in self._copies.items() if key == kept}
        return dataclasses.replace(best, reason=reason, measured=True)

    @staticmethod
    def _threaded(batch: int, threads: int, each: float, folding: str = "") -> Choice:
        """A choice with as many threads as gain."""
        return Choice(batch, threads if each * batch >= _LEAST_TASK else 1, folding=folding)

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
        self, samples: Arrays, choices: Sequence[Choice], each: float, seconds: float
    ) -> Choice:
        """The choice with the shortest time a sample, the best of several turns.

        All take their turns, so that what else the machine does falls on each of them.
        """
        for choice in choices:
            self._instances(choice)
        step = max(choice.batch * choice.threads for choice in choices)
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

    def _faithful(
        self, samples: Arrays, sizes: Sequence[int], threads: int, each: float, seconds: float
    ) -> tuple[list[Choice], str]:
        """Copies of these batches that give the same bits, with the fastest folding that does.

        And why none is batched: one size that differs makes the others suspect.
        """
        trial = [s[: max(sizes, default=_CHECKED_AT_LEAST)] for s in samples]
        expected = self._one_by_one(trial)

        @functools.cache
        def differs(choice: Choice) -> str:
            count = max(choice.batch, _CHECKED_AT_LEAST)
            return self._differs([s[:count] for s in trial], [e[:count] for e in expected], choice)

        probed = max((size for size in sizes if size <= _PROBED), default=min(sizes, default=1))
        plain, reason = self._threaded(probed, threads, each), ""
        if plain.copied:
            reason = differs(plain)
        if reason:
            plain, sizes = self._threaded(1, threads, each), []
        folded = [dataclasses.replace(plain, folding=kernel) for kernel in self._foldings()]
        same = [plain, *(choice for choice in folded if not differs(choice))]
        folding = self._fastest(samples, same, each, seconds).folding if len(same) > 1 else ""
        choices = []
        for size in (1, *sizes):
            choice = self._threaded(size, threads, each, folding)
            if choice.copied:
                differing = differs(choice)
                if differing:
                    return [], differing
                choices.append(choice)
        return choices, reason

    def _differs(self, samples: Arrays, expected: Arrays, choice: Choice) -> str:
        """Why the copy can't stand for the deployed file; empty where it gives the same bits."""
        try:
            instance = self._instances(dataclasses.replace(choice, threads=1))[0]
            results = self._empty(len(samples[0]))
            instance.run(samples, results, 0, len(samples[0]))
        except (NotRewritableError, CannotRunError, RuntimeError, ValueError) as error:
            return f"can't be batched: {message(error)}"
        if _equal(results, expected):
            return ""
        return "its batched copy gives other bits than the deployed file"
