"""What there is to say beside the figures, once each, with the variants and boards it is about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pytest_edgequant.records import Outcome, Result
from pytest_edgequant.results.session import Session

_MOST_NAMES = 6


def named(names: Iterable[str], most: int = _MOST_NAMES) -> str:
    """Names in a sentence: the first of many, and how many more there are."""
    found = list(dict.fromkeys(names))
    more = len(found) - most
    if more <= 1:
        return ", ".join(found)
    return f"{', '.join(found[:most])} and {more} more"


def _where(boards: Sequence[str], every: Sequence[str]) -> str:
    """On which boards something holds."""
    if not boards:
        return ""
    if len(every) > _MOST_NAMES and len(set(boards)) == len(every):
        return f" on all {len(every)} boards"
    return f" on {named(boards)}"


def _refusal(result: Result, message: str) -> str:
    """Why a variant can't run, without its name and its board's."""
    return message.partition(f" cannot run on {result.target}: ")[2] or message


def note_lines(results: Sequence[Result]) -> Iterator[str]:
    """Notes, and why variants can't run: a line each for all variants and boards they hold for."""
    every = sorted({r.target for r in results if r.target})
    notes: dict[tuple[str, str], list[Result]] = {}
    refusals: dict[str, list[Result]] = {}
    for result in results:
        for note in result.notes:
            notes.setdefault((result.model, note), []).append(result)
        for verdict in result.verdicts:
            if verdict.verdict is Outcome.CANNOT_RUN:
                members = refusals.setdefault(_refusal(result, verdict.message), [])
                if result not in members:
                    members.append(result)
    for (model, note), members in notes.items():
        forms = ", ".join(sorted({result.form for result in members}))
        boards = sorted({result.target for result in members if result.target})
        yield f"{model} ({forms}){_where(boards, every)}: {note}"
    for reason, members in refusals.items():
        for subjects, boards in _grouped(members):
            # A reason may name its board: that of the first stands for others as well.
            yield f"{named(subjects)} cannot run{_where(boards, every)}: {reason}"


def _grouped(members: Sequence[Result]) -> Iterator[tuple[list[str], list[str]]]:
    """Variants by the boards on which the same holds for them."""
    boards: dict[str, list[str]] = {}
    for result in members:
        boards.setdefault(f"{result.model}/{result.form}", []).append(result.target or "")
    found: dict[tuple[str, ...], list[str]] = {}
    for subject, own in boards.items():
        found.setdefault(tuple(sorted(filter(None, own))), []).append(subject)
    for together, subjects in found.items():
        yield subjects, list(together)


def several_lines(session: Session) -> Iterator[str]:
    """The names that several files had, each of which has a row of its own."""
    for model, target, variant in session.ambiguous():
        where = f" on {target}" if target else ""
        yield (
            f"{model}/{variant}{where}: tests of this run had different files of this name (other "
            "calibration samples, or another model): a row each, and no baseline. Name them apart "
            "with edge_model_name"
        )
