"""The assertions on accuracy: what is lost, and how robust the calibration is.

Metrics, engines and interpreters are loaded by the first assertion: they take longer than all the
rest of the gate.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_edgequant.api.convert import for_target, load_variant
from pytest_edgequant.diagnose.advice import accuracy_drop_advice
from pytest_edgequant.errors import (
    AccuracyDropExceeded,
    EdgeQuantError,
    Inconclusive,
    MetricError,
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
from pytest_edgequant.gate.verdicts import conclude, require_legal, unavailable
from pytest_edgequant.limits import DropLimit, parse_drop, parse_floor
from pytest_edgequant.measure.confidence import DEFAULT_CONFIDENCE, check_confidence
from pytest_edgequant.outcomes import worst
from pytest_edgequant.records import (
    AccuracyComparison,
    CalibrationRobustness,
    Metric,
    Outcome,
    Target,
    Variant,
    Verdict,
)
from pytest_edgequant.results import recording
from pytest_edgequant.wording import counted

if TYPE_CHECKING:
    from pytest_edgequant.measure.metrics import MetricLike, TaskMetric
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
    from pytest_edgequant.measure.metrics import get_metric

    chosen = get_metric(metric, output)
    limits = _read_limits(
        chosen, max_drop, confidence, min_accuracy, max_worst_class_drop, min_agreement
    )
    candidate, profile = for_target(candidate, target)
    baseline = load_variant(baseline)
    _check_order(candidate, baseline)
    require_legal("accuracy_drop", candidate, profile)
    comparison = _compare(candidate, baseline, dataset, chosen, limits, runtime, preprocess)
    verdicts = _judge_all(candidate.label, comparison, limits)
    if verdicts[0].verdict is Outcome.FAIL:
        advice = _drop_advice(candidate, baseline, comparison, dataset, preprocess)
        told = f"{verdicts[0].message} {advice}"
        verdicts[0] = dataclasses.replace(verdicts[0], message=told)
    _raise_all(candidate, verdicts)
    return comparison


@dataclass(frozen=True)
class _Limits:
    """What a comparison is held against; `demanded` asks for evidence of each limit."""

    drop: DropLimit
    confidence: float
    demanded: bool
    floor: float | None
    by_class: DropLimit | None
    agreement: float | None


def _read_limits(
    metric: TaskMetric,
    max_drop: float | str,
    confidence: float | None,
    min_accuracy: float | str | None,
    max_worst_class_drop: float | str | None,
    min_agreement: float | str | None,
) -> _Limits:
    """The limits as the user wrote them; raises `SettingsError`."""
    drop = parse_drop(max_drop, metric.name, metric.share)
    level = DEFAULT_CONFIDENCE if confidence is None else check_confidence(confidence)
    floor = by_class = agreement = None
    if min_accuracy is not None:
        floor = parse_floor(min_accuracy, metric, "min_accuracy")
    if max_worst_class_drop is not None:
        by_class = parse_drop(max_worst_class_drop, "recall", True, "max_worst_class_drop")
    if min_agreement is not None:
        from pytest_edgequant.measure.metrics import get_metric

        agreement = parse_floor(min_agreement, get_metric("agreement"), "min_agreement")
    return _Limits(drop, level, confidence is not None, floor, by_class, agreement)


def _compare(
    candidate: Variant,
    baseline: Variant,
    dataset: Any,
    metric: TaskMetric,
    limits: _Limits,
    runtime: str | None,
    preprocess: Preprocess | None,
) -> AccuracyComparison:
    """Both on the same samples; raises `Unavailable` for a metric that can't be computed."""
    from pytest_edgequant.api.accuracy import compare_accuracy

    try:
        return compare_accuracy(
            candidate,
            baseline,
            dataset,
            metric=metric,
            confidence=limits.confidence,
            runtime=runtime,
            preprocess=preprocess,
        )
    except MetricError as error:
        amount, brief = limits.drop.amount, f"{metric.name} drop"
        raise unavailable(candidate, "accuracy_drop", error, amount, brief=brief) from error


def _judge_all(subject: str, comparison: AccuracyComparison, limits: _Limits) -> list[Verdict]:
    """The verdict on the drop, and after it one on each further limit."""
    demanded = limits.demanded
    verdicts = [judge_drop(subject, comparison, limits.drop, demanded=demanded)]
    if limits.floor is not None:
        verdicts.append(judge_own_floor(subject, comparison, limits.floor, demanded=demanded))
    if limits.by_class is not None:
        verdicts.append(judge_worst_class(subject, comparison, limits.by_class, demanded=demanded))
    if limits.agreement is not None:
        verdicts.append(judge_agreement(subject, comparison, limits.agreement, demanded=demanded))
    return verdicts


def _check_order(candidate: Variant, baseline: Variant) -> None:
    """Raise `SettingsError` where candidate and baseline were exchanged: no drop would be seen."""
    from pytest_edgequant.diagnose.kinship import is_quantized_form

    if is_quantized_form(baseline, candidate):
        raise SettingsError(
            f"candidate and baseline are exchanged: {baseline.label} is a quantized form of "
            f"{candidate.label}. The first argument is the form that ships, the second what it is "
            "compared with; compare_accuracy takes them in any order"
        )


def _raise_all(variant: Variant, verdicts: list[Verdict]) -> None:
    """Record all verdicts, then raise for the worst of them, with the messages of all that fail."""
    for verdict in verdicts:
        recording.record_verdict(variant, verdict)
    decided = worst(verdict.verdict for verdict in verdicts)
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
        from pytest_edgequant.diagnose.calibration_quality import calibration_quality

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
    require_legal("calibration_robustness", variant, variant.target)
    recording.record_metric(
        variant,
        "calibration_worst_drop",
        Metric(
            worst.drop,
            "fraction" if robustness.share else "",
            f"worst of {counted(len(robustness.trials), 'calibration')} with parts of the samples",
            min(trial.drop for trial in robustness.trials),
            worst.drop,
        ),
    )
    verdict = judge_robustness(variant.label, robustness, limit)
    conclude(variant, verdict, AccuracyDropExceeded)
