"""Every variant of real models, against Keras' own outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from e2e_helpers import make, operators, relative_error, samples

from pytest_edgequant import (
    CalibrationError,
    ConversionError,
    assert_fully_integer,
    convert,
)
from pytest_edgequant.forms import VARIANTS
from pytest_edgequant.pipeline.pipeline import Pipeline

L = keras.layers
FORMS = [name for name, spec in VARIANTS.items() if name != "as_is" and not spec.trained]


@pytest.fixture(scope="module")
def cnn() -> Any:
    return make(
        lambda: [
            L.Conv2D(8, 3),
            L.BatchNormalization(),
            L.ReLU(6.0),
            L.DepthwiseConv2D(3),
            L.SeparableConv2D(8, 3, activation="relu"),
            L.MaxPool2D(),
            L.Dropout(0.1),
            L.Flatten(),
            L.Dense(16, activation="relu"),
            L.Dense(4, activation="softmax"),
        ],
        (16, 16, 3),
    )


@pytest.mark.parametrize("form", FORMS)
def test_predicts_what_keras_predicts(cnn: Any, form: str) -> None:
    x = samples(16, 16, 3)
    variant = convert(cnn, form, calibration=x)
    assert relative_error(variant.predict(x), cnn(x, training=False)) < 0.08
    assert variant.inputs[0].shape == (1, 16, 16, 3)
    assert variant.path.read_bytes() == variant.content


@pytest.mark.parametrize("form", FORMS)
def test_pins_the_batch(cnn: Any, form: str) -> None:
    variant = convert(cnn, form, calibration=samples(16, 16, 3))
    assert not {"SHAPE", "STRIDED_SLICE", "PACK"} & set(operators(variant))


@pytest.mark.parametrize(
    ("form", "dtype"),
    [("int8", "int8"), ("uint8_io", "uint8"), ("int16x8", "int16"), ("int8_float_io", "float32")],
)
def test_integer_forms_have_their_io_type(cnn: Any, form: str, dtype: str) -> None:
    variant = convert(cnn, form, calibration=samples(16, 16, 3))
    assert variant.inputs[0].dtype == variant.outputs[0].dtype == np.dtype(dtype)
    if dtype != "float32":
        assert_fully_integer(variant)
        assert variant.inputs[0].scale > 0  # type: ignore[operator]


def test_dense_weights_are_per_tensor_unless_asked(cnn: Any) -> None:
    def dense_weights(variant: Any) -> list[bool]:
        weights = [t for t in variant.tensors if t.constant and t.shape[:1] == (16,)]
        return [t.quantization.per_axis for t in weights if len(t.shape) == 2]

    x = samples(16, 16, 3)
    assert dense_weights(convert(cnn, "int8", calibration=x)) == [False]
    per_channel = convert(cnn, "int8", calibration=x, dense_per_channel=True)
    assert dense_weights(per_channel) == [True]


def test_one_conversion_makes_the_whole_int8_family(pipeline: Pipeline) -> None:
    model = make(lambda: [L.Dense(5)], (7,), seed=11)
    before = pipeline.converted
    for form in ("int8", "int8_float_io", "uint8_io"):
        convert(model, form, calibration=samples(7))
    assert pipeline.converted == before + 1


def test_dynamic_range_that_quantized_nothing_says_so() -> None:
    small = convert(make(lambda: [L.Dense(5)], (7,)), "dynamic_range")
    large = convert(make(lambda: [L.Dense(64)], (64,)), "dynamic_range")
    assert "quantized nothing" in " ".join(small.notes)
    assert not large.notes


def test_float_fallback_is_an_error_that_names_tensor_and_operator() -> None:
    model = make(lambda: [L.Dense(8), L.Lambda(keras.ops.sin), L.Dense(3)], (6,))
    with pytest.raises(ConversionError, match=r"fell back to float.*SIN \(operator \d+\)"):
        convert(model, "int8", calibration=samples(6))


def _odd(function: Any, shape: tuple[int, ...]) -> Any:
    import tensorflow as tf

    return make(
        lambda: [L.Dense(4), L.Lambda(lambda v: function(tf, v), name="odd"), L.Flatten()], shape
    )


@pytest.mark.parametrize("form", ["float32", "int8", "int16x8", "dynamic_range"])
def test_operators_that_tflite_lacks_are_named(form: str) -> None:
    for name, function in (
        ("Svd", lambda tf, v: tf.linalg.svd(v, compute_uv=False)),
        ("PyFunc", lambda tf, v: tf.ensure_shape(tf.numpy_function(abs, [v], "float32"), v.shape)),
    ):
        with pytest.raises(ConversionError, match=rf"no operator for .*{name} \(in '.*odd"):
            convert(_odd(function, (6, 4)), form, calibration=samples(6, 4))


def test_what_computes_in_float_is_named_before_its_dequantize() -> None:
    model = _odd(lambda tf, v: tf.abs(tf.signal.stft(v[..., 0], 8, 4)), (32, 4))
    with pytest.raises(ConversionError, match=r"fell back to float in [^:]*: .*RFFT2D"):
        convert(model, "int8", calibration=samples(32, 4))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_calibration_that_is_not_finite_is_refused(bad: float) -> None:
    x = samples(7)
    x[5, 2] = bad
    with pytest.raises(CalibrationError, match="sample 5"):
        convert(make(lambda: [L.Dense(5)], (7,)), "int8", calibration=x)


def test_few_calibration_samples_are_noted() -> None:
    variant = convert(make(lambda: [L.Dense(5)], (7,)), "int8", calibration=samples(7, count=20))
    assert any("20 samples" in note for note in variant.notes)


def test_calibration_forms_give_the_same_model() -> None:
    import tensorflow as tf

    model, x = make(lambda: [L.Dense(5)], (7,)), samples(7)
    forms: list[Any] = [
        x,
        list(x),
        (sample for sample in x),
        lambda: ([sample[np.newaxis]] for sample in x),
        {"x": x},
        tf.data.Dataset.from_tensor_slices(x).batch(32),
        tf.data.Dataset.from_tensor_slices((x, np.zeros(len(x)))).batch(32),
    ]
    # Tensor names may differ: the same model from an earlier test may be in the cache.
    outputs = [convert(model, "int8", calibration=form).predict(x) for form in forms]
    assert all(np.array_equal(output, outputs[0]) for output in outputs)


def test_a_second_run_starts_no_converter(tmp_path: Path) -> None:
    model = make(lambda: [L.Dense(5)], (7,))
    model.save(tmp_path / "m.keras")
    from pytest_edgequant.pipeline.request import CalibrationRequest

    for expected in (1, 0):
        pipeline = Pipeline(tmp_path / "cache")
        request = CalibrationRequest(samples=lambda: samples(7))
        pipeline.variant(tmp_path / "m.keras", "int8", request)
        assert pipeline._converter.starts == expected
        pipeline.close()
