"""Quantization-aware training of Keras 3 models: what comes out, and what it says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from qat_helpers import classes, fitted, names, short, trained

from pytest_edgequant import (
    TrainingRecipe,
    assert_fully_integer,
    compare_accuracy,
    convert,
    evaluate,
    load_target,
    measure_runtime_parity,
)
from pytest_edgequant.measure.legality import variant_refused
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.pipeline.request import CalibrationRequest
from pytest_edgequant.tflite.graph import read_graph

L = keras.layers
EXAMPLE = Path(__file__).parents[2] / "example_project"


def convolutional(x: Any) -> Any:
    x = L.Conv2D(8, 3, padding="same", use_bias=False)(x)
    x = L.ReLU(6.0)(L.BatchNormalization()(x))
    x = L.DepthwiseConv2D(3, strides=2)(x)
    x = L.ReLU()(L.BatchNormalization()(x))
    return L.GlobalAveragePooling2D()(L.Conv2D(8, 1)(x))


def branches(x: Any) -> Any:
    a = L.Conv2D(6, 3, padding="same", activation="relu")(x)
    b = L.BatchNormalization()(L.Conv2D(6, 3, padding="same")(a))
    x = L.ReLU()(L.Add()([a, b]))
    x = L.Concatenate()([x, L.Conv2D(2, 1)(a)])
    gate = L.Dense(8, activation="sigmoid")(L.GlobalAveragePooling2D()(x))
    return L.Multiply()([x, L.Reshape((1, 1, 8))(gate)])


def transposed(x: Any) -> Any:
    x = L.SeparableConv2D(6, 3, activation="relu")(x)
    x = L.BatchNormalization()(L.Conv2DTranspose(4, 3, strides=2)(x))
    return L.Dropout(0.2)(L.MaxPooling2D(2)(L.ZeroPadding2D(1)(x)))


def shared(x: Any) -> Any:
    x = L.Dense(8, activation="relu")(L.Flatten()(x))
    twice = L.Dense(8, activation="tanh")
    return twice(twice(x))


def sequence(x: Any) -> Any:
    x = L.Conv1D(6, 3, padding="causal")(x)
    x = L.MaxPooling1D(2)(L.LeakyReLU()(L.BatchNormalization()(x)))
    return L.GlobalAveragePooling1D()(L.Conv1D(6, 3, dilation_rate=2, padding="same")(x))


def recurrent(x: Any) -> Any:
    return L.GRU(4)(L.LSTM(4, return_sequences=True)(x))


def attention(x: Any) -> Any:
    x = L.Dense(8)(x)
    return L.GlobalAveragePooling1D()(L.Add()([x, L.MultiHeadAttention(2, 4)(x, x)]))


ARCHITECTURES = [
    (convolutional, (12, 12, 3)),
    (branches, (8, 8, 3)),
    (transposed, (8, 8, 2)),
    (shared, (6,)),
    (sequence, (16, 3)),
    (recurrent, (5, 3)),
    (attention, (6, 5)),
]


@pytest.mark.parametrize(
    ("build", "shape"), ARCHITECTURES, ids=lambda v: getattr(v, "__name__", "")
)
def test_gives_what_int8_gives_with_trained_numbers(
    build: Any, shape: tuple[int, ...], pipeline: Pipeline
) -> None:
    model, variant, x, _ = trained(build, shape)
    untrained = convert(model, "int8", calibration=x)
    assert_fully_integer(variant)
    assert len(names(variant)) <= len(names(untrained))
    assert variant.size_bytes <= untrained.size_bytes
    assert "DEQUANTIZE" not in names(variant)
    assert variant.training.agreement >= 0.995
    allocation = pipeline.interpreters.tflm_allocation(variant.content)
    assert allocation.total <= pipeline.interpreters.tflm_allocation(untrained.content).total


def test_the_file_has_the_weights_and_scales_of_int8() -> None:
    _, variant, x, _ = trained(convolutional, (12, 12, 3))
    for _, operator in read_graph(variant.content).operators():
        if operator.name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        weights = variant.tensors[operator.inputs[1]]
        output = variant.tensors[operator.outputs[0]]
        per_axis = weights.quantization.per_axis
        assert per_axis == (operator.name != "FULLY_CONNECTED")
        assert set(weights.quantization.zero_points) == {0}
        assert not output.quantization.per_axis
        assert -128 <= output.zero_point <= 127
    source = variant.inputs[0]
    low, high = ((q - source.zero_point) * source.scale for q in (-128, 127))
    assert low <= np.quantile(x, 0.01) < np.quantile(x, 0.99) <= high


@pytest.mark.parametrize(
    ("build", "shape"), ARCHITECTURES, ids=lambda v: getattr(v, "__name__", "")
)
def test_tflm_agrees_with_litert_as_on_int8(build: Any, shape: tuple[int, ...]) -> None:
    pytest.importorskip("tflite_micro", reason="there is no wheel for this machine")
    model, variant, x, y = trained(build, shape)
    ours, theirs = (
        measure_runtime_parity(form, (x, y))
        for form in (variant, convert(model, "int8", calibration=x))
    )
    assert ours.count == theirs.count == len(x)
    assert ours.mean_steps <= theirs.mean_steps + 0.5
    assert ours.max_steps <= theirs.max_steps + 2
    assert ours.changed <= theirs.changed + len(x) // 50  # ties by one step


@pytest.mark.slow
def test_saved_models_are_trained_too(tmp_path: Path) -> None:
    model, variant, x, y = trained(convolutional, (12, 12, 3))
    model.export(tmp_path / "saved", verbose=False)
    from_folder = convert(tmp_path / "saved", "qat_int8", training=short(x, y))
    assert_fully_integer(from_folder)
    assert names(from_folder) == names(variant)
    assert from_folder.training.agreement >= 0.995
    found, wanted = (v.predict(x).argmax(-1) for v in (from_folder, variant))
    assert (found == wanted).mean() >= 0.98


def test_weights_are_symmetric_and_narrow() -> None:
    from pytest_edgequant.conversion.qat.plan import constants_of

    _, variant, _, _ = trained(convolutional, (12, 12, 3))
    constants = constants_of(variant.content)
    for _, operator in read_graph(variant.content).operators():
        if operator.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            stored = constants[operator.inputs[1]].astype(int)
            assert stored.min() >= -127
            assert np.abs(stored).max() == 127


def test_the_example_keeps_its_accuracy() -> None:
    with np.load(EXAMPLE / "data" / "digits.npz") as data:
        train = data["x_validation"], data["y_validation"]
        test = data["x_test"], data["y_test"]
    model = EXAMPLE / "models" / "digits.keras"
    variant = convert(model, "qat_int8", training=TrainingRecipe(data=train, epochs=4))
    comparison = compare_accuracy(variant, convert(model, "float32"), test)
    assert comparison.drop <= 0.01
    assert variant.training.metric == "accuracy"
    assert variant.training.epochs <= 4
    assert variant.size_bytes <= convert(model, "int8", calibration=train[0]).size_bytes


def test_training_repairs_what_calibration_breaks() -> None:
    """Channels of very different ranges: one scale for all of them has no bits for the small."""
    keras.utils.set_random_seed(1)
    with np.load(EXAMPLE / "data" / "digits.npz") as data:
        x, y, fresh = data["x_validation"], data["y_validation"], (data["x_test"], data["y_test"])
    image = keras.Input((8, 8, 1), name="x")
    h = L.ReLU(6.0)(L.BatchNormalization()(L.Conv2D(16, 3, padding="same")(image)))
    normalization = L.BatchNormalization()
    h = L.ReLU(6.0)(normalization(L.DepthwiseConv2D(3, use_bias=False)(h)))
    second = L.Conv2D(16, 1)
    h = L.Flatten()(L.ReLU()(second(h)))
    model = fitted(keras.Model(image, L.Dense(10, activation="softmax")(h)), x, y, epochs=15)
    factors = (10 ** -np.random.default_rng(0).uniform(0, 4, 16)).astype(np.float32)
    gamma, beta, *rest = normalization.get_weights()
    normalization.set_weights([gamma * factors, beta * factors, *rest])
    kernel, bias = second.get_weights()
    second.set_weights([kernel / factors[None, None, :, None], bias])

    floating = evaluate(convert(model, "float32"), fresh).value
    untrained = evaluate(convert(model, "int8", calibration=x), fresh).value
    variant = convert(model, "qat_int8", training=short(x, y, epochs=6))
    assert floating - untrained > 0.05
    assert floating - evaluate(variant, fresh).value < 0.01


def test_the_model_object_stays_as_it_was() -> None:
    x, y = classes(6)
    model = fitted(keras.Sequential([keras.Input((6,)), L.Dense(5), L.Dense(4, "softmax")]), x, y)
    before = [w.copy() for w in model.get_weights()]
    optimizer, trainable = model.optimizer, [v.path for v in model.trainable_variables]
    convert(model, "qat_int8", training=short(x, y))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert model.optimizer is optimizer
    assert [v.path for v in model.trainable_variables] == trainable


class Subclassed(keras.Model):  # type: ignore[misc,name-defined,unused-ignore]
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.last = L.Dense(8, activation="relu"), L.Dense(4)

    def call(self, x: Any) -> Any:
        return self.last(self.hidden(x))


def test_subclassed_model_with_logits() -> None:
    x, y = classes(6)
    model = Subclassed()
    model(x)
    variant = convert(model, "qat_int8", training=short(x, y, epochs=20))
    assert_fully_integer(variant)
    assert variant.training.trained_value > variant.training.float_value


def test_several_inputs_and_outputs() -> None:
    keras.utils.set_random_seed(0)
    (a, y), (b, _) = classes(6), classes(4, seed=1)
    first, second = keras.Input((6,), name="zeta"), keras.Input((4,), name="alpha")
    joined = L.Concatenate()([L.Dense(5, "relu")(first), L.Dense(7, "relu")(second)])
    kind = L.Dense(4, activation="softmax", name="kind")(joined)
    size = L.Dense(1, name="size")(joined)
    model = keras.Model([first, second], [kind, size])
    sums = a.sum(axis=1, keepdims=True)
    for x, labels in (
        ({"zeta": a, "alpha": b}, {"kind": y, "size": sums}),
        ((a, b), (y, sums)),
    ):
        variant = convert(model, "qat_int8", training=short(x, labels, epochs=3))
        assert_fully_integer(variant)
        assert [info.name for info in variant.outputs] == ["kind", "size"]
        found = variant.predict({"zeta": a[:5], "alpha": b[:5]})
        assert [part.shape for part in found] == [(5, 4), (5, 1)]
        assert variant.training.metric == "loss"
        assert variant.training.trained_value < variant.training.untrained_value


def test_training_data_without_its_preprocessing_is_noted() -> None:
    x, y = classes(6)
    model = keras.Sequential([keras.Input((6,)), L.Dense(4)])
    variant = convert(model, "qat_int8", training=short(255 * x, y, epochs=1), calibration=x)
    assert any("edge_preprocess is not applied" in note for note in variant.notes)
    variant = convert(model, "qat_int8", training=short(x, y, epochs=1), calibration=x)
    assert not any("edge_preprocess" in note for note in variant.notes)


def test_regression_is_judged_by_its_loss() -> None:
    keras.utils.set_random_seed(0)
    x, _ = classes(6)
    y = (x @ np.arange(6.0) * 50 + 700).astype(np.float32)
    model = keras.Sequential([keras.Input((6,)), L.Dense(16, "relu"), L.Dense(1)])
    fitted(model, x, y, loss="mse")
    variant = convert(model, "qat_int8", training=short(x, y, epochs=3))
    assert variant.training.metric == "loss"
    assert variant.training.agreement is None


@pytest.mark.slow
@pytest.mark.slow
def test_the_same_seed_gives_the_same_file_and_another_does_not(tmp_path: Path) -> None:
    x, y = classes(8, 8, 2, count=120)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((8, 8, 2)), L.Conv2D(4, 3, activation="relu"), L.Flatten(), L.Dense(4)]
    )
    model.save(tmp_path / "m.keras")
    found = []
    for number, seeds in enumerate(((0,), (1, 0))):
        pipeline = Pipeline(tmp_path / f"cache{number}")
        for seed in seeds:
            request = CalibrationRequest(training=lambda seed=seed: short(x, y, seed=seed))
            found.append(pipeline.variant(tmp_path / "m.keras", "qat_int8", request).fingerprint)
        pipeline.close()
    assert found[0] == found[2] != found[1]


def test_is_trained_once_for_model_data_and_recipe(pipeline: Pipeline) -> None:
    x, y = classes(6)
    model = keras.Sequential([keras.Input((6,)), L.Dense(4)])
    before = pipeline.converted
    first = convert(model, "qat_int8", training=short(x, y))
    assert convert(model, "qat_int8", training=short(x.copy(), y)).content == first.content
    assert pipeline.converted == before + 1
    convert(model, "qat_int8", training=short(x, y, epochs=1))
    convert(model, "qat_int8", training=short(x + 1, y))
    assert pipeline.converted == before + 3


def test_a_function_of_the_users_as_loss() -> None:
    x, y = classes(6)
    one_hot = np.eye(4, dtype=np.float32)[y]
    model = keras.Sequential([keras.Input((6,)), L.Dense(8, "relu"), L.Dense(4)])
    weights = np.array([1.0, 2.0, 3.0, 4.0], np.float32)

    def weighted(y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean(keras.ops.square(y_true - y_pred) * weights)

    variant = convert(model, "qat_int8", training=short(x, one_hot, loss=weighted, epochs=5))
    assert variant.training.trained_value < variant.training.untrained_value
    plain = convert(model, "qat_int8", training=short(x, one_hot, loss="mse", epochs=5))
    assert plain.content != variant.content


def test_keras_losses_and_optimizers() -> None:
    x, y = classes(6)
    model = keras.Sequential([keras.Input((6,)), L.Dense(4)])
    recipe = short(
        x,
        y,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.SGD(0.05, momentum=0.9),
        epochs=5,
    )
    variant = convert(model, "qat_int8", training=recipe)
    assert variant.training.metric == "accuracy"
    assert variant.training.trained_value > variant.training.float_value


def test_runs_wherever_int8_runs() -> None:
    for name in ("nano33ble", "rpi4", "host"):
        target = load_target(name)
        assert variant_refused("qat_int8", target) == variant_refused("int8", target)
