"""What the HTML report shows of one variant: its figures, weights, arena, classes and layers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_edgequant.files import read_bytes
from pytest_edgequant.records import ModelFile, Outcome, Result, Target
from pytest_edgequant.report.figures import result_text
from pytest_edgequant.report.html_boards import (
    BoardMemory,
    FigureTable,
    board_memories,
    counted,
    decisive,
    figure_table,
)
from pytest_edgequant.report.html_parts import (
    Table,
    arena_tables,
    classes_table,
    layers_table,
    weights_table,
)
from pytest_edgequant.report.html_pictures import Pictures
from pytest_edgequant.report.overview import CHANGE_HEADINGS, change_rows, general, verdict_text
from pytest_edgequant.results.session import Session
from pytest_edgequant.results.standing import Standings

_COUNTED = {
    "bad": "failed",
    "unsure": "open",
    "good": "passed",
    "plain": "not judged",
    "refused": "can't run",
}


@dataclass
class Shown:
    """What a report knows while it shows one variant after the other.

    `weights` are those that were shown before, with whose they are.
    """

    session: Session
    standings: Standings
    targets: Mapping[str, Target]
    pictures: Pictures
    weights: dict[Any, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """A row of the table of figures: one for all targets on which it is the same."""

    name: str
    targets: str
    value: str
    provenance: str


@dataclass(frozen=True)
class VariantSection:
    """What is shown of a variant on all its targets; what there is nothing of is empty."""

    name: str
    anchor: str
    outcome: Outcome | None
    tone: str
    verdict: str
    boards: FigureTable
    memories: Sequence[BoardMemory]
    boards_known: int
    figures: Sequence[Figure]
    changes: Table | None
    notes: Sequence[tuple[str, str]]
    weights: Table | None
    arenas: Sequence[Table]
    classes: Table | None
    layers: Table | None
    missing: str

    @property
    def open(self) -> bool:
        """Whether it is unfolded: something failed."""
        return self.tone == "bad"


def read_file(file: ModelFile) -> tuple[bytes | None, str]:
    """The .tflite behind a result, or None and why it is not there."""
    try:
        content = file.content if file.content is not None else read_bytes(Path(file.path))
    except OSError as error:
        return None, f"the file {file.path} can't be read: {error.strerror or error}"
    if hashlib.sha256(content).hexdigest() != file.fingerprint:
        return None, f"the file {file.path} has changed since it was measured"
    return content, ""


def file_of(session: Session, results: Sequence[Result]) -> tuple[bytes | None, str]:
    """The variant's file; nothing to say where none was recorded (results that were read back)."""
    for result in results:
        file = session.model_file(result)
        if file is not None:
            return read_file(file)
    return None, ""


def on_targets(names: Iterable[str | None], all_: int) -> str:
    """Several targets in words; all of them as their number."""
    known = list(dict.fromkeys(name or "no target" for name in names))
    return f"all {all_} targets" if len(known) == all_ and all_ > 3 else ", ".join(known)


def _figures(results: Sequence[Result]) -> list[Figure]:
    found: dict[tuple[str, str, str], list[str | None]] = {}
    for result in results:
        for name, metric in result.metrics.items():
            told = metric.reason or metric.provenance
            found.setdefault((name, result_text(result, name), told), []).append(result.target)
    count = len({result.target for result in results})
    ordered = sorted(found.items(), key=lambda entry: entry[0][0])
    return [
        Figure(name, on_targets(names, count), value, told)
        for (name, value, told), names in ordered
    ]


def _changes(results: Sequence[Result]) -> Table | None:
    rows = [(r.target or "-", *cells) for r in results for cells in change_rows(r)]
    return Table(None, ("target", *CHANGE_HEADINGS), rows) if rows else None


def _notes(results: Sequence[Result]) -> list[tuple[str, str]]:
    """What there is to say, each with the targets that it is about."""
    found: dict[str, list[str | None]] = {}
    for result in results:
        refused = [v.message for v in result.verdicts if v.verdict is Outcome.CANNOT_RUN]
        for note in dict.fromkeys([*result.notes, *refused]):
            found.setdefault(general(note, result.target), []).append(result.target)
    count = len({result.target for result in results})
    return [(on_targets(names, count), note) for note, names in sorted(found.items())]


def _verdict(results: Sequence[Result], standings: Standings) -> str:
    """The verdict of a variant in a few words: on one target its own, on several their number."""
    found = [standings.of(result) for result in results]
    if len(results) == 1:
        return verdict_text(found[0])
    said = [f"{word} on {number}" for number, word in counted(found, _COUNTED)]
    return f"{', '.join(said)} of {len(results)} targets"


def variant_section(
    shown: Shown, results: Sequence[Result], float32: bytes | None, anchor: str
) -> VariantSection:
    """What is shown of a variant on the targets of `results`."""
    session, standings, pictures = shown.session, shown.standings, shown.pictures
    variant = results[0].form
    label = f"{results[0].model}/{variant}"
    content, missing = file_of(session, results)
    found = [standings.of(result) for result in results]
    shown_tone, outcome = decisive(found)
    memories = board_memories(results, shown.targets)
    rows = ((r.target or "no target", "", r, standings.of(r)) for r in results)
    weights, arenas = None, list[Table]()
    if content:
        weights = weights_table(content, float32, label, shown.weights, variant, pictures)
        arenas = arena_tables(content, results, shown.targets, pictures)
    return VariantSection(
        variant,
        anchor,
        outcome,
        shown_tone,
        _verdict(results, standings),
        figure_table(rows).anchored(anchor),
        memories[: pictures.memories_of(len(memories))],
        len(memories),
        _figures(results),
        _changes(results),
        _notes(results),
        weights,
        arenas,
        classes_table(session, results, label, pictures),
        layers_table(session, results, label, pictures),
        missing,
    )
