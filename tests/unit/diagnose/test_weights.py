from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from pytest_edgequant.diagnose.weights import BINS, layer_weights
from pytest_edgequant.errors import ModelError
from pytest_edgequant.tflite.constants import constant_values
from pytest_edgequant.tflite.graph import read_graph

FORMS = ("float32", "float16", "dynamic_range", "int8", "int16x8", "uint8_io")


@pytest.mark.parametrize("form", FORMS)
def test_constants_are_what_the_interpreter_has(tiny: dict[str, Path], form: str) -> None:
    content = tiny[form].read_bytes()
    interpreter = Interpreter(model_content=content)
    compared = 0
    for tensor in read_graph(content).main.tensors:
        if tensor.constant:
            ours = constant_values(content, 0, tensor)
            theirs = interpreter.get_tensor(tensor.index)
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)
            compared += 1
    assert compared > 3


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_same_layers(tiny: dict[str, Path], form: str) -> None:
    layers = layer_weights(tiny[form].read_bytes(), tiny["float32"].read_bytes())
    floats = layer_weights(tiny["float32"].read_bytes())
    assert [layer.shape for layer in layers] == [layer.shape for layer in floats]
    for layer, whole in zip(layers, floats, strict=True):
        assert sum(layer.counts) == math.prod(layer.shape)
        assert len(layer.counts) == BINS
        assert layer.limit == pytest.approx(whole.limit, rel=0.02)


def test_floats_have_no_scale_and_lose_nothing(tiny: dict[str, Path]) -> None:
    content = tiny["float32"].read_bytes()
    for layer in layer_weights(content, content):
        assert layer.scales is layer.used is layer.sqnr_db is None
        assert not layer.measured


def test_the_error_is_that_of_the_stored_weights(tiny: dict[str, Path]) -> None:
    float32 = tiny["float32"].read_bytes()
    layers = layer_weights(tiny["int8"].read_bytes(), float32)
    estimated = layer_weights(tiny["int8"].read_bytes())
    for layer, alone in zip(layers, estimated, strict=True):
        assert layer.measured
        assert not alone.measured
        assert layer.scales is not None
        assert layer.sqnr_db is not None
        assert alone.sqnr_db is not None
        assert layer.largest_error is not None
        assert layer.largest_error <= layer.scales[1] * 0.5001
        # What rounding must cost is what it did cost.
        assert layer.sqnr_db == pytest.approx(alone.sqnr_db, abs=2.5)
        assert 25 < layer.sqnr_db < 60
        assert layer.used == pytest.approx(1.0)


def test_half_precision_is_measured_too(tiny: dict[str, Path]) -> None:
    layers = layer_weights(tiny["float16"].read_bytes(), tiny["float32"].read_bytes())
    assert all(layer.measured and layer.sqnr_db is not None for layer in layers)
    assert min(layer.sqnr_db or 0 for layer in layers) > 60


def test_another_model_is_no_reference(tiny: dict[str, Path]) -> None:
    residual = (tiny["int8"].parent / "residual_int8.tflite").read_bytes()
    assert not any(
        layer.measured for layer in layer_weights(residual, tiny["float32"].read_bytes())
    )


@pytest.mark.parametrize("length", [0, 8, 100, 2_000, 5_000])
def test_a_truncated_file_is_a_clear_error(tiny: dict[str, Path], length: int) -> None:
    content = tiny["int8"].read_bytes()[:length]
    with pytest.raises(ModelError, match=r"model: "):
        layer_weights(content)
