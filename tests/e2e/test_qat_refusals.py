"""What can't be trained, and tf_keras: clear errors, the user's model as it was."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from e2e_helpers import samples
from qat_helpers import classes, fitted, names, short

from pytest_edgequant import (
    ConversionError,
    DatasetError,
    ModelError,
    NotDerivableError,
    TrainingError,
    TrainingRecipe,
    assert_fully_integer,
    convert,
)

L = keras.layers
DATA = Path(__file__).parents[1] / "data"


def small() -> Any:
    return keras.Sequential([keras.Input((6,)), L.Dense(5, "relu"), L.Dense(4)])


@pytest.mark.parametrize(
    ("training", "error", "message"),
    [
        (None, TrainingError, "edge_training"),
        ([], DatasetError, "no samples"),
        ((np.zeros((0, 6)), np.zeros(0)), DatasetError, "no samples"),
        ((np.zeros((8, 5)), np.zeros(8, int)), DatasetError, r"\(6,\)"),
        ((np.zeros((8, 6)), np.zeros(7, int)), DatasetError, "8 samples and 7 labels"),
        ((np.full((8, 6), np.nan), np.zeros(8, int)), DatasetError, "NaN"),
        ((np.zeros((8, 6)), np.arange(8)), TrainingError, "class numbers from 0 to 3"),
        ((np.zeros((2, 6)), np.zeros(2, int)), DatasetError, "too few"),
    ],
)
def test_data_that_can_not_be_trained_with(
    training: Any, error: type[Exception], message: str
) -> None:
    calibration = np.random.default_rng(0).normal(size=(100, 6))
    with pytest.raises(error, match=message):
        convert(small(), "qat_int8", training=training, calibration=calibration)


def test_a_loss_that_becomes_nan() -> None:
    x, y = classes(6)
    model = fitted(small(), x, np.eye(4)[y], loss="mse")
    before = [w.copy() for w in model.get_weights()]

    def diverging(y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean(keras.ops.exp(keras.ops.square(y_pred) * 1e3))

    recipes = [
        short(x, np.eye(4)[y], loss=diverging),
        short(x, y, optimizer=keras.optimizers.SGD(1e30)),
    ]
    for recipe in recipes:
        with pytest.raises(TrainingError, match=r"loss (is|became) (nan|inf)"):
            convert(model, "qat_int8", training=recipe)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    # The child that trained goes on to serve.
    assert convert(model, "qat_int8", training=short(x, y)).training.epochs == 2


def test_a_model_without_weights() -> None:
    x, y = classes(8, 8, 4)
    model = keras.Sequential([keras.Input((8, 8, 4)), L.GlobalAveragePooling2D(), L.Softmax()])
    with pytest.raises(ModelError, match="no weights"):
        convert(model, "qat_int8", training=short(x, y))


@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "mixed_bfloat16"])
def test_half_precision(policy: str, tmp_path: Path) -> None:
    x, y = classes(6)
    keras.config.set_dtype_policy(policy)
    try:
        model = small()
    finally:
        keras.config.set_dtype_policy("float32")
    model.save(tmp_path / "m.keras")
    for source in (model, tmp_path / "m.keras"):
        with pytest.raises(ModelError, match=r"float16.*float32"):
            convert(source, "qat_int8", training=short(x, y))


def test_what_is_quantized_already(tiny: Any) -> None:
    x, y = classes(6)
    for form, message in (
        ("int8", "the file is int8 already"),
        ("float32", r"a \.tflite file can't be trained: give the model that it was converted from"),
    ):
        with pytest.raises(NotDerivableError, match=message):
            convert(tiny[form], "qat_int8", training=short(x, y))
    model = small()
    model.quantize("int8")
    with pytest.raises(ModelError, match="quantized already"):
        convert(model, "qat_int8", training=short(x, y))


def test_a_layer_that_can_not_be_int8_is_named() -> None:
    x, y = classes(6)
    model = keras.Sequential([keras.Input((6,)), L.Dense(8), L.Lambda(keras.ops.sin), L.Dense(4)])
    with pytest.raises(ConversionError, match=r"float.*SIN"):
        convert(model, "qat_int8", training=short(x, y))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
        ({"batch_size": 1.5}, "batch_size"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"loss": "no_such_loss"}, "knows no loss 'no_such_loss'"),
        ({"loss": 3}, "loss must be"),
        ({"optimizer": "no_such"}, "knows no optimizer 'no_such'"),
        ({"engine": "magic"}, "engine must be one of"),
        ({"engine": "tfmot"}, "tf_keras models alone"),
    ],
)
def test_a_recipe_that_can_not_be_followed(changes: dict[str, Any], message: str) -> None:
    x, y = classes(6)
    with pytest.raises(TrainingError, match=message):
        convert(small(), "qat_int8", training=short(x, y, **changes))


def legacy_model(x: Any, y: Any) -> Any:
    tf_keras = pytest.importorskip("tf_keras")
    layers = tf_keras.layers
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential(
        [
            tf_keras.Input((8, 8, 2)),
            layers.Conv2D(4, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ]
    )
    return fitted(model, x, y)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["simulation", "tfmot"])
def test_tf_keras_models(engine: str) -> None:
    x, y = classes(8, 8, 2)
    model = legacy_model(x, y)
    if engine == "tfmot" and find_spec("tensorflow_model_optimization") is None:
        pytest.skip("tensorflow-model-optimization is not installed (extra qat)")
    before = [w.copy() for w in model.get_weights()]
    variant = convert(model, "qat_int8", training=short(x, y, engine=engine))
    assert_fully_integer(variant)
    assert variant.training.agreement >= 0.995
    assert names(variant) == names(convert(model, "int8", calibration=x))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    if engine == "tfmot":
        assert convert(model, "qat_int8", training=short(x, y)).content == variant.content


@pytest.mark.slow
@pytest.mark.skipif(find_spec("tensorflow_model_optimization") is None, reason="extra qat")
@pytest.mark.parametrize("structure", [dict, list])
@pytest.mark.slow
def test_tf_keras_models_of_any_structure_keep_their_names(structure: Any) -> None:
    legacy = pytest.importorskip("tf_keras")
    layers = legacy.layers
    ends = {"zeta": "two", "alpha": "one"}
    inputs = {name: legacy.Input((4,), name=name) for name in ends}
    outputs = {o: layers.Dense(2, "softmax", name=o)(inputs[i]) for i, o in ends.items()}
    parts = [list(p.values()) if structure is list else p for p in (inputs, outputs)]
    model = legacy.Model(*parts)
    x = {name: samples(4, seed=seed) for seed, name in enumerate(ends)}
    y = {output: (x[name].sum(1) > 0).astype(int) for name, output in ends.items()}
    recipe = TrainingRecipe(data=(x, y), epochs=1, engine="tfmot")
    trained = convert(model, "qat_int8", training=recipe)
    order = list(outputs) if structure is list else sorted(outputs)
    assert [info.name for info in trained.outputs] == order
    right = dict(zip(order, convert(model, "float32").predict(x), strict=True))
    for info, found in zip(trained.outputs, trained.predict(x), strict=True):
        error = {name: float(np.abs(found - values).mean()) for name, values in right.items()}
        assert min(error, key=lambda name: error[name]) == info.name
