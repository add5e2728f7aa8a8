"""Data and models of `qat.py`, for Keras 3 and for tf_keras."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_digits

Split = tuple[np.ndarray, np.ndarray]
TRAINED_WITH = 1200
BATCH = 32


def digits(seed: int = 0) -> tuple[Split, Split]:
    """Training and test samples: images of 8 x 8 pixels from 0 to 1."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    x = (x / 16).astype(np.float32).reshape(-1, 8, 8, 1)[order]
    y = y[order]
    return (x[:TRAINED_WITH], y[:TRAINED_WITH]), (x[TRAINED_WITH:], y[TRAINED_WITH:])


def digits_cnn(keras: Any) -> Any:
    """The example project's CNN."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(32, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def depthwise_cnn(keras: Any) -> Any:
    """Depthwise layers, batch normalization, ReLU6."""
    layers = keras.layers
    image = x = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    for width in (24, 32):
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        x = layers.Conv2D(width, 1, use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(10, activation="softmax")(x))


def fit(model: Any, train: Split, epochs: int = 25) -> Any:
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(*train, epochs=epochs, batch_size=BATCH, verbose=0)
    return model


def spread_channels(model: Any, decades: float, seed: int) -> None:
    """Scale each normalized channel down by up to `decades`, and the next layer's weights up.

    The float function stays (ReLU6 clips less), int8 activations lose the small channels' bits.
    """
    chance = np.random.default_rng(seed)
    for position, layer in enumerate(model.layers):
        if type(layer).__name__ != "BatchNormalization":
            continue
        follower = next(other for other in model.layers[position + 1 :] if other.weights)
        gamma, beta, *rest = layer.get_weights()
        factors = (10 ** -chance.uniform(0, decades, len(gamma))).astype(np.float32)
        layer.set_weights([gamma * factors, beta * factors, *rest])
        kernel, *rest = follower.get_weights()
        kind = type(follower).__name__
        shape = {"DepthwiseConv2D": (1, 1, -1, 1), "Dense": (-1, 1)}.get(kind, (1, 1, -1, 1))
        follower.set_weights([kernel / factors.reshape(shape), *rest])


def step_seconds(step: Any, rounds: int = 5, steps: int = 40) -> float:
    """The fastest round's seconds a step; `step(count)` takes that many."""
    import time

    step(2)
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        step(steps)
        best = min(best, (time.perf_counter() - start) / steps)
    return best
