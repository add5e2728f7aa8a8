"""The arena's calculator against TFLM's interpreter, on models that nobody has looked at."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from e2e_helpers import samples

from pytest_edgequant import CannotRunError, ConversionError, convert
from pytest_edgequant.measure.arena.calculator import calculate
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.targets.profiles import make_profile
from pytest_edgequant.tflite.graph import read_graph

L = keras.layers
HOST = make_profile("x86_64", "-", "reference")
SHAPE = (12, 12, 3)


def block(x: Any, chance: np.random.Generator) -> Any:
    """One random layer, or a branch that comes back."""
    kind = int(chance.integers(0, 9))
    width, stride = int(chance.integers(2, 12)), int(chance.integers(1, 3))
    size = int(chance.integers(1, 4))
    if min(x.shape[1:3]) <= 3:
        kind = kind % 3 + 4
    if kind == 0:
        return L.Conv2D(width, size, strides=stride, padding="same", activation="relu")(x)
    if kind == 1:
        return L.DepthwiseConv2D(size, padding="valid")(x)
    if kind == 2:
        return L.MaxPool2D(2)(x)
    if kind == 3:
        return L.AveragePooling2D(2, padding="same")(x)
    if kind == 4:
        branch = L.Conv2D(x.shape[-1], size, padding="same", activation="relu")(x)
        return L.Add()([x, L.Conv2D(x.shape[-1], 1)(branch)])
    if kind == 5:
        return L.Concatenate()([x, L.Conv2D(width, 1, activation="sigmoid")(x)])
    if kind == 6:
        return L.Multiply()([x, L.Conv2D(x.shape[-1], 1, activation="tanh")(x)])
    if kind == 7:
        return L.ZeroPadding2D(1)(x)
    return L.BatchNormalization()(L.Conv2D(width, 3)(x))


def random_model(seed: int) -> Any:
    chance = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    image = keras.Input(SHAPE, name="x")
    x = image
    for _ in range(int(chance.integers(2, 7))):
        x = block(x, chance)
    pooled = L.GlobalAveragePooling2D() if chance.random() < 0.5 else L.Flatten()
    activation = [None, "softmax", "sigmoid"][int(chance.integers(0, 3))]
    return keras.Model(image, L.Dense(int(chance.integers(1, 11)), activation)(pooled(x)))


@pytest.mark.parametrize("seed", range(12))
def test_equals_the_interpreter(seed: int, pipeline: Pipeline) -> None:
    pytest.importorskip("tflite_micro", reason="there is no tflite-micro wheel for this machine")
    model, compared = random_model(seed), 0
    for form in ("float32", "int8", "int16x8"):
        try:
            content = convert(model, form, calibration=samples(*SHAPE)).content
            theirs = pipeline.interpreters.tflm_allocation(content)
        except (ConversionError, CannotRunError):
            continue
        ours = calculate(read_graph(content), HOST)
        assert (ours.nonpersistent, ours.persistent) == (theirs.head, theirs.tail), form
        compared += 1
    assert compared
