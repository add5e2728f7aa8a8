"""Accuracy limits as users write them, and the verdicts on them.

A drop is absolute in the metric's own unit (`0.02`; for accuracy a fraction: two points), absolute
in points (`"2 pt"`, for metrics that are fractions), or relative to the baseline
(`"2% relative"`). `"2%"` alone could mean either and is refused.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_edgequant.errors import SettingsError
from pytest_edgequant.measure.paired import samples_to_decide, share_interval
from pytest_edgequant.records import (
    AccuracyComparison,
    CalibrationRobustness,
    Chance,
    Outcome,
    Verdict,
)
from pytest_edgequant.units import format_points, format_samples

if TYPE_CHECKING:
    from pytest_edgequant.measure.scores import TaskMetric

_DROP = re.compile(
    r"(?:(?P<before>relative)\s*)?(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>%|[a-z ]*[a-z])?"
    r"(?:\s*(?P<after>relative|rel\.?))?",
    re.IGNORECASE | re.ASCII,
)
_POINTS = ("pt", "pts", "point", "points", "pp", "percentage point", "percentage points")
_PERCENT = ("%", "percent", "per cent")


@dataclass(frozen=True)
class DropLimit:
    """How much may be lost: in the metric's own unit, or as a share of the baseline's value."""

    amount: float
    relative: bool = False

    def of(self, baseline: float) -> float:
        """The limit in the metric's own unit."""
        return self.amount * abs(baseline) if self.relative else self.amount


def _number(value: object, what: str, example: str) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise SettingsError(f"{what}: expected {example}, got {value!r}")
    if not math.isfinite(value) or float(value) < 0:
        raise SettingsError(f"{what}: expected a number of 0 or more, got {value!r}")
    return float(value)


def parse_drop(value: object, metric: str, share: bool, what: str = "max_drop") -> DropLimit:
    """A limit on a drop: `0.02`, `"2 pt"` or `"2% relative"`; `share`: `metric` is a fraction.

    Raises `SettingsError` for anything else, for `"2%"`, which could mean either, and for a limit
    that can't fail.
    """
    if not isinstance(value, str):
        example = 'a number such as 0.02, "2 pt" or "2% relative"'
        amount = _number(value, what, example)
        if share and amount >= 1:
            much = "more than everything" if amount > 1 else "everything, so that it can't fail"
            raise SettingsError(
                f"{what}: {value!r} is {much}; {metric} is a fraction: write "
                '"2 pt"; two points are 0.02'
            )
        return DropLimit(amount)
    match = _DROP.fullmatch(value.strip())
    unit = (match["unit"] or "").lower() if match else ""
    relative = match is not None and bool(match["before"] or match["after"])
    if unit.endswith(" relative"):
        unit, relative = unit.removesuffix(" relative").strip(), True
    if match is None or unit not in (*_POINTS, *_PERCENT):
        raise SettingsError(
            f"{what}: can't read {value!r}; expected a number such as 0.02 in the unit of "
            f'{metric}, "2 pt" (points), or "2% relative" (of the baseline)'
        )
    number = float(match["number"])
    if unit in _PERCENT:
        if not relative:
            raise SettingsError(
                f'{what}: {value!r} could mean points or a share of the baseline: write "'
                f'{number:g} pt" for a drop such as 90% -> {90 - number:g}%, or "{number:g}% '
                f'relative" for 90% -> {90 * (1 - number / 100):g}%'
            )
        if share and number >= 100:
            raise SettingsError(f"{what}: {value!r} is all of the baseline: it can't fail")
        return DropLimit(number / 100, relative=True)
    if relative:
        raise SettingsError(f'{what}: {value!r}: points are not relative; write "{number:g} pt"')
    if not share:
        raise SettingsError(
            f"{what}: {value!r}: {metric} is not a fraction, so it has no points; give a "
            f'number in its own unit, or "{number:g}% relative"'
        )
    if number >= 100:
        much = "more than everything" if number > 100 else "everything, so that it can't fail"
        raise SettingsError(f"{what}: {value!r} is {much}")
    return DropLimit(number / 100)


def parse_floor(value: object, metric: TaskMetric, what: str) -> float:
    """A least value: `0.9`, or `"90%"` for metrics that are fractions; raises `SettingsError`."""
    if not metric.higher_is_better:
        raise SettingsError(
            f"{what}: {metric.name} is better when it is smaller, so it has no floor; limit its "
            "drop with max_drop"
        )
    shown = value
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip(), re.ASCII)
        if match is None or not metric.share:
            raise SettingsError(f'{what}: can\'t read {value!r}; expected 0.9, or "90%"')
        value = float(match[1]) / 100
    number = _number(value, what, 'a number such as 0.9, or "90%"')
    if metric.share and number > 1:
        raise SettingsError(
            f'{what}: {value!r} is more than everything; 92 per cent are 0.92 or "92%"'
        )
    if metric.share and number == 0:
        raise SettingsError(
            f"{what}: {shown!r} can't fail: {metric.name} is never less; leave it out, or give a "
            'floor such as 0.9 or "90%"'
        )
    return number


def _within(value: float, limit: float) -> bool:
    """At most the limit; equal where only the last binary digit says otherwise."""
    return value <= limit or math.isclose(value, limit, rel_tol=1e-9)


def _evidence(low: float | None, high: float | None, limit: float) -> Outcome:
    """What the interval of a drop alone says: PASS, FAIL, or INCONCLUSIVE."""
    if low is None or high is None:
        return Outcome.INCONCLUSIVE
    if _within(high, limit):
        return Outcome.PASS
    return Outcome.FAIL if not _within(low, limit) else Outcome.INCONCLUSIVE


def _judged(point: bool, evidence: Outcome, demanded: bool) -> Outcome:
    """By the point estimate, or by the evidence where a confidence was demanded."""
    if demanded:
        return evidence
    return Outcome.PASS if point else Outcome.FAIL


def _plain(value: float, share: bool) -> str:
    return f"{value:.2%}" if share else f"{value:.6g}"


def _show(value: float, share: bool) -> str:
    return format_points(value) if share else f"{value:.6g}"


def doubt(verdict: Verdict, chance: Chance | None, value: str) -> Verdict:
    """The verdict, which can't be a pass where `value` is not better than guessing."""
    if chance is None or chance.beaten:
        return verdict
    passed = verdict.verdict is Outcome.PASS
    return dataclasses.replace(
        verdict,
        verdict=Outcome.INCONCLUSIVE if passed else verdict.verdict,
        message=f"{verdict.message} {'Still inconclusive: ' if passed else ''}{value} "
        f"is not better than chance: {_chance_sentence(chance)}",
    )


def _chance_sentence(chance: Chance) -> str:
    text = f"{chance.guess} gives {_plain(chance.value, chance.share)}"
    if chance.p_value is not None:
        text += f" ({chance.test}, p={chance.p_value:.2g})"
    advice = chance.hint or "check that labels and samples belong together, and are of this model"
    return f"{text}; {advice}."


def noted(verdict: Verdict, notes: Sequence[str]) -> Verdict:
    """The verdict with what to know beside it."""
    if not notes:
        return verdict
    note = "; ".join(notes)
    return dataclasses.replace(verdict, message=f"{verdict.message} Note: {note}.", note=note)


def judge_drop(
    subject: str,
    comparison: AccuracyComparison,
    limit: DropLimit,
    *,
    demanded: bool = False,
) -> Verdict:
    """The verdict on a drop. `demanded` asks for evidence at the comparison's confidence."""
    allowed = limit.of(comparison.baseline)
    share = comparison.share
    evidence = _evidence(comparison.low, comparison.high, allowed)
    outcome = _judged(_within(comparison.drop, allowed), evidence, demanded)
    before, after = (_plain(v, share) for v in (comparison.baseline, comparison.candidate))
    message = (
        f"{subject}: {comparison.metric} {before} -> {after} "
        f"on {format_samples(comparison.count, comparison.total)}, a drop of "
        f"{_show(comparison.drop, share)}; allowed are {_show(allowed, share)}"
    )
    if limit.relative:
        message += f" ({100 * limit.amount:g}% of the baseline)"
    if comparison.lost is not None:
        message += f" ({comparison.lost} samples lost, {comparison.gained} gained)"
    message += f". {_evidence_sentence(comparison, allowed, evidence, demanded)}"
    verdict = Verdict("accuracy_drop", outcome, message, allowed, comparison.drop)
    verdict = doubt(verdict, comparison.baseline_chance, _value_of("baseline", comparison))
    return noted(verdict, comparison.notes)


def _value_of(who: str, comparison: AccuracyComparison) -> str:
    value = comparison.baseline if who == "baseline" else comparison.candidate
    return f"the {who}'s {comparison.metric} of {_plain(value, comparison.share)}"


def _evidence_sentence(
    comparison: AccuracyComparison, allowed: float, evidence: Outcome, demanded: bool
) -> str:
    if comparison.low is None or comparison.high is None:
        text = f"No interval can be had: {comparison.reason}"
        return f"Inconclusive: {text}." if demanded else f"{text}."
    share = comparison.share
    scale, unit = (100, " points") if share else (1, "")
    digits = ".2f" if share else ".4g"
    text = (
        f"The {100 * comparison.confidence:g}% interval of the drop is "
        f"{scale * comparison.low:{digits}} to {scale * comparison.high:{digits}}{unit}"
    )
    if comparison.p_value is not None:
        text += f" (McNemar p={comparison.p_value:.2g})"
    if evidence is not Outcome.INCONCLUSIVE:
        return f"{text}: conclusive."
    needed = samples_to_decide(comparison, allowed)
    if needed is None:
        return f"{text}: inconclusive, and no number of samples decides a drop that is the limit."
    return f"{text}: inconclusive; about {needed:,} samples would decide at these rates."


def judge_floor(
    subject: str,
    check: str,
    value: float,
    floor: float,
    *,
    share: bool,
    what: str,
    samples: str = "",
    interval: tuple[float, float] | None = None,
    demanded: bool = False,
) -> Verdict:
    """The verdict on a least value; `interval` is its own at the confidence demanded."""
    low, high = interval if interval is not None else (None, None)
    evidence = _evidence(None if high is None else -high, None if low is None else -low, -floor)
    outcome = _judged(_within(-value, -floor), evidence, demanded)
    spec = ".2%" if share else ".6g"
    relation = "at least" if _within(-value, -floor) else "below"
    figure = f"{value:{spec}}{' on ' if samples else ''}{samples}"
    message = f"{subject}: {what} {figure} is {relation} the floor of {floor:{spec}}"
    if demanded:
        span = "no interval can be had"
        if low is not None and high is not None:
            span = f"interval {low:{spec}} to {high:{spec}}"
        word = "inconclusive" if evidence is Outcome.INCONCLUSIVE else "conclusive"
        message += f" ({span}: {word})"
    message += "."
    return Verdict(check, outcome, message, floor, value)


def judge_own_floor(
    subject: str, comparison: AccuracyComparison, floor: float, *, demanded: bool = False
) -> Verdict:
    """The verdict on the least value that the candidate itself must have."""
    verdict = judge_floor(
        subject,
        "min_accuracy",
        comparison.candidate,
        floor,
        share=comparison.share,
        what=comparison.metric,
        samples=format_samples(comparison.count, comparison.total),
        interval=comparison.candidate_interval,
        demanded=demanded,
    )
    value = _value_of("candidate", comparison)
    return noted(doubt(verdict, comparison.candidate_chance, value), comparison.notes)


def judge_worst_class(
    subject: str, comparison: AccuracyComparison, limit: DropLimit, *, demanded: bool = False
) -> Verdict:
    """The verdict on the drop of the class that lost most of its recall.

    With evidence demanded, every class must be within the limit by its upper bound; it fails where
    one is above it by its lower bound.
    """
    check = "worst_class_drop"
    worst = comparison.worst_class
    if worst is None:
        return Verdict(
            check,
            Outcome.UNAVAILABLE,
            f"{subject}: {check} is unavailable: {comparison.metric} does not judge by class",
        )
    # What is furthest above its own limit decides; a relative limit differs by class.
    worst = max(comparison.classes, key=lambda c: c.drop - limit.of(c.baseline))
    allowed = limit.of(worst.baseline)
    each = [_evidence(c.low, c.high, limit.of(c.baseline)) for c in comparison.classes]
    evidence = Outcome.PASS
    if Outcome.FAIL in each:
        evidence = Outcome.FAIL
    elif Outcome.INCONCLUSIVE in each:
        evidence = Outcome.INCONCLUSIVE
    outcome = _judged(_within(worst.drop, allowed), evidence, demanded)
    message = (
        f"{subject}: recall of class {worst.label} {worst.baseline:.2%} -> {worst.candidate:.2%} "
        f"on {worst.count:,} samples of it, a drop of {format_points(worst.drop)}; allowed are "
        f"{format_points(allowed)} for any class. Its {100 * comparison.confidence:g}% interval is "
        f"{100 * worst.low:.2f} to {100 * worst.high:.2f} points"
    )
    undecided = [
        c.label
        for c, found in zip(comparison.classes, each, strict=True)
        if found is Outcome.INCONCLUSIVE
    ]
    if evidence is Outcome.INCONCLUSIVE:
        shown = ", ".join(map(str, undecided[:10])) + (", ..." if len(undecided) > 10 else "")
        message += f": inconclusive for {'class' if len(undecided) == 1 else 'the classes'} {shown}"
    verdict = Verdict(check, outcome, f"{message}.", allowed, worst.drop)
    return doubt(verdict, comparison.baseline_chance, _value_of("baseline", comparison))


def judge_agreement(
    subject: str, comparison: AccuracyComparison, floor: float, *, demanded: bool = False
) -> Verdict:
    """The verdict on the share of samples that are decided as the baseline decides them."""
    if comparison.agreement is None:
        return Verdict(
            "agreement",
            Outcome.UNAVAILABLE,
            f"{subject}: agreement is unavailable: {comparison.metric} reads no decisions (argmax) "
            "of one output",
            floor,
        )
    equal = round(comparison.agreement * comparison.count)
    return judge_floor(
        subject,
        "agreement",
        comparison.agreement,
        floor,
        share=True,
        what="agreement with the baseline",
        samples=format_samples(comparison.count, comparison.total),
        interval=share_interval(equal, comparison.count, comparison.confidence),
        demanded=demanded,
    )


def judge_robustness(subject: str, found: CalibrationRobustness, limit: DropLimit) -> Verdict:
    """The verdict on the worst drop of a variant calibrated with different samples."""
    worst, allowed = found.worst, limit.of(found.baseline)
    passed = _within(worst.drop, allowed)
    message = (
        f"{subject}: calibrated with {len(found.trials)} different parts of the samples, "
        f"{found.metric} drops by {_show(worst.drop, found.share)} at worst ({worst.size} samples, "
        f"seed {worst.seed}); allowed are {_show(allowed, found.share)}. The drops span "
        f"{_show(found.spread, found.share)}."
    )
    if not passed:
        message += " Calibrate with more and more varied samples (200-500, every class)."
    outcome = Outcome.PASS if passed else Outcome.FAIL
    verdict = Verdict("calibration_robustness", outcome, message, allowed, worst.drop)
    value = f"the float model's {found.metric} of {_plain(found.baseline, found.share)}"
    return noted(doubt(verdict, found.baseline_chance, value), found.notes)
