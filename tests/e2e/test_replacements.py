"""What messages tell to use instead of a layer: converted, and looked at by the rules again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L
from keras import ops

from pytest_edgequant import assert_deployable, convert
from pytest_edgequant.errors import CannotRun, ConversionError

Build = Callable[[], list[Any]]


class Lookup(L.Layer):  # type: ignore[misc]
    def build(self, shape: Any) -> None:
        self.table = self.add_weight(shape=(50, 4), name="table")

    def call(self, ids: Any) -> Any:
        return tf.gather(self.table, ids)


class Normalize(L.Layer):  # type: ignore[misc]
    def build(self, shape: Any) -> None:
        self.gamma = self.add_weight(shape=shape[-1:], initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=shape[-1:], initializer="zeros", name="beta")

    def call(self, x: Any) -> Any:
        c = x - ops.mean(x, -1, keepdims=True)
        scaled = c * ops.rsqrt(ops.mean(c * c, -1, keepdims=True) + 1e-3)
        return scaled * self.gamma + self.beta


class Function(L.Layer):  # type: ignore[misc]
    def __init__(self, function: Callable[[Any], Any], **rest: Any) -> None:
        super().__init__(**rest)
        self.function = function

    def call(self, x: Any) -> Any:
        return self.function(x)


def model(shape: tuple[int, ...], inner: Build, dtype: str = "float32") -> tuple[Any, Any]:
    """A model with these layers in it, and samples."""
    keras.utils.set_random_seed(1)
    made = keras.Sequential(
        [keras.Input(shape, dtype=dtype), *inner(), L.Flatten(), L.Dense(3, name="head")]
    )
    chance = np.random.default_rng(0)
    if dtype != "float32":
        return made, chance.integers(0, 50, (120, *shape)).astype(dtype)
    return made, chance.normal(size=(120, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    "layers, instead, form, shape, dtype, words",
    [
        (
            lambda: [L.Embedding(50, 4, name="words")],
            lambda: [Lookup()],
            "int8",
            (8,),
            "int32",
            ("SELECT", "tf.gather(self.table, ids)", "In the layer 'words"),
        ),
        (
            lambda: [L.Dense(8), L.LayerNormalization(name="norm_layer_norm")],
            lambda: [L.Dense(8), Normalize()],
            "int8",
            (8,),
            "float32",
            ("NEG", "In the layer 'norm_layer_norm", "BatchNormalization", "rsqrt"),
        ),
        (
            lambda: [L.Dense(8), L.LayerNormalization()],
            lambda: [L.Dense(8), Normalize()],
            "int16x8",
            (8,),
            "float32",
            ("'NEG'", "In the layer 'layer_normalization", "BatchNormalization"),
        ),
        (
            lambda: [L.Conv2D(4, 3), L.UpSampling2D(2)],
            lambda: [
                L.Conv2D(4, 3),
                Function(lambda x: ops.image.resize(x, (4, 4), interpolation="nearest")),
            ],
            "int8",
            (4, 4, 3),
            "float32",
            ("TILE", "In the layer 'up_sampling2d", 'interpolation="nearest"'),
        ),
        (
            lambda: [L.Dense(8, activation="gelu", name="first")],
            lambda: [L.Dense(8, activation="swish")],
            "int8",
            (8,),
            "float32",
            ("GELU", "In the layer 'first", "swish"),
        ),
        (
            lambda: [L.Dense(8), Function(lambda x: ops.where(x > 0, x, x * 0.5), name="mine")],
            lambda: [L.Dense(8), Function(lambda x: ops.where(x > 0, x, 0.0))],
            "int8",
            (8,),
            "float32",
            ("SELECT", "In the layer 'mine", "keras.ops.where(mask, x, 0.0)"),
        ),
    ],
)
def test_a_layer_that_does_not_run_is_named_with_one_that_does(
    layers: Build,
    instead: Build,
    form: str,
    shape: tuple[int, ...],
    dtype: str,
    words: tuple[str, ...],
) -> None:
    broken, samples = model(shape, layers, dtype)
    with pytest.raises((CannotRun, ConversionError)) as caught:
        assert_deployable(convert(broken, form, calibration=samples), "nano33ble")
    for word in words:
        assert word in str(caught.value)
    replaced, samples = model(shape, instead, dtype)
    assert_deployable(convert(replaced, form, calibration=samples), "nano33ble")


def test_integer_inputs_of_int16x8_are_no_fault_of_the_calibration() -> None:
    made, samples = model((8,), lambda: [L.Embedding(50, 4)], "int32")
    with pytest.raises(ConversionError) as caught:
        convert(made, "int16x8", calibration=samples)
    message = str(caught.value)
    assert "int16x8 can't compute with integer inputs" in message
    assert "(int32)" in message
    assert "The samples are not the matter" in message
    assert "Use int8" in message
