"""Running a .tflite on TFLM's own interpreter (the `tflite-micro` wheel), in a child process.

One sample at a time, as the device does. The interpreter holds Python's lock while it runs, so all
cores means several child processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.errors import CannotRunError
from pytest_edgequant.measure.arena.tflm_worker import interpreter_that_runs
from pytest_edgequant.measure.evaluation.jobs import (
    Choice,
    Field,
    First,
    Job,
    Loaded,
    attach,
    output_shape,
)
from pytest_edgequant.samples.quantize import Quantizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 256


class _Runner:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.interpreter: Any = interpreter_that_runs(job.content)
        self.quantizers = [Quantizer(info, _BLOCK) for info in job.inputs]
        self.shapes = [output_shape(job, i) for i in range(len(job.outputs))]

    def run(self, samples: Sequence[NDArray[Any]], results: Sequence[NDArray[Any]]) -> None:
        for start in range(0, len(samples[0]), _BLOCK):
            part = [s[start : start + _BLOCK] for s in samples]
            stored = [q.stored(array) for q, array in zip(self.quantizers, part, strict=True)]
            self._run_block(stored, [r[start : start + _BLOCK] for r in results])

    def _run_block(self, stored: Sequence[NDArray[Any]], results: Sequence[NDArray[Any]]) -> None:
        job, interpreter, unit = self.job, self.interpreter, self.job.unit
        for begin in range(0, len(stored[0]), unit):
            if job.stateful:
                interpreter.reset()
            taken = min(unit, len(stored[0]) - begin)
            for position, (info, array) in enumerate(zip(job.inputs, stored, strict=True)):
                value = array[begin : begin + taken]
                if taken < unit:
                    value = np.concatenate([value, np.repeat(value[-1:], unit - taken, axis=0)])
                interpreter.set_input(np.ascontiguousarray(value.reshape(info.shape)), position)
            interpreter.invoke()
            for position, (shape, result) in enumerate(zip(self.shapes, results, strict=True)):
                value = interpreter.get_output(position)
                result[begin : begin + taken] = value.reshape((unit, *shape))[:taken]


_runners = Loaded(_Runner)


def prepare(job: Job) -> None:
    """Load a model; raises `CannotRunError` with TFLM's own reason where it refuses it."""
    _runners.prepare(job)


def run(
    key: str,
    path: str,
    inputs: Sequence[Field],
    outputs: Sequence[Field],
    first: First | None,
) -> Choice | None:
    """Run a prepared model over samples in shared memory, and leave the raw outputs there."""
    try:
        _runners[key].run(
            [attach(path, field) for field in inputs], [attach(path, field) for field in outputs]
        )
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise CannotRunError(f"TFLM fails at inference: {text[:600]}") from None
    return None
