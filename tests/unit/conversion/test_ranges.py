"""Activation ranges: of all that was seen, whatever the order of the samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from model_building import GraphBuilder
from random_models import options

from pytest_edgequant.conversion.ranges import observed_ranges
from pytest_edgequant.errors import CalibrationError, ConversionError
from pytest_edgequant.tflite.model import TFLiteModel


def two_inputs() -> tuple[bytes, dict[str, int]]:
    """sum = relu(wide) + narrow, where the file has the narrow input first."""
    b = GraphBuilder()
    narrow = b.activation((1, 3), "FLOAT32", "narrow")
    wide = b.activation((1, 4, 3), "FLOAT32", "wide")
    positive = b.add("RELU", [wide], (1, 4, 3), "FLOAT32")
    total = b.add("ADD", [positive, narrow], (1, 4, 3), "FLOAT32", options("AddOptions"))
    return b.build(), {"narrow": narrow, "wide": wide, "positive": positive, "total": total}


VALUES = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=20, deadline=None)
@given(st.data(), st.integers(1, 5))
def test_every_tensor_has_the_range_of_all_that_it_held(data: st.DataObject, count: int) -> None:
    """The oracle is the same arithmetic in NumPy, over all samples at once."""
    content, index = two_inputs()
    narrow = data.draw(arrays(np.float32, (count, 3), elements=VALUES))
    wide = data.draw(arrays(np.float32, (count, 4, 3), elements=VALUES))
    positive = np.maximum(wide, 0)
    expected = {
        "narrow": narrow,
        "wide": wide,
        "positive": positive,
        "total": positive + narrow[:, np.newaxis],
    }
    found = observed_ranges(TFLiteModel(content, "m"), [narrow, wide])
    assert found == {
        (0, index[name]): (float(values.min()), float(values.max()))
        for name, values in expected.items()
    }
    order = np.random.default_rng(count).permutation(count)
    assert observed_ranges(TFLiteModel(content, "m"), [narrow[order], wide[order]]) == found


def test_one_sample_of_many_widens_the_range() -> None:
    content, index = two_inputs()
    narrow, wide = np.zeros((200, 3), np.float32), np.zeros((200, 4, 3), np.float32)
    wide[17, 2, 1], narrow[199, 0] = 50, -70
    found = observed_ranges(TFLiteModel(content, "m"), [narrow, wide])
    assert found[0, index["wide"]] == (0, 50)
    assert found[0, index["total"]] == (-70, 50)


def test_what_stands_for_infinity_is_left_out() -> None:
    content, index = two_inputs()
    wide = np.asarray([[[-np.inf, 2, -3.2e38]] * 4, [[np.inf, 1, 3]] * 4], np.float32)
    narrow = np.asarray([[-np.inf, -np.inf, -np.inf], [0, 1, 2]], np.float32)
    found = observed_ranges(TFLiteModel(content, "m"), [narrow, wide])
    assert found[0, index["wide"]] == (1, 3)
    assert found[0, index["narrow"]] == (0, 2)


def test_a_tensor_without_finite_values_has_no_range() -> None:
    content, index = two_inputs()
    narrow = np.full((2, 3), -np.inf, np.float32)
    found = observed_ranges(TFLiteModel(content, "m"), [narrow, np.ones((2, 4, 3), np.float32)])
    assert set(found) == {(0, index["wide"]), (0, index["positive"])}


def test_nan_inside_names_the_tensor_and_the_sample() -> None:
    b = GraphBuilder()
    x = b.activation((1, 3), "FLOAT32", "x")
    b.add("SQRT", [x], (1, 3), "FLOAT32")
    samples = np.asarray([[1, 2, 3], [1, -1, 3]], np.float32)
    with pytest.raises(CalibrationError, match=r"model\.tflite: the tensor 't1' .* sample 1 "):
        observed_ranges(TFLiteModel(b.build(), "model.tflite"), [samples])


def test_a_model_of_another_batch_is_run_one_sample_at_a_time() -> None:
    b = GraphBuilder()
    x = b.activation((4, 3), "FLOAT32", "x")
    y = b.add("RELU", [x], (4, 3), "FLOAT32")
    samples = np.asarray([[-1, 2, 3], [1, 9, 3], [0, 0, 1]], np.float32)
    assert observed_ranges(TFLiteModel(b.build(), "m"), [samples]) == {
        (0, x): (-1, 9),
        (0, y): (0, 9),
    }


def test_a_model_that_litert_refuses_is_an_error_with_its_reason() -> None:
    b = GraphBuilder()
    x = b.activation((1, 3), "FLOAT32", "x")
    b.add("CUSTOM", [x], (1, 3), "FLOAT32", custom_code="mine")
    with pytest.raises(ConversionError, match=r"model\.tflite: LiteRT can't run.*mine"):
        observed_ranges(TFLiteModel(b.build(), "model.tflite"), [np.ones((1, 3), np.float32)])
