"""What `edgequant check` shows: a row a board, what is wrong, what to do, the smallest boards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_edgequant.gate.checks import UNFIT
from pytest_edgequant.outcomes import Outcome
from pytest_edgequant.records import Result, Target, Verdict
from pytest_edgequant.report.boards import model_boards, room, smallest_lines
from pytest_edgequant.report.figures import result_text, score_label, score_name
from pytest_edgequant.report.overview import headline, tone, verdict_text
from pytest_edgequant.report.plain import columns
from pytest_edgequant.report.usage import use_of
from pytest_edgequant.results.session import Session
from pytest_edgequant.results.standing import Standings
from pytest_edgequant.units import format_bytes
from pytest_edgequant.wording import counted, one_line, printable

Line = tuple[str, str]
"""A line and its tone: as those of standings, or `head` and `dim`."""
_DETAILED = 3
"""Up to so many boards a model have their failures told in full."""
_SHOWN = 8
_HEADINGS = ("target", "verdict", "flash", "arena", "latency", "score", "drop")
_COLUMNS = {"size": "size_bytes", "arena": "arena_bytes", "latency": "latency_ms"}
_GOOD = (Outcome.PASS, Outcome.NOT_APPLICABLE)


class CheckText:
    """The text of a run of checks; `targets` are the profiles by name."""

    def __init__(self, session: Session, targets: Mapping[str, Target]) -> None:
        self._session = session
        self._standings = Standings(session)
        self._targets = targets

    def lines(self) -> Iterator[Line]:
        """Model by model, then the verdict over them."""
        groups: dict[tuple[str, str], list[Result]] = {}
        for result in self._standings.results:
            groups.setdefault((result.model, result.form), []).append(result)
        for (model, form), members in groups.items():
            if all(result.target is None for result in members):
                # What others were compared with: it is on no board.
                scores = ", ".join(dict.fromkeys(map(_score, members)))
                yield f"{_title(model, form, members)}: {scores}", "plain"
                yield "", "plain"
                continue
            yield _title(model, form, members), "head"
            yield from self._model(members)
            yield "", "plain"
        found = headline(self._session)
        yield f"edgequant {found.text}", found.tone

    def _model(self, members: Sequence[Result]) -> Iterator[Line]:
        unfit = [r for r in members if any(v.check == UNFIT for v in r.verdicts)]
        judged = [r for r in members if r not in unfit and r.target in self._targets]
        judged.sort(key=lambda r: room(self._targets[str(r.target)]))
        if judged:
            yield from self._table(judged)
            yield from self._reasons(judged)
        if len(judged) > 1 and not unfit:
            boards = model_boards(judged[0].model, judged, self._targets, self._standings)
            yield from ((line, "plain") for line in smallest_lines(boards, self._standings))
        yield from _unfit_lines(unfit, alone=not judged)
        yield from ((line, "dim") for line in _notes(judged))

    # -- the table ---------------------------------------------------------------------------

    def _table(self, results: Sequence[Result]) -> Iterator[Line]:
        standings = [self._standings.of(result) for result in results]
        rows = [
            (
                str(result.target),
                verdict_text(standing),
                *(_cell(result, check, figure) for check, figure in _COLUMNS.items()),
                _score(result),
                _cell(result, "accuracy_drop", "accuracy_drop"),
            )
            for result, standing in zip(results, standings, strict=True)
        ]
        lines = list(columns(rows, _HEADINGS))
        yield from ((line, "plain") for line in lines[:2])
        yield from zip(lines[2:], map(tone, standings), strict=True)

    # -- what is wrong -----------------------------------------------------------------------

    def _reasons(self, results: Sequence[Result]) -> Iterator[Line]:
        """What did not pass: once for all boards it holds for, in a line where they are many."""
        refusals: dict[str, list[Result]] = {}
        for result in results:
            for verdict in result.verdicts:
                if verdict.verdict is Outcome.CANNOT_RUN:
                    boards = refusals.setdefault(_refusal(result, verdict), [])
                    boards += [] if result in boards else [result]
                elif verdict.verdict not in _GOOD:
                    said = verdict.message
                    if len(results) > _DETAILED:
                        said = f"{result.target}: {brief(verdict)}"
                    yield said, "bad" if verdict.verdict is Outcome.FAIL else "unsure"
        for reason, boards in refusals.items():
            names = ", ".join(str(result.target) for result in boards)
            yield f"cannot run on {names}: {reason}", "bad"
            yield from ((f"  {line}", "bad") for line in self._operators(boards, reason))

    def _operators(self, results: Sequence[Result], said: str) -> Iterator[str]:
        """The operators that are refused, where the reason does not name them."""
        found = [
            f"{row['where']} [{row['rule']}]"
            for result in results
            for row in self._session.details(result).get("refused", ())
            if row["where"] not in said
        ]
        yield from dict.fromkeys(found)


def _title(model: str, form: str, members: Sequence[Result]) -> str:
    sizes = [r.metrics["size_bytes"].value for r in members if "size_bytes" in r.metrics]
    size = f", {format_bytes(int(sizes[0]))}" if sizes and sizes[0] is not None else ""
    return printable(f"{model}/{form}{size}")


def _cell(result: Result, check: str, figure: str) -> str:
    """A figure, and how much of its limit it takes where it has one."""
    found = [use_of(result, verdict) for verdict in result.verdicts if verdict.check == check]
    used = sorted((use for use in found if use is not None), key=lambda use: -(use.share or 0.0))
    shown = result_text(result, figure)
    return f"{shown}, {used[0].part}" if used and shown != "-" else shown


def _score(result: Result) -> str:
    name = score_name(result)
    return "-" if name is None else f"{score_label(name)} {result_text(result, name)}"


def _refusal(result: Result, verdict: Verdict) -> str:
    return verdict.message.partition(f" cannot run on {result.target}: ")[2] or verdict.message


def brief(verdict: Verdict) -> str:
    """A verdict in a line, what is wrong first."""
    return verdict.brief or one_line(verdict.message)


def _unfit_lines(results: Sequence[Result], *, alone: bool) -> Iterator[Line]:
    """The boards on which it does not fit, by what is in the way."""
    causes: dict[str, list[str]] = {}
    for result in results:
        for verdict in result.verdicts:
            if verdict.check == UNFIT:
                causes.setdefault(verdict.message, []).append(str(result.target))
    if results:
        total = counted(len(results), "board")
        yield ("fits none of" if alone else "does not fit") + f" {total}:", "plain"
    for cause, boards in sorted(causes.items(), key=lambda item: (-len(item[1]), item[0])):
        more = len(boards) - _SHOWN
        names = ", ".join(boards[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        yield f"  {names}: {cause}", "plain"


def _notes(results: Sequence[Result]) -> Iterator[str]:
    """What there is to say beside the verdicts, once each; then how figures were had."""
    yield from dict.fromkeys(note for result in results for note in result.notes)
    if len(results) > _DETAILED:
        return
    for name in _COLUMNS.values():
        metrics = [r.metrics[name] for r in results if name in r.metrics]
        known = [m.provenance if m.value is not None else str(m.reason) for m in metrics]
        what = name.partition("_")[0]
        yield from dict.fromkeys(f"{what}: {said}" for said in known if name != "size_bytes")
