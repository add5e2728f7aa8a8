"""What every assertion does around its check: legality first, and the verdict recorded last."""

from __future__ import annotations

from pytest_edgequant.api.memory import refusals, runtime_warnings
from pytest_edgequant.errors import CannotRun, EdgeAssertionError, Inconclusive, Unavailable
from pytest_edgequant.records import Outcome, Target, Variant, Verdict
from pytest_edgequant.results import session
from pytest_edgequant.wording import facts


def conclude(variant: Variant | None, verdict: Verdict, error: type[EdgeAssertionError]) -> None:
    """Record the verdict, then raise unless it lets the test go on: `error` where it fails."""
    if variant is not None:
        session.record_verdict(variant, verdict)
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
    reasons = refusals(variant, target)
    if reasons:
        message = facts(f"{variant.label}: cannot run on {target.name}:", reasons)
        brief = f"cannot run on {target.name}: {reasons[0]}"
        conclude(variant, Verdict(check, Outcome.CANNOT_RUN, message, brief=brief), CannotRun)
    session.record_notes(variant, runtime_warnings(variant, target))
