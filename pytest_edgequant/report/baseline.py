"""The lines on how a run compares with its baseline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from pytest_edgequant.baseline.comparison import Comparison
from pytest_edgequant.baseline.document import Key, name_of
from pytest_edgequant.baseline.pairs import SAVE_ANEW
from pytest_edgequant.names import unknown
from pytest_edgequant.records import Change, Outcome
from pytest_edgequant.report.changes import change_document, change_lines


def differs(comparison: Comparison) -> bool:
    """Whether a figure is another than the baseline's, or there is one that it does not have."""
    return bool(comparison.new) or any(
        change.before != change.after
        for changes in comparison.changes.values()
        for change in changes
    )


def worse(comparison: Comparison) -> bool:
    """Whether a figure got worse than is allowed, or can't be told not to have."""
    return any(comparison.each(Outcome.FAIL, Outcome.INCONCLUSIVE))


def comparison_lines(comparison: Comparison) -> Iterator[tuple[str, Outcome]]:
    """What to read after a run, the worst first, each line with its outcome."""
    for error in comparison.unknown:
        yield f"FAIL: {error}", Outcome.FAIL
    yield from change_lines(comparison.changes)
    yield from _apart_lines(comparison)
    for where, members in comparison.parts.items():
        yield f"compared{where}: {_figures(members)}", Outcome.NOT_APPLICABLE
    yield from _unused_lines(comparison)
    if comparison.unmet:
        places = ", ".join(rule.place for rule in comparison.unmet)
        yield f"rules that met no figure of this run: {places}", Outcome.NOT_APPLICABLE


def _unused_lines(comparison: Comparison) -> Iterator[tuple[str, Outcome]]:
    """What was accepted and met no regression."""
    models = comparison.models()
    for entry in comparison.unused:
        if models and not any(fnmatchcase(model, entry.model) for model in models):
            error = unknown("model", entry.model, models, entry.place)
            yield f"{error} It accepts nothing", Outcome.INCONCLUSIVE
        else:
            yield f"{entry.place}: met no regression; remove it", Outcome.NOT_APPLICABLE


def comparison_document(comparison: Comparison, *, failed: bool) -> dict[str, Any]:
    """How two baselines compare, as plain data; changes are as in JSON reports."""
    return {
        "schema": "edgequant-comparison/1",
        "failed": failed,
        "versions": comparison.versions,
        "compared": [
            {**_place(key), "changes": [change_document(change) for change in changes]}
            for key, changes in sorted(comparison.changes.items())
        ],
        "new": [_place(key) for key in sorted(comparison.new)],
        "absent": [_place(key) for key in sorted(comparison.absent)],
        "remarks": [
            {"outcome": outcome.value, "text": line}
            for line, outcome in (*_apart_lines(comparison), *_unused_lines(comparison))
        ],
    }


def _place(key: Key) -> dict[str, Any]:
    model, target, variant = key
    return {"model": model, "variant": variant, "target": target or None}


def _figures(members: Iterable[tuple[Key, str]]) -> str:
    """Figures by entry: `digits/int8 on pico (accuracy, agreement); ...`."""
    figures: dict[str, list[str]] = {}
    for key, metric in members:
        figures.setdefault(name_of(key), []).append(metric)
    return "; ".join(f"{name} ({', '.join(names)})" for name, names in figures.items())


def _apart_lines(comparison: Comparison) -> Iterator[tuple[str, Outcome]]:
    """What can't be compared, by the reason: what is judged, and what is only shown."""
    outcomes = {
        (key, change.metric): change.verdict
        for key, changes in comparison.changes.items()
        for change in changes
    }
    for reason, members in comparison.apart.items():
        found = {outcomes[member] for member in members}
        if found <= {Outcome.NOT_APPLICABLE}:
            why = reason.removesuffix(SAVE_ANEW)
            line = f"not compared, which fails nothing: {_figures(members)}: {why}"
            yield line, Outcome.NOT_APPLICABLE
            continue
        line = f"NOT COMPARABLE: {reason}: {_figures(members)}"
        open_ones = {name for key, name in members if outcomes[key, name] is Outcome.INCONCLUSIVE}
        if open_ones:
            line += f"; inconclusive by {', '.join(sorted(open_ones))}"
        yield line, Outcome.INCONCLUSIVE if open_ones else Outcome.NOT_APPLICABLE


def failed(comparison: Comparison) -> dict[str, list[Change]]:
    """The regressions that fail a run, by the name of the entry."""
    found: dict[str, list[Change]] = {}
    for key, change in comparison.each(Outcome.FAIL):
        found.setdefault(name_of(key), []).append(change)
    return found
