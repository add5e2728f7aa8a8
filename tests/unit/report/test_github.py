from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from nasty_names import texts
from recorded_events import metric_event, verdict_event

from pytest_edgequant.records import Failure, Outcome
from pytest_edgequant.report.github import annotation_lines, write_summary
from pytest_edgequant.report.junit import add_properties
from pytest_edgequant.results.session import Session

ROOT = Path("/runner/repo/model")
ACTIONS = {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": "/runner/repo"}


def failure(message: str = "too large", test: str = "tests/test_it.py::test_it") -> Failure:
    return Failure(test, "tests/test_it.py", 7, message)


def read_back(line: str) -> tuple[dict[str, str], str]:
    """What GitHub's runner makes of a command: the properties, and the message."""
    found = re.fullmatch(r"::error ([^:]*)::(.*)", line)
    assert found is not None, line

    def decoded(text: str, *, value: bool) -> str:
        if value:
            text = text.replace("%3A", ":").replace("%2C", ",")
        return text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")

    pairs = (pair.split("=", 1) for pair in found[1].split(","))
    return {k: decoded(v, value=True) for k, v in pairs}, decoded(found[2], value=False)


def test_a_failure_is_an_annotation_at_its_line() -> None:
    (line,) = annotation_lines([failure("too large: 5 B, by 1%\nuse less")], ROOT, ACTIONS)
    assert line == (
        "::error file=model/tests/test_it.py,line=7,title=test_it::"
        "too large: 5 B, by 1%25%0Ause less"
    )


@given(texts, texts)
def test_whatever_a_test_is_called_it_is_one_command(name: str, message: str) -> None:
    (line,) = annotation_lines([failure(message, f"a.py::{name}")], ROOT, ACTIONS)
    assert len(line.splitlines()) == 1
    line.encode()
    properties, text = read_back(line)
    assert list(properties) == ["file", "line", "title"]
    assert properties["file"] == "model/tests/test_it.py"
    if len(message) < 1500 and message.strip() and message.isprintable():
        assert text == message.strip()


def test_elsewhere_there_are_no_annotations() -> None:
    assert list(annotation_lines([failure()], ROOT, {})) == []


def test_a_line_with_many_failures_is_one_annotation() -> None:
    many = [failure(f"too large on {i}", f"a.py::test_it[{i:02}]") for i in range(11)]
    other = Failure("a.py::test_other", "tests/test_it.py", 20, "other")
    found = [read_back(line) for line in annotation_lines([*many, other], ROOT, ACTIONS)]
    assert [properties["title"] for properties, _ in found] == ["11 tests failed", "test_other"]
    assert found[0][1].splitlines()[10] == "test_it[10]: too large on 10"
    assert len(list(annotation_lines(many[:10], ROOT, ACTIONS))) == 10


def test_a_test_outside_of_the_repository_has_its_whole_path() -> None:
    outside = Failure("x", "../../other/test_it.py", None, "no")
    (line,) = annotation_lines([outside], ROOT, ACTIONS)
    assert read_back(line)[0] == {"file": "/runner/other/test_it.py", "title": "x"}


@pytest.fixture
def session() -> Session:
    session = Session(watched=True)
    session.add([verdict_event("int8", "size", Outcome.PASS)])
    return session


def test_the_summary_is_added_to_what_is_there(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_text("# before\n", encoding="utf-8")
    assert write_summary(session, {"GITHUB_STEP_SUMMARY": str(path)}) == []
    assert path.read_text("utf-8").startswith("# before\n\n✅ **edgequant passed: 1 check**")


def test_a_run_without_results_leaves_the_summary_alone(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    assert write_summary(Session(watched=True), {"GITHUB_STEP_SUMMARY": str(path)}) == []
    assert not path.exists()


def test_a_summary_that_cannot_be_written_says_so(session: Session, tmp_path: Path) -> None:
    (said,) = write_summary(session, {"GITHUB_STEP_SUMMARY": str(tmp_path)})
    assert said.startswith(f"GITHUB_STEP_SUMMARY: can't write {str(tmp_path)!r}: ")


def test_properties_are_the_metrics_and_verdicts() -> None:
    unavailable = metric_event("int8", "arena_bytes", 0)
    unavailable["metric"] |= {"value": None, "reason": "no wheel"}
    properties: list[tuple[str, object]] = [("mine", 1)]
    add_properties(
        properties,
        [
            metric_event("int8", "size_bytes", 5_000),
            metric_event("int8", "size_bytes", 5_568),
            unavailable,
            verdict_event("int8", "size", Outcome.FAIL),
            {"kind": "cache", "damaged": 1},
        ],
    )
    assert properties == [
        ("mine", 1),
        ("edgequant:digits/int8@pico:size_bytes", "5568"),
        ("edgequant:digits/int8@pico:arena_bytes", "unavailable: no wheel"),
        ("edgequant:digits/int8@pico:verdict:size", "fail: size of int8"),
    ]
    add_properties(properties, [metric_event("int8", "size_bytes", 6_000)])
    assert len(properties) == 4
    assert properties[-1] == ("edgequant:digits/int8@pico:size_bytes", "6000")
