"""Convolutions in training: what TensorFlow computes, with gradients on every processor."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import without_onednn
from qat_helpers import classes, names, short

from pytest_edgequant import TrainingError, convert
from pytest_edgequant.conversion.calibration import read_calibration
from pytest_edgequant.conversion.qat.kernels import Call, Value
from pytest_edgequant.conversion.qat.recipe import read_training
from pytest_edgequant.conversion.qat.simulation import OPERATORS
from pytest_edgequant.conversion.tensorflow_source import LiveModel
from pytest_edgequant.isolation import IsolatedProcess

L = keras.layers
SIZE, CHANNELS, WINDOW = (11, 10), 4, (3, 2)


def by_tensorflow(x: Any, w: Any, options: Any) -> Any:
    """TensorFlow's own convolution (or, for weights of one row, depthwise one) without strides'
    restrictions: computed densely on an image that was padded for them, then thinned out."""
    strides = options["strideH"], options["strideW"]
    dilations = options["dilationHFactor"], options["dilationWFactor"]
    pads = []
    for extent, stride, dilation, window in zip(SIZE, strides, dilations, WINDOW, strict=True):
        whole = (-(-extent // stride) - 1) * stride + (window - 1) * dilation + 1 - extent
        whole = 0 if options["padding"] else max(whole, 0)
        pads.append((whole // 2, whole - whole // 2))
    x = np.pad(x, ((0, 0), *pads, (0, 0)))
    found = tf.nn.conv2d(x, w, [1, 1, 1, 1], "VALID", dilations=dilations)
    return np.asarray(found)[:, :: strides[0], :: strides[1]]


@pytest.mark.parametrize(
    ("name", "groups"), [("CONV_2D", 1), ("CONV_2D", 2), ("DEPTHWISE_CONV_2D", CHANNELS)]
)
@pytest.mark.parametrize("valid", [0, 1], ids=["same", "valid"])
def test_any_strides_and_dilations(name: str, groups: int, valid: int) -> None:
    chance = np.random.default_rng(0)
    outside, inside = 2 * CHANNELS, CHANNELS // groups
    depthwise = name == "DEPTHWISE_CONV_2D"
    stored = (1, *WINDOW, outside) if depthwise else (outside, *WINDOW, inside)
    for strides, dilations in itertools.product([(1, 1), (2, 2), (1, 2)], [(1, 1), (2, 2), (3, 1)]):
        options = {"padding": valid, "strideH": strides[0], "strideW": strides[1]}
        options |= {"dilationHFactor": dilations[0], "dilationWFactor": dilations[1]}
        x, moved_x = (chance.normal(size=(2, *SIZE, CHANNELS)).astype("f4") for _ in range(2))
        w, moved_w = (chance.normal(size=(*WINDOW, inside, outside)).astype("f4") for _ in range(2))

        @tf.function  # type: ignore[untyped-decorator,unused-ignore]
        def run(x: Any, w: Any, options: Any = options) -> Any:
            with tf.GradientTape() as tape:
                tape.watch([x, w])
                source = Value(tf.reshape(x, (-1, 1, *SIZE, CHANNELS)), (1, *SIZE, CHANNELS), True)
                given = tf.reshape(w, stored) if depthwise else w
                call = Call(
                    SimpleNamespace(options=options), [source, Value(given, stored, False)], []
                )  # type: ignore[arg-type]
                result = OPERATORS[name](tf, call)
                loss = tf.reduce_sum(tf.square(result))
            return result, *tape.gradient(loss, [x, w])

        found, of_x, of_w = (np.asarray(v) for v in run(tf.constant(x), tf.constant(w)))
        expected = by_tensorflow(x, w, options)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-4, (strides, dilations)
        # A convolution is linear in the image and in the weights.
        moved = by_tensorflow(moved_x, w, options) + by_tensorflow(x, moved_w, options)
        slope = 2 * (expected * moved).sum(dtype=np.float64)
        gradient = (of_x * moved_x).sum(dtype=np.float64) + (of_w * moved_w).sum(dtype=np.float64)
        assert gradient == pytest.approx(slope, rel=1e-3, abs=1e-2), (strides, dilations)


def convolutions() -> Any:
    """Dilated, grouped, depthwise, separable and transposed ones in two and in one dimension."""
    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 4), name="x")
    x = L.Conv2D(8, 3, dilation_rate=2, padding="same", name="dilated")(image)
    x = L.ReLU()(L.BatchNormalization()(x))
    x = L.Conv2D(8, 3, dilation_rate=(1, 2))(x)
    x = L.Conv2D(8, 3, groups=4, padding="same", activation="relu")(x)
    x = L.DepthwiseConv2D(3, dilation_rate=2, padding="same")(x)
    x = L.SeparableConv2D(8, 3, dilation_rate=2, padding="same")(x)
    x = L.Reshape((-1, 4))(L.Conv2DTranspose(4, 3, strides=2, padding="same")(x))
    x = L.Conv1D(6, 3, dilation_rate=4, padding="causal", activation="relu")(x)
    x = L.GlobalAveragePooling1D()(L.Conv1D(6, 3, dilation_rate=2, groups=2)(x))
    return keras.Model(image, L.Dense(4, activation="softmax")(x))


@pytest.fixture(scope="module")
def child() -> Iterator[IsolatedProcess]:
    process = IsolatedProcess("trainer", 300, environment=without_onednn.ENVIRONMENT)
    yield process
    process.close()


def _arguments(model: Any) -> tuple[Any, ...]:
    x, y = classes(12, 12, 4, count=120)
    source = LiveModel(model)
    exported = source._export(False)
    # Keeps the exported folder while the child reads it.
    return source, (exported, "m", read_calibration(x), read_training(short(x, y)))


def test_they_train_where_there_is_no_onednn(child: IsolatedProcess) -> None:
    model = convolutions()
    _source, arguments = _arguments(model)
    progress, converted = child.call(without_onednn.train, *arguments)
    assert np.isfinite(progress.loss)
    assert converted.training["agreement"] >= 0.99


def test_what_tensorflow_raises_names_the_layer(child: IsolatedProcess) -> None:
    model = convolutions()
    _source, arguments = _arguments(model)
    with pytest.raises(TrainingError, match=r"^m: qat_int8: .*CONV_2D \(operator \d+\), layer"):
        child.call(without_onednn.train_natively, *arguments)


def _impossible(y_true: Any, y_pred: Any) -> Any:
    tf.debugging.assert_less(tf.reduce_max(y_pred), -1.0, "out of bounds")
    return tf.reduce_mean(y_pred)


def test_what_a_loss_raises_is_not_a_layers() -> None:
    x, y = classes(6)
    model = keras.Sequential([keras.Input((6,)), L.Dense(4)])
    with pytest.raises(TrainingError, match=r"the loss or the optimizer.*out of bounds"):
        convert(model, "qat_int8", training=short(x, y.astype(np.float32), loss=_impossible))


def test_tf_keras_models_are_trained_alike_on_every_processor() -> None:
    """By this package's own simulation, where the other engine depends on the processor."""
    pytest.importorskip("tensorflow_model_optimization")
    tf_keras = pytest.importorskip("tf_keras")
    layers = tf_keras.layers
    x, y = classes(12, 12, 4, count=120)
    model = tf_keras.Sequential(
        [
            tf_keras.Input((12, 12, 4)),
            layers.Conv2D(6, 3, dilation_rate=2, activation="relu", name="wide"),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ]
    )
    variant = convert(model, "qat_int8", training=short(x, y))
    assert any("'wide' is a dilated convolution" in note for note in variant.notes)
    assert "CONV_2D" in names(variant)
