"""Figures as people read them: with their unit, bounds and samples, and against a baseline."""

from __future__ import annotations

import dataclasses

from pytest_edgequant.records import NOT_COMPARABLE, Change, Metric, Result
from pytest_edgequant.units import format_bytes, format_samples

COLUMNS = ("size_bytes", "arena_bytes", "accuracy_drop", "latency_ms")
_NO_SCORE = (
    *COLUMNS,
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


def is_share(name: str, unit: str) -> bool:
    """Whether a figure is a part of the samples, which is shown in per cent."""
    return name == "accuracy" or unit == "fraction"


def format_value(name: str, value: float, unit: str, *, signed: bool = False) -> str:
    """A figure with its unit: bytes exactly, fractions in per cent, their differences in points."""
    value += 0.0  # -0.0 would read as a gain
    sign = "+" if signed else ""
    if is_share(name, unit):
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
    if not (metric.low is None or metric.high is None or metric.low == metric.high):
        low, high = (format_value(name, v, metric.unit) for v in (metric.low, metric.high))
        text += f" ({low} to {high})"
    if metric.count is not None:
        text += f" on {format_samples(metric.count, metric.of)}"
    return text


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
    if NOT_COMPARABLE in change.message:
        return "not comparable"
    difference = change.after - change.before
    if difference == 0:
        return "unchanged"
    text = format_value(change.metric, difference, change.unit, signed=True)
    return f"{text}, {difference / abs(change.before):+.1%}" if change.before else text


def score_name(result: Result) -> str | None:
    """The metric that says how good a variant is at its task: accuracy, else the first by name."""
    if "accuracy" in result.metrics:
        return "accuracy"
    return next((name for name in sorted(result.metrics) if name not in _NO_SCORE), None)


def score_label(name: str) -> str:
    """The name of a score in tables."""
    return "top-1" if name == "accuracy" else name
