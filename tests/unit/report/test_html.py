from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from html_page import Element, parse_page
from hypothesis import HealthCheck, given, settings
from nasty_names import texts
from recorded_events import metric_event, note_event, verdict_event

from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.records import Change, Failure, Outcome
from pytest_edgequant.report import html_pictures, plots
from pytest_edgequant.report.html import render
from pytest_edgequant.report.html_pictures import Pictures
from pytest_edgequant.report.plots.pareto import Point, front
from pytest_edgequant.results.session import Event, Session

matplotlib = pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("pipeline")


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


def variant(page: Element, name: str) -> Element:
    """The part of a variant, with its summary."""
    return page.within("details", "h3", f"digits/{name}")


def part(page: Element, name: str, title: str) -> Element:
    """The part of a variant that has this title."""
    return variant(page, name).within("details", "h4", title)


def test_it_is_one_file_without_network_or_script(session: Session) -> None:
    text = render(session)
    tags = {element.tag for element in parse_page(text).all()}
    assert not tags & {"script", "iframe", "img", "object", "form", "input"}
    for element in parse_page(text).all():
        for name, value in element.attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "action", "data"):
                assert value is not None
                assert value.startswith(("#", "data:,"))
    assert not re.search(r"url\((?!#)|@import", text)
    assert text.startswith("<!DOCTYPE html>")


def test_it_has_every_part_of_a_variant(session: Session) -> None:
    page = parse_page(render(session))
    found = variant(page, "int8")
    assert [title.text for title in found.all("h4")] == [
        *("Memory of the board", "Recall by class", "Weights by layer", "Arena over time"),
        *("Latency by layer", "Figures"),
    ]
    assert len(list(found.all("div", "plot"))) == 4
    assert "Errors are measured against the weights of float32." in found.text
    assert "1,616 B" in found.one("table", "int8 by target").text
    assert "B (exact, TFLM" in part(page, "int8", "Arena over time").text
    assert "CONV_2D (operator 0)" in part(page, "int8", "Weights by layer").text
    assert "33.3%" in part(page, "int8", "Latency by layer").text  # of three equal layers


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
    page = parse_page(text)
    assert not list(page.all("div", "plot"))
    assert "pip install &#39;pytest-edgequant[plots]&#39;" in text
    assert "CONV_2D (operator 0)" in part(page, "int8", "Weights by layer").text


def test_pictures_have_a_limit_and_it_says_so() -> None:
    pictures = Pictures(True)
    drawn = [pictures.draw("arena", lambda: '<svg width="1pt">', "label") for _ in range(26)]
    assert drawn.count(None) == 2
    assert pictures.remarks() == [
        "2 pictures of memory plans are left out, for the report has no more room; the tables are "
        "there."
    ]
    assert "1 picture of" in Pictures(True, left_out={"bars": 1}).remarks()[0]


def test_pictures_take_no_more_than_their_room_together() -> None:
    pictures = Pictures(True, room=300)
    for kind in ("bars", "weights"):
        for _ in range(9):
            pictures.draw(kind, lambda: '<svg width="1pt">', "label")
    assert 0 < sum(len(picture.svg) for picture in pictures.drawn) <= 300
    made = []
    pictures.draw("bars", lambda: made.append(1) or "<svg>", "label")  # type: ignore[func-returns-value]
    assert made == []  # what has no room is not made


def test_a_report_that_is_too_large_has_fewer_pictures_and_says_so(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = render(session)
    monkeypatch.setattr(html_pictures, "_WHOLE", len(whole) - 1)
    text = render(session)
    page = parse_page(text)
    assert len(text) < len(whole)
    assert len(list(page.all("div", "plot"))) == len(list(parse_page(whole).all("div", "plot"))) - 1
    assert "is left out" in page.one("header").text


def test_ids_of_pictures_are_never_the_same(session: Session) -> None:
    ids = [e.attributes["id"] for e in parse_page(render(session)).all() if "id" in e.attributes]
    assert len(ids) == len(set(ids))


def test_a_file_that_is_gone_or_changed_is_said(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"then")
    for name in ("uint8_io", "int8_float_io"):
        session.add([on(metric_event(name, "size_bytes", 4)), file_event(path, name)])
    path.write_bytes(b"now")
    assert (
        "has changed since it was measured" in variant(parse_page(render(session)), "uint8_io").text
    )
    path.unlink()
    assert (
        "can't be read: No such file" in variant(parse_page(render(session)), "int8_float_io").text
    )


def test_a_damaged_file_takes_only_its_own_part(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"\0\0\0\0TFL3 and no more")
    session.add(
        [
            on(metric_event("uint8_io", "arena_bytes", 5)),
            file_event(path, "uint8_io"),
        ]
    )
    page = parse_page(render(session))
    assert "damaged or truncated .tflite" in variant(page, "uint8_io").text
    assert list(variant(page, "int8").all("div", "plot"))


def test_an_unknown_target_takes_only_its_own_part(session: Session, tiny: dict[str, Path]) -> None:
    session.add(
        [
            on(metric_event("uint8_io", "arena_bytes", 5), "nowhere"),
            file_event(tiny["uint8_io"], "uint8_io", "nowhere"),
        ]
    )
    assert "the plan can't be shown: " in variant(parse_page(render(session)), "uint8_io").text


def test_results_that_were_read_back_have_no_files_and_that_is_fine() -> None:
    session = Session()
    missing = metric_event("int8", "arena_bytes", 0)
    missing["metric"] |= {"value": None, "reason": "no wheel"}
    session.add([missing, verdict_event("int8", "arena", Outcome.UNAVAILABLE)])
    page = parse_page(render(session))
    assert "no wheel" in page.text
    assert "UNAVAILABLE: arena" in page.text
    assert "not shown" not in page.text


def test_an_empty_run_is_a_report() -> None:
    assert "nothing was gated" in parse_page(render(Session(watched=True))).text


def test_changes_are_shown(session: Session) -> None:
    session.baseline_note = "compared with base.json"
    changes = [Change("size_bytes", "bytes", 5_000, 5_568, Outcome.FAIL, "568 B too many")]
    session.add_changes(("digits", "nano33ble", "int8"), changes)
    text = parse_page(render(session)).text
    assert "Baseline: compared with base.json" in text
    assert "5,568 B (+568 B, +11.4%)" in text
    assert "FAIL: 568 B too many" in text


# Over 60 lines: every place that text from outside can get to, in one session.
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
    found = list(parse_page(text).all())
    assert {element.tag for element in found} <= {
        *("html", "head", "meta", "link", "title", "style", "body", "header", "main", "footer"),
        *(
            "section",
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "p",
            "a",
            "sup",
            "span",
            "strong",
            "ul",
            "li",
            "div",
        ),
        *("table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary"),
        *(
            "figure",
            "figcaption",
            "svg",
            "g",
            "path",
            "defs",
            "use",
            "text",
            "tspan",
            "clippath",
            "rect",
        ),
    }
    assert not [name for element in found for name in element.attributes if name[:2] == "on"]
    anchors = {element.attributes.get("id") for element in found}
    links = [element.attributes["href"] for element in found if element.tag == "a"]
    assert links
    assert {link[1:] for link in links if link} <= anchors
