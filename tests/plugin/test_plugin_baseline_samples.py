"""Baselines of other samples than a run's: what both have is compared, the rest is open."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest
from edge_project import DATA, Project, needs_tflm, summary

from pytest_edgequant.tflite.edit import pack, unpack
from pytest_edgequant.tflite.graph import read_graph
from pytest_edgequant.tflite.macs import model_macs

CONFTEST = """
@pytest.fixture(scope="session", params=["zebra", "ant"])
def edge_model(request):
    return request.param + ".tflite"

@pytest.fixture(scope="session")
def edge_model_name(edge_model):
    return edge_model.removesuffix(".tflite")

@pytest.fixture(scope="session")
def edge_dataset():
    x, y = samples()["x"], samples()["y"]
    {change}
    return {given}
"""
TESTS = """
def test_accuracy(edge_int8, edge_dataset, edge_metric):
    assert evaluate(edge_int8, edge_dataset, metric=edge_metric).count > 0

def test_size(edge_int8):
    assert_size_within(edge_int8, "64 KiB")
"""
METRIC = """
@pytest.fixture(scope="session")
def edge_metric():
    return "macro_f1"
"""
RUN = ("--edge-target=rpi4", "--edge-target=nano33ble", "-p", "no:randomly")
BASE = "--edge-baseline=base.json"


def project_with(project: Project, change: str = "", given: str = "x, y", more: str = "") -> None:
    conftest = CONFTEST.format(change=change, given=given)
    project.conftest(conftest, more, model=None, dataset=False)


@pytest.fixture
def saved(project: Project) -> Project:
    project.test(TESTS)
    for name in ("zebra", "ant"):
        shutil.copyfile(DATA / "tiny_int8.tflite", project.path / f"{name}.tflite")
    return project


def spoil(project: Project, name: str) -> None:
    """Set most of a model's last weights to zero."""
    path = project.path / f"{name}.tflite"
    model = unpack(path.read_bytes())
    buffer = max((b for b in model.buffers if b.data is not None), key=lambda b: len(b.data))
    data = np.array(buffer.data)
    data[: int(0.6 * len(data))] = 0
    buffer.data = data
    path.write_bytes(pack(model))


def macs(samples: int) -> str:
    """The option with which that many samples are evaluated on TFLM."""
    graph = read_graph((DATA / "tiny_int8.tflite").read_bytes(), "tiny")
    return f"--edge-tflm-macs={model_macs(graph) * samples}"


def changes(project: Project, metric: str = "accuracy") -> dict[tuple[str, str], Any]:
    report = json.loads((project.path / "r.json").read_text("utf-8"))
    return {
        (result["model"], result["target"]): change
        for result in report["results"]
        for change in result["changes"]
        if change["metric"] == metric
    }


@needs_tflm
@pytest.mark.parametrize("parts", [(150, 300), (300, 150), (200, 10_000)])
def test_parts_are_compared_on_what_both_evaluated(saved: Project, parts: tuple[int, int]) -> None:
    project_with(saved)
    first, second = (min(part, 397) for part in parts)
    saved.run(*RUN, macs(first), "--edge-save-baseline=base.json").assert_outcomes(passed=8)
    spoil(saved, "ant")
    result = saved.run(*RUN, macs(second), BASE, "--edge-report=r.json")
    assert result.ret == 1
    result.assert_outcomes(passed=8, failed=2)
    found = changes(saved)
    assert {key: change["verdict"] for key, change in found.items()} == {
        ("ant", "nano33ble"): "fail",
        ("ant", "rpi4"): "fail",
        ("zebra", "nano33ble"): "pass",
        ("zebra", "rpi4"): "pass",
    }
    least = min(first, second)
    where = f"on the {least} samples that both have ({first} then, {second} now)"
    assert where in found["ant", "nano33ble"]["message"]
    assert where in found["zebra", "nano33ble"]["message"]
    assert found["zebra", "nano33ble"]["before"] == found["zebra", "nano33ble"]["after"]
    assert "that both have" not in found["ant", "rpi4"]["message"]
    (line,) = (line for line in summary(result) if line.startswith("compared on "))
    assert line.startswith(
        f"compared {where}: ant/int8 on nano33ble (accuracy); zebra/int8 on nano"
    )
    assert not any(line.startswith("NOT COMPARABLE: ") for line in summary(result))


EDITS = {
    "one more": "x, y = np.concatenate([x[:1] + 1, x]), np.concatenate([y[:1], y])",
    "one fewer": "x, y = x[1:], y[1:]",
    "another order": "x, y = x[::-1], y[::-1]",
    "one relabelled": "y = np.where(np.arange(len(y)) == 3, y[5] + 1 - y[5], y)",
    "labels of another width": "y = y.astype(np.int16)",
    "a duplicate": "x, y = np.concatenate([x, x[:1]]), np.concatenate([y, y[:1]])",
}


@pytest.mark.slow
def test_a_dataset_that_changed_a_little_is_compared(saved: Project) -> None:
    project_with(saved)
    saved.run(*RUN, "--edge-save-baseline=base.json")
    for edit in EDITS:
        project_with(saved, EDITS[edit])
        assert saved.run(*RUN, BASE, "--edge-report=r.json", "--edge-strict").ret == 0, edit
        assert {change["verdict"] for change in changes(saved).values()} == {"pass"}, edit
    spoil(saved, "zebra")
    assert saved.run(*RUN, BASE, "--edge-report=r.json").ret == 1
    assert changes(saved)["zebra", "rpi4"]["verdict"] == "fail"
    assert changes(saved)["ant", "rpi4"]["verdict"] == "pass"


@pytest.mark.parametrize(
    "workers",
    [pytest.param((), id="alone"), pytest.param(("-n", "2"), id="xdist", marks=pytest.mark.slow)],
)
def test_streams_and_arrays_have_the_same_samples(saved: Project, workers: tuple[str, ...]) -> None:
    project_with(saved)
    saved.run_subprocess(*RUN, *workers, "--edge-save-baseline=base.json")
    assert len(json.loads((saved.path / "base.json").read_text("utf-8"))["datasets"]) == 1
    batches = "lambda: iter([(x[i : i + 50], y[i : i + 50]) for i in range(5, 397, 50)])"
    project_with(saved, given=batches)
    result = saved.run_subprocess(*RUN, *workers, BASE, "--edge-strict", "--edge-report=r.json")
    assert result.ret == 0
    messages = [change["message"] for change in changes(saved).values()]
    assert len(messages) == 4
    assert all("on the 392 samples that both have (397 then, 392 now)" in m for m in messages)


def test_another_dataset_is_inconclusive_and_red_where_it_is_strict(saved: Project) -> None:
    project_with(saved)
    saved.run(*RUN, "--edge-save-baseline=base.json")
    project_with(saved, "y = (y + 1) % (y.max() + 1)")
    result = saved.run(*RUN, BASE, "--edge-report=r.json")
    assert result.ret == 0
    assert {change["verdict"] for change in changes(saved).values()} == {"inconclusive"}
    lines = [line for line in summary(result) if line.startswith("NOT COMPARABLE: ")]
    assert len(lines) == 1
    assert "397 now, 0 of them the same" in lines[0]
    for strict in (["--edge-strict"], ["-o", "edge_strict=true"]):
        result = saved.run(*RUN, BASE, *strict)
        assert result.ret == 1
        result.assert_outcomes(passed=8, failed=4)


def test_a_metric_of_the_whole_set_needs_the_whole_set(saved: Project) -> None:
    project_with(saved, more=METRIC)
    saved.run(*RUN, "--edge-save-baseline=base.json")
    for edit, verdict in (("another order", "pass"), ("one fewer", "inconclusive")):
        project_with(saved, EDITS[edit], more=METRIC)
        assert saved.run(*RUN, BASE, "--edge-report=r.json").ret == 0
        found = changes(saved, "macro_f1")
        assert {change["verdict"] for change in found.values()} == {verdict}, edit
