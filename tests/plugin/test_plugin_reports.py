"""The JSON report and the summary: written, valid, and the same however the tests ran."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any

import jsonschema
import pytest
from edge_project import Project, summary

GATE = """
LIMITS = {"float32": "16 KiB", "int8": "6 KiB", "int16x8": "5 kB"}

def test_size(edge_variant):
    assert_size_within(edge_variant, LIMITS[edge_variant.name])

def test_integer(edge_variant):
    assert_fully_integer(edge_variant)

def test_accuracy(edge_variant, edge_float32, edge_dataset):
    assert_max_accuracy_drop(edge_variant, edge_float32, edge_dataset, 0.02)
"""


@pytest.fixture
def gate(project: Project) -> Project:
    """Three gates on the forms of a float model: one cannot run, one is too large."""
    project.write(
        "pyproject.toml",
        '[tool.edgequant.targets.ours]\nbase = "rpi4"\nvariants = ["float32", "int8", "int16x8"]\n'
        "requires_integer_io = true\n",
    )
    project.conftest(model="tiny_float32")
    project.test(GATE)
    return project


def _schema() -> dict[str, Any]:
    text = resources.files("pytest_edgequant.report").joinpath("schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def test_the_report_is_what_its_schema_says(gate: Project) -> None:
    run = gate.report("--edge-target=ours,host", "--edge-variant=float32,int8")
    schema = _schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(run.document)
    assert run.document["schema"] == "edgequant-report/1"
    assert run.document["tool"]["name"] == "pytest-edgequant"
    assert run.document["environment"]["packages"]["pytest"] == pytest.__version__
    assert run.document["environment"]["date"] == "2023-11-14 22:13 UTC"


def test_every_outcome_is_in_the_report(gate: Project) -> None:
    run = gate.report("--edge-target=ours")
    assert run.verdicts() == [
        ("float32", "runs", "cannot_run"),
        ("int8", "accuracy_drop", "pass"),
        ("int8", "fully_integer", "pass"),
        ("int8", "size", "pass"),
        ("int16x8", "accuracy_drop", "pass"),
        ("int16x8", "fully_integer", "pass"),
        ("int16x8", "size", "fail"),
    ]
    run.result.assert_outcomes(skipped=3, passed=5, failed=1)


def test_a_verdict_has_its_limit_value_and_message(gate: Project) -> None:
    run = gate.report("--edge-target=ours", "-k", "int16x8 and size")
    (entry,) = run.document["results"]
    (verdict,) = entry["verdicts"]
    size = entry["metrics"]["size_bytes"]["value"]
    assert verdict["limit"] == 5000
    assert verdict["value"] == size > 5000
    assert f"size {size:,} B is over the limit of 5,000 B" in verdict["message"]
    assert entry["metrics"]["size_bytes"]["unit"] == "bytes"
    assert entry["metrics"]["size_bytes"]["provenance"].startswith("exact")


def test_accuracy_is_in_the_report_for_both_sides(gate: Project) -> None:
    run = gate.report("--edge-target=ours", "-k", "ours-int8 and accuracy")
    metrics = {r["variant"]: r["metrics"] for r in run.document["results"]}
    assert sorted(metrics["float32"]) == ["accuracy", "size_bytes"]
    assert sorted(metrics["int8"]) == [
        "accuracy",
        "accuracy_drop",
        "agreement",
        "output_cosine",
        "output_sqnr",
        "size_bytes",
        "worst_class_drop",
    ]
    interval = metrics["int8"]["accuracy_drop"]
    assert -1 < interval["low"] < interval["value"] < interval["high"] < 1
    assert interval["provenance"].endswith("; 95% interval, Tango's score interval")
    assert metrics["int8"]["output_sqnr"]["unit"] == "dB"
    assert "tiny_float32/float32" in metrics["int8"]["output_sqnr"]["provenance"]
    drop = metrics["float32"]["accuracy"]["value"] - metrics["int8"]["accuracy"]["value"]
    assert metrics["int8"]["accuracy_drop"]["value"] == pytest.approx(drop)
    assert metrics["int8"]["accuracy"]["provenance"] == "measured (LiteRT on this host)"


def test_the_report_goes_into_a_folder_that_is_not_there_yet(gate: Project) -> None:
    result = gate.run("--edge-target=ours", "-k", "int8", "--edge-report=build/edge/report.json")
    assert result.ret == 0
    assert json.loads((gate.path / "build/edge/report.json").read_text())["results"]


def test_several_reports_are_written(gate: Project) -> None:
    gate.run("-k", "host-int8", "--edge-report=one.json", "--edge-report=two.JSON")
    assert (gate.path / "one.json").read_bytes() == (gate.path / "two.JSON").read_bytes()


def test_the_report_may_be_configured(gate: Project) -> None:
    gate.write("pytest.ini", "[pytest]\nedge_report = edge.json\n")
    gate.run("-k", "host-int8")
    assert json.loads((gate.path / "edge.json").read_text())["results"]


def test_a_run_without_gates_writes_an_empty_report(project: Project) -> None:
    project.test("def test_it(): pass\n")
    run = project.report()
    assert run.result.ret == 0
    assert run.document["results"] == []
    jsonschema.validate(run.document, _schema())


@pytest.mark.parametrize("size, code", [("6 KiB", 0), ("1 KiB", 1)])
@pytest.mark.parametrize("path", ["blocker/report.json", "blocker/deep/report.json", "folder.json"])
def test_a_report_that_cannot_be_written_says_so_and_keeps_the_exit_code(
    project: Project, path: str, size: str, code: int
) -> None:
    project.write("blocker", "a file where the report's folder should be")
    project.pytester.mkdir("folder.json")
    project.conftest()
    project.test(f"def test_it(edge_int8): assert_size_within(edge_int8, {size!r})\n")
    result = project.run("--edge-target=nano33ble", f"--edge-report={path}")
    assert result.ret == code
    result.stdout.fnmatch_lines([f"--edge-report: can't write '*{path}': *"])
    assert "INTERNALERROR" not in result.stdout.str()
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_results_do_not_depend_on_the_order_of_tests(gate: Project) -> None:
    straight = gate.report("-p", "no:randomly", "--edge-target=ours,host")
    gate.conftest(
        "def pytest_collection_modifyitems(items): items.reverse()\n", model="tiny_float32"
    )
    backwards = gate.report("-p", "no:randomly", "--edge-target=ours,host")
    assert backwards.document == straight.document
    assert summary(backwards.result) == summary(straight.result)


def test_results_do_not_depend_on_the_cache(gate: Project) -> None:
    cold = gate.report("--edge-target=ours", cache=gate.cache)
    warm = gate.report("--edge-target=ours", cache=gate.cache)
    without = gate.report("--edge-target=ours", "--edge-no-cache", cache=gate.cache)
    assert cold.document == warm.document == without.document
    assert summary(cold.result) == summary(warm.result) == summary(without.result)


def test_the_summary_is_one_table_a_model_and_target(gate: Project) -> None:
    lines = summary(gate.run("--edge-target=ours,host", "-k", "int8 and not io"))
    titles = [line for line in lines if line.startswith("tiny_float32 on ")]
    assert titles == ["tiny_float32 on host", "tiny_float32 on ours", "tiny_float32 on 2 targets"]
    (heading,) = {line for line in lines if line.startswith("variant")}
    assert re.split(r"  +", heading) == [
        *("variant", "size [a]", "ratio", "top-1 [b]", "samples"),
        *("drop from float32 [c]", "SQNR", "verdict"),
    ]
    row = next(line for line in lines if line.startswith("int8"))
    size = r"5,\d\d\d B, \d+ % of \d+ KiB"
    drop = r"[+-]0\.\d\d pt \([+-]\d\.\d\d to [+-]\d\.\d\d\), \d+ % of \d+ pt"
    assert re.fullmatch(
        rf"int8 +{size} +0\.\d\dx +\d\d\.\d\d% +397 +{drop} +\d\d\.\d dB +pass", row
    )
    legend = " ".join(lines)
    assert "[a] exact (file size)" in legend
    assert "[c] in brackets: 95% interval, Tango's score interval" in legend


def test_many_boards_are_one_table_with_the_smallest_that_will_do(gate: Project) -> None:
    options = ("--edge-target=teensy4*,pico,ours", "--edge-report=out/edge.md")
    lines = summary(gate.run(*options, "-k", "int8 and not io"))
    start = lines.index("tiny_float32 on 4 targets")
    assert lines[start + 1].startswith("4 boards pass; nearest to a limit: int8 on ")
    assert any("smallest boards on which everything passes: " in line for line in lines)
    assert not any(line == "tiny_float32 on pico" for line in lines)
    assert "every figure of each board: out/edge.md" in lines
    written = (gate.path / "out/edge.md").read_text("utf-8")
    assert "<summary>4 boards pass</summary>" in written


def test_the_summary_says_what_failed(gate: Project) -> None:
    lines = summary(gate.run("--edge-target=ours", "-k", "int16x8"))
    assert any(line.startswith("int16x8 ") and line.endswith("FAIL: size") for line in lines)


def test_float_outcomes_of_a_regression_metric_have_no_points(project: Project) -> None:
    project.conftest(
        "def top(y_true, y_pred): return float(np.abs(y_pred.max(axis=1) - 1).mean())\n"
        "top.higher_is_better = False\n"
        "@pytest.fixture\ndef edge_metric(): return top\n"
    )
    project.test(
        "def test_it(edge_int8, edge_dataset, edge_metric):\n"
        "    assert_max_accuracy_drop(\n"
        "        edge_int8, DATA + '/tiny_float32.tflite', edge_dataset, 0.5, metric=edge_metric)\n"
    )
    run = project.report("--edge-target=pico")
    run.result.assert_outcomes(passed=1)
    lines = summary(run.result)
    assert any("top" in line.split() for line in lines)
    assert not any(" pt" in line for line in lines)
    jsonschema.validate(run.document, _schema())
