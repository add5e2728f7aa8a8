"""Tests that run once for all boards of a runtime, and are reported under each."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from edge_project import Project, summary

MODELS = """
@pytest.fixture(scope="session", params=["tiny_int8", "tiny_int16x8"])
def edge_model(request):
    return f"{DATA}/{request.param}.tflite"
"""
REFERENCE = """
@pytest.fixture(scope="session")
def reference():
    return DATA + "/tiny_float32.tflite"
"""
ACCURACY = """
def test_accuracy(edge_variant, reference, edge_dataset, edge_runtime):
    assert_max_accuracy_drop(edge_variant, reference, edge_dataset, {limit!r})
"""
TARGETS = """
[tool.edgequant.targets.coarse]
base = "pico"
variants = ["float32", "int8"]

[tool.edgequant.targets.fine]
base = "nano33ble"
variants = ["float32", "int16x8"]
"""
BOARDS = "--edge-target=rpi4,nano33ble,pico,jetson-nano,esp32"
TFLM, LITERT = ["esp32", "nano33ble", "pico"], ["jetson-nano", "rpi4"]


@pytest.fixture
def suite(project: Project) -> Project:
    project.write("pyproject.toml", TARGETS)
    project.conftest(MODELS, REFERENCE, model=None)
    project.test(ACCURACY.format(limit="20 pt"))
    return project


def _drops(document: dict[str, Any]) -> dict[tuple[str, str], float]:
    """The drop of each row that has one, by model and target."""
    return {
        (row["model"], row["target"]): row["metrics"]["accuracy_drop"]["value"]
        for row in document["results"]
        if "accuracy_drop" in row["metrics"]
    }


def test_one_test_a_runtime_is_reported_under_each_board(suite: Project) -> None:
    run = suite.report(BOARDS, "-rA")
    run.result.assert_outcomes(passed=4)
    ran = re.findall(r"PASSED \S*\[(\S*)\]", run.result.stdout.str())
    assert sorted(ran) == [
        *("tiny_int16x8-litert-int16x8", "tiny_int16x8-tflm-int16x8"),
        *("tiny_int8-litert-int8", "tiny_int8-tflm-int8"),
    ]
    drops = _drops(run.document)
    models = ("tiny_int16x8", "tiny_int8")
    assert sorted(drops) == [(m, t) for m in models for t in sorted(TFLM + LITERT)]
    for row in run.document["results"]:
        if row["model"] == "tiny_float32":  # the reference, which no target is asked about
            continue
        assert [v["check"] for v in row["verdicts"]] == ["accuracy_drop"]
        runtime = "TFLM" if row["target"] in TFLM else "LiteRT"
        assert runtime in row["metrics"]["accuracy"]["provenance"]
        assert row["metrics"]["size_bytes"]["value"] > 5000


def test_it_is_what_a_test_for_each_board_finds(suite: Project) -> None:
    once = suite.report(BOARDS).document["results"]
    suite.test(ACCURACY.format(limit="20 pt").replace("edge_runtime", "edge_target"))
    each = suite.report(BOARDS)
    each.result.assert_outcomes(passed=10)
    assert once == each.document["results"]


def test_a_failure_is_one_failed_test_and_red_on_every_board(suite: Project) -> None:
    suite.test(ACCURACY.format(limit="20 pt").replace("'20 pt'", "'20 pt', min_accuracy='99.9%'"))
    run = suite.report("--edge-target=nano33ble,pico,esp32,rpi4", "-k", "tiny_int8 and tflm")
    run.result.assert_outcomes(failed=1)
    verdicts = {
        (row["target"], v["verdict"])
        for row in run.document["results"]
        for v in row["verdicts"]
        if v["check"] == "min_accuracy"
    }
    assert verdicts == {(target, "fail") for target in TFLM}
    assert "1 test failed" in summary(run.result)[-1]


def test_n_2_gives_the_same(suite: Project) -> None:
    alone = suite.run(BOARDS, "--edge-report=out.json", "--junitxml=alone.xml")
    first = json.loads((suite.path / "out.json").read_text())["results"]
    both = suite.run_subprocess(BOARDS, "-n2", "--edge-report=out.json")
    second = json.loads((suite.path / "out.json").read_text())["results"]
    assert alone.parseoutcomes() == both.parseoutcomes() == {"passed": 4}
    assert summary(alone) == summary(both) != []
    assert first == second
    properties = (suite.path / "alone.xml").read_text()
    for board in TFLM:
        assert f"edgequant:tiny_int8/int8@{board}:verdict:accuracy_drop" in properties


def test_a_board_without_the_form_is_left_out(suite: Project) -> None:
    suite.conftest(REFERENCE, model="tiny_float32")
    suite.test("def test_it(edge_variant, edge_runtime): assert evaluate(edge_variant, ([], []))\n")
    assert suite.collected("--edge-target=fine,coarse,rpi4", "-k", "tflm") == [
        "tflm-float32",
        "tflm-int16x8",
        "tflm-int8",
    ]
    suite.test(
        "def test_it(edge_variant, edge_runtime, edge_dataset):\n"
        "    assert [t.name for t in edge_runtime.targets] == ['fine', 'coarse']\n"
        "    assert edge_runtime.name == str(edge_runtime) == 'tflm'\n"
        "    assert repr(edge_runtime) == '<Runtime tflm of 2 targets>'\n"
        "    evaluate(edge_variant, edge_dataset)\n"
    )
    run = suite.report("--edge-target=fine,coarse")
    run.result.assert_outcomes(passed=3)
    assert [(r["target"], r["variant"]) for r in run.document["results"]] == [
        *(("coarse", "float32"), ("coarse", "int8")),
        *(("fine", "float32"), ("fine", "int16x8")),
    ]


NAMED = """
def test_it(edge_int8, reference, edge_dataset, edge_runtime):
    assert_max_accuracy_drop(edge_int8, reference, edge_dataset, "20 pt")
"""


def test_a_board_that_refuses_what_is_named_fails_the_test(suite: Project) -> None:
    suite.conftest(REFERENCE, model="tiny_int8")
    suite.test(NAMED)
    run = suite.report("--edge-target=fine,coarse,pico", "-rf")
    run.result.assert_outcomes(failed=1)
    run.result.stdout.fnmatch_lines(["FAILED *] - cannot run on fine: *"])
    found = {
        row["target"]: [(v["check"], v["verdict"]) for v in row["verdicts"]]
        for row in run.document["results"]
        if row["target"]
    }
    assert found == {
        "coarse": [("accuracy_drop", "pass")],
        "fine": [("runs", "cannot_run")],
        "pico": [("accuracy_drop", "pass")],
    }


def test_each_board_is_told_why_none_runs_what_is_named(suite: Project) -> None:
    suite.conftest(REFERENCE, model="tiny_dynamic_range")
    suite.test(NAMED.replace("edge_int8", "edge_variant"))
    run = suite.report("--edge-target=pico,esp32")
    run.result.assert_outcomes(failed=1)
    told = {
        row["target"]: [v["message"] for v in row["verdicts"]] for row in run.document["results"]
    }
    assert sorted(told) == ["esp32", "pico"]
    for board, messages in told.items():
        assert len(messages) == 1
        assert f"cannot run on {board}: TFLM has no hybrid kernels" in messages[0]


def test_a_baseline_need_not_run_on_the_board(suite: Project) -> None:
    suite.write(
        "pyproject.toml", '[tool.edgequant.targets.whole]\nbase = "pico"\nvariants = ["int8"]\n'
    )
    suite.conftest(REFERENCE, model="tiny_float32")
    suite.test(
        "def test_it(edge_int8, edge_float32, edge_dataset, edge_runtime):\n"
        "    assert_max_accuracy_drop(edge_int8, edge_float32, edge_dataset, '20 pt')\n"
    )
    suite.run("--edge-target=whole,nano33ble").assert_outcomes(passed=1)


def test_figures_of_a_board_stay_its_own(suite: Project) -> None:
    suite.conftest(REFERENCE, model="tiny_int8")
    suite.test(
        "def test_it(edge_int8, edge_runtime):\n"
        "    assert_arena_fits(edge_int8, edge_int8.target)\n"
        "    assert_fully_integer(edge_int8)\n"
    )
    run = suite.report("--edge-target=pico,nano33ble")
    run.result.assert_outcomes(passed=1)
    checks = {r["target"]: [v["check"] for v in r["verdicts"]] for r in run.document["results"]}
    assert checks == {"pico": ["arena", "fully_integer"], "nano33ble": ["fully_integer"]}
    arenas = {r["target"] for r in run.document["results"] if "arena_bytes" in r["metrics"]}
    assert arenas == {"pico"}


def test_both_in_one_test_are_a_usage_error(suite: Project) -> None:
    suite.test("def test_it(edge_runtime, edge_target): pass\n")
    result = suite.run(BOARDS)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*test_it: edge_runtime runs a test once * take one of them*"])


@pytest.mark.parametrize(
    "test, ids",
    [
        ("def test_it(edge_calibration_robustness): pass", ["litert", "tflm"]),
        ("def test_it(edge_calibration_robustness, edge_target): pass", ["esp32", "pico", "rpi4"]),
        ("def test_it(edge_calibration_robustness, edge_int8): pass", ["pico", "esp32", "rpi4"]),
        ("def test_it(edge_runtime): pass", ["litert", "tflm"]),
        ("@pytest.mark.edge(target='pico')\ndef test_it(edge_runtime): pass", ["tflm"]),
        ("@pytest.mark.usefixtures('edge_runtime')\ndef test_it(): pass", ["litert", "tflm"]),
    ],
)
def test_what_runs_once_a_runtime(suite: Project, test: str, ids: list[str]) -> None:
    suite.test(f"{test}\n")
    assert sorted(suite.collected("--edge-target=rpi4,pico,esp32")) == sorted(
        f"{model}-{name}" if "(edge_c" in test else name
        for name in ids
        for model in (("tiny_int8", "tiny_int16x8") if "(edge_c" in test else [""])
    )


def test_a_parametrized_target_has_its_own_runtime(suite: Project) -> None:
    suite.test(
        "@pytest.mark.parametrize('edge_target', ['pico', 'rpi4'])\n"
        "def test_it(edge_target, request):\n"
        "    runtime = request.getfixturevalue('edge_runtime')\n"
        "    assert [t.name for t in runtime.targets] == [edge_target.name]\n"
    )
    suite.run().assert_outcomes(passed=2)
