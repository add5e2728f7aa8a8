"""What a run came to is said alike by every report, and by the exit status."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from edge_project import TFLM, Project, Report, summary
from test_plugin_reports import _schema

BROKEN = """
from pytest_edgequant.errors import CannotRunError

@pytest.fixture
def late():
    yield
    raise OSError("the board is gone")

@pytest.mark.parametrize("number", range(3))
def test_parity(edge_int8, number):
    assert_size_within(edge_int8, "64 KiB")
    raise CannotRunError("the interpreter aborts")

def test_mine(edge_int8_float_io):
    assert_size_within(edge_int8_float_io, "64 KiB")
    assert len(edge_int8_float_io.inputs) == 2

def test_board(edge_int16x8, late):
    assert_size_within(edge_int16x8, "64 KiB")

def test_qat(edge_qat_int8):
    assert_size_within(edge_qat_int8, "64 KiB")

@pytest.mark.xfail(strict=True)
def test_known(edge_uint8_io):
    assert_size_within(edge_uint8_io, "64 KiB")

def test_good(edge_float32):
    assert_size_within(edge_float32, "64 KiB")
"""
OPEN = """
def test_latency(edge_int8):
    assert_size_within(edge_int8, "64 KiB")
    assert_latency_within(eq.estimate_latency(edge_int8, "pico"), "1 s", allow_unavailable=True)

@pytest.mark.xfail
def test_known(edge_float32):
    assert_size_within(edge_float32, "1 KiB")

def test_refused(edge_int16x8):
    with pytest.raises(eq.SizeExceeded):
        assert_size_within(edge_int16x8, "1 KiB")
"""
RERUN = """
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    # As pytest-rerunfailures does: an attempt that is to be repeated is reported as "rerun".
    from _pytest.runner import runtestprotocol
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for last in (False, True):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        again = not last and any(report.failed for report in reports)
        for report in reports:
            if again and report.failed:
                report.outcome = "rerun"
            item.ihook.pytest_runtest_logreport(report=report)
        if not again:
            break
        item._initrequest()
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
"""


@pytest.fixture
def gate(project: Project) -> Project:
    project.conftest(model="tiny_float32")
    return project


def verdicts(run: Report) -> dict[str, tuple[bool, str]]:
    return {
        r["variant"]: (r["verdict"]["failed"], r["verdict"]["text"])
        for r in run.document["results"]
    }


def headline(run: Report) -> str:
    (line,) = (line for line in summary(run.result) if line.startswith("edgequant "))
    return line


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_every_kind_of_error_makes_its_rows_red(gate: Project, workers: tuple[str, ...]) -> None:
    gate.test(BROKEN)
    path = gate.path / "report.json"
    boards = ("--edge-target=nano33ble,pico", "-k", "nano33ble")
    result = gate.run_subprocess(*boards, *workers, f"--edge-report={path}", "--edge-report=r.md")
    run = Report(result, json.loads(path.read_text("utf-8")))
    jsonschema.validate(run.document, _schema())
    assert result.ret == run.document["exit_status"] == 1
    assert verdicts(run) == {
        "float32": (False, "pass"),
        "int8": (True, "FAIL: test_parity"),
        "int8_float_io": (True, "FAIL: test_mine"),
        "uint8_io": (True, "FAIL: test_known"),
        "int16x8": (True, "FAIL: test_board"),
        "qat_int8": (True, "FAIL: test_qat"),
    }
    assert headline(run) == "edgequant failed: 7 tests failed"
    assert not any("everything passes: " in line for line in summary(result))
    assert (gate.path / "r.md").read_text("utf-8").startswith("❌ **edgequant failed: 7 tests")
    states = {t["test"].partition("::")[2].partition("[")[0]: t for t in run.document["tests"]}
    assert {name: test["state"] for name, test in states.items()} == {
        **dict.fromkeys(("test_parity", "test_mine", "test_known"), "failed"),
        "test_board": "error",
        "test_qat": "error",
        "test_good": "passed",
    }
    assert [row["variant"] for row in states["test_qat"]["rows"]] == ["qat_int8"]


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="subtests came with pytest 9")
@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_failed_subtests_are_said_once(gate: Project, workers: tuple[str, ...]) -> None:
    gate.test(
        "def test_parts(edge_int8, edge_float32, subtests):\n"
        "    with subtests.test('small'): assert_size_within(edge_int8, '1 B')\n"
        "    with subtests.test('large'): assert_size_within(edge_float32, '1 MiB')\n"
    )
    path = gate.path / "report.json"
    result = gate.run_subprocess("--edge-target=pico", *workers, f"--edge-report={path}")
    run = Report(result, json.loads(path.read_text("utf-8")))
    assert result.ret == 1
    assert verdicts(run) == {"float32": (False, "pass"), "int8": (True, "FAIL: size")}
    assert len(run.document["failures"]) == 1
    assert headline(run) == "edgequant failed: 1 of 2 checks not passed, 1 test failed"


def test_what_may_be_missing_and_what_is_expected_to_fail_is_no_pass(gate: Project) -> None:
    gate.test(OPEN)
    run = gate.report("--edge-target=pico", "--edge-report=r.md")
    assert run.result.ret == 0
    assert verdicts(run) == {
        "float32": (False, "FAIL, expected: size"),
        "int8": (False, "UNAVAILABLE: latency"),
        "int16x8": (False, "FAIL, expected: size"),
    }
    assert headline(run) == (
        "edgequant passed with 1 unavailable, 2 expected failures: 1 of 4 checks"
    )
    text = (gate.path / "r.md").read_text("utf-8")
    assert text.startswith("⚠️ **edgequant passed with 1 unavailable, 2 expected failures: ")
    assert "What failed" not in text
    assert run.document["verdict"]["outcome"] == "unavailable"


def test_only_the_last_attempt_of_a_test_counts(gate: Project) -> None:
    gate.conftest(RERUN, model="tiny_float32")
    gate.test(
        "SEEN = []\n"
        "def test_flaky(edge_int8):\n"
        "    SEEN.append(1)\n"
        "    assert_size_within(edge_int8, '64 KiB' if len(SEEN) > 1 else '1 KiB')\n"
    )
    run = gate.report("--edge-target=pico")
    assert run.result.ret == 0
    assert verdicts(run) == {"int8": (False, "pass")}
    assert run.document["failures"] == []
    assert headline(run) == "edgequant passed: 1 check"


@pytest.mark.parametrize(
    "broken", ["def test_it(): assert False\n", "import nothing_of_the_kind\n"]
)
def test_a_run_that_failed_otherwise_is_not_passed(gate: Project, broken: str) -> None:
    gate.test("def test_it(edge_int8): assert_size_within(edge_int8, '64 KiB')\n")
    gate.write("test_other.py", broken)
    run = gate.report("--edge-target=pico", "--continue-on-collection-errors")
    assert run.result.ret == 1
    assert run.document["verdict"]["failed"]
    assert headline(run).startswith("edgequant failed: other tests of this run failed")


def test_a_worker_that_dies_is_no_pass(gate: Project) -> None:
    pytest.importorskip("xdist")
    gate.test(
        "import os\n"
        "def test_good(edge_int8): assert_size_within(edge_int8, '64 KiB')\n"
        "def test_dies(edge_float32): os._exit(3)\n"
    )
    path = gate.path / "report.json"
    result = gate.run_subprocess("--edge-target=pico", "-n", "1", f"--edge-report={path}")
    run = Report(result, json.loads(path.read_text("utf-8")))
    assert result.ret == 1
    assert verdicts(run) == {"int8": (False, "pass"), "float32": (True, "FAIL: test_dies")}
    assert headline(run) == "edgequant failed: 1 test failed"


# -- accepted, informational --------------------------------------------------------------------

GATED = "def test_it(edge_int8, edge_dataset):\n    assert_size_within(edge_int8, '64 KiB')\n"


def compared(gate: Project, rules: str) -> Report:
    """A run against a baseline whose file was a tenth smaller."""
    gate.test(GATED)
    gate.run("--edge-target=pico", "--edge-save-baseline=base.json")
    path = gate.path / "base.json"
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    for entry in document["entries"]:
        entry["metrics"]["size_bytes"]["value"] -= 500
    path.write_text(json.dumps(document), "utf-8")
    gate.write("pyproject.toml", f"[tool.edgequant]\n{rules}")
    return gate.report("--edge-target=pico", "--edge-baseline=base.json", "--edge-report=r.md")


def test_an_accepted_regression_is_said_with_its_reason_and_last_day(gate: Project) -> None:
    run = compared(
        gate,
        '[[tool.edgequant.accepted]]\nmodel = "tiny_*"\nmetric = "size"\n'
        'reason = "wider | last layer"\nexpires = 2999-03-31\n',
    )
    assert run.result.ret == 0
    assert headline(run).startswith(
        "edgequant passed with 1 accepted regression: 1 check (tiny_float32/int8 on pico: "
        "size_bytes +500 B"
    )
    assert headline(run).endswith("accepted until 2999-03-31: wider | last layer)")
    ((failed, text),) = verdicts(run).values()
    assert not failed
    assert text.startswith("pass with 1 accepted regression: size_bytes +500 B")
    # What parts digits, so that GitHub makes no reference of them, is not seen.
    markdown = (gate.path / "r.md").read_text("utf-8").replace("\u200b", "")
    assert markdown.startswith("⚠️ **edgequant passed with 1 accepted regression: 1 check** (")
    row = next(line for line in markdown.splitlines() if line.startswith("| `tiny_float32/int8`"))
    (cell,) = (line for line in summary(run.result) if line.startswith("int8 "))
    for said in (markdown.splitlines()[0], row, cell):
        assert "until 2999-03-31: wider" in said
    assert not run.document["verdict"]["clean"]


def test_an_informational_regression_is_said(gate: Project) -> None:
    run = compared(gate, "[tool.edgequant.regression]\nsize = { informational = true }\n")
    assert run.result.ret == 0
    assert headline(run).startswith("edgequant passed with 1 informational regression: 1 check")
    assert "size_bytes +500 B" in headline(run)


# -- several files of one name ------------------------------------------------------------------

OTHER = """
@pytest.fixture(scope="module")
def edge_calibration(): return samples()["x_calibration"][:{count}] * {scale}

def test_{name}(edge_int8, edge_dataset, edge_target):
    assert_arena_fits(edge_int8, edge_target)
    evaluate(edge_int8, edge_dataset)
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2"), ("--backwards",)])
@pytest.mark.slow
def test_two_calibrations_of_one_form_are_two_rows(gate: Project, workers: tuple[str, ...]) -> None:
    gate.conftest(
        "def pytest_addoption(parser): parser.addoption('--backwards', action='store_true')\n"
        "def pytest_collection_modifyitems(config, items):\n"
        "    if config.getoption('--backwards'): items.reverse()\n",
        model="tiny_float32",
    )
    gate.test(OTHER.format(name="wide", count=40, scale=4), "test_wide")
    gate.test(OTHER.format(name="narrow", count=9, scale=0.1), "test_narrow")
    alone = {}
    for name in ("wide", "narrow"):
        (row,) = gate.report("--edge-target=pico", f"test_{name}.py").document["results"]
        alone[row["file"]] = row["metrics"]
    assert len(alone) == 2
    gate.run("--edge-target=pico", "test_wide.py", "--edge-save-baseline=base.json")
    path = gate.path / "both.json"
    options = ("--edge-target=pico", f"--edge-report={path}", "--edge-baseline=base.json")
    result = gate.run_subprocess(*options, *workers)
    assert result.ret == 0
    assert gate.run_subprocess(*options, *workers, "--edge-strict").ret == 1
    rows = json.loads(path.read_text("utf-8"))["results"]
    assert {row["file"]: row["metrics"] for row in rows} == alone
    lines = summary(result)
    assert sum(line.startswith("int8 (file ") for line in lines) == 2
    assert any(line.startswith("UNAVAILABLE: tiny_float32/int8 on pico: ") for line in lines)
    assert lines[-1].startswith("edgequant passed with 2 unavailable: 2 checks")


# -- samples ------------------------------------------------------------------------------------

MACS = 5_472
"""Of the model of these tests."""
COMPARED = """
def test_it(edge_int8, edge_float32, edge_dataset):
    assert_max_accuracy_drop(edge_int8, edge_float32, edge_dataset, 0.5, min_accuracy=0.5)
"""


def where_samples_stand(run: Report, gate: Project) -> list[str]:
    """Every place that shows the accuracy of int8."""
    markdown = (gate.path / "r.md").read_text("utf-8")
    page = (gate.path / "r.html").read_text("utf-8")
    (line,) = (x for x in summary(run.result) if x.startswith("int8 "))
    row = next(x for x in markdown.splitlines() if x.startswith("| `tiny_float32/int8`"))
    cells = [x for x in page.split("<tr>") if ">tiny_float32/int8</a></th>" in x]
    assert cells
    return [line, row, *cells]


@pytest.mark.parametrize("macs, shown", [(None, "397"), (60, "{part} of 397")])
def test_the_number_of_samples_stands_at_every_accuracy(
    gate: Project, macs: int | None, shown: str
) -> None:
    if macs is not None:
        if not TFLM:
            pytest.skip("only TFLM is given a part of the samples")
        gate.write("pytest.ini", f"[pytest]\nedge_tflm_macs = {macs * MACS}\n")
    gate.test(COMPARED)
    options = ("--edge-target=pico", "--edge-report=r.md", "--edge-report=r.html")
    gate.run(*options, "--edge-save-baseline=base.json")
    run = gate.report(*options, "--edge-baseline=base.json")
    (figure,) = (
        r["metrics"]["accuracy"] for r in run.document["results"] if r["variant"] == "int8"
    )
    assert figure["of"] == 397
    wanted = shown.format(part=figure["count"])
    assert (figure["count"] < 397) is (macs is not None)
    for place in where_samples_stand(run, gate):
        assert wanted in place, place
    (verdict,) = (
        v["message"]
        for r in run.document["results"]
        for v in r["verdicts"]
        if v["check"] == "min_accuracy"
    )
    assert f"on {wanted} samples is at least the floor" in verdict
    changes = [
        c["message"]
        for r in run.document["results"]
        for c in r["changes"]
        if c["metric"] in ("accuracy", "accuracy_drop")
    ]
    assert changes
    assert all(f"on {wanted} samples" in message for message in changes)
