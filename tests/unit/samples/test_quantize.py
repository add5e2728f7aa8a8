from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from model_building import one_operator, run_litert, tensor

from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.errors import DatasetError
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.records import Quantization, TensorInfo
from pytest_edgequant.samples.quantize import dequantize, quantize

KINDS = {"int8": -3, "uint8": 130, "int16": 0}
SCALES = (0.5, 0.0078125, 1 / 255, 0.1)


def info(kind: str, scale: float, zero_point: int = 0, shape: tuple[int, ...] = (1, 4)) -> Any:
    quantization = Quantization((float(np.float32(scale)),), (zero_point,))
    return TensorInfo("x", shape, np.dtype(kind), quantization)


def per_axis(kind: str = "int8") -> TensorInfo:
    quantization = Quantization((0.5, 0.25, 2.0), (0, 10, -10), axis=1)
    return TensorInfo("x", (1, 3, 2), np.dtype(kind), quantization)


# -- against LiteRT -----------------------------------------------------------------------------


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", KINDS)
def test_quantizing_is_what_the_reference_kernel_does(kind: str, scale: float) -> None:
    generator = np.random.default_rng(0)
    reach = 400 if kind != "int16" else 40_000
    steps = generator.integers(-reach, reach, 5000) + generator.choice([0, 0.5, 0.25, -0.5], 5000)
    x = (steps * np.float32(scale)).astype(np.float32)[np.newaxis, np.newaxis]
    there = tensor("y", [1, 5000], kind.upper(), scales=[scale], zero_points=[KINDS[kind]])
    content = one_operator("QUANTIZE", [tensor("x", [1, 5000], "FLOAT32")], there)
    theirs = run_litert(content, x[0], reference_kernels=True)
    ours = quantize(x[0], info(kind, scale, KINDS[kind], (1, 5000)))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", KINDS)
def test_dequantizing_is_what_litert_does(kind: str, scale: float) -> None:
    limits = np.iinfo(kind)
    x = np.random.default_rng(0).integers(limits.min, limits.max, (1, 5000), kind, endpoint=True)
    here = tensor("x", [1, 5000], kind.upper(), scales=[scale], zero_points=[KINDS[kind]])
    content = one_operator("DEQUANTIZE", [here], tensor("y", [1, 5000], "FLOAT32"))
    ours = dequantize(x, info(kind, scale, KINDS[kind], (1, 5000)))
    np.testing.assert_array_equal(ours, run_litert(content, x))


def test_the_int8_model_gives_the_scores_of_the_one_that_quantizes_itself(
    pipeline: Pipeline, tiny: Mapping[str, Path]
) -> None:
    x = np.random.default_rng(0).uniform(-0.5, 1.5, (100, 8, 8, 1)).astype(np.float32)
    scores = {form: load_variant(tiny[form]).predict(x) for form in ("int8", "int8_float_io")}
    np.testing.assert_array_equal(scores["int8"], scores["int8_float_io"])
    assert scores["int8"].dtype == np.float32


# -- properties ---------------------------------------------------------------------------------

scales = st.floats(2**-12, 2**6, width=32)
values = arrays(np.float32, (3, 4), elements=st.floats(-1e5, 1e5, width=32))


@given(values, scales, st.sampled_from(sorted(KINDS)), st.integers(-100, 100))
def test_the_error_is_half_a_step_inside_and_saturated_outside(
    x: Any, scale: float, kind: str, offset: int
) -> None:
    limits = np.iinfo(kind)
    zero_point = int(np.clip(offset, limits.min, limits.max))
    tensor_info = info(kind, scale, zero_point)
    low, high = (scale * (bound - zero_point) for bound in (limits.min, limits.max))
    q = quantize(x, tensor_info)
    error = np.abs(dequantize(q, tensor_info).astype(np.float64) - x)
    inside = (x >= low) & (x <= high)
    # Half a step, and what float32 can't tell apart at this magnitude.
    assert (error[inside] <= scale / 2 + np.spacing(np.abs(x[inside])) * 2).all()
    assert (q[x > high] == limits.max).all()
    assert (q[x < low] == limits.min).all()


@given(scales, st.sampled_from(sorted(KINDS)), st.data())
def test_integers_come_back_from_their_real_values(
    scale: float, kind: str, data: st.DataObject
) -> None:
    limits = np.iinfo(kind)
    element = st.integers(int(limits.min), int(limits.max))
    q = data.draw(arrays(np.dtype(kind), (2, 4), elements=element))
    tensor_info = info(kind, scale, data.draw(element))
    np.testing.assert_array_equal(quantize(dequantize(q, tensor_info), tensor_info), q)


def test_halves_go_away_from_zero() -> None:
    x = np.array([[-1.5, -0.5, 0.5, 1.5]], np.float32)
    assert quantize(x, info("int8", 1.0)).tolist() == [[-2, -1, 1, 2]]


def test_infinities_saturate_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    x = np.array([[-np.inf, np.inf, -1e38, 1e38]], np.float32)
    assert quantize(x, info("int8", 0.5, 7)).tolist() == [[-128, 127, -128, 127]]
    assert len(recwarn) == 0


@pytest.mark.parametrize("tensor_info", [info("int8", 0.5), per_axis()])
def test_nan_is_refused_by_name(tensor_info: TensorInfo) -> None:
    x = np.zeros((2, *tensor_info.shape[1:]), np.float32)
    x.flat[3] = np.nan
    with pytest.raises(DatasetError, match="the input 'x' has NaN values"):
        quantize(x, tensor_info)


def test_each_index_along_the_axis_has_its_own_scale() -> None:
    x = np.array([[[1, -1], [1, -1], [1, -1]], [[0, 100], [0, 100], [0, 100]]], np.float32)
    q = quantize(x, per_axis())
    assert q.tolist() == [[[2, -2], [14, 6], [-9, -11]], [[0, 127], [10, 127], [-10, 40]]]
    assert dequantize(q, per_axis())[0].tolist() == [[1, -1], [1, -1], [2, -2]]


def test_whole_numbers_are_real_values_too() -> None:
    assert quantize(np.array([[0, 1, 2, 300]]), info("uint8", 0.5, 1)).tolist() == [[1, 3, 5, 255]]


@pytest.mark.parametrize("kind", ["float32", "int32"])
def test_a_tensor_without_scale_is_only_cast(kind: str) -> None:
    plain = TensorInfo("x", (1, 2), np.dtype(kind))
    stored = quantize(np.array([[1.0, 2.0]]), plain)
    assert stored.dtype == np.dtype(kind)
    assert stored.tolist() == [[1, 2]]
    assert dequantize(stored, plain) is stored
