"""The HTML report of many boards: what stands first, what is folded, and how much it weighs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from html_page import Element, parse_page

from pytest_edgequant.records import Change, Failure, Metric, Outcome, Result, Verdict
from pytest_edgequant.report.html import render
from pytest_edgequant.results.session import Event, Session

pytestmark = pytest.mark.usefixtures("pipeline")

BOARDS = (
    *("esp32", "esp32s3", "giga-r1", "microbit-v2", "nano33ble"),
    *("nano33iot", "nucleo-h743zi", "nucleo-l4r5zi", "pico", "pico2"),
)
SMALL = ("nano33iot", "microbit-v2")
DATA = Path(__file__).parents[2] / "data"


def result(model: str, board: str, variant: str = "int8", limit: int = 20_480) -> Result:
    """A variant whose arena is too large for limits under 10,000 B."""
    need = 10_000 + 16 * len(model)
    failed = need > limit
    message = f"{model}/{variant} on {board}: arena {need:,} B against {limit:,} B"
    metrics = {
        "size_bytes": Metric(18_800, "bytes", "exact (file size)"),
        "runtime_code_bytes": Metric(90_000, "bytes", "upper bound", 40_000, 90_000),
        "arena_bytes": Metric(need, "bytes", "exact, TFLM"),
        "accuracy": Metric(0.9375, "fraction", "measured (LiteRT)", count=320),
        "accuracy_drop": Metric(
            0.0, "fraction", f"measured (LiteRT), against {model}/float32", count=320
        ),
        "latency_ms": Metric(40.0, "ms", f"estimated (core of {board})", 30.0, 60.0),
    }
    verdicts = [
        Verdict("arena", Outcome.FAIL if failed else Outcome.PASS, message, limit, need),
        Verdict("size", Outcome.PASS, "small enough", 100_000, 18_800),
    ]
    return Result(model, variant, board, metrics, verdicts)


def many(*models: str, variants: tuple[str, ...] = ("int8",), failing: str = "") -> Session:
    """Models on ten boards; the arena of one doesn't fit the small ones."""
    session = Session(watched=True)
    for model in models:
        for variant in variants:
            for board in BOARDS:
                tight = model == failing and board in SMALL
                found = result(model, board, variant, 9_000 if tight else 20_480)
                session.add_result(found)
                if tight:
                    message = found.verdicts[0].message
                    session.failures.append(Failure(f"t.py::{board}", "t.py", 1, message))
    return session


def rows(page: Element, caption: str) -> list[list[str]]:
    return page.one("table", caption).rows


def opened(page: Element) -> Iterator[Element]:
    return (found for found in page.all("details") if "open" in found.attributes)


def test_a_row_of_the_overview_leads_to_its_variant_and_verdicts_stand_beside_names() -> None:
    page = parse_page(render(many("kws", "anomaly", failing="kws")))
    table = page.one("table", "On many boards")
    assert [head.text for head in table.all("th") if head.attributes.get("scope") == "col"][:2] == [
        "model/variant",
        "verdict",
    ]
    names = [row[:3] for row in table.rows]
    assert names == [["kws/int8", "FAIL", "2 fail, 8 pass"], ["anomaly/int8", "pass", "10 pass"]]
    links = [link.attributes["href"] or "" for link in table.all("a") if "/" in link.text]
    assert len(set(links)) == 2
    for link, title in zip(links, ("kws/int8", "anomaly/int8"), strict=True):
        target = next(e for e in page.all() if e.attributes.get("id") == link[1:])
        section = page.within("details", "h3", title)
        assert target in list(section.all())
        # A browser unfolds what a link leads into, not what it leads to.
        assert section.attributes.get("id") is None


def test_only_what_failed_is_unfolded() -> None:
    passed = parse_page(render(many("kws", "anomaly")))
    assert list(opened(passed)) == []
    failed = parse_page(render(many("kws", "anomaly", failing="kws")))
    assert [found.one("h3").text for found in opened(failed)] == ["kws/int8"]


def test_failures_come_first_and_boards_that_pass_are_folded() -> None:
    page = parse_page(render(many("kws", variants=("int8", "int16x8"), failing="kws")))
    matrix = page.within("details", "h3", "kws on 10 boards")
    open_, passed = list(matrix.all("table"))
    assert [row[0] for row in open_.rows] == ["nano33iot", "microbit-v2"]
    assert "arena 112 % of 8.79 KiB" in open_.rows[0][1]
    folded = next(found for found in matrix.all("details") if passed in list(found.all("table")))
    assert "open" not in folded.attributes
    assert folded.one("summary").text == "8 boards pass"
    assert "The smallest boards on which everything passes: esp32" in matrix.text


def test_bars_show_the_use_of_limits_and_where_these_are_if_it_is_more() -> None:
    page = parse_page(render(many("kws", failing="kws")))
    table = page.one("table", "kws/int8 by target")
    bars = [found for found in table.all("svg", "use") if found.one("rect", cls="used")]
    shown = [
        [(r.attributes["class"], int(r.attributes["width"] or 0)) for r in bar.all("rect")]
        for bar in bars[:2]
    ]
    size, arena = shown
    assert size == [("used good", 188)]
    assert arena[0] == ("used bad", 1000)
    end = bars[1].one("rect", cls="end").attributes["x"]
    assert int(end or 0) + 6 == pytest.approx(1000 * 9_000 / 10_048, abs=1)


def test_the_memory_of_a_board_is_drawn_to_scale() -> None:
    page = parse_page(render(many("kws", failing="kws")))
    board = page.one("div", "nano33iot", cls="memory")
    flash, sram = board.all("figure")
    assert [item.text for item in flash.all("li")] == [
        "firmware (assumed) 32,768 B",
        "runtime, at most 90,000 B",
        "model 18,800 B",
        "free 120,576 B",
    ]
    parts = [int(rect.attributes["width"] or 0) for rect in flash.all("rect")]
    assert parts == [
        pytest.approx(1000 * size / 262_144, abs=1.5) for size in (32_768, 90_000, 18_800, 120_576)
    ]
    assert [item.text.rpartition(" ")[0].rpartition(" ")[0] for item in sram.all("li")] == [
        "firmware (assumed)",
        "arena",
        "free",
    ]


def test_findings_that_boards_share_are_told_once() -> None:
    page = parse_page(render(many("kws", failing="kws")))
    findings = list(page.one("ul", cls="findings").all("li"))
    assert len(findings) == 1
    assert "arena of kws/int8 on microbit-v2, nano33iot" in findings[0].text
    assert findings[0].text.count("10,048 B against 9,000 B") == 1


def test_few_boards_have_a_row_of_figures_each() -> None:
    session = Session(watched=True)
    for board in ("pico", "esp32"):
        session.add_result(result("kws", board))
    page = parse_page(render(session))
    header = [head.text for head in page.one("table", "esp32").all("th")][:8]
    assert header == [
        *("model/variant", "verdict", "size", "arena"),
        *("top-1", "samples", "drop from float32", "latency"),
    ]
    assert rows(page, "esp32")[0][1:6] == [
        "pass",
        "18,800 B [a] 19 % of 97.7 KiB",
        "10,048 B [b] 49 % of 20 KiB",
        "93.75% [c]",
        "320",
    ]
    legend = page.one("details", cls="legend")
    assert "[a] exact (file size)" in legend.text


def test_variants_that_were_not_run_are_folded_and_those_that_cannot_run_are_not() -> None:
    session = many("kws")
    for board in BOARDS:
        nothing = Verdict("form", Outcome.NOT_APPLICABLE, f"kws/int16x8 on {board}: not asked for")
        session.add_result(Result("kws", "int16x8", board, {}, [nothing]))
        refused = Verdict("runs", Outcome.CANNOT_RUN, f"kws/float16 on {board}: no kernel")
        session.add_result(Result("kws", "float16", board, {}, [refused]))
    page = parse_page(render(session))
    overview = rows(page, "On many boards")
    assert ["kws/float16", "CANNOT RUN", "10 can't run it"] in [row[:3] for row in overview]
    folded = page.one("details", "1 variant was not run")
    assert "open" not in folded.attributes
    assert folded.text.count("not asked for") == 1  # once for all boards


def test_a_report_that_was_read_back_looks_like_the_first_without_files() -> None:
    session = many("kws", failing="kws")
    session.origin = {
        "tool": {"name": "pytest-edgequant", "version": "1"},
        "environment": {
            "python": "3.12",
            "platform": "linux",
            "machine": "x86_64",
            "commit": "0123abc with changes",
            "date": "2026-01-02 03:04 UTC",
            "packages": {},
        },
    }
    page = parse_page(render(session))
    made = page.one("p", "Commit")
    assert made.text == "Commit 0123abc with changes, 2026-01-02 03:04 UTC"
    assert "made from others" in page.one("header").text
    assert page.one("div", "nano33iot", cls="memory")


def test_changes_of_a_board_are_in_its_row() -> None:
    session = Session(watched=True)
    session.add_result(result("kws", "pico"))
    change = Change("arena_bytes", "bytes", 9_000, 10_048, Outcome.PASS, "")
    session.add_changes(("kws", "pico", "int8"), [change])
    assert "10,048 B (+1,048 B, +11.6%)" in rows(parse_page(render(session)), "pico")[0][3]


def test_changes_are_a_row_a_model_with_the_reason_once() -> None:
    session = Session(watched=True)
    for board in ("pico", "esp32"):
        session.add_result(result("kws", board))
        session.add_result(result("kws", board, "int16x8"))
        for variant, verdict in (("int8", Outcome.PASS), ("int16x8", Outcome.FAIL)):
            message = f"kws/{variant} on {board}: size_bytes is another; the model changed"
            changes = [
                Change("size_bytes", "bytes", 18_000, 18_800, verdict, message),
                Change("arena_bytes", "bytes", 10_048, 10_048, Outcome.PASS, ""),
            ]
            session.add_changes(("kws", board, variant), changes)
    page = parse_page(render(session))
    assert rows(page.one("section", "Changes against"), "what changed") == [
        [
            "kws",
            "regressed: size_bytes +800 B, +4.4% (int16x8) ; size_bytes +800 B, +4.4% (int8) "
            "the model changed",
            "esp32, pico",
        ]
    ]


def _file(model: str, variant: str, board: str, path: Path) -> Event:
    return {
        "kind": "file",
        "model": model,
        "variant": variant,
        "target": board,
        "fingerprint": hashlib.sha256(path.read_bytes()).hexdigest(),
        "path": str(path),
        "content": None,
    }


def test_four_models_on_ten_boards_are_less_than_a_megabyte() -> None:
    pytest.importorskip("matplotlib", reason="the extra plots is not installed")
    variants = ("float32", "int8", "int16x8")
    models = ("keywords", "anomaly", "person", "gestures")
    session = many(*models, variants=variants, failing="person")
    files = {"int16x8": "tiny_int16x8.tflite", "float32": "tiny_float32.tflite"}
    layers = [
        {"name": f"scope/block_{i}/Conv2D", "operator": "CONV_2D", "macs": i, "latency_ms": 0.5}
        for i in range(40)
    ]
    for model in models:
        for variant in variants:
            path = DATA / files.get(variant, "residual_int8.tflite")
            session.add(_file(model, variant, board, path) for board in BOARDS)
            details = _file(model, variant, BOARDS[0], path) | {"kind": "details"}
            session.add([details | {"name": "layers", "rows": layers}])
    text = render(session)
    page = parse_page(text)
    assert len(text.encode()) < 1_000_000
    assert len(list(page.all("details", "variant"))) == 12
    assert len(list(page.all("div", "plot"))) > 12


def test_boards_of_one_build_share_a_picture_of_the_arena() -> None:
    pytest.importorskip("matplotlib", reason="the extra plots is not installed")
    session = many("kws")
    session.add(_file("kws", "int8", board, DATA / "residual_int8.tflite") for board in BOARDS)
    page = parse_page(render(session))
    arena = page.within("details", "h4", "Arena over time")
    labels = [
        svg.attributes.get("aria-label") or ""
        for svg in arena.all("svg")
        if "Memory plan" in (svg.attributes.get("aria-label") or "")
    ]
    named = [
        board
        for label in labels
        for board in BOARDS
        if f"{board}," in f"{label},".replace(";", ",")
    ]
    assert sorted(named) == sorted(BOARDS)
    assert 1 < len(labels) < 6
    assert next(label for label in labels if "nano33ble" in label).count(",") > 1
