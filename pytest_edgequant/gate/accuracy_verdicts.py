"""The verdicts on limits of accuracy: what the measurement and its evidence make of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pytest_edgequant.gate.verdicts import below, over, undecided
from pytest_edgequant.limits import DropLimit, within
from pytest_edgequant.measure.proportions import samples_to_decide, share_interval
from pytest_edgequant.records import (
    AccuracyComparison,
    CalibrationRobustness,
    Chance,
    Outcome,
    Verdict,
)
from pytest_edgequant.units import format_points, format_samples
from pytest_edgequant.wording import counted

_MORE = "Evaluate more samples"


def _evidence(low: float | None, high: float | None, limit: float) -> Outcome:
    """What the interval of a drop alone says: PASS, FAIL, or INCONCLUSIVE."""
    if low is None or high is None:
        return Outcome.INCONCLUSIVE
    if within(high, limit):
        return Outcome.PASS
    return Outcome.FAIL if not within(low, limit) else Outcome.INCONCLUSIVE


def _judged(point: bool, evidence: Outcome, demanded: bool) -> Outcome:
    """By the point estimate, or by the evidence where a confidence was demanded."""
    if demanded:
        return evidence
    return Outcome.PASS if point else Outcome.FAIL


def _plain(value: float, share: bool) -> str:
    return f"{value:.2%}" if share else f"{value:.6g}"


_LABELS = "Check the labels and samples"
"""What to do about a model that guesses: more samples decide nothing about it."""


def _show(value: float, share: bool) -> str:
    return format_points(value) if share else f"{value:.6g}"


def doubt(verdict: Verdict, chance: Chance | None, value: str) -> Verdict:
    """The verdict, which can't be a pass where `value` is not better than guessing."""
    if chance is None or chance.beaten:
        return verdict
    passed = verdict.verdict is Outcome.PASS
    message = (
        f"{verdict.message} {'Still inconclusive: ' if passed else ''}{value} is not better than "
        f"chance: {_chance_sentence(chance)}"
    )
    if not passed:
        return dataclasses.replace(verdict, message=message)
    return dataclasses.replace(
        verdict,
        verdict=Outcome.INCONCLUSIVE,
        message=undecided(_LABELS, message),
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
    outcome = _judged(within(comparison.drop, allowed), evidence, demanded)
    before, after = (_plain(v, share) for v in (comparison.baseline, comparison.candidate))
    message = (
        f"{subject}: {comparison.metric} {before} -> {after} "
        f"on {format_samples(comparison.count, comparison.total)}, a drop of "
        f"{_show(comparison.drop, share)}; allowed are {_show(allowed, share)}"
    )
    if limit.relative:
        message += f" ({100 * limit.amount:g}% of the baseline)"
    if comparison.lost is not None:
        lost = counted(comparison.lost, "sample")
        message += f" ({lost} lost, {comparison.gained:,} gained)"
    message += f". {_evidence_sentence(comparison, allowed, evidence, demanded)}"
    brief = ""
    if outcome is Outcome.INCONCLUSIVE:
        chance = comparison.baseline_chance
        guessed = chance is not None and not chance.beaten
        message = undecided(_LABELS if guessed else _to_decide(comparison, allowed), message)
    elif outcome is Outcome.FAIL:
        what = f"{comparison.metric} drop"
        brief = over(what, comparison.drop, allowed, lambda value: _show(value, share))
    verdict = Verdict("accuracy_drop", outcome, message, allowed, comparison.drop, brief=brief)
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
    return f"{text}: inconclusive; about {counted(needed, 'sample')} would decide at these rates."


def _to_decide(comparison: AccuracyComparison, allowed: float) -> str:
    """What to do where the samples prove neither that a limit on the drop holds nor that not."""
    if comparison.low is None or comparison.high is None:
        return "Give samples of which an interval can be had, or leave confidence out"
    needed = samples_to_decide(comparison, allowed)
    if needed is None:
        return "Set another limit"
    return f"Evaluate about {counted(needed, 'sample')}"


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
    outcome = _judged(within(-value, -floor), evidence, demanded)
    spec = ".2%" if share else ".6g"
    relation = "at least" if within(-value, -floor) else "below"
    figure = f"{value:{spec}}{' on ' if samples else ''}{samples}"
    message = f"{subject}: {what} {figure} is {relation} the floor of {floor:{spec}}"
    if demanded:
        span = "no interval can be had"
        if low is not None and high is not None:
            span = f"interval {low:{spec}} to {high:{spec}}"
        word = "inconclusive" if evidence is Outcome.INCONCLUSIVE else "conclusive"
        message += f" ({span}: {word})"
    message += "."
    brief = ""
    if outcome is Outcome.INCONCLUSIVE:
        message = undecided(_MORE, message)
    elif outcome is Outcome.FAIL:
        brief = below(what, value, floor, lambda v: f"{v:{spec}}", lambda v: _show(v, share))
    return Verdict(check, outcome, message, floor, value, brief=brief)


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
            brief=f"{check} unavailable",
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
    outcome = _judged(within(worst.drop, allowed), evidence, demanded)
    message = (
        f"{subject}: recall of class {worst.label} {worst.baseline:.2%} -> {worst.candidate:.2%} "
        f"on {counted(worst.count, 'sample')} of it, a drop of {format_points(worst.drop)}; "
        f"allowed are {format_points(allowed)} for any class. "
        f"Its {100 * comparison.confidence:g}% interval is {100 * worst.low:.2f} to "
        f"{100 * worst.high:.2f} points"
    )
    unsure = [
        c.label
        for c, found in zip(comparison.classes, each, strict=True)
        if found is Outcome.INCONCLUSIVE
    ]
    if evidence is Outcome.INCONCLUSIVE:
        shown = ", ".join(map(str, unsure[:10])) + (", ..." if len(unsure) > 10 else "")
        message += f": inconclusive for {'class' if len(unsure) == 1 else 'the classes'} {shown}"
    message, brief = f"{message}.", ""
    if outcome is Outcome.INCONCLUSIVE:
        message = undecided(f"{_MORE} of each class", message)
    elif outcome is Outcome.FAIL:
        what = f"recall drop of class {worst.label}"
        brief = over(what, worst.drop, allowed, format_points)
    verdict = Verdict(check, outcome, message, allowed, worst.drop, brief=brief)
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
            brief="agreement unavailable",
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
    passed = within(worst.drop, allowed)
    message = (
        f"{subject}: calibrated with {len(found.trials)} different parts of the samples, "
        f"{found.metric} drops by {_show(worst.drop, found.share)} at worst "
        f"({counted(worst.size, 'sample')}, "
        f"seed {worst.seed}); allowed are {_show(allowed, found.share)}. The drops span "
        f"{_show(found.spread, found.share)}."
    )
    brief = ""
    if not passed:
        message += " Calibrate with more and more varied samples (200-500, every class)."
        what = f"worst {found.metric} drop"
        brief = over(what, worst.drop, allowed, lambda value: _show(value, found.share))
    outcome = Outcome.PASS if passed else Outcome.FAIL
    check = "calibration_robustness"
    verdict = Verdict(check, outcome, message, allowed, worst.drop, brief=brief)
    value = f"the float model's {found.metric} of {_plain(found.baseline, found.share)}"
    return noted(doubt(verdict, found.baseline_chance, value), found.notes)
