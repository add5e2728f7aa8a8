"""Cases at the borders of the rules, each of which has gone wrong once."""

from __future__ import annotations

import pytest
from edge_project import Project, failures, own_frames, summary

MICRO = ["float32", "int8", "int8_float_io", "uint8_io", "int16x8"]
BOARD = ["float32", "float16", "dynamic_range", *MICRO[1:]]


def _each(*targets: str, prefix: str = "") -> list[str]:
    variants = {"nano33ble": MICRO, "rpi4": BOARD}
    return [f"{prefix}{t}-{v}" for t in targets for v in variants[t]]


TWO_MODELS = """
@pytest.fixture(scope="session", params=["tiny_int8", "tiny_float32"], ids=["digits", "letters"])
def edge_model(request):
    return f"{DATA}/{request.param}.tflite"
"""


@pytest.mark.parametrize("argument", ["edge_variant", "edge_int8", "edge_model_name"])
def test_a_parametrized_model_needs_no_argument(project: Project, argument: str) -> None:
    project.conftest(TWO_MODELS, model=None)
    project.test(f"def test_arena({argument}): pass\n")
    collected = project.collected("--edge-target=nano33ble", "--edge-variant=int8")
    assert len(collected) == 2
    assert collected[0].startswith("digits")


def test_a_model_by_an_indirect_marker_needs_no_argument(project: Project) -> None:
    project.conftest(
        "@pytest.fixture(scope='session')\ndef edge_model(request): return request.param\n",
        model=None,
    )
    project.test(
        "@pytest.mark.parametrize('edge_model', [DATA + '/tiny_int8.tflite'], ids=['digits'],"
        " indirect=True)\ndef test_it(edge_variant): pass\n"
    )
    assert project.collected("--edge-target=nano33ble") == _each("nano33ble", prefix="digits-")


def test_own_targets_have_their_own_variants_whatever_the_option(project: Project) -> None:
    project.test(
        "@pytest.mark.parametrize('edge_target', ['rpi4'])\n"
        "def test_it(edge_variant, edge_target): pass\n"
    )
    assert project.collected("--edge-target=pico") == _each("rpi4")


@pytest.mark.parametrize("form", ["getfixturevalue", "unittest"])
def test_the_marker_reaches_requests_that_cannot_be_parametrized(
    project: Project, form: str
) -> None:
    project.conftest()
    project.test(
        "@pytest.mark.edge(target='nano33ble')\n"
        "def test_it(request):\n"
        "    assert request.getfixturevalue('edge_int8').target.name == 'nano33ble'\n"
        if form == "getfixturevalue"
        else "import unittest\n"
        "@pytest.mark.edge(target='nano33ble')\n"
        "class TestIt(unittest.TestCase):\n"
        "    @pytest.fixture(autouse=True)\n"
        "    def inputs(self, edge_int8): self.given = edge_int8\n"
        "    def test_it(self): assert self.given.target.name == 'nano33ble'\n"
    )
    project.run().assert_outcomes(passed=1)


def test_variants_given_as_records_are_judged_on_the_target(project: Project) -> None:
    project.conftest()
    project.test(
        "V = convert(DATA + '/tiny_dynamic_range.tflite', 'as_is')\n"
        "@pytest.mark.parametrize('edge_variant', [V], ids=['mine'])\n"
        "def test_it(edge_variant, edge_target):\n"
        "    assert_size_within(edge_variant, '1 MiB')\n"
    )
    result = project.run("--edge-target=nano33ble")
    result.assert_outcomes(failed=1)  # dynamic_range never runs on nano33ble


def test_a_quantized_file_needs_no_samples(project: Project) -> None:
    project.conftest(model="tiny_int8", dataset=False, calibration=False)
    project.test("def test_it(edge_variant): assert_size_within(edge_variant, '6 KiB')\n")
    project.run("--edge-target=pico").assert_outcomes(passed=1)


def test_another_form_by_name_is_not_derivable_without_samples(project: Project) -> None:
    project.conftest(model="tiny_int8_float_io", dataset=False, calibration=False)
    project.test("def test_it(edge_int8): pass\n")
    result = project.run("--edge-target=pico")
    result.stdout.fnmatch_lines(["*NotDerivableError: *"])


def test_other_parameters_are_not_part_of_the_models_name(project: Project) -> None:
    project.conftest(
        TWO_MODELS.replace('"tiny_int8", "tiny_float32"', '"tiny_int8"').replace(', "letters"', ""),
        model=None,
    )
    project.test(
        "@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_it(edge_model, edge_variant, n): assert edge_variant.model_name == 'digits'\n"
    )
    project.run("--edge-target=pico", "--edge-variant=int8").assert_outcomes(passed=2)


def test_other_parameters_do_not_name_a_model_of_bytes(project: Project) -> None:
    project.conftest(
        "@pytest.fixture\ndef edge_model(): return open(DATA + '/tiny_int8.tflite', 'rb').read()\n",
        model=None,
    )
    project.test(
        "@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_it(edge_variant, n): assert edge_variant.model_name == 'model'\n"
        "@pytest.mark.parametrize('edge_variant', ['int8'])\n"
        "def test_own(edge_variant): assert edge_variant.model_name == 'model'\n"
    )
    project.run("--edge-target=pico", "--edge-variant=int8").assert_outcomes(passed=3)


def test_a_path_objects_parametrization_without_ids_is_named_by_its_stem(project: Project) -> None:
    project.conftest(
        "from pathlib import Path\n"
        "@pytest.fixture(params=[Path(DATA) / 'tiny_int8.tflite'])\n"
        "def edge_model(request): return request.param\n",
        model=None,
    )
    project.test("def test_it(edge_model, edge_int8): assert edge_int8.model_name == 'tiny_int8'\n")
    project.run("--edge-target=pico").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    "call",
    [
        "evaluate(edge_int8, edge_dataset)",
        "assert_max_accuracy_drop(edge_int8, edge_int8, edge_dataset, 0.1)",
        "x, y = edge_dataset",
        "convert(DATA + '/tiny_float32.tflite', 'int8', calibration=edge_calibration)",
    ],
)
def test_an_undefined_input_shows_no_frame_of_ours(project: Project, call: str) -> None:
    project.conftest(dataset=False, calibration=False)
    project.test(f"def test_it(edge_int8, edge_dataset, edge_calibration):\n    {call}\n")
    result = project.run("--edge-target=pico")
    result.assert_outcomes(failed=1)
    assert own_frames(failures(result)) == []


def test_convert_of_an_undefined_model_names_the_fixture(project: Project) -> None:
    project.test("def test_it(edge_model): convert(edge_model, 'int8')\n")
    result = project.run()
    result.stdout.fnmatch_lines(["*the fixture edge_model is not defined*"])


def test_one_damaged_conversion_is_counted_once(project: Project) -> None:
    project.conftest(model="tiny_float32")
    project.test("def test_it(edge_int16x8): pass\n")
    project.run("--edge-target=pico", cache=project.cache).assert_outcomes(passed=1)
    (path,) = project.cache.rglob("*.tflite")
    path.write_bytes(b"")
    result = project.run("--edge-target=pico", cache=project.cache)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["cache: 1 damaged *"])


@pytest.mark.parametrize("marker", ["target='nano33bel'", "variant='int9'"])
def test_an_unknown_name_in_a_marker_names_the_test(project: Project, marker: str) -> None:
    project.test(f"@pytest.mark.edge({marker})\ndef test_bad(edge_variant): pass\n")
    result = project.run()
    result.stdout.fnmatch_lines(["*test_bad*unknown*"])


def test_k_nothing_says_in_red_that_nothing_was_gated(project: Project) -> None:
    project.conftest()
    project.test("def test_it(edge_int8): pass\n")
    result = project.run("--edge-target=pico", "-k", "nothing")
    assert result.ret == 5
    result.stdout.fnmatch_lines(["*nothing was gated*"])


@pytest.mark.parametrize(
    "file, text, said",
    [
        ("pyproject.toml", '[tool.edgequant]\ntarget = "pico"\n', "*edgequant]: target = pico: "),
        ("pytest.ini", "[pytest]\nedge_target = pico, esp32\n", "edge_target=pico,esp32: "),
    ],
)
def test_a_configured_target_that_nothing_was_gated_on_is_red(
    project: Project, file: str, text: str, said: str
) -> None:
    project.conftest()
    project.write(file, text)
    project.test("def test_it(edge_int8): assert_size_within(edge_int8, '6 KiB')\n")
    project.test("def test_other(): pass\n", "test_other")
    assert project.run().ret == 0
    result = project.run("test_other.py")
    assert result.ret == 5
    result.stdout.fnmatch_lines([f"{said}nothing was gated. *-m edge*-p no:edgequant"])
    assert project.run("test_other.py", "-p", "no:edgequant").ret != 5


@pytest.mark.parametrize("flag", ["--fixtures", "--fixtures-per-test", "--setup-only"])
def test_what_runs_no_test_reports_nothing(project: Project, flag: str) -> None:
    project.conftest()
    project.test("def test_it(edge_int8): assert_size_within(edge_int8, '6 KiB')\n")
    result = project.run("--edge-target=pico", flag, "--edge-report=out.json")
    assert result.ret == 0
    assert "nothing was gated" not in result.stdout.str()
    assert not (project.path / "out.json").exists()


def test_a_bad_own_target_is_a_usage_error_also_when_it_is_not_used(project: Project) -> None:
    project.write(
        "pyproject.toml", '[tool.edgequant.targets.mine]\nbase = "pico"\nflahs = "1 MiB"\n'
    )
    project.test("def test_it(): pass\n")
    assert project.run().ret == 4


def test_an_empty_target_is_a_usage_error(project: Project) -> None:
    project.write("pyproject.toml", '[tool.edgequant]\ntarget = "pico"\n')
    project.test("def test_it(edge_target): assert edge_target.name == 'pico'\n")
    result = project.run("--edge-target=", "-v")
    assert result.ret == 4 or result.parseoutcomes() == {"passed": 1}


def test_a_message_says_where_the_value_stands(project: Project) -> None:
    project.write("pytest.ini", "[pytest]\nedge_report = out.xml\n")
    result = project.run()
    result.stderr.fnmatch_lines(["*edge_report*"])
    assert "--edge-report:" not in result.stderr.str()


def test_one_cell_in_the_table_of_a_variant_that_was_skipped(project: Project) -> None:
    project.conftest()
    project.test("def test_it(edge_variant): assert_fully_integer(edge_variant)\n")
    lines = summary(project.run("--edge-target=nano33ble"))
    assert not any("CANNOT RUN: runs" in line for line in lines)


def test_a_form_that_cannot_be_made_is_not_said_to_be_refused_by_the_target(
    project: Project,
) -> None:
    project.conftest()
    project.test("def test_it(edge_variant): assert_fully_integer(edge_variant)\n")
    result = project.run("--edge-target=rpi4")
    assert "tiny_int8/float32 cannot run on rpi4" not in result.stdout.str()
