"""Accuracy in a run: evidence in the report, and calibration gated by its worst."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from edge_project import Project, summary

from pytest_edgequant.conversion.quantizer_worker import library

needs_converter = pytest.mark.skipif(
    library() is None and find_spec("tensorflow") is None,
    reason="nothing here can convert",
)


def test_an_inconclusive_gate_fails_and_says_so(project: Project) -> None:
    project.conftest()
    project.test(
        "def test_it(edge_int8, edge_dataset):\n"
        "    assert_max_accuracy_drop(\n"
        "        edge_int8, DATA + '/tiny_float32.tflite', edge_dataset, '0.01 pt',\n"
        "        confidence=0.95)\n"
    )
    run = project.report()
    assert run.result.ret == 1
    run.result.stdout.fnmatch_lines(["E  *Inconclusive: *samples would decide at these rates."])
    assert run.verdicts() == [("int8", "accuracy_drop", "inconclusive")]
    assert any(line.endswith("INCONCLUSIVE: accuracy_drop") for line in summary(run.result))


def test_a_metric_that_can_not_be_computed_is_unavailable(project: Project) -> None:
    project.conftest("@pytest.fixture\ndef edge_metric(): return lambda y_true, y_pred: 1 / 0\n")
    project.test(
        "def test_it(edge_int8, edge_dataset, edge_metric):\n"
        "    assert_max_accuracy_drop(\n"
        "        edge_int8, DATA + '/tiny_float32.tflite', edge_dataset, metric=edge_metric)\n"
    )
    run = project.report()
    assert run.verdicts() == [("int8", "accuracy_drop", "unavailable")]
    run.result.stdout.fnmatch_lines(["E  *Unavailable: *raised ZeroDivisionError: *"])
    assert run.document["results"][0]["metrics"]["<lambda>"]["value"] is None


FEW = """
def test_it(edge_int8, edge_dataset):
    x, y = edge_dataset
    few = slice({count})
    assert_max_accuracy_drop(
        edge_int8, DATA + '/tiny_float32.tflite', (x[few], {labels}[few]), '20 pt')
"""


def test_few_samples_stand_in_the_line_of_the_verdict(project: Project) -> None:
    project.conftest()
    for count, text in ((99, "pass (only 99 samples)"), (100, "pass")):
        project.test(FEW.format(count=count, labels="y"))
        run = project.report("--edge-report=report.md", "--edge-target=nano33ble")
        assert run.result.ret == 0
        assert any(line.endswith(f"  {text}") for line in summary(run.result))
        result = next(r for r in run.document["results"] if r["variant"] == "int8")
        assert result["verdict"]["text"] == text
        assert result["verdicts"][0].get("note", "") in text
        assert text in (project.path / "report.md").read_text("utf-8")


def test_labels_that_are_off_by_one_are_not_green(project: Project) -> None:
    project.conftest()
    project.test(FEW.format(count=397, labels="((y + 1) % 10)"))
    run = project.report()
    assert run.result.ret == 1
    assert run.verdicts() == [("int8", "accuracy_drop", "inconclusive")]
    run.result.stdout.fnmatch_lines(["E  *Inconclusive: *one more than the model's class*"])


def test_metrics_are_given_by_the_fixture(project: Project) -> None:
    project.conftest("@pytest.fixture\ndef edge_metric(): return top_k(3)\n")
    project.test(
        "def test_it(edge_int8, edge_dataset, edge_metric):\n"
        "    assert_max_accuracy_drop(\n"
        "        edge_int8, DATA + '/tiny_float32.tflite', edge_dataset, '5 pt',\n"
        "        metric=edge_metric, min_accuracy='90%', min_agreement=0.9)\n"
    )
    run = project.report()
    assert run.result.ret == 0
    assert run.document["results"][0]["metrics"]["top_3"]["unit"] == "fraction"
    assert run.verdicts() == [
        ("int8", "accuracy_drop", "pass"),
        ("int8", "agreement", "pass"),
        ("int8", "min_accuracy", "pass"),
    ]
    lines = summary(run.result)
    assert any("top_3" in line.split() for line in lines)


ROBUST = """
def test_it(edge_calibration_robustness):
    found = edge_calibration_robustness(max_drop={limit}, subsets=2, sizes=[20])
    assert [(t.size, t.seed) for t in found.trials] == [(20, 0), (20, 1)]
"""


@needs_converter
@pytest.mark.parametrize("calibration", [True, False])
def test_robustness_is_gated_by_the_worst(project: Project, calibration: bool) -> None:
    project.conftest(model="tiny_float32", calibration=calibration)
    project.test(ROBUST.format(limit="'10 pt'"))
    run = project.report("--edge-target=nano33ble")
    run.result.assert_outcomes(passed=1)
    assert run.verdicts() == [("int8", "calibration_robustness", "pass")]
    figures = run.document["results"][0]["metrics"]
    assert set(figures) == {"calibration_worst_drop", "size_bytes"}


@needs_converter
def test_what_is_not_calibrated_has_no_robustness(project: Project) -> None:
    project.conftest()
    project.test(ROBUST.format(limit="0.02"))
    result = project.run("--edge-target=nano33ble")
    result.stdout.fnmatch_lines(["E  *SettingsError: edge_calibration_robustness: *float model*"])
