"""What changed against a baseline, and why: a line a model and board."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_edgequant.baseline.comparison import ORIGINS
from pytest_edgequant.baseline.document import Key, name_of
from pytest_edgequant.records import NOT_COMPARABLE, Change, Outcome, Result

_KINDS = {
    "FAIL": Outcome.FAIL,
    "INCONCLUSIVE": Outcome.INCONCLUSIVE,
    "UNAVAILABLE": Outcome.UNAVAILABLE,
    "accepted": Outcome.PASS,
    "better": Outcome.PASS,
}
"""What a change came to, the worst first; others are not worth a line."""
_ORDER = list(_KINDS)
_Told = tuple[str, Key, Change]


def change_document(change: Change) -> dict[str, Any]:
    """A change as plain data, as JSON reports have it."""
    found = dataclasses.asdict(change) | {"verdict": change.verdict.value}
    waived = {name: found.pop(name) for name in ("accepted", "informational")}
    return found | {name: why for name, why in waived.items() if why}


def _kind(change: Change) -> str | None:
    if change.verdict is Outcome.FAIL:
        return "FAIL"
    if change.verdict is Outcome.INCONCLUSIVE:
        # What can't be compared is told by its reason, for all figures at once.
        return None if NOT_COMPARABLE in change.message else "INCONCLUSIVE"
    if change.verdict is Outcome.UNAVAILABLE:
        return "UNAVAILABLE" if change.after is None else None
    if change.verdict is not Outcome.PASS:
        return None
    said = change.message.split("; ")
    if "better" in said:
        return "better"
    return "accepted" if any(part.startswith("accepted") for part in said) else None


def _why(change: Change) -> str:
    """Where a difference is from, as far as its message says; empty where it does not."""
    parts = change.message.split("; ")
    return next((part for part in parts if part.startswith(ORIGINS)), "")


def change_lines(changes: Mapping[Key, Sequence[Change]]) -> Iterator[tuple[str, Outcome]]:
    """One line a model and board: what changed there, the worst first, and why."""
    found: dict[tuple[str, str], list[_Told]] = {}
    for key in sorted(changes):
        for change in changes[key]:
            kind = _kind(change)
            if kind is not None:
                found.setdefault(key[:2], []).append((kind, key, change))
    groups = [sorted(group, key=lambda told: _ORDER.index(told[0])) for group in found.values()]
    for group in sorted(groups, key=lambda told: _ORDER.index(told[0][0])):
        yield _line(group), _KINDS[group[0][0]]


def _line(group: Sequence[_Told]) -> str:
    """The changes of one model on one board, as `change_lines` groups them."""
    keys = list(dict.fromkeys(key for _, key, _ in group))
    (model, target, _), single = keys[0], len(keys) == 1
    subject = name_of(keys[0]) if single else model + (f" on {target}" if target else "")
    # What is missing has no reason of its own.
    whys = {_why(change) for _, _, change in group if change.after not in (None, change.before)}
    why = whys.pop() if len(whys) == 1 and len(group) > 1 else ""
    parts: list[str] = []
    before: tuple[str, Key | None] = (group[0][0], keys[0] if single else None)
    for kind, key, change in group:
        label = f"{kind}: " if kind != before[0] else ""
        form = "" if single or (not label and key == before[1]) else f"{key[2]} "
        parts.append(f"{label}{form}{_told(change, key, kind, why)}")
        before = kind, key
    return f"{group[0][0]}: {subject}: {'; '.join([*parts, *filter(None, [why])])}"


def _told(change: Change, key: Key, kind: str, why: str) -> str:
    """A change's message, less what its line says already: of what, how it came out, and why."""
    text = change.message.removeprefix(f"{name_of(key)}: ")
    for words in filter(None, (why, "better" if kind == "better" else "")):
        text = text.replace(f"; {words}", "", 1)
    return text


def result_change_lines(results: Iterable[Result]) -> list[str]:
    """The same of the results of a session."""
    changes: dict[Key, list[Change]] = {}
    for result in results:
        key = (result.model, result.target or "", result.variant)
        changes.setdefault(key, []).extend(result.changes)
    return [line for line, _ in change_lines(changes)]
