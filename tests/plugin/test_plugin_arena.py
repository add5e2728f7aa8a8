"""The arena in a run: checked against the interpreter, and what a red gate says."""

from __future__ import annotations

import pytest
from edge_project import Project, needs_tflm

GATE = """
def test_arena(edge_variant, edge_target):
    assert_arena_fits(edge_variant, edge_target)
"""


@needs_tflm
def test_a_verified_arena_is_marked_as_such(project: Project) -> None:
    project.conftest()
    project.test(GATE)
    plain = project.run("--edge-target=nano33ble", "--edge-variant=int8").stdout.str()
    assert "verified against" not in plain
    flag = ("--edge-target=nano33ble", "--edge-variant=int8", "--edge-arena-verify")
    result = project.run(*flag)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*exact, *; verified against the interpreter on x86-64*"])


@needs_tflm
@pytest.mark.parametrize("place", ["ini", "toml"])
def test_verification_can_be_asked_for_in_a_file(project: Project, place: str) -> None:
    project.conftest()
    project.test(GATE)
    if place == "ini":
        project.write("pytest.ini", "[pytest]\nedge_arena_verify = true\n")
    else:
        project.write("pyproject.toml", "[tool.edgequant]\narena_verify = true\n")
    result = project.run("--edge-target=nano33ble", "--edge-variant=int8")
    result.stdout.fnmatch_lines(["*; verified against the interpreter on x86-64*"])


MISMATCH = """
import dataclasses
from pytest_edgequant.measure.arena import verification

@pytest.fixture(autouse=True)
def too_small(monkeypatch):
    real = verification.compute_arena

    def wrong(*args):
        found = real(*args)
        return dataclasses.replace(found, minimum_bytes=found.minimum_bytes - 16)

    monkeypatch.setattr(verification, "compute_arena", wrong)
"""


@needs_tflm
def test_a_mismatch_fails_the_test_with_both_numbers(project: Project) -> None:
    project.conftest()
    project.test(MISMATCH + GATE)
    flag = ("--edge-target=nano33ble", "--edge-variant=int8", "--edge-arena-verify")
    result = project.run(*flag)
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines(
        [r".*ArenaMismatch: .*[\d,]+ B in the smallest arena that works, it"]
    )


def test_a_red_gate_says_what_would_make_it_fit(project: Project) -> None:
    project.conftest(model="tiny_float32")
    project.test(
        "def test_arena(edge_float32, edge_target):\n"
        '    assert_arena_fits(edge_float32, edge_target, headroom="99.5%")\n'
    )
    result = project.run("--edge-target=nano33ble")
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines(
        [r"E +Ways out: .*[\d,]+ B less, .*", r"E .* int8 instead of float32: [\d,]+ B less, .*"]
    )
