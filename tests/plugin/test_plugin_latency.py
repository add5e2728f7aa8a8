"""edge_benchmark with and without pytest-benchmark, device results, and latency in the reports."""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import Any

import pytest
from edge_project import DATA, Project, failures, summary

FAST = ("--benchmark-min-rounds=5", "--benchmark-max-time=0.02", "--benchmark-warmup=off")
TIMED = """
def test_fast(edge_int8, edge_benchmark):
    measured = edge_benchmark(edge_int8)
    print("PROVENANCE", measured.metric.provenance)
    assert_latency_within(measured, max="5 s")
"""
DIGEST = hashlib.sha256((DATA / "tiny_int8.tflite").read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest-benchmark measures nothing in a worker of xdist; the runs in here are none."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)


def result_line(**changes: Any) -> str:
    good = {"model_sha256": DIGEST, "target": "nano33ble", "latency_us": 1500.0}
    return json.dumps({**good, "arena_used_bytes": 9000, **changes})


def test_a_benchmark_is_pytest_benchmarks_own(project: Project) -> None:
    project.conftest()
    project.test(TIMED)
    result = project.run("-s", "--benchmark-json=out.json", *FAST)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*Name (time in*", "*test_fast*"])
    document = json.loads((project.path / "out.json").read_text())
    (benchmark,) = document["benchmarks"]
    extra = benchmark["extra_info"]
    assert extra["variant"] == "int8"
    assert extra["model"] == "tiny_int8"
    assert extra["target"] == "host"
    assert extra["threads"] == 1
    assert extra["model_sha256"] == DIGEST
    assert extra["host"]
    assert benchmark["stats"]["rounds"] >= 5


def test_a_target_that_this_machine_is_not(project: Project) -> None:
    project.conftest()
    project.test(TIMED)
    result = project.run("-s", "--edge-target=nano33ble", *FAST)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*PROVENANCE measured (host, not target: *"])
    lines = summary(result)
    assert any("latency on the host" in line for line in lines)
    assert any(re.search(r"[um]s\), <?\d+ % of 5 s ", line) for line in lines)


def test_over_the_limit_fails(project: Project) -> None:
    project.conftest()
    project.test(TIMED.replace("5 s", "1 ns"))
    result = project.run(*FAST)
    result.assert_outcomes(failed=1)
    assert "is over the limit of 0.001 us" in failures(result)


@pytest.mark.parametrize("budget", ["5 s", "1 ns"])
def test_disabled_it_is_skipped_and_never_passes(project: Project, budget: str) -> None:
    project.conftest()
    project.test(TIMED.replace("5 s", budget))
    report = project.report("--benchmark-disable", "-rs")
    report.result.assert_outcomes(skipped=1)
    report.result.stdout.fnmatch_lines(["SKIPPED*was not measured: pytest-benchmark is disabled*"])
    assert report.verdicts() == [("int8", "latency", "unavailable")]


def test_with_xdist_it_is_skipped_and_never_passes(project: Project) -> None:
    pytest.importorskip("xdist")
    project.conftest()
    project.test(TIMED)
    result = project.run_subprocess("-n1", "-rs", "--edge-target=host")
    result.stdout.fnmatch_lines(["SKIPPED*was not measured: pytest-benchmark is disabled*"])
    assert result.parseoutcomes().get("passed", 0) == 0
    assert result.ret == 5
    result.stdout.fnmatch_lines(["*nothing was gated*"])


def test_without_pytest_benchmark_the_message_says_so(project: Project) -> None:
    project.conftest()
    project.test(TIMED)
    result = project.run("-p", "no:benchmark")
    result.assert_outcomes(failed=1)
    text = failures(result)
    assert "edge_benchmark needs the plugin pytest-benchmark" in text
    assert "not measured" in text
    assert "Traceback" not in text


def test_benchmark_skip_and_only_know_edge_benchmark(project: Project) -> None:
    project.conftest()
    project.test(TIMED + "\ndef test_other(edge_int8): pass\n")
    project.run("--benchmark-skip").assert_outcomes(skipped=1, passed=1)
    project.run("--benchmark-only", *FAST).assert_outcomes(skipped=1, passed=1)


def test_twice_in_a_test_is_pytest_benchmarks_own_error(project: Project) -> None:
    project.conftest()
    project.test(
        "def test_twice(edge_int8, edge_benchmark):\n"
        "    edge_benchmark(edge_int8)\n    edge_benchmark(edge_int8)\n"
    )
    result = project.run(*FAST)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*can only be used once*"])


def test_threads_and_files(project: Project) -> None:
    project.conftest()
    project.test(
        "def test_it(edge_benchmark):\n"
        "    found = edge_benchmark(DATA + '/tiny_float32.tflite', threads=2)\n"
        "    assert found.threads == 2 and found.rounds >= 5\n"
        "    assert found.metric.low <= found.metric.value <= found.metric.high\n"
        "\n"
        "def test_bad(edge_benchmark):\n"
        "    with pytest.raises(SettingsError, match='threads'):\n"
        "        edge_benchmark(DATA + '/tiny_float32.tflite', threads=0)\n"
        "    with pytest.raises(ModelError):\n"
        "        edge_benchmark(DATA + '/none.tflite')\n"
    )
    project.run(*FAST).assert_outcomes(passed=2)


def test_an_estimate_in_the_report(project: Project) -> None:
    project.conftest()
    project.test(
        "def test_it(edge_int8, edge_target):\n"
        "    assert_latency_within(estimate_latency(edge_int8, edge_target), '10 s')\n"
    )
    report = project.report("--edge-target=nano33ble")
    report.result.assert_outcomes(passed=1)
    (entry,) = report.document["results"]
    metric = entry["metrics"]["latency_ms"]
    assert metric["low"] < metric["value"] < metric["high"]
    assert metric["provenance"].startswith("estimated (")
    assert report.verdicts() == [("int8", "latency", "pass")]


def test_an_estimate_that_is_unavailable_fails_its_gate(project: Project) -> None:
    project.conftest()
    project.test(
        "@pytest.mark.parametrize('allowed', [False, True])\n"
        "def test_it(edge_int8, edge_target, allowed):\n"
        "    found = estimate_latency(edge_int8, edge_target)\n"
        "    assert_latency_within(found, '10 s', allow_unavailable=allowed)\n"
    )
    report = project.report("--edge-target=pico2")
    report.result.assert_outcomes(failed=1, passed=1)
    (entry,) = report.document["results"]
    assert entry["metrics"]["latency_ms"]["value"] is None
    assert "measured with 1 model" in entry["metrics"]["latency_ms"]["reason"]


def test_allowed_and_unavailable_gates_nothing(project: Project) -> None:
    project.conftest()
    project.test(
        "def test_it(edge_int8, edge_target):\n"
        "    found = estimate_latency(edge_int8, edge_target)\n"
        "    assert_latency_within(found, '10 s', allow_unavailable=True)\n"
    )
    result = project.run("--edge-target=pico2")
    assert result.ret == 5
    result.stdout.fnmatch_lines(["*nothing was gated*"])


def test_a_speedup_is_measured_with_benchmarks_disabled_too(project: Project) -> None:
    project.conftest()
    project.test(
        "def test_it(edge_int8):\n    assert_speedup(edge_int8, edge_int8, at_least=0.01)\n"
    )
    report = project.report("--benchmark-disable")
    report.result.assert_outcomes(passed=1)
    (entry,) = report.document["results"]
    assert entry["metrics"]["speedup"]["unit"] == "times"


# -- results of boards --------------------------------------------------------------------------

GATED = """
def test_device(edge_int8, edge_device_result):
    measured = edge_device_result(edge_int8)
    assert_latency_within(measured, max="2 ms")
"""


def test_device_results_enter_the_gate(project: Project) -> None:
    project.conftest()
    project.test(GATED)
    project.write("board.jsonl", result_line() + "\n")
    report = project.report("--edge-target=nano33ble", "--edge-device-results=board.jsonl")
    report.result.assert_outcomes(passed=1)
    (entry,) = report.document["results"]
    metric = entry["metrics"]["latency_ms"]
    assert metric["value"] == 1.5
    assert metric["provenance"] == "measured on device (nano33ble: board.jsonl, line 1)"
    assert entry["metrics"]["device_arena_bytes"]["value"] == 9000


def test_device_results_are_shown_where_no_test_gates_on_them(project: Project) -> None:
    project.conftest()
    project.test("def test_size(edge_variant):\n    assert_size_within(edge_variant, '64 KiB')\n")
    project.write("board.jsonl", result_line() + "\n" + result_line(target="pico"))
    report = project.report(
        "--edge-target=nano33ble,pico2", "--edge-device-results=board.jsonl", "--edge-variant=int8"
    )
    latencies = {
        result["target"]: result["metrics"].get("latency_ms")
        for result in report.document["results"]
    }
    assert latencies["nano33ble"]["value"] == 1.5
    assert latencies["pico2"] is None


def test_what_a_board_measured_stands_before_an_estimate(project: Project) -> None:
    project.conftest()
    project.test(
        "def test_z(edge_int8, edge_target):\n"
        "    assert_latency_within(estimate_latency(edge_int8, edge_target), '10 s')\n"
    )
    project.write("board.jsonl", result_line())
    report = project.report("--edge-target=nano33ble", "--edge-device-results=board.jsonl")
    (entry,) = report.document["results"]
    assert entry["metrics"]["latency_ms"]["value"] == 1.5


def test_device_results_over_the_limit_fail(project: Project) -> None:
    project.conftest()
    project.test(GATED)
    project.write("board.jsonl", result_line(latency_us=2001))
    result = project.run("--edge-target=nano33ble", "--edge-device-results=board.jsonl")
    result.assert_outcomes(failed=1)
    assert "latency 2.001 ms" in failures(result)


def test_device_results_of_another_model_are_refused(project: Project) -> None:
    project.conftest()
    project.test(GATED)
    project.write("board.jsonl", result_line(model_sha256="0" * 64))
    result = project.run("--edge-target=nano33ble", "--edge-device-results=board.jsonl")
    result.assert_outcomes(failed=1)
    assert "are of other models than this file" in failures(result)
    assert "board.jsonl, line 1" in failures(result)


def test_without_device_results_the_gate_fails(project: Project) -> None:
    project.conftest()
    project.test(GATED)
    result = project.run("--edge-target=nano33ble")
    result.assert_outcomes(failed=1)
    assert "give --edge-device-results" in failures(result)


def test_a_damaged_file_of_results_stops_the_run(project: Project) -> None:
    project.conftest()
    project.test(GATED)
    project.write("board.jsonl", result_line() + "\n" + result_line(latency_us="2 ms"))
    result = project.run("--edge-target=nano33ble", "--edge-device-results=board.jsonl")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*board.jsonl, line 2: latency_us must be a plain number*"])


DUT = """
@pytest.fixture
def dut():
    import os
    from pexpect import fdpexpect
    return fdpexpect.fdspawn(os.open({path!r}, os.O_RDWR | os.O_NOCTTY))
"""
WAITS = """
def test_board(edge_int8, edge_dut_result):
    assert_latency_within(edge_dut_result(edge_int8, timeout=2), max="2 ms")
"""


@pytest.mark.skipif(os.name != "posix", reason="needs pseudo-terminals")
@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        (result_line(), None),
        (result_line(latency_us=5000), "is over the limit of 2 ms"),
        (result_line(latency_us=-1), "latency_us must be above 0"),
        (result_line(model_sha256="0" * 64), "are of other models than this file"),
        (result_line(target="pico"), "the board says that it is 'pico'"),
        ("no result at all", "no result line came within 2 s"),
    ],
)
def test_a_board_on_a_serial_line(project: Project, line: str, outcome: str | None) -> None:
    """A pseudo-terminal stands for the board: it prints its boot messages, then the result."""
    pytest.importorskip("pexpect")
    import tty

    board, serial = os.openpty()
    try:
        tty.setraw(serial)
        os.write(board, b"boot {ok}\r\n" + line.encode() + b"\r\nmore\r\n")
        project.conftest(DUT.format(path=os.ttyname(serial)))
        project.test(WAITS)
        result = project.run("--edge-target=nano33ble")
    finally:
        os.close(board)
        os.close(serial)
    if outcome is None:
        result.assert_outcomes(passed=1)
    else:
        result.assert_outcomes(failed=1)
        assert outcome in failures(result)


def test_without_pytest_embedded_the_message_says_so(project: Project) -> None:
    project.conftest()
    project.test(WAITS)
    result = project.run("--edge-target=nano33ble")
    assert "needs the fixture `dut` of pytest-embedded" in result.stdout.str()
    assert result.parseoutcomes().get("passed", 0) == 0
