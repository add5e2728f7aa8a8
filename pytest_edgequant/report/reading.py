"""JSON reports read back, and several of them merged: the shards of one run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_edgequant.errors import DocumentError
from pytest_edgequant.outcomes import worst
from pytest_edgequant.records import (
    STATES,
    Change,
    Failure,
    GateTest,
    Metric,
    Outcome,
    Result,
    RowKey,
    Verdict,
)
from pytest_edgequant.report.overview import subject
from pytest_edgequant.results.documents import Damaged, expect, number
from pytest_edgequant.results.gathered import trust
from pytest_edgequant.results.session import Session

_NOTHING_GATED = 5
"""The exit status of a run in which nothing was gated."""
_TIMES = ("s", "ms", "us", "ns")
"""Units of what differs each time it is measured."""


# -- reading ------------------------------------------------------------------------------------


def _text(document: Mapping[str, Any], key: str, place: str) -> str:
    text: str = expect(document.get(key), str, f"{place}: {key}")
    return text


def _optional(document: Mapping[str, Any], key: str, place: str) -> float | int | None:
    value = document.get(key)
    return None if value is None else number(value, f"{place}: {key}")


def _outcome(document: Mapping[str, Any], place: str) -> Outcome:
    try:
        return Outcome(document.get("verdict"))
    except ValueError:
        raise Damaged(f"{place}: verdict is {document.get('verdict')!r:.60}") from None


def _whole(document: Mapping[str, Any], key: str, place: str) -> int | None:
    value = document.get(key)
    if value is None:
        return None
    found: int = expect(value, int, f"{place}: {key}")
    number(found, f"{place}: {key}")
    return found


def _metric(document: Any, place: str) -> Metric:
    expect(document, dict, place)
    value = _optional(document, "value", place)
    reason = expect(document.get("reason"), (str, type(None)), f"{place}: reason")
    if value is None and reason is None:
        raise Damaged(f"{place}: neither a value nor a reason why there is none")
    return Metric(
        value,
        _text(document, "unit", place),
        _text(document, "provenance", place),
        _optional(document, "low", place),
        _optional(document, "high", place),
        reason,
        _whole(document, "count", place),
        _whole(document, "of", place),
    )


def _verdict(document: Any, place: str) -> Verdict:
    expect(document, dict, place)
    limit = document.get("limit")
    if not isinstance(limit, str) and limit is not None:
        limit = number(limit, f"{place}: limit")
    return Verdict(
        _text(document, "check", place),
        _outcome(document, place),
        _text(document, "message", place),
        limit,
        _optional(document, "value", place),
        expect(document.get("note", ""), str, f"{place}: note"),
    )


def _change(document: Any, place: str) -> Change:
    expect(document, dict, place)
    return Change(
        _text(document, "metric", place),
        _text(document, "unit", place),
        _optional(document, "before", place),
        _optional(document, "after", place),
        _outcome(document, place),
        _text(document, "message", place),
        _optional(document, "low", place),
        _optional(document, "high", place),
        expect(document.get("accepted", ""), str, f"{place}: accepted"),
        expect(document.get("informational", False), bool, f"{place}: informational"),
    )


def _list(document: Mapping[str, Any], key: str, place: str) -> list[Any]:
    found: list[Any] = expect(document.get(key, []), list, f"{place}: {key}")
    return found


def _result(document: Any, place: str) -> Result:
    expect(document, dict, place)
    metrics = expect(document.get("metrics"), dict, f"{place}: metrics")
    return Result(
        _text(document, "model", place),
        _text(document, "variant", place),
        expect(document.get("target"), (str, type(None)), f"{place}: target"),
        {name: _metric(value, f"{place}: {name}") for name, value in metrics.items()},
        [_verdict(v, f"{place}: verdicts") for v in _list(document, "verdicts", place)],
        [expect(n, str, f"{place}: notes") for n in _list(document, "notes", place)],
        [_change(c, f"{place}: changes") for c in _list(document, "changes", place)],
        expect(document.get("file", ""), str, f"{place}: file"),
    )


def _details(document: Mapping[str, Any], place: str) -> dict[str, list[dict[str, Any]]]:
    tables: dict[str, list[dict[str, Any]]] = expect(
        document.get("details", {}), dict, f"{place}: details"
    )
    for name, rows in tables.items():
        for row in expect(rows, list, f"{place}: {name}"):
            for key, value in expect(row, dict, f"{place}: {name}").items():
                if not isinstance(value, str | bool | None):
                    number(value, f"{place}: {name}: {key}")
    return tables


def _failure(document: Any, place: str) -> Failure:
    expect(document, dict, place)
    return Failure(
        _text(document, "test", place),
        _text(document, "file", place),
        expect(document.get("line"), (int, type(None)), f"{place}: line"),
        _text(document, "message", place),
    )


def _row(document: Any, place: str) -> RowKey:
    expect(document, dict, place)
    target = expect(document.get("target"), (str, type(None)), f"{place}: target")
    return (
        _text(document, "model", place),
        target or "",
        _text(document, "variant", place),
        _text(document, "file", place),
    )


def _test(document: Any, place: str) -> GateTest:
    expect(document, dict, place)
    state = document.get("state")
    if state not in STATES:
        raise Damaged(f"{place}: state is {state!r:.60}")
    return GateTest(
        _text(document, "test", place),
        state,
        tuple(_row(row, place) for row in _list(document, "rows", place)),
        _text(document, "message", place),
    )


def _origin(document: Mapping[str, Any]) -> dict[str, Any]:
    """What made the report: the tool and its environment, as they stand in the document."""
    tool = expect(document.get("tool"), dict, "tool")
    environment = expect(document.get("environment"), dict, "environment")
    packages = expect(environment.get("packages", {}), dict, "packages")
    return {
        "tool": {"name": _text(tool, "name", "tool"), "version": _text(tool, "version", "tool")},
        "environment": {
            **{key: _text(environment, key, "environment") for key in _ENVIRONMENT},
            **{key: _text(environment, key, "environment") for key in MADE if key in environment},
            "packages": {name: _text(packages, name, "packages") for name in packages},
        },
    }


_ENVIRONMENT = ("python", "platform", "machine")
MADE = ("commit", "date")
"""What older reports don't tell."""


def read_report(document: Mapping[str, Any], where: str) -> Session:
    """The session of a JSON report's document; raises `DocumentError` naming `where`."""
    try:
        items = expect(document.get("results"), list, "results")
        results = [_result(item, f"result {position}") for position, item in enumerate(items)]
        failures = [_failure(item, "failures") for item in _list(document, "failures", "report")]
        baseline = expect(document.get("baseline", {}), dict, "baseline")
        note = expect(baseline.get("note", ""), str, "baseline: note")
        outcome = baseline.get("outcome")
        judged = {"verdict": outcome}
        tests = [_test(item, "tests") for item in _list(document, "tests", "report")]
        # Reports of before there were failures don't tell which tests failed.
        session = Session(
            baseline_note=note,
            baseline_outcome=None if outcome is None else _outcome(judged, "baseline"),
            exit_status=_whole(document, "exit_status", "report"),
            origin=_origin(document),
            watched="failures" in document,
            failures=failures,
        )
        session.add_tests(tests)
        for item, result in zip(items, results, strict=True):
            if session.has(result):
                raise Damaged(f"{subject(result)} is there twice")
            session.add_result(result, _details(item, subject(result)))
    except Damaged as error:
        raise DocumentError(f"{where}: damaged: {error}") from None
    return session


# -- merging ------------------------------------------------------------------------------------


def name_of(result: Result) -> str:
    """A result as messages name it."""
    return subject(result)


def _same(first: float | int, second: float | int) -> bool:
    return math.isclose(first, second, rel_tol=1e-9)


def _merged_metric(name: str, first: Metric, second: Metric) -> Metric:
    """One of two figures of the same thing; raises `Damaged` where they contradict each other."""
    if trust(first) != trust(second):
        return max(first, second, key=trust)
    if first.value is None or second.value is None:
        return first
    if first.unit == second.unit and _same(first.value, second.value):
        return first
    if first.unit == second.unit and first.unit in _TIMES:
        return max(first, second, key=lambda metric: metric.value or 0)
    raise Damaged(f"{name} is {first.value} {first.unit} and {second.value} {second.unit}")


def _merged_change(first: Change, second: Change) -> Change:
    if (first.before, first.after, first.verdict) == (second.before, second.after, second.verdict):
        return first
    # One shard had the figure and the other not: what was compared says more.
    if (first.after is None) != (second.after is None):
        return second if first.after is None else first
    raise Damaged(
        f"{first.metric} changed from {first.before} to {first.after} ({first.verdict}) and from "
        f"{second.before} to {second.after} ({second.verdict}); compare all shards with one "
        "baseline"
    )


def _merged(first: Result, second: Result) -> tuple[Result, list[str]]:
    """One result of two of the same variant, and where they contradict each other."""
    wrong: list[str] = []
    metrics = dict(first.metrics)
    for name, metric in second.metrics.items():
        try:
            metrics[name] = _merged_metric(name, metrics.get(name, metric), metric)
        except Damaged as error:
            wrong.append(str(error))
    changes = {change.metric: change for change in first.changes}
    for change in second.changes:
        try:
            changes[change.metric] = _merged_change(changes.get(change.metric, change), change)
        except Damaged as error:
            wrong.append(str(error))
    result = Result(
        first.model,
        first.variant,
        first.target,
        metrics,
        list(dict.fromkeys([*first.verdicts, *second.verdicts])),
        list(dict.fromkeys([*first.notes, *second.notes])),
        list(changes.values()),
        first.file,
    )
    return result, wrong


def _merged_status(parts: Sequence[Session]) -> int | None:
    """The exit status of several runs as one; a shard that gated nothing leaves it to others."""
    known = [part.exit_status for part in parts if part.exit_status is not None]
    if not known:
        return None
    failed = [status for status in known if status not in (0, _NOTHING_GATED)]
    if failed:
        return failed[0]
    return 0 if 0 in known else _NOTHING_GATED


def _joined(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _merged_origin(origins: list[Mapping[str, Any]]) -> dict[str, Any]:
    """What made the parts; where they differ, all of it."""
    environments = [origin["environment"] for origin in origins]
    names = dict.fromkeys(name for e in environments for name in e["packages"])
    return {
        "tool": {
            "name": origins[0]["tool"]["name"],
            "version": _joined(origin["tool"]["version"] for origin in origins),
        },
        "environment": {
            **{key: _joined(e[key] for e in environments) for key in _ENVIRONMENT},
            **{
                key: _joined(e[key] for e in environments if key in e)
                for key in MADE
                if any(key in e for e in environments)
            },
            "packages": {
                name: _joined(e["packages"][name] for e in environments if name in e["packages"])
                for name in names
            },
        },
    }


def merge_reports(parts: Iterable[tuple[str, Session]]) -> Session:
    """One session of the shards of a run, each with its name.

    What several shards measured must be the same in all; times are taken at their longest. Raises
    `DocumentError` with everything on which they disagree.
    """
    found: dict[RowKey, tuple[str, Result]] = {}
    details: dict[RowKey, dict[str, Any]] = {}
    failures: list[Failure] = []
    watched = True
    notes: list[str] = []
    origins: list[Mapping[str, Any]] = []
    wrong: list[str] = []
    shards = list(parts)
    for where, session in shards:
        if session.baseline_note:
            notes.append(session.baseline_note)
        watched = watched and session.watched
        failures += session.failures
        if session.origin is not None:
            origins.append(session.origin)
        for result in session.results():
            key = result.key
            for name, rows in session.details(result).items():
                details.setdefault(key, {}).setdefault(name, rows)
            if key not in found:
                found[key] = where, result
                continue
            first, other = found[key]
            merged, contradictions = _merged(other, result)
            found[key] = first, merged
            wrong += [f"{first} and {where}: {subject(result)}: {c}" for c in contradictions]
    if wrong:
        raise DocumentError(
            "the reports disagree; they are not shards of one run, or a figure is not the same "
            "each time:\n" + "\n".join(f"  {line}" for line in wrong)
        )
    whole = Session(
        baseline_note="; ".join(dict.fromkeys(notes)),
        origin=_merged_origin(origins) if origins else None,
        watched=watched,
        failures=list(dict.fromkeys(failures)),
        baseline_outcome=worst(
            part.baseline_outcome for _, part in shards if part.baseline_outcome is not None
        ),
        exit_status=_merged_status([part for _, part in shards]),
    )
    for _, part in shards:
        whole.add_tests(part.tests())
    for key, (_, result) in found.items():
        whole.add_result(result, details.get(key))
    return whole
