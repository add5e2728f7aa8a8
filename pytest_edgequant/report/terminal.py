"""The terminal summary: one table by model and target, then what there is to say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pytest_edgequant.records import Metric, Outcome, Result, Target
from pytest_edgequant.report.matrix import matrix_lines
from pytest_edgequant.report.overview import headline, row_text
from pytest_edgequant.report.training import training_lines
from pytest_edgequant.results.session import Session
from pytest_edgequant.results.standing import Standings
from pytest_edgequant.units import format_bytes, format_samples

_OWN_COLUMNS = (
    *("size_bytes", "runtime_code_bytes", "flash_left_bytes"),
    *("arena_bytes", "accuracy_drop", "output_sqnr"),
)
_DETAILED = 3
"""Up to so many targets a model have a table of their own."""
_IN_REPORTS_ONLY = ("worst_class_drop", "agreement", "output_cosine", "calibration_worst_drop")
_SOURCED = {"arena_bytes": "arena", "flash_left_bytes": "flash left"}


def _bytes(metric: Metric | None) -> str:
    if metric is None:
        return "-"
    if metric.value is None:
        return "unavailable"
    if metric.low is not None and metric.high is not None and metric.low < 0 <= metric.high:
        return f"{int(metric.low):,} to {format_bytes(int(metric.high))}"
    return format_bytes(int(metric.value))


def _is_share(name: str, metric: Metric | None) -> bool:
    """Whether a figure reads in per cent, and its drop in points."""
    return name == "accuracy" or (metric is not None and metric.unit == "fraction")


def _score(name: str, metric: Metric | None) -> str:
    if metric is None:
        return "-"
    if metric.value is None:
        return "unavailable"
    return f"{metric.value:.2%}" if _is_share(name, metric) else f"{metric.value:.5g}"


def _drop(result: Result) -> str:
    """The drop and, where there is one, its interval: `+1.25 pt (-0.40, +2.90)`."""
    metric = result.metrics.get("accuracy_drop")
    if metric is None or metric.value is None:
        return "-"
    share = _is_share("accuracy_drop", metric) or "accuracy" in result.metrics
    factor = 100 if share else 1

    def show(value: float, digits: int) -> str:
        spec = "+.2f" if share else f"+.{digits}g"
        return f"{factor * value + 0.0:{spec}}"  # -0.0 would read as a gain

    text = show(metric.value, 4) + (" pt" if share else "")
    if metric.low is None or metric.high is None or metric.low == metric.high:
        return text
    return f"{text} ({show(metric.low, 3)}, {show(metric.high, 3)})"


def _decibels(metric: Metric | None) -> str:
    if metric is None:
        return "-"
    if metric.value is None:
        return "inf" if "infinite" in (metric.reason or "") else "-"
    return f"{metric.value:.1f} dB"


def _samples(result: Result, names: list[str]) -> str:
    """How many samples the scores were had on; several numbers where they are not of the same."""
    figures = (result.metrics.get(name) for name in [*names, "accuracy_drop"])
    counts = (
        format_samples(figure.count, figure.of).rpartition(" ")[0]
        for figure in figures
        if figure is not None and figure.count is not None
    )
    return "; ".join(dict.fromkeys(counts)) or "-"


def _groups(results: list[Result]) -> Iterator[tuple[str, list[Result]]]:
    groups: dict[tuple[str, str | None], list[Result]] = {}
    for result in results:
        groups.setdefault((result.model, result.target), []).append(result)
    for (model, target), members in groups.items():
        yield f"{model} on {target or 'no target'}", members


def summary_lines(session: Session, targets: Iterable[Target] = ()) -> Iterator[str]:
    """The lines of the summary; none where nothing was recorded.

    `targets` are the profiles that the run was given: two or more have one table of all their
    verdicts, more than three that alone.
    """
    standings = Standings(session)
    results = list(standings.results)
    profiles = {target.name: target for target in targets}
    by_model: dict[str, list[Result]] = {}
    for result in results:
        by_model.setdefault(result.model, []).append(result)
    for model, members in by_model.items():
        boards = {
            r.target
            for r in members
            if r.target in profiles and standings.of(r).outcome is not None
        }
        shown = [r for r in members if len(boards) <= _DETAILED or r.target not in boards]
        yield from _tables(shown, session.float32_sizes(), standings)
        if len(boards) > 1:
            yield ""
            yield from matrix_lines(model, members, profiles, standings)
    yield from _notes(results, session)


def headline_line(session: Session) -> tuple[str, str]:
    """The verdict over the run as a line, and its tone; empty where nothing was recorded."""
    if not (session.failures or any(session.results())):
        return "", "plain"
    found = headline(session)
    remarks = f" ({'; '.join(found.remarks)})" if found.remarks else ""
    return f"edgequant {found.text}{remarks}", found.tone


def _tables(
    results: list[Result], sizes: Mapping[str, float | int], standings: Standings
) -> Iterator[str]:
    from tabulate import tabulate

    for title, members in _groups(results):
        known = {name for result in members for name in result.metrics}
        names = sorted(known.difference(_OWN_COLUMNS, _IN_REPORTS_ONLY))
        fidelity = "output_sqnr" in known
        headings = ["top-1" if name == "accuracy" else name for name in names]
        flash = any("flash_left_bytes" in r.metrics for r in members)
        counted = any(_samples(r, names) != "-" for r in members)
        rows = []
        for result in members:
            size = result.metrics.get("size_bytes")
            whole = sizes.get(result.model)
            ratio = f"{size.value / whole:.2f}x" if size and size.value and whole else "-"
            rows.append(
                [
                    result.form,
                    _bytes(size),
                    ratio,
                    *([_bytes(result.metrics.get("flash_left_bytes"))] if flash else []),
                    _bytes(result.metrics.get("arena_bytes")),
                    *(_score(name, result.metrics.get(name)) for name in names),
                    *([_samples(result, names)] if counted else []),
                    _drop(result),
                    *([_decibels(result.metrics.get("output_sqnr"))] if fidelity else []),
                    row_text(standings.of(result)),
                ]
            )
        left = ["flash left"] if flash else []
        headers = ["variant", "size", "ratio", *left, "arena", *headings]
        headers += [*(["samples"] if counted else []), "drop"]
        headers += [*(["SQNR"] if fidelity else []), "verdict"]
        align = ["left", *["right"] * (len(headers) - 2), "left"]
        yield ""
        yield title
        yield from tabulate(
            rows, headers, tablefmt="simple", colalign=align, disable_numparse=True
        ).splitlines()


def _said(results: list[Result]) -> Iterator[str]:
    """Notes, and why variants can't run, once each for all variants and targets they hold for."""
    notes: dict[tuple[str, str], set[str]] = {}
    refusals: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for note in result.notes:
            notes.setdefault((result.model, note), set()).add(result.form)
        for verdict in result.verdicts:
            if verdict.verdict is Outcome.CANNOT_RUN:
                reason = verdict.message.partition(f" cannot run on {result.target}: ")[2]
                subject = f"{result.model}/{result.form}"
                boards = refusals.setdefault((subject, reason or verdict.message), [])
                if result.target and result.target not in boards:
                    boards.append(result.target)
    for (model, note), variants in notes.items():
        yield f"{model} ({', '.join(sorted(variants))}): {note}"
    for (subject, reason), boards in refusals.items():
        yield f"{subject} cannot run on {', '.join(boards)}: {reason}"


def _several(session: Session) -> Iterator[str]:
    """The names that several files had, each of which has a row of its own."""
    for model, target, variant in session.ambiguous():
        where = f" on {target}" if target else ""
        yield (
            f"{model}/{variant}{where}: tests of this run had different files of this name (other "
            "calibration samples, or another model): a row each, and no baseline. Name them apart "
            "with edge_model_name"
        )


def _notes(results: list[Result], session: Session) -> Iterator[str]:
    trained = list(training_lines(results))
    if trained:
        yield ""
        yield from trained
    said = [*_said(results), *_several(session)]
    provenance = {
        f"{_SOURCED[n]}: {m.provenance}"
        for r in results
        for n, m in r.metrics.items()
        if n in _SOURCED and m.value is not None
    }
    drops = [m for r in results for n, m in r.metrics.items() if n == "accuracy_drop"]
    intervals = {
        m.provenance.partition("; ")[2] for m in drops if m.value is not None and m.low is not None
    } - {""}
    if said or provenance or intervals or session.damaged:
        yield ""
    yield from sorted(provenance)
    for text in sorted(intervals):
        yield f"drop: in brackets the {text}"
    yield from said
    if session.damaged:
        one = session.damaged == 1
        yield f"cache: {session.damaged} damaged {'entry was' if one else 'entries were'} rebuilt"
