"""Integer forms from a float .tflite, against TensorFlow's converter on the same Keras model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
from e2e_helpers import relative_error, samples

from pytest_edgequant import convert
from pytest_edgequant.records import Variant
from pytest_edgequant.tflite.graph import Tensor, read_graph

L = keras.layers

INTEGER_FORMS = ("int8", "int16x8", "int8_float_io", "uint8_io")

_IN_PLACE = ("ADD", "SUB", "MUL")
"""Operators that write where an input stood. TensorFlow's calibration looks at inputs after the
operator ran, so that it takes the outputs' range into those inputs'; what was there is narrower."""


def joined() -> tuple[Any, tuple[int, ...]]:
    """Fixed output scales, a concatenation of unequal ranges, pooling, dense layers."""
    x = image = keras.Input((10, 12, 3))
    x = L.Conv2D(6, 3, padding="same", activation="relu6")(x)
    x = L.DepthwiseConv2D(3, padding="same")(x)
    first, second = L.Conv2D(4, 1, activation="sigmoid")(x), L.Conv2D(5, 3, padding="same")(x)
    x = L.Concatenate()([first, L.Activation("tanh")(second), L.MaxPooling2D(1)(x)])
    x = L.Flatten()(L.AveragePooling2D(2)(x))
    return keras.Model(image, L.Softmax()(L.Dense(5)(x))), (10, 12, 3)


def residual() -> tuple[Any, tuple[int, ...]]:
    """Additions and products, a mean, a transposed convolution, strided slices."""
    x = image = keras.Input((8, 8, 4))
    x = L.Conv2DTranspose(4, 3, padding="same")(x)
    gate = L.Dense(4, activation="sigmoid")(L.GlobalAveragePooling2D()(x))
    x = L.Multiply()([x, L.Reshape((1, 1, 4))(gate)])
    x = L.ReLU()(L.Add()([x, L.Conv2D(4, 1)(x)]))
    return keras.Model(image, L.Dense(3)(L.Flatten()(L.Cropping2D(1)(x)))), (8, 8, 4)


def wave() -> tuple[Any, tuple[int, ...]]:
    x = keras.Input((1,))
    y = L.Dense(16, activation="relu")(x)
    return keras.Model(x, L.Dense(1)(L.Dense(16, activation="relu")(y))), (1,)


@cache
def randomized(make: Callable[[], tuple[Any, tuple[int, ...]]]) -> tuple[Any, Any]:
    """A model with biases that are not zero, and samples of which few are wide."""
    keras.utils.set_random_seed(5)
    model, shape = make()
    noise = np.random.default_rng(7)
    model.set_weights([w + noise.normal(0, 0.05, w.shape) for w in model.get_weights()])
    x = samples(*shape)
    return model, x * noise.uniform(0.1, 3, (len(x), *[1] * len(shape))).astype(np.float32)


def float_file(model: Any) -> bytes:
    return bytes(convert(model, "float32").content)


def activations(variant: Variant) -> dict[str, Tensor]:
    main = read_graph(variant.content, variant.label).main
    return {t.name: t for t in main.tensors if t.quantization is not None}


def written_over(variant: Variant) -> set[str]:
    """Tensors whose range TensorFlow mixes with that of what was written over them."""
    main = read_graph(variant.content, variant.label).main
    taken = {i for o in main.operators if o.name in _IN_PLACE for i in o.inputs}
    return {main.tensors[i].name for i in taken if not main.tensors[i].constant}


def limits(tensor: Tensor) -> tuple[float, float]:
    assert tensor.quantization is not None
    ((scale,), (zero,)) = tensor.quantization.scales, tensor.quantization.zero_points
    low, high = {"INT8": (-128, 127), "INT16": (-32767, 32767), "UINT8": (0, 255)}[tensor.type]
    return (low - zero) * scale, (high - zero) * scale


@pytest.mark.parametrize("form", ["int8", "int16x8"])
@pytest.mark.parametrize("make", [joined, residual, wave])
def test_scales_and_zero_points_are_those_of_tensorflow(
    make: Callable[[], tuple[Any, tuple[int, ...]]], form: str
) -> None:
    model, x = randomized(make)
    theirs = convert(model, form, calibration=x)
    ours = convert(float_file(model), form, calibration=x)
    expected, mixed, compared = activations(theirs), written_over(theirs), 0
    for name, tensor in activations(ours).items():
        if name not in expected:  # what converters insert has names of their own
            continue
        known = expected[name].quantization
        assert known is not None
        assert tensor.quantization is not None
        assert tensor.type == expected[name].type, name
        if name in mixed:
            low, high = limits(tensor)
            widest = limits(expected[name])
            step = tensor.quantization.scales[0]
            assert widest[0] - step <= low < high <= widest[1] + step, name
            continue
        compared += 1
        np.testing.assert_allclose(
            tensor.quantization.scales, known.scales, rtol=1e-5, err_msg=name
        )
        assert tensor.quantization.zero_points == known.zero_points, name
        assert tensor.quantization.axis == known.axis or not known.per_axis, name
    assert compared >= 2 * len(model.layers) // 3


@pytest.mark.parametrize("form", INTEGER_FORMS)
def test_ranges_do_not_depend_on_the_order_of_the_samples(form: str) -> None:
    model, x = randomized(wave)
    content = float_file(model)
    orders = [x, x[::-1], np.sort(x, axis=0)]
    files = [convert(content, form, calibration=samples).content for samples in orders]
    assert files[0] == files[1] == files[2]


@pytest.mark.parametrize("form", INTEGER_FORMS)
@pytest.mark.parametrize("make", [joined, residual, wave])
def test_outputs_are_as_near_as_those_of_tensorflow(
    make: Callable[[], tuple[Any, tuple[int, ...]]], form: str
) -> None:
    model, x = randomized(make)
    truth = model(x, training=False)
    theirs = convert(model, form, calibration=x)
    ours = convert(float_file(model), form, calibration=x)
    for mine, known in zip(
        (*ours.inputs, *ours.outputs), (*theirs.inputs, *theirs.outputs), strict=True
    ):
        assert mine.dtype == known.dtype
        if known.quantization is not None:
            assert mine.scale == pytest.approx(known.scale, rel=1e-5)
            assert mine.zero_point == known.zero_point
    error, known_error = (relative_error(v.predict(x), truth) for v in (ours, theirs))
    assert error < 1.5 * known_error + 0.01


def test_inputs_of_unequal_ranges_keep_their_own() -> None:
    small, large = keras.Input((4,), name="zeta"), keras.Input((7,), name="alpha")
    both = L.Concatenate()([L.Dense(3)(small), L.Dense(5)(large)])
    content = float_file(keras.Model([small, large], [L.Dense(2)(both), L.Dense(6)(both)]))
    x = {"zeta": samples(4).clip(-1, 1), "alpha": samples(7, seed=1) * 40}
    variant = convert(content, "int8", calibration=x)
    for info in variant.inputs:
        values = x[info.name]
        scale = info.quantization.scales[0]  # type: ignore[union-attr]
        assert scale == pytest.approx((values.max() - values.min()) / 255, rel=1e-5)
    assert {info.name for info in variant.inputs} == {"zeta", "alpha"}
