"""Evaluation as a project sees it: preprocessing, runtimes, and what the report says of them."""

from __future__ import annotations

from edge_project import Project, needs_tflm

RAW = """
@pytest.fixture(scope="session")
def edge_dataset():
    stored = np.load(DATA + "/tiny.npz")
    return stored["x"], stored["y"]

@pytest.fixture(scope="session")
def edge_preprocess():
    return lambda x: (x / 16).astype(np.float32)
"""
GATE = """
def test_it(edge_int8, edge_float32, edge_dataset, edge_preprocess):
    assert_max_accuracy_drop(
        edge_int8, edge_float32, edge_dataset, 0.03, min_accuracy=0.9, preprocess=edge_preprocess
    )
"""


def test_raw_samples_are_preprocessed_for_the_split_and_the_evaluation(project: Project) -> None:
    project.conftest(RAW, model="tiny_float32", dataset=False, calibration=False)
    project.test(GATE)
    project.run("--edge-target=host").assert_outcomes(passed=1)


def test_without_a_hook_there_is_none(project: Project) -> None:
    project.conftest()
    project.test("def test_it(edge_preprocess): assert edge_preprocess is None\n")
    project.run().assert_outcomes(passed=1)


@needs_tflm
def test_the_report_says_which_runtime_and_how_many_samples(project: Project) -> None:
    project.conftest()
    project.test("def test_it(edge_int8, edge_dataset): evaluate(edge_int8, edge_dataset)\n")
    report = project.report("--edge-target=pico", "--edge-tflm-macs=1")
    (result,) = report.document["results"]
    assert result["metrics"]["accuracy"]["provenance"] == (
        "measured (TFLM's interpreter on this host, 100 of 397 samples, a stratified part)"
    )


@needs_tflm
def test_runtime_parity_is_a_gate(project: Project) -> None:
    project.conftest()
    project.test(
        "def test_near(edge_int8, edge_dataset):\n"
        "    assert_runtime_parity(edge_int8, edge_dataset, max_steps=8)\n"
        "def test_far(edge_int8, edge_dataset):\n"
        "    assert_runtime_parity(edge_int8, edge_dataset, max_steps=0)\n"
    )
    report = project.report("--edge-target=pico")
    report.result.assert_outcomes(passed=1, failed=1)
    assert sorted(report.verdicts()) == [
        ("int8", "runtime_parity", "fail"),
        ("int8", "runtime_parity", "pass"),
    ]
