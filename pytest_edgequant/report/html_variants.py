"""What the HTML report shows of one variant: its figures, weights, arena, classes and layers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pytest_edgequant.api.memory import computed_arena
from pytest_edgequant.diagnose.weights import LayerWeights, layer_weights
from pytest_edgequant.errors import EdgeQuantError
from pytest_edgequant.measure.arena.picture import arena_svg
from pytest_edgequant.pipeline.pipeline import current_pipeline
from pytest_edgequant.records import Metric, ModelFile, Outcome, Result
from pytest_edgequant.report import plots
from pytest_edgequant.report.overview import CHANGE_HEADINGS, change_rows, result_text, tone
from pytest_edgequant.report.plots.bars import MOST_BARS, bars_svg
from pytest_edgequant.report.plots.weights import MOST_LAYERS, weights_svg
from pytest_edgequant.results.session import Session, worst
from pytest_edgequant.results.standing import Standings

_MOST_PICTURES = {"overview": 40, "weights": 24, "arena": 16, "bars": 24}
"""Pictures of a kind in one report: it must stay small, and be made in seconds."""
_MOST_ROWS = 60
TONES = ("bad", "unsure", "good", "plain")
"""What is shown of a variant on several targets: the first that there is."""
_WHAT = {
    "overview": "of accuracy against size",
    "weights": "of weights",
    "arena": "of memory plans",
    "bars": "of classes and layers",
}


@dataclass
class Pictures:
    """Draws as many pictures as a report has room for, and counts those that it has not."""

    available: bool
    drawn: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)

    def draw(self, kind: str, make: Callable[[], str], label: str) -> str:
        """An SVG element, or nothing where there is no Matplotlib or no room."""
        if not self.available:
            return ""
        if self.drawn.get(kind, 0) >= _MOST_PICTURES[kind]:
            self.left_out[kind] = self.left_out.get(kind, 0) + 1
            return ""
        self.drawn[kind] = self.drawn.get(kind, 0) + 1
        prefix = f"p{sum(self.drawn.values())}-"
        return Markup(plots.inline(make(), prefix, label))

    def remarks(self) -> list[str]:
        """What the reader should know of pictures that are not there."""
        if not self.available:
            return [
                "There are tables only: pictures need Matplotlib, which is not installed here "
                "(pip install 'pytest-edgequant[plots]')."
            ]
        return [
            f"{count} pictures {_WHAT[kind]} are left out, for the report has room for "
            f"{_MOST_PICTURES[kind]}; their tables are there."
            for kind, count in sorted(self.left_out.items())
        ]


@dataclass(frozen=True)
class Figure:
    """A row of the table of figures."""

    target: str
    name: str
    value: str
    provenance: str


@dataclass(frozen=True)
class WeightRow:
    """A row of the table of weights."""

    name: str
    operator: str
    type: str
    shape: str
    scale: str
    used: str
    sqnr: str
    largest_error: str


@dataclass(frozen=True)
class Table:
    """A picture, the table under it, and what there is to say of it."""

    picture: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    remark: str = ""


@dataclass(frozen=True)
class VariantSection:
    """What is shown of a variant on all its targets; what there is nothing of is None."""

    name: str
    outcome: Outcome | None
    tone: str
    figures: Sequence[Figure]
    changes: Table | None
    notes: Sequence[str]
    weights: Table | None
    arena: Table | None
    classes: Table | None
    layers: Table | None
    missing: str


def read_file(file: ModelFile) -> tuple[bytes | None, str]:
    """The .tflite behind a result, or None and why it is not there."""
    try:
        content = file.content if file.content is not None else Path(file.path).read_bytes()
    except OSError as error:
        return None, f"the file {file.path} can't be read: {error.strerror or error}"
    if hashlib.sha256(content).hexdigest() != file.fingerprint:
        return None, f"the file {file.path} has changed since it was measured"
    return content, ""


def _file_of(session: Session, results: Sequence[Result]) -> tuple[bytes | None, str]:
    """The variant's file; nothing to say where none was recorded (results that were read back)."""
    for result in results:
        file = session.model_file(result)
        if file is not None:
            return read_file(file)
    return None, ""


def _figure(result: Result, name: str, metric: Metric) -> Figure:
    value = result_text(result, name)
    return Figure(result.target or "-", name, value, metric.reason or metric.provenance)


def _number(value: float | None, unit: str = "") -> str:
    if value is None:
        return "-"
    return "none lost" if math.isinf(value) else f"{value:.4g}{unit}"


def layer_names(names: Sequence[str]) -> list[str]:
    """Names of tensors without what was fused into them, and without scopes that all share."""
    paths = [name.split(";")[0].split("/") for name in names]
    while len(paths) > 1 and all(len(path) > 1 for path in paths):
        if len({path[0] for path in paths}) > 1:
            break
        paths = [path[1:] for path in paths]
    return ["/".join(path) for path in paths]


def _scale(layer: LayerWeights) -> str:
    if layer.scales is None:
        return "-"
    low, high = layer.scales
    if layer.channels == 1:
        return f"{low:.3g}"
    return f"{low:.3g} to {high:.3g} ({layer.channels} channels)"


def _weights(
    content: bytes,
    float32: bytes | None,
    label: str,
    seen: dict[Any, str],
    variant: str,
    pictures: Pictures,
) -> Table | None:
    try:
        layers = layer_weights(content, float32, label)
    except EdgeQuantError as error:
        return Table("", (), (), str(error))
    if not layers:
        return None
    known = tuple((layer.shape, layer.counts, layer.scales, layer.limit) for layer in layers)
    if known in seen:
        return Table("", (), (), f"The weights are those of {seen[known]}.")
    seen[known] = variant
    names = layer_names([layer.name for layer in layers])
    picture = pictures.draw(
        "weights",
        lambda: weights_svg(layers, names),
        f"Histograms of the weights of {label}, a row a layer; the table has their figures",
    )
    rows = [
        (
            name,
            layer.operator,
            layer.type,
            "×".join(map(str, layer.shape)),
            f"±{layer.limit:.4g}",
            _scale(layer),
            "-" if layer.used is None else f"{layer.used:.0%}",
            _number(layer.sqnr_db, " dB"),
            _number(layer.largest_error),
        )
        for name, layer in zip(names, layers, strict=True)
    ]
    headings = ("layer", "operator", "type", "shape", "range", "scale", "range used", "SQNR")
    if any(layer.measured for layer in layers):
        remark = "Errors are measured against the weights of float32."
    elif any(layer.scales for layer in layers):
        remark = "Errors are those of rounding to the scale; no float32 file of the same layers."
    else:
        remark = ""
    return Table(
        picture, (*headings, "largest error"), rows[:_MOST_ROWS], _with_rest(remark, rows, picture)
    )


def _with_rest(remark: str, rows: Sequence[Any], picture: str, drawn: int = MOST_LAYERS) -> str:
    more = len(rows) - _MOST_ROWS
    parts = [remark] if remark else []
    if picture and len(rows) > drawn:
        parts.append(f"The picture has the first {drawn} of {len(rows)}.")
    if more > 0:
        parts.append(f"{more} more rows are not shown.")
    return " ".join(parts)


def _arena(content: bytes, results: Sequence[Result], pictures: Pictures) -> Table | None:
    """The plan on the target where it failed, else where the arena is largest."""

    def order(result: Result) -> tuple[bool, float, str]:
        failed = any(v.check == "arena" and v.verdict is Outcome.FAIL for v in result.verdicts)
        return not failed, -(result.metrics["arena_bytes"].value or 0), result.target or ""

    measured = [
        r
        for r in results
        if r.target and "arena_bytes" in r.metrics and r.metrics["arena_bytes"].value is not None
    ]
    if not measured:
        return None
    result = min(measured, key=order)
    label = f"{result.model}/{result.form} on {result.target}"
    try:
        target = current_pipeline().targets.get(str(result.target))
        arena = computed_arena(content, target, label)
    except EdgeQuantError as error:
        return Table("", (), (), f"{label}: the plan can't be shown: {error}")
    picture = pictures.draw(
        "arena", lambda: arena_svg(arena), f"Memory plan of {label}; the table has its parts"
    )
    rows = [("planned", f"{arena.nonpersistent_bytes:,} B")]
    rows += [
        (f"persistent: {purpose}", f"{size:,} B")
        for purpose, size in sorted(arena.sections.items(), key=lambda part: (-part[1], part[0]))
    ]
    remark = f"On {result.target}: {arena.minimum_bytes:,} B ({arena.provenance})."
    if arena.peak is not None:
        largest = sorted(arena.peak.alive, key=lambda b: (-b.size, b.offset))[:3]
        held = ", ".join(f"{b.name} ({b.size:,} B)" for b in largest)
        remark += f" Most is alive at {arena.peak.operator}, {arena.peak.bytes:,} B: {held}."
    return Table(picture, ("part", "bytes"), rows, remark)


def _changes(results: Sequence[Result]) -> Table | None:
    rows = [(r.target or "-", *cells) for r in results for cells in change_rows(r)]
    return Table("", ("target", *CHANGE_HEADINGS), rows) if rows else None


def _recorded(
    session: Session, results: Sequence[Result], name: str
) -> tuple[Result, Sequence[Mapping[str, Any]]] | None:
    for result in results:
        rows = session.details(result).get(name)
        if rows:
            return result, rows
    return None


def _classes(
    session: Session, results: Sequence[Result], label: str, pictures: Pictures
) -> Table | None:
    found = _recorded(session, results, "classes")
    if found is None:
        return None
    rows = sorted(found[1], key=lambda row: row["label"])
    before = [row.get("baseline") for row in rows]
    picture = pictures.draw(
        "bars",
        lambda: bars_svg(
            [f"class {row['label']}" for row in rows],
            [row["recall"] for row in rows],
            "recall (mark: baseline)" if any(b is not None for b in before) else "recall",
            before,
        ),
        f"Recall of each class, {label}",
    )
    cells = [
        (
            str(row["label"]),
            f"{row['count']:,}",
            "-" if row.get("baseline") is None else f"{row['baseline']:.2%}",
            f"{row['recall']:.2%}",
        )
        for row in rows
    ]
    headings = ("class", "samples", "baseline", "recall")
    return Table(picture, headings, cells[:_MOST_ROWS], _with_rest("", cells, picture, MOST_BARS))


def _layers(
    session: Session, results: Sequence[Result], label: str, pictures: Pictures
) -> Table | None:
    found = _recorded(session, results, "layers")
    if found is None:
        return None
    result, rows = found
    total = sum(row["latency_ms"] for row in rows)
    names = layer_names([row["name"] for row in rows])
    picture = pictures.draw(
        "bars",
        lambda: bars_svg(names, [row["latency_ms"] for row in rows], "ms"),
        f"Time of each layer, {label} on {result.target}",
    )
    cells = [
        (
            name,
            row["operator"],
            f"{row['macs']:,}",
            f"{row['latency_ms']:.3g} ms",
            f"{row['latency_ms'] / total:.1%}" if total else "-",
        )
        for name, row in zip(names, rows, strict=True)
    ]
    remark = _with_rest(f"On {result.target}.", cells, picture, MOST_BARS)
    headings = ("layer", "operator", "MACs", "latency", "share")
    return Table(picture, headings, cells[:_MOST_ROWS], remark)


def variant_section(
    session: Session,
    standings: Standings,
    results: Sequence[Result],
    float32: bytes | None,
    seen: dict[Any, str],
    pictures: Pictures,
) -> VariantSection:
    """What is shown of a variant; `seen` are the weights that were shown before, with whose."""
    variant = results[0].form
    label = f"{results[0].model}/{variant}"
    content, missing = _file_of(session, results)
    found = [standings.of(result) for result in results]
    tones = {tone(standing) for standing in found}
    notes = {n for r in results for n in r.notes}
    notes |= {v.message for r in results for v in r.verdicts if v.verdict is Outcome.CANNOT_RUN}
    return VariantSection(
        variant,
        worst(s.outcome for s in found if s.outcome is not None),
        next(name for name in TONES if name in tones),
        [_figure(r, name, metric) for r in results for name, metric in r.metrics.items()],
        _changes(results),
        sorted(notes),
        _weights(content, float32, label, seen, variant, pictures) if content else None,
        _arena(content, results, pictures) if content else None,
        _classes(session, results, label, pictures),
        _layers(session, results, label, pictures),
        missing,
    )
