"""Random runs of pytest, as the reports that they would make, with what must come of them.

What must come of a row or a run is told here from what was simulated, by rules of its own: `bad`,
`unsure`, `good`, or `plain` where nothing was judged.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from pytest_edgequant.plugin.outcomes import add_report
from pytest_edgequant.records import Change, Outcome
from pytest_edgequant.results.session import Event, Session

Row = tuple[str, str, str]
# Out of alphabetical order; "host" may have no row of a variant that another target has.
ROWS: tuple[Row, ...] = tuple(
    (model, target, variant)
    for model in ("wake", "digits")
    for target in ("rpi4", "nano33ble", "esp32")
    for variant in ("int8", "float32")
)
BAD = (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.UNAVAILABLE, Outcome.CANNOT_RUN)
ENDS = (
    *("passed",) * 8,
    *("raised", "raised", "asserted", "setup", "setup before", "teardown", "crash"),
    *("expected", "expected otherwise", "xpassed", "xpassed strict", "skipped", "caught"),
)


def _event(kind: str, row: Row, **details: Any) -> Event:
    model, target, variant = row
    return {"kind": kind, "model": model, "target": target, "variant": variant, **details}


def check(row: Row, name: str, outcome: Outcome, message: str, skipped: bool = False) -> Event:
    verdict = {"check": name, "verdict": outcome.value, "message": message, "limit": 1, "value": 2}
    return _event("verdict", row, verdict=verdict, skipped=skipped)


def report(
    test: str, when: str, outcome: str, events: Sequence[Event] = (), **more: Any
) -> pytest.TestReport:
    """A report as the controller has it; `message` is what a failure came to."""
    made = pytest.TestReport(
        test,
        ("test_it.py", 2, test),
        {},
        outcome,
        more.get("message"),
        when,  # type: ignore[arg-type]
    )
    if when != "???":
        made.edgequant_gate = True  # type: ignore[attr-defined]
    if events:
        made.edgequant_events = list(events)  # type: ignore[attr-defined]
    if "message" in more and when != "???":
        made.edgequant_failure = {  # type: ignore[attr-defined]
            "test": test, "file": "test_it.py", "line": 3, "message": more["message"],
        }  # fmt: skip
    if more.get("xfail"):
        made.wasxfail = "known"  # type: ignore[attr-defined]
    return made


def feed(session: Session, reports: Sequence[pytest.TestReport]) -> None:
    """Give the reports to a session as the plugin does."""
    for each in reports:
        add_report(session, each)


@dataclass
class Simulated:
    """One run: reports by test, regressions by row, and what must come of it."""

    seed: int
    tests: dict[str, list[pytest.TestReport]] = field(default_factory=dict)
    changes: dict[Row, list[Change]] = field(default_factory=dict)
    rows: dict[Row, set[str]] = field(default_factory=dict)
    baseline: Outcome | None = None
    lost: bool = False
    exit_status: int = 0
    gated: int = 0

    def tone(self, row: Row) -> str:
        # What can't run on its target is not green for what passed beside.
        found = self._of(self.rows[row])
        return "plain" if found == "good" and "refused" in self.rows[row] else found

    @staticmethod
    def _of(tones: set[str]) -> str:
        return next((t for t in ("bad", "unsure", "good") if t in tones), "plain")

    @property
    def run(self) -> str:
        """Red exactly where pytest says so."""
        if self.exit_status:
            return "bad"
        tones = {tone for own in self.rows.values() for tone in own}
        return self._of(tones | ({"unsure"} if self.baseline is Outcome.INCONCLUSIVE else set()))

    def session(self, part: int | None = None) -> Session:
        """What the plugin makes of it, or of every second test."""
        session = Session(watched=True, exit_status=self.exit_status)
        for number, reports in enumerate(self.tests.values()):
            if part is None or number % 2 == part:
                feed(session, reports)
        known = {(r.model, r.target or "", r.variant) for r in session.results()}
        for row, changes in self.changes.items():
            if row in known:
                session.add_changes(row, changes)
        session.baseline_note = "compared with base.json"
        session.baseline_outcome = self.baseline
        return session


class _Maker:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.made = Simulated(seed)

    def _mark(self, rows: Sequence[Row], tone: str) -> None:
        for row in rows:
            self.made.rows.setdefault(row, set()).add(tone)

    def checks(self, test: str, rows: Sequence[Row], bad: bool) -> list[Event]:
        """Checks on rows, which passed; with `bad` one of the first row did not."""
        events = [_event("variant", row, notes=[]) for row in rows]
        self._mark(rows, "plain")
        for row in rows:
            for name in self.random.sample(("size", "arena", "ops"), self.random.randrange(3)):
                outcome = self.random.choice((Outcome.PASS, Outcome.PASS, Outcome.NOT_APPLICABLE))
                events.append(check(row, name, outcome, f"{name} of {row} in {test}"))
                self._mark([row], "good" if outcome is Outcome.PASS else "plain")
                self.made.gated += outcome is Outcome.PASS
        if bad:
            outcome = self.random.choice(BAD)
            events.append(check(rows[0], "drop", outcome, f"broken drop of {rows[0]} in {test}"))
            self.made.gated += 1
        return events

    def test(self, number: int) -> None:
        test = f"test_it.py::test_{self.random.randrange(1000)}_{number}"
        end = self.random.choice(ENDS)
        rows = self.random.sample(ROWS, self.random.randrange(1, 3))
        reports: list[pytest.TestReport] = []
        if self.random.random() < 0.2:
            # What an attempt came to that was not the last does not count.
            lost = [check(rows[0], "flaky", Outcome.FAIL, f"flaky {test}")]
            reports += [
                report(test, "setup", "passed"),
                report(test, "call", "rerun", lost, message=f"flaky {test}"),
            ]
        reports += getattr(self, f"_{end.replace(' ', '_')}")(test, rows)
        self.made.tests[test] = reports

    def _whole(self, test: str, events: Sequence[Event], outcome: str, **more: Any) -> Any:
        return [
            report(test, "setup", "passed", events[:1]),
            report(test, "call", outcome, events[1:], **more),
            report(test, "teardown", "passed"),
        ]

    def _fail(self) -> None:
        self.made.exit_status = 1

    def _passed(self, test: str, rows: list[Row]) -> Any:
        return self._whole(test, self.checks(test, rows, bad=False), "passed")

    def _raised(self, test: str, rows: list[Row]) -> Any:
        events = self.checks(test, rows, bad=True)
        self._mark(rows[:1], "bad")
        self._fail()
        return self._whole(test, events, "failed", message=f"X: broken drop of {rows[0]} in {test}")

    def _asserted(self, test: str, rows: list[Row]) -> Any:
        events = self.checks(test, rows, bad=False)
        self._mark(rows, "bad")
        self._fail()
        return self._whole(test, events, "failed", message=f"assert 1 == 2 {test}")

    def _setup(self, test: str, rows: list[Row]) -> Any:
        self._mark(rows, "bad")
        self._fail()
        events = [_event("used", row) for row in rows]
        return [report(test, "setup", "failed", events, message=f"ConversionError: {test}")]

    def _setup_before(self, test: str, rows: list[Row]) -> Any:
        self.made.lost = True
        self._fail()
        return [report(test, "setup", "failed", message=f"no model: {test}")]

    def _teardown(self, test: str, rows: list[Row]) -> Any:
        events = self.checks(test, rows, bad=False)
        self._mark(rows, "bad")
        self._fail()
        made = self._whole(test, events, "passed")
        return [*made[:2], report(test, "teardown", "failed", message=f"OSError {test}")]

    def _crash(self, test: str, rows: list[Row]) -> Any:
        events = self.checks(test, rows, bad=False)
        self._mark(rows, "bad")
        self._fail()
        return [
            report(test, "setup", "passed", events),
            report(test, "???", "failed", message=f"worker 'gw0' crashed while running {test}"),
        ]

    def _expected(self, test: str, rows: list[Row]) -> Any:
        events = self.checks(test, rows, bad=True)
        self._mark(rows[:1], "unsure")
        message = f"broken drop of {rows[0]} in {test}"
        return self._whole(test, events, "skipped", message=message, xfail=True)

    def _expected_otherwise(self, test: str, rows: list[Row]) -> Any:
        events = self.checks(test, rows, bad=False)
        self._mark(rows, "unsure")
        return self._whole(test, events, "skipped", message=f"KeyError {test}", xfail=True)

    def _xpassed(self, test: str, rows: list[Row]) -> Any:
        return self._whole(test, self.checks(test, rows, bad=False), "passed", xfail=True)

    def _xpassed_strict(self, test: str, rows: list[Row]) -> Any:
        events = self.checks(test, rows, bad=False)
        self._mark(rows, "bad")
        self._fail()
        return self._whole(test, events, "failed", message=f"[XPASS(strict)] {test}")

    def _skipped(self, test: str, rows: list[Row]) -> Any:
        self._mark(rows[:1], "refused")
        reason = f"{rows[0]} cannot run {test}"
        events = [check(rows[0], "runs", Outcome.CANNOT_RUN, reason, skipped=True)]
        return [report(test, "setup", "skipped", events)]

    def _caught(self, test: str, rows: list[Row]) -> Any:
        """The test goes on after a check that did not pass (pytest.raises, allow_unavailable)."""
        self._mark(rows[:1], "unsure")
        return self._whole(test, self.checks(test, rows, bad=True), "passed")

    def regressions(self) -> None:
        kinds = {
            "fail": ("bad", Outcome.FAIL, {}),
            "open": ("unsure", self.random.choice(BAD[1:3]), {}),
            "fine": ("plain", Outcome.PASS, {}),
            "accepted": ("unsure", Outcome.PASS, {"accepted": "until 2030-01-31: later"}),
            "shown": ("unsure", Outcome.NOT_APPLICABLE, {"informational": True}),
        }
        for row in list(self.made.rows):
            for metric in self.random.sample(("accuracy", "size_bytes"), self.random.randrange(3)):
                kind = self.random.choice((*kinds, "fine", "fine", "fine"))
                tone, outcome, more = kinds[kind]
                change = Change(
                    metric,
                    "",
                    0.9,
                    0.8,
                    outcome,
                    f"{metric} of {row}",
                    **more,  # type: ignore[arg-type]
                )
                self.made.changes.setdefault(row, []).append(change)
                self._mark([row], tone)
                if tone == "bad":
                    self._fail()

    def run(self) -> Simulated:
        for number in range(self.random.randrange(1, 6)):
            self.test(number)
        if self.random.random() < 0.5:
            self.regressions()
        if self.random.random() < 0.1:
            self.made.baseline = self.random.choice((Outcome.INCONCLUSIVE, Outcome.FAIL))
            if self.made.baseline is Outcome.FAIL:
                self._fail()
        if self.random.random() < 0.1:
            self._fail()  # a test that has nothing to do with the plugin
        if self.random.random() < 0.3 and not self.made.gated and not self.made.exit_status:
            self.made.exit_status = 5
        return self.made


def simulate(seed: int) -> Simulated:
    """The run of a seed: always the same."""
    return _Maker(seed).run()
