"""The terminal summary: one table by model and target, then what there is to say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pytest_edgequant.records import Result, Target
from pytest_edgequant.report.boards import ModelBoards, model_boards
from pytest_edgequant.report.columns import columns
from pytest_edgequant.report.fitting import fitted, wrapped
from pytest_edgequant.report.glossary import terms_in
from pytest_edgequant.report.legend import WIDTH, Legend
from pytest_edgequant.report.matrix import DETAILED, matrix_lines
from pytest_edgequant.report.notes import note_lines, several_lines
from pytest_edgequant.report.overview import headline
from pytest_edgequant.report.training import training_lines
from pytest_edgequant.results.session import Session
from pytest_edgequant.results.standing import Standings
from pytest_edgequant.wording import counted

_ROWS = 16
"""Rows of all matrices together: what is printed of many models on many boards is one screen."""
_LEAST_ROWS = 3


@dataclass
class _Made:
    """What the tables of a run are made of, and what of them there was no room for."""

    session: Session
    standings: Standings
    legend: Legend
    width: int | None
    left_out: dict[str, None] = field(default_factory=dict)


def _groups(results: Iterable[Result]) -> Iterator[tuple[str, list[Result]]]:
    groups: dict[tuple[str, str | None], list[Result]] = {}
    for result in results:
        groups.setdefault((result.model, result.target), []).append(result)
    for (model, target), members in groups.items():
        yield f"{model} on {target or 'no target'}", members


def summary_lines(
    session: Session,
    targets: Iterable[Target] = (),
    reports: Iterable[str] = (),
    width: int | None = None,
) -> Iterator[str]:
    """The lines of the summary; none where nothing was recorded.

    `targets` are the profiles that the run was given: two or more have one table of all their
    verdicts, more than three that alone. `reports` are where the rest can be read. `width` is the
    terminal's; a log, without one, has room for any row.
    """
    standings = Standings(session)
    profiles = {target.name: target for target in targets}
    by_model: dict[str, list[Result]] = {}
    for result in standings.results:
        by_model.setdefault(result.model, []).append(result)
    found = {
        model: model_boards(model, members, profiles, standings, only=profiles)
        for model, members in by_model.items()
    }
    made = _Made(session, standings, Legend(), width)
    lines: list[str] = []
    most = max(_LEAST_ROWS, _ROWS // max(1, sum(_is_matrix(f) for f in found.values())))
    for model, members in by_model.items():
        lines += _model_lines(members, found[model], made, most)
    if any(map(_is_matrix, found.values())):
        where = ", ".join(reports) or "--edge-report=edge.html"
        lines += ["", *wrapped(f"every figure of each board: {where}", width)]
    yield from lines
    yield from _notes(made, lines)


def _is_matrix(found: ModelBoards) -> bool:
    return len(found.boards) > DETAILED


def _model_lines(
    members: Sequence[Result], found: ModelBoards, made: _Made, most: int
) -> Iterator[str]:
    boards = {board.name for board in found.boards} if _is_matrix(found) else set()
    yield from _tables([result for result in members if result.target not in boards], made)
    if len(found.boards) > 1:
        yield ""
        yield from matrix_lines(found, made.standings, made.legend, most, made.width)


def headline_line(session: Session) -> tuple[str, str]:
    """The verdict over the run as a line, and its tone; empty where nothing was recorded."""
    if not (session.failures or any(session.results())):
        return "", "plain"
    found = headline(session)
    remarks = f" ({'; '.join(found.remarks)})" if found.remarks else ""
    return f"edgequant {found.text}{remarks}", found.tone


def _tables(results: Sequence[Result], made: _Made) -> Iterator[str]:
    sizes = made.session.float32_sizes()
    for title, members in _groups(results):
        shown = columns(members, sizes, made.standings, made.legend)
        found = fitted(shown, made.width, right=True)
        made.left_out.update(dict.fromkeys(found.left_out))
        yield ""
        yield f"{title}{found.aside and f' ({found.aside})'}"
        yield from found.lines


def _notes(made: _Made, said: Sequence[str]) -> Iterator[str]:
    session, results, width = made.session, made.standings.results, made.width
    trained = list(training_lines(results))
    if trained:
        yield ""
        for line in trained:
            yield from wrapped(line, width)
    words = terms_in([*said, *(text for _, text in made.legend.entries), *trained])
    more = [f"what {', '.join(words)} mean{'s' * (len(words) == 1)}: edgequant glossary"]
    narrow = [f"left out for want of room: {', '.join(made.left_out)}"]
    explained = made.legend.lines(
        said,
        [*(more if words else ()), *(narrow if made.left_out else ())],
        WIDTH if width is None else min(width, WIDTH),
    )
    notes = [*note_lines(results), *several_lines(session)]
    if session.damaged:
        entries = counted(session.damaged, "damaged entry was", "damaged entries were")
        notes.append(f"cache: {entries} rebuilt")
    if session.unkept:
        notes.append(
            f"cache: nothing could be kept ({session.unkept}), so that the next run makes it again"
        )
    if explained or notes:
        yield ""
    for line in [*explained, *notes]:
        yield from wrapped(line, width)
