"""A metric against a limit gives a verdict; a missing metric never passes."""

from __future__ import annotations

from collections.abc import Callable

from pytest_edgequant.records import Metric, Outcome, Verdict


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
