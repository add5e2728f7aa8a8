"""What is found in a Keras file before it is loaded, and what is not."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pytest_edgequant.conversion import foreign_code
from pytest_edgequant.conversion.foreign_code import Configuration

DATA = Path(__file__).parents[2] / "data"
EXAMPLES = Path(__file__).parents[3] / "example_project" / "models"


def layer(class_name: str, name: str = "it", **config: Any) -> dict[str, Any]:
    return {"class_name": class_name, "config": {"name": name, **config}}


def any_loader(config: Any, aside: Any = None) -> str:
    return str(foreign_code.for_any_loader([Configuration(config, aside)]) or "")


def tf_keras(config: Any, aside: Any = None) -> str:
    return str(foreign_code.for_tf_keras([Configuration(config, aside)]) or "")


BYTECODE = [
    layer("Lambda", function=["4wEA", None, None], function_type="lambda"),
    layer("Lambda", function={"class_name": "__lambda__", "config": {"code": "4wEA"}}),
    layer("ResidualWrapper", residual_fn=["4wEA", None, None], residual_fn_type="lambda"),
    layer("Dense", activation={"class_name": "__lambda__", "config": {"value": "4wEA"}}),
    layer("Thing", registered=[{"deep": [{"class_name": "__lambda__", "config": {}}]}]),
    layer("Thing", text=json.dumps({"class_name": "__lambda__", "config": {}})),
]


@pytest.mark.parametrize("config", BYTECODE)
def test_bytecode_is_found_and_its_layer_named(config: Any) -> None:
    around = layer("Model", "outer", layers=[layer("Dense", "first"), config])
    for found in (any_loader(around), tf_keras(around)):
        assert f"'it' ({config['class_name']}) in 'outer' (Model)" in found
        assert "bytecode" in found
    assert any_loader(layer("Dense"), aside=config) == ""
    assert "for training" in tf_keras(layer("Dense"), aside=config)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"module": "os", "class_name": "function", "config": "system"}, "'os', which is not"),
        ({"module": "kerasevil.x", "class_name": "X", "config": {}}, "'kerasevil.x', which"),
        ({"module": ["os"], "class_name": "X", "config": {}}, "which is not Keras'"),
        (
            {"module": "keras.utils", "class_name": "function", "config": "get_file"},
            "names the function 'get_file' of 'keras.utils'",
        ),
        (
            {"module": "keras.src.saving", "class_name": "function", "config": "load_model"},
            "names the function 'load_model'",
        ),
    ],
)
def test_what_a_loader_would_import_is_found(node: Any, message: str) -> None:
    assert message in any_loader(layer("Dense", activation=node))
    assert message in tf_keras(layer("Dense", activation=node))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (layer("Lambda", function="relu", function_type="function"), "is a Lambda layer"),
        (layer("Package>Lambda"), "is a Lambda layer"),
        (layer("subprocess.run"), "by the path 'subprocess.run'"),
        (layer("TFSMLayer", filepath="/x"), "another SavedModel"),
        (layer("ClassMethod", cls_symbol="data.Dataset"), "any class of TensorFlow"),
        (layer("TFOpLambda", function="load_op_library"), "'load_op_library'"),
        (layer("TFOpLambda", function="io.write_file"), "'io.write_file'"),
        (layer("TFOpLambda", function="compat.v1.py_func"), "'compat.v1.py_func'"),
        (layer("TFOpLambda"), "'None'"),
        (layer("SlicingOpLambda", function="raw_ops.WriteFile"), "'raw_ops.WriteFile'"),
        (layer("TensorFlowOpLayer", node_def={"op": "PyFunc"}), "'PyFunc'"),
        (layer("TensorFlowOpLayer", node_def="\n\u0004WriteFile"), "runs the operator"),
    ],
)
def test_what_tf_keras_would_call_is_found(node: Any, message: str) -> None:
    found = tf_keras(layer("Model", "outer", layers=[node]))
    assert message in found
    assert f"'it' ({node['class_name']})" in found


def test_what_real_models_hold_is_let_through() -> None:
    for node in (
        layer("Dense", activation="relu", kernel_initializer=layer("GlorotUniform")),
        layer("TFOpLambda", function="math.multiply"),
        layer("TFOpLambda", function="__operators__.add"),
        layer("TFOpLambda", function="compat.v1.nn.conv2d"),
        layer("TFOpLambda", function="reshape"),
        layer("SlicingOpLambda", function="__operators__.getitem"),
        layer("TensorFlowOpLayer", node_def={"op": "Mul"}),
        {"module": "keras.layers", **layer("TimeDistributed", layer=layer("Dense"))},
        layer("Activation", activation={"module": "builtins", "class_name": "function"}),
        {"module": "keras.ops", "class_name": "function", "config": "relu"},
        {"class_name": "Dense", "config": None},
        [None, 3, "[not json", {"class_name": None}],
    ):
        assert any_loader(node) == tf_keras(node) == ""


@pytest.mark.parametrize(
    "path", [*DATA.glob("*.keras"), *EXAMPLES.glob("*.keras")], ids=lambda p: p.name
)
def test_the_models_of_this_repository_hold_nothing(path: Path) -> None:
    found = foreign_code.configurations(str(path))
    assert found
    assert foreign_code.for_any_loader(found) is foreign_code.for_tf_keras(found) is None


def test_what_can_not_be_read_is_nothing_to_judge_by(tmp_path: Path) -> None:
    for number, text in enumerate(("", "{", "3", "[" * 100_000)):
        path = tmp_path / f"{number}.keras"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", text)
        assert foreign_code.configurations(str(path)) is None
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.json", "{}")
    assert foreign_code.configurations(str(path)) is None
    path.write_bytes(b"neither")
    assert foreign_code.configurations(str(path)) == []


def test_what_keras_3_computes_otherwise_is_known_by_the_version_that_wrote_it() -> None:
    plain = layer("Dense", activation="hard_sigmoid")
    nested = layer(
        "LSTM", recurrent_activation={"class_name": "function", "config": "hard_sigmoid"}
    )
    for config in (
        plain,
        nested,
        layer("Sequential", "outer", layers=[layer("Dense", "a"), plain]),
    ):
        for version, found in (("2.15.0", True), ("1.2.2", True), ("3.8.0", False), ("", False)):
            given = [Configuration(config, None, version)]
            finding = foreign_code.changed_since_keras_2(given)
            assert (finding is not None) == found
            assert not found or "'it' (" in str(finding)
    other = layer("Dense", "hard_sigmoid", activation="relu", note="hard_sigmoid")
    assert foreign_code.changed_since_keras_2([Configuration(other, None, "2.0")]) is None
