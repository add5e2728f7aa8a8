"""Gates from the configuration: items like any other, without a line of Python."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import pytest
from edge_project import DATA, Project, failures

from pytest_edgequant.cli.main import main

TWO = """
[tool.edgequant]
targets = ["pico", "nano33ble"]

[tool.edgequant.models.zebra]
model = "models/zebra.tflite"
dataset = "samples:test_split"
calibration = "samples:calibration"
variants = ["int8", "float32"]

[tool.edgequant.models.zebra.budgets]
max_accuracy_drop = "5 pt"
arena = "target"
int8 = { size = "5 KiB" }
pico = { arena = "1 KiB" }

[tool.edgequant.models.apple]
model = "models/apple.tflite"

[tool.edgequant.models.apple.budgets]
size = "90%"
latency = { max = "5 s", on = "nano33ble" }
"""
SAMPLES = f"""
import numpy as np

def _stored():
    with np.load({str(DATA / "tiny.npz")!r}) as stored:
        return {{k: (v / 16).astype(np.float32) if k[0] == "x" else v for k, v in stored.items()}}

def test_split():
    return _stored()["x"][:150], _stored()["y"][:150]

def calibration():
    return _stored()["x_calibration"]

def batches():
    x, y = test_split()
    yield x[:100], y[:100]
    yield x[100:], y[100:]

def nothing(): pass
def text(): return "x"
def alone(): return test_split()[0]
def unequal(): return test_split()[0], test_split()[1][1:]
def wide(): return np.zeros((9, 8, 8, 3), np.float32), np.zeros(9)
def blank(): return np.full((90, 8, 8, 1), np.nan, np.float32), np.zeros(90)
def fails(): raise ValueError("no disk")
def asks(path): return path
"""
IDS = [
    f"{model}[{target}-{variant}]::{check}"
    for model, target, variant, checks in (
        ("zebra", "pico", "int8", "deployable size arena accuracy_drop"),
        ("zebra", "pico", "float32", "deployable arena accuracy"),
        ("zebra", "nano33ble", "int8", "deployable size arena accuracy_drop"),
        ("zebra", "nano33ble", "float32", "deployable arena accuracy"),
        ("apple", "pico", "int8", "deployable size"),
        ("apple", "nano33ble", "int8", "deployable size latency"),
    )
    for check in checks.split()
]
FAILING = [
    "zebra[pico-int8]::size",
    "zebra[pico-int8]::arena",
    "zebra[pico-float32]::arena",
    "zebra[nano33ble-int8]::size",
]


@pytest.fixture
def gated(project: Project) -> Project:
    """Two models on two boards, one in two variants; the larger has limits that are too small."""
    (project.path / "models").mkdir()
    shutil.copy(DATA / "tiny_float32.tflite", project.path / "models" / "zebra.tflite")
    shutil.copy(DATA / "residual_int8.tflite", project.path / "models" / "apple.tflite")
    project.write("samples.py", SAMPLES)
    project.write("pyproject.toml", TWO)
    return project


def gates(project: Project, *args: object) -> list[str]:
    result = project.run("--collect-only", "-q", *args)
    return [line.split("::", 1)[1] for line in result.outlines if line.startswith("pyproject")]


def failed(result: pytest.RunResult) -> list[str]:
    text = result.stdout.str()
    return re.findall(r"^FAILED pyproject.toml::(\S+)(?: - |$)", text, re.MULTILINE)


def refused(result: pytest.RunResult) -> str:
    """The message of a run that pytest refuses, which is one."""
    assert result.ret == 4, result.stdout.str()
    text = result.stderr.str()
    assert text.count("ERROR: ") == 1
    assert "Traceback" not in text + result.stdout.str()
    return text


# -- collecting ------------------------------------------------------------------------------------


def test_a_bare_run_collects_each_check_of_each_variant_on_each_target(gated: Project) -> None:
    assert gates(gated) == IDS


@pytest.mark.parametrize(
    "args, collects",
    [
        ([], True),
        (["."], True),
        (["tests"], True),
        (["tests", "pyproject.toml"], True),
        (["pyproject.toml"], True),
        (["tests/deep"], False),
        (["tests/test_it.py"], False),
        (["tests/test_it.py::test_it"], False),
    ],
)
@pytest.mark.parametrize("testpaths", ["", '[tool.pytest.ini_options]\ntestpaths = ["tests"]\n'])
def test_the_whole_suite_has_the_gates_and_single_files_have_not(
    gated: Project, testpaths: str, args: list[str], collects: bool
) -> None:
    gated.write("tests/test_it.py", "def test_it(): pass\n")
    gated.write("tests/deep/test_deep.py", "def test_deep(): pass\n")
    gated.write("pyproject.toml", TWO + testpaths)
    assert gates(gated, *args) == (IDS if collects else [])


@pytest.mark.parametrize(
    "selected, count",
    [
        ("apple", 5),
        ("zebra[pico-int8]", 4),
        ("zebra[nano33ble-int8]::arena", 1),
    ],
)
def test_ids_select(gated: Project, selected: str, count: int) -> None:
    found = gates(gated, f"pyproject.toml::{selected}")
    assert len(found) == count
    assert all(name.startswith(selected) for name in found)


def test_an_id_that_is_not_there_is_an_error(gated: Project) -> None:
    assert "not found" in refused(gated.run("pyproject.toml::zebra[esp32-int8]"))


@pytest.mark.parametrize(
    "words, count",
    [
        ("int8", 13),
        ("float32 and pico", 3),
        ("zebra and not int8", 6),
        ("nano33ble and INT8 and size", 2),
        ("int16x8", 0),
    ],
)
def test_names_of_forms_choose_among_the_gates(gated: Project, words: str, count: int) -> None:
    assert len(gates(gated, "-k", words)) == count


def test_options_choose_among_the_gates(gated: Project) -> None:
    gated.test("def test_other(): pass\n")
    assert gates(gated, "-k", "arena and pico") == [i for i in IDS if "arena" in i and "pico" in i]
    assert gates(gated, "-m", "edge") == IDS
    assert gates(gated, "-m", "not edge") == []
    assert gates(gated, "--deselect", "pyproject.toml::zebra") == IDS[-5:]
    on_esp32 = gates(gated, "--edge-target=esp32,rpi4")
    assert {i.split("[")[1].split("-")[0] for i in on_esp32} == {"esp32", "rpi4"}
    assert {i.split("-")[1] for i in gates(gated, "--edge-variant=int8")} == {
        f"int8]::{check}" for check in "deployable size arena accuracy_drop latency".split()
    }


def test_a_file_of_its_own_is_the_same(gated: Project) -> None:
    gated.write("pyproject.toml", "")
    gated.write(
        "edgequant.toml", TWO.replace("[tool.edgequant]", "").replace("tool.edgequant.", "")
    )
    result = gated.run("--collect-only", "-q")
    assert [x.split("::", 1)[1] for x in result.outlines if x.startswith("edgequant.")] == IDS
    result = gated.run("-k", "zebra and pico and size")
    line = TWO.splitlines().index('int8 = { size = "5 KiB" }') + 1
    place = f'edgequant.toml:{line}: [models.zebra.budgets.int8] size = "5 KiB": edit it there'
    assert place in result.stdout.str()


def test_nothing_is_loaded_where_no_model_is_configured(project: Project) -> None:
    project.test("def test_it(): pass\n")
    script = "import sys, pytest; r = pytest.main(['-q']); print('LOADED', [m for m in sys.modules"
    script += " if m in ('numpy', 'tensorflow') or m.startswith('pytest_edgequant.gate')])"
    (project.path / "test_it.py").write_text("def test_it(): pass\n")
    result = project.pytester.run("python", "-c", script)
    result.stdout.fnmatch_lines(["LOADED []"])


# -- running ---------------------------------------------------------------------------------------


def test_a_failure_says_the_figure_and_the_key_to_edit(gated: Project) -> None:
    result = gated.run()
    assert failed(result) == FAILING
    result.assert_outcomes(failed=4, passed=len(IDS) - 4)
    text = failures(result)
    assert "5,504 B" in text
    lines = TWO.splitlines()
    for limit in ('int8 = { size = "5 KiB" }', 'pico = { arena = "1 KiB" }'):
        assert f"pyproject.toml:{lines.index(limit) + 1}: " in text
    assert '[tool.edgequant.models.zebra.budgets.int8] size = "5 KiB": edit it there' in text
    assert ".py:" not in text


def test_the_last_failed_run_again_and_x_stops(gated: Project) -> None:
    gated.run().assert_outcomes(failed=4, passed=len(IDS) - 4)
    again = gated.run("--lf")
    again.assert_outcomes(failed=4, passed=0)
    assert failed(again) == FAILING
    assert failed(gated.run("-x")) == FAILING[:1]


@pytest.mark.slow
def test_workers_find_the_same_and_one_report_has_gates_and_tests(gated: Project) -> None:
    gated.conftest(model="tiny_int8")
    gated.test("def test_size(edge_int8): assert_size_within(edge_int8, '1 KiB')\n")
    gated.run_subprocess("-n2", "--edge-report=n.json", "--junitxml=n.xml")
    result = gated.run("--edge-report=one.json", "--junitxml=one.xml")
    assert sorted(failed(result)) == sorted(FAILING)
    one, n = (json.loads((gated.path / name).read_text("utf-8")) for name in ("one.json", "n.json"))
    assert one["results"] == n["results"]
    rows = {(r["model"], r["target"], r["variant"]) for r in one["results"]}
    assert {("zebra", "pico", "int8"), ("apple", "nano33ble", "int8")} < rows
    assert {r[0] for r in rows} == {"zebra", "apple", "tiny_int8"}
    for name in ("one.xml", "n.xml"):
        cases = ElementTree.parse(gated.path / name).iter("testcase")
        found = [case.get("name") for case in cases if case.get("classname") == "pyproject.toml"]
        assert sorted(map(str, found)) == sorted(IDS)
    again = gated.run_subprocess("--lf", "-n2")
    assert sorted(failed(again)) == sorted(FAILING)


def test_the_verdicts_are_those_of_edgequant_check(
    gated: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(gated.warm))
    report = gated.report("-k", "zebra and int8 and pico and not accuracy_drop").document
    with np.load(DATA / "tiny.npz") as stored:
        np.save("c.npy", (stored["x_calibration"] / 16).astype(np.float32))
    given = ["--variant=int8", "--calibration=c.npy", "--target=pico"]
    limits = ["--max-size=5 KiB", "--max-arena=1 KiB"]
    capsys.readouterr()
    assert main(["check", "models/zebra.tflite", *given, *limits, "--json"]) == 1
    checked = json.loads(capsys.readouterr().out)
    (mine,), (theirs,) = report["results"], checked["results"]
    assert mine["metrics"] == theirs["metrics"]
    assert sorted(mine["verdicts"], key=str) == sorted(theirs["verdicts"], key=str)
    assert {v["verdict"] for v in mine["verdicts"]} == {"pass", "fail"}


def test_a_variant_that_the_target_refuses_never_passes(gated: Project) -> None:
    gated.write(
        "pyproject.toml",
        '[tool.edgequant]\ntargets = ["nano33ble"]\n[tool.edgequant.models.zebra]\n'
        'model = "models/zebra.tflite"\nvariants = ["dynamic_range"]\n'
        '[tool.edgequant.models.zebra.budgets]\nsize = "1 MiB"\n',
    )
    shutil.copy(DATA / "tiny_dynamic_range.tflite", gated.path / "models" / "zebra.tflite")
    result = gated.run()
    result.assert_outcomes(failed=2)
    assert "pyproject.toml:5: [tool.edgequant.models.zebra] variants" in failures(result)


def test_of_variants_that_nobody_names_the_target_chooses(gated: Project) -> None:
    """Those that it can't run are skipped with the reason, as tests with edge_variant are."""
    gated.write(
        "pyproject.toml",
        '[tool.edgequant]\ntargets = ["rpi4"]\n[tool.edgequant.models.zebra]\n'
        'model = "models/zebra.tflite"\ncalibration = "samples:calibration"\nvariants = "int8"\n',
    )
    assert gates(gated) == ["zebra[rpi4-int8]::deployable"]


@pytest.mark.parametrize("dataset", ["samples:batches", "data/all.npz"])
def test_data_come_from_generators_and_files(gated: Project, dataset: str) -> None:
    """Of one file for both, the samples for calibration are those that are named so."""
    with np.load(DATA / "tiny.npz") as stored:
        x, y = (stored["x"][:150] / 16).astype(np.float32), stored["y"][:150]
        held = (stored["x_calibration"] / 16).astype(np.float32)
    (gated.path / "data").mkdir()
    np.savez(gated.path / "data" / "all.npz", x=x, y=y, x_calibration=held)
    other = TWO.replace("samples:test_split", dataset)
    found = []
    for text in (TWO, other.replace("samples:calibration", "data/all.npz")):
        gated.write("pyproject.toml", text)
        rows = gated.report("-k", "zebra and accuracy_drop").document["results"]
        found.append([(row["target"], row["metrics"]["accuracy"], row["file"]) for row in rows])
    assert found[0] == found[1]
    assert len(found[0]) == 4


def test_a_run_of_other_tests_is_green_and_one_in_which_no_gate_judged_is_not(
    gated: Project,
) -> None:
    gated.test("def test_other(): pass\n")
    assert gated.run("test_it.py").ret == 0
    assert gated.run("test_it.py", "--edge-target=pico").ret == 5


# -- what can't be meant ---------------------------------------------------------------------------

BROKEN: Sequence[tuple[str, str, Sequence[str]]] = [
    ('targets = ["pico", "nano33ble"]', "targets = [", ["pyproject.toml", "line"]),
    ('targets = ["pico"', 'targets = ["picoo"', ["targets", "pico"]),
    ('model = "models/apple.tflite"', 'modle = "x"', ["modle", "Did you mean model"]),
    ('model = "models/apple.tflite"', 'size = "2 KiB"', ["size", "budget", "budgets"]),
    ('size = "90%"', 'size = "90"', ["budgets] size", "no unit"]),
    ('size = "90%"', 'size = "70000"', ["budgets] size", "no unit"]),
    ('size = "90%"', 'sise = "90%"', ["sise", "size"]),
    ('max = "5 s"', "max = 5", ["latency", "unit"]),
    ('max_accuracy_drop = "5 pt"', 'max_accuracy_drop = "5"', ["max_accuracy_drop", "no unit"]),
    ('on = "nano33ble"', 'on = "esp32"', ["latency", "esp32", "targets"]),
    ("int8 = { size", "int7 = { size", ["int7", "int8"]),
    ("int8 = { size", "int16x8 = { size", ["int16x8", "variants"]),
    ("pico = { arena", "piko = { arena", ["piko", "pico"]),
    ('size = "90%"', 'int16x8 = { size = "9 KiB" }', ["int16x8] size", "as the int8 that it is"]),
    ('size = "90%"', 'esp32 = { size = "9 KiB" }', ["esp32] size", "not gated on esp32"]),
    ('"models/apple.tflite"', '"models"', ["apple] model", "holds no model"]),
    ("models.apple]", "models.zebra]", ["zebra", "twice", "line"]),
    ('variants = ["int8", "float32"]', 'variants = ["int9"]', ["variants", "int9", "int8"]),
    ('"samples:test_split"', '"samples.test_split"', ["dataset", "samples:test_split"]),
    ('dataset = "samples:test_split"\n', "", ["max_accuracy_drop", "dataset"]),
    ('calibration = "samples:calibration"\n', 'metric = "mse"\n', ["max_accuracy_drop", "mse"]),
]


@pytest.mark.parametrize("old, new, said", BROKEN, ids=[f"{new!r}" for _, new, _ in BROKEN])
def test_what_can_not_be_meant_stops_the_run_with_the_key(
    gated: Project, old: str, new: str, said: Sequence[str]
) -> None:
    assert old in TWO
    gated.write("pyproject.toml", TWO.replace(old, new))
    text = refused(gated.run())
    assert [part for part in said if part not in text] == []
    assert re.search(r"pyproject.toml(:\d+)?: |at line \d+", text)


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("samples:test_split", "samplez:test_split", ["no module 'samplez'"]),
        ("samples:test_split", "samples:test_splot", ["Did you mean test_split"]),
        ("samples:test_split", "samples:nothing", ["None", "return"]),
        ("samples:test_split", "samples:text", ["str 'x'"]),
        ("samples:test_split", "samples:alone", ["one array"]),
        ("samples:test_split", "samples:unequal", ["150 samples and 149 labels"]),
        ("samples:test_split", "samples:fails", ["ValueError: no disk", "samples.py, line"]),
        ("samples:test_split", "samples:asks", ["path", "without arguments"]),
        ("samples:test_split", "samples:wide", ["(8, 8, 1)", "(9, 8, 8, 3)"]),
        ("samples:test_split", "samples:blank", ["NaN values"]),
        ("samples:test_split", "broken:x", ["importing broken failed", "absent", "line 2"]),
        ("samples:test_split", "none.npz", ["no file"]),
        ("samples:test_split", "samples.npz", ["numpy.savez"]),
        ("models/zebra.tflite", "models/none.tflite", ["no file"]),
        ("models/zebra.tflite", "models", ["holds no model"]),
    ],
)
def test_data_that_can_not_be_had_stop_the_run_with_one_message(
    gated: Project, old: str, new: str, said: Sequence[str]
) -> None:
    gated.write("broken.py", "\nimport absent\n")
    gated.write("samples.npz", "no archive")
    gated.write("pyproject.toml", TWO.replace(old, new, 1))
    gated.test("def test_other(): pass\n")
    text = refused(gated.run())
    assert [part for part in said if part not in text] == []
    key = "model" if old.startswith("models") else "dataset"
    assert re.search(rf"pyproject.toml:\d+: \[tool.edgequant.models.zebra\] {key}", text)
    # Runs that do without them are not stopped, and none is loaded to collect.
    gated.run("-k", "apple or other").assert_outcomes(passed=6, deselected=len(IDS) - 5)
    assert len(gates(gated)) == len(IDS) or "models" in new


def test_limits_of_boards_that_the_command_line_leaves_out_are_none_too_many(
    gated: Project,
) -> None:
    gated.write("pyproject.toml", TWO.replace('size = "90%"', 'nano33ble = { size = "9 KiB" }'))
    assert gates(gated, "-k", "apple", "--edge-target=pico") == ["apple[pico-int8]::deployable"]
    assert "apple[nano33ble-int8]::size" in gates(gated)


def test_workers_stop_with_the_same_message(gated: Project) -> None:
    gated.write("pyproject.toml", TWO.replace("samples:test_split", "samples:fails"))
    assert "ValueError: no disk" in refused(gated.run_subprocess("-n2"))


def test_two_files_may_not_have_the_same_model_or_key(gated: Project) -> None:
    gated.write("edgequant.toml", '[models.apple]\nmodel = "models/apple.tflite"\n')
    text = refused(gated.run())
    assert "edgequant.toml:1: [models] apple: two models of one name: pyproject.toml:" in text
    gated.write("edgequant.toml", 'targets = ["pico"]\n')
    assert "edgequant.toml:1: targets: pyproject.toml" in refused(gated.run())
    gated.write("edgequant.toml", '[models.third]\nmodel = "models/apple.tflite"\n')
    result = gated.run("--collect-only", "-q", "-k", "third")
    result.stdout.fnmatch_lines(["edgequant.toml::third[[]pico-int8]::deployable"])
