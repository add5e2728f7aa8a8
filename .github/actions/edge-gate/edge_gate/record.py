"""gate.json: what a run of the gate says of itself, and reading it from anybody."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from edge_gate.errors import ActionError
from edge_gate.event import commit

SCHEMA = "edge-gate/1"
_VERDICTS = {
    0: ("passed", "all checks passed"),
    1: ("failed", "at least one check failed"),
    2: ("broken", "pytest was interrupted, or tests could not be collected"),
    3: ("broken", "pytest stopped with an internal error"),
    4: ("broken", "pytest could not run with these options"),
    5: ("broken", "nothing was gated"),
}
_MAX_TEXT = 500
_SINCE = ("summary", "clean")


def read_verdict(content: bytes | None) -> tuple[str, bool]:
    """The headline of a JSON report, and whether it says nothing but that all passed.

    Nothing of a report that is not there, or that is of a package from before it had a headline.
    """
    try:
        report = json.loads(content or b"")
    except (ValueError, RecursionError):
        report = None
    verdict = report.get("verdict") if isinstance(report, dict) else None
    if not isinstance(verdict, dict) or not isinstance(verdict.get("text"), str):
        return "", True
    remarks = verdict.get("remarks")
    said = [str(remark) for remark in remarks] if isinstance(remarks, list) else []
    return verdict["text"] + (f" ({'; '.join(said)})" if said else ""), verdict.get("clean") is True


def verdict_of(code: int) -> str:
    """passed, failed, or broken (nothing was judged) for an exit code of pytest."""
    return _VERDICTS.get(code, ("broken", ""))[0]


@dataclass(frozen=True)
class Record:
    """One run of the gate. `head` is the commit of the pull request, not of its merge.

    `summary` is the headline of the run's own report, empty where it left none; `clean` tells
    whether that says nothing but that all passed.
    """

    name: str
    target: str
    exit_code: int
    baseline: str
    number: int | None
    head: str
    tool: str
    summary: str = ""
    clean: bool = True

    @property
    def verdict(self) -> str:
        return verdict_of(self.exit_code)

    @property
    def explanation(self) -> str:
        """Why: in words of the report, which anybody may have written, where pytest agrees."""
        if self.summary and self.summary.startswith("failed") is (self.exit_code != 0):
            return self.summary
        return _VERDICTS.get(self.exit_code, ("", f"pytest ended with {self.exit_code}"))[1]

    def document(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **dataclasses.asdict(self)}


def _short(value: object) -> str:
    try:
        return f"{value!r:.60}"
    except RecursionError:  # lists in lists
        return type(value).__name__


def read_record(content: bytes | None, where: str) -> Record:
    """The record in a gate.json that anybody may have written. Raises `ActionError`."""
    if content is None:
        raise ActionError(f"{where}: no gate.json")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ActionError(f"{where}: gate.json is not a JSON object")
    if document.get("schema") != SCHEMA:
        raise ActionError(f"{where}: gate.json has the schema {_short(document.get('schema'))}")
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Record):
        value = document.get(field.name)
        if field.name in _SINCE and value is None:
            continue  # of an action from before there was such a field
        if field.name == "exit_code":
            right = type(value) is int and -255 <= value <= 2**32
        elif field.name == "number":
            right = value is None or (type(value) is int and 0 < value < 2**53)
        elif field.name == "clean":
            right = type(value) is bool
        elif field.name == "head":
            right = commit(value) is not None
        else:
            right = isinstance(value, str)
            value = value[:_MAX_TEXT] if isinstance(value, str) else value
        if not right:
            raise ActionError(f"{where}: gate.json: {field.name} is {_short(value)}")
        values[field.name] = value
    return Record(**values)
