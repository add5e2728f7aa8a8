"""A metric's scores of one or two variants on one pass over the same samples."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.cache import digest
from pytest_edgequant.errors import MetricError
from pytest_edgequant.measure.evaluation.consuming import Consumer, Outputs, Told
from pytest_edgequant.measure.evaluation.engine import Engine
from pytest_edgequant.measure.evaluation.runtimes import (
    TITLES,
    check_runtime,
    default_runtime,
    part_size,
    stratified_part,
)
from pytest_edgequant.measure.evaluation.selection import Selection
from pytest_edgequant.measure.scores import Score, TaskMetric
from pytest_edgequant.records import Target, Variant
from pytest_edgequant.samples.inputs import input_specs
from pytest_edgequant.samples.stream import Drawn, Samples
from pytest_edgequant.tflite.ends import aligned
from pytest_edgequant.tflite.macs import model_macs
from pytest_edgequant.tflite.model import graph_of
from pytest_edgequant.wording import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

Watch = Callable[[list[Outputs]], None]
"""Takes the real-valued outputs of all variants, block by block."""


@dataclass(frozen=True)
class Coverage:
    """Which samples were evaluated: `count` of `total`; `part` is how they were chosen."""

    count: int
    total: int
    part: str = ""

    def provenance(self, runtime: str) -> str:
        """How a figure was obtained."""
        share = f", {self.count:,} of {self.total:,} samples, {self.part}" if self.part else ""
        return f"measured ({TITLES[runtime]}{share})"


@dataclass(frozen=True, eq=False)
class Scored:
    """The scores of the variants in their order, with their runtimes.

    `evaluated` gives a digest of the samples that they were evaluated on, in their order, or None
    where it is not known; `hashes` a hash of each of them (count,), as far as they can be told
    apart.
    """

    scores: tuple[Score, ...]
    runtimes: tuple[str, ...]
    coverage: Coverage
    evaluated: Callable[[], str | None]
    hashes: Callable[[], NDArray[np.uint64] | None]

    def provenance(self, position: int) -> str:
        return self.coverage.provenance(self.runtimes[position])


def runtime_of(engine: Engine, variant: Variant, target: Target | None, runtime: str | None) -> str:
    """The runtime asked for, else the one that the target ships."""
    if runtime is not None:
        return check_runtime(runtime)
    return default_runtime(variant, target, lambda name: engine.refusal(variant, name))


def select(
    engine: Engine,
    variants: Sequence[Variant],
    runtimes: Sequence[str],
    samples: Samples,
    limit: int,
) -> tuple[Samples, Selection, str]:
    """The samples to evaluate: without those of calibration, and few enough for TFLM.

    `limit` is the most samples x MACs that TFLM is given. The last value names the part, empty
    where it is all of them.
    """
    macs = [
        model_macs(graph_of(variant))
        for variant, runtime in zip(variants, runtimes, strict=True)
        if runtime == "tflm"
    ]
    # Which samples are in a part, their hashes decide.
    samples.identify = samples.identify or bool(macs)
    left_out = _left_out(engine, variants, samples)
    if not macs:
        return samples, Selection(left_out), ""
    if samples.one_shot:
        size = part_size(1 << 62, max(macs), limit)
        drawn = Drawn(samples, list(dict.fromkeys(map(input_specs, variants))), size)
        part = "drawn at random" if drawn.total > size else ""
        return drawn, Selection(), part
    if samples.count is None:
        engine.fingerprint(samples)
    if samples.count is None:
        samples.scan()
    assert samples.count is not None
    positions = np.arange(samples.count)
    if left_out is not None:
        positions = np.setdiff1d(positions, left_out, assume_unique=True)
    size = part_size(len(positions), max(macs), limit)
    if size == len(positions):
        return samples, Selection(left_out), ""
    only = stratified_part(samples.scan(), positions, size, samples.hashes())
    return samples, Selection(None, only), "a stratified part"


def _left_out(
    engine: Engine, variants: Sequence[Variant], samples: Samples
) -> NDArray[np.int64] | None:
    """Positions of the samples that a variant was calibrated with."""
    held = [variant.held_out for variant in variants if variant.held_out is not None]
    if not held:
        return None
    fingerprint = engine.fingerprint(samples)
    positions = {i for h in held if h.dataset == fingerprint for i in h.indices}
    return np.asarray(sorted(positions), dtype=np.int64) if positions else None


_BY_FAR = 4
"""So many times as many outputs as classes are not those classes' scores."""


def _refuse_reconstruction(metric: TaskMetric, variant: Variant, found: Score) -> None:
    """Raise `MetricError` where classes are read from what is a copy of the input."""
    if found.classes is None or not len(found.classes[0]):
        return
    names = [info.name for info in variant.outputs]
    output = names.index(metric.output) if isinstance(metric.output, str) else metric.output or 0
    shape = variant.outputs[output].shape
    width = int(np.prod(shape[1:]))
    classes = int(found.classes[0].max()) + 1
    copies = any(width == int(np.prod(info.shape[1:])) for info in variant.inputs)
    if copies and width >= _BY_FAR * classes:
        raise MetricError(
            f"{variant.label}: {metric.name} can't be meant: the labels are of "
            f"{counted(classes, 'class')}, the output {shape} has "
            f"{counted(width, 'value')}, "
            "as many as the input. An autoencoder is judged by its reconstruction error: "
            "edge_metric 'roc_auc' (labels 0 normal, 1 anomaly)"
        )


class _Scoring:
    """A metric over the outputs of several variants, block by block.

    Metrics `against_baseline` take the first variant's outputs for labels. `failed` is told of a
    metric that can't be computed, before that is raised.
    """

    def __init__(
        self,
        metric: TaskMetric,
        variants: Sequence[Variant],
        watch: Callable[[], Watch] | None,
        failed: Callable[[Variant, MetricError], None] | None,
    ) -> None:
        self._metric = metric
        self._variants = variants
        self._watch = watch
        self._failed = failed
        self._accumulators: list[Any] = []
        self._observer: Watch | None = None

    def start(self) -> Consumer:
        """What takes the blocks of a pass; anew where the samples have to be read again."""
        self._accumulators = [
            self._metric.start(variant.label, tuple(info.name for info in variant.outputs))
            for variant in self._variants
        ]
        self._observer = self._watch() if self._watch is not None else None
        return self._consume

    def _consume(self, y: Any, blocks: list[Outputs], x: Outputs | None) -> None:
        given = x if x is None or len(x) > 1 else x[0]
        predictions = [block[0] if len(block) == 1 else block for block in blocks]
        labels = predictions[0] if self._metric.against_baseline else y
        for position, y_pred in enumerate(predictions):
            with self._telling(position):
                self._accumulators[position].update(labels, y_pred, given)
        if self._observer is not None:
            self._observer(blocks)

    @contextlib.contextmanager
    def _telling(self, position: int) -> Iterator[None]:
        try:
            yield
        except MetricError as error:
            if self._failed is not None:
                self._failed(self._variants[position], error)
            raise

    def scores(self) -> tuple[Score, ...]:
        """Each variant's, once all blocks were taken."""
        found: list[Score] = []
        for position, accumulator in enumerate(self._accumulators):
            with self._telling(position):
                found.append(accumulator.finish())
                _refuse_reconstruction(self._metric, self._variants[position], found[-1])
        return tuple(found)


def score(
    engine: Engine,
    variants: Sequence[Variant],
    runtimes: Sequence[str],
    samples: Samples,
    metric: TaskMetric,
    limit: int,
    watch: Callable[[], Watch] | None = None,
    failed: Callable[[Variant, MetricError], None] | None = None,
    *,
    identify: bool = False,
    told: Told | None = None,
) -> Scored:
    """Run the variants side by side over the samples, and score each.

    Inputs and outputs of all go by the first one's order, where they have its names. Metrics
    `against_baseline` take the first variant's outputs for labels. `watch` gives a fresh
    observer of all outputs, again where the samples have to be read anew. `failed` is told of a
    metric that can't be computed, before that is raised. `identify`: `Scored.hashes` will be asked.
    `told` hears how many samples are done.
    """
    given = samples
    given.identify = given.identify or identify
    variants = [variants[0], *(aligned(variant, variants[0]) for variant in variants[1:])]
    samples, selection, part = select(engine, variants, runtimes, given, limit)
    scoring = _Scoring(metric, variants, watch, failed)
    wanted = list(zip(variants, runtimes, strict=True))
    count = engine.run(
        wanted, samples, selection, scoring.start, inputs=metric.needs_inputs, told=told
    )
    scores = scoring.scores()

    def evaluated() -> str | None:
        # A generator's is known once it was read, and it can't be read again for it.
        whole = given.fingerprint if given.one_shot else engine.fingerprint(given)
        return None if whole is None else digest("evaluated", whole, selection.token, count)[:32]

    def hashes() -> NDArray[np.uint64] | None:
        known = samples.hashes()
        if known is None:
            return None
        mask = selection.mask(0, len(known))
        known = known if mask is None else known[mask]
        return known if len(known) == count else None

    coverage = Coverage(count, samples.total or count, part)
    return Scored(scores, tuple(runtimes), coverage, evaluated, hashes)
