"""Fixtures: scopes, what is made once, requests that pytest can't parametrize, names, metrics."""

# Over 400 lines: what fixtures promise belongs together, and every test is a project of its own.

from __future__ import annotations

from typing import Any

import pytest
from edge_project import Project, failures, own_frames, summary

from pytest_edgequant.conversion.order import Order
from pytest_edgequant.pipeline.conversions import Conversions


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The variants whose conversion was asked of the converter, in order."""
    made: list[str] = []
    convert = Conversions._converted

    def counted(self: Conversions, source: Any, order: Order) -> Any:
        made.append(order.spec.name)
        return convert(self, source, order)

    monkeypatch.setattr(Conversions, "_converted", counted)
    return made


# -- scopes ---------------------------------------------------------------------------------------


def test_edge_target_may_be_used_by_session_fixtures(project: Project) -> None:
    project.conftest(
        "@pytest.fixture(scope='session')\n"
        "def firmware(edge_target): return f'firmware for {edge_target.name}'\n"
    )
    project.test(
        "def test_it(firmware, edge_variant, edge_target):\n"
        "    assert firmware == f'firmware for {edge_target.name}'\n"
        "    assert edge_variant.target == edge_target\n"
    )
    result = project.run("--edge-target=nano33ble,pico", "--edge-variant=int8")
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("scope", ["function", "class", "module", "package", "session"])
def test_inputs_may_have_any_scope(project: Project, scope: str) -> None:
    project.conftest(
        f"""
@pytest.fixture(scope={scope!r})
def edge_model(): return DATA + "/tiny_float32.tflite"
@pytest.fixture(scope={scope!r})
def edge_dataset(): return samples()["x"], samples()["y"]
@pytest.fixture(scope={scope!r})
def edge_calibration(): return samples()["x_calibration"]
@pytest.fixture(scope={scope!r})
def edge_metric(): return "top-1"
""",
        model=None,
        dataset=False,
        calibration=False,
    )
    project.test(
        "def test_it(edge_variant, edge_float32, edge_dataset, edge_metric):\n"
        "    assert_max_accuracy_drop(\n"
        "        edge_variant, edge_float32, edge_dataset, 0.02, metric=edge_metric)\n"
    )
    project.run("--edge-variant=int8,float16").assert_outcomes(passed=2)


def test_a_module_may_have_its_own_model(project: Project) -> None:
    project.conftest()
    project.test("def test_it(edge_int8): assert edge_int8.model_name == 'tiny_int8'\n")
    project.test(
        "@pytest.fixture(scope='module')\n"
        "def edge_model(): return DATA + '/tiny_uint8_io.tflite'\n"
        "def test_it(edge_uint8_io): assert edge_uint8_io.model_name == 'tiny_uint8_io'\n",
        "test_other",
    )
    project.run().assert_outcomes(passed=2)


def test_wider_fixtures_call_convert(project: Project) -> None:
    project.conftest(
        """
@pytest.fixture(scope="session")
def deployed(edge_model, edge_calibration, edge_target):
    return convert(edge_model, "int8", calibration=edge_calibration, target=edge_target)
""",
        model="tiny_float32",
    )
    project.test(
        "def test_it(deployed, edge_int8):\n"
        "    assert deployed.fingerprint == edge_int8.fingerprint\n"
        "    assert deployed.target == edge_int8.target == load_target('nano33ble')\n"
    )
    project.run("--edge-target=nano33ble").assert_outcomes(passed=1)


def test_variants_carry_their_target_and_model(project: Project) -> None:
    project.conftest()
    project.test(
        "def test_it(edge_int8, edge_target):\n"
        "    assert edge_int8.target == edge_target == load_target('pico')\n"
        "    assert edge_int8.label == 'tiny_int8/int8'\n"
        "    assert edge_int8.content == edge_int8.path.read_bytes()\n"
        "    assert edge_int8.size_bytes == len(edge_int8.content)\n"
    )
    project.run("--edge-target=pico").assert_outcomes(passed=1)


def test_load_target_knows_own_targets_inside_a_run(project: Project) -> None:
    project.write("pyproject.toml", '[tool.edgequant.targets.ours]\nbase = "pico"\n')
    project.test("def test_it(): assert load_target('ours').core == 'cortex-m0plus'\n")
    project.run().assert_outcomes(passed=1)


# -- once -----------------------------------------------------------------------------------------


def test_variants_are_converted_once_in_a_run(project: Project, conversions: list[str]) -> None:
    project.conftest(model="tiny_float32")
    project.test(
        "def test_one(edge_variant): pass\n"
        "def test_two(edge_variant, edge_int8): assert edge_int8.name == 'int8'\n"
        "class TestIt:\n    def test_three(self, edge_int8, edge_int16x8): pass\n"
    )
    arguments = ("--edge-target=nano33ble,rpi4", "--edge-variant=int8,int16x8")
    project.run(*arguments, cache=project.cache).assert_outcomes(passed=10)
    assert sorted(conversions) == ["int16x8", "int8"]


def test_variants_are_converted_once_over_several_runs(
    project: Project, conversions: list[str]
) -> None:
    project.conftest(model="tiny_float32")
    project.test("def test_it(edge_int8): pass\n")
    for _ in range(2):
        project.run(cache=project.cache).assert_outcomes(passed=1)
    assert conversions == ["int8"]


def test_no_cache_converts_once_in_each_run(project: Project, conversions: list[str]) -> None:
    project.conftest(model="tiny_float32")
    project.test("def test_one(edge_int8): pass\ndef test_two(edge_int8): pass\n")
    for _ in range(2):
        project.run("--edge-no-cache").assert_outcomes(passed=2)
    assert conversions == ["int8", "int8"]


def test_a_failing_conversion_is_tried_once(project: Project, conversions: list[str]) -> None:
    project.conftest(
        "@pytest.fixture\ndef edge_calibration(): return np.zeros((200, 8, 8, 1), np.float32)\n",
        model="tiny_float32",
        calibration=False,
    )
    project.test("def test_one(edge_int8): pass\ndef test_two(edge_int8): pass\n")
    result = project.run(cache=project.cache)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*CalibrationError: *every value of 'image' is 0*use real ones*"])
    assert conversions == ["int8"]


def test_another_calibration_is_another_conversion(
    project: Project, conversions: list[str]
) -> None:
    project.conftest(model="tiny_float32")
    project.test("def test_it(edge_int8): pass\n")
    project.test(
        "@pytest.fixture\ndef edge_calibration(): return samples()['x_calibration'][:150]\n"
        "def test_it(edge_int8): pass\n",
        "test_other",
    )
    project.run(cache=project.cache).assert_outcomes(passed=2)
    assert conversions == ["int8", "int8"]


def test_a_size_test_loads_no_dataset(project: Project) -> None:
    project.conftest(
        "@pytest.fixture(scope='session')\ndef edge_dataset(): raise AssertionError('loaded')\n",
        model="tiny_float32",
        dataset=False,
    )
    project.test("def test_it(edge_int8): assert_size_within(edge_int8, '6 KiB')\n")
    project.run().assert_outcomes(passed=1)


def test_uncalibrated_forms_ask_for_no_samples(project: Project) -> None:
    project.conftest(
        "@pytest.fixture\ndef edge_calibration(): raise AssertionError('loaded')\n",
        model="tiny_float32",
        calibration=False,
    )
    project.test("def test_it(edge_float32, edge_dynamic_range): pass\n")
    project.run().assert_outcomes(passed=1)


# -- requests that pytest can't parametrize -------------------------------------------------------

UNITTEST = """
import unittest

class TestIt(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def inputs(self, {fixture}):
        self.given = {fixture}

    def test_it(self):
        self.assertEqual(self.given.name, {name!r})
"""


def test_getfixturevalue_gives_the_only_target_and_variant(project: Project) -> None:
    project.conftest()
    project.test(
        "def test_it(request):\n"
        "    variant = request.getfixturevalue('edge_variant')\n"
        "    assert variant.name == 'int8'\n"
        "    assert variant.target == request.getfixturevalue('edge_target')\n"
        "    assert variant.target.name == 'pico'\n"
    )
    project.run("--edge-target=pico", "--edge-variant=int8").assert_outcomes(passed=1)


def test_getfixturevalue_gives_a_named_variant(project: Project) -> None:
    project.conftest()
    project.test(
        "def test_it(request):\n"
        "    assert request.getfixturevalue('edge_int8').target.name == 'pico'\n"
    )
    project.run("--edge-target=pico").assert_outcomes(passed=1)


def test_getfixturevalue_of_an_own_target_with_one_variant(project: Project) -> None:
    project.write(
        "pyproject.toml", '[tool.edgequant.targets.ours]\nbase = "pico"\nvariants = ["int8"]\n'
    )
    project.conftest()
    project.test(
        "def test_it(request):\n    assert request.getfixturevalue('edge_variant').name == 'int8'\n"
    )
    project.run("--edge-target=ours").assert_outcomes(passed=1)


@pytest.mark.parametrize("fixture, name", [("edge_variant", "int8"), ("edge_target", "pico")])
def test_unittest_classes_get_the_only_one(project: Project, fixture: str, name: str) -> None:
    project.conftest()
    project.test(UNITTEST.format(fixture=fixture, name=name))
    project.run("--edge-target=pico", "--edge-variant=int8").assert_outcomes(passed=1)


@pytest.mark.parametrize("form", ["getfixturevalue", "unittest"])
def test_several_variants_are_a_usage_error_that_says_what_to_do(
    project: Project, form: str
) -> None:
    project.conftest(model="tiny_float32")
    project.test(
        UNITTEST.format(fixture="edge_variant", name="int8")
        if form == "unittest"
        else "def test_it(request): request.getfixturevalue('edge_variant')\n"
    )
    result = project.run("--edge-target=pico")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*UsageError: edge_variant *can't parametrize*several: pico has float32, int8*Make it an "
         "argument of a test function, or give one --edge-variant, or use a named fixture*"]
    )  # fmt: skip
    assert own_frames(failures(result)) == []


@pytest.mark.parametrize("form", ["getfixturevalue", "unittest"])
def test_several_targets_are_a_usage_error_that_says_what_to_do(
    project: Project, form: str
) -> None:
    project.conftest()
    project.test(
        UNITTEST.format(fixture="edge_int8", name="int8")
        if form == "unittest"
        else "def test_it(request): request.getfixturevalue('edge_int8')\n"
    )
    result = project.run("--edge-target=pico,esp32")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*UsageError: edge_target *can't parametrize*there are several: pico, esp32. Make it an "
         "argument of a test function, or give one --edge-target*"]
    )  # fmt: skip
    assert own_frames(failures(result)) == []


# -- what the user must define --------------------------------------------------------------------


@pytest.mark.parametrize("fixture", ["edge_variant", "edge_int8"])
def test_an_undefined_model_names_the_fixture(project: Project, fixture: str) -> None:
    project.test(f"def test_it({fixture}): pass\ndef test_other(): pass\n")
    result = project.run("--edge-variant=int8")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(
        ["*UsageError: the fixture edge_model is not defined; define it in conftest.py*"]
    )
    assert own_frames(failures(result)) == []


def test_an_undefined_dataset_names_the_fixture(project: Project) -> None:
    project.conftest(dataset=False)
    project.test("def test_it(edge_int8, edge_dataset): evaluate(edge_int8, edge_dataset)\n")
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*SettingsError: the fixture edge_dataset is not defined; define*"]
    )


def test_no_samples_at_all_name_both_fixtures(project: Project) -> None:
    project.conftest(model="tiny_float32", dataset=False, calibration=False)
    project.test("def test_it(edge_int8): pass\n")
    result = project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*CalibrationError: *tiny_float32.tflite: int8 needs representative samples: define the "
         "fixture edge_calibration *or edge_dataset*"]
    )  # fmt: skip


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["str", "Path"])
def test_the_name_is_the_files_stem(project: Project, form: str) -> None:
    project.conftest(
        "from pathlib import Path\n"
        f"@pytest.fixture\ndef edge_model(): return {form}(DATA + '/tiny_int8.tflite')\n",
        model=None,
    )
    project.test(
        "def test_it(edge_int8, edge_model_name):\n"
        "    assert edge_int8.model_name == edge_model_name == 'tiny_int8'\n"
    )
    result = project.run("--edge-target=pico")
    result.assert_outcomes(passed=1)
    assert "tiny_int8 on pico" in summary(result)


def test_the_name_is_the_parametrizations_id(project: Project) -> None:
    project.conftest(
        "@pytest.fixture(params=[DATA + '/tiny_int8.tflite'], ids=['digits'])\n"
        "def edge_model(request): return request.param\n",
        model=None,
    )
    project.test(
        "def test_by_both(edge_model, edge_variant): assert edge_variant.label == 'digits/int8'\n"
        "def test_by_target(edge_model, edge_int8): assert edge_int8.model_name == 'digits'\n"
        "def test_alone(edge_model, edge_model_name): assert edge_model_name == 'digits'\n"
    )
    result = project.run("--edge-target=pico", "--edge-variant=int8")
    result.assert_outcomes(passed=3)
    assert "digits on pico" in summary(result)


def test_the_name_of_bytes_is_model(project: Project) -> None:
    project.conftest(
        "@pytest.fixture\ndef edge_model(): return open(DATA + '/tiny_int8.tflite', 'rb').read()\n",
        model=None,
    )
    project.test("def test_it(edge_variant): assert edge_variant.model_name == 'model'\n")
    project.run("--edge-target=pico", "--edge-variant=int8").assert_outcomes(passed=1)


def test_the_name_may_be_overridden(project: Project) -> None:
    project.conftest("@pytest.fixture\ndef edge_model_name(): return 'digits v2'\n")
    project.test("def test_it(edge_int8): assert_size_within(edge_int8, '6 KiB')\n")
    result = project.run("--edge-target=pico")
    result.assert_outcomes(passed=1)
    assert "digits v2 on pico" in summary(result)


def test_two_models_are_two_tables(project: Project) -> None:
    project.conftest()
    project.test("def test_it(edge_int8): assert_size_within(edge_int8, '6 KiB')\n")
    project.test(
        "@pytest.fixture\ndef edge_model(): return DATA + '/tiny_uint8_io.tflite'\n"
        "def test_it(edge_uint8_io): assert_size_within(edge_uint8_io, '6 KiB')\n",
        "test_other",
    )
    lines = summary(project.run("--edge-target=pico"))
    assert "tiny_int8 on pico" in lines
    assert "tiny_uint8_io on pico" in lines


# -- metrics --------------------------------------------------------------------------------------


def test_the_metric_may_be_a_callable(project: Project) -> None:
    project.conftest(
        """
def top2(y_true, y_pred):
    return np.mean([t in p.argsort()[-2:] for t, p in zip(y_true, y_pred, strict=True)])

@pytest.fixture
def edge_metric(): return top2
"""
    )
    project.test(
        "def test_it(edge_int8, edge_dataset, edge_metric):\n"
        "    assert evaluate(edge_int8, edge_dataset, metric=edge_metric).value > 0.98\n"
    )
    run = project.report("--edge-target=pico")
    assert "top2" in run.document["results"][0]["metrics"]
    assert any("top2" in line for line in summary(run.result))


def test_the_metric_is_top1_accuracy_by_default(project: Project) -> None:
    project.conftest()
    project.test(
        "def test_it(edge_int8, edge_dataset, edge_metric):\n"
        "    assert edge_metric == 'accuracy'\n"
        "    x, y = edge_dataset\n"
        "    share = (edge_int8.predict(x).argmax(axis=1) == y).mean()\n"
        "    assert evaluate(edge_int8, edge_dataset, metric=edge_metric).value == share\n"
    )
    project.run().assert_outcomes(passed=1)


def test_a_metric_that_raises_is_named(project: Project) -> None:
    project.conftest("@pytest.fixture\ndef edge_metric(): return lambda y_true, y_pred: 1 / 0\n")
    project.test(
        "def test_it(edge_int8, edge_dataset, edge_metric):\n"
        "    evaluate(edge_int8, edge_dataset, metric=edge_metric)\n"
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*MetricError: tiny_int8/int8: the metric '<lambda>' raised ZeroDivisionError: *"]
    )
