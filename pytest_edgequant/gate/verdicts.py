"""What every assertion does around its check: legality first, and the verdict recorded last.

A metric against a limit gives a verdict; a missing metric never passes.
"""

from __future__ import annotations

from collections.abc import Callable

from pytest_edgequant.errors import CannotRun, EdgeAssertionError, Inconclusive, Unavailable
from pytest_edgequant.records import Metric, Outcome, Target, Variant, Verdict
from pytest_edgequant.results import recording
from pytest_edgequant.units import format_bytes
from pytest_edgequant.wording import facts


def conclude(variant: Variant | None, verdict: Verdict, error: type[EdgeAssertionError]) -> None:
    """Record the verdict, then raise unless it lets the test go on: `error` where it fails."""
    if variant is not None:
        recording.record_verdict(variant, verdict)
    if verdict.verdict is Outcome.CANNOT_RUN:
        raise CannotRun(verdict.message, verdict)
    if verdict.verdict is Outcome.UNAVAILABLE:
        raise Unavailable(verdict.message, verdict)
    if verdict.verdict is Outcome.INCONCLUSIVE:
        raise Inconclusive(verdict.message, verdict)
    if verdict.verdict is Outcome.FAIL:
        raise error(verdict.message, verdict)


def require_legal(check: str, variant: Variant, target: Target | None) -> None:
    """Raise `CannotRun` where the target's runtime would refuse the variant."""
    if target is None:
        return
    # What reads graphs and knows boards takes longer to load than all the rest of the gate.
    from pytest_edgequant.api.memory import refusals, runtime_warnings

    reasons = refusals(variant, target)
    if reasons:
        message = facts(f"{variant.label}: cannot run on {target.name}:", reasons)
        brief = f"cannot run on {target.name}: {reasons[0]}"
        conclude(variant, Verdict(check, Outcome.CANNOT_RUN, message, brief=brief), CannotRun)
    recording.record_notes(variant, runtime_warnings(variant, target))


def unavailable(
    variant: Variant,
    check: str,
    why: Exception,
    limit: float | None = None,
    *,
    what: str = "",
    brief: str = "",
) -> Unavailable:
    """The error of a check whose figure can't be had; its verdict is recorded.

    `what` names the figure where the check's name does not read as one, `brief` that of the line
    that may be cut.
    """
    what = what or check
    message = f"{variant.label}: {what} is unavailable: {why}"
    brief = f"{brief or what} unavailable"
    verdict = Verdict(check, Outcome.UNAVAILABLE, message, limit, brief=brief)
    recording.record_verdict(variant, verdict)
    return Unavailable(message, verdict)


def sized(value: float) -> str:
    """A size as verdicts show it."""
    return format_bytes(int(value))


def over(what: str, value: float, limit: float, show: Callable[[float], str]) -> str:
    """What is too much and by how much, the words first that tell: a line may be cut."""
    return f"{what} over by {show(value - limit)}: {show(value)} of {show(limit)}"


def below(
    what: str,
    value: float,
    floor: float,
    show: Callable[[float], str],
    difference: Callable[[float], str] | None = None,
) -> str:
    """What is too little, and by how much; `difference` formats that where it reads otherwise."""
    return f"{what} below by {(difference or show)(floor - value)}: {show(value)} of {show(floor)}"


def undecided(do: str, message: str) -> str:
    """What to do where a check is inconclusive, before what was found."""
    return f"{do}: {message}"


def judge(
    check: str,
    metric: Metric,
    limit: float | int,
    *,
    subject: str,
    show: Callable[[float], str],
    advice: str = "",
) -> Verdict:
    """Pass where the metric is at most the limit.

    `show` formats value and limit; `advice` ends the message of a failure.
    """
    if metric.value is None:
        return Verdict(
            check,
            Outcome.UNAVAILABLE,
            f"{subject}: {check} is unavailable: {metric.reason}",
            limit,
            brief=f"{check} unavailable",
        )
    passed = metric.value <= limit
    relation = "within" if passed else "over"
    message = f"{subject}: {check} {show(metric.value)} is {relation} the limit of {show(limit)}"
    brief = ""
    if not passed:
        brief = over(check, metric.value, limit, show)
        message += f" by {show(metric.value - limit)}"
        if advice:
            message += f". {advice}"
    outcome = Outcome.PASS if passed else Outcome.FAIL
    return Verdict(check, outcome, message, limit, metric.value, brief=brief)
