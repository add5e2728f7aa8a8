"""What every report says first: the verdict in a line, a row a variant, and what went wrong.

Plain text, that each format escapes in its own way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pytest_edgequant.records import Change, Metric, Outcome, Result
from pytest_edgequant.session import WORST_FIRST, Session, worst
from pytest_edgequant.units import format_bytes

WORDS = {
    Outcome.PASS: "pass",
    Outcome.FAIL: "FAIL",
    Outcome.INCONCLUSIVE: "INCONCLUSIVE",
    Outcome.CANNOT_RUN: "CANNOT RUN",
    Outcome.UNAVAILABLE: "UNAVAILABLE",
    Outcome.NOT_APPLICABLE: "n/a",
}
SKIPPED_CHECK = "runs"
"""The check of variants that a target can't run and that nobody asked for by name."""
_COLUMNS = ("size_bytes", "arena_bytes", "accuracy_drop", "latency_ms")
_NO_SCORE = (
    *_COLUMNS,
    *("runtime_code_bytes", "flash_left_bytes", "device_arena_bytes", "energy_mj", "speedup"),
    *(
        "host_latency_ms",
        "output_sqnr",
        "output_cosine",
        "agreement",
        "worst_class_drop",
        "calibration_worst_drop",
    ),
)
"""Metrics that are no task's score."""
_MOST_NAMES = 4


def _share(name: str, unit: str) -> bool:
    return name == "accuracy" or unit == "fraction"


def format_value(name: str, value: float, unit: str, *, signed: bool = False) -> str:
    """A figure with its unit: bytes exactly, fractions in per cent, their differences in points."""
    value += 0.0  # -0.0 would read as a gain
    sign = "+" if signed else ""
    if _share(name, unit):
        if signed or name.endswith("_drop"):
            return f"{100 * value:+.2f} pt"
        return f"{value:.2%}"
    if unit == "bytes":
        return f"+{format_bytes(int(value))}" if signed and value >= 0 else format_bytes(int(value))
    if name.endswith("_drop"):
        return f"{value:+.4g}"
    return f"{value:{sign}.5g}" + (f" {unit}" if unit in ("ms", "us", "mJ", "dB") else "")


def metric_text(name: str, metric: Metric | None) -> str:
    """A metric as a cell: the value, and its bounds where there are any; `-` where it is none."""
    if metric is None:
        return "-"
    if metric.value is None:
        return "unavailable"
    text = format_value(name, metric.value, metric.unit)
    if metric.low is None or metric.high is None or metric.low == metric.high:
        return text
    low, high = (format_value(name, v, metric.unit) for v in (metric.low, metric.high))
    return f"{text} ({low} to {high})"


def result_text(result: Result, name: str) -> str:
    """A metric of a result as a cell; a drop of accuracy reads in points, whatever its unit."""
    metric = result.metrics.get(name)
    if metric is not None and name == "accuracy_drop" and "accuracy" in result.metrics:
        metric = dataclasses.replace(metric, unit="fraction")
    return metric_text(name, metric)


def change_text(change: Change) -> str:
    """A figure against the baseline's: difference and per cent."""
    if change.before is None:
        return "new"
    if change.after is None:
        return f"was {format_value(change.metric, change.before, change.unit)}"
    difference = change.after - change.before
    if difference == 0:
        return "unchanged"
    text = format_value(change.metric, difference, change.unit, signed=True)
    return f"{text}, {difference / abs(change.before):+.1%}" if change.before else text


def change_rows(result: Result) -> Iterator[tuple[str, str, str, str, str]]:
    """Metric, before, after, difference, and what there is to say of each change."""
    for change in result.changes:
        before, after = (
            "-" if value is None else format_value(change.metric, value, change.unit)
            for value in (change.before, change.after)
        )
        said = f"{WORDS[change.verdict]}: {change.message}" if change.message else ""
        yield change.metric, before, after, change_text(change), said or WORDS[change.verdict]


def score_name(result: Result) -> str | None:
    """The metric that says how good a variant is at its task: accuracy, else the first by name."""
    if "accuracy" in result.metrics:
        return "accuracy"
    return next((name for name in sorted(result.metrics) if name not in _NO_SCORE), None)


def score_label(name: str) -> str:
    return "top-1" if name == "accuracy" else name


@dataclass(frozen=True)
class Row:
    """One variant on one target, as tables show it."""

    result: Result
    size: str
    arena: str
    score: str
    drop: str
    latency: str
    verdict: str
    outcome: Outcome | None

    @property
    def cells(self) -> tuple[str, ...]:
        return self.size, self.arena, self.score, self.drop, self.latency, self.verdict


CHANGE_HEADINGS = ("figure", "baseline", "now", "change", "verdict")
HEADINGS = ("size", "arena", "accuracy", "drop (interval)", "latency", "verdict")


def decided(result: Result) -> Outcome | None:
    """The outcome over a result's checks and its regressions; None where nothing was judged."""
    return worst(
        [*(v.verdict for v in result.verdicts), *(c.verdict for c in _regressions(result))]
    )


def _regressions(result: Result) -> list[Change]:
    """What got worse, or may have; what can't be compared leaves the other checks in force."""
    return [c for c in result.changes if c.verdict in (Outcome.FAIL, Outcome.INCONCLUSIVE)]


def _verdict(result: Result) -> str:
    outcome = decided(result)
    if outcome is None:
        return "-"
    if outcome in (Outcome.PASS, Outcome.NOT_APPLICABLE, Outcome.CANNOT_RUN):
        return WORDS[outcome]
    checks = {v.check for v in result.verdicts if v.verdict is outcome}
    checks |= {f"{c.metric} regressed" for c in result.changes if c.verdict is outcome}
    return f"{WORDS[outcome]}: {', '.join(sorted(checks))}"


def _row(result: Result) -> Row:
    changes = {change.metric: change for change in result.changes}

    def cell(name: str) -> str:
        text = result_text(result, name)
        return f"{text} ({change_text(changes[name])})" if name in changes else text

    score = score_name(result)
    shown = "-" if score is None else cell(score)
    if score not in (None, "accuracy"):
        shown = f"{score} {shown}"
    size, arena, drop, latency = map(cell, _COLUMNS)
    if latency == "-" and "host_latency_ms" in result.metrics:
        latency = f"{cell('host_latency_ms')} on the host"
    return Row(result, size, arena, shown, drop, latency, _verdict(result), decided(result))


def tables(session: Session) -> Iterator[tuple[str, list[Row]]]:
    """The rows by target: its name, and what was measured and judged there."""
    found: dict[str, list[Row]] = {}
    for result in session.results():
        found.setdefault(result.target or "no target", []).append(_row(result))
    yield from sorted(found.items())


@dataclass
class Finding:
    """Something that is not right: of a variant on a target, or of a test as such."""

    outcome: Outcome
    subject: str
    check: str
    message: str
    tests: list[str] = field(default_factory=list)


def _subject(result: Result) -> str:
    target = f" on {result.target}" if result.target else ""
    return f"{result.model}/{result.variant}{target}"


def findings(session: Session) -> list[Finding]:
    """What failed, could not be decided or had, with the tests that say so; the worst first."""
    found: dict[tuple[str, str], Finding] = {}
    for result in session.results():
        judged = [(v.verdict, v.check, v.message) for v in result.verdicts]
        judged += [(c.verdict, f"{c.metric} regressed", c.message) for c in _regressions(result)]
        for outcome, check, message in judged:
            bad = outcome not in (Outcome.PASS, Outcome.NOT_APPLICABLE)
            if not bad or (outcome is Outcome.CANNOT_RUN and check == SKIPPED_CHECK):
                continue
            key = (_subject(result), message)
            found.setdefault(key, Finding(outcome, _subject(result), check, message))
    ordered = sorted(
        found.values(), key=lambda f: (WORST_FIRST.index(f.outcome), f.subject, f.check, f.message)
    )
    alone = []
    for failure in sorted(session.failures, key=lambda f: f.test):
        explained = [f for f in ordered if f.message in failure.message]
        for finding in explained:
            finding.tests.append(failure.test)
        if not explained:
            alone.append(
                Finding(Outcome.FAIL, failure.test, "test", failure.message, [failure.test])
            )
    return [*alone, *ordered]


@dataclass(frozen=True)
class Headline:
    """The verdict over a run: `outcome`, and why in a few words, with names to escape apart."""

    outcome: Outcome
    text: str
    models: Sequence[str]
    targets: Sequence[str]


def _some(names: Iterable[str]) -> list[str]:
    ordered = sorted(names)
    more = len(ordered) - _MOST_NAMES
    return [*ordered[:_MOST_NAMES], f"{more} more"] if more > 1 else ordered


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def headline(session: Session) -> Headline:
    """The verdict in a line.

    A run is red where a test failed or something got worse than its limits allow. Of results that
    were read back the tests are not known: there every failed check counts.
    """
    results = list(session.results())
    found = findings(session)
    regressed = [c for r in results for c in r.changes if c.verdict is Outcome.FAIL]
    red = (
        bool(session.failures or regressed)
        if session.watched
        else any(f.outcome is not Outcome.INCONCLUSIVE for f in found)
    )
    checks = [
        v.verdict
        for r in results
        for v in r.verdicts
        if v.verdict is not Outcome.NOT_APPLICABLE and v.check != SKIPPED_CHECK
    ]
    broken = sum(verdict is not Outcome.PASS for verdict in checks)
    unsure = sum(f.outcome is Outcome.INCONCLUSIVE for f in found)
    names = _some({r.model for r in results}), _some({r.target for r in results if r.target})
    if red:
        said = [f"{broken} of {_count(len(checks), 'check')} not passed"] if broken else []
        said += [f"{_count(len(session.failures), 'test')} failed"] if session.failures else []
        said += [f"{_count(len(regressed), 'figure')} regressed"] if regressed else []
        return Headline(Outcome.FAIL, f"failed: {', '.join(said)}", *names)
    if not checks:
        return Headline(Outcome.NOT_APPLICABLE, "nothing was gated", *names)
    text = f"passed: {_count(len(checks), 'check')}"
    if unsure:
        return Headline(Outcome.INCONCLUSIVE, f"{text}, {unsure} inconclusive", *names)
    return Headline(Outcome.PASS, text, *names)
