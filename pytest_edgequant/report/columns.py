"""The table of one board: a row a variant, each figure with its limit and how it came about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from pytest_edgequant.records import Change, Metric, Result
from pytest_edgequant.report.figures import change_text, format_value, is_share
from pytest_edgequant.report.fitting import NOISE, RATIO, SAMPLES, VERDICT
from pytest_edgequant.report.legend import Cell, Column, Legend, limit_source, source
from pytest_edgequant.report.overview import row_text
from pytest_edgequant.report.usage import Use, tightest, uses
from pytest_edgequant.results.standing import Standings
from pytest_edgequant.units import format_bytes, format_duration, format_samples

_OWN_COLUMNS = (
    *("size_bytes", "runtime_code_bytes", "flash_left_bytes"),
    *("arena_bytes", "accuracy_drop", "output_sqnr"),
)
_IN_REPORTS_ONLY = ("worst_class_drop", "agreement", "output_cosine", "calibration_worst_drop")
"""Figures that have a column only where they have a limit."""
_HEADINGS = {
    "accuracy": "top-1",
    "latency_ms": "latency",
    "host_latency_ms": "latency on the host",
    "worst_class_drop": "worst class",
    "calibration_worst_drop": "worst calibration",
}


class _Row(NamedTuple):
    result: Result
    limits: Sequence[Use]
    legend: Legend
    changes: Mapping[str, Change]

    def limit(self, name: str) -> str:
        """What stands behind a figure: the limit on it of which most is used, and its floor."""
        if name == "host_latency_ms" and "latency_ms" not in self.result.metrics:
            name = "latency_ms"  # the limit was put on what this machine measured
        own = [use for use in self.limits if use.figure == name]
        found = [tightest(own), next((use for use in own if use.floor), None)]
        return "".join(f", {use.part}" for use in found if use is not None)

    def cell(self, name: str, text: str, *sources: str) -> Cell:
        marks = [self.legend.mark(text) for text in sources if text]
        change = f" ({change_text(self.changes[name])})" if name in self.changes else ""
        return Cell(f"{text}{self.limit(name)}{change}", marks)

    def missing(self, name: str) -> Cell:
        """The cell of a figure that was not had: `-`, `unavailable`, what the baseline's was."""
        metric = self.result.metrics.get(name)
        text = "-" if metric is None else "unavailable"
        return Cell(f"{text} ({change_text(self.changes[name])})" if name in self.changes else text)

    def figure(self, name: str, show: Callable[[str, Metric], str]) -> Cell:
        """A metric's cell with its limit and mark; `show` gives its value in words."""
        metric = self.result.metrics.get(name)
        if metric is None or metric.value is None:
            return self.missing(name)
        text, made = show(name, metric), source(metric).made
        value, interval, _ = text.partition(" (")
        brief = self.cell(name, value, made) if interval else None
        return replace(self.cell(name, text, made), brief=brief)


def _bytes(name: str, metric: Metric) -> str:
    assert metric.value is not None
    if _undecided(metric):
        return f"{int(metric.low or 0):,} to {format_bytes(int(metric.high or 0))}"
    return format_bytes(int(metric.value))


def _undecided(metric: Metric) -> bool:
    """Whether it is not known if anything is left."""
    return metric.low is not None and metric.high is not None and metric.low < 0 <= metric.high


def _score(name: str, metric: Metric) -> str:
    assert metric.value is not None
    if name.endswith("_drop") and is_share(name, metric.unit):
        return f"{100 * metric.value + 0.0:+.2f} pt"
    return f"{metric.value:.2%}" if is_share(name, metric.unit) else f"{metric.value:.5g}"


def _time(name: str, metric: Metric) -> str:
    assert metric.value is not None
    text = format_duration(metric.value)
    if metric.low is None or metric.high is None or metric.low == metric.high:
        return text
    return f"{text} ({format_duration(metric.low)} to {format_duration(metric.high)})"


def _other(name: str, metric: Metric) -> str:
    """A metric without a column of its own: a score, a time, an amount with its unit."""
    assert metric.value is not None
    if name.endswith("_ms"):
        return _time(name, metric)
    if metric.unit == "bytes" and name.endswith("_bytes"):
        return _bytes(name, metric)
    if metric.unit in ("mJ", "us", "ms"):
        return format_value(name, metric.value, metric.unit)
    return _score(name, metric)


def _drop(row: _Row) -> Cell:
    """The drop and, where there is one, its interval: `+1.25 pt (-0.40 to +2.90)`."""
    metric = row.result.metrics.get("accuracy_drop")
    if metric is None or metric.value is None:
        return row.missing("accuracy_drop")
    share = is_share("accuracy_drop", metric.unit) or "accuracy" in row.result.metrics
    factor = 100 if share else 1

    def show(value: float, digits: int) -> str:
        spec = "+.2f" if share else f"+.{digits}g"
        return f"{factor * value + 0.0:{spec}}"  # -0.0 would read as a gain

    text, interval = show(metric.value, 4) + (" pt" if share else ""), ""
    brief = row.cell("accuracy_drop", text)
    if metric.low is not None and metric.high is not None and metric.low != metric.high:
        text += f" ({show(metric.low, 3)} to {show(metric.high, 3)})"
        interval = source(metric).interval and f"in brackets: {source(metric).interval}"
    return replace(row.cell("accuracy_drop", text, interval), brief=brief)


def _drop_heading(rows: Sequence[_Row]) -> str:
    """What a drop is from, where that is the same in all rows."""
    drops = (row.result.metrics.get("accuracy_drop") for row in rows)
    known = (metric for metric in drops if metric is not None and metric.value is not None)
    # Names of models may hold anything; the variant stands behind the last stroke.
    forms = {source(metric).baseline.rpartition("/")[2] for metric in known}
    form = forms.pop() if len(forms) == 1 else ""
    return f"drop from {form}" if form else "drop"


def _sqnr(row: _Row) -> Cell:
    metric = row.result.metrics.get("output_sqnr")
    if metric is None:
        return Cell()
    if metric.value is None:
        return Cell("inf" if "infinite" in (metric.reason or "") else "-")
    return Cell(f"{metric.value:.1f} dB")


def _samples(row: _Row, names: Sequence[str]) -> Cell:
    """How many samples the scores were had on; several numbers where they are not of the same."""
    figures = (row.result.metrics.get(name) for name in [*names, "accuracy_drop"])
    counts = (
        format_samples(figure.count, figure.of).rpartition(" ")[0]
        for figure in figures
        if figure is not None and figure.count is not None
    )
    return Cell("; ".join(dict.fromkeys(counts)) or "-")


def _size(row: _Row, show: Callable[[str, Metric], str] = _bytes) -> Cell:
    metric = row.result.metrics.get("size_bytes")
    if metric is None or metric.value is None:
        return row.missing("size_bytes")
    flash = limit_source(row.result, tightest(row.limits, "size_bytes"))
    return row.cell("size_bytes", show("size_bytes", metric), source(metric).made, flash)


def _ratio(row: _Row, sizes: Mapping[str, float | int]) -> Cell:
    size, whole = row.result.metrics.get("size_bytes"), sizes.get(row.result.model)
    return Cell(f"{size.value / whole:.2f}x" if size and size.value and whole else "-")


def _shows_flash_left(row: _Row) -> bool:
    """Whether what is left of the flash has to be told, for no limit on the size surely does."""
    left = row.result.metrics.get("flash_left_bytes")
    if left is None:
        return False
    return left.value is None or _undecided(left) or not tightest(row.limits, "size_bytes")


def _columns(rows: Sequence[_Row], sizes: Mapping[str, float | int]) -> Iterator[Column]:
    known = {name for row in rows for name in (*row.result.metrics, *row.changes)}
    limited = {use.figure for row in rows for use in row.limits}
    hidden = set(_IN_REPORTS_ONLY) - limited
    names = sorted(known.difference(_OWN_COLUMNS, hidden))
    yield Column("size", [_size(row) for row in rows])
    yield Column(RATIO, [_ratio(row, sizes) for row in rows])
    if any(map(_shows_flash_left, rows)):
        yield Column("flash left", [row.figure("flash_left_bytes", _bytes) for row in rows])
    yield Column("arena", [row.figure("arena_bytes", _bytes) for row in rows])
    for name in names:
        yield Column(_HEADINGS.get(name, name), [row.figure(name, _other) for row in rows])
    yield Column(SAMPLES, [_samples(row, names) for row in rows])
    # A drop without an interval is none that the mark is about.
    yield Column(_drop_heading(rows), [_drop(row) for row in rows], loose=True)
    yield Column(NOISE, [_sqnr(row) for row in rows])


def columns(
    results: Sequence[Result],
    sizes: Mapping[str, float | int],
    standings: Standings,
    legend: Legend,
    *,
    changes: bool = False,
) -> list[Column]:
    """The columns of a table with a row a result; those in which nothing stands are empty.

    `sizes` are those of the float32 forms by model; `legend` gets how the figures came about.
    With `changes` each figure stands beside the baseline's.
    """
    rows = [
        _Row(r, uses(r), legend, {c.metric: c for c in r.changes} if changes else {})
        for r in results
    ]
    return [
        Column("variant", [Cell(result.form) for result in results]),
        *_columns(rows, sizes),
        Column(VERDICT, [Cell(row_text(standings.of(r))) for r in results]),
    ]
