"""What every report says first: the verdict in a line, rows in words, and what went wrong.

Plain text, that each format escapes in its own way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_edgequant.outcomes import WORST_FIRST
from pytest_edgequant.records import Change, Outcome, Result
from pytest_edgequant.report.figures import change_text, format_value
from pytest_edgequant.results.session import Session
from pytest_edgequant.results.standing import Cause, Standing, Standings, is_neutral
from pytest_edgequant.wording import counted

WORDS = {
    Outcome.PASS: "pass",
    Outcome.FAIL: "FAIL",
    Outcome.INCONCLUSIVE: "INCONCLUSIVE",
    Outcome.CANNOT_RUN: "CANNOT RUN",
    Outcome.UNAVAILABLE: "UNAVAILABLE",
    Outcome.NOT_APPLICABLE: "n/a",
}
_MOST_NAMES = 4


def change_rows(result: Result) -> Iterator[tuple[str, str, str, str, str]]:
    """Metric, before, after, difference, and what there is to say of each change."""
    for change in result.changes:
        before, after = (
            "-" if value is None else format_value(change.metric, value, change.unit)
            for value in (change.before, change.after)
        )
        said = f"{WORDS[change.verdict]}: {change.message}" if change.message else ""
        yield change.metric, before, after, change_text(change), said or WORDS[change.verdict]


CHANGE_HEADINGS = ("figure", "baseline", "now", "change", "verdict")


def tone(standing: Standing) -> str:
    """How a standing is colored: `good`, `bad`, `unsure`, or `plain` where nothing was judged."""
    if standing.failed:
        return "bad"
    if standing.clean:
        return "good"
    said = standing.causes or standing.accepted or standing.informational
    return "unsure" if said or standing.outcome is Outcome.PASS else "plain"


def test_name(test: str) -> str:
    """A node id as short as a table needs it: `test_size`."""
    return test.rpartition("::")[2].partition("[")[0] or test


def _some(names: Iterable[str], most: int = _MOST_NAMES) -> list[str]:
    ordered = sorted(names)
    more = len(ordered) - most
    return [*ordered[:most], f"{more} more"] if more > 1 else ordered


def noted(standing: Standing) -> list[str]:
    """The regressions that fail nothing because somebody said so, counted."""
    kinds = (
        (standing.accepted, "accepted regression"),
        (standing.informational, "informational regression"),
    )
    return [counted(len(changes), what) for changes, what in kinds if changes]


def _remark(change: Change) -> str:
    why = f"accepted {change.accepted}" if change.accepted else "informational"
    return f"{change.metric} {change_text(change)}, {why}"


def verdict_text(
    standing: Standing,
    words: Mapping[Outcome, str] = WORDS,
    figures: Mapping[str, str] | None = None,
) -> str:
    """A row's verdict in a few words: the outcome, by which checks, notes, what was accepted.

    `figures` say more of checks, by name.
    """
    known = figures or {}
    outcome, text = standing.outcome, "-"
    if outcome is not None:
        text = words[outcome]
        if outcome is Outcome.FAIL and not standing.failed:
            text += ", expected"
        checks = {
            known.get(c.check, c.check) or test_name(t)
            for c in standing.deciding
            for t in c.tests or ("",)
        }
        if checks and outcome is not Outcome.CANNOT_RUN:
            text += f": {', '.join(_some(checks))}"
        if standing.notes:
            text += f" ({'; '.join(standing.notes)})"
    remarks = " and ".join(noted(standing))
    if not remarks:
        return text
    return remarks if text == "-" else f"{text} with {remarks}"


def row_text(standing: Standing) -> str:
    """`verdict_text`, with what was accepted, until when and why."""
    remarks = map(_remark, (*standing.accepted, *standing.informational))
    return ": ".join(filter(None, [verdict_text(standing), "; ".join(remarks)]))


OPEN_TITLE = "What did not pass, and fails nothing"
"""Over the findings that do not fail the run."""


@dataclass(frozen=True)
class Finding:
    """Something that is not right: of a variant on a target, or of a test as such.

    `failed` is whether it fails the run. Of several boards that share it `subject` is the variant,
    `targets` are the boards.
    """

    outcome: Outcome
    subject: str
    check: str
    message: str
    tests: Sequence[str] = ()
    failed: bool = False
    targets: Sequence[str] = ()

    @property
    def tone(self) -> str:
        return "bad" if self.failed else "unsure"


def subject(result: Result) -> str:
    """A row as messages name it."""
    target = f" on {result.target}" if result.target else ""
    return f"{result.model}/{result.form}{target}"


def findings(session: Session) -> list[Finding]:
    """What failed, could not be decided or had, with the tests that say so.

    What fails the run first, tests as such before checks, the worst first.
    """
    standings = Standings(session)
    by_row = [
        (subject(result), cause)
        for result in standings.results
        for cause in standings.of(result).causes
    ]
    found = [
        Finding(c.outcome, s, c.check, c.message, c.tests, c.failed) for s, c in by_row if c.check
    ]
    tests = [*standings.unplaced, *(cause for _, cause in by_row if not cause.check)]
    as_such: dict[tuple[tuple[str, ...], str], Cause] = {(c.tests, c.message): c for c in tests}
    found += [
        Finding(c.outcome, ", ".join(c.tests), "test", c.message, c.tests, c.failed)
        for c in as_such.values()
    ]
    return sorted(
        found,
        key=lambda f: (
            (not f.failed, f.check != "test", WORST_FIRST.index(f.outcome)),
            (f.subject, f.check, f.message),
        ),
    )


def shared_findings(session: Session) -> list[Finding]:
    """The findings of a run, those one that are the same of a variant on several boards."""
    boards = {subject(r): (r, r.target) for r in Standings(session).results if r.target}
    found: dict[object, list[tuple[Finding, str | None]]] = {}
    for finding in findings(session):
        result, target = boards.get(finding.subject, (None, None))
        if result is None or finding.check == "test":
            found[id(finding), finding.subject] = [(finding, None)]
            continue
        alike = general(finding.message, target)
        key = (finding.outcome, finding.failed, result.model, result.form, finding.check, alike)
        found.setdefault(key, []).append((finding, target))
    return [_shared(members) for members in found.values()]


def _shared(members: Sequence[tuple[Finding, str | None]]) -> Finding:
    (first, target), *others = members
    if not others:
        return first
    return replace(
        first,
        subject=first.subject.removesuffix(f" on {target}"),
        message=general(first.message, target),
        tests=[test for finding, _ in members for test in finding.tests],
        targets=[name for _, name in members if name],
    )


def general(message: str, target: str | None) -> str:
    """A message without the target that it is about, so that those of several can be one."""
    return message.replace(f" on {target}: ", ": ", 1) if target else message


@dataclass(frozen=True)
class Headline:
    """The verdict over a run: `text` in a few words of ours, names and `remarks` to escape apart.

    `tone` is its color; `remarks` say what was accepted, until when and why.
    """

    standing: Standing
    text: str
    remarks: Sequence[str]
    models: Sequence[str]
    targets: Sequence[str]

    @property
    def outcome(self) -> Outcome:
        return self.standing.outcome or Outcome.NOT_APPLICABLE

    @property
    def tone(self) -> str:
        return tone(self.standing)


_EXITED = {
    1: "other tests of this run failed",
    2: "the run was interrupted, or tests could not be collected",
    3: "pytest stopped with an internal error",
    4: "pytest could not run with these options",
    5: "nothing was gated",
}
_MOST_REMARKS = 3
_MOST_TO_DO = 2


def _to_do(standings: Standings, session: Session) -> Iterator[str]:
    """What would decide that which is inconclusive, each thing once."""
    said: dict[str, None] = {}
    for result in standings.results:
        for cause in standings.of(result).causes:
            if cause.outcome is Outcome.INCONCLUSIVE and not cause.failed:
                said[_decided_by(result, cause)] = None
    if session.baseline_outcome is Outcome.INCONCLUSIVE:
        said["write a baseline"] = None
    yield from filter(None, said)


def _decided_by(result: Result, cause: Cause) -> str:
    """What a message begins with, or what decides a figure against the baseline; else nothing."""
    if cause.check.endswith(" against the baseline"):
        from pytest_edgequant.baseline.pairs import SAVE_ANEW

        anew = SAVE_ANEW.strip(". ")
        do = anew if anew in cause.message else "evaluate more samples"
    else:
        do, colon, _ = cause.message.partition(": ")
        # Reports of earlier versions begin with what they are about.
        if not colon or do.startswith(f"{result.model}/"):
            return ""
    return f"{do[:1].lower()}{do[1:]}"


def _open(standing: Standing) -> list[str]:
    """What is neither green nor red, counted."""
    counts = {Outcome.INCONCLUSIVE: 0, Outcome.UNAVAILABLE: 0, Outcome.FAIL: 0}
    for cause in standing.causes:
        if not cause.failed:
            expected = cause.outcome is Outcome.CANNOT_RUN
            counts[Outcome.FAIL if expected else cause.outcome] += 1
    said = [
        f"{counts[outcome]} {outcome.value}"
        for outcome in (Outcome.INCONCLUSIVE, Outcome.UNAVAILABLE)
        if counts[outcome]
    ]
    if counts[Outcome.FAIL]:
        said.append(counted(counts[Outcome.FAIL], "expected failure"))
    return said + noted(standing)


def _failed_text(session: Session, results: Sequence[Result], broken: int, checks: int) -> str:
    regressed = [c for r in results for c in r.changes if c.verdict is Outcome.FAIL]
    tests = {failure.test for failure in session.failures}
    said = [f"{broken} of {counted(checks, 'check')} not passed"] if broken else []
    said += [f"{counted(len(tests), 'test')} failed"] if tests else []
    said += [f"{counted(len(regressed), 'figure')} regressed"] if regressed else []
    if session.baseline_outcome is Outcome.FAIL:
        said.append("the baseline can't be gone by")
    elif session.exit_status and not (tests or regressed):
        code = session.exit_status
        said.append(_EXITED.get(code, f"pytest ended with the exit status {code}"))
    return f"failed: {', '.join(said)}" if said else "failed"


def headline(session: Session) -> Headline:
    """The verdict in a line, as `Standings.run` has it."""
    standings = Standings(session)
    results, run = standings.results, standings.run
    checks = [v.verdict for r in results for v in r.verdicts if not is_neutral(v.verdict, v.check)]
    passed = sum(verdict is Outcome.PASS for verdict in checks)
    whole = (
        counted(passed, "check")
        if passed == len(checks)
        else f"{passed} of {counted(len(checks), 'check')}"
    )
    said = ", ".join(_open(run))
    if run.failed:
        text = _failed_text(session, results, len(checks) - passed, len(checks))
        text += f"; {', '.join(noted(run))}" if noted(run) else ""
    elif not passed and run.outcome is not Outcome.INCONCLUSIVE:
        text = f"nothing was gated{': ' if said else ''}{said}"
    elif run.outcome is Outcome.INCONCLUSIVE:
        do = "; ".join(_some(_to_do(standings, session), _MOST_TO_DO))
        text = f"inconclusive: {do}{': ' if do else ''}{whole} passed, {said}"
    else:
        text = f"passed{' with ' if said else ''}{said}: {whole}"
    remarks = [
        f"{subject(r)}: {_remark(change)}"
        for r in results
        for change in (*standings.of(r).accepted, *standings.of(r).informational)
    ]
    return Headline(
        run,
        text,
        _some(remarks, _MOST_REMARKS),
        _some({r.model for r in results}),
        _some({r.target for r in results if r.target}),
    )
