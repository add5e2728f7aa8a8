"""Saving a baseline keeps what others measured, and the printed command does what it says."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from edge_project import Project

CONFTEST = """
@pytest.fixture(scope="session", params=["zebra", "ant"])
def edge_model(request):
    return DATA + "/tiny_int8.tflite"

@pytest.fixture
def edge_model_name(request):
    return request.node.callspec.params["edge_model"]
"""
TESTS = """
def test_size(edge_int8):
    assert_size_within(edge_int8, "64 KiB")

def test_accuracy(edge_int8, edge_dataset):
    assert evaluate(edge_int8, edge_dataset).value > 0
"""
BOARDS = "--edge-target=rpi4,nano33ble"
SAVE = "--edge-save-baseline=base.json"
COMPARE = "--edge-baseline=base.json"
WORKERS = pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])


@pytest.fixture
def saved(project: Project) -> Project:
    """Two models on two boards, in two files of tests, and the baseline of both."""
    project.conftest(CONFTEST, model=None)
    project.test(TESTS, "test_it")
    project.run(BOARDS, SAVE).assert_outcomes(passed=8)
    return project


def entries(project: Project, name: str = "base.json") -> dict[tuple[str, str], dict[str, Any]]:
    document = json.loads((project.path / name).read_text("utf-8"))
    return {(e["model"], e["target"]): e["metrics"] for e in document["entries"]}


def shrink(project: Project, *models: str) -> None:
    """Let the baseline say that models were smaller."""
    path = project.path / "base.json"
    document = json.loads(path.read_text("utf-8"))
    for entry in document["entries"]:
        if entry["model"] in models:
            entry["metrics"]["size_bytes"]["value"] = 4000
    path.write_text(json.dumps(document), encoding="utf-8")


def printed(result: pytest.RunResult) -> list[str]:
    """The arguments of the command that a run prints."""
    (found,) = set(re.findall(r"To accept what changed: pytest (.*)", result.stdout.str()))
    return shlex.split(found)


@pytest.mark.parametrize(
    "fewer",
    [
        ["--edge-target=rpi4"],
        [BOARDS, "-k", "zebra"],
        [BOARDS, "-k", "size"],
        [BOARDS, "--lf", "-n", "2"],
        ["--edge-target=nano33ble", "-n", "2"],
    ],
    ids=["one board", "one model", "one test", "last failed", "one board with xdist"],
)
def test_what_a_run_did_not_collect_is_kept(saved: Project, fewer: list[str]) -> None:
    before = entries(saved)
    assert set(before) == {(m, t) for m in ("zebra", "ant") for t in ("rpi4", "nano33ble")}
    assert all({"size_bytes", "accuracy"} <= set(metrics) for metrics in before.values())
    assert saved.run_subprocess(*fewer, SAVE).ret == 0
    assert entries(saved) == before
    datasets = json.loads((saved.path / "base.json").read_text("utf-8"))["datasets"]
    assert len(datasets) == 1


@pytest.mark.parametrize("place", ["command line", "ini", "toml"])
def test_pruning_deletes_what_was_not_measured(saved: Project, place: str) -> None:
    option = ["--edge-baseline-prune"] if place == "command line" else []
    if place == "ini":
        saved.write("pytest.ini", "[pytest]\nedge_baseline_prune = true\n")
    if place == "toml":
        saved.write("pyproject.toml", "[tool.edgequant]\nbaseline_prune = true\n")
    result = saved.run("--edge-target=rpi4", "-k", "zebra and size", SAVE, *option)
    assert "deleted 3 that this run did not measure" in result.stdout.str()
    found = entries(saved)
    assert set(found) == {("zebra", "rpi4")}
    assert "accuracy" not in found["zebra", "rpi4"]


@WORKERS
@pytest.mark.slow
def test_the_printed_command_accepts_what_got_worse(
    saved: Project, workers: tuple[str, ...]
) -> None:
    before = entries(saved)
    shrink(saved, "ant")
    narrow = ("--lf", "-k", "size and not odd", "--ff", "-x", "--maxfail=1", "-vx")
    result = saved.run_subprocess(BOARDS, *workers, *narrow, COMPARE)
    assert result.ret == 1
    arguments = printed(result)
    assert SAVE in arguments
    assert not {"--lf", "-k", "--ff", "-x", "--maxfail=1", COMPARE} & set(arguments)
    cache = f"--edge-cache-dir={saved.warm}"
    done = saved.pytester.runpytest_subprocess(*arguments, cache, timeout=60)
    done.assert_outcomes(passed=8)
    assert entries(saved) == before
    assert saved.run(BOARDS, COMPARE).ret == 0


def test_without_anything_worse_no_command_is_printed(saved: Project) -> None:
    path = saved.path / "base.json"
    for size in (5568, 90_000, 5500):
        text = re.sub(r'("size_bytes": {"value": )\d+', rf"\g<1>{size}", path.read_text("utf-8"))
        path.write_text(text, encoding="utf-8")
        result = saved.run(BOARDS, COMPARE, "--edge-report=r.json", "--edge-report=r.md")
        assert result.ret == 0
        assert "--edge-save-baseline" not in result.stdout.str()
        for report in ("r.json", "r.md"):
            assert "--edge-save-baseline" not in (saved.path / report).read_text("utf-8")


def test_an_accepted_regression_needs_no_command(saved: Project) -> None:
    shrink(saved, "ant", "zebra")
    entry = '\n[[tool.edgequant.accepted]]\nmetric = "size"\nreason = "r"\nexpires = 2999-01-01\n'
    saved.write("pyproject.toml", f'{entry}model = "ant"\n{entry}model = "zebra"\n')
    result = saved.run(BOARDS, COMPARE)
    assert result.ret == 0
    assert "--edge-save-baseline" not in result.stdout.str()


@pytest.mark.parametrize("place", ["above", "outside", "with a blank", "toml"])
def test_the_command_names_the_file_that_was_given(
    saved: Project, place: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shrink(saved, "ant")
    given, folder = "base.json", saved.path
    if place == "above":
        folder = saved.path / "deep" / "er"
        folder.mkdir(parents=True)
        given = os.path.join("..", "..", "base.json")
        saved.write("pytest.ini", "[pytest]\n")
    elif place == "outside":
        given = str(tmp_path_factory.mktemp("fetched") / "other.json")
        shutil.copyfile(saved.path / "base.json", given)
    elif place == "with a blank":
        given = "my baselines/it's.json"
        (saved.path / "my baselines").mkdir()
        shutil.copyfile(saved.path / "base.json", given)
    else:
        saved.write("pyproject.toml", '[tool.edgequant]\nbaseline = "base.json"\n')
    compare = [] if place == "toml" else [f"--edge-baseline={given}"]
    test = os.path.relpath(saved.path / "test_it.py", folder)
    os.chdir(folder)
    result = saved.run(test, BOARDS, *compare)
    assert result.ret == 1
    arguments = printed(result)
    assert arguments[-1] == f"--edge-save-baseline={given}"
    assert saved.pytester.runpytest_inprocess(*arguments, f"--edge-cache-dir={saved.warm}").ret == 0
    assert saved.run(test, BOARDS, *compare).ret == 0


def test_a_copy_that_a_script_fetched_is_not_what_is_to_be_written(
    saved: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shrink(saved, "ant")
    copy = tmp_path_factory.mktemp("fetched") / "recomputed.json"
    shutil.copyfile(saved.path / "base.json", copy)
    result = saved.run(BOARDS, f"--edge-baseline={copy}", "--edge-baseline-optional")
    assert printed(result)[-1] == "--edge-save-baseline=edge-baseline.json"


def test_what_an_ini_file_says_does_not_cut_the_command_short(saved: Project) -> None:
    shrink(saved, "ant")
    saved.write("pytest.ini", "[pytest]\naddopts = -x\n")
    saved.test("def test_first():\n    assert False\n", "test_a_first")
    result = saved.run(BOARDS, COMPARE, "test_it.py")
    arguments = printed(result)
    assert "--maxfail=0" in arguments
    done = saved.run(*arguments, "test_a_first.py")
    assert "is not written" not in done.stdout.str()
    assert Path("base.json").exists()
    assert saved.run(BOARDS, COMPARE, "test_it.py").ret == 0
