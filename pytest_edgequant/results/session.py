"""What a run found out: the events of its tests (see `recording`), merged into results."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_edgequant import context
from pytest_edgequant.records import (
    STATES,
    Change,
    Failure,
    GateTest,
    ModelFile,
    Outcome,
    Result,
    RowKey,
    Target,
)
from pytest_edgequant.results.gathered import HANDLERS, Event, Gathered, Key, Rows, key_of
from pytest_edgequant.wording import bounded, portable

_PLACED = ("file", "model", "samples")
"""What holds no text for people: a file's path must stay what it is."""


def _told(value: Any) -> Any:
    """Text as reports show it, in whatever holds it: without this machine's folders, and short."""
    if isinstance(value, str):
        return bounded(portable(value, context.root or os.getcwd()))
    if isinstance(value, dict):
        return {key: _told(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_told(entry) for entry in value]
    return value


@dataclass
class Session:
    """Everything recorded in a run, merged by model, target, variant and file.

    `baseline_note` says what the run was compared with, or why it was not; empty without a
    baseline; `baseline_outcome` is what that comes to beside the changes of single figures
    (INCONCLUSIVE where nothing could be compared). `origin` is what made the results (`tool`,
    `environment`) where they were read back. `failures` are the tests that failed, all of them
    where the run is `watched`; of results that were read back only the verdicts may be known.
    `exit_status` is pytest's, None where it is not known. `targets` are the profiles that the run
    was given, by name; of results that were read back they are not known. `made` is the commit and
    the date of this run, as reports tell them.
    """

    damaged: int = 0
    unkept: str = ""
    baseline_note: str = ""
    baseline_outcome: Outcome | None = None
    origin: Mapping[str, Any] | None = None
    watched: bool = False
    failures: list[Failure] = field(default_factory=list)
    exit_status: int | None = None
    targets: Mapping[str, Target] = field(default_factory=dict)
    made: Mapping[str, str] = field(default_factory=dict)
    _events: dict[str, list[Event]] = field(default_factory=dict)
    _ends: dict[str, tuple[str, str]] = field(default_factory=dict)
    _read: list[tuple[Result, Mapping[str, Any]]] = field(default_factory=list)
    _read_tests: list[GateTest] = field(default_factory=list)
    _changes: dict[Key, list[Change]] = field(default_factory=dict)
    _samples: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    _datasets: dict[str, str] = field(default_factory=dict)
    _merged: Rows | None = None

    # -- what a run adds ----------------------------------------------------------------------

    def add(self, events: Iterable[Event], test: str = "") -> None:
        """Take the events of a test, given by its node id.

        Where several tests recorded the same figure, a measured one stands before an estimate, and
        that of the last test by name, so that the order in which they ran does not matter.
        """
        for event in events:
            if event["kind"] == "cache":
                self.damaged += event["damaged"]
                self.unkept = self.unkept or event.get("unkept", "")
                continue
            if event["kind"] == "dataset":
                # Once in a run, whoever asked: it stays when a test is run again.
                self._datasets[event["dataset"]] = event["hashes"]
                continue
            HANDLERS[event["kind"]]  # an unknown kind stops here
            if event["kind"] not in _PLACED:
                event = _told(event)
            if event["kind"] == "samples":
                # Tests that evaluated the same have equal ones, which can be long: kept once.
                packed = event["samples"]
                kept = self._samples.setdefault(tuple(sorted(packed.items())), packed)
                event = {**event, "samples": kept}
            self._events.setdefault(test, []).append(event)
        self._merged = None

    def begin(self, test: str) -> None:
        """A test begins; what an earlier attempt of it came to no longer counts."""
        if test in self._ends or test in self._events:
            self._ends.pop(test, None)
            self._events.pop(test, None)
            self.failures[:] = [failure for failure in self.failures if failure.test != test]
            self._merged = None

    def end(self, test: str, state: str, message: str = "") -> None:
        """How a phase of a test ended, one of `STATES`; the worst of its phases stands."""
        before, said = self._ends.get(test, (STATES[0], ""))
        worse = max(before, state, key=STATES.index)
        self._ends[test] = worse, _told(message) or said

    def fail(self, failure: Failure, state: str = "failed") -> None:
        """A phase of a test failed."""
        self.end(failure.test, state)
        self.failures.append(dataclasses.replace(failure, message=_told(failure.message)))

    def has_failed(self, test: str) -> bool:
        """Whether a failure of the test is known."""
        return any(failure.test == test for failure in self.failures)

    def add_changes(self, key: Key, changes: Iterable[Change]) -> None:
        """Differences to the baseline of one (model, target, variant); no target is ""."""
        self._changes.setdefault(key, []).extend(changes)
        self._merged = None

    def add_result(
        self, result: Result, details: Mapping[str, Sequence[Mapping[str, Any]]] | None = None
    ) -> None:
        """A whole result and the tables under it, as they were read back from a report."""
        self._read.append((result, details or {}))
        self._merged = None

    def add_tests(self, tests: Iterable[GateTest]) -> None:
        """How tests ended, as it was read back from a report."""
        self._read_tests += tests

    # -- what is known of it ------------------------------------------------------------------

    @property
    def _rows(self) -> Rows:
        if self._merged is None:
            self._merged = Rows(self._events, self._read, self._changes)
        return self._merged

    @property
    def gated(self) -> int:
        """The checks that were judged; what was skipped or not applicable is none."""
        return sum(row.gated for row in self._rows.rows.values())

    def tests(self) -> list[GateTest]:
        """The tests that used the plugin, by node id."""
        rows = self._rows
        found: dict[str, GateTest] = {}
        for test in self._read_tests:
            other = found.get(test.test, test)
            whole = max(test, other, key=lambda t: STATES.index(t.state))
            used = tuple(dict.fromkeys([*other.rows, *test.rows]))
            found[test.test] = dataclasses.replace(whole, rows=used)
        for test_id, (state, message) in self._ends.items():
            rows_used = dict.fromkeys(
                row
                for event in self._events.get(test_id, ())
                for row in rows.of(key_of(event), event.get("identity") or "")
            )
            found[test_id] = GateTest(test_id, state, tuple(rows_used), message)
        return [found[test_id] for test_id in sorted(found)]

    def has(self, result: Result) -> bool:
        """Whether there is a result of this model, target, variant and file."""
        return result.key in self._rows.rows

    def results(self) -> Iterator[Result]:
        """One result a model, target, variant and file, in an order that no order of tests has."""
        from pytest_edgequant.forms import VARIANTS

        position = {name: i for i, name in enumerate(VARIANTS)}

        def order(key: RowKey) -> tuple[str, str, int, str, str]:
            model, target, variant, file = key
            return model, target, position.get(variant, len(position)), variant, file

        several = set(self.ambiguous())
        for key in sorted(self._rows.rows, key=order):
            model, target, variant, file = key
            row = self._rows.rows[key]
            yield Result(
                model,
                variant,
                target or None,
                dict(sorted(row.metrics.items())),
                sorted(row.verdicts, key=lambda v: (v.check, str(v.limit), v.message)),
                sorted(row.notes),
                sorted(row.changes, key=lambda c: c.metric),
                file,
                (model, target, variant) in several,
            )

    def ambiguous(self) -> list[Key]:
        """The (model, target, variant) that more than one file had in this run."""
        return list(self._rows.ambiguous())

    def kept(self) -> Iterator[tuple[Key, Gathered]]:
        """The rows with figures, of names that one file alone had: a baseline knows names."""
        several = set(self.ambiguous())
        for key, row in self._rows.rows.items():
            if row.metrics and key[:3] not in several:
                yield key[:3], row

    def hashes(self) -> Mapping[str, str]:
        """Which samples were evaluated, packed, by the digest of the dataset."""
        return self._datasets

    def details(self, result: Result) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """The tables that were recorded under a result, by name."""
        row = self._rows.rows.get(result.key)
        return dict(sorted(row.details.items())) if row is not None else {}

    def model_file(self, result: Result) -> ModelFile | None:
        """Where the .tflite of a result is; None where no report asked for it.

        Of several files that hold the same it is the one with the last fingerprint, so that the
        order of tests does not matter.
        """
        row = self._rows.rows.get(result.key)
        return row.files[max(row.files)] if row is not None and row.files else None

    def float32_sizes(self) -> Mapping[str, float | int]:
        """Bytes of each model's float32 file, where a test has had it, and one alone."""
        sizes: dict[str, set[float | int]] = {}
        for (model, _, variant, _), row in self._rows.rows.items():
            size = row.metrics.get("size_bytes")
            if variant == "float32" and size is not None and size.value is not None:
                sizes.setdefault(model, set()).add(size.value)
        return {model: found.pop() for model, found in sizes.items() if len(found) == 1}
