"""Post-training quantization against training, side by side, and whether training was worth it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pytest_edgequant.diagnose.advice import training_advice
from pytest_edgequant.records import Metric, Result
from pytest_edgequant.units import format_bytes

_PAIR = ("int8", "qat_int8")


def _interval(metric: Metric, factor: float) -> str:
    if metric.low is None or metric.high is None:
        return ""
    return f" ({factor * metric.low:+.2f} to {factor * metric.high:+.2f})"


def _loss(name: str, metric: Metric, share: bool) -> str:
    assert metric.value is not None
    factor, unit = (100.0, " pt") if share else (1.0, "")
    return f"{name} loses {factor * metric.value:+.2f}{unit}{_interval(metric, factor)}"


def _change(results: tuple[Result, Result], metric: str, word: str) -> str:
    """How a size changed by training; empty where it is not known of both."""
    values = [result.metrics.get(metric) for result in results]
    if any(v is None or v.value is None for v in values):
        return ""
    before, after = (int(v.value) for v in values if v is not None and v.value is not None)
    if before == after:
        return f"{word} the same"
    return f"{word} {'+' if after > before else '-'}{format_bytes(abs(after - before))}"


def training_lines(results: Iterable[Result]) -> Iterator[str]:
    """One line a model and target for which both int8 and qat_int8 were compared with the float."""
    rows: dict[tuple[str, str | None], dict[str, Result]] = {}
    for result in results:
        if result.variant in _PAIR and not result.several:
            rows.setdefault((result.model, result.target), {})[result.variant] = result
    said: dict[str, None] = {}
    for (model, _), found in rows.items():
        if len(found) < len(_PAIR):
            continue
        pair = (found["int8"], found["qat_int8"])
        drops = [result.metrics.get("accuracy_drop") for result in pair]
        if any(d is None or d.value is None for d in drops):
            continue
        share = "accuracy" in pair[0].metrics
        before, after = (d for d in drops if d is not None)
        parts = [
            _loss("int8", before, share),
            _loss("qat_int8", after, share),
            _change(pair, "size_bytes", "size"),
            _change(pair, "arena_bytes", "arena"),
        ]
        text = ", ".join(part for part in parts if part)
        assert before.value is not None
        assert after.value is not None
        advice = training_advice(before.value, after.value) if share else ""
        said[f"{model}: {text}{'. ' + advice if advice else ''}"] = None
    yield from said
