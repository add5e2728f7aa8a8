"""Names of fused tensors in messages, and several facts on the surfaces that have one line."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_building import one_operator, tensor

from pytest_edgequant import context
from pytest_edgequant.errors import ConversionError, EdgeAssertionError, ModelError, SizeExceeded
from pytest_edgequant.measure.legality import findings
from pytest_edgequant.plugin.outcomes import told
from pytest_edgequant.records import Failure, Metric, Outcome, Verdict
from pytest_edgequant.report import html, markdown
from pytest_edgequant.report import json as json_report
from pytest_edgequant.report.junit import add_properties
from pytest_edgequant.report.markdown_text import prose
from pytest_edgequant.results.session import Session
from pytest_edgequant.targets import Targets
from pytest_edgequant.tflite.form import float_tensors
from pytest_edgequant.tflite.graph import read_graph
from pytest_edgequant.wording import counted, facts, one_line, portable, short, short_names

FUSED = ";".join(f"functional_1/gru_1/while/cell_{i}/MatMul" for i in range(20))
FIRST = "functional_1/gru_1/while/cell_0/MatMul"


def test_a_fused_name_is_its_first_and_a_long_one_its_end() -> None:
    assert short(FUSED) == FIRST
    assert short("a;b;c") == "a"
    assert short("dense/Relu") == "dense/Relu"
    assert short("x/" * 50 + "end").endswith("/end")
    assert len(short("x/" * 50 + "end")) == 48


@given(st.lists(st.text("abc/_:.0", min_size=1, max_size=30), min_size=2, max_size=30))
def test_a_message_has_no_long_fused_name(parts: list[str]) -> None:
    name = ";".join(parts)
    for text in (name, f"'{name}'", f"layer {name}: odd", f"({name!r}, {name!r})"):
        shown = short_names(text)
        assert (name in shown) is (len(name) <= 48)
        assert short_names(shown) == shown
        if len(name) > 48:
            assert len(shown) <= len(text) - 2 * (len(name) > 60)


@pytest.mark.parametrize(
    "text",
    [
        "a; b; c",
        "unknown target 'nano;esp32'. Did you mean nano33ble?",
        "size 5,568 B is over; use fewer channels; or a larger board, or a smaller model; or none",
    ],
)
def test_what_is_no_name_of_a_tensor_is_left(text: str) -> None:
    assert short_names(text) == text


def test_errors_and_records_shorten_whatever_they_are_told() -> None:
    told = f"TensorFlow said: can't quantize '{FUSED}' of {FUSED}"
    shown = f"TensorFlow said: can't quantize '{FIRST}' of {FIRST}"
    assert str(ConversionError(told)) == shown
    assert str(SizeExceeded(told)) == shown
    assert str(pickle.loads(pickle.dumps(ConversionError(told)))) == shown
    assert Verdict("ops", Outcome.FAIL, told).message == shown
    assert Metric.unavailable("bytes", told).reason == shown


def test_findings_name_the_first_of_the_fused() -> None:
    scale = {"scales": [0.5], "zero_points": [0]}
    content = one_operator(
        "TANH",
        [tensor(f"in/{FUSED}", [1, 4], "INT8", **scale)],
        tensor(FUSED, [1, 4], "INT8", **scale),
    )
    graph = read_graph(content)
    found = findings(graph, Targets().get("nano33ble"))
    assert found
    assert all(";functional" not in finding.text for finding in found)
    assert any(FIRST in finding.text for finding in found)
    floats = one_operator(
        "TANH", [tensor("in", [1, 4], "FLOAT32")], tensor(FUSED, [1, 4], "FLOAT32")
    )
    assert [str(f) for f in float_tensors(read_graph(floats))][1].startswith(f"output '{FIRST}' (")


def test_facts_are_lines_where_there_are_lines_and_sentences_elsewhere() -> None:
    message = facts("m on b cannot run:", ["no kernel. Use int8", "2 B too large"])
    assert message.splitlines() == ["m on b cannot run: no kernel. Use int8", "  2 B too large"]
    line = "m on b cannot run: no kernel. Use int8; 2 B too large"
    assert one_line(message) == line
    assert one_line(line) == line
    assert prose(message).replace("\u200b", "") == line
    properties: list[tuple[str, object]] = []
    verdict = {"check": "ops", "verdict": "fail", "message": message}
    event = {"kind": "verdict", "model": "m", "variant": "int8", "target": "b", "verdict": verdict}
    add_properties(properties, [event])
    assert properties == [("edgequant:m/int8@b:verdict:ops", f"fail: {line}")]


@pytest.mark.parametrize(
    "count, noun, many, said",
    [
        (1, "sample", "", "1 sample"),
        (0, "sample", "", "0 samples"),
        (1204, "operator", "", "1,204 operators"),
        (2, "class", "", "2 classes"),
        (3, "entry", "", "3 entries"),
        (2, "day", "", "2 days"),
        (1, "axis", "axes", "1 axis"),
        (2, "axis", "axes", "2 axes"),
    ],
)
def test_how_many_there_are_of_something(count: int, noun: str, many: str, said: str) -> None:
    assert counted(count, noun, many) == said


def test_an_account_of_a_failure_is_told_without_its_marks() -> None:
    account = (
        "def test_it():\n>   check(x)\nE   size over\nE     by 3 B\nE\ntest_it.py:3: SizeExceeded"
    )
    assert told(account) == "size over\n  by 3 B\n"
    assert told("[XPASS(strict)] Every one") == "[XPASS(strict)] Every one"
    assert told("Every\nEach  of them") == "Every\nEach  of them"


def test_a_message_has_an_end_and_says_what_was_left_out() -> None:
    for make in (
        lambda text: str(ModelError(text)),
        lambda text: str(EdgeAssertionError(text)),
        lambda text: Verdict("ops", Outcome.FAIL, text).message,
        lambda text: str(Metric.unavailable("ms", text).reason),
    ):
        told = make("x" * 1_000_000)
        assert len(told) < 20_100
        assert told.endswith("... (980,000 more characters are left out)")
        assert make(told) == told
        assert make("x" * 20_000) == "x" * 20_000


def test_places_of_this_machine_are_told_from_the_root_and_from_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USERPROFILE", "/home/me")
    root = "/home/me/work/project"
    said = portable(f"{root}/models/a.keras: no such file (looked from '{root}')", root)
    assert said == "models/a.keras: no such file (looked from '.')"
    assert portable("/home/me/.keras/x, /home/me", root) == "~/.keras/x, ~"
    for other in ("/home/meadow/x", "/work/project/x", "a/home/me2", f"{root}-2/x"):
        assert "/home/me/" not in portable(other, root)
        assert portable(other, root).endswith(other[-6:])
    assert portable("/home/meadow/x", root) == "/home/meadow/x"
    assert portable("/tmp/x", "/") == "/tmp/x"


def test_reports_of_a_session_have_no_folders_of_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr(context, "root", "/home/me/project")
    message = "/home/me/project/models/a.keras: not converted, see /home/me/.cache/x"
    verdict = {"check": "ops", "verdict": "fail", "message": message, "limit": None, "value": None}
    row = {"model": "a", "variant": "int8", "target": "pico", "identity": ""}
    session = Session(watched=True)
    session.add(
        [
            {"kind": "verdict", **row, "verdict": verdict, "skipped": False},
            {"kind": "variant", **row, "notes": [message]},
        ],
        "test_it.py::test_it",
    )
    session.fail(Failure("test_it.py::test_it", "test_it.py", 1, message))
    for render in (json_report.render, markdown.render, html.render):
        text = render(session)
        assert "/home/me" not in text
        assert "models/a.keras: not converted" in text
