"""The HTML report: one file without network or script, with pictures where Matplotlib is there.

What tests recorded is shown as it is; weights and memory plans are read from the variants' files.
The first screen has a row a variant; the rest is folded, but for what failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from pytest_edgequant.pipeline.current import current_pipeline
from pytest_edgequant.records import Result, Target
from pytest_edgequant.report import plots
from pytest_edgequant.report.boards import ModelBoards, model_boards, profiles, smallest_lines
from pytest_edgequant.report.figures import score_label, score_name
from pytest_edgequant.report.glossary import TERMS, anchor, terms_in
from pytest_edgequant.report.html_boards import WIDTH, Matrix, matrix_of
from pytest_edgequant.report.html_changes import change_rows
from pytest_edgequant.report.html_overview import (
    DETAILED,
    SPANS,
    BoardsRow,
    Quiet,
    TargetTable,
    boards_rows,
    grouped_findings,
    is_quiet,
    quiet_rows,
    target_tables,
)
from pytest_edgequant.report.html_pictures import Picture, Pictures
from pytest_edgequant.report.html_variants import Shown, VariantSection, file_of, variant_section
from pytest_edgequant.report.json import document
from pytest_edgequant.report.notes import named
from pytest_edgequant.report.overview import OPEN_TITLE, WORDS, headline
from pytest_edgequant.report.plots.pareto import Point, pareto_svg
from pytest_edgequant.report.training import training_lines
from pytest_edgequant.results.session import Session
from pytest_edgequant.results.standing import Standings
from pytest_edgequant.wording import printable

if TYPE_CHECKING:
    from jinja2 import Template

_FAILED_TITLE = "What failed, and what to do"
_MOST_OPEN = 12
"""Up to so many boards that did not pass are unfolded."""


@dataclass(frozen=True)
class ModelSection:
    """What the report shows of one model: its boards, if there are several, and its variants."""

    name: str
    anchor: str
    pictures: Sequence[Picture]
    smallest: Sequence[str]
    matrix: Matrix | None
    variants: Sequence[VariantSection]

    @property
    def matrix_open(self) -> bool:
        """Whether the matrix is unfolded: some boards did not pass, and not too many.

        Of one variant its own rows, by board, are unfolded and tell more.
        """
        if self.matrix is None or len(self.variants) == 1:
            return False
        return 0 < len(self.matrix.open) <= _MOST_OPEN


@dataclass(frozen=True)
class _Grouped:
    """A session's results by model, and by form within it."""

    models: Mapping[str, Mapping[str, list[Result]]]
    boards: Mapping[str, ModelBoards]
    links: Mapping[tuple[str, str], str]


def _targets(session: Session) -> Mapping[str, Target]:
    """All profiles by name: those that this run knows of, else the built-in ones."""
    return {**{t.name: t for t in current_pipeline().targets}, **profiles(session)}


def _grouped(session: Session, standings: Standings) -> _Grouped:
    """Variants with something to show have a section, and so an anchor that links lead to."""
    models: dict[str, dict[str, list[Result]]] = {}
    links: dict[tuple[str, str], str] = {}
    targets = _targets(session)
    for result in standings.results:
        forms = models.setdefault(result.model, {})
        links.setdefault((result.model, result.form), "")
        if not is_quiet(result, standings.of(result)):
            forms.setdefault(result.form, []).append(result)
    for model, forms in models.items():
        for form in forms:
            links[model, form] = f"v{sum(map(bool, links.values())) + 1}"
    boards = {
        model: model_boards(
            model, [r for members in forms.values() for r in members], targets, standings
        )
        for model, forms in models.items()
    }
    return _Grouped(models, boards, links)


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
) -> Iterator[Picture]:
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
            picture = pictures.draw(
                "overview",
                lambda points=points, across=across: pareto_svg(  # type: ignore[misc]
                    points, across, score_label(score), share, _direction(results, score)
                ),
                f"{score_label(score)} against {across} of the variants of {model}",
            )
            if picture:
                yield picture


def _models(session: Session, standings: Standings, grouped: _Grouped) -> _Models:
    pictures = Pictures(plots.available())
    sections = []
    for number, (model, variants) in enumerate(grouped.models.items(), 1):
        boards = grouped.boards[model]
        shown = Shown(session, standings, _targets(session), pictures)
        float32, _ = file_of(session, variants.get("float32", []))
        drawn = tuple(_model_pictures(variants, pictures, model, standings))
        several = len(boards.boards) > 1
        links = {form: grouped.links[model, form] for form in variants}
        sections.append(
            ModelSection(
                model,
                f"m{number}",
                drawn,
                smallest_lines(boards, standings) if several else (),
                matrix_of(boards, links) if several else None,
                [
                    variant_section(shown, results, float32, links[form])
                    for form, results in variants.items()
                ],
            )
        )
    return _Models([s for s in sections if s.variants], pictures)


@dataclass(frozen=True)
class _Models:
    """What is shown of all models, and the pictures in it."""

    sections: Sequence[ModelSection]
    pictures: Pictures


@dataclass(frozen=True)
class Overview:
    """The rows of the first screen: by target, by variant on many boards, and what was not run."""

    targets: Sequence[TargetTable]
    boards: Sequence[BoardsRow]
    quiet: Sequence[Quiet]

    @property
    def spans(self) -> list[tuple[int, str]]:
        """The figures over all boards that any variant has: their position, and the heading."""
        return [
            (position, heading)
            for position, heading in enumerate(SPANS)
            if any(row.spans[position] != "-" for row in self.boards)
        ]


def _overview(standings: Standings, grouped: _Grouped) -> Overview:
    found = grouped.boards.values()
    many = list(found) if any(len(boards.boards) > DETAILED for boards in found) else []
    rows = [row for boards in many for row in boards_rows(boards, grouped.links)]
    told = {(boards.model, variant) for boards in many for variant in boards.variants}
    by_target = [
        result
        for model, forms in grouped.models.items()
        for form, results in forms.items()
        if (model, form) not in told
        for result in results
    ]
    return Overview(
        target_tables(by_target, standings, grouped.links),
        sorted(rows, key=lambda row: (*row.rank, row.name)),
        quiet_rows(standings.results, standings),
    )


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
    environment.filters["named"] = named
    environment.globals["WIDTH"] = WIDTH
    return environment.get_template("report.html.j2")


def render(session: Session) -> str:
    """The report's text: the same for the same results, but for the environment at its end."""
    standings = Standings(session)
    grouped = _grouped(session, standings)
    models = _models(session, standings, grouped)
    text = _rendered(session, standings, grouped, models)
    if models.pictures.shrink(len(text)):
        text = _rendered(session, standings, grouped, models)
    return printable(text, "\n", "\N{REPLACEMENT CHARACTER}")


def _rendered(session: Session, standings: Standings, grouped: _Grouped, models: _Models) -> str:
    about = document(session)
    titles = (_FAILED_TITLE, OPEN_TITLE)
    return _template().render(
        verdict=headline(session),
        baseline_note=session.baseline_note,
        overview=_overview(standings, grouped),
        training=list(training_lines(session.results())),
        glossary=_glossary(models.sections),
        findings=grouped_findings(session, standings, grouped.links, titles),
        changes=change_rows(
            standings.results, {model.name: model.anchor for model in models.sections}
        ),
        models=models.sections,
        remarks=[*models.pictures.remarks(), *_read_back(session, models.sections)],
        tool=about["tool"],
        environment=about["environment"],
    )


def _glossary(models: Sequence[ModelSection]) -> list[tuple[str, str, str]]:
    """The words of this report that not everybody knows: each with its anchor and meaning."""
    variants = [variant for model in models for variant in model.variants]
    texts = [heading for variant in variants for heading in variant.boards.headings]
    texts += [figure.provenance for variant in variants for figure in variant.figures]
    texts += [heading for v in variants if v.weights for heading in v.weights.headings]
    return [(term, anchor(term), TERMS[term]) for term in terms_in(texts)]


def _read_back(session: Session, models: Sequence[ModelSection]) -> list[str]:
    """What is not there of results that were read back, without their files."""
    if session.origin is None or not models:
        return []
    return [
        "Weights and memory plans are not shown: they are in the models' files, and this report "
        "was made from others."
    ]
