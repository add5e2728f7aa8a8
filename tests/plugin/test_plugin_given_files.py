"""A quantized `.tflite` as edge_model: `edge_variant` is that file alone."""

from __future__ import annotations

import json
import re

import pytest
from edge_project import Project, summary

FOUR = """
FILES = ["tiny_int8", "residual_int8", "tiny_int16x8", "tiny_float32"]
@pytest.fixture(scope="{scope}", params=FILES)
def edge_model(request):
    with open("asked", "a") as log:
        log.write(request.param + "\\n")
    return f"{{DATA}}/{{request.param}}.tflite"
"""
GATE = """
def test_deployable(edge_variant, edge_target): assert_deployable(edge_variant, edge_target)
class TestIt:
    def test_size(self, edge_variant): assert_size_within(edge_variant, "1 MiB")
"""
BOARDS = "--edge-target=nano33ble,rpi4"
FORMS = {"nano33ble": 5, "rpi4": 7}


def _ran(text: str) -> list[str]:
    """The ids in brackets of the tests that a verbose run names, each as often as it does."""
    return sorted(re.findall(r"(?:PASSED|SKIPPED|FAILED|ERROR) \S*?(\w+\[\S*\])", text))


def _expected(*tests: str) -> list[str]:
    files = {"tiny_int8": "int8", "residual_int8": "int8", "tiny_int16x8": "int16x8"}
    return sorted(
        f"{test}[{model}-{target}-{form}]"
        for test in tests
        for model, form in files.items()
        for target in FORMS
    )


@pytest.fixture
def quantized(project: Project) -> Project:
    """Three quantized files on two boards, in a function and a class, in two modules."""
    project.conftest(FOUR.format(scope="module").replace(', "tiny_float32"', ""), model=None)
    project.test(GATE, "test_one")
    project.test(GATE, "test_two")
    return project


def test_each_file_runs_once_a_test_and_board_and_nothing_is_skipped(quantized: Project) -> None:
    result = quantized.run(BOARDS, "-rA", "--edge-report=out.json", "--junitxml=out.xml")
    result.assert_outcomes(passed=24)
    assert "SKIPPED" not in result.stdout.str()
    expected = _expected("test_deployable", "test_size")
    assert _ran(result.stdout.str()) == sorted(expected * 2)
    rows = json.loads((quantized.path / "out.json").read_text())["results"]
    assert [(r["target"], r["variant"], r["model"]) for r in rows] == [
        (target, "int16x8" if model == "tiny_int16x8" else "int8", model)
        for model in ("residual_int8", "tiny_int16x8", "tiny_int8")
        for target in FORMS
    ]
    verdicts = {v["verdict"] for row in rows for v in row["verdicts"] if v["check"] != "arena"}
    assert verdicts == {"pass"}
    cases = re.findall(r'<testcase [^>]*name="([^"]*)"', (quantized.path / "out.xml").read_text())
    assert sorted(cases) == sorted(expected * 2)
    assert "<skipped" not in (quantized.path / "out.xml").read_text()
    assert "n/a" not in "\n".join(summary(result))
    assert re.search(r"\[100%\]", result.stdout.str())


@pytest.mark.slow
def test_n_2_runs_the_same(quantized: Project) -> None:
    alone = quantized.run(BOARDS)
    both = quantized.run_subprocess(BOARDS, "-n2", "-rA")
    assert alone.parseoutcomes() == both.parseoutcomes() == {"passed": 24}
    assert _ran(both.stdout.str()) == sorted(_expected("test_deployable", "test_size") * 2)
    assert summary(alone) == summary(both) != []


@pytest.mark.parametrize("scope", ["session", "module"])
def test_asking_first_makes_no_model_twice(quantized: Project, scope: str) -> None:
    quantized.conftest(FOUR.format(scope=scope).replace(', "tiny_float32"', ""), model=None)
    quantized.run(BOARDS, "-k", "tiny_int16x8 or residual").assert_outcomes(passed=16)
    asked = (quantized.path / "asked").read_text().split()
    # Of the widest scope that pytest lets it have: it runs all modules board by board.
    assert len(asked) == {"session": 2, "module": 2 * 2 * len(FORMS)}[scope]


def test_a_float_file_keeps_its_forms_beside_quantized_ones(project: Project) -> None:
    project.conftest(FOUR.format(scope="session"), model=None)
    project.test(GATE)
    result = project.run("--edge-target=pico", "-k", "test_size", "-rA")
    result.assert_outcomes(passed=3 + FORMS["nano33ble"], deselected=20)
    ran = [name for name in _ran(result.stdout.str()) if "float32" in name]
    assert len(ran) == FORMS["nano33ble"]
    # A model that has other forms is no reason to ask for it again in each of them.
    assert (project.path / "asked").read_text().split().count("tiny_float32") == 1


def test_k_selects_the_form_of_the_file(quantized: Project) -> None:
    quantized.run(BOARDS, "-k", "int16x8").assert_outcomes(passed=8)
    result = quantized.run(BOARDS, "-k", "uint8_io")
    result.assert_outcomes()
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_lf_runs_what_failed_alone(quantized: Project) -> None:
    quantized.test(GATE.replace("1 MiB", "5 KiB"), "test_two")
    first = quantized.run(BOARDS)
    assert first.parseoutcomes() == {"passed": 18, "failed": 6}
    quantized.run(BOARDS, "--lf").assert_outcomes(failed=6)
    quantized.test(GATE, "test_two")
    quantized.run(BOARDS, "--lf").assert_outcomes(passed=6)
    quantized.run(BOARDS, "--lf").assert_outcomes(passed=24)


def test_files_that_a_marker_names_are_collected_as_they_are(project: Project) -> None:
    project.conftest(model=None)
    project.test(
        "MODELS = [DATA + '/tiny_int16x8.tflite', DATA + '/tiny_int8.tflite']\n"
        "@pytest.mark.parametrize('edge_model', MODELS, ids=['fine', 'coarse'])\n"
        "def test_it(edge_model, edge_variant): assert_size_within(edge_variant, '1 MiB')\n"
    )
    ids = ["fine-nano33ble-int16x8", "fine-rpi4-int16x8", "coarse-nano33ble-int8"]
    assert sorted(project.collected(BOARDS)) == sorted([*ids, "coarse-rpi4-int8"])
    project.run(BOARDS).assert_outcomes(passed=4)


def test_a_form_that_the_board_can_not_run_fails_there(project: Project) -> None:
    project.conftest(model="tiny_dynamic_range")
    project.test(
        "def test_it(edge_variant, edge_target): assert_deployable(edge_variant, edge_target)"
    )
    report = project.report(BOARDS)
    report.result.assert_outcomes(passed=1, failed=1)
    report.result.stdout.fnmatch_lines(["*dynamic_range*cannot run on nano33ble*"])
    rows = [(r["target"], r["variant"]) for r in report.document["results"]]
    assert rows == [("nano33ble", "dynamic_range"), ("rpi4", "dynamic_range")]


@pytest.mark.parametrize("how", ["option", "marker", "parametrize"])
def test_a_form_by_name_is_never_passed_over(project: Project, how: str) -> None:
    project.conftest(model="tiny_int8")
    lines = {
        "option": "",
        "marker": "@pytest.mark.edge(variant=['int8', 'float32'])\n",
        "parametrize": "@pytest.mark.parametrize('edge_variant', ['int8', 'float32'])\n",
    }
    project.test(lines[how] + "def test_it(edge_variant): assert edge_variant.name == 'int8'\n")
    arguments = ["--edge-variant=int8,float32"] if how == "option" else []
    project.run("--edge-target=pico", *arguments).assert_outcomes(passed=1, errors=1)


def test_what_is_passed_over_is_torn_down_as_usual(project: Project) -> None:
    """The last form of a module is passed over: its fixtures end there, and errors are told."""
    project.conftest(model="tiny_int8")
    project.test(
        "@pytest.fixture(scope='module', autouse=True)\n"
        "def opened():\n"
        "    yield\n"
        "    raise OSError('the port is gone')\n"
        "def test_it(edge_variant): pass\n",
        "test_one",
    )
    project.test("class TestIt:\n    def test_it(self, edge_variant): pass\n", "test_two")
    result = project.run("--edge-target=nano33ble,pico")
    result.assert_outcomes(passed=4, errors=2)  # each board has the module once
    result.stdout.fnmatch_lines(["*OSError: the port is gone*"])


def test_a_model_that_can_not_be_had_is_told_by_each_test(project: Project) -> None:
    project.conftest(
        "@pytest.fixture(scope='session')\n"
        "def edge_model():\n"
        "    open('asked', 'a').write('x')\n"
        "    raise OSError('no disk')\n",
        model=None,
    )
    project.test("def test_it(edge_variant): pass\n")
    result = project.run("--edge-target=pico")
    result.assert_outcomes(errors=5)
    assert (project.path / "asked").read_text() == "x"


def test_without_parametrization_the_file_is_the_only_variant(project: Project) -> None:
    project.conftest(model="tiny_uint8_io")
    project.test(
        "def test_it(request):\n"
        "    assert request.getfixturevalue('edge_variant').name == 'uint8_io'\n"
    )
    project.run("--edge-target=pico").assert_outcomes(passed=1)
