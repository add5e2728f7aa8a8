"""edge_qat_int8 and edge_training: what a project defines, and what it reads when it does not."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from edge_project import Project, failures, own_frames, summary

_KERAS = """
@pytest.fixture(scope="session")
def edge_model():
    return DATA + "/tiny.keras"
"""
_TRAINING = """
@pytest.fixture(scope="session")
def edge_training():
    data = samples()
    return TrainingRecipe(data=(data["x"][:200], data["y"][:200]), epochs=1)
"""
_TEST = """
def test_it(edge_int8, edge_qat_int8, edge_float32, edge_dataset):
    assert_max_accuracy_drop(edge_int8, edge_float32, edge_dataset, 0.05)
    assert_max_accuracy_drop(edge_qat_int8, edge_float32, edge_dataset, 0.05)
    assert edge_qat_int8.training.epochs == 1
"""


def test_without_training_data_the_error_names_the_fixture(project: Project) -> None:
    project.conftest(_KERAS, model=None)
    project.test("def test_it(edge_qat_int8): pass\n")
    result = project.run()
    result.assert_outcomes(errors=1)
    text = failures(result)
    assert "define the fixture edge_training" in text
    assert not own_frames(text)


def test_a_converted_file_can_not_be_trained(project: Project) -> None:
    project.conftest(_TRAINING)
    project.test("def test_it(edge_qat_int8): pass\n")
    result = project.run()
    result.assert_outcomes(errors=1)
    assert "the file is int8 already, qat_int8 can't be made from it" in failures(result)


def test_it_is_no_variant_of_a_target_unless_asked_for(project: Project) -> None:
    project.conftest(_KERAS, _TRAINING, model=None)
    project.test("def test_it(edge_variant): pass\n")
    assert "qat_int8" not in " ".join(project.collected("--edge-target=rpi4"))
    asked = project.collected("--edge-target=nano33ble", "--edge-variant=qat-int8")
    assert asked == ["nano33ble-qat_int8"]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs TensorFlow")
def test_trained_beside_calibrated(project: Project) -> None:
    project.conftest(_KERAS, _TRAINING, model=None)
    project.test(_TEST)
    result = project.run("--edge-target=nano33ble")
    result.assert_outcomes(passed=1)
    lines = summary(result)
    assert any(line.startswith("qat_int8 ") for line in lines)
    assert any("int8 loses" in line and "qat_int8 loses" in line for line in lines)
