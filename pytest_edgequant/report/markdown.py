"""The Markdown report, for job summaries and comments: the verdict first, details folded.

It stays under GitHub's limit by leaving out detail, and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_edgequant.records import Outcome, Result
from pytest_edgequant.report.boards import profiles
from pytest_edgequant.report.changes import result_change_lines
from pytest_edgequant.report.figures import result_text
from pytest_edgequant.report.inert import BREAK
from pytest_edgequant.report.legend import Legend
from pytest_edgequant.report.markdown_tables import (
    board_anchors,
    board_table,
    by_target,
    folded,
    legend_lines,
    matrices,
    rows_of,
    terms,
)
from pytest_edgequant.report.markdown_text import code, prose
from pytest_edgequant.report.matrix import DETAILED
from pytest_edgequant.report.notes import note_lines, several_lines
from pytest_edgequant.report.overview import (
    CHANGE_HEADINGS,
    OPEN_TITLE,
    WORDS,
    Finding,
    Headline,
    change_rows,
    headline,
    shared_findings,
    tone,
)
from pytest_edgequant.report.training import training_lines
from pytest_edgequant.results.session import Session
from pytest_edgequant.results.standing import Standings
from pytest_edgequant.wording import counted

LIMIT = 65_536
"""Characters that GitHub takes in a comment."""
_ROOM = LIMIT - 1_536
"""Bytes of a report, so that a comment has room for a line of its own as well."""
_SIGNS = {"good": "✅", "bad": "❌", "unsure": "⚠️", "plain": "⚠️"}
_ORDER = ("bad", "unsure", "good", "plain")
_MOST_TESTS = 5
_MOST_CHANGES = 10
"""Up to so many lines on changes are seen at once."""


@dataclass(frozen=True)
class _Level:
    """How much is said. `rows` and `findings` are the most of each, None for all of them.

    `boards` are the most of each model in the table of boards that are not right; with a number
    those on which everything passes are counted only.
    """

    details: bool = True
    rows: int | None = None
    boards: int | None = None
    findings: int | None = None
    message: int = 2000
    name: int = 120
    left_out: str = ""


_LEVELS = (
    _Level(),
    _Level(details=False, left_out="the details of each figure"),
    _Level(False, None, 12, 60, 600, left_out="details, and all but the first failures"),
    _Level(False, 300, 6, 40, 400, 80, "details, variants that passed, all but the first failures"),
    _Level(False, 100, 3, 25, 300, 60, "details, most variants, all but the first failures"),
    _Level(False, 30, 0, 10, 200, 30, "details, most variants, all but the first failures"),
    _Level(False, 0, 0, 0, 0, 30, "everything but the verdict"),
)


def _chosen(standings: Standings, most: int | None) -> set[int]:
    """The rows that are shown where not all can be: those that did not pass come first."""
    rows = list(standings.results)
    if most is not None:
        rows = sorted(rows, key=lambda r: _ORDER.index(tone(standings.of(r))))[:most]
    return {id(row) for row in rows}


def _boards(session: Session, standings: Standings, legend: Legend, level: _Level) -> Iterator[str]:
    """The tables of all targets: up to three are open, more are folded below the matrices."""
    found, chosen = by_target(standings), _chosen(standings, level.rows)
    shown = {target: [r for r in rows if id(r) in chosen] for target, rows in found.items()}
    anchors = board_anchors(t for t, rows in shown.items() if rows and len(found) > DETAILED)
    if level.boards != 0:
        targets = profiles(session)
        yield from matrices(standings, targets, legend, level.boards, level.name, anchors)
    lines: list[str] = []
    for target, rows in shown.items():
        if not rows:
            continue
        anchor = f'<a id="{anchors[target]}"></a>' if target in anchors else ""
        lines += ["", f"### {anchor}{code(target, level.name)}", ""]
        lines += board_table(rows, session, standings, legend, level.name)
        if len(rows) < len(found[target]):
            missing = len(found[target]) - len(rows)
            lines += ["", f"{missing} of {len(found[target])} variants are not shown."]
    if len(found) > DETAILED and level.boards != 0 and lines:
        yield from folded(f"Every variant on each of {len(found)} targets", lines)
    else:
        yield from lines


def _overview(
    session: Session, standings: Standings, legend: Legend, level: _Level
) -> Iterator[str]:
    yield from _boards(session, standings, legend, level)
    yield from legend_lines(legend, fold=len(by_target(standings)) > DETAILED)
    if level.rows is None:
        for line in training_lines(session.results()):
            yield ""
            yield f"Training: {prose(line)}"


def _tests(finding: Finding, level: _Level) -> str:
    shown = [code(test, 2 * level.name) for test in finding.tests[:_MOST_TESTS]]
    more = len(finding.tests) - len(shown)
    return ", ".join([*shown, *([f"{more} more"] if more else [])])


def _findings(found: list[Finding], level: _Level) -> Iterator[str]:
    shown = found[: level.findings]
    for title, failed in (("What failed, and what to do", True), (OPEN_TITLE, False)):
        members = [finding for finding in shown if finding.failed is failed]
        if members:
            yield ""
            yield f"### {title}"
            yield ""
            yield from _listed(members, level)
    more = len(found) - len(shown)
    if more:
        yield f"- and {more} more"


def _listed(found: list[Finding], level: _Level) -> Iterator[str]:
    for finding in found:
        if finding.check == "test":
            line = f"- **{_word(finding)}** {_tests(finding, level)}: "
        else:
            line = f"- **{_word(finding)}** {prose(finding.check, level.name)} of "
            line += f"{code(finding.subject, level.name)}{_boards_of(finding, level)}: "
        line += prose(finding.message, level.message)
        if finding.tests and finding.check != "test":
            line += f" ({_tests(finding, level)})"
        yield line


def _boards_of(finding: Finding, level: _Level) -> str:
    """The boards that share a finding, the first of many."""
    if not finding.targets:
        return ""
    shown = [code(name, level.name) for name in finding.targets[:_MOST_TESTS]]
    more = len(finding.targets) - len(shown)
    names = ", ".join([*shown, *([f"{more} more"] if more else [])])
    return f" on {counted(len(finding.targets), 'board')} ({names})"


def _word(finding: Finding) -> str:
    expected = finding.outcome is Outcome.FAIL and not finding.failed
    return WORDS[finding.outcome] + (", expected" if expected else "")


def _figures(results: list[Result]) -> Iterator[str]:
    rows = (
        [
            code(f"{result.model}/{result.form}"),
            code(result.target or "-"),
            prose(name),
            prose(result_text(result, name)),
            prose(metric.reason or metric.provenance),
        ]
        for result in results
        for name, metric in result.metrics.items()
    )
    headings = ["model/variant", "target", "figure", "value", "how it came about"]
    yield from rows_of(headings, rows)


def _changes(results: list[Result]) -> Iterator[str]:
    rows = (
        [
            code(f"{result.model}/{result.form}"),
            code(result.target or "-"),
            *(prose(cell) for cell in cells),
        ]
        for result in results
        for cells in change_rows(result)
    )
    yield from rows_of(["model/variant", "target", *CHANGE_HEADINGS], rows)


def _changed(session: Session, level: _Level) -> Iterator[str]:
    """What changed against the baseline, and why, a line a model and board; many are folded."""
    lines = result_change_lines(session.results())
    shown = [f"- {BREAK}{prose(line, level.message)}" for line in lines[: level.findings]]
    if len(lines) > len(shown):
        shown.append(f"- and {len(lines) - len(shown)} more")
    if len(lines) > _MOST_CHANGES:
        boards = counted(len(lines), "model and board", "models and boards")
        yield from folded(f"What changed against the baseline, and why: {boards}", shown)
    elif shown:
        yield from ["", "### What changed against the baseline, and why", "", *shown]


def _details(session: Session) -> Iterator[str]:
    results = list(session.results())
    if any(result.changes for result in results):
        yield from folded("Changes against the baseline", _changes(results))
    if any(result.metrics for result in results):
        yield from folded("Every figure, and how it came about", _figures(results))
    notes = [*note_lines(results), *several_lines(session), *_inapplicable(results)]
    if notes:
        # A name at the beginning of a line could be a heading, or a list of its own.
        yield from folded("Notes", (f"- {BREAK}{prose(note)}" for note in notes))


def _inapplicable(results: Sequence[Result]) -> Iterator[str]:
    """Checks without a meaning where they were made, once each."""
    yield from dict.fromkeys(
        verdict.message
        for result in results
        for verdict in result.verdicts
        if verdict.verdict is Outcome.NOT_APPLICABLE
    )


def _names(what: str, names: Sequence[str], level: _Level) -> str:
    return f" {what} {', '.join(code(name, level.name) for name in names)}" if names else ""


@dataclass(frozen=True)
class _Judged:
    """What a session came to, which is the same however much of it is shown."""

    session: Session
    headline: Headline
    standings: Standings
    findings: list[Finding]


def _lines(judged: _Judged, level: _Level) -> Iterator[str]:
    session, verdict, standings = judged.session, judged.headline, judged.standings
    legend = Legend()
    remarks = f" ({prose('; '.join(verdict.remarks), 500)})" if verdict.remarks else ""
    yield (
        f"{_SIGNS[verdict.tone]} **edgequant {verdict.text}**{remarks}"
        f"{_names('—', verdict.models, level)}{_names('on', verdict.targets, level)}"
    )
    if session.baseline_note:
        yield ""
        yield f"Baseline: {prose(session.baseline_note, 500)}"
    tables = list(_overview(session, standings, legend, level))
    yield from tables
    if level.boards != 0:
        yield from _changed(session, level)
    if level.findings != 0:
        yield from _findings(judged.findings, level)
    if level.details:
        yield from _details(session)
    yield from terms(tables)
    if level.left_out:
        yield ""
        yield (
            f"_Left out, for GitHub takes {LIMIT:,} characters: {level.left_out}. "
            "The JSON and HTML reports have it all._"
        )


def render(session: Session, limit: int = _ROOM) -> str:
    """The report's text: at most `limit` bytes in UTF-8, so no more characters either."""
    judged = _Judged(session, headline(session), Standings(session), shared_findings(session))
    text = ""
    for level in _LEVELS:
        text = "\n".join(_lines(judged, level)) + "\n"
        if len(text.encode("utf-8", "replace")) <= limit:
            break
    return text
