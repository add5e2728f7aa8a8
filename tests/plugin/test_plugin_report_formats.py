"""Markdown, HTML, JUnit XML and what GitHub Actions shows, of whole runs."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
from edge_project import Project, summary
from test_plugin_reports import _schema

GATE = """
def test_deployable(edge_variant, edge_target):
    assert_deployable(edge_variant, edge_target)


@pytest.mark.edge
def test_size(edge_int8):
    assert_size_within(edge_int8, "1 KiB")
"""


@pytest.fixture
def gate(project: Project) -> Project:
    """A model that fits, and one test that fails."""
    project.conftest(model="tiny_float32")
    project.test(GATE)
    return project


def test_markdown_says_what_failed_first(gate: Project) -> None:
    result = gate.run("--edge-target=nano33ble", "--edge-report=out/edge.md")
    assert result.ret == 1
    text = (gate.path / "out/edge.md").read_text("utf-8")
    assert text.startswith("❌ **edgequant failed: 1 of ")
    assert "`test_it.py::test_size" in text
    assert "size 5,5" in text
    assert "### `nano33ble`" in text
    assert "| `tiny_float32/int16x8` |" in text


def test_html_has_weights_and_arena(gate: Project) -> None:
    pytest.importorskip("matplotlib")
    gate.run("--edge-target=nano33ble", "--edge-report=edge.html", "-k", "deployable")
    text = (gate.path / "edge.html").read_text("utf-8")
    assert "Memory plan of tiny_float32/int8 on nano33ble" in text
    assert "Errors are measured against the weights of float32." in text


@pytest.mark.parametrize("arguments", [(), ("--edge-no-cache",)])
@pytest.mark.slow
def test_html_is_the_same_with_xdist(gate: Project, arguments: tuple[str, ...]) -> None:
    pytest.importorskip("xdist")
    options = (
        "--edge-target=nano33ble",
        "-k",
        "int8 and not io",
        "--edge-report=edge.html",
        *arguments,
    )
    texts = []
    for parallel in ((), ("-n", "2")):
        gate.run_subprocess(*options, *parallel)
        texts.append((gate.path / "edge.html").read_text("utf-8"))
    assert "Weights by layer" in texts[0]
    assert texts[0] == texts[1]


def test_nothing_is_computed_unless_html_is_asked_for(
    gate: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("matplotlib", "jinja2"):
        monkeypatch.setitem(sys.modules, name, None)
    result = gate.run("--edge-report=edge.md", "--edge-report=edge.json", "-k", "deployable")
    assert result.ret == 0
    assert "can't write" not in result.stdout.str()


def test_an_error_in_a_report_keeps_the_verdict(
    gate: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_edgequant.report.markdown.shared_findings", lambda _: 1 / 0)
    path = gate.path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    for selected, code in (("deployable", 0), ("size", 1)):
        result = gate.run("--edge-report=edge.md", "--edge-report=edge.json", "-k", selected)
        assert result.ret == code
        result.stdout.fnmatch_lines(
            [
                "--edge-report: can't write '*edge.md': ZeroDivisionError: *",
                "GITHUB_STEP_SUMMARY: ZeroDivisionError: *",
            ]
        )
        assert json.loads((gate.path / "edge.json").read_text())["results"]


@pytest.mark.parametrize("ending", ["md", "html"])
def test_a_folder_that_is_a_file_is_said(gate: Project, ending: str) -> None:
    gate.write("blocker", "a file")
    result = gate.run(f"--edge-report=blocker/edge.{ending}", "-k", "deployable")
    assert result.ret == 0
    result.stdout.fnmatch_lines([f"--edge-report: can't write '*edge.{ending}': *"])


def properties(path: Path) -> dict[str, dict[str, str]]:
    return {
        case.attrib["name"]: {p.attrib["name"]: p.attrib["value"] for p in case.iter("property")}
        for case in ElementTree.parse(path).iter("testcase")
    }


@pytest.mark.parametrize("parallel", [(), ("-n", "2")])
def test_junit_xml_has_metrics_and_verdicts(gate: Project, parallel: tuple[str, ...]) -> None:
    if parallel:
        pytest.importorskip("xdist")
    gate.test(GATE + "def test_mine(record_property): record_property('mine', 1)\n")
    gate.run_subprocess("--edge-target=nano33ble", "--junitxml=junit.xml", *parallel)
    found = properties(gate.path / "junit.xml")
    (failed,) = (values for name, values in found.items() if name.startswith("test_size"))
    key = "edgequant:tiny_float32/int8@nano33ble"
    assert int(failed[f"{key}:size_bytes"]) > 5_000
    assert failed[f"{key}:verdict:size"].startswith("fail: tiny_float32/int8: size 5,")
    assert f"{key}:arena_bytes" not in failed
    assert int(found["test_deployable[nano33ble-int8]"][f"{key}:arena_bytes"]) > 1_000
    assert found["test_mine"] == {"mine": "1"}


def test_hostile_names_make_valid_xml_and_reports(project: Project) -> None:
    name = "\\x1b[31m<b>|`@octocat\\n::error::x"
    project.conftest(f"@pytest.fixture\ndef edge_model_name(): return '{name}'\n")
    project.test("def test_it(edge_int8): assert_size_within(edge_int8, 1)\n")
    reports = [f"--edge-report=edge.{ending}" for ending in ("md", "html", "json")]
    result = project.run("--edge-target=pico", "--junitxml=junit.xml", *reports)
    assert "can't write" not in result.stdout.str()
    (found,) = properties(project.path / "junit.xml").values()
    assert any("<b>|`@octocat?::error" in key for key in found)
    assert not any(line.startswith("::") for line in summary(result))
    for ending in ("md", "html"):
        text = (project.path / f"edge.{ending}").read_text("utf-8")
        assert "<b>" not in text
        assert "\x1b" not in text


def test_github_gets_a_summary_and_annotations(
    gate: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = gate.path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(gate.path.parent))
    result = gate.run("--edge-target=nano33ble")
    assert result.ret == 1
    assert path.read_text("utf-8").startswith("❌ **edgequant failed: 1 of ")
    (line,) = (line for line in result.outlines if line.startswith("::"))
    number = 1 + (gate.path / "test_it.py").read_text().splitlines().index(
        "def test_size(edge_int8):"
    )
    assert re.match(
        rf"::error file={gate.path.name}/test_it\.py,line={number},title=test_size[^:]*::"
        r"tiny_float32/int8: size 5,\d\d\d B is over the limit of 1,024 B",
        line,
    )


def test_github_is_told_nothing_of_other_tests(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project.path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    project.test("def test_it(): assert False\n")
    result = project.run()
    assert "::error" not in result.stdout.str()
    assert not path.exists()


def test_a_summary_that_cannot_be_written_keeps_the_verdict(
    gate: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(gate.path))
    result = gate.run("-k", "deployable")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["GITHUB_STEP_SUMMARY: can't write *"])


def test_a_test_that_breaks_in_setup_is_in_every_report(project: Project) -> None:
    project.conftest(model=None)
    project.test("def test_it(edge_int8): pass\n")
    run = project.report("--edge-report=edge.md", "--edge-report=edge.html")
    jsonschema.validate(run.document, _schema())
    (failure,) = run.document["failures"]
    assert failure["test"].startswith("test_it.py::test_it")
    assert "edge_model is not defined" in failure["message"]
    text = (project.path / "edge.md").read_text("utf-8")
    assert text.startswith("❌ **edgequant failed: 1 test failed**")
    assert "the fixture edge_model is not defined" in text
    assert "edge_model is not defined" in (project.path / "edge.html").read_text("utf-8")


def test_classes_and_layers_are_shown_where_they_are_known(gate: Project) -> None:
    gate.test(
        "def test_it(edge_int8, edge_float32, edge_dataset, edge_target):\n"
        "    assert_max_accuracy_drop(edge_int8, edge_float32, edge_dataset, 0.5)\n"
        "    assert eq.estimate_latency(edge_int8, edge_target).value > 0\n"
    )
    run = gate.report("--edge-target=nucleo-l4r5zi", "--edge-report=edge.html")
    run.result.assert_outcomes(passed=1)
    jsonschema.validate(run.document, _schema())
    (details,) = (r["details"] for r in run.document["results"] if r["variant"] == "int8")
    assert sorted(row["label"] for row in details["classes"]) == list(range(10))
    assert all(0 <= row["recall"] <= 1 and row["count"] > 0 for row in details["classes"])
    assert {"CONV_2D", "FULLY_CONNECTED"} <= {row["operator"] for row in details["layers"]}
    text = (gate.path / "edge.html").read_text("utf-8")
    assert "<h4>Recall by class</h4>" in text
    assert "<h4>Latency by layer</h4>" in text
