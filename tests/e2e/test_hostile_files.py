"""Model files that bring code: none of it runs, whatever the container and whichever the loader."""

from __future__ import annotations

import base64
import io
import json
import marshal
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from e2e_helpers import make, operators, relative_error, samples

from pytest_edgequant import ModelError, TrainingRecipe, convert

tf_keras = pytest.importorskip("tf_keras")
h5py = pytest.importorskip("h5py")
T, L = tf_keras.layers, keras.layers


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """What the code of the files below would write."""
    return tmp_path / "it_ran"


def bytecode(marker: Path) -> list[Any]:
    """A function (x) -> x that leaves the marker behind, as Keras stores lambdas."""
    source = f"lambda x, *_, **__: (open({str(marker)!r}, 'w').close(), x)[1]"
    function = eval(source)
    return [base64.b64encode(marshal.dumps(function.__code__)).decode(), None, None]


def lambda_layer(marker: Path, name: str = "evil") -> dict[str, Any]:
    config = {
        "name": name,
        "trainable": True,
        "dtype": "float32",
        "function": bytecode(marker),
        "function_type": "lambda",
        "module": "builtins",
        "output_shape": None,
        "output_shape_type": "raw",
        "output_shape_module": None,
        "arguments": {},
    }
    return {"class_name": "Lambda", "config": config}


def sequential(*layers: Any, shape: tuple[int, ...] = (4,)) -> dict[str, Any]:
    first = {"batch_input_shape": [None, *shape], "dtype": "float32", "name": "x"}
    inner = [{"class_name": "InputLayer", "config": first}, *layers]
    return {"class_name": "Sequential", "config": {"name": "whole", "layers": inner}}


def hdf5(path: Path, config: Any, **attributes: Any) -> Path:
    """An HDF5 file as Keras 2 writes them, of a model without weights."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"], file.attrs["backend"] = "2.15.0", "tensorflow"
        for name, value in attributes.items():
            file.attrs[name] = value
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = np.array([], "S1")
        weights.attrs["backend"], weights.attrs["keras_version"] = "tensorflow", "2.15.0"
    return path


def archive(path: Path, config: Any) -> Path:
    """A zip archive as Keras 3 writes them, of a model without weights."""
    stored = io.BytesIO()
    with h5py.File(stored, "w") as file:
        file.create_group("layers")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", json.dumps(config))
        file.writestr("metadata.json", json.dumps({"keras_version": "3.9.0"}))
        file.writestr("model.weights.h5", stored.getvalue())
    return path


def wrapped(marker: Path) -> dict[str, Any]:
    inner = {"name": "each", "trainable": True, "dtype": "float32", "layer": lambda_layer(marker)}
    return sequential({"class_name": "TimeDistributed", "config": inner}, shape=(3, 4))


def nested(marker: Path) -> dict[str, Any]:
    inner = sequential(lambda_layer(marker))
    inner["config"]["name"] = "part"
    return sequential(inner)


def output_shape(marker: Path) -> dict[str, Any]:
    layer = lambda_layer(marker)
    shape = {"output_shape": bytecode(marker), "output_shape_type": "lambda"}
    layer["config"] |= {"function": "relu", "function_type": "function", **shape}
    return sequential(layer)


def residual(marker: Path) -> dict[str, Any]:
    cell = {
        "class_name": "ResidualWrapper",
        "config": {
            "name": "around",
            "cell": {"class_name": "GRUCell", "config": {"name": "cell", "units": 4}},
            "residual_fn": bytecode(marker),
            "residual_fn_type": "lambda",
            "residual_fn_module": "builtins",
        },
    }
    layer = {"class_name": "RNN", "config": {"name": "loop", "cell": cell}}
    return sequential(layer, shape=(3, 4))


def operator(marker: Path) -> dict[str, Any]:
    """A layer that calls TensorFlow's own function, which writes a file when the model is made."""
    write = {"class_name": "TFOpLambda", "name": "evil", "inbound_nodes": []}
    write["config"] = {"name": "evil", "function": "io.write_file"}
    write["inbound_nodes"] = [["_CONSTANT_VALUE", -1, str(marker), {"contents": "here"}]]
    first = {"batch_input_shape": [None, 4], "dtype": "float32", "name": "x"}
    source = {"class_name": "InputLayer", "name": "x", "config": first, "inbound_nodes": []}
    config = {
        "name": "whole",
        "layers": [source, write],
        "input_layers": [["x", 0, 0]],
        "output_layers": [["x", 0, 0]],
    }
    return {"class_name": "Functional", "config": config}


SHAPES: list[tuple[Callable[[Path], dict[str, Any]], str]] = [
    (lambda marker: sequential(lambda_layer(marker)), r"'evil' \(Lambda\)"),
    (wrapped, r"'evil' \(Lambda\) in 'each' \(TimeDistributed\)"),
    (nested, r"'evil' \(Lambda\) in 'part' \(Sequential\) in 'whole'"),
    (output_shape, r"'evil' \(Lambda\)"),
    (residual, r"'around' \(ResidualWrapper\) in 'loop' \(RNN\)"),
    (operator, r"'evil' \(TFOpLambda\).*io\.write_file"),
]


@pytest.mark.parametrize(("build", "layer"), SHAPES, ids="plain wrap nest shape cell op".split())
@pytest.mark.parametrize("name", ["m.h5", "m.hdf5", "m.keras"])
def test_nothing_of_an_hdf5_file_runs(
    tmp_path: Path, marker: Path, build: Any, layer: str, name: str
) -> None:
    path = hdf5(tmp_path / name, build(marker))
    with pytest.raises(ModelError, match=rf"{layer}.*hand over the model object"):
        convert(path, "float32")
    assert not marker.exists()


def test_the_bytecode_of_these_tests_would_run(tmp_path: Path, marker: Path) -> None:
    tf_keras.models.load_model(hdf5(tmp_path / "m.h5", sequential(lambda_layer(marker))))
    assert marker.exists()


def test_training_does_not_load_it_either(tmp_path: Path, marker: Path) -> None:
    path = hdf5(tmp_path / "m.h5", sequential(lambda_layer(marker)))
    recipe = TrainingRecipe(data=(samples(4), np.arange(120) % 4), epochs=1, engine="tfmot")
    for where in (recipe, (samples(4), np.arange(120) % 4)):
        with pytest.raises(ModelError, match=r"'evil' \(Lambda\)"):
            convert(path, "qat_int8", training=where)
    assert not marker.exists()


def test_the_trainer_of_tf_keras_models_refuses_it_itself(tmp_path: Path, marker: Path) -> None:
    from pytest_edgequant.conversion.qat import legacy

    path = hdf5(tmp_path / "m.h5", sequential(lambda_layer(marker)))
    with pytest.raises(ModelError, match=r"'evil' \(Lambda\)"):
        legacy._load(str(path), "m")
    assert not marker.exists()


@pytest.mark.parametrize("key", ["__lambda__", "legacy"])
def test_nothing_of_an_archive_runs(tmp_path: Path, marker: Path, key: str) -> None:
    layer = lambda_layer(marker)
    if key == "__lambda__":
        code, defaults, closure = bytecode(marker)
        inner = {"code": code, "defaults": defaults, "closure": closure}
        layer["config"] = {
            "name": "evil",
            "function": {"class_name": "__lambda__", "config": inner},
        }
    path = archive(tmp_path / "m.keras", sequential(layer))
    with pytest.raises(ModelError, match=r"'evil' \(Lambda\) in 'whole' \(Sequential\)"):
        convert(path, "float32")
    assert not marker.exists()


def test_a_file_that_is_hdf5_and_zip_at_once(tmp_path: Path, marker: Path) -> None:
    harmless = archive(tmp_path / "a.zip", sequential()).read_bytes()
    path = hdf5(tmp_path / "m.h5", sequential(lambda_layer(marker)))
    for name in ("m.h5", "m.keras"):
        both = tmp_path / "both" / name
        both.parent.mkdir(exist_ok=True)
        both.write_bytes(path.read_bytes() + harmless)
        with pytest.raises(ModelError, match=r"'evil' \(Lambda\)"):
            convert(both, "float32")
    assert not marker.exists()


@pytest.mark.parametrize("container", [hdf5, archive])
@pytest.mark.parametrize("what", ["class", "function"])
def test_no_module_is_imported_for_a_file(
    tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch, container: Any, what: str
) -> None:
    (tmp_path / "planted.py").write_text(f"open({str(marker)!r}, 'w').close()\nThing = print\n")
    monkeypatch.syspath_prepend(tmp_path)
    config: dict[str, Any] = {"name": "dense", "units": 2}
    layer = {"class_name": "Dense", "module": "keras.layers", "config": config}
    layer["registered_name"] = None
    planted = {"module": "planted", "class_name": "Thing", "config": {"name": "thing"}}
    if what == "function":
        config["activation"] = planted | {"class_name": "function", "config": "Thing"}
    else:
        layer = planted
    path = container(tmp_path / "m.keras", sequential(layer) | {"module": "keras"})
    with pytest.raises(ModelError, match=r"'planted', which is not Keras'.*model object itself"):
        convert(path, "float32")
    assert not marker.exists()


def test_settings_for_training_count_for_tf_keras_alone(tmp_path: Path, marker: Path) -> None:
    loss = {"class_name": "__lambda__", "config": {"value": bytecode(marker)}}
    settings = json.dumps({"loss": loss})
    config = sequential({"class_name": "TFOpLambda", "config": {"function": "math.sin"}})
    path = hdf5(tmp_path / "m.h5", config, training_config=settings)
    with pytest.raises(ModelError, match="configuration for training holds Python bytecode"):
        convert(path, "float32")
    model = make(lambda: [L.Dense(3)], (6,))
    model.compile("sgd", loss=lambda y, p: keras.ops.mean(keras.ops.square(y - p)))
    model.save(tmp_path / "m.keras")  # Keras 3 never looks at them
    assert convert(tmp_path / "m.keras", "float32").size_bytes > 0
    assert not marker.exists()


def test_the_object_of_a_user_who_trusts_the_file_converts(tmp_path: Path, marker: Path) -> None:
    relu = {"class_name": "Activation", "config": {"name": "relu", "activation": "relu"}}
    path = hdf5(tmp_path / "m.h5", sequential(lambda_layer(marker), relu))
    assert convert(tf_keras.models.load_model(path, compile=False), "float32").size_bytes > 0


def test_files_of_keras_2_are_loaded_as_before(tmp_path: Path) -> None:
    tf_keras.utils.set_random_seed(0)
    given = tf_keras.Input((6, 4))
    hidden = T.TimeDistributed(T.Dense(5, activation="relu"))(given) * 2.0
    model = tf_keras.Model(given, T.Dense(3)(T.LSTM(4)(hidden + 1.0)))
    model.compile("adam", "mse")
    model.save(tmp_path / "m.h5")
    shutil.copy(tmp_path / "m.h5", tmp_path / "named.keras")
    x = samples(6, 4)
    for name in ("m.h5", "named.keras"):
        variant = convert(tmp_path / name, "float32")
        assert relative_error(variant.predict(x), model(x)) < 1e-4
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in operators(variant)


def test_functions_of_keras_in_a_lambda_are_loaded_as_before(tmp_path: Path) -> None:
    model = make(lambda: [L.Dense(8), L.Lambda(keras.activations.tanh), L.Dense(3)], (6,))
    model.save(tmp_path / "m.keras")
    x = samples(6)
    variant = convert(tmp_path / "m.keras", "float32")
    assert relative_error(variant.predict(x), model(x)) < 1e-4


# -- SavedModels ---------------------------------------------------------------------------------


def test_a_saved_model_that_writes_a_file_when_it_is_loaded(tmp_path: Path, marker: Path) -> None:
    import tensorflow as tf
    from tensorflow.python.trackable.resource import CapturableResource

    class Writes(CapturableResource):  # type: ignore[misc,unused-ignore]
        def _create_resource(self) -> Any:
            return tf.raw_ops.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.int64)

        def _initialize(self) -> None:
            tf.io.write_file(str(marker), "it ran")

    module = tf.Module()
    module.resource = Writes()
    module.resource.resource_handle  # noqa: B018 - made at the first look

    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32, name="x")])  # type: ignore[untyped-decorator,unused-ignore]
    def serve(x: Any) -> Any:
        return {"y": 2.0 * x}

    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=serve)
    marker.unlink(missing_ok=True)
    with pytest.raises(ModelError, match=r"function '.*' holds the operator WriteFile"):
        convert(tmp_path / "saved", "float32")
    assert not marker.exists()
    tf.saved_model.load(str(tmp_path / "saved"))
    assert marker.exists()


def test_a_saved_model_that_calls_python(tmp_path: Path) -> None:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32, name="x")])  # type: ignore[untyped-decorator,unused-ignore]
    def serve(x: Any) -> Any:
        y = tf.numpy_function(lambda v: v, [x], tf.float32)
        return {"y": tf.ensure_shape(y, (1, 4))}

    tf.saved_model.save(tf.Module(), str(tmp_path / "saved"), signatures=serve)
    with pytest.raises(ModelError, match=r"holds the operator PyFunc.*reaches out of the model"):
        convert(tmp_path / "saved", "float32")
