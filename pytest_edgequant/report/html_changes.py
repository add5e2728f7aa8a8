"""What changed against the baseline, in the HTML report: a row a model, and boards that agree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_edgequant.records import Change, Outcome, Result
from pytest_edgequant.report.figures import change_text
from pytest_edgequant.report.html_boards import TONES
from pytest_edgequant.report.overview import general

_BESIDE = {
    Outcome.FAIL: "bad",
    Outcome.INCONCLUSIVE: "unsure",
    Outcome.UNAVAILABLE: "unsure",
}


@dataclass(frozen=True)
class ChangeRow:
    """What changed of a model on boards where the same did, the worst first, and why."""

    model: str
    link: str
    targets: Sequence[str]
    tone: str
    parts: Sequence[tuple[str, str]]
    why: str


def _tone(change: Change) -> str:
    if change.accepted or change.informational:
        return "unsure"
    return _BESIDE.get(change.verdict, "plain")


def _changed(change: Change) -> bool:
    """Whether there is something to say of it: the figure differs, or can't be told not to."""
    differs = None not in (change.before, change.after) and change.before != change.after
    return differs or change.verdict in _BESIDE


def _common_end(messages: Sequence[str]) -> str:
    """The clauses that all messages end with, such as where the differences come from."""
    clauses = [message.split("; ") for message in messages]
    shared: list[str] = []
    # The first clause says what the change is of.
    for position in range(1, min(map(len, clauses), default=0)):
        last = {told[-position] for told in clauses}
        if len(last) > 1:
            break
        shared.insert(0, last.pop())
    return "; ".join(shared)


def _label(change: Change) -> str:
    """How a change is taken: by name where it is not a plain difference."""
    if change.accepted:
        return f"accepted {change.accepted}: "
    if change.informational:
        return "informational: "
    labels = {Outcome.FAIL: "regressed: ", Outcome.INCONCLUSIVE: "inconclusive: "}
    return labels.get(change.verdict, "")


def _row(members: Sequence[tuple[Result, Change]]) -> tuple[str, tuple[tuple[str, str], ...], str]:
    """Tone, parts and reason of the changes of one model on one target."""
    ordered = sorted(members, key=lambda m: (TONES.index(_tone(m[1])), m[0].form, m[1].metric))
    messages = [general(change.message, result.target) for result, change in ordered]
    told = [message for message in messages if message]
    same: dict[tuple[str, str], list[str]] = {}
    for result, change in ordered:
        text = f"{_label(change)}{change.metric} {change_text(change)}"
        same.setdefault((_tone(change), text), []).append(result.form)
    parts = tuple((tone, f"{text} ({', '.join(forms)})") for (tone, text), forms in same.items())
    return parts[0][0], parts, _common_end(told)


def change_rows(results: Iterable[Result], anchors: dict[str, str]) -> list[ChangeRow]:
    """A row for each model and what changed of it; `anchors` are where models stand."""
    found: dict[tuple[str, str], list[tuple[Result, Change]]] = {}
    for result in results:
        for change in filter(_changed, result.changes):
            found.setdefault((result.model, result.target or ""), []).append((result, change))
    merged: dict[tuple[str, tuple[str, tuple[tuple[str, str], ...], str]], list[str]] = {}
    for (model, target), members in found.items():
        merged.setdefault((model, _row(members)), []).append(target or "no target")
    rows = [
        ChangeRow(model, anchors.get(model, ""), targets, tone, parts, why)
        for (model, (tone, parts, why)), targets in merged.items()
    ]
    return sorted(rows, key=lambda row: (TONES.index(row.tone), row.model, row.targets))
