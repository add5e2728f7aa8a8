"""The Markdown report, for job summaries and comments: the verdict first, details folded.

It stays under GitHub's limit by leaving out detail, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pytest_edgequant.records import Outcome, Result
from pytest_edgequant.report.markdown_text import code, prose
from pytest_edgequant.report.overview import (
    CHANGE_HEADINGS,
    HEADINGS,
    OPEN_TITLE,
    WORDS,
    Finding,
    Row,
    change_rows,
    findings,
    headline,
    result_text,
    tables,
)
from pytest_edgequant.report.training import training_lines
from pytest_edgequant.results.session import Session

LIMIT = 65_536
"""Characters that GitHub takes in a comment."""
_ROOM = LIMIT - 1_536
"""Bytes of a report, so that a comment has room for a line of its own as well."""
_SIGNS = {"good": "✅", "bad": "❌", "unsure": "⚠️", "plain": "⚠️"}
_ORDER = ("bad", "unsure", "good", "plain")
_MOST_TESTS = 5


@dataclass(frozen=True)
class _Level:
    """How much is said. `rows` and `findings` are the most of each, None for all of them."""

    details: bool = True
    rows: int | None = None
    findings: int | None = None
    message: int = 2000
    name: int = 120
    left_out: str = ""


_LEVELS = (
    _Level(),
    _Level(details=False, left_out="the details of each figure"),
    _Level(False, None, 60, 600, left_out="details, and all but the first failures"),
    _Level(False, 300, 40, 400, 80, "details, variants that passed, all but the first failures"),
    _Level(False, 100, 25, 300, 60, "details, most variants, all but the first failures"),
    _Level(False, 30, 10, 200, 30, "details, most variants, all but the first failures"),
    _Level(False, 0, 0, 0, 30, "everything but the verdict"),
)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|{'---|' * len(headings)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _chosen(rows: list[tuple[str, Row]], most: int | None) -> set[int]:
    """The rows that are shown where not all can be: those that did not pass come first."""
    if most is None:
        return {id(row) for _, row in rows}
    ordered = sorted(rows, key=lambda r: _ORDER.index(r[1].tone))
    return {id(row) for _, row in ordered[:most]}


def _overview(session: Session, level: _Level) -> Iterator[str]:
    found = list(tables(session))
    chosen = _chosen([(target, row) for target, rows in found for row in rows], level.rows)
    for target, rows in found:
        shown = [row for row in rows if id(row) in chosen]
        if not shown:
            continue
        yield ""
        yield f"### {code(target, level.name)}"
        yield ""
        cells = (
            [
                code(f"{row.result.model}/{row.result.form}", level.name),
                *(prose(cell, level.name) for cell in row.cells[:-1]),
                prose(row.cells[-1], 4 * level.name),
            ]
            for row in shown
        )
        yield from _table(["model/variant", *HEADINGS], cells)
        if len(shown) < len(rows):
            yield ""
            yield f"{len(rows) - len(shown)} of {len(rows)} variants are not shown."
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
            line += f"{code(finding.subject, level.name)}: "
        line += prose(finding.message, level.message)
        if finding.tests and finding.check != "test":
            line += f" ({_tests(finding, level)})"
        yield line


def _word(finding: Finding) -> str:
    expected = finding.outcome is Outcome.FAIL and not finding.failed
    return WORDS[finding.outcome] + (", expected" if expected else "")


def _folded(title: str, lines: Iterable[str]) -> Iterator[str]:
    """`title` is ours: a summary is read as HTML."""
    yield ""
    yield f"<details><summary>{title}</summary>"
    yield ""
    yield from lines
    yield ""
    yield "</details>"


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
    yield from _table(headings, rows)


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
    yield from _table(["model/variant", "target", *CHANGE_HEADINGS], rows)


def _details(session: Session) -> Iterator[str]:
    results = list(session.results())
    if any(result.changes for result in results):
        yield from _folded("Changes against the baseline", _changes(results))
    if any(result.metrics for result in results):
        yield from _folded("Every figure, and how it came about", _figures(results))
    notes: dict[tuple[str, str], None] = {}
    for result in results:
        said = [*result.notes, *(v.message for v in result.verdicts if _is_note(v.verdict))]
        notes.update({(f"{result.model}/{result.form}", note): None for note in said})
    if notes:
        lines = (f"- {code(subject)}: {prose(note)}" for subject, note in sorted(notes))
        yield from _folded("Notes", lines)


def _is_note(outcome: Outcome) -> bool:
    return outcome in (Outcome.CANNOT_RUN, Outcome.NOT_APPLICABLE)


def _names(what: str, names: Sequence[str], level: _Level) -> str:
    return f" {what} {', '.join(code(name, level.name) for name in names)}" if names else ""


def _lines(session: Session, level: _Level) -> Iterator[str]:
    verdict = headline(session)
    remarks = f" ({prose('; '.join(verdict.remarks), 500)})" if verdict.remarks else ""
    yield (
        f"{_SIGNS[verdict.tone]} **edgequant {verdict.text}**{remarks}"
        f"{_names('—', verdict.models, level)}{_names('on', verdict.targets, level)}"
    )
    if session.baseline_note:
        yield ""
        yield f"Baseline: {prose(session.baseline_note, 500)}"
    yield from _overview(session, level)
    if level.findings != 0:
        yield from _findings(findings(session), level)
    if level.details:
        yield from _details(session)
    if level.left_out:
        yield ""
        yield (
            f"_Left out, for GitHub takes {LIMIT:,} characters: {level.left_out}. "
            "The JSON and HTML reports have it all._"
        )


def render(session: Session, limit: int = _ROOM) -> str:
    """The report's text: at most `limit` bytes in UTF-8, so no more characters either."""
    text = ""
    for level in _LEVELS:
        text = "\n".join(_lines(session, level)) + "\n"
        if len(text.encode("utf-8", "replace")) <= limit:
            break
    return text
