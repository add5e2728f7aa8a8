"""What is read first of a failure: pytest's short summary, annotations, and what is not known."""

from __future__ import annotations

import re

import pytest
from edge_project import Project, needs_tflm

BOARDS = """
[tool.edgequant.targets.small]
base = "pico"
flash_for_model = "4 KiB"
sram_for_arena = "1 KiB"
[tool.edgequant.targets.close]
base = "nano33ble"
flash_after_firmware = "70 KiB"
[tool.edgequant.targets.edgy]
base = "nano33ble"
requires_integer_io = true
"""
GATES = """
FLOAT = DATA + "/tiny_float32.tflite"

def test_accuracy(edge_int8, edge_dataset):
    assert_max_accuracy_drop(edge_int8, FLOAT, edge_dataset, "50 pt", min_accuracy=0.9999)

def test_latency(edge_int8):
    assert_latency_within(estimate_latency(edge_int8, "nano33ble"), "1 us")

def test_arena(edge_int8):
    assert_arena_fits(edge_int8, "small")

def test_size(edge_int8):
    assert_size_within(edge_int8, "2 KiB")

def test_all(edge_int8):
    assert_deployable(edge_int8, "small")

def test_ops(edge_float16, edge_target):
    assert_ops_supported(edge_float16, edge_target)

def test_integer(edge_int8_float_io):
    assert_fully_integer(edge_int8_float_io)
"""
FIRST_WORDS = {
    "test_accuracy": r"accuracy below by \d\.\d\d points: 9\d\.\d\d% of 99\.99%;",
    "test_latency": r"latency over by 1\.\d+ ms: 1\.\d+ ms of 1 us;",
    "test_arena": r"arena over by 4\d\d B: 1,4\d\d B of 1,024 B;",
    "test_size": r"size over by 3,\d\d\d B: 5,\d\d\d B of 2,048 B;",
    "test_all": r"size over by 1,\d\d\d B: 5,\d\d\d B of 4,096 B; arena over by 4\d\d B:",
    "test_ops": r"cannot run on nano33ble: TFLM has no float16 kernels",
    "test_integer": r"2 float tensors, input '",
}


def said_of(result: pytest.RunResult) -> dict[str, str]:
    """What pytest's short summary says of each test."""
    found = {}
    for line in result.outlines:
        if line.startswith(("FAILED ", "ERROR ")):
            test, _, said = line.partition(" - ")
            found[re.sub(r".*::|\[.*", "", test)] = said
    return found


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["alone", "xdist"])
def test_the_summary_begins_with_what_failed_and_by_how_much(
    project: Project, workers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    if workers:
        pytest.importorskip("xdist")
    monkeypatch.setenv("COLUMNS", "300")
    project.write("pyproject.toml", BOARDS)
    project.conftest(model="tiny_float32")
    project.test(GATES)
    result = project.run("--edge-target=nano33ble", *workers)
    result.assert_outcomes(failed=len(FIRST_WORDS))
    found = said_of(result)
    assert set(found) == set(FIRST_WORDS)
    for test, words in FIRST_WORDS.items():
        assert re.match(words, found[test]), (test, found[test])


def test_a_narrow_terminal_still_tells_how_much(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("CI", raising=False)
    project.conftest(model="tiny_float32")
    project.test("def test_size(edge_int8): assert_size_within(edge_int8, '2 KiB')\n")
    result = project.run("--edge-target=nano33ble")
    (line,) = (line for line in result.outlines if line.startswith("FAILED "))
    assert len(line) <= 80
    assert " - size over by 3,4" in line


@needs_tflm
def test_what_is_not_known_is_inconclusive_and_begins_with_what_to_do(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    project.write("pyproject.toml", BOARDS)
    project.conftest(model="tiny_float32")
    project.test(
        "def test_all(edge_int8):\n"
        "    with pytest.raises(Inconclusive) as caught:\n"
        "        assert_deployable(edge_int8, 'close')\n"
        "    assert not isinstance(caught.value, NotDeployable)\n"
        "    raise caught.value\n"
        "def test_few(edge_int8, edge_dataset):\n"
        "    few = tuple(part[:30] for part in edge_dataset)\n"
        "    assert_max_accuracy_drop(\n"
        "        edge_int8, DATA + '/tiny_float32.tflite', few, 0.01, confidence=0.95)\n"
    )
    result = project.run("--edge-target=nano33ble")
    result.assert_outcomes(failed=2)
    found = said_of(result)
    assert found["test_all"].startswith("Build the firmware with the model's operators, and state")
    assert re.match(r"Evaluate about \d{3} samples: tiny_float32/int8: accuracy", found["test_few"])
    assert not any("not deployable" in line for line in result.outlines)


def test_errors_in_setup_begin_with_their_kind(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    project.conftest()
    project.test(
        "def test_form(edge_float32): pass\n"
        "def test_mine():\n    pytest.fail('my own', pytrace=False)\n"
    )
    result = project.run("--edge-target=pico")
    result.assert_outcomes(errors=1, failed=1)
    found = said_of(result)
    assert found["test_form"].startswith("NotDerivableError: ")
    assert found["test_mine"] == "Failed: my own"


def test_annotations_have_no_marks_of_the_terminal(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A regression, whose account pytest marks, and the failed gates beside it."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project.path))
    project.conftest(model="tiny_float32")
    project.test("def test_size(edge_int8): assert_size_within(edge_int8, '64 KiB')\n")
    options = ("--edge-target=nano33ble", "--edge-baseline=base.json")
    project.run("--edge-target=nano33ble", "--edge-save-baseline=base.json")
    base = project.path / "base.json"
    text = base.read_text("utf-8")
    base.write_text(re.sub(r'("size_bytes": \{\s*"value": )\d+', r"\g<1>2000", text), "utf-8")
    project.test(
        "def test_size(edge_int8): assert_size_within(edge_int8, '64 KiB')\n"
        "def test_arena(edge_int8):\n"
        "    assert edge_int8.size_bytes < 10\n"
        "@pytest.mark.xfail(strict=True)\n"
        "def test_xpass(edge_int8): pass\n"
    )
    result = project.run(*options)
    lines = [line for line in result.outlines if line.startswith("::error")]
    assert len(lines) == 3
    assert not any(re.search(r"(::|%0A)E( |%0A|$)", line) for line in lines)
    assert any("size_bytes 2,000 B -> " in line and "To accept it: " in line for line in lines)
