"""The HTML report: one file without network or script, with pictures where Matplotlib is there.

What tests recorded is shown as it is; weights and memory plans are read from the variants' files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pytest_edgequant.records import Result
from pytest_edgequant.report import plots
from pytest_edgequant.report.html_variants import Pictures, VariantSection, variant_section
from pytest_edgequant.report.json import document
from pytest_edgequant.report.overview import (
    HEADINGS,
    OPEN_TITLE,
    WORDS,
    findings,
    headline,
    score_label,
    score_name,
    tables,
)
from pytest_edgequant.report.plots.pareto import Point, pareto_svg
from pytest_edgequant.report.training import training_lines
from pytest_edgequant.results.session import Session
from pytest_edgequant.results.standing import Standings
from pytest_edgequant.wording import printable

if TYPE_CHECKING:
    from jinja2 import Template

_OPEN = 6
"""Up to so many variants of a model are unfolded."""


@dataclass(frozen=True)
class ModelSection:
    """What the report shows of one model."""

    name: str
    pictures: Sequence[str]
    variants: Sequence[VariantSection]
    folded: bool


def _grouped(results: Sequence[Result]) -> Mapping[str, Mapping[str, list[Result]]]:
    """Results by model, then by variant and file, in their order."""
    models: dict[str, dict[str, list[Result]]] = {}
    for result in results:
        models.setdefault(result.model, {}).setdefault(result.form, []).append(result)
    return models


def _direction(results: Sequence[Result], score: str) -> bool | None:
    """Whether more of a score is better: what is known of it, else what a drop tells."""
    from pytest_edgequant.errors import EdgeQuantError
    from pytest_edgequant.measure.metrics import get_metric

    try:
        return get_metric(score).higher_is_better
    except EdgeQuantError:
        pass
    floats = {
        (r.model, r.metrics[score].value)
        for r in results
        if r.variant == "float32" and score in r.metrics
    }
    for result in results:
        drop, own = result.metrics.get("accuracy_drop"), result.metrics.get(score)
        if drop is None or own is None or not drop.value or own.value is None:
            continue
        for model, value in floats:
            if model == result.model and value is not None and value != own.value:
                return (own.value < value) is (drop.value > 0)
    return None


def _points(
    variants: Mapping[str, list[Result]], size: str, score: str, standings: Standings
) -> list[Point]:
    """The distinct places of variants; targets that agree are one."""
    found: dict[tuple[str, float, float], tuple[list[str], bool]] = {}
    for variant, results in variants.items():
        for result in results:
            across, up = result.metrics.get(size), result.metrics.get(score)
            if across is None or up is None or across.value is None or up.value is None:
                continue
            passed = not standings.of(result).failed
            targets, all_passed = found.setdefault(
                (variant, float(across.value), float(up.value)), ([], True)
            )
            targets.append(result.target or "")
            key = (variant, float(across.value), float(up.value))
            found[key] = (targets, all_passed and passed)
    return [
        Point(v, across, up, passed, tuple(sorted(t)))
        for (v, across, up), (t, passed) in found.items()
    ]


def _model_pictures(
    variants: Mapping[str, list[Result]], pictures: Pictures, model: str, standings: Standings
) -> Iterator[str]:
    results = [result for members in variants.values() for result in members]
    scores = sorted({name for r in results if (name := score_name(r)) is not None})
    if not scores:
        return
    score = "accuracy" if "accuracy" in scores else scores[0]
    metric = next((r.metrics[score] for r in results if score in r.metrics), None)
    share = score == "accuracy" or (metric is not None and metric.unit == "fraction")
    for name, across in (("size_bytes", "size, bytes"), ("arena_bytes", "arena, bytes")):
        points = _points(variants, name, score, standings)
        if len(points) > 1:
            svg = pictures.draw(
                "overview",
                lambda points=points, across=across: pareto_svg(  # type: ignore[misc]
                    points, across, score_label(score), share, _direction(results, score)
                ),
                f"{score_label(score)} against {across} of the variants of {model}",
            )
            if svg:
                yield svg


def _models(session: Session, pictures: Pictures) -> list[ModelSection]:
    sections = []
    standings = Standings(session)
    for model, variants in _grouped(standings.results).items():
        drawn = tuple(_model_pictures(variants, pictures, model, standings))
        float32 = _content(session, variants.get("float32", []))
        seen: dict[Any, str] = {}
        sections.append(
            ModelSection(
                model,
                drawn,
                [
                    variant_section(session, standings, results, float32, seen, pictures)
                    for results in variants.values()
                ],
                folded=len(variants) > _OPEN,
            )
        )
    return sections


def _content(session: Session, results: Sequence[Result]) -> bytes | None:
    from pytest_edgequant.report.html_variants import read_file

    for result in results:
        file = session.model_file(result)
        if file is not None:
            return read_file(file)[0]
    return None


@lru_cache(maxsize=1)
def _template() -> Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pytest_edgequant.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["word"] = lambda outcome: WORDS[outcome]
    return environment.get_template("report.html.j2")


def render(session: Session) -> str:
    """The report's text: the same for the same results, but for the environment at its end."""
    pictures = Pictures(plots.available())
    models, found = _models(session, pictures), findings(session)
    about = document(session)
    text = _template().render(
        verdict=headline(session),
        baseline_note=session.baseline_note,
        headings=HEADINGS,
        tables=list(tables(session)),
        training=list(training_lines(session.results())),
        findings=[
            (title, [finding for finding in found if finding.failed is failed])
            for title, failed in (("What failed, and what to do", True), (OPEN_TITLE, False))
        ],
        models=models,
        remarks=pictures.remarks(),
        tool=about["tool"],
        environment=about["environment"],
    )
    return printable(text, "\n", "\N{REPLACEMENT CHARACTER}")
