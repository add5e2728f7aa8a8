"""The measurements under the assertions: accuracy and arena of a variant, and what refuses it.

For scripts and notebooks as well: nothing here needs pytest.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from pytest_edgequant import session
from pytest_edgequant.data import Dataset, load_dataset
from pytest_edgequant.errors import (
    CannotRunError,
    DatasetError,
    MeasurementUnavailable,
    MetricError,
    NotApplicableError,
    user_facing,
)
from pytest_edgequant.measure import legality, metrics, paired
from pytest_edgequant.measure.arena import compute_arena
from pytest_edgequant.measure.arena.optimizer import optimized
from pytest_edgequant.measure.arena.profiles import (
    NEWEST,
    Profile,
    core_abi,
    core_extension,
    make_profile,
)
from pytest_edgequant.measure.fidelity import FidelityAccumulator
from pytest_edgequant.measure.flash import FlashSplit, split_flash
from pytest_edgequant.pipeline import current_pipeline, input_specs, load_variant
from pytest_edgequant.records import (
    AccuracyComparison,
    Arena,
    Evaluation,
    Fidelity,
    Metric,
    Target,
    Variant,
)
from pytest_edgequant.targets.runtimes import RUNTIMES
from pytest_edgequant.tflite.graph import read_graph

MetricLike = metrics.MetricLike
_PROVENANCE = "measured (LiteRT on this host)"


def for_target(variant: Any, target: Target | str | None) -> tuple[Variant, Target | None]:
    """The variant as it is judged: on the target asked for, else the one that it carries."""
    loaded = load_variant(variant)
    if isinstance(target, str):
        target = current_pipeline().targets.get(target)
    found = target or loaded.target
    if found is not None and found is not loaded.target:
        loaded = dataclasses.replace(loaded, target=found)
    return loaded, found


def refusals(variant: Variant, target: Target, *, wrong_results: bool = True) -> list[str]:
    """Why the target's runtime can't run the variant; empty where it can.

    By the variant's name, by its graph, and, where the `tflite-micro` wheel is there, by what the
    interpreter itself says. Without `wrong_results` only what does not run at all.
    """
    by_name = legality.variant_refused(variant.name, target)
    if by_name is not None:
        return [by_name]
    graph = read_graph(variant.content, variant.label)
    found = legality.graph_refusals(graph, target, wrong_results=wrong_results)
    # The interpreter on this machine has none of the operators that only the firmware registers.
    if not found and target.is_microcontroller and not legality.foreign_operators(graph):
        try:
            current_pipeline().tflm_allocation(variant.content)
        except CannotRunError as error:
            found.append(legality.named_by_interpreter(str(error), graph))
        except MeasurementUnavailable:
            pass
    return found


def runtime_warnings(variant: Variant, target: Target) -> list[str]:
    """What a user should know of a variant that the target's runtime does run."""
    return legality.warnings(read_graph(variant.content, variant.label), target)


def flash_split(variant: Variant, target: Target | None) -> FlashSplit:
    """How the target's flash is shared by the firmware, TFLM's code and the variant."""
    if target is None:
        return FlashSplit(variant.size_bytes, None, None)
    return split_flash(variant.size_bytes, read_graph(variant.content, variant.label), target)


def _profile_of(
    target: Target | None,
    abi: str | None = None,
    core: str | None = None,
    kernels: str | None = None,
    release: str | None = None,
) -> Profile:
    """The build of TFLM that runs on a target; keywords override what the target says."""
    core = core or (target.core if target is not None else None)
    kernels = kernels or (target.kernels if target is not None else None)
    abi = abi or (core_abi(core) if core is not None else None)
    if abi is None or core is None or kernels is None:
        raise MeasurementUnavailable(
            f"the arena depends on ABI, core and kernel library; known here are abi={abi}, "
            f"core={core}, kernels={kernels}. Give a target, or all three"
        )
    if target is not None and core_extension(core) is None:
        raise MeasurementUnavailable(f"the arena on the core {core!r} is not known")
    release = release or (target.release if target is not None else None) or NEWEST.name
    return make_profile(abi, core, kernels, release)


def _refused(variant: Variant, target: Target | None, profile: Profile) -> list[str]:
    """Why a build of TFLM would refuse the model; empty where it would run it."""
    runtime = RUNTIMES["tflm"]
    judged = target or Target(
        "tflm", "TFLM", "-", "-", "-", "-", "tflm", profile.kernels, runtime.variants, {}
    )
    return refusals(
        variant, dataclasses.replace(judged, kernels=profile.kernels), wrong_results=False
    )


@user_facing
def measure_arena(
    model: Any,
    target: Target | str | None = None,
    *,
    abi: str | None = None,
    core: str | None = None,
    kernels: str | None = None,
    release: str | None = None,
) -> Arena:
    """The tensor arena that TFLM needs for a model on a target, in bytes.

    `model` is a Variant, a path or the bytes of a .tflite. Computed for the target's own build:
    `abi` ("arm32", "xtensa", "riscv32", "x86_64"), `core` ("cortex-m4") and `kernels` ("reference",
    "cmsis-nn", "esp-nn") override what the target says, or stand for it when all three are given.
    `release` is the one of TFLM that the firmware's library ships ("chirale-2.0.0"), by default
    the target's, else the newest one that is known.
    Where an operator's memory is not known, all figures are upper bounds, and `provenance` names
    the operator. With `--edge-arena-verify` the same calculator is checked against the
    `tflite-micro` interpreter (x86-64, reference kernels) where that is installed.

    Raises `CannotRunError` where TFLM refuses the model, `NotApplicableError` on a target without
    an arena, `MeasurementUnavailable` where the target's build is not known, `ArenaMismatch` where
    the interpreter says otherwise.
    """
    variant, found = for_target(model, target)
    if found is not None and not found.is_microcontroller:
        raise NotApplicableError(
            f"{found.name} runs {found.runtime}, which allocates from the heap: there is no "
            "tensor arena"
        )
    profile = _profile_of(found, abi, core, kernels, release)
    reasons = _refused(variant, found, profile)
    if reasons:
        raise CannotRunError(f"{variant.label}: TFLM can't run it here: {'; '.join(reasons)}")
    arena = compute_arena(read_graph(variant.content, variant.label), profile, variant.content)
    said = current_pipeline().arena_verification(variant.content, variant.label)
    return dataclasses.replace(arena, provenance=f"{arena.provenance}; {said}") if said else arena


@user_facing
def optimize_arena(model: Any, target: Target | str | None = None) -> bytes:
    """The model with a tighter memory plan in its metadata, which TFLM follows.

    `model` is a Variant, a path or the bytes of a .tflite with one subgraph; outputs stay the same.
    The plan is made for `target` (its kernels' scratch counts too), else for reference kernels on
    a 32-bit Arm core. Gives the model's own bytes where no better plan was found; `measure_arena`
    of both tells the difference.

    Raises `CannotRunError` where TFLM has no kernel for an operator.
    """
    variant, found = for_target(model, target)
    profile = (
        _profile_of(found) if found is not None else make_profile("arm32", "cortex-m4", "reference")
    )
    return optimized(variant.content, read_graph(variant.content, variant.label), profile)


def roomier_target(variant: Variant, target: Target) -> tuple[Target, int, int] | None:
    """The target with the least SRAM on which a model's arena fits, of those with more than here.

    With the bytes that are left there for an arena, and those that the model needs. None where no
    known target has enough, or none would run the model.
    """
    graph = read_graph(variant.content, variant.label)
    here = target.sram_for_arena.value if target.sram_for_arena is not None else 0
    offered = [
        (other.sram_for_arena.value, other.name, other)
        for other in current_pipeline().targets
        if other.is_microcontroller and other.sram_for_arena and other.sram_for_arena.value > here
    ]
    for room, _, other in sorted(offered, key=lambda entry: entry[:2]):
        if legality.variant_refused(variant.name, other) or legality.graph_refusals(graph, other):
            continue
        try:
            need = compute_arena(graph, _profile_of(other)).minimum_bytes
        except (CannotRunError, MeasurementUnavailable):
            continue
        if need <= room:
            return other, room, need
    return None


def _kept(variants: tuple[Variant, ...], dataset: Dataset) -> Any:
    """Indices of the samples that no variant was calibrated with."""
    held: set[int] = set()
    for variant in variants:
        if variant.held_out is not None and variant.held_out.dataset == dataset.fingerprint:
            held.update(variant.held_out.indices)
    kept = np.asarray([i for i in range(dataset.count) if i not in held], dtype=np.int64)
    if not len(kept):
        raise DatasetError(
            f"{dataset.where}: all {dataset.count} samples were used for calibration, none is left "
            "to evaluate on; define the fixture edge_calibration"
        )
    return kept


def _score(
    variant: Variant, dataset: Dataset, metric: metrics.TaskMetric, kept: Any, y_true: Any = None
) -> metrics.Score:
    """The metric's score of a variant, recorded for the report; unavailable where there is none."""
    x = None
    if metric.needs_inputs:
        x = [part[kept] for part in dataset.inputs(input_specs(variant))]
    names = tuple(info.name for info in variant.outputs)
    labels = dataset.y[kept] if y_true is None else y_true
    try:
        score = metrics.compute(
            metric, labels, _outputs(variant, dataset, kept), variant.label, names, x
        )
    except MetricError as error:
        session.record_metric(variant, metric.name, Metric.unavailable(metric.unit, str(error)))
        raise
    session.record_metric(variant, metric.name, Metric(score.value, metric.unit, _PROVENANCE))
    return score


def _outputs(variant: Variant, dataset: Dataset, kept: Any) -> Any:
    """The variant's outputs for the samples that are evaluated on, a list where it has several."""
    outputs = [out[kept] for out in current_pipeline().predictions(variant, dataset)]
    return outputs[0] if len(outputs) == 1 else outputs


@user_facing
def evaluate(
    variant: Any,
    dataset: Any,
    *,
    metric: MetricLike = None,
    output: str | int | None = None,
    target: Target | str | None = None,
) -> Evaluation:
    """What `metric` says of a variant on a dataset, run on LiteRT.

    `variant` is a Variant, or a path or the bytes of a .tflite. `dataset` is (x, y), an iterable of
    (x, y) batches, or a function that gives one. Samples that were split off for calibration are
    left out. `metric` is top-1 accuracy by default, "top-5", "macro_f1", "macro_recall",
    "worst_class_recall", "roc_auc", "mean_iou", "mae", "mse", "rmse", "r2", a callable
    `metric(y_true, y_pred) -> float`, or what `task_metric` made of one. `output` chooses one of
    several outputs, by name or position.

    Raises `DatasetError`, `MetricError`, `CannotRunError` where LiteRT refuses the model.
    """
    variant, _ = for_target(variant, target)
    data = load_dataset(dataset)
    chosen = metrics.get_metric(metric, output)
    if chosen.against_baseline:
        raise MetricError(f"{chosen.name} is with a baseline: use compare_accuracy")
    kept = _kept((variant,), data)
    score = _score(variant, data, chosen, kept)
    return Evaluation(
        score.value,
        chosen.name,
        len(kept),
        score.outcomes,
        chosen.higher_is_better,
        score.per_sample,
        score.details,
    )


@user_facing
def compare_accuracy(
    candidate: Any,
    baseline: Any,
    dataset: Any,
    *,
    metric: MetricLike = None,
    output: str | int | None = None,
    confidence: float = paired.DEFAULT_CONFIDENCE,
    target: Target | str | None = None,
) -> AccuracyComparison:
    """How much worse the candidate is than the baseline, on the same samples.

    The drop with its interval at `confidence`: Tango's score interval and McNemar's exact test
    where the metric judges sample by sample, else a paired bootstrap (seeded). Beside it the drop
    by class, the share of equal decisions, and the distance of the outputs (cosine similarity,
    SQNR). Other arguments and errors as for `evaluate`; `metric="agreement"` is the share of
    samples that the candidate decides as the baseline does.
    """
    level = paired.check_confidence(confidence)
    candidate, _ = for_target(candidate, target)
    baseline = load_variant(baseline)
    data = load_dataset(dataset)
    chosen = metrics.get_metric(metric, output)
    kept = _kept((candidate, baseline), data)
    reference = _outputs(baseline, data, kept)
    outputs = _outputs(candidate, data, kept)
    y_true = reference if chosen.against_baseline else None
    before = _score(baseline, data, chosen, kept, y_true)
    after = _score(candidate, data, chosen, kept, y_true)
    comparison = paired.compare_scores(
        chosen,
        before,
        after,
        confidence=level,
        fidelity=_fidelity(candidate, reference, outputs),
        agreement=_agreement(chosen, before, candidate, reference, outputs),
    )
    _record_comparison(candidate, baseline, comparison)
    return comparison


def _fidelity(candidate: Variant, reference: Any, outputs: Any) -> Fidelity | None:
    """How near the outputs are; None where they can't be compared (other shapes)."""
    accumulator = FidelityAccumulator([info.name for info in candidate.outputs])
    try:
        accumulator.update(reference, outputs)
        return accumulator.finish()
    except MetricError:
        return None


def _agreement(
    chosen: metrics.TaskMetric,
    before: metrics.Score,
    candidate: Variant,
    reference: Any,
    outputs: Any,
) -> float | None:
    """The share of equal decisions; None for outputs that decide nothing by an argmax."""
    if before.classes is None and not chosen.decides:
        return None
    metric = metrics.get_metric("agreement", chosen.output)
    names = [info.name for info in candidate.outputs]
    try:
        theirs = metrics.select_output(reference, metric.output, names, metric.name)
        found = metrics.compute(metric, theirs, outputs, candidate.label, tuple(names))
    except MetricError:
        return None
    return found.value


def _record_comparison(
    candidate: Variant, baseline: Variant, comparison: AccuracyComparison
) -> None:
    unit = "fraction" if comparison.share else ""
    interval = (
        f"; {100 * comparison.confidence:g}% interval, {comparison.method}"
        if comparison.method
        else ""
    )
    session.record_metric(
        candidate,
        "accuracy_drop",
        Metric(comparison.drop, unit, f"{_PROVENANCE}{interval}", comparison.low, comparison.high),
    )
    worst = comparison.worst_class
    if worst is not None:
        figure = Metric(
            worst.drop, "fraction", f"{_PROVENANCE}, class {worst.label}", worst.low, worst.high
        )
        session.record_metric(candidate, "worst_class_drop", figure)
    fidelity = comparison.fidelity
    if fidelity is None or baseline.fingerprint == candidate.fingerprint:
        return
    against = f"measured against {baseline.label} (LiteRT on this host)"
    if comparison.agreement is not None:
        session.record_metric(
            candidate, "agreement", Metric(comparison.agreement, "fraction", against)
        )
    undefined = "not defined: all outputs are zero"
    for name, value, unit in (
        ("output_cosine", fidelity.cosine, ""),
        ("output_sqnr", fidelity.sqnr_db, "dB"),
    ):
        if value is None:
            figure = Metric.unavailable(unit, undefined)
        elif math.isinf(value):
            figure = Metric.unavailable(unit, "infinite: the outputs are identical")
        else:
            figure = Metric(value, unit, against)
        session.record_metric(candidate, name, figure)
