"""How accurate a variant is: evaluated, compared with its baseline, and runtimes with each other.

For scripts and notebooks as well: nothing here needs pytest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pytest_edgequant import context
from pytest_edgequant.api.convert import for_target, load_variant
from pytest_edgequant.api.recorded_accuracy import record_comparison
from pytest_edgequant.baseline.scored import samples_of
from pytest_edgequant.errors import DatasetError, MetricError, user_facing
from pytest_edgequant.measure import metrics, paired
from pytest_edgequant.measure.chance import chance_of_one_answer
from pytest_edgequant.measure.confidence import DEFAULT_CONFIDENCE, check_confidence
from pytest_edgequant.measure.evaluation.consuming import Consumer
from pytest_edgequant.measure.evaluation.parity import ParityAccumulator
from pytest_edgequant.measure.evaluation.runtimes import TITLES, check_runtime
from pytest_edgequant.measure.evaluation.scoring import (
    Coverage,
    Scored,
    Watch,
    runtime_of,
    score,
    select,
)
from pytest_edgequant.measure.fidelity import FidelityAccumulator
from pytest_edgequant.pipeline.current import current_pipeline
from pytest_edgequant.records import (
    AccuracyComparison,
    Chance,
    Evaluation,
    Fidelity,
    Metric,
    RuntimeParity,
    Target,
    Variant,
)
from pytest_edgequant.results import recording
from pytest_edgequant.results.samples import UNKNOWN
from pytest_edgequant.samples.stream import Preprocess, Samples
from pytest_edgequant.tflite.ends import aligned
from pytest_edgequant.tflite.model import graph_of
from pytest_edgequant.wording import counted

_FEW_SAMPLES = 100
"""Below so many samples a verdict says how few they are."""

MetricLike = metrics.MetricLike


def _scored(
    variants: Sequence[Variant],
    runtimes: Sequence[str],
    samples: Samples,
    metric: metrics.TaskMetric,
    watch: Callable[[], Watch] | None = None,
) -> Scored:
    """The metric's scores, recorded for the report; unavailable where there are none."""
    pipeline = current_pipeline()

    def failed(variant: Variant, error: MetricError) -> None:
        figure = Metric.unavailable(metric.unit, str(error))
        recording.record_metric(variant, metric.name, figure)

    shown = ", ".join(dict.fromkeys(variant.label for variant in variants))
    with pipeline.progress(f"evaluating {shown}") as step:
        # Of a stream what was read tells how far it is: what is run waits for that.
        told = samples.told = partial(step.at, unit="samples")
        found = score(
            pipeline.engine,
            variants,
            runtimes,
            samples,
            metric,
            pipeline.tflm_macs,
            watch,
            failed,
            identify=context.baseline,
            told=told if samples.is_array else None,
        )
    for position, variant in enumerate(variants):
        figure = Metric(
            found.scores[position].value,
            metric.unit,
            found.provenance(position),
            count=found.coverage.count,
            of=found.coverage.total,
        )
        recording.record_metric(variant, metric.name, figure)
    if context.baseline:
        dataset = found.evaluated() or UNKNOWN
        recording.record_dataset(dataset, found.hashes)
        for variant, result in zip(variants, found.scores, strict=True):
            recording.record_samples(variant, metric.name, samples_of(metric, result, dataset))
    return found


@user_facing
def evaluate(
    variant: Any,
    dataset: Any,
    *,
    metric: MetricLike = None,
    output: str | int | None = None,
    target: Target | str | None = None,
    runtime: str | None = None,
    preprocess: Preprocess | None = None,
) -> Evaluation:
    """What `metric` says of a variant on a dataset, in one pass over it.

    `variant` is a Variant, or a path or the bytes of a .tflite. `dataset` is (x, y), an iterable of
    (x, y) batches (`tf.data.Dataset`, Keras `PyDataset`, ...), or a function that gives one.
    Samples that were split off for calibration are left out. `preprocess` is applied to x of each
    batch. `metric` is top-1 accuracy by default, "top-5", "macro_f1", "macro_recall",
    "worst_class_recall", "roc_auc", "mean_iou", "mae", "mse", "rmse", "r2", a callable
    `metric(y_true, y_pred) -> float`, or what `task_metric` made of one. `output` chooses one of
    several outputs, by name or position.

    `runtime` is "litert", "litert-reference" (LiteRT's reference kernels) or "tflm" (TFLM's own
    interpreter). By default it is TFLM for a microcontroller, where the `tflite-micro` wheel is
    installed, on a stratified part of the samples where all would be more than `edge_tflm_macs`;
    LiteRT for other targets and for float32.

    Raises `DatasetError`, `MetricError`, `CannotRunError` where the runtime refuses the model,
    `MeasurementUnavailable` for a runtime that is not installed.
    """
    variant, profile = for_target(variant, target)
    chosen = metrics.get_metric(metric, output)
    if chosen.against_baseline:
        raise MetricError(f"{chosen.name} is with a baseline: use compare_accuracy")
    used = runtime_of(current_pipeline().engine, variant, profile, runtime)
    found = _scored([variant], [used], Samples(dataset, preprocess=preprocess), chosen)
    (result,) = found.scores
    return Evaluation(
        result.value,
        chosen.name,
        found.coverage.count,
        result.outcomes,
        chosen.higher_is_better,
        result.per_sample,
        result.details,
        runtime=used,
        provenance=found.provenance(0),
        total=found.coverage.total,
    )


class _Distance:
    """What a comparison observes beside the task metric: the outputs' distance and agreement."""

    def __init__(self, baseline: Variant, candidate: Variant, chosen: metrics.TaskMetric) -> None:
        # In the order in which `score` gives the outputs.
        names = [info.name for info in aligned(candidate, baseline).outputs]
        self._theirs = [info.name for info in baseline.outputs]
        self._fidelity: FidelityAccumulator | None = FidelityAccumulator(names)
        self._metric = metrics.get_metric("agreement", chosen.output)
        self._agreement: metrics.Accumulator | None = self._metric.start(
            candidate.label, tuple(names)
        )

    def update(self, blocks: list[list[Any]]) -> None:
        reference, outputs = (block[0] if len(block) == 1 else block for block in blocks)
        try:
            if self._fidelity is not None:
                self._fidelity.update(reference, outputs)
        except MetricError:
            self._fidelity = None
        try:
            if self._agreement is not None:
                metric = self._metric
                theirs = metrics.select_output(reference, metric.output, self._theirs, metric.name)
                self._agreement.update(theirs, outputs)
        except (MetricError, DatasetError):
            self._agreement = None

    def fidelity(self) -> Fidelity | None:
        """How near the outputs are; None where they can't be compared (other shapes)."""
        try:
            return self._fidelity.finish() if self._fidelity is not None else None
        except MetricError:
            return None

    def agreement(self, chosen: metrics.TaskMetric, before: metrics.Score) -> float | None:
        """The share of equal decisions; None for outputs that decide nothing by an argmax."""
        if self._agreement is None or (before.classes is None and not chosen.decides):
            return None
        try:
            return self._agreement.finish().value
        except (MetricError, DatasetError):
            return None


@user_facing
def compare_accuracy(
    candidate: Any,
    baseline: Any,
    dataset: Any,
    *,
    metric: MetricLike = None,
    output: str | int | None = None,
    confidence: float = DEFAULT_CONFIDENCE,
    target: Target | str | None = None,
    runtime: str | None = None,
    preprocess: Preprocess | None = None,
) -> AccuracyComparison:
    """How much worse the candidate is than the baseline, on the same samples.

    The drop with its interval at `confidence`: Tango's score interval and McNemar's exact test
    where the metric judges sample by sample, else a paired bootstrap (seeded). Beside it the drop
    by class, the share of equal decisions, and the distance of the outputs (cosine similarity,
    SQNR). Other arguments and errors as for `evaluate`; `metric="agreement"` is the share of
    samples that the candidate decides as the baseline does. `runtime` is the candidate's, the
    baseline is run on LiteRT; both side by side, so that one pass over the dataset serves both.
    """
    level = check_confidence(confidence)
    candidate, profile = for_target(candidate, target)
    baseline = load_variant(baseline)
    chosen = metrics.get_metric(metric, output)
    engine = current_pipeline().engine
    runtimes = [
        runtime_of(engine, baseline, None, None),
        runtime_of(engine, candidate, profile, runtime),
    ]
    distances: list[_Distance] = []

    def watch() -> Watch:
        distances[:] = [_Distance(baseline, candidate, chosen)]
        return distances[0].update

    samples = Samples(dataset, preprocess=preprocess)
    found = _scored([baseline, candidate], runtimes, samples, chosen, watch)
    before, after = found.scores
    comparison = dataclasses.replace(
        paired.compare_scores(
            chosen,
            before,
            after,
            confidence=level,
            fidelity=distances[0].fidelity(),
            agreement=distances[0].agreement(chosen, before),
            baseline_chance=_chance(chosen, before),
            candidate_chance=_chance(chosen, after),
            notes=_notes(found.coverage.count, before, after),
        ),
        runtime=runtimes[1],
        provenance=found.provenance(1),
        total=found.coverage.total,
    )
    record_comparison(candidate, baseline, comparison)
    return comparison


def _chance(metric: metrics.TaskMetric, found: metrics.Score) -> Chance | None:
    """What guessing gives; of any metric it is known where one answer is all that a model has."""
    known = metric.chance(found.kept)
    if known is None and found.constant:
        return chance_of_one_answer(found.value, metric.share)
    return known


def _notes(count: int, before: metrics.Score, after: metrics.Score) -> tuple[str, ...]:
    """What to know of a comparison's samples and outputs, whatever it came to."""
    notes = []
    if count < _FEW_SAMPLES:
        notes.append(f"only {counted(count, 'sample')}")
    for found, who in ((before, "baseline"), (after, "candidate")):
        if found.constant:
            notes.append(f"the {who}'s outputs are the same for every sample")
    return tuple(notes)


@user_facing
def measure_runtime_parity(
    variant: Any,
    dataset: Any,
    *,
    target: Target | str | None = None,
    runtimes: tuple[str, str] = ("litert", "tflm"),
    preprocess: Preprocess | None = None,
) -> RuntimeParity:
    """How far a variant's outputs on two runtimes differ, on the same samples.

    By default LiteRT (what people evaluate with) against TFLM (what the device runs). Arguments and
    errors as for `evaluate`.
    """
    variant, _ = for_target(variant, target)
    pipeline = current_pipeline()
    used = [check_runtime(runtime) for runtime in runtimes]
    samples = Samples(dataset, preprocess=preprocess)
    pair = [variant, variant]
    graph = graph_of(variant)
    accumulators: list[ParityAccumulator] = []

    def start() -> Consumer:
        accumulators[:] = [ParityAccumulator(graph, variant.outputs)]
        return lambda _y, blocks, _x: accumulators[0].update(*blocks)

    with pipeline.progress(f"comparing runtimes on {variant.label}") as step:
        told = samples.told = partial(step.at, unit="samples")
        samples, selection, part = select(pipeline.engine, pair, used, samples, pipeline.tflm_macs)
        count = pipeline.engine.run(
            list(zip(pair, used, strict=True)),
            samples,
            selection,
            start,
            told=told if samples.is_array else None,
        )
    coverage = Coverage(count, samples.total or count, part)
    provenance = f"{coverage.provenance(used[1])}, against {TITLES[used[0]]}"
    parity = accumulators[0].finish((used[0], used[1]), provenance)
    for name, value, unit in (
        ("parity_max_steps", parity.max_steps, "steps"),
        ("parity_changed", parity.changed, "samples"),
    ):
        figure = Metric(value, unit, provenance, count=coverage.count, of=coverage.total)
        recording.record_metric(variant, name, figure)
    return parity
