"""What a row, and a whole run, came to: decided here, and nowhere else.

Tables, matrices, headlines, reports and the comment of the action show what stands here; pytest's
exit status is one of the things that it is made from. A failed test makes the rows red that its
failure is about: those with a verdict that the failure names, else all that the test used. A check
that did not pass and failed no test (an expected failure, a figure that may be missing, samples
that decide nothing) is never green either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pytest_edgequant.outcomes import worst
from pytest_edgequant.records import Change, Failure, GateTest, Outcome, Result, RowKey
from pytest_edgequant.results.session import Session

SKIPPED_CHECK = "runs"
"""The check of variants that a target can't run and that nobody asked for by name."""
_GOOD = (Outcome.PASS, Outcome.NOT_APPLICABLE)


@dataclass(frozen=True)
class Cause:
    """Something that is not right: an outcome, by which check ("" for a test as such), and tests.

    `failed` is whether it fails the run.
    """

    outcome: Outcome
    check: str
    message: str
    failed: bool = False
    tests: tuple[str, ...] = ()


@dataclass(frozen=True)
class Standing:
    """What a row, or a run, came to.

    `outcome` is the worst of it, None where nothing was judged; `failed` is whether it fails the
    run. `causes` are what is not right, `accepted` and `informational` the regressions that fail
    nothing because somebody said so. `notes` are what verdicts have to say beside them, a pass too:
    how few the samples were.
    """

    outcome: Outcome | None
    failed: bool = False
    causes: tuple[Cause, ...] = ()
    accepted: tuple[Change, ...] = ()
    informational: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether all that was judged passed, with nothing to add."""
        if self.failed or self.outcome is not Outcome.PASS:
            return False
        return not (self.causes or self.accepted or self.informational)

    @property
    def deciding(self) -> tuple[Cause, ...]:
        """The causes that the outcome is from."""
        return tuple(
            cause
            for cause in self.causes
            if cause.outcome is self.outcome and cause.failed is self.failed
        )


def is_neutral(outcome: Outcome, check: str) -> bool:
    """Whether a verdict gates nothing: not applicable, or of what was skipped for its target."""
    return outcome is Outcome.NOT_APPLICABLE or (
        outcome is Outcome.CANNOT_RUN and check == SKIPPED_CHECK
    )


@dataclass
class _Row:
    result: Result
    causes: list[Cause] = field(default_factory=list)

    def add(self, cause: Cause) -> None:
        """Add a cause; the same one, said by several tests, is one that fails if any does."""
        for position, known in enumerate(self.causes):
            if (known.check, known.message) == (cause.check, cause.message):
                self.causes[position] = dataclasses.replace(
                    known,
                    failed=known.failed or cause.failed,
                    tests=tuple(dict.fromkeys([*known.tests, *cause.tests])),
                )
                return
        self.causes.append(cause)

    def bad(self) -> Iterator[Cause]:
        """The checks that did not pass, as causes that fail nothing yet."""
        for verdict in self.result.verdicts:
            if verdict.verdict not in _GOOD and not is_neutral(verdict.verdict, verdict.check):
                yield Cause(verdict.verdict, verdict.check, verdict.message)

    def standing(self) -> Standing:
        red = [cause.outcome for cause in self.causes if cause.failed]
        outcomes = [v.verdict for v in self.result.verdicts]
        outcomes += [cause.outcome for cause in self.causes]
        return Standing(
            worst(red or outcomes),
            bool(red),
            tuple(self.causes),
            tuple(change for change in self.result.changes if change.accepted),
            tuple(change for change in self.result.changes if change.informational),
            tuple(dict.fromkeys(v.note for v in self.result.verdicts if v.note)),
        )


class Standings:
    """The standing of every row, and of the run, as a session is now.

    `unplaced` are failed tests that used no row. `run` is the worst of rows, tests and what pytest
    itself ended with.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.results: Sequence[Result] = list(session.results())
        self._rows = {result.key: _Row(result) for result in self.results}
        self.unplaced: list[Cause] = []
        self._tests = {test.test: test for test in session.tests()}
        for failure in sorted(session.failures, key=lambda f: (f.test, f.message)):
            self._blame(failure)
        for test in self._tests.values():
            if test.state == "xfailed":
                self._excuse(test)
        for row in self._rows.values():
            self._own(row)
        self.rows = {key: row.standing() for key, row in self._rows.items()}
        self.run = self._run()

    def of(self, result: Result) -> Standing:
        return self.rows[result.key]

    def _explained(self, rows: Iterable[_Row], message: str) -> list[tuple[_Row, Cause]]:
        """The checks that a failure is about: it has their messages."""
        return [
            (row, cause)
            for row in rows
            for cause in row.bad()
            if cause.message and cause.message in message
        ]

    def _used(self, keys: Iterable[RowKey]) -> list[_Row]:
        return [self._rows[key] for key in keys if key in self._rows]

    def _blame(self, failure: Failure) -> None:
        test = self._tests.get(failure.test)
        # Of reports from before tests were kept, the message alone tells.
        rows = list(self._rows.values()) if test is None else self._used(test.rows)
        by = (failure.test,)
        explained = self._explained(rows, failure.message)
        for row, cause in explained:
            row.add(dataclasses.replace(cause, failed=True, tests=by))
        if explained:
            return
        cause = Cause(Outcome.FAIL, "", failure.message, True, by)
        if test is None or not rows:
            self.unplaced.append(cause)
            return
        for row in rows:
            row.add(cause)

    def _excuse(self, test: GateTest) -> None:
        """An expected failure: not red, and no pass of the rows that it is about."""
        rows = self._used(test.rows)
        explained = self._explained(rows, test.message)
        for row, cause in explained:
            row.add(dataclasses.replace(cause, tests=(test.test,)))
        for row in [] if explained else rows:
            row.add(Cause(Outcome.FAIL, "", test.message, False, (test.test,)))

    def _own(self, row: _Row) -> None:
        """What the row itself knows: checks that failed no test, and its regressions."""
        watched = self._session.watched
        for cause in row.bad():
            failed = not watched and cause.outcome is not Outcome.INCONCLUSIVE
            row.add(dataclasses.replace(cause, failed=failed))
        for change in row.result.changes:
            if change.verdict is Outcome.FAIL:
                row.add(Cause(Outcome.FAIL, f"{change.metric} regressed", change.message, True))
            elif change.verdict in (Outcome.INCONCLUSIVE, Outcome.UNAVAILABLE):
                what = f"{change.metric} against the baseline"
                row.add(Cause(change.verdict, what, change.message))

    def _run(self) -> Standing:
        session = self._session
        own = [cause for row in self._rows.values() for cause in row.causes]
        causes = [*self.unplaced, *own]
        if session.baseline_outcome not in (None, *_GOOD):
            assert session.baseline_outcome is not None
            failed = session.baseline_outcome is Outcome.FAIL
            causes.append(
                Cause(session.baseline_outcome, "baseline", session.baseline_note, failed)
            )
        failed = any(cause.failed for cause in causes) or bool(session.exit_status)
        # A failure that was expected, or caught, leaves a run that passed, and says so.
        open_ = [c.outcome for c in causes if c.outcome not in (Outcome.FAIL, Outcome.CANNOT_RUN)]
        passed = any(v.verdict is Outcome.PASS for r in self.results for v in r.verdicts)
        other = worst(open_) or (Outcome.PASS if passed else Outcome.NOT_APPLICABLE)
        return Standing(
            Outcome.FAIL if failed else other,
            failed,
            tuple(causes),
            tuple(change for row in self.rows.values() for change in row.accepted),
            tuple(change for row in self.rows.values() for change in row.informational),
        )
