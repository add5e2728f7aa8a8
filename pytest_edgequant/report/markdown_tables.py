"""The Markdown report's tables: boards at a glance, then a row a variant, words linked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pytest_edgequant.records import Result, Target
from pytest_edgequant.report.boards import Board, ModelBoards, model_boards, smallest_lines
from pytest_edgequant.report.columns import columns
from pytest_edgequant.report.glossary import TERMS, anchor, terms_in
from pytest_edgequant.report.legend import Legend, table
from pytest_edgequant.report.markdown_text import code, prose
from pytest_edgequant.report.matrix import DETAILED, matrix_columns, passing_text
from pytest_edgequant.report.notes import named
from pytest_edgequant.results.session import Session
from pytest_edgequant.results.standing import Standings
from pytest_edgequant.wording import counted

_SEEN = 8
"""Rows of a model's boards that are seen before anything is unfolded."""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,29}")
_TERM = re.compile(rf"\b({'|'.join(map(re.escape, TERMS))})\b")


def linked(text: str, most: int = 2000) -> str:
    """A sentence in which words of the glossary lead to what they mean."""
    pieces = _TERM.split(text)
    return "".join(
        f"[{piece}](#{anchor(piece)})" if at % 2 else _between(piece, most)
        for at, piece in enumerate(pieces)
    )


def _between(text: str, most: int) -> str:
    """What stands between words that are linked, with the spaces around it."""
    words = text.strip()
    before, _, after = text.partition(words) if words else (text, "", "")
    return f"{before and ' '}{prose(words, most)}{after and ' '}"


def rows_of(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A table in Markdown; its cells are escaped already."""
    heads = list(headings)
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def folded(title: str, lines: Iterable[str]) -> Iterator[str]:
    """`title` is ours: a summary is read as HTML."""
    yield ""
    yield f"<details><summary>{title}</summary>"
    yield ""
    yield from lines
    yield ""
    yield "</details>"


def by_target(standings: Standings) -> Mapping[str, list[Result]]:
    """Results by the name of their target, in the order of names."""
    found: dict[str, list[Result]] = {}
    for result in standings.results:
        found.setdefault(result.target or "no target", []).append(result)
    return dict(sorted(found.items()))


def board_table(
    results: Sequence[Result], session: Session, standings: Standings, legend: Legend, name: int
) -> Iterator[str]:
    """The rows of one target; names are at most `name` characters."""
    made = columns(results, session.float32_sizes(), standings, legend, changes=True)
    headings, rows = table(made)
    judged = headings[-1] == "verdict"
    cells = (
        [
            code(f"{result.model}/{result.form}", name),
            *(prose(cell, 2 * name) for cell in row[1 : -1 if judged else None]),
            *([prose(row[-1], 4 * name)] if judged else []),
        ]
        for result, row in zip(results, rows, strict=True)
    )
    yield from rows_of(["model/variant", *map(linked, headings[1:])], cells)


def board_anchors(targets: Iterable[str]) -> Mapping[str, str]:
    """What links to the tables of boards point at; none of names that are long or odd."""
    return {name: f"edgequant-on-{name}" for name in targets if _PLAIN.fullmatch(name)}


def _matrix(
    boards: Sequence[Board],
    forms: Sequence[str],
    legend: Legend,
    name: int,
    anchors: Mapping[str, str],
) -> Iterator[str]:
    headings, rows = table(matrix_columns(boards, forms, legend))
    cells = (
        [_linked_board(row[0], name, anchors), *(prose(cell, 4 * name) for cell in row[1:])]
        for row in rows
    )
    yield from rows_of([headings[0], *(_form(h, forms, name) for h in headings[1:])], cells)


def _linked_board(board: str, most: int, anchors: Mapping[str, str]) -> str:
    """A board's name, which leads to its table if there is one."""
    shown, leads_to = code(board, most), anchors.get(board)
    return shown if leads_to is None else f"[{shown}](#{leads_to})"


def _form(heading: str, forms: Sequence[str], name: int) -> str:
    """A variant at the head of a column, and the marks behind it."""
    form = max((form for form in forms if heading.startswith(form)), key=len)
    marks = heading.removeprefix(form)
    return f"{code(form, name)}{' ' if marks else ''}{prose(marks)}"


def _model(
    found: ModelBoards,
    standings: Standings,
    legend: Legend,
    most: int | None,
    name: int,
    anchors: Mapping[str, str],
) -> Iterator[str]:
    """One model: the boards that are not right, the folded others, the smallest that will do."""
    good, others = found.passing, found.open
    yield ""
    yield f"### {code(found.model, name)} on {len(found.boards)} boards"
    if others:
        yield ""
        seen = _SEEN if most is None else most
        yield from _matrix(others[:seen], found.variants, legend, name, anchors)
        hidden = others[seen:]
        if hidden and most is None:
            rest = _matrix(hidden, found.variants, legend, name, anchors)
            title = counted(len(hidden), "more board is", "more boards are")
            yield from folded(f"{title} not right", rest)
        elif hidden:
            yield ""
            names = prose(named(b.name for b in hidden))
            yield f"And {len(hidden)} more that are not right: {names}"
    if good and most is None:
        passing = _matrix(good, found.variants, legend, name, anchors)
        yield from folded(passing_text(good), passing)
    elif good:
        yield ""
        yield f"{passing_text(good)}."
    for line in smallest_lines(found, standings):
        yield ""
        yield prose(_sentence(line), 1000)


def _sentence(line: str) -> str:
    """A line as a sentence begins, unless it begins with a name."""
    return line[:1].upper() + line[1:] if line.startswith(("the ", "there ", "no ")) else line


def matrices(
    standings: Standings,
    targets: Mapping[str, Target],
    legend: Legend,
    most: int | None,
    name: int,
    anchors: Mapping[str, str],
) -> Iterator[str]:
    """Each model on its boards; with `most` only so many boards of each, and no table of the rest.

    Up to three boards each have a table, which says enough: the smallest that will do are named.
    """
    models: dict[str, list[Result]] = {}
    for result in standings.results:
        models.setdefault(result.model, []).append(result)
    for model, results in models.items():
        found = model_boards(model, results, targets, standings)
        if len(found.boards) > DETAILED:
            yield from _model(found, standings, legend, most, name, anchors)
        elif len(found.boards) > 1:
            yield ""
            (first, *_) = smallest_lines(found, standings)
            yield f"{code(model, name)}: {prose(first, 1000)}"


def legend_lines(legend: Legend, *, fold: bool) -> Iterator[str]:
    """What the marks of the tables mean; `fold` where most of them stand in folded tables."""
    lines = [f"{prose(mark)} {linked(text)}" for mark, text in legend.entries]
    if fold and lines:
        yield from folded("How the figures came about", (f"- {line}" for line in lines))
        return
    for line in lines:
        yield ""
        yield line


def terms(said: Sequence[str]) -> Iterator[str]:
    """The words that the report uses and links, with what they mean."""
    used = [term for term in terms_in(said) if any(f"](#{anchor(term)})" in text for text in said)]
    if used:
        lines = (f'- <a id="{anchor(term)}"></a>**{term}**: {prose(TERMS[term])}.' for term in used)
        yield from folded("What the words mean", lines)
