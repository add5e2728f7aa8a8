from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded_events import metric_event, note_event, verdict_event

from pytest_edgequant.cli.files import read_documents
from pytest_edgequant.errors import DocumentError
from pytest_edgequant.records import Change, Failure, Outcome
from pytest_edgequant.report.json import document, render
from pytest_edgequant.report.reading import merge_reports, read_report
from pytest_edgequant.results.session import Session


def session(*variants: str, size: float = 5_568) -> Session:
    found = Session(baseline_note="compared with b.json")
    for variant in variants:
        found.add(
            [
                metric_event(variant, "size_bytes", size),
                note_event(variant, "a note"),
                verdict_event(variant, "size", Outcome.PASS),
            ]
        )
        change = Change("size_bytes", "bytes", 5_000, size, Outcome.FAIL, "more", 1, None)
        found.add_changes(("digits", "pico", variant), [change])
    return found


def read(found: Session) -> Session:
    return read_report(json.loads(render(found)), "a.json")


def merged(*sessions: Session) -> Session:
    return merge_reports((f"{i}.json", read(found)) for i, found in enumerate(sessions))


def test_a_report_comes_back_as_it_was() -> None:
    first = session("int8", "float32")
    assert document(read(first)) == document(first)
    assert read(first).gated == first.gated


def test_a_note_beside_a_verdict_comes_back() -> None:
    noted = verdict_event("int8", "accuracy_drop", Outcome.PASS)
    noted["verdict"]["note"] = "only 3 samples"
    first = session("int8")
    first.add([noted])
    text = "(only 3 samples)"
    assert text in document(first)["results"][0]["verdict"]["text"]
    assert document(read(first)) == document(first)


def test_shards_make_the_report_of_the_whole_run() -> None:
    whole = session("float32", "int8", "int16x8")
    shards = session("int16x8"), session("int8", "float32")
    assert document(merged(*shards)) == document(whole)
    assert document(merged(*reversed(shards))) == document(whole)
    assert document(merged(*shards, shards[0])) == document(whole)


def test_a_report_of_before_there_were_changes_is_read() -> None:
    old = json.loads(render(session("int8")))
    del old["baseline"]
    for result in old["results"]:
        del result["changes"]
    found = read_report(old, "old.json")
    (result,) = found.results()
    assert result.changes == []
    assert found.baseline_note == ""


def test_what_shards_disagree_on_is_named() -> None:
    other = session("int8", "float32", size=9)
    with pytest.raises(DocumentError) as caught:
        merged(session("int8"), other)
    text = str(caught.value)
    assert "the reports disagree" in text
    assert "0.json and 1.json: digits/int8 on pico: size_bytes is 5568 bytes and 9 bytes" in text
    assert "float32" not in text


def test_a_figure_that_one_shard_could_not_have_is_the_others() -> None:
    missing = metric_event("int8", "size_bytes", 0)
    missing["metric"] |= {"value": None, "provenance": "unavailable", "reason": "no wheel"}
    without = Session()
    without.add([missing])
    for order in ((without, session("int8")), (session("int8"), without)):
        (result,) = merged(*order).results()
        assert result.metrics["size_bytes"].value == 5_568


def test_times_that_differ_are_taken_at_their_longest() -> None:
    sessions = []
    for value in (2.0, 3.0, 1.0):
        event = metric_event("int8", "latency_ms", value)
        event["metric"]["unit"] = "ms"
        sessions.append(Session())
        sessions[-1].add([event])
    (result,) = merged(*sessions).results()
    assert result.metrics["latency_ms"].value == 3.0


def test_shards_of_different_machines_name_them_all() -> None:
    first, second = json.loads(render(session("int8"))), json.loads(render(session("float32")))
    second["environment"] |= {"platform": "darwin", "packages": {"numpy": "9"}}
    numpy = first["environment"]["packages"]["numpy"]
    found = document(
        merge_reports([("a", read_report(first, "a")), ("b", read_report(second, "b"))])
    )
    assert found["environment"]["platform"] == f"{first['environment']['platform']}, darwin"
    assert found["environment"]["packages"]["numpy"] == f"{numpy}, 9"


def test_the_commit_and_the_date_of_shards_are_kept_and_older_reports_have_none() -> None:
    first, second, old = session("int8"), session("float32"), session("int16x8")
    first.made = {"commit": "0123abc", "date": "2026-01-02 03:04 UTC"}
    second.made = {"commit": "0123abc", "date": "2026-01-02 03:05 UTC"}
    parts = [
        (name, read_report(json.loads(render(each)), name))
        for name, each in (("a", first), ("b", second), ("c", old))
    ]
    found = document(merge_reports(parts))["environment"]
    assert found["commit"] == "0123abc"
    assert found["date"] == "2026-01-02 03:04 UTC, 2026-01-02 03:05 UTC"
    assert "commit" not in document(merge_reports(parts[2:]))["environment"]


def failing(test: str) -> Session:
    found = session("int8")
    found.watched = True
    found.failures.append(Failure(test, "tests/test_it.py", 3, "too large"))
    rows = [{"label": "7", "count": 9, "recall": 0.5}]
    found.add(
        [
            {
                "kind": "details",
                "model": "digits",
                "variant": "int8",
                "target": "pico",
                "name": "classes",
                "rows": rows,
            }
        ]
    )
    return found


def test_failures_and_tables_come_back_and_are_merged() -> None:
    assert document(read(failing("a"))) == document(failing("a"))
    whole = merged(failing("b"), failing("a"), failing("b"))
    assert whole.watched
    assert [failure["test"] for failure in document(whole)["failures"]] == ["a", "b"]
    (result,) = document(whole)["results"]
    assert result["details"] == {"classes": [{"label": "7", "count": 9, "recall": 0.5}]}


def test_of_a_report_of_before_there_were_failures_the_tests_are_not_known() -> None:
    old = json.loads(render(failing("a")))
    del old["failures"]
    assert not read_report(old, "old.json").watched


SPOILT: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no results": (lambda r: r.pop("results"), "results is None"),
    "a result that is none": (lambda r: r["results"].append(1), "result 1 is 1"),
    "no tool": (lambda r: r.pop("tool"), "tool is None"),
    "no python": (lambda r: r["environment"].pop("python"), "environment: python is None"),
    "a model that is a number": (lambda r: r["results"][0].update(model=1), "model is 1"),
    "an unknown verdict": (
        lambda r: r["results"][0]["verdicts"][0].update(verdict="maybe"),
        "verdict is 'maybe'",
    ),
    "a value that is text": (
        lambda r: r["results"][0]["metrics"]["size_bytes"].update(value="5 kB"),
        "size_bytes: value is '5 kB'",
    ),
    "a figure without a reason": (
        lambda r: r["results"][0]["metrics"]["size_bytes"].update(value=None),
        "neither a value nor a reason",
    ),
    "a failure without a test": (
        lambda r: r.update(failures=[{"file": "x", "line": 1, "message": "m"}]),
        "failures: test is None",
    ),
    "a table that is none": (
        lambda r: r["results"][0].update(details={"classes": [3]}),
        "classes is 3",
    ),
    "a table in a table": (
        lambda r: r["results"][0].update(details={"classes": [{"x": []}]}),
        "classes: x is []",
    ),
    "twice": (lambda r: r["results"].append(r["results"][0]), "digits/int8 on pico is there twice"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_damaged_says_so(name: str) -> None:
    spoil, said = SPOILT[name]
    spoilt = copy.deepcopy(json.loads(render(session("int8"))))
    spoil(spoilt)
    with pytest.raises(DocumentError) as caught:
        read_report(spoilt, "a.json")
    assert str(caught.value).startswith("a.json: damaged: ")
    assert said in str(caught.value)


def test_a_newer_report_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(render(session("int8")).replace("report/1", "report/2"), encoding="utf-8")
    with pytest.raises(DocumentError, match="written by a newer pytest-edgequant"):
        read_documents([path])
