"""The lines on how a run compares with its baseline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from pytest_edgequant.baseline.comparison import Comparison
from pytest_edgequant.baseline.document import Key, name_of
from pytest_edgequant.baseline.pairs import SAVE_ANEW
from pytest_edgequant.names import unknown
from pytest_edgequant.records import Change, Outcome


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


_KINDS = {
    "FAIL": Outcome.FAIL,
    "INCONCLUSIVE": Outcome.INCONCLUSIVE,
    "UNAVAILABLE": Outcome.UNAVAILABLE,
    "accepted": Outcome.PASS,
    "better": Outcome.PASS,
}
"""What a change came to, the worst first; others are not worth a line."""


def _kind(comparison: Comparison, key: Key, change: Change) -> str | None:
    apart = {each for members in comparison.apart.values() for each in members}
    if change.verdict is Outcome.FAIL:
        return "FAIL"
    if change.verdict is Outcome.INCONCLUSIVE:
        return None if (key, change.metric) in apart else "INCONCLUSIVE"
    if change.verdict is Outcome.UNAVAILABLE:
        return "UNAVAILABLE" if change.after is None else None
    if change.verdict is not Outcome.PASS:
        return None
    if (key, change.metric) in comparison.improved:
        return "better"
    return "accepted" if "; accepted" in change.message else None


def _change_lines(comparison: Comparison) -> Iterator[tuple[str, Outcome]]:
    """One line a model and board: what changed there, the worst first, and why."""
    found: dict[tuple[str, str], list[tuple[str, Key, Change]]] = {}
    for key in sorted(comparison.changes):
        for change in comparison.changes[key]:
            kind = _kind(comparison, key, change)
            if kind is not None:
                found.setdefault(key[:2], []).append((kind, key, change))
    order = list(_KINDS)
    groups = [sorted(group, key=lambda told: order.index(told[0])) for group in found.values()]
    for group in sorted(groups, key=lambda told: order.index(told[0][0])):
        yield _change_line(comparison, group), _KINDS[group[0][0]]


def _change_line(comparison: Comparison, group: list[tuple[str, Key, Change]]) -> str:
    """The changes of one model on one board, as `_change_lines` groups them."""
    keys = list(dict.fromkeys(key for _, key, _ in group))
    (model, target, _), single = keys[0], len(keys) == 1
    subject = name_of(keys[0]) if single else model + (f" on {target}" if target else "")
    whys = {comparison.origins.get(key, "") for _, key, change in group if _differs(change)}
    why = whys.pop() if len(whys) == 1 and len(group) > 1 else ""
    parts: list[str] = []
    before: tuple[str, Key | None] = (group[0][0], keys[0] if single else None)
    for kind, key, change in group:
        form = "" if single else f"{key[2]} "
        label = f"{kind}: " if kind != before[0] else ""
        text = _told(change, key, kind, why)
        parts.append(f"{label}{'' if not label and key == before[1] else form}{text}")
        before = kind, key
    return f"{group[0][0]}: {subject}: {'; '.join([*parts, *([why] if why else [])])}"


def _differs(change: Change) -> bool:
    return change.after is not None and change.before != change.after


def _told(change: Change, key: Key, kind: str, why: str) -> str:
    """A change's message, less what its line says already: of what, how it came out, and why."""
    text = change.message.removeprefix(f"{name_of(key)}: ")
    said = [why] if why else []
    said += [kind] if kind == "better" else []
    for words in said:
        text = text.replace(f"; {words}", "", 1)
    return text


def comparison_lines(comparison: Comparison) -> Iterator[tuple[str, Outcome]]:
    """What to read after a run, the worst first, each line with its outcome."""
    for error in comparison.unknown:
        yield f"FAIL: {error}", Outcome.FAIL
    yield from _change_lines(comparison)
    yield from _apart_lines(comparison)
    for where, members in comparison.parts.items():
        yield f"compared{where}: {_figures(members)}", Outcome.NOT_APPLICABLE
    models = comparison.models()
    for entry in comparison.unused:
        if models and not any(fnmatchcase(model, entry.model) for model in models):
            error = unknown("model", entry.model, models, entry.place)
            yield f"{error} It accepts nothing", Outcome.INCONCLUSIVE
        else:
            yield f"{entry.place}: met no regression; remove it", Outcome.NOT_APPLICABLE
    if comparison.unmet:
        places = ", ".join(rule.place for rule in comparison.unmet)
        yield f"rules that met no figure of this run: {places}", Outcome.NOT_APPLICABLE


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
