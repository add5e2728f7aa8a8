"""What a board printed: lines of JSON, each checked before it counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pytest_edgequant as eq
from pytest_edgequant.errors import DeviceResultError
from pytest_edgequant.measure.latency.device import (
    RESULT_LINE,
    measurement,
    parse_result,
    read_results,
)
from pytest_edgequant.records import Variant
from pytest_edgequant.targets import Targets

TARGETS = Targets()
DIGEST = "ab" * 32
GOOD: dict[str, Any] = {
    "model_sha256": DIGEST,
    "target": "nano33ble",
    "latency_us": 1500,
    "arena_used_bytes": 22832,
}


@pytest.fixture
def variant(pipeline: Any, tiny: Mapping[str, Path]) -> Variant:
    return eq.convert(tiny["int8"], "int8")


def write(path: Path, *lines: Any) -> Path:
    file = path / "results.jsonl"
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    file.write_text(text, encoding="utf-8")
    return file


def test_a_good_line() -> None:
    found = parse_result(json.dumps(GOOD), "here")
    assert found.model_sha256 == DIGEST
    assert found.latency_us == 1500
    assert found.arena_used_bytes == 22832


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latency_us": -1}, "latency_us must be above 0"),
        ({"latency_us": 0}, "latency_us must be above 0"),
        ({"latency_us": None}, "latency_us is missing"),
        ({"latency_us": "1500"}, "must be a plain number"),
        ({"latency_us": "1.5 ms"}, "must be a plain number"),
        ({"latency_us": True}, "must be a plain number"),
        ({"latency_us": float("nan")}, "must be above 0"),
        ({"latency_us": float("inf")}, "must be above 0"),
        ({"latency_us": [1]}, "must be a plain number"),
        ({"latency_ms": 1.5}, "in another unit"),
        ({"time_us": 1.5}, "in another unit"),
        ({"arena_used_kib": 22}, "in another unit"),
        ({"arena_used_bytes": -5}, "arena_used_bytes must be above 0"),
        ({"arena_used_bytes": 1.5}, "arena_used_bytes must be whole"),
        ({"model_sha256": "abc"}, "64 hex digits"),
        ({"model_sha256": None}, "64 hex digits"),
        ({"model_sha256": 5}, "64 hex digits"),
        ({"target": ""}, "target must be"),
        ({"target": None}, "target must be"),
        ({"target": "nano33bleee"}, "nano33bleee"),
    ],
)
def test_lines_that_cannot_be_meant_are_refused_with_their_number(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = write(tmp_path, GOOD, "", {**GOOD, **changes})
    with pytest.raises(DeviceResultError, match=r"results\.jsonl, line 3: ") as caught:
        read_results(path, TARGETS)
    assert message in str(caught.value)


@pytest.mark.parametrize("line", ["{", "[]", "5", "null", '"text"', "latency: 5", "[" * 100_000])
def test_lines_that_are_no_objects_are_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(DeviceResultError, match=r"line 1: "):
        read_results(write(tmp_path, line), TARGETS)


@given(st.text())
def test_any_other_line_is_refused_and_nothing_else_happens(line: str) -> None:
    with pytest.raises(DeviceResultError):
        parse_result(line, "here")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DeviceResultError, match="can't be read"):
        read_results(tmp_path / "none.jsonl", TARGETS)
    with pytest.raises(DeviceResultError, match="holds no result"):
        read_results(write(tmp_path, "", "  "), TARGETS)
    binary = tmp_path / "binary.jsonl"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DeviceResultError, match="UTF-8"):
        read_results(binary, TARGETS)
    pointer = tmp_path / "pointer.jsonl"
    digest = "0" * 64
    pointer.write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 9000\n"
    )
    with pytest.raises(DeviceResultError, match=r"pointer\.jsonl: is a Git LFS pointer.*lfs pull"):
        read_results(pointer, TARGETS)


def test_the_median_of_a_variants_own_lines(tmp_path: Path, variant: Variant) -> None:
    own = {**GOOD, "model_sha256": variant.fingerprint.upper(), "board": "on my desk"}
    path = write(
        tmp_path,
        GOOD,
        {**own, "latency_us": 1000},
        {**own, "latency_us": 3000, "arena_used_bytes": 30000},
        {**own, "latency_us": 1100, "target": "Arduino-Nano-33-BLE"},
        {**own, "latency_us": 9, "target": "pico"},
    )
    found = measurement(read_results(path, TARGETS), variant, TARGETS.get("nano33ble"))
    assert (found.metric.value, found.metric.low, found.metric.high) == (1.1, 1.0, 3.0)
    assert found.metric.provenance.startswith("measured on device (nano33ble: results.jsonl, line")
    assert found.arena_used_bytes == 30000
    eq.assert_latency_within(found, "3 ms")
    with pytest.raises(eq.LatencyExceeded):
        eq.assert_latency_within(found, "0.9 ms")


def test_results_of_another_model_are_refused_with_their_lines(
    tmp_path: Path, variant: Variant
) -> None:
    results = read_results(write(tmp_path, GOOD), TARGETS)
    with pytest.raises(DeviceResultError, match=r"of other models .*line 1: abababab"):
        measurement(results, variant, TARGETS.get("nano33ble"))


def test_no_result_for_a_target_is_unavailable(tmp_path: Path, variant: Variant) -> None:
    results = read_results(write(tmp_path, GOOD), TARGETS)
    found = measurement(results, variant, TARGETS.get("pico"))
    assert found.metric.value is None
    with pytest.raises(eq.Unavailable, match="no device result for pico"):
        eq.assert_latency_within(found, "1 s")


def test_a_result_is_found_among_what_else_a_board_prints() -> None:
    line = json.dumps(GOOD).encode()
    match = RESULT_LINE.search(b"boot ok {\r\nI (42) main: " + line + b"\r\n{}\r\n")
    assert match is not None
    assert json.loads(match.group(0)) == GOOD
