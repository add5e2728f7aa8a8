from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from nasty_names import texts
from recorded_events import metric_event, note_event, verdict_event

from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.records import Change, Failure, Outcome
from pytest_edgequant.report import plots
from pytest_edgequant.report.html import render
from pytest_edgequant.report.html_variants import Pictures
from pytest_edgequant.report.plots.pareto import Point, front
from pytest_edgequant.results.session import Event, Session

matplotlib = pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("pipeline")

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """The elements of a page with their attributes; unbalanced tags are an error."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def file_event(path: Path, variant: str, target: str = "nano33ble") -> Event:
    return {
        "kind": "file",
        "model": "digits",
        "variant": variant,
        "target": target,
        "fingerprint": hashlib.sha256(path.read_bytes()).hexdigest(),
        "path": str(path),
        "content": None,
    }


def on(event: Event, target: str = "nano33ble") -> Event:
    return event | {"target": target}


@pytest.fixture
def session(tiny: dict[str, Path]) -> Session:
    session = Session(watched=True)
    accuracy = {"float32": 0.95, "float16": 0.95, "int8": 0.94, "int16x8": 0.95}
    for variant, value in accuracy.items():
        path = tiny[variant]
        session.add(
            [
                on(metric_event(variant, "size_bytes", path.stat().st_size)),
                on(metric_event(variant, "accuracy", value)),
                on(verdict_event(variant, "size", Outcome.PASS)),
                file_event(path, variant),
            ]
        )
    session.add([on(metric_event("int8", "arena_bytes", 1_616))])
    classes = [
        {"label": i, "count": 36, "recall": 0.9 + i / 100, "baseline": 0.95} for i in range(10)
    ]
    layers = [
        {"name": f"m/conv_{i}/Conv2D", "operator": "CONV_2D", "macs": 1000 * i, "latency_ms": 0.5}
        for i in range(1, 4)
    ]
    session.add(
        [
            on(verdict_event("int8", "details", Outcome.PASS))
            | {"kind": "details", "name": name, "rows": rows}
            for name, rows in (("classes", classes), ("layers", layers))
        ]
    )
    return session


def section(text: str, variant: str) -> str:
    start = text.index(f"<summary><h3>digits/{variant}</h3>")
    return text[start : text.index("</details>", start)]


def test_it_is_one_file_without_network_or_script(session: Session) -> None:
    page = Page(render(session))
    assert page.count("script") == page.count("iframe") == page.count("img") == 0
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "action", "data"):
                assert value is not None
                assert value.startswith(("#", "data:,"))
    assert not re.search(r"url\((?!#)|@import", render(session))


def test_it_has_every_part_of_a_variant(session: Session) -> None:
    text = section(render(session), "int8")
    for title in ("Figures", "Recall by class", "Weights by layer", "Arena over time", "Latency"):
        assert f"<h4>{title}" in text
    assert text.count("<svg") == 4
    assert "Errors are measured against the weights of float32." in text
    assert "1,616 B (exact" in text or "1,616 B" in text
    assert "CONV_2D (operator 0)" in text
    assert "33.3%" in text  # of three equal layers


def test_models_have_accuracy_against_size(session: Session) -> None:
    text = render(session)
    start = text.index('<div class="plots">')
    assert "top-1 against size, bytes of the variants of digits" in text[start:]
    assert re.search(r">float16, .*</text>|>float32</text>", text[start:])


def test_the_front_is_what_nothing_beats() -> None:
    points = [Point(n, b, s, True) for n, b, s in (("a", 1, 0.5), ("b", 2, 0.4), ("c", 3, 0.9))]
    assert [p.name for p in front(points, True)] == ["a", "c"]
    assert [p.name for p in front(points, False)] == ["a", "b"]


def test_the_same_results_give_the_same_bytes_but_for_the_environment(
    session: Session, tmp_path: Path
) -> None:
    text = render(session)
    assert render(session) == text
    body, footer = text.split('<footer id="environment">')
    assert not re.search(r"\b20\d\d-\d\d-\d\d\b|matplotlib", body)
    assert "Python" in footer


def test_hashing_makes_no_difference(tiny: dict[str, Path]) -> None:
    script = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from pathlib import Path\n"
        "from test_html import *\n"
        "s = Session(watched=True)\n"
        "p = Path(sys.argv[3])\n"
        "s.add([on(metric_event('int8', 'arena_bytes', 1)), file_event(p, 'int8')])\n"
        "import hashlib; print(hashlib.sha256(render(s).encode()).hexdigest())\n"
    )
    folders = [str(folder) for folder in Path(__file__).parents[:2]]
    command = [sys.executable, "-c", script, *folders, str(tiny["int8"])]
    found = {
        subprocess.run(
            command,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_without_matplotlib_there_are_tables_and_it_says_so(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert not plots.available()
    text = render(session)
    assert "<svg" not in text
    assert "pip install &#39;pytest-edgequant[plots]&#39;" in text
    assert "<h4>Weights by layer</h4>" in section(text, "int8")
    assert "CONV_2D (operator 0)" in section(text, "int8")


def test_pictures_have_a_limit_and_it_says_so() -> None:
    pictures = Pictures(True)
    drawn = [pictures.draw("arena", lambda: '<svg width="1pt">', "label") for _ in range(18)]
    assert drawn.count("") == 2
    assert pictures.remarks() == [
        "2 pictures of memory plans are left out, for the report has room for 16; their tables "
        "are there."
    ]


def test_ids_of_pictures_are_never_the_same(session: Session) -> None:
    ids = [
        attributes["id"] for _, attributes in Page(render(session)).elements if "id" in attributes
    ]
    assert len(ids) == len(set(ids))


def test_a_file_that_is_gone_or_changed_is_said(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"then")
    session.add([file_event(path, "uint8_io"), file_event(path, "int8_float_io")])
    path.write_bytes(b"now")
    assert "has changed since it was measured" in section(render(session), "uint8_io")
    path.unlink()
    assert "can&#39;t be read: No such file" in section(render(session), "int8_float_io")


def test_a_damaged_file_takes_only_its_own_part(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"\0\0\0\0TFL3 and no more")
    session.add(
        [
            on(metric_event("uint8_io", "arena_bytes", 5)),
            file_event(path, "uint8_io"),
        ]
    )
    text = render(session)
    assert "damaged or truncated .tflite" in section(text, "uint8_io")
    assert "<svg" in section(text, "int8")


def test_an_unknown_target_takes_only_its_own_part(session: Session, tiny: dict[str, Path]) -> None:
    session.add(
        [
            on(metric_event("uint8_io", "arena_bytes", 5), "nowhere"),
            file_event(tiny["uint8_io"], "uint8_io", "nowhere"),
        ]
    )
    assert "the plan can&#39;t be shown: " in section(render(session), "uint8_io")


def test_results_that_were_read_back_have_no_files_and_that_is_fine() -> None:
    session = Session()
    missing = metric_event("int8", "arena_bytes", 0)
    missing["metric"] |= {"value": None, "reason": "no wheel"}
    session.add([missing, verdict_event("int8", "arena", Outcome.UNAVAILABLE)])
    page = Page(render(session))
    assert "no wheel" in page.text
    assert "UNAVAILABLE: arena" in page.text
    assert "not shown" not in page.text


def test_an_empty_run_is_a_report() -> None:
    assert "nothing was gated" in Page(render(Session(watched=True))).text


def test_changes_are_shown(session: Session) -> None:
    session.baseline_note = "compared with base.json"
    changes = [Change("size_bytes", "bytes", 5_000, 5_568, Outcome.FAIL, "568 B too many")]
    session.add_changes(("digits", "nano33ble", "int8"), changes)
    text = Page(render(session)).text
    assert "Baseline: compared with base.json" in text
    assert "5,568 B (+568 B, +11.4%)" in text
    assert "FAIL: 568 B too many" in text


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=texts, message=texts)
def test_nothing_from_outside_becomes_markup(
    name: str, message: str, tiny: dict[str, Path], pipeline: Pipeline
) -> None:
    session = Session(watched=True, failures=[Failure(name, name, 1, message)])
    session.baseline_note = message
    for variant, size, score in ((name, 1, 0.5), ("int8", 2, 0.6)):
        key = {"model": name, "variant": variant, "target": name or None}
        session.add(
            event | key
            for event in (
                metric_event("", "size_bytes", size),
                metric_event("", name or "x", score),
                note_event("", message),
                verdict_event("", name, Outcome.FAIL),
                {
                    "kind": "details",
                    "name": "layers",
                    "rows": [{"name": name, "operator": name, "macs": 1, "latency_ms": 1.0}],
                },
            )
        )
    text = render(session)
    text.encode()
    page = Page(text)
    assert {tag for tag, _ in page.elements} <= {
        *("html", "head", "meta", "link", "title", "style", "body", "header", "main", "footer"),
        *("section", "h1", "h2", "h3", "h4", "p", "span", "strong", "ul", "li", "div"),
        *("table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary"),
        *("svg", "g", "path", "defs", "use", "text", "tspan", "clippath", "rect"),
    }
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on")]
