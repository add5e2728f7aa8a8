"""The tables and pictures of one variant in the HTML report: classes, weights, arena, layers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_edgequant.api.memory import arena_build, computed_arena
from pytest_edgequant.diagnose.weights import LayerWeights, layer_weights
from pytest_edgequant.errors import EdgeQuantError
from pytest_edgequant.measure.arena.picture import arena_svg
from pytest_edgequant.records import Arena, Outcome, Result, Target
from pytest_edgequant.report.html_pictures import Picture, Pictures
from pytest_edgequant.report.plots.bars import MOST_BARS, bars_svg
from pytest_edgequant.report.plots.weights import MOST_LAYERS, weights_svg
from pytest_edgequant.results.session import Session
from pytest_edgequant.wording import short

_MOST_ROWS = 60


@dataclass(frozen=True)
class Table:
    """A picture, the table under it, and what there is to say of it."""

    picture: Picture | None
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    remark: str = ""
    of_picture: str = ""
    """What there is to say where the picture is shown."""


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


def weights_table(
    content: bytes,
    float32: bytes | None,
    label: str,
    seen: dict[Any, str],
    variant: str,
    pictures: Pictures,
) -> Table | None:
    """Weights of a file by layer, beside those of the float32 file; None without any."""
    try:
        layers = layer_weights(content, float32, label)
    except EdgeQuantError as error:
        return Table(None, (), (), str(error))
    if not layers:
        return None
    known = tuple((layer.shape, layer.counts, layer.scales, layer.limit) for layer in layers)
    if known in seen:
        return Table(None, (), (), f"The weights are those of {seen[known]}.")
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
    return _table(picture, (*headings, "largest error"), rows, MOST_LAYERS, remark)


def _table(
    picture: Picture | None,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    drawn: int,
    remark: str = "",
) -> Table:
    """A table of the first rows; the picture has the first `drawn` of them."""
    more = len(rows) - _MOST_ROWS
    of_picture = f"The picture has the first {drawn} of {len(rows)}." if len(rows) > drawn else ""
    if more > 0:
        remark = " ".join(filter(None, [remark, f"{more} more rows are not shown."]))
    return Table(picture, headings, rows[:_MOST_ROWS], remark, of_picture)


def _failed_arena(result: Result) -> bool:
    return any(v.check == "arena" and v.verdict is Outcome.FAIL for v in result.verdicts)


@dataclass(frozen=True)
class _Plan:
    """An arena, and the targets that it is of, by how it came about there."""

    arena: Arena
    targets: dict[str, list[str]]

    def same(self, other: Arena) -> bool:
        """Whether another build comes to the same."""
        mine = self.arena.plan, self.arena.sections, self.arena.minimum_bytes
        return mine == (other.plan, other.sections, other.minimum_bytes)

    @property
    def names(self) -> str:
        return ", ".join(name for names in self.targets.values() for name in names)

    @property
    def described(self) -> str:
        """How much it is, and where."""
        (provenance, names), *others = self.targets.items()
        text = f"On {', '.join(names)}: {self.arena.minimum_bytes:,} B ({provenance})."
        more = (f" On {', '.join(names)} the same ({p})." for p, names in others)
        return text + "".join(more)


def _plans(
    content: bytes, results: Iterable[Result], targets: Mapping[str, Target], model: str
) -> tuple[list[_Plan], list[str]]:
    """The arenas that differ, each with its targets; and why some can't be had.

    Boards of one build share one, and so do builds that come to the same.
    """
    found: list[_Plan] = []
    builds: dict[Any, list[str]] = {}
    wrong: list[str] = []
    for result in results:
        target, name = targets.get(str(result.target)), str(result.target)
        try:
            if target is None:
                raise EdgeQuantError(f"the target {name!r} is not known here")
            build = arena_build(target)
            if build not in builds:
                arena = computed_arena(content, target, f"{model} on {name}")
                plan = next((p for p in found if p.same(arena)), None)
                if plan is None:
                    plan = _Plan(arena, {})
                    found.append(plan)
                builds[build] = plan.targets.setdefault(arena.provenance, [])
            builds[build].append(name)
        except EdgeQuantError as error:
            wrong.append(f"{model} on {name}: the plan can't be shown: {error}")
    return found, wrong


def arena_tables(
    content: bytes, results: Sequence[Result], targets: Mapping[str, Target], pictures: Pictures
) -> list[Table]:
    """A plan for each build that differs: where it failed first, then the largest."""

    def order(result: Result) -> tuple[bool, float, str]:
        need = result.metrics["arena_bytes"].value or 0
        return not _failed_arena(result), -need, result.target or ""

    measured = [
        r
        for r in results
        if r.target and "arena_bytes" in r.metrics and r.metrics["arena_bytes"].value is not None
    ]
    if not measured:
        return []
    model = f"{measured[0].model}/{measured[0].form}"
    found, wrong = _plans(content, sorted(measured, key=order), targets, model)
    tables = [_arena_table(plan, model, pictures) for plan in found]
    return [*tables, *(Table(None, (), (), remark) for remark in dict.fromkeys(wrong))]


def _arena_table(plan: _Plan, model: str, pictures: Pictures) -> Table:
    arena = plan.arena
    label = f"Memory plan of {model} on {plan.names}; the table has its parts"
    picture = pictures.draw("arena", lambda: arena_svg(arena), label)
    rows = [("planned", f"{arena.nonpersistent_bytes:,} B")]
    rows += [
        (f"persistent: {purpose}", f"{size:,} B")
        for purpose, size in sorted(arena.sections.items(), key=lambda part: (-part[1], part[0]))
    ]
    remark = plan.described
    if arena.peak is not None:
        largest = sorted(arena.peak.alive, key=lambda b: (-b.size, b.offset))[:3]
        held = ", ".join(f"{short(b.name)} ({b.size:,} B)" for b in largest)
        remark += f" Most is alive at {arena.peak.operator}, {arena.peak.bytes:,} B: {held}."
    return Table(picture, ("part", "bytes"), rows, remark)


def _recorded(
    session: Session, results: Sequence[Result], name: str
) -> tuple[Result, Sequence[Mapping[str, Any]]] | None:
    for result in results:
        rows = session.details(result).get(name)
        if rows:
            return result, rows
    return None


def classes_table(
    session: Session, results: Sequence[Result], label: str, pictures: Pictures
) -> Table | None:
    """Recall by class, beside the baseline; None where nothing recorded it."""
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
    return _table(picture, headings, cells, MOST_BARS)


def layers_table(
    session: Session, results: Sequence[Result], label: str, pictures: Pictures
) -> Table | None:
    """Estimated time by layer; None where nothing recorded it."""
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
    headings = ("layer", "operator", "MACs", "latency", "share")
    return _table(picture, headings, cells, MOST_BARS, f"On {result.target}.")
