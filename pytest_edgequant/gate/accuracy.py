"""The assertions on accuracy: drops, robustness of the calibration, parity of runtimes."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Any

import numpy as np

from pytest_edgequant.api.accuracy import MetricLike, compare_accuracy, measure_runtime_parity
from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.api.memory import (
    for_target,
)
from pytest_edgequant.diagnose.advice import accuracy_drop_advice
from pytest_edgequant.diagnose.calibration_quality import calibration_quality
from pytest_edgequant.diagnose.kinship import is_quantized_form
from pytest_edgequant.errors import (
    AccuracyDropExceeded,
    CannotRunError,
    EdgeQuantError,
    Inconclusive,
    MeasurementUnavailable,
    MetricError,
    RuntimesDiffer,
    SettingsError,
    Unavailable,
    user_facing,
)
from pytest_edgequant.forms import VARIANTS
from pytest_edgequant.gate.accuracy_verdicts import (
    judge_agreement,
    judge_drop,
    judge_own_floor,
    judge_robustness,
    judge_worst_class,
)
from pytest_edgequant.gate.budget import over
from pytest_edgequant.gate.verdicts import conclude as _raise
from pytest_edgequant.gate.verdicts import require_legal as _legal
from pytest_edgequant.limits import parse_drop, parse_floor
from pytest_edgequant.measure import metrics
from pytest_edgequant.measure.paired import DEFAULT_CONFIDENCE, check_confidence
from pytest_edgequant.records import (
    AccuracyComparison,
    CalibrationRobustness,
    Metric,
    Outcome,
    RuntimeParity,
    Target,
    Variant,
    Verdict,
)
from pytest_edgequant.results import session
from pytest_edgequant.samples.stream import Preprocess


@user_facing
def assert_max_accuracy_drop(
    candidate: Any,
    baseline: Any,
    dataset: Any,
    max_drop: float | str = 0.02,
    *,
    metric: MetricLike = None,
    output: str | int | None = None,
    confidence: float | None = None,
    target: Target | str | None = None,
    runtime: str | None = None,
    preprocess: Preprocess | None = None,
    min_accuracy: float | str | None = None,
    max_worst_class_drop: float | str | None = None,
    min_agreement: float | str | None = None,
) -> AccuracyComparison:
    """The candidate loses at most `max_drop` against the baseline, on the same samples.

    `max_drop` is in the metric's own unit (0.02; accuracy is a fraction, so two points), in points
    ("2 pt"), or relative to the baseline's value ("2% relative"; the baseline's own uncertainty is
    not in the interval then). By default the observed drop decides, and the message says whether
    the evidence is conclusive. `confidence=0.95` demands evidence of every limit: it passes where
    the interval is within the limit, fails where it is beyond, and is inconclusive, which raises,
    where it is neither.

    It is inconclusive, and raises, where the baseline is not better than guessing (the best
    constant answer on the same labels): two models that guess lose nothing. `metric="agreement"`
    needs no labels. Fewer than 100 samples are noted beside the verdict.

    Further limits: `min_accuracy`, a floor of the candidate's own value (0.9, "90%");
    `max_worst_class_drop`, of the recall of any class; `min_agreement`, the share of samples that
    are decided as the baseline decides them. Gives the comparison. `runtime` (the candidate's) and
    `preprocess` as for `evaluate`.

    Raises `AccuracyDropExceeded` saying what to do by the size of the drop, `Inconclusive` with the
    number of samples that would decide or what is wrong with the labels, `Unavailable` for a metric
    that can't be computed, `CannotRun` where the target refuses the candidate, `SettingsError` for
    a limit that can't be meant or can't fail, and where candidate and baseline are exchanged.
    """
    chosen = metrics.get_metric(metric, output)
    limit = parse_drop(max_drop, chosen.name, chosen.share)
    level = DEFAULT_CONFIDENCE if confidence is None else check_confidence(confidence)
    floor = None if min_accuracy is None else parse_floor(min_accuracy, chosen, "min_accuracy")
    by_class = (
        None
        if max_worst_class_drop is None
        else parse_drop(max_worst_class_drop, "recall", True, "max_worst_class_drop")
    )
    agreement = metrics.get_metric("agreement")
    equal = (
        None if min_agreement is None else parse_floor(min_agreement, agreement, "min_agreement")
    )
    candidate, profile = for_target(candidate, target)
    baseline = load_variant(baseline)
    _check_order(candidate, baseline)
    _legal("accuracy_drop", candidate, profile)
    try:
        comparison = compare_accuracy(
            candidate,
            baseline,
            dataset,
            metric=chosen,
            confidence=level,
            runtime=runtime,
            preprocess=preprocess,
        )
    except MetricError as error:
        message = f"{candidate.label}: accuracy_drop is unavailable: {error}"
        brief = f"{chosen.name} drop unavailable"
        verdict = Verdict("accuracy_drop", Outcome.UNAVAILABLE, message, limit.amount, brief=brief)
        session.record_verdict(candidate, verdict)
        raise Unavailable(message, verdict) from error
    subject, demanded = candidate.label, confidence is not None
    verdict = judge_drop(subject, comparison, limit, demanded=demanded)
    if verdict.verdict is Outcome.FAIL:
        advice = _drop_advice(candidate, baseline, comparison, dataset, preprocess)
        verdict = dataclasses.replace(verdict, message=f"{verdict.message} {advice}")
    verdicts = [verdict]
    if floor is not None:
        verdicts.append(judge_own_floor(subject, comparison, floor, demanded=demanded))
    if by_class is not None:
        verdicts.append(judge_worst_class(subject, comparison, by_class, demanded=demanded))
    if equal is not None:
        verdicts.append(judge_agreement(subject, comparison, equal, demanded=demanded))
    _raise_all(candidate, verdicts)
    return comparison


def _check_order(candidate: Variant, baseline: Variant) -> None:
    """Raise `SettingsError` where candidate and baseline were exchanged: no drop would be seen."""
    if is_quantized_form(baseline, candidate):
        raise SettingsError(
            f"candidate and baseline are exchanged: {baseline.label} is a quantized form of "
            f"{candidate.label}. The first argument is the form that ships, the second what it is "
            "compared with; compare_accuracy takes them in any order"
        )


def _raise_all(variant: Variant, verdicts: list[Verdict]) -> None:
    """Record all verdicts, then raise for the worst of them, with the messages of all that fail."""
    for verdict in verdicts:
        session.record_verdict(variant, verdict)
    decided = session.worst(verdict.verdict for verdict in verdicts)
    errors = {
        Outcome.FAIL: AccuracyDropExceeded,
        Outcome.UNAVAILABLE: Unavailable,
        Outcome.INCONCLUSIVE: Inconclusive,
    }
    if decided not in errors:
        return
    broken = [verdict for verdict in verdicts if verdict.verdict in errors]
    broken.sort(key=lambda verdict: verdict.verdict is not decided)
    raise errors[decided](
        " ".join(verdict.message for verdict in broken),
        broken[0],
        "; ".join(v.brief for v in broken if v.brief and v.verdict is decided),
    )


def _drop_advice(
    variant: Variant,
    baseline: Any,
    comparison: AccuracyComparison,
    dataset: Any,
    preprocess: Preprocess | None,
) -> str:
    """What is wrong with the calibration, as measured, and what to do by the size of the drop."""
    size = comparison.drop
    if not comparison.share:
        size /= abs(comparison.baseline or 1)
    spec = VARIANTS.get(variant.name)
    calibrated = spec is None or spec.calibrated
    sentences = [accuracy_drop_advice(size, calibrated)]
    if calibrated:
        reference = load_variant(baseline)
        try:
            found = calibration_quality(
                variant,
                None,
                dataset,
                reference=reference if reference.name == "float32" else None,
                preprocess=preprocess,
            )
            sentences += [f"Calibration: {finding}" for finding in found.findings]
        except EdgeQuantError:
            pass  # the drop is the news; a generator is used up, say, and can't be read again
    return "\n".join(f"{sentence}." for sentence in sentences)


@user_facing
def assert_calibration_robust(
    robustness: CalibrationRobustness, max_drop: float | str = 0.02
) -> None:
    """The worst drop of `calibration_robustness` is at most `max_drop`.

    `max_drop` as for `assert_max_accuracy_drop`. Raises `AccuracyDropExceeded`, `Inconclusive`
    where the float model is not better than guessing.
    """
    limit = parse_drop(max_drop, robustness.metric, robustness.share)
    variant, worst = robustness.variant, robustness.worst
    _legal("calibration_robustness", variant, variant.target)
    session.record_metric(
        variant,
        "calibration_worst_drop",
        Metric(
            worst.drop,
            "fraction" if robustness.share else "",
            f"worst of {len(robustness.trials)} calibrations with parts of the samples",
            min(trial.drop for trial in robustness.trials),
            worst.drop,
        ),
    )
    verdict = judge_robustness(variant.label, robustness, limit)
    _raise(variant, verdict, AccuracyDropExceeded)


def _steps(count: float) -> str:
    return f"{count:g} {'step' if count == 1 else 'steps'}"


def _check_steps(max_steps: float, variant: Variant) -> None:
    """Raise `SettingsError` for more steps than the integers of all outputs have."""
    kinds = {info.dtype for info in variant.outputs}
    if any(kind.kind not in "iu" for kind in kinds):
        return
    widest = max(np.iinfo(kind).max - int(np.iinfo(kind).min) for kind in kinds)
    if max_steps >= widest:
        shown = ", ".join(sorted(str(kind) for kind in kinds))
        raise SettingsError(
            f"max_steps: {max_steps!r} can't fail: outputs of {variant.label} ({shown}) can't "
            f"differ by more than {widest:,} steps"
        )


@user_facing
def assert_runtime_parity(
    variant: Any,
    dataset: Any,
    *,
    max_steps: float | None = None,
    max_changed: float | None = 0.01,
    target: Target | str | None = None,
    runtimes: tuple[str, str] = ("litert", "tflm"),
    preprocess: Preprocess | None = None,
) -> RuntimeParity:
    """LiteRT's and TFLM's outputs for the same samples are as good as equal.

    `max_steps` limits the largest difference of any output value, in steps of the output's scale;
    `max_changed` the share of samples with another decision (0.01 is one in a hundred). None for no
    limit. On a stratified part of the samples where all would be more than `edge_tflm_macs`.

    Raises `RuntimesDiffer`, `CannotRun` where the target refuses the variant, `Unavailable` where
    a runtime is not installed or refuses the model, `DatasetError`, `SettingsError`.
    """
    limits = {"max_steps": max_steps, "max_changed": max_changed}
    for name, limit in limits.items():
        real = isinstance(limit, numbers.Real) and not isinstance(limit, bool)
        if limit is not None and not (real and limit >= 0 and math.isfinite(limit)):
            raise SettingsError(f"{name}: expected a number of 0 or more, got {limit!r}")
    if max_changed is not None and max_changed >= 1:
        raise SettingsError(
            f"max_changed: {max_changed!r} is all samples: it can't fail; 0.01 is one in 100"
        )
    if max_steps is None and max_changed is None:
        raise SettingsError("assert_runtime_parity: give max_steps, max_changed or both")
    variant, profile = for_target(variant, target)
    if max_steps is not None:
        _check_steps(max_steps, variant)
    _legal("runtime_parity", variant, profile)
    try:
        parity = measure_runtime_parity(variant, dataset, runtimes=runtimes, preprocess=preprocess)
    except (MeasurementUnavailable, CannotRunError, MetricError) as error:
        message = f"{variant.label}: runtime parity is unavailable: {error}"
        brief = "runtime parity unavailable"
        verdict = Verdict("runtime_parity", Outcome.UNAVAILABLE, message, brief=brief)
        session.record_verdict(variant, verdict)
        raise Unavailable(message, verdict) from None
    share = parity.changed / parity.count
    first, second = runtimes
    apart = (
        f"differ by up to {_steps(parity.max_steps)} of the output {parity.output!r}"
        if parity.output
        else "give equal outputs"
    )
    message = (
        f"{variant.label}: {first} and {second} {apart}, with {parity.changed} of {parity.count} "
        f"decisions changed ({share:.2%})"
    )
    broken, briefs = [], []
    if max_steps is not None and parity.max_steps > max_steps:
        broken.append(f"allowed are {_steps(max_steps)}")
        briefs.append(over("output difference", parity.max_steps, max_steps, _steps))
    if max_changed is not None and share > max_changed:
        broken.append(f"allowed are {max_changed:.2%} changed")
        briefs.append(over("changed decisions", share, max_changed, lambda v: f"{v:.2%}"))
    if broken:
        message += (
            f"; {' and '.join(broken)}. Judge the accuracy with runtime={second!r}, which is what "
            "ships"
        )
    outcome = Outcome.FAIL if broken else Outcome.PASS
    limit_shown = ", ".join(f"{k}={v:g}" for k, v in limits.items() if v is not None)
    brief = "; ".join(briefs)
    verdict = Verdict(
        "runtime_parity", outcome, message, limit_shown, parity.max_steps, brief=brief
    )
    _raise(variant, verdict, RuntimesDiffer)
    return parity
