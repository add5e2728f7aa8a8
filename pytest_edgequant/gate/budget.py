"""A metric against a limit gives a verdict; a missing metric never passes."""

from __future__ import annotations

from collections.abc import Callable

from pytest_edgequant.records import Metric, Outcome, Verdict


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
        )
    passed = metric.value <= limit
    relation = "within" if passed else "over"
    message = f"{subject}: {check} {show(metric.value)} is {relation} the limit of {show(limit)}"
    if not passed:
        message += f" by {show(metric.value - limit)}"
        if advice:
            message += f". {advice}"
    return Verdict(check, Outcome.PASS if passed else Outcome.FAIL, message, limit, metric.value)
