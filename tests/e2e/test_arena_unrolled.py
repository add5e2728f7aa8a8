"""What is said of unrolled recurrent layers, against models that were really built that way."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from e2e_helpers import make, samples

from pytest_edgequant import convert
from pytest_edgequant.measure.arena import compute_arena
from pytest_edgequant.records import Arena
from pytest_edgequant.targets.profiles import make_profile
from pytest_edgequant.tflite.graph import read_graph

L = keras.layers
CMSIS = make_profile("arm32", "cortex-m4", "cmsis-nn")


def planned(model: Any, form: str, steps: int) -> Arena:
    content = bytes(convert(model, form, calibration=samples(steps, 4)).content)
    return compute_arena(read_graph(content), CMSIS, content)


def layers(kind: str) -> Any:
    last = L.Dense(3, activation="softmax")
    if kind == "two":
        return [L.LSTM(5, return_sequences=True), L.GRU(4), last]
    return [getattr(L, kind)(8), last]


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "two"])
@pytest.mark.slow
def test_effects_are_those_of_models_built_that_way(kind: str) -> None:
    whole = make(lambda: layers(kind), (10, 4))
    arena = planned(whole, "int8", 10)
    assert "unrolled" in arena.explain()
    found = {way.text: arena.minimum_bytes - way.bytes for way in arena.suggestions()}
    half = planned(make(lambda: layers(kind), (5, 4)), "int8", 5)
    left = found["5 time steps instead of 10 in the unrolled recurrent layers"]
    assert left == pytest.approx(half.minimum_bytes, rel=0.05)
    loop = planned(whole, "float32", 10)
    left = found["float32, where the recurrent layers stay loops"]
    assert left == pytest.approx(loop.minimum_bytes, rel=0.05)
    ways = [way for way in loop.suggestions() if way.text.startswith("int8")]
    assert not ways  # a loop is unrolled for int8, which takes more


@pytest.mark.slow
def test_a_fused_lstm_needs_what_tf_keras_gives() -> None:
    legacy = pytest.importorskip("tf_keras")
    arena = planned(make(lambda: [L.LSTM(8), L.Dense(3)], (10, 4)), "int8", 10)
    fused = legacy.Sequential([legacy.layers.LSTM(8, input_shape=(10, 4)), legacy.layers.Dense(3)])
    other = planned(fused, "int8", 10)
    # Its intermediates are float: they carry scales alone, and no operator has them.
    assert not [w for w in other.suggestions() if "instead of float32" in w.text]
    expected = other.minimum_bytes
    (way,) = [w for w in arena.suggestions() if "UNIDIRECTIONAL_SEQUENCE_LSTM" in w.text]
    assert arena.minimum_bytes - way.bytes == pytest.approx(expected, rel=0.03)
