"""Outputs of variants over whole datasets, each computed once in a run and kept where it is small.

A consumer is given labels and outputs block by block, of several variants side by side, so that a
comparison needs one pass and no more memory than what the consumer keeps.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.cache import Cache, Entry, digest, versions
from pytest_edgequant.errors import CannotRunError, DatasetError, IsolatedProcessError
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.measure.evaluation.consuming import Consumer, Outputs, Told, counting
from pytest_edgequant.measure.evaluation.jobs import Choice
from pytest_edgequant.measure.evaluation.processor import machine
from pytest_edgequant.measure.evaluation.recording import (
    OutputStore,
    Recorded,
    Recorder,
    part_length,
)
from pytest_edgequant.measure.evaluation.running import Lender, Pass
from pytest_edgequant.measure.evaluation.selection import Selection
from pytest_edgequant.measure.evaluation.tasks import Task, make_task, usable_cores
from pytest_edgequant.records import Variant
from pytest_edgequant.samples.quantize import dequantize
from pytest_edgequant.samples.stream import Samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

REVISION = 4
_SEEN = 32
_PACKAGES = {
    "litert": "ai-edge-litert",
    "litert-reference": "ai-edge-litert",
    "tflm": "tflite-micro",
}


class Engine:
    """Runs variants over samples, with the child processes and the cache of a pipeline."""

    def __init__(self, cache: Cache, litert: IsolatedProcess, timeout: float) -> None:
        self._cache = cache
        self._litert = litert
        self._timeout = timeout
        self._tflm: list[IsolatedProcess] = []
        self._choices: dict[str, Choice] = {}
        self._looked_up: set[str] = set()
        self._outputs = OutputStore(cache)
        self._probes: set[str] = set()
        self._seen: OrderedDict[int, tuple[Any, str]] = OrderedDict()
        self._tokens: list[Any] = []
        self._lender = Lender()
        self._refusals: dict[str, str | None] = {}

    def close(self) -> None:
        """End TFLM's processes and free the memory; LiteRT's process belongs to the pipeline."""
        self._lender.close()
        for process in self._tflm:
            process.close()

    # -- one pass -----------------------------------------------------------------------------

    def run(
        self,
        wanted: Sequence[tuple[Variant, str]],
        samples: Samples,
        selection: Selection,
        start: Callable[[], Consumer],
        *,
        inputs: bool = False,
        told: Told | None = None,
    ) -> int:
        """Hand every block to a consumer; gives the number of samples.

        `wanted` are variants with their runtimes. `start` gives a fresh consumer; it is called
        again where a dataset turns out to give other samples at each pass. `inputs` asks for the
        inputs as well; `told` hears how many samples are done. Raises what `Pass.run` raises, and
        `DatasetError` where nothing is left to evaluate.
        """

        def consumer() -> Consumer:
            return start() if told is None else counting(start(), told, samples, selection)

        tasks = [self._task(variant, runtime) for variant, runtime in wanted]
        expected = self._expected(tasks, samples)
        stored = [self._stored(task, samples, selection, expected) for task in tasks]
        count = self._attempt(tasks, stored, samples, selection, consumer(), inputs)
        if samples.fingerprint != expected and any(s is not None for s in stored):
            nothing: list[Recorded | None] = [None] * len(tasks)
            count = self._attempt(tasks, nothing, samples, selection, consumer(), inputs)
        if count == 0:
            raise DatasetError(
                f"{samples.where}: all {samples.count} samples were used for calibration, none is "
                "left to evaluate on; define the fixture edge_calibration"
            )
        return count

    def _expected(self, tasks: Sequence[Task], samples: Samples) -> str | None:
        """The samples' fingerprint where something may be stored under it; None to read them."""
        if not samples.is_array:
            return samples.fingerprint or self._hint(samples)
        if samples.known_fingerprint is None and samples.probe is not None:
            probes = [self._probe(task, samples) for task in tasks]
            if not any(p in self._probes or self._cache.get(p) is not None for p in probes):
                return None
        return samples.fingerprint

    def _attempt(
        self,
        tasks: Sequence[Task],
        stored: Sequence[Recorded | None],
        samples: Samples,
        selection: Selection,
        consumer: Consumer,
        inputs: bool,
    ) -> int:
        missing = [task for task, found in zip(tasks, stored, strict=True) if found is None]
        if not missing and samples.is_array and not inputs:
            return self._replay(tasks, stored, samples, selection, consumer)
        kept = [] if samples.one_shot else missing
        stream = not samples.is_array
        recorders = {t.job.key: Recorder(self._cache, stream=stream) for t in kept}
        for task in missing:
            self._remembered(task)
        # Where all is known but the labels, the first variant is run to have the samples read.
        needed = [*tasks[:1], *missing] if inputs else missing or tasks[:1]
        running = list({task.job.key: task for task in needed}.values())
        one_pass = Pass(
            running,
            samples,
            self._lender,
            total=samples.count,
            choices=self._choices,
            keep=selection.mask,
            real_inputs=inputs,
        )
        done = 0
        passing = one_pass.run()
        for y, raw, given in passing:
            fresh = dict(zip((task.job.key for task in running), raw, strict=True))
            count = len(raw[0][0])
            blocks = _blocks(tasks, stored, fresh, slice(done, done + count))
            for key, recorder in recorders.items():
                recorder.add(fresh[key])
            if len(blocks) == len(tasks):
                try:
                    consumer(y, blocks, given[tasks[0].specs] if inputs else None)
                except Exception as error:
                    # The pass must end in order, so that the processes can be used again.
                    one_pass.give_up(passing, error)
            done += count
        for key, choice in one_pass.found.items():
            self._remember(key, choice)
        self._note(samples)
        for task in kept:
            recorded = recorders[task.job.key].recorded()
            if recorded is not None:
                self._store(task, samples, selection, recorded)
        return done

    @staticmethod
    def _replay(
        tasks: Sequence[Task],
        stored: Sequence[Recorded | None],
        samples: Samples,
        selection: Selection,
        consumer: Consumer,
    ) -> int:
        """Outputs that are known, for labels that are."""
        y = samples.scan()
        mask = selection.mask(0, len(y))
        y = y if mask is None else y[mask]
        known = [entry for entry in stored if entry is not None]
        step = part_length(known)
        for start in range(0, len(y), step):
            part = slice(start, start + step)
            blocks = [
                _real(task, [values[part] for values in entry])
                for task, entry in zip(tasks, known, strict=True)
            ]
            consumer(y[part], blocks, None)
        return len(y)

    def predict(self, variant: Variant, inputs: Outputs, where: str) -> Outputs:
        """Real-valued outputs (N, ...) for arrays, one a model's input, on LiteRT."""
        task = self._task(variant, "litert")
        self._remembered(task)
        given = {spec.name: array for spec, array in zip(task.specs, inputs, strict=True)}
        samples = Samples((given, np.zeros(len(inputs[0]), np.int8)), where)
        one_pass = Pass([task], samples, self._lender, total=samples.count, choices=self._choices)
        blocks = [_real(task, raw[0]) for _, raw, _ in one_pass.run()]
        for key, choice in one_pass.found.items():
            self._remember(key, choice)
        return [np.concatenate(parts) for parts in zip(*blocks, strict=True)]

    def refusal(self, variant: Variant, runtime: str) -> str | None:
        """Why a runtime does not load the model; None where it does. Kept in the cache."""
        installed = versions([_PACKAGES[runtime]])
        key = digest("loads", REVISION, variant.fingerprint, runtime, installed, machine())
        if key not in self._refusals:
            known = self._cache.value(key, _refused)
            try:
                if known is None:
                    document = {"refused": self._load(variant, runtime)}
                    known = _refused(self._cache.put(key, b"", document, ".loads"))
                self._refusals[key] = known[0]
            except IsolatedProcessError as error:
                # It hung, or died: that can be this machine's fault today, and is not kept.
                self._refusals[key] = str(error)
        return self._refusals[key]

    def _load(self, variant: Variant, runtime: str) -> str | None:
        """Why a runtime refuses the model; raises `IsolatedProcessError` where it dies of it."""
        task = self._task(variant, runtime)
        try:
            task.processes[0].call(task.worker.prepare, task.job)
        except CannotRunError as error:
            return str(error)
        return None

    # -- processes and choices ------------------------------------------------------------------

    def _task(self, variant: Variant, runtime: str) -> Task:
        return make_task(variant, runtime, self._processes(runtime))

    def _processes(self, runtime: str) -> Sequence[IsolatedProcess]:
        if runtime != "tflm":
            return [self._litert]
        while len(self._tflm) < usable_cores():
            self._tflm.append(IsolatedProcess("TFLM interpreter", self._timeout))
        return self._tflm

    @staticmethod
    def _choice_key(job_key: str) -> str:
        installed = versions(["ai-edge-litert", "numpy"])
        return digest("choice", REVISION, job_key, installed, machine(), usable_cores())

    def _remembered(self, task: Task) -> None:
        """Look up how a model runs fastest here."""
        key = task.job.key
        if key in self._looked_up or task.job.runtime == "tflm":
            return
        self._looked_up.add(key)
        known = self._cache.value(self._choice_key(key), _chosen)
        if known is not None:
            self._choices[key] = known

    def _remember(self, key: str, choice: Choice) -> None:
        if self._choices.get(key) == choice or not choice.measured:
            return
        self._choices[key] = choice
        document = dataclasses.asdict(choice)
        self._cache.put(self._choice_key(key), b"", document, ".choice")

    # -- outputs that are kept --------------------------------------------------------------------

    def note(self, dataset: Any, fingerprint: str) -> None:
        """Remember the fingerprint that a dataset, as the user gave it, had when it was read."""
        self._seen[id(dataset)] = dataset, fingerprint
        while len(self._seen) > _SEEN:
            self._seen.popitem(last=False)

    def fingerprint(self, samples: Samples) -> str | None:
        """The samples' fingerprint; a stream that was not read before is read for it.

        None of a generator, which can't be read twice.
        """
        found = samples.fingerprint or self._hint(samples)
        if found is None and not samples.one_shot:
            samples.scan()
            self._note(samples)
            found = samples.fingerprint
        return found

    def _hint(self, samples: Samples) -> str | None:
        """The fingerprint that this very dataset object had when it was last read."""
        found = self._seen.get(id(samples.given))
        return found[1] if found is not None else None

    def _note(self, samples: Samples) -> None:
        if samples.fingerprint is not None and not samples.is_array and not samples.one_shot:
            self.note(samples.given, samples.fingerprint)

    def _probe(self, task: Task, samples: Samples) -> str:
        """The key of a mark that outputs for samples like these were stored."""
        return digest("stored", REVISION, task.job.key, samples.probe)

    def _key(self, task: Task, samples: Samples, selection: Selection, fingerprint: str) -> str:
        job = task.job
        if samples.preprocess is not None and not any(
            known is samples.preprocess for known in self._tokens
        ):
            self._tokens.append(samples.preprocess)
        preprocess = [i for i, known in enumerate(self._tokens) if known is samples.preprocess]
        return digest(
            "outputs",
            REVISION,
            job.key,
            task.binding(samples),
            fingerprint,
            selection.token,
            preprocess,
            versions([_PACKAGES[job.runtime], "numpy"]),
            machine(),
        )

    def _stored(
        self, task: Task, samples: Samples, selection: Selection, fingerprint: str | None
    ) -> Recorded | None:
        if fingerprint is None:
            return None
        key = self._key(task, samples, selection, fingerprint)
        return self._outputs.find(key, lasting=_is_lasting(samples))

    def _store(
        self, task: Task, samples: Samples, selection: Selection, recorded: Recorded
    ) -> None:
        if samples.fingerprint is None or samples.one_shot:
            return
        key = self._key(task, samples, selection, samples.fingerprint)
        self._outputs.put(key, recorded, lasting=_is_lasting(samples))
        if samples.is_array:
            probe = self._probe(task, samples)
            self._probes.add(probe)
            if _is_lasting(samples):
                self._cache.put(probe, b"", {}, ".stored")


def _refused(entry: Entry) -> tuple[str | None]:
    """What was kept of a runtime's refusal, which may be that there was none."""
    reason = entry.meta["refused"]
    if not isinstance(reason, str | None):
        raise TypeError(f"a reason of {type(reason).__name__}")
    return (reason,)


def _chosen(entry: Entry) -> Choice:
    """What was kept of how a model runs fastest."""
    found = Choice(**entry.meta)
    for count in (found.batch, found.threads):
        if type(count) is not int or not 1 <= count <= 1 << 20:
            raise ValueError(f"a choice of {count!r}")
    if not isinstance(found.reason, str) or not isinstance(found.folding, str):
        raise TypeError("a choice with reasons that are none")
    return found


def _is_lasting(samples: Samples) -> bool:
    """Whether outputs may be used by later runs: what a function does there, nobody knows."""
    return samples.is_array and samples.preprocess is None


def _blocks(
    tasks: Sequence[Task],
    stored: Sequence[Recorded | None],
    fresh: Mapping[str, list[NDArray[Any]]],
    place: slice,
) -> list[Outputs]:
    """The outputs of all tasks for some samples, as they were stored or have just been computed.

    Fewer than there are tasks where the dataset is another than it was: the caller starts again.
    """
    blocks = []
    for task, known in zip(tasks, stored, strict=True):
        values = fresh.get(task.job.key)
        if known is not None:
            part = [array[place] for array in known]
            values = part if len(part[0]) == place.stop - place.start else values
        if values is None:
            break
        blocks.append(_real(task, values))
    return blocks


def _real(task: Task, raw: Outputs) -> Outputs:
    """Outputs as real values in the variant's order; arrays of their own, which may be kept."""
    found = []
    for place, info in zip(task.gives, task.variant.outputs, strict=True):
        array = raw[place]
        real = dequantize(array, info)
        found.append(array.copy() if real is array else real)
    return found
