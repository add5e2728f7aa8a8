"""Models and samples that the end-to-end tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from pytest_edgequant.tflite.graph import read_graph


def samples(*shape: int, seed: int = 0, count: int = 120) -> Any:
    """Representative samples from a normal distribution."""
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def make(layers: Callable[[], list[Any]], shape: tuple[int | None, ...], seed: int = 0) -> Any:
    """A Sequential model with random weights, which Keras draws seeds for as layers are made."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input(shape, name="x"), *layers()])


def operators(variant: Any) -> list[str]:
    graph = read_graph(variant.content, variant.label)
    return [operator.label for _, operator in graph.operators()]


def relative_error(actual: Any, expected: Any) -> float:
    """Largest difference over the largest expected value."""
    expected = np.asarray(expected)
    return float(np.abs(np.asarray(actual) - expected).max() / np.abs(expected).max())
