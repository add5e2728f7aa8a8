"""The first screen of the HTML report: a row a variant, what failed, and links to the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_edgequant.outcomes import WORST_FIRST
from pytest_edgequant.records import Outcome, Result
from pytest_edgequant.report.boards import ModelBoards, described
from pytest_edgequant.report.figures import format_value, score_label, score_name
from pytest_edgequant.report.html_boards import (
    TONES,
    Bar,
    FigureTable,
    bar_of,
    counted,
    decisive,
    figure_table,
)
from pytest_edgequant.report.legend import Legend
from pytest_edgequant.report.overview import findings, general, tone
from pytest_edgequant.results.session import Session
from pytest_edgequant.results.standing import Cause, Standing, Standings

DETAILED = 3
"""Up to so many boards a model has a row for each variant on each of them."""
_COUNTED = {
    "bad": "fail",
    "unsure": "open",
    "good": "pass",
    "plain": "not judged",
    "refused": "can't run it",
}
SPANS = ("size", "arena", "score")
_SHOWN = 6
"""So many findings are unfolded."""

Links = Mapping[tuple[str, str], str]
"""Where more stands of a variant, by model and form."""


@dataclass(frozen=True)
class TargetTable:
    """What was measured and judged on one target."""

    target: str
    table: FigureTable


@dataclass(frozen=True)
class BoardsRow:
    """A variant on many boards: how many of them pass, its tightest limit, where it passes."""

    name: str
    link: str
    tone: str
    outcome: Outcome | None
    counts: str
    spans: Sequence[str]
    tightest: str
    bar: Bar | None
    smallest: str

    @property
    def rank(self) -> tuple[int, int]:
        """What failed comes first, the worst of it before the rest."""
        worst = len(WORST_FIRST) if self.outcome is None else WORST_FIRST.index(self.outcome)
        return TONES.index(self.tone), worst


@dataclass(frozen=True)
class Quiet:
    """Variants that were not run, on which targets, and why."""

    names: Sequence[str]
    targets: Sequence[str]
    why: Sequence[str]


def is_quiet(result: Result, standing: Standing) -> bool:
    """Whether a row has nothing to show: the variant was never there, and nothing is about it."""
    nothing = not result.metrics and not result.changes and tone(standing) == "plain"
    return nothing and standing.outcome is not Outcome.CANNOT_RUN


def target_tables(
    results: Iterable[Result], standings: Standings, links: Links
) -> list[TargetTable]:
    """A table a target, of the results that are to be shown by target."""
    found: dict[str, list[tuple[str, str, Result, Standing]]] = {}
    legend = Legend()
    for result in results:
        row = (
            f"{result.model}/{result.form}",
            links[result.model, result.form],
            result,
            standings.of(result),
        )
        found.setdefault(result.target or "no target", []).append(row)
    return [
        TargetTable(target, figure_table(rows, legend)) for target, rows in sorted(found.items())
    ]


def _spans(results: Sequence[Result]) -> list[str]:
    """Size, arena and score over all boards: one figure, or the least and the most."""
    score = next((name for r in results if (name := score_name(r)) is not None), None)
    names = ["size_bytes", "arena_bytes", *([] if score is None else [score])]
    texts = [_span(results, name) for name in names]
    return [*texts, "-"] if score is None else texts


def _span(results: Sequence[Result], name: str) -> str:
    known = [m for r in results if (m := r.metrics.get(name)) and m.value is not None]
    if not known:
        return "-"
    values = sorted({m.value for m in known if m.value is not None})
    texts = [format_value(name, value, known[0].unit) for value in (values[0], values[-1])]
    label = "" if name.endswith("_bytes") else f"{score_label(name)} "
    return label + " to ".join(dict.fromkeys(texts))


def boards_rows(boards: ModelBoards, links: Links) -> Iterator[BoardsRow]:
    """A row a variant of a model on many boards."""
    for variant in boards.variants:
        cells = [b.cells[variant] for b in boards.boards if variant in b.cells]
        shown = [(b.name, b.cells[variant]) for b in boards.boards if variant in b.cells]
        known = [(cell.use, name) for name, cell in shown if cell.use is not None]
        use, where = max(known, key=lambda entry: entry[0].share or 0.0, default=(None, ""))
        standings = [cell.standing for cell in cells]
        shown_tone, outcome = decisive(standings)
        fitting = boards.fitting(variant)
        yield BoardsRow(
            f"{boards.model}/{variant}",
            links[boards.model, variant],
            shown_tone,
            outcome,
            ", ".join(f"{number} {word}" for number, word in counted(standings, _COUNTED)),
            _spans([cell.result for cell in cells]),
            f"{use.told} on {where}" if use is not None else "",
            bar_of(use),
            described(fitting, 1) if fitting else "none",
        )


def quiet_rows(results: Iterable[Result], standings: Standings) -> list[Quiet]:
    """What was not run: together what was not on the same targets, for the same reasons."""
    targets: dict[tuple[str, tuple[str, ...]], dict[str, None]] = {}
    for result in results:
        if not is_quiet(result, standings.of(result)):
            continue
        said = tuple(dict.fromkeys(general(v.message, result.target) for v in result.verdicts))
        name = f"{result.model}/{result.form}"
        targets.setdefault((name, said), {})[result.target or "no target"] = None
    names: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for (name, why), where in targets.items():
        names.setdefault((tuple(where), why), []).append(name)
    return [Quiet(found, where, why) for (where, why), found in names.items()]


# -- what is not right --------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """A finding that several boards of a variant share: the first in full, of others the message.

    `what` is the check, `subject` the variant; both are empty of a test as such.
    """

    outcome: Outcome
    tone: str
    what: str
    subject: str
    link: str
    targets: Sequence[str]
    message: str
    tests: Sequence[str]
    others: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Findings:
    """A list of findings under a title: what is unfolded, and the rest."""

    title: str
    shown: Sequence[Group]
    folded: Sequence[Group]


def _by_check(standings: Standings, links: Links) -> Iterator[Group]:
    found: dict[tuple[bool, Outcome, str, str, str], list[tuple[str, Cause]]] = {}
    for result in standings.results:
        for cause in standings.of(result).causes:
            if cause.check:
                key = (cause.failed, cause.outcome, cause.check, result.model, result.form)
                found.setdefault(key, []).append((result.target or "", cause))
    for (failed, outcome, check, model, form), members in found.items():
        (target, first), *others = members
        alike = general(first.message, target)
        different = [(n, c.message) for n, c in others if general(c.message, n) != alike]
        yield Group(
            outcome,
            "bad" if failed else "unsure",
            check,
            f"{model}/{form}",
            links[model, form],
            list(dict.fromkeys([target, *(name for name, _ in others)])),
            alike if others and not different else first.message,
            list(dict.fromkeys(test for _, cause in members for test in cause.tests)),
            different,
        )


def grouped_findings(
    session: Session, standings: Standings, links: Links, titles: tuple[str, str]
) -> list[Findings]:
    """What failed, then what did not pass and fails nothing; `titles` are of both."""
    groups = [
        Group(f.outcome, f.tone, "", "", "", (), f.message, f.tests, ())
        for f in findings(session)
        if f.check == "test"
    ]
    checks = sorted(
        _by_check(standings, links),
        key=lambda g: (WORST_FIRST.index(g.outcome), g.subject, g.what),
    )
    groups += checks
    made = []
    for title, wanted in zip(titles, ("bad", "unsure"), strict=True):
        members = [group for group in groups if group.tone == wanted]
        if members:
            made.append(Findings(title, members[:_SHOWN], members[_SHOWN:]))
    return made
