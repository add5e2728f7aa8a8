"""What is to be run: a variant on a runtime, fed in its file's order, by so many processes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_edgequant.errors import ModelError
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.measure.evaluation import litert_worker, tflm_worker
from pytest_edgequant.measure.evaluation.jobs import Job
from pytest_edgequant.records import Variant
from pytest_edgequant.samples.inputs import input_specs
from pytest_edgequant.samples.stream import Samples, Specs
from pytest_edgequant.tflite.ends import positions_of
from pytest_edgequant.tflite.macs import model_macs
from pytest_edgequant.tflite.model import graph_of


def usable_cores() -> int:
    """The cores that this process may use, shared with other xdist workers."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux tells
        cores = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        cores = min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no control group, or one without a limit
        pass
    workers = os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")
    return max(1, cores // max(1, int(workers) if workers.isdigit() else 1))


@dataclass(frozen=True, eq=False)
class Task:
    """A variant on a runtime, and the processes that share its samples.

    The variant's inputs and outputs are in its model's order, as `specs` are. `feeds` tells for
    each input of the file which of them it is, `gives` for each of the variant's outputs which of
    the file's that is.
    """

    variant: Variant
    job: Job
    specs: Specs
    feeds: tuple[int, ...]
    gives: tuple[int, ...]
    macs: int
    processes: Sequence[IsolatedProcess]

    def binding(self, samples: Samples) -> list[list[str] | list[int]]:
        """Which of the samples' parts each input of the file is fed with, as a key has it."""
        names, positions = [self.specs[place].name for place in self.feeds], list(self.feeds)
        if samples.by_name is None:
            return [names, positions]
        return [names if samples.by_name else positions]

    @property
    def worker(self) -> Any:
        return tflm_worker if self.job.runtime == "tflm" else litert_worker


def _check_ends(variant: Variant) -> None:
    """Raise `ModelError` for inputs and outputs that no sample fills."""
    for what, infos in (("input", variant.inputs), ("output", variant.outputs)):
        for info in infos:
            if info.dtype.hasobject:
                raise ModelError(
                    f"{variant.label}: the {what} {info.name!r} holds no numbers, so it can't be "
                    "evaluated here"
                )
            if what == "input" and info.shape and info.shape[0] < 1:
                raise ModelError(
                    f"{variant.label}: the input {info.name!r} of shape {info.shape} takes no "
                    "sample at all"
                )


def make_task(variant: Variant, runtime: str, processes: Sequence[IsolatedProcess]) -> Task:
    """What it takes to run a variant."""
    graph = graph_of(variant)
    _check_ends(variant)
    batches = {int(info.shape[0]) for info in variant.inputs if info.shape}
    main = graph.main
    feeds = positions_of(main.inputs, [info.index for info in variant.inputs])
    tensors = {info.index: info for info in variant.outputs}
    resources = any(operator.name == "VAR_HANDLE" for _, operator in graph.operators())
    job = Job(
        key=f"{variant.fingerprint}/{runtime}",
        content=variant.content,
        runtime=runtime,
        inputs=tuple(variant.inputs[place] for place in feeds),
        outputs=tuple(tensors[index] for index in main.outputs),
        stateful=resources or any(t.is_variable for s in graph.subgraphs for t in s.tensors),
        resources=resources,
        unit=batches.pop() if len(batches) == 1 else 1,
    )
    gives = positions_of([info.index for info in variant.outputs], main.outputs)
    macs = model_macs(graph)
    return Task(variant, job, input_specs(variant), feeds, gives, macs, processes)
