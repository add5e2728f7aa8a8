"""Representative samples: the user's, or a split of the evaluation set that nobody evaluates on."""

from __future__ import annotations

import pytest
from edge_project import Project, summary

SPLIT = (
    "*calibration: 198 of 397 samples split off edge_dataset (no edge_calibration is defined) and "
    "left out of the evaluation"
)
COUNTS = """
def test_int8(edge_int8, edge_float32, edge_dataset):
    assert evaluate(edge_int8, edge_dataset).count == COUNT
    assert evaluate(edge_float32, edge_dataset).count == COUNT
    assert compare_accuracy(edge_int8, edge_float32, edge_dataset).count == COUNT
    assert_max_accuracy_drop(edge_int8, edge_float32, edge_dataset, 0.03)

def test_float32_alone(edge_float32, edge_dataset):
    assert evaluate(edge_float32, edge_dataset).count == COUNT

def test_float16(edge_float16, edge_dataset):
    assert evaluate(edge_float16, edge_dataset).count == COUNT
"""


@pytest.fixture
def float_model(project: Project) -> Project:
    """A float32 .tflite, evaluated, without calibration samples."""
    project.conftest(model="tiny_float32", calibration=False)
    return project


def test_without_calibration_samples_are_split_off_and_left_out_everywhere(
    float_model: Project,
) -> None:
    float_model.test(COUNTS.replace("COUNT", "199"))
    float_model.run("--edge-target=rpi4").assert_outcomes(passed=3)


def test_with_calibration_nothing_is_left_out(project: Project) -> None:
    project.conftest(model="tiny_float32")
    project.test(COUNTS.replace("COUNT", "397"))
    result = project.run("--edge-target=rpi4")
    result.assert_outcomes(passed=3)
    assert "split off" not in result.stdout.str()


def test_the_summary_says_once_that_samples_were_split_off(float_model: Project) -> None:
    float_model.test(
        "def test_one(edge_variant, edge_float32, edge_dataset):\n"
        "    assert_max_accuracy_drop(edge_variant, edge_float32, edge_dataset, 0.03)\n"
        "def test_two(edge_int8): assert_size_within(edge_int8, '6 KiB')\n"
    )
    result = float_model.run("--edge-target=pico,rpi4")
    result.assert_outcomes(passed=14)
    lines = [line for line in summary(result) if "split off" in line]
    assert len(lines) == 1, lines
    result.stdout.fnmatch_lines([SPLIT])
    assert "int8" in lines[0].split(":")[0]


def test_the_split_is_the_same_in_every_run(float_model: Project) -> None:
    float_model.test(
        "def test_it(edge_int8, edge_dataset):\n"
        "    with open('seen', 'a') as f: print(edge_int8.fingerprint, file=f)\n"
        "    with open('seen', 'a') as f: print(evaluate(edge_int8, edge_dataset).value, file=f)\n"
    )
    for _ in range(2):
        float_model.run("--edge-no-cache").assert_outcomes(passed=1)
    first, second, third, fourth = (float_model.path / "seen").read_text().split()
    assert (first, second) == (third, fourth)


def test_the_notes_are_in_the_report(float_model: Project) -> None:
    float_model.test("def test_it(edge_int8): assert_size_within(edge_int8, '6 KiB')\n")
    run = float_model.report("--edge-target=pico")
    (entry,) = run.document["results"]
    assert any("split off edge_dataset" in note for note in entry["notes"])


def test_few_samples_are_noted(project: Project) -> None:
    project.conftest(
        "@pytest.fixture\ndef edge_calibration(): return samples()['x_calibration'][:20]\n",
        model="tiny_float32",
        calibration=False,
    )
    project.test("def test_it(edge_int8): assert_size_within(edge_int8, '6 KiB')\n")
    result = project.run("--edge-target=pico")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["*calibration: 20 samples from edge_calibration, fewer than *100*"]
    )


def test_labelled_calibration_that_misses_a_class_is_noted(project: Project) -> None:
    project.conftest(
        "@pytest.fixture\n"
        "def edge_calibration():\n"
        "    s = samples()\n"
        "    x, y = s['x_calibration'], s['y_calibration']\n"
        "    return x[y != 7], y[y != 7]\n",
        model="tiny_float32",
        calibration=False,
    )
    project.test("def test_it(edge_int8): assert_size_within(edge_int8, '6 KiB')\n")
    result = project.run("--edge-target=pico")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*calibration: no sample of class 7; *"])


CALIBRATIONS = {
    "array": "return x",
    "list of samples": "return list(x)",
    "function": "return lambda: x",
    "generator": "return (sample for sample in x)",
    "generator of batches": "return (x[i : i + 50] for i in range(0, 200, 50))",
    "dict": "return {'image': x}",
    "with labels": "return x, samples()['y_calibration']",
}


@pytest.mark.parametrize("form", CALIBRATIONS)
def test_calibration_may_come_in_many_forms(project: Project, form: str) -> None:
    project.conftest(
        "@pytest.fixture\n"
        "def edge_calibration():\n"
        "    x = samples()['x_calibration']\n"
        f"    {CALIBRATIONS[form]}\n",
        model="tiny_float32",
        calibration=False,
    )
    project.test(
        "def test_it(edge_int8):\n"
        "    x = samples()['x_calibration']\n"
        "    model = DATA + '/tiny_float32.tflite'\n"
        "    assert edge_int8.content == convert(model, 'int8', calibration=x).content\n"
    )
    project.run("--edge-target=pico").assert_outcomes(passed=1)


# -- datasets -------------------------------------------------------------------------------------

BATCHES = "((x[i : i + 50], y[i : i + 50]) for i in range(0, len(x), 50))"
DATASETS = {
    "list of batches": f"return list({BATCHES})",
    "function of arrays": "return lambda: (x, y)",
    "function of a generator": f"return lambda: {BATCHES}",
}


@pytest.mark.parametrize("form", DATASETS)
@pytest.mark.parametrize("calibration", [True, False])
def test_datasets_that_serve_every_evaluation(
    project: Project, form: str, calibration: bool
) -> None:
    project.conftest(
        "@pytest.fixture(scope='session')\n"
        "def edge_dataset():\n"
        "    x, y = samples()['x'], samples()['y']\n"
        f"    {DATASETS[form]}\n",
        model="tiny_float32",
        dataset=False,
        calibration=calibration,
    )
    count = 397 if calibration else 199
    project.test(
        "def test_it(edge_variant, edge_float32, edge_dataset):\n"
        "    assert_max_accuracy_drop(edge_variant, edge_float32, edge_dataset, 0.03)\n"
        f"    assert evaluate(edge_variant, edge_dataset).count == {count}\n"
    )
    project.run("--edge-target=pico", "--edge-variant=int8,int16x8").assert_outcomes(passed=2)


GENERATOR = """
@pytest.fixture(scope="session")
def edge_dataset():
    x, y = samples()["x"], samples()["y"]
    return ((x[i : i + 50], y[i : i + 50]) for i in range(0, len(x), 50))
"""


def test_a_generator_serves_one_evaluation_and_the_next_says_so(project: Project) -> None:
    project.conftest(GENERATOR, dataset=False)
    project.test(
        "def test_one(edge_int8, edge_dataset): evaluate(edge_int8, edge_dataset)\n"
        "def test_two(edge_int8, edge_dataset): evaluate(edge_int8, edge_dataset)\n"
    )
    result = project.run("--edge-target=pico")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*DatasetError: edge_dataset: no samples: a generator serves one evaluation only, and "
         "this one is used up; return arrays, or a function that makes a fresh generator"]
    )  # fmt: skip


def test_nothing_is_split_off_a_generator_and_the_error_says_so(project: Project) -> None:
    project.conftest(GENERATOR, model="tiny_float32", dataset=False, calibration=False)
    project.test(
        "def test_it(edge_int8, edge_dataset): pass\n"
        "def test_other(edge_float32, edge_dataset):\n"
        "    assert evaluate(edge_float32, edge_dataset).count == 397\n"
    )
    result = project.run("--edge-target=pico")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(
        ["*CalibrationError: edge_dataset is a generator, which serves one evaluation only, so no "
         "samples can be split off: define the fixture edge_calibration, or return *"]
    )  # fmt: skip


@pytest.mark.parametrize("form", ["int8", "dynamic_range", "uint8_io"])
def test_a_quantized_file_needs_no_samples_and_leaves_none_out(project: Project, form: str) -> None:
    project.conftest(model=f"tiny_{form}", calibration=False)
    project.test(
        f"def test_it(edge_{form}, edge_dataset):\n"
        f"    assert evaluate(edge_{form}, edge_dataset).count == 397\n"
    )
    result = project.run("--edge-target=rpi4")
    result.assert_outcomes(passed=1)
    assert "split off" not in result.stdout.str()


def test_a_quantized_file_needs_no_calibration(project: Project) -> None:
    project.conftest(model="tiny_int8", calibration=False)
    project.test("def test_it(edge_variant): assert_size_within(edge_variant, '6 KiB')\n")
    result = project.run("--edge-target=pico")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*CalibrationError*")
