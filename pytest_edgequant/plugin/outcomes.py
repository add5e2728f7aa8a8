"""How tests ended: told as plain data where a test runs, taken into the session from there."""

from __future__ import annotations

import dataclasses
import linecache
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_edgequant.errors import EdgeAssertionError, EdgeQuantError
from pytest_edgequant.records import Failure
from pytest_edgequant.results.gathered import Event
from pytest_edgequant.results.session import Session

_MOST_DECORATORS = 100
"""Lines of decorators that are looked through for the test below them."""
_MARKED = re.compile(r"E(?: {3}|$)").match
_recorded_key: pytest.StashKey[bool] = pytest.StashKey()


def told(account: str) -> str:
    """What failed, of an account of a failure as pytest prints it: its lines marked with `E`.

    The source around them and the marks are for terminals; an account without marks is as it is.
    """
    lines = [line[1:].removeprefix("   ") for line in account.splitlines() if _MARKED(line)]
    return "\n".join(lines) if lines else account


def tell(
    item: pytest.Item,
    report: pytest.TestReport,
    call: pytest.CallInfo[None],
    events: Sequence[Event],
) -> None:
    """Let the report of a test that uses the plugin say so, and what a failure came to.

    As plain data, which xdist carries to the controller.
    """
    if _is_gate(item, events):
        report.edgequant_gate = True  # type: ignore[attr-defined]
        if report.failed or hasattr(report, "wasxfail"):
            report.edgequant_failure = _failure(item, report, call)  # type: ignore[attr-defined]


def _is_gate(item: pytest.Item, events: Sequence[Event]) -> bool:
    """Whether a test uses the plugin: by its fixtures and marker, or by what it recorded."""
    if any(event["kind"] != "cache" for event in events):
        item.stash[_recorded_key] = True
    return item.stash.get(_recorded_key, False) or item.get_closest_marker("edge") is not None


def _failure(
    item: pytest.Item, report: pytest.TestReport, call: pytest.CallInfo[None]
) -> dict[str, Any]:
    """What a failed test came to."""
    file, line, _ = report.location
    message = told(report.longreprtext)
    if call.excinfo is not None:
        error = call.excinfo.value
        # Our own errors are whole sentences; of others, pytest's own account is shorter.
        ours = isinstance(error, EdgeQuantError | EdgeAssertionError | pytest.fail.Exception)
        message = str(error) if ours else call.excinfo.exconly(tryshort=True)
    place = None if line is None else _definition(item.path, line + 1)
    failure = Failure(report.nodeid, file.replace(os.sep, "/"), place, message)
    return dataclasses.asdict(failure)


def add_report(session: Session, report: pytest.TestReport) -> None:
    """Take what a report of one phase of a test says: what was recorded, and how it ended."""
    test, died = report.nodeid, report.when not in ("setup", "call", "teardown")
    if report.when == "setup":
        session.begin(test)
    session.add(getattr(report, "edgequant_events", ()), test)
    if not (died or hasattr(report, "edgequant_gate")):
        return
    found = getattr(report, "edgequant_failure", None)
    if report.failed:
        state = "failed" if report.when == "call" else "error"
        if found is None and not died and session.has_failed(test):
            session.end(test, state)  # pytest's own word on subtests that are here already
            return
        failure = _plain_failure(report) if found is None else Failure(**found)
        session.fail(failure, state)
    elif hasattr(report, "wasxfail"):
        message = "" if found is None else found["message"]
        session.end(test, "xfailed" if report.skipped else "xpassed", message)
    elif report.skipped or report.passed:  # and not to be run again
        session.end(test, report.outcome)


def _plain_failure(report: pytest.TestReport) -> Failure:
    """The failure of a report that nobody of ours has seen: a worker died, a plugin made it."""
    file, line, _ = report.location
    place = None if line is None else line + 1
    return Failure(report.nodeid, file.replace(os.sep, "/"), place, told(report.longreprtext))


def _definition(path: Path, first: int) -> int:
    """The line of a test's `def`, from 1: pytest gives that of its first decorator."""
    for number in range(first, first + _MOST_DECORATORS):
        if linecache.getline(str(path), number).lstrip().startswith(("def ", "async def ")):
            return number
    return first
