"""The published schema of the configuration says what the parsers say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_edgequant.configuration import read_configuration
from pytest_edgequant.errors import SettingsError
from pytest_edgequant.gate.configured.schema import PUBLISHED, table_schema, tool_schema
from pytest_edgequant.gate.configured.tables import read_models
from pytest_edgequant.settings import OPTIONS, TABLES, resolve
from pytest_edgequant.targets import Targets
from pytest_edgequant.toml import load_toml

WHOLE = """
targets = ["nano33ble", "esp32"]
cache-dir = "c"

[models.digits]
model = "models/digits.keras"
dataset = "digits.data:test_split"
calibration = "data/c.npy"
training = "digits.data:train"
baseline = "models/float.tflite"
metric = "accuracy"
variants = ["int8", "dynamic_range", "qat_int8"]
targets = "nano33ble"

[models.digits.budgets]
max_accuracy_drop = "2 pt"
size = "64 KiB"
arena = "target"
latency = { max = "50 ms", on = ["nano33ble"] }
int8 = { size = 32768, arena = "80%" }
nano33ble = { latency = "40 ms", int8 = { arena = 0.5 } }

[models.sound]
model = "sound.tflite"
"""


def verdicts(text: str, folder: Path) -> tuple[bool, bool]:
    """Whether the schema and the parsers take a file."""
    document: Any = load_toml(text.encode(), "x")
    schema = jsonschema.Draft7Validator(table_schema()).is_valid(document)
    (folder / "edgequant.toml").write_text(text, "utf-8")
    try:
        found = read_configuration(folder / "pyproject.toml")
        resolve({}, {}, found.section, cwd=folder, rootdir=folder)
        read_models(found, Targets())
    except SettingsError:
        return schema, False
    return schema, True


def test_the_published_file_is_what_the_keys_give() -> None:
    assert json.loads(PUBLISHED.read_text("utf-8")) == table_schema() == tool_schema()
    jsonschema.Draft7Validator.check_schema(table_schema())
    assert {o.name for o in OPTIONS} | set(TABLES) <= table_schema()["properties"].keys()


def test_both_take_a_whole_configuration(tmp_path: Path) -> None:
    assert verdicts(WHOLE, tmp_path) == (True, True)


@pytest.mark.parametrize(
    "old, new",
    [
        ("targets = [", "targts = ["),
        ('model = "models/digits.keras"', "model = 1"),
        ('model = "sound.tflite"', ""),
        ('model = "sound.tflite"', 'model = "sound.tflite"\nsize = "1 KiB"'),
        ('"digits.data:test_split"', '"digits"'),
        ('metric = "accuracy"', 'metrik = "accuracy"'),
        ('"64 KiB"', "true"),
        ('size = "64 KiB"', 'sise = "64 KiB"'),
        ('latency = { max = "50 ms"', "latency = { max = 50"),
        ('latency = { max = "50 ms"', 'latency = { most = "50 ms"'),
        ('latency = "40 ms"', 'latency = "40"'),
        ("int8 = { size = 32768", "int8 = { sise = 32768"),
        ("[models.sound]", '[models."a/b"]'),
        ('"2 pt"', '"2"'),
        ("size = 32768", "size = -1"),
    ],
)
def test_both_refuse_the_same(tmp_path: Path, old: str, new: str) -> None:
    assert old in WHOLE
    assert verdicts(WHOLE.replace(old, new, 1), tmp_path) == (False, False)


def test_validate_pyproject_is_told_of_it() -> None:
    text = (Path(__file__).parents[4] / "pyproject.toml").read_text("utf-8")
    points = load_toml(text.encode(), "x")["project"]["entry-points"]
    module, _, name = points["validate_pyproject.tool_schema"]["edgequant"].partition(":")
    assert (module, name) == (tool_schema.__module__, tool_schema.__name__)
    assert tool_schema("edgequant")["properties"]["models"]


def test_validate_pyproject_takes_it(tmp_path: Path) -> None:
    """It unrolls references, and looks for a schema by its absolute id."""
    api = pytest.importorskip("validate_pyproject.api")
    plugins = pytest.importorskip("validate_pyproject.plugins")
    validate = api.Validator([plugins.PluginWrapper("edgequant", tool_schema)])
    table = load_toml(WHOLE.encode(), "x")
    validate({"tool": {"edgequant": table}})
    table["models"]["digits"]["budgets"]["int8"]["sise"] = "1 KiB"
    with pytest.raises(ValueError, match="sise"):
        validate({"tool": {"edgequant": table}})


def test_no_part_of_the_schema_holds_itself() -> None:
    schema = table_schema()
    assert str(schema["$id"]).startswith("https://")

    def depth(part: Any, seen: tuple[str, ...]) -> int:
        if isinstance(part, list):
            return max((depth(p, seen) for p in part), default=0)
        if not isinstance(part, dict):
            return 0
        if "$ref" in part:
            name = str(part["$ref"]).rpartition("/")[2]
            assert name not in seen
            return 1 + depth(schema["definitions"][name], (*seen, name))
        return max((depth(p, seen) for p in part.values()), default=0)

    assert depth(schema["properties"], ()) == 4
