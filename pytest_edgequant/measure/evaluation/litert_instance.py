"""One interpreter of LiteRT's, on one sample or a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.measure.evaluation.jobs import Job, cached_samples, output_shape
from pytest_edgequant.samples.quantize import Quantizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

Arrays = Sequence["NDArray[Any]"]


class Instance:
    """One interpreter on `batch` units of samples, used by one thread at a time.

    It is `renewed` for each of them where nothing else resets the model.
    """

    def __init__(self, job: Job, content: bytes, batch: int, *, renewed: bool = False) -> None:
        self._job = job
        self._content = content
        self._renewed = renewed
        self.samples = batch * job.unit
        self._interpreter = self._loaded()
        self._quantizers = [Quantizer(info, chunk_size(job, batch)) for info in job.inputs]
        # A batched output may have its samples along an axis that is longer for each of them.
        self._shapes = [(self.samples, *output_shape(job, i)) for i in range(len(job.outputs))]

    def _loaded(self) -> Any:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        reference = self._job.runtime == "litert-reference"
        interpreter = Interpreter(
            model_content=self._content,
            num_threads=1,
            experimental_op_resolver_type=(
                OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
            ),
        )
        interpreter.allocate_tensors()
        return interpreter

    def run(self, samples: Arrays, results: Arrays, start: int, stop: int) -> None:
        """The real-valued samples from `start` to `stop`; what lacks is filled up by the last."""
        stored = [q.stored(s[start:stop]) for q, s in zip(self._quantizers, samples, strict=True)]
        if self.samples == 1 and not self._renewed:
            self._one_by_one(stored, [r[start:stop] for r in results])
            return
        job = self._job
        for begin in range(start, stop, self.samples):
            end = min(begin + self.samples, stop)
            if self._renewed:
                self._interpreter = self._loaded()
            interpreter = self._interpreter
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
    step = batch * job.unit
    return max(cached_samples(job.inputs) // step, 1) * step
