"""What is asked of a variant on a target, as a list of checks; each runs an assertion.

Whoever gates without writing a test (the command `edgequant check`, gates from configuration) asks
for this list, so that there is one verdict whichever way it was asked for.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_edgequant import context
from pytest_edgequant.api.latency import estimate_latency
from pytest_edgequant.api.memory import flash_split
from pytest_edgequant.errors import CannotRun, CannotRunError, EdgeAssertionError, SettingsError
from pytest_edgequant.gate.deployment import (
    assert_arena_fits,
    assert_deployable,
    assert_size_within,
)
from pytest_edgequant.gate.latency import assert_latency_within
from pytest_edgequant.gate.verdicts import require_legal
from pytest_edgequant.limits import check_bytes, parse_drop
from pytest_edgequant.measure import legality
from pytest_edgequant.outcomes import Outcome
from pytest_edgequant.pipeline.current import STRIPPED, current_pipeline
from pytest_edgequant.records import Failure, Target, Variant, Verdict
from pytest_edgequant.results import recording
from pytest_edgequant.results.gathered import Event
from pytest_edgequant.results.session import Session
from pytest_edgequant.tflite.model import graph_of
from pytest_edgequant.tflite.unread import unread_bytes
from pytest_edgequant.units import limit_share, parse_duration, parse_size
from pytest_edgequant.wording import counted

if TYPE_CHECKING:
    from pytest_edgequant.measure.metrics import TaskMetric

_WORTH = 0.03
"""From such a share of a file on, what could be taken off is told."""
TARGETS_OWN = "target"
"""The limit of an arena that is what the target leaves."""
Limit = str | int | float
"""A limit as users write it: "64 KiB", "80%", "50 ms", "2 pt", or a number."""


@dataclass(frozen=True)
class Budgets:
    """Limits beside the target's own, each as users write it; None where there is none.

    `size` and `arena` are bytes or a share of what the target has left, `arena` may also be
    "target": all of that. `max_drop` is a drop of the task metric against the float model.
    """

    size: Limit | None = None
    arena: Limit | None = None
    latency: Limit | None = None
    max_drop: Limit | None = None

    def check(self, names: dict[str, str], metric: TaskMetric | None) -> None:
        """Raise `SettingsError` for a limit that can't be meant, by what the user called it.

        `metric` is that of the drop; without one there is nothing to drop.
        """
        for field in ("size", "arena"):
            limit = getattr(self, field)
            own = field == "arena" and limit == TARGETS_OWN
            if limit is not None and not own:
                check_bytes(limit, names[field])
                if limit_share(limit, names[field]) is None:
                    parse_size(limit, names[field])
        if self.latency is not None:
            parse_duration(self.latency, names["latency"])
        if self.max_drop is not None and metric is not None:
            parse_drop(self.max_drop, metric.name, metric.share, names["max_drop"])


@dataclass(frozen=True)
class Task:
    """What a variant is evaluated on, and the float model that it is compared with."""

    dataset: Any
    baseline: Variant | None = None
    metric: Any = None


@dataclass(frozen=True)
class Check:
    """One question with its name; `run` raises an `EdgeAssertionError` where the answer is no."""

    name: str
    run: Callable[[], object]


def checks(
    variant: Variant, target: Target, budgets: Budgets, task: Task | None = None
) -> list[Check]:
    """All that is asked of a variant on a target: its own limits, then the budgets.

    The latency is estimated where nothing limits it, and the task metric is evaluated where there
    is a dataset: figures of the report, that gate nothing.
    """
    size, arena, max_drop = budgets.size, budgets.arena, budgets.max_drop
    most = None if arena == TARGETS_OWN else arena
    run: dict[str, Callable[[], object]] = {
        "deployable": lambda: _deployable(variant, target),
        "size": lambda: _size(variant, target, size or 0),
        "arena": lambda: assert_arena_fits(variant, target, max=most),
        "latency": lambda: _latency(variant, target, budgets.latency),
        "accuracy": lambda: _accuracy(variant, target, task, None),
        "accuracy_drop": lambda: _accuracy(variant, target, task, max_drop),
    }
    return [Check(name, run[name]) for name in asked(budgets, evaluated=task is not None)]


def asked(budgets: Budgets, *, evaluated: bool) -> list[str]:
    """The names of the checks, known before there is a variant."""
    names = ["deployable"]
    names += ["size"] if budgets.size is not None else []
    names += ["arena"] if budgets.arena is not None else []
    names.append("latency")
    if evaluated:
        names.append("accuracy" if budgets.max_drop is None else "accuracy_drop")
    return names


def _size(variant: Variant, target: Target, limit: Limit) -> None:
    """Hold the file against a limit; a share of no flash limits nothing, as one of no arena."""
    if limit_share(limit, "size") is None or flash_split(variant, target).at_most is not None:
        assert_size_within(variant, limit, target=target)
        return
    require_legal("size", variant, target)
    message = f"{variant.label}: {target.name} has no limit of flash for {limit} to be a share of"
    recording.record_verdict(variant, Verdict("size", Outcome.NOT_APPLICABLE, message))
    note = f"size: {limit} of the flash that is left limits nothing on boards without such a limit"
    recording.record_notes(variant, [note])


def _latency(variant: Variant, target: Target, limit: Limit | None) -> None:
    """Estimate the latency, and hold it against a limit where there is one."""
    if limit is not None:
        require_legal("latency", variant, target)
        assert_latency_within(estimate_latency(variant, target), str(limit))
        return
    with contextlib.suppress(CannotRunError):  # which another check says
        estimate_latency(variant, target)


def _accuracy(variant: Variant, target: Target, task: Task | None, limit: Limit | None) -> None:
    """Evaluate the task metric, and hold its drop against a limit where there is one."""
    assert task is not None
    if limit is None:
        from pytest_edgequant.api.accuracy import evaluate

        require_legal("accuracy", variant, target)
        evaluate(variant, task.dataset, metric=task.metric, target=target)
        return
    from pytest_edgequant.gate.accuracy import assert_max_accuracy_drop

    if task.baseline is None:
        raise SettingsError(
            f"{variant.label}: a drop is against the float model, and there is none to compare with"
        )
    assert_max_accuracy_drop(
        variant, task.baseline, task.dataset, _drop(limit), metric=task.metric, target=target
    )


def _drop(limit: Limit) -> str | float:
    return limit if isinstance(limit, str) else float(limit)


def _deployable(variant: Variant, target: Target) -> None:
    """The target's own limits, and what a report says of the variant there."""
    recording.record_variant(variant)
    _record_untried(variant, target)
    _record_unread(variant)
    try:
        assert_deployable(variant, target)
    except CannotRun:
        _record_refused(variant, target)
        raise


def _record_untried(variant: Variant, target: Target) -> None:
    """Note that no interpreter has tried the variant, where none has."""
    package, whose = ("ai-edge-litert", "LiteRT's")
    if target.is_microcontroller:
        package, whose = ("tflite-micro", "TFLM's")
    missing = current_pipeline().interpreters.missing(package)
    if missing:
        note = f"{whose} interpreter has not tried the model, the rules alone judge it: {missing}"
        recording.record_notes(variant, [note])


def _record_unread(variant: Variant) -> None:
    """Note how much of the file could be taken off for nothing, where that is worth a word."""
    unread = unread_bytes(graph_of(variant))
    share = unread / variant.size_bytes
    if share >= _WORTH and not any(note.startswith(STRIPPED) for note in variant.notes):
        note = f"{unread:,} B ({share:.0%}) at least are names and metadata that no device reads"
        recording.record_notes(variant, [f"{note}: `edgequant strip` takes them off"])


def _record_refused(variant: Variant, target: Target) -> None:
    """Record each operator that the target's runtime refuses: rule, place, what to use instead."""
    graph = graph_of(variant)
    rows = [
        {"rule": finding.rule, "severity": finding.severity.value, "where": finding.text}
        for finding in legality.findings(graph, target)
        if finding.severity is not legality.Severity.WARNING
    ]
    if rows:
        recording.record_details(variant, "refused", rows)


# -- running them --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """How a check ended, as a test of that id: what it recorded, and how it failed if it did."""

    test: str
    events: tuple[Event, ...]
    failure: Failure | None = None

    def report(self, found: Session) -> None:
        """Add it to a run."""
        found.begin(self.test)
        found.add(self.events, self.test)
        if self.failure is None:
            found.end(self.test, "passed")
        else:
            found.fail(self.failure)


def judge(check: Check, test: str, file: str) -> Judged:
    """Run a check; `test` is its id in reports, `file` that of the model."""
    outer, context.events = context.events, []
    failure = None
    try:
        check.run()
    except EdgeAssertionError as error:
        failure = Failure(test, file, None, str(error))
    finally:
        events, context.events = context.events, outer
    return Judged(test, tuple(events), failure)


def judge_all(
    variant: Variant,
    target: Target,
    budgets: Budgets,
    task: Task | None = None,
    *,
    file: str,
) -> list[Judged]:
    """All checks of a variant on a target, run."""
    variant = dataclasses.replace(variant, target=target)
    return [
        judge(check, f"{file}::{check.name}[{target.name}-{variant.name}]", file)
        for check in checks(variant, target, budgets, task)
    ]


# -- boards that nobody named --------------------------------------------------------------------

UNFIT = "fits"
"""The check of a board that nobody named, and on which a variant does not pass."""
_WORDS = {
    Outcome.FAIL: "over the limit",
    Outcome.UNAVAILABLE: "not known",
    Outcome.INCONCLUSIVE: "not certain",
}


def judge_boards(
    variant: Variant,
    targets: Sequence[Target],
    budgets: Budgets,
    task: Task | None = None,
    *,
    file: str,
) -> list[Judged]:
    """All checks on boards that nobody named: those count on which all pass.

    The others are told and gate nothing; where there is no board, that is the failure.
    """
    found: list[Judged] = []
    good = 0
    for target in targets:
        tried = judge_all(variant, target, budgets, task, file=file)
        if any(judged.failure for judged in tried):
            found.append(_passed_over(dataclasses.replace(variant, target=target), tried))
        else:
            good += 1
            found += tried
    if not good:
        test = f"{file}::{UNFIT}[{variant.name}]"
        message = f"{variant.label}: fits none of {counted(len(targets), 'board')}"
        found.append(Judged(test, (), Failure(test, file, None, message)))
    return found


def _passed_over(variant: Variant, tried: Sequence[Judged]) -> Judged:
    """What is told of a board that will not do: what is in the way."""
    verdicts = [e["verdict"] for judged in tried for e in judged.events if e["kind"] == "verdict"]
    said = dict.fromkeys(
        _obstacle(verdict, variant)
        for verdict in verdicts
        if verdict["verdict"] not in (Outcome.PASS, Outcome.NOT_APPLICABLE)
    )

    def told() -> None:
        recording.record_variant(variant)
        verdict = Verdict(UNFIT, Outcome.NOT_APPLICABLE, ", ".join(said))
        recording.record_ungated(variant, verdict)

    return judge(Check(UNFIT, told), tried[0].test, file="")


def _obstacle(verdict: Mapping[str, Any], variant: Variant) -> str:
    outcome = Outcome(verdict["verdict"])
    if outcome is not Outcome.CANNOT_RUN:
        return f"{verdict['check']} {_WORDS[outcome]}"
    assert variant.target is not None
    reasons = str(verdict["message"]).partition(f" cannot run on {variant.target.name}: ")[2]
    return f"cannot run: {reasons.splitlines()[0] if reasons else verdict['message']}"
