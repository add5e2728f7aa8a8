"""Budgets of the configuration: which limit holds for a variant on a target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_edgequant.configuration import read_configuration
from pytest_edgequant.errors import SettingsError
from pytest_edgequant.gate.configured.tables import ModelTable, read_models
from pytest_edgequant.samples.files import load_inputs
from pytest_edgequant.targets import Targets
from pytest_edgequant.toml import line_of

TEXT = """
[models.zebra]
model = "z.tflite"

[models.zebra.budgets]
size = "64 KiB"
arena = "50%"
latency = { max = "9 ms", on = "stm32*" }
int8 = { size = "32 KiB", arena = "40%" }
[models.zebra.budgets."Nano 33 BLE"]
arena = "30%"
int8.arena = "20%"
"""


@pytest.fixture
def zebra(tmp_path: Path) -> ModelTable:
    (tmp_path / "edgequant.toml").write_text(TEXT, "utf-8")
    (found,) = read_models(read_configuration(tmp_path / "pyproject.toml"), Targets())
    return found


@pytest.mark.parametrize(
    "target, variant, limits",
    [
        ("pico", "float32", {"size": "64 KiB", "arena": "50%"}),
        ("pico", "int8", {"size": "32 KiB", "arena": "40%"}),
        ("nano33ble", "float32", {"size": "64 KiB", "arena": "30%"}),
        ("nano33ble", "int8", {"size": "32 KiB", "arena": "20%"}),
        ("stm32f746", "int8", {"size": "32 KiB", "arena": "40%", "latency": "9 ms"}),
    ],
)
def test_the_closest_limit_holds(
    zebra: ModelTable, target: str, variant: str, limits: dict[str, Any]
) -> None:
    (board, *_) = Targets().expand(f"{target}*")
    assert {n: b.value for n, b in zebra.limits(board, variant).items()} == limits


def test_places_have_the_line_and_paths_are_relative_to_the_file(zebra: ModelTable) -> None:
    assert zebra.path == zebra.file.path.parent / "z.tflite"
    assert zebra.place("budgets", "size") == "edgequant.toml:6: [models.zebra.budgets] size"
    assert zebra.place("dataset") == "edgequant.toml:2: [models.zebra] dataset"
    assert line_of('a.b = 1\n["x y"."z"]\nk = 2', ["x y", "z", "k"]) == 3
    assert line_of("a = 1", ["b"]) is None


def test_a_file_of_its_own_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    def refusal(text: str) -> str:
        (tmp_path / "edgequant.toml").write_text(text, "utf-8")
        with pytest.raises(SettingsError) as caught:
            read_configuration(tmp_path / "pyproject.toml")
        return str(caught.value)

    twice = '[models.a]\nmodel = "a"\n[models.b]\n[models.a]\nmodel = "b"\n'
    said = refusal(twice)
    assert said.startswith("edgequant.toml: not valid TOML: [models.a]: two models of one name")
    assert "line 4" in said
    assert "rename one" in said
    assert refusal("models = [").startswith("edgequant.toml: not valid TOML: Invalid value (at ")
    assert "Did you mean models" in refusal("[modells.a]\n")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_samples_in_a_file(tmp_path: Path, name: str) -> None:
    held, other = np.ones((3, 2)), np.zeros((4, 2))
    if name.endswith("y"):
        np.save(tmp_path / name, held)
    else:
        np.savez(tmp_path / name, x=other, x_validation=held, y=other)
    assert np.array_equal(load_inputs(tmp_path / name), held)
