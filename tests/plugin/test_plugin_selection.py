"""Selecting, stopping, rerunning and distributing tests, as users of pytest expect it."""

from __future__ import annotations

import json
import re

import pytest
from edge_project import Project, summary

SUITE = """
def test_ops(edge_variant, edge_target):
    assert_ops_supported(edge_variant, edge_target)

def test_accuracy(edge_variant, edge_float32, edge_dataset):
    assert_max_accuracy_drop(edge_variant, edge_float32, edge_dataset, 0.02)

def test_size(edge_int8):
    assert_size_within(edge_int8, "4 KiB")

def test_other():
    pass
"""


@pytest.fixture
def suite(project: Project) -> Project:
    """Seven gates and one other test; int8 is too large."""
    project.write(
        "pyproject.toml",
        '[tool.edgequant.targets.ours]\nbase = "nano33ble"\n'
        'variants = ["float32", "int8", "int16x8"]\n',
    )
    project.conftest(model="tiny_float32")
    project.test(SUITE)
    return project


def test_k_selects_by_variant_and_target(suite: Project) -> None:
    selected = suite.collected("--edge-target=ours,rpi4", "-k", "ours and int8")
    assert selected == ["ours-int8", "ours-int8", "ours"]  # the last uses edge_int8
    result = suite.run("--edge-target=ours", "-k", "int8")
    result.assert_outcomes(passed=2, failed=1, deselected=5)


def test_a_node_id_selects_one(suite: Project) -> None:
    result = suite.run("--edge-target=ours", "test_it.py::test_ops[ours-int8]")
    result.assert_outcomes(passed=1)


def test_m_edge_selects_what_uses_our_fixtures(suite: Project) -> None:
    suite.run("--edge-target=ours", "-m", "edge").assert_outcomes(passed=6, failed=1, deselected=1)
    suite.run("-m", "not edge").assert_outcomes(passed=1, deselected=15)


@pytest.mark.parametrize(
    "fixture", ["edge_target", "edge_variant", "edge_int8", "edge_float32", "edge_int16x8"]
)
def test_the_marker_is_added_by_itself(project: Project, fixture: str) -> None:
    project.test(f"def test_it({fixture}): pass\ndef test_other(edge_model, edge_dataset): pass\n")
    result = project.run("--collect-only", "-q", "-m", "edge", "--edge-variant=int8")
    assert [line.split("[")[0] for line in result.outlines if "::" in line] == [
        "test_it.py::test_it"
    ]


def test_the_marker_is_added_to_unittest_methods(project: Project) -> None:
    project.test(
        "import unittest\n"
        "@pytest.mark.usefixtures('edge_int8')\n"
        "class TestIt(unittest.TestCase):\n"
        "    def test_it(self): pass\n"
    )
    assert project.collected("-m", "edge") == ["TestIt::test_it"]


@pytest.mark.parametrize("flag", ["--strict-markers", "--strict-config", "-Werror"])
def test_strict_runs_have_nothing_to_object_to(suite: Project, flag: str) -> None:
    suite.run(flag, "--edge-target=ours", "-k", "int16x8").assert_outcomes(passed=2, deselected=6)


def test_lf_runs_what_failed(suite: Project) -> None:
    suite.run("--edge-target=ours").assert_outcomes(passed=7, failed=1)
    result = suite.run("--edge-target=ours", "--lf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*test_size[[]ours[]]*size over by *"])


def test_x_stops_at_the_first_failure(suite: Project) -> None:
    suite.test("def test_size(edge_variant): assert_size_within(edge_variant, '4 KiB')\n")
    result = suite.run("--edge-target=ours", "-x")
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert any("FAIL: size" in line for line in summary(result))


def test_collecting_converts_nothing_and_makes_no_cache(suite: Project) -> None:
    result = suite.run(
        "--collect-only", "-q", "--edge-target=ours", "--edge-report=out.json", cache=suite.cache
    )
    assert result.ret == 0
    assert result.outlines[:3] == [
        "test_it.py::test_ops[ours-float32]",
        "test_it.py::test_ops[ours-int8]",
        "test_it.py::test_ops[ours-int16x8]",
    ]
    assert not suite.cache.exists()
    assert not (suite.path / "out.json").exists()
    assert summary(result) == []


@pytest.mark.parametrize("flag", ["--setup-plan", "--fixtures", "--fixtures-per-test"])
def test_what_runs_no_test_converts_nothing(suite: Project, flag: str) -> None:
    result = suite.run(flag, "--edge-target=ours", cache=suite.cache)
    assert result.ret == 0
    assert suite.cache_entries() == []


def test_importlib_mode(suite: Project) -> None:
    result = suite.run("--import-mode=importlib", "--edge-target=ours", "-k", "ours-int8")
    result.assert_outcomes(passed=2, deselected=6)


def test_the_plugin_can_be_left_out(project: Project) -> None:
    project.test("def test_it(): pass\n")
    result = project.pytester.runpytest_inprocess("-p", "no:edgequant")
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("name", ["edge_model", "edge_int8", "edge_benchmark"])
def test_without_the_plugin_none_of_its_fixtures_is_there(project: Project, name: str) -> None:
    project.test(f"def test_it({name}): pass\n")
    result = project.pytester.runpytest_inprocess("-p", "no:edgequant")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*fixture '{name}' not found*"])
    listed = project.pytester.runpytest_inprocess("-p", "no:edgequant", "--fixtures")
    assert "edgequant" not in listed.stdout.str().replace(str(project.path), "")


# -- pytest-xdist ---------------------------------------------------------------------------------


def test_n_2_gives_the_same_results_summary_and_exit_code(suite: Project) -> None:
    alone = suite.run("--edge-target=ours,rpi4", "--edge-report=alone.json")
    both = suite.run_subprocess("--edge-target=ours,rpi4", "-n2", "--edge-report=both.json")
    assert alone.parseoutcomes() == {"passed": 21, "failed": 2} == both.parseoutcomes()
    assert alone.ret == both.ret == pytest.ExitCode.TESTS_FAILED
    assert summary(alone) == summary(both) != []
    first, second = (
        json.loads((suite.path / f"{name}.json").read_text()) for name in ("alone", "both")
    )
    for document in (first, second):
        document["environment"].pop("date", None)  # a minute may have passed
    assert first == second
    assert len(first["results"]) == 10


@pytest.mark.slow
def test_n_2_converts_a_cold_cache_once(suite: Project) -> None:
    suite.conftest(
        """
from pathlib import Path
from pytest_edgequant.pipeline.conversions import Conversions
convert_now = Conversions._converted

def counted(self, source, order):
    with (Path(__file__).parent / "conversions").open("a") as log:
        log.write(f"{order.spec.name}\\n")
    return convert_now(self, source, order)

Conversions._converted = counted
""",
        model="tiny_float32",
    )
    gate = "def test_{}(edge_int8): assert_size_within(edge_int8, '6 KiB')\n"
    suite.test("".join(gate.format(number) for number in range(4)))
    result = suite.run_subprocess("--edge-target=ours", "-n2", cache=suite.cache)
    result.assert_outcomes(passed=4)
    assert (suite.path / "conversions").read_text().split() == ["int8"]
    assert not list(suite.cache.rglob(".tmp-*"))


def test_n_2_says_once_that_nothing_was_gated(project: Project) -> None:
    project.test("def test_it(): pass\ndef test_other(): pass\n")
    result = project.run_subprocess("-n2", "--edge-target=nano33ble")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert len(re.findall("nothing was gated", result.stdout.str())) == 1


def test_n_2_stops_at_a_bad_option_before_any_worker(project: Project) -> None:
    project.test("def test_it(): pass\n")
    result = project.run_subprocess("-n2", "--edge-target=nano33bel")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*unknown target 'nano33bel'. Did you mean nano33ble*"])


def test_a_worker_that_dies_loses_no_other_results(project: Project) -> None:
    project.conftest()
    project.test(
        "import os\n"
        "def test_gate(edge_int8): assert_size_within(edge_int8, '6 KiB')\n"
        "def test_dies(): os._exit(1)\n"
        "def test_other(edge_int8): assert_fully_integer(edge_int8)\n"
    )
    result = project.run_subprocess("-n1", "--edge-target=nano33ble", "--edge-report=out.json")
    assert result.parseoutcomes()["passed"] == 2
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    (entry,) = json.loads((project.path / "out.json").read_text())["results"]
    assert [v["check"] for v in entry["verdicts"]] == ["fully_integer", "size"]
