"""Small classification problems, and models trained on them, for the training tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import keras
import numpy as np

from pytest_edgequant import TrainingRecipe, convert
from pytest_edgequant.tflite.graph import read_graph


def classes(*shape: int, count: int = 240, kinds: int = 4, seed: int = 0) -> tuple[Any, Any]:
    """Samples around one random center a class, and the class of each."""
    chance = np.random.default_rng(seed)
    centers = chance.normal(size=(kinds, *shape)).astype(np.float32)
    y = np.arange(count) % kinds
    x = 0.7 * centers[y] + chance.normal(size=(count, *shape)).astype(np.float32)
    return x.astype(np.float32), y


def fitted(model: Any, x: Any, y: Any, epochs: int = 3, loss: str | None = None) -> Any:
    """The model after a short training in float."""
    model.compile("adam", loss or "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=epochs, batch_size=16, verbose=0)
    return model


def short(x: Any, y: Any, **changes: Any) -> TrainingRecipe:
    """A recipe of two epochs."""
    return TrainingRecipe(**{"data": (x, y), "epochs": 2, **changes})


@lru_cache
def trained(build: Callable[[Any], Any], shape: tuple[int, ...]) -> Any:
    """A functional model of these layers up to a softmax, its variant, and its samples."""
    keras.utils.set_random_seed(0)
    image = keras.Input(shape, name="x")
    features = build(image)
    if len(features.shape) > 2:
        features = keras.layers.Flatten()(features)
    model = keras.Model(image, keras.layers.Dense(4, activation="softmax")(features))
    x, y = classes(*shape)
    fitted(model, x, y)
    return model, convert(model, "qat_int8", training=short(x, y)), x, y


def names(variant: Any) -> list[str]:
    return [operator.name for _, operator in read_graph(variant.content).operators()]
