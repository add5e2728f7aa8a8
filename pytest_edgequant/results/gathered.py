"""The events of a run merged into rows: one a model, target, variant and file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_edgequant.records import (
    Change,
    Metric,
    ModelFile,
    Outcome,
    Result,
    RowKey,
    Verdict,
)

Event = dict[str, Any]
Key = tuple[str, str, str]
"""Model, target ("" for none), variant: what has one row, but for files of the same name."""

_GATED = {Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.UNAVAILABLE, Outcome.CANNOT_RUN}


def trust(metric: Metric) -> int:
    """What stands for a figure where several are recorded: measured before estimated, then none."""
    if metric.value is None:
        return 0
    return 1 if metric.provenance.startswith("estimated") else 2


def is_gated(outcome: Outcome) -> bool:
    """Whether a check with this outcome was judged at all."""
    return outcome in _GATED


def key_of(event: Event) -> Key:
    """The row that an event is about, by names."""
    return event["model"], event["target"] or "", event["variant"]


@dataclass
class Gathered:
    """What is known of one row."""

    metrics: dict[str, Metric] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    samples: dict[str, dict[str, Any]] = field(default_factory=dict)
    fingerprint: str | None = None
    ranks: dict[str, tuple[int, str]] = field(default_factory=dict)
    details: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    files: dict[str, ModelFile] = field(default_factory=dict)
    gated: int = 0

    def stands(self, what: str, test: str, trusted: int = 0) -> bool:
        """Whether what a test recorded stands: nothing more trusted, or of a later test, has."""
        rank = (trusted, test)
        if rank < self.ranks.get(what, (0, "")):
            return False
        self.ranks[what] = rank
        return True


def _used(row: Gathered, event: Event, test: str) -> None:
    """A test was about this row, whether or not it came to have the variant."""


def _variant(row: Gathered, event: Event, test: str) -> None:
    row.notes += [note for note in event["notes"] if note not in row.notes]


def _metric(row: Gathered, event: Event, test: str) -> None:
    metric = Metric(**event["metric"])
    if row.stands(event["name"], test, trust(metric)):
        row.metrics[event["name"]] = metric


def _samples(row: Gathered, event: Event, test: str) -> None:
    if row.stands(f"samples of {event['name']}", test):
        row.samples[event["name"]] = event["samples"]


def _model(row: Gathered, event: Event, test: str) -> None:
    if row.stands("model", test):
        row.fingerprint = event["fingerprint"]


def _details(row: Gathered, event: Event, test: str) -> None:
    if row.stands(f"details {event['name']}", test):
        row.details[event["name"]] = event["rows"]


def _file(row: Gathered, event: Event, test: str) -> None:
    row.files[event["fingerprint"]] = ModelFile(
        event["fingerprint"], event["path"], event["content"]
    )


def _verdict(row: Gathered, event: Event, test: str) -> None:
    details = event["verdict"]
    verdict = Verdict(**{**details, "verdict": Outcome(details["verdict"])})
    if verdict not in row.verdicts:
        row.verdicts.append(verdict)
    if not event["skipped"] and is_gated(verdict.verdict):
        row.gated += 1


HANDLERS: Mapping[str, Callable[[Gathered, Event, str], None]] = {
    "used": _used,
    "variant": _variant,
    "metric": _metric,
    "samples": _samples,
    "model": _model,
    "details": _details,
    "file": _file,
    "verdict": _verdict,
}
"""What each kind of event does to its row."""


def _add_result(row: Gathered, result: Result, details: Mapping[str, Any]) -> None:
    row.metrics.update(result.metrics)
    row.verdicts += [verdict for verdict in result.verdicts if verdict not in row.verdicts]
    row.notes += [note for note in result.notes if note not in row.notes]
    row.changes += result.changes
    row.details.update({name: [dict(line) for line in rows] for name, rows in details.items()})
    row.gated += sum(is_gated(verdict.verdict) for verdict in result.verdicts)


class Rows:
    """All rows of a run.

    What is known of a variant without its file (it was refused before it was made, or compared
    with a baseline that knows names alone) belongs to all files of that name.
    """

    def __init__(
        self,
        events: Mapping[str, Iterable[Event]],
        read: Iterable[tuple[Result, Mapping[str, Any]]],
        changes: Mapping[Key, Iterable[Change]],
    ) -> None:
        self.rows: dict[RowKey, Gathered] = {}
        self.files: dict[Key, set[str]] = {}
        read = list(read)
        for told in events.values():
            for event in told:
                self._name(key_of(event), event.get("identity") or "")
        for result, _ in read:
            self._name((result.model, result.target or "", result.variant), result.file)
        for test, told in events.items():
            for event in told:
                for row in self.of(key_of(event), event.get("identity") or ""):
                    HANDLERS[event["kind"]](self._at(row), event, test)
        for result, details in read:
            for row in self.of((result.model, result.target or "", result.variant), result.file):
                _add_result(self._at(row), result, details)
        for key, found in changes.items():
            for row in self.of(key, ""):
                self._at(row).changes.extend(found)

    def _name(self, key: Key, file: str) -> None:
        known = self.files.setdefault(key, set())
        if file:
            known.add(file)

    def _at(self, row: RowKey) -> Gathered:
        return self.rows.setdefault(row, Gathered())

    def of(self, key: Key, file: str) -> list[RowKey]:
        """The rows that something is about: that of the file, else all of the name."""
        return [(*key, name) for name in ([file] if file else sorted(self.files.get(key, ())))] or [
            (*key, "")
        ]

    def ambiguous(self) -> Iterator[Key]:
        """The names that more than one file had."""
        yield from (key for key in sorted(self.files) if len(self.files[key]) > 1)
