"""Operators in training: each computes what its int8 kernel does, or stays as it is and says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from qat_helpers import classes, fitted, names, short, trained

from pytest_edgequant import ConversionError, assert_fully_integer, convert
from pytest_edgequant.conversion.qat.plan import make_plan
from pytest_edgequant.conversion.qat.simulation import Mode, Simulation
from pytest_edgequant.tflite.model import TFLiteModel

L = keras.layers
IMAGE = (8, 8, 4)
BORDER = [[0, 0], [0, 0]]


def _patched(x: Any) -> Any:
    return keras.ops.slice_update(x, (0, 1, 0, 0), x[:, :2] * 0.5)


OPERATORS: dict[str, Callable[[Any], Any]] = {
    "ARG_MAX": lambda x: tf.argmax(x, -1),
    "ARG_MIN": lambda x: tf.argmin(x, 1, output_type=tf.int32),
    "REDUCE_PROD": lambda x: tf.reduce_prod(x, 3),
    "GATHER_ND": lambda x: tf.gather_nd(x, [[0, 1, 2], [0, 3, 5]]),
    "BATCH_MATMUL": lambda x: tf.matmul(x, x * 0.5, transpose_b=True),
    "TOPK_V2": lambda x: tf.nn.top_k(x, 2).values,
    "SPACE_TO_BATCH_ND": lambda x: tf.space_to_batch(x, [2, 4], BORDER),
    "BATCH_TO_SPACE_ND": lambda x: tf.batch_to_space(
        tf.reshape(x, (4, 4, 4, 4)), [2, 2], [[0, 1], [1, 0]]
    ),
    "DYNAMIC_UPDATE_SLICE": _patched,
    # Without a simulation: the kernel itself.
    "SCATTER_ND": lambda x: tf.scatter_nd([[1], [3]], x[0, :2], [6, 8, 4]),
}


def _files(function: Callable[[Any], Any]) -> tuple[bytes, bytes]:
    """What the converter makes of a function on images, as int8 with float ends, and in float."""
    factor = tf.constant(np.linspace(0.5, 1.5, 4, dtype=np.float32))
    concrete = tf.function(lambda x: function(x * factor)).get_concrete_function(
        tf.TensorSpec((1, *IMAGE))
    )
    found = []
    for quantized in (True, False):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
        if quantized:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            chance = np.random.default_rng(1)
            converter.representative_dataset = lambda chance=chance: (
                [chance.normal(size=(1, *IMAGE)).astype(np.float32)] for _ in range(8)
            )
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        found.append(bytes(converter.convert()))
    return found[0], found[1]


def _run(content: bytes, x: Any) -> Any:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    found = []
    for sample in x:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample)
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return np.stack(found)


@pytest.mark.parametrize("name", OPERATORS)
def test_what_is_trained_is_what_runs(name: str) -> None:
    quantized, floating = _files(OPERATORS[name])
    plan = make_plan(TFLiteModel(quantized, "m"), TFLiteModel(floating, "m"))
    assert name in [o.name for o in plan.main.operators]
    simulation = Simulation(plan, "m")
    last = plan.main.operators[-1]
    quantization = plan.main.tensors[last.inputs[0]].quantization
    # Indices are exact, and what the converter left in float.
    scale = quantization.scales[0] if last.name == "DEQUANTIZE" else 1e-6
    x = np.random.default_rng(2).normal(size=(12, 1, *IMAGE)).astype(np.float32)
    for mode, content in ((Mode(), quantized), (Mode(quantize=False), floating)):
        ours = np.asarray(tf.function(lambda v, m=mode: simulation([v], m)[0])(x)[0])
        theirs = _run(content, x)
        assert ours.dtype == theirs.dtype
        if name == "SCATTER_ND" and not mode.quantize:
            continue  # the float model's zeros are zeros, those of the int8 kernel are not
        step = scale if mode.quantize else 1e-5 * np.abs(theirs).max()
        most = 3 if name == "REDUCE_PROD" else 1.1  # the kernel rounds after every factor
        assert np.abs(ours - theirs).max() <= most * step


def rearranged(x: Any) -> Any:
    x = L.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = L.Lambda(lambda v: tf.space_to_batch(v, [2, 2], BORDER) * 0.5)(x)
    x = L.Lambda(lambda v: tf.batch_to_space(L.ReLU()(v - 0.1), [2, 2], BORDER))(x)
    best = L.Lambda(lambda v: tf.nn.top_k(v, 2).values)(x)
    return L.Concatenate()([L.Flatten()(best), L.GlobalAveragePooling2D()(x)])


def test_gradients_pass_what_moves_values() -> None:
    _, variant, _, _ = trained(rearranged, IMAGE)
    assert {"SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "TOPK_V2"} <= set(names(variant))
    assert variant.training.agreement >= 0.995
    assert not [note for note in variant.notes if "not simulated" in note]


def _scattered(x: Any) -> Any:
    rows = tf.transpose(x[:, :2], (1, 0, 2, 3))
    found = tf.scatter_nd([[1], [3]], rows, tf.stack([6, tf.shape(x)[0], 8, 4]))
    return tf.reshape(tf.transpose(found, (1, 0, 2, 3)), (-1, 6 * 8 * 4))


def scattered(x: Any) -> Any:
    x = L.Conv2D(4, 3, padding="same", activation="relu")(x)
    return L.Concatenate()([L.Lambda(_scattered)(x), L.GlobalAveragePooling2D()(x)])


def test_an_operator_without_a_simulation_stays_as_it_is() -> None:
    _, variant, _, _ = trained(scattered, IMAGE)
    assert_fully_integer(variant)
    (note,) = [note for note in variant.notes if "not simulated" in note]
    assert "SCATTER_ND (operator" in note
    assert variant.training.agreement >= 0.995


def test_whole_numbers_are_computed_as_they_are() -> None:
    """Into a table with rows beyond those that calibration reaches, whose values are cut off."""
    keras.utils.set_random_seed(0)
    ids = keras.Input((6,), dtype="int32")
    places = L.Lambda(lambda v: tf.add_n([tf.cumsum(v, 1, exclusive=True), v, v]))(ids)
    features = L.Flatten()(L.Embedding(30, 4)(places))
    model = keras.Model(ids, L.Dense(4, activation="softmax")(features))
    x = np.random.default_rng(0).integers(0, 4, (200, 6)).astype(np.int32)
    variant = convert(model, "qat_int8", training=short(x, x[:, 0]))
    assert {"CUMSUM", "ADD_N"} <= set(names(variant))
    assert not [note for note in variant.notes if "not simulated" in note]
    assert variant.training.agreement >= 0.995


def test_a_fused_recurrent_layer_stays_as_it_is(tmp_path: Path) -> None:
    tf_keras = pytest.importorskip("tf_keras")
    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            tf_keras.Input((6, 5)),
            layers.LSTM(8),
            layers.Dense(8, activation="relu"),
            layers.Dense(4, activation="softmax"),
        ]
    )
    x, y = classes(6, 5)
    fitted(model, x, y)
    model.export(tmp_path / "saved")
    variant = convert(tmp_path / "saved", "qat_int8", training=short(x, y))
    assert_fully_integer(variant)
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in names(variant)
    assert any("UNIDIRECTIONAL_SEQUENCE_LSTM" in note for note in variant.notes)
    assert variant.training.agreement >= 0.995


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda v: tf.square(tf.math.cumsum(v, axis=1)), r"float.*CUMSUM"),
        (lambda v: tf.reverse_sequence(v, [4], seq_axis=1), "REVERSE_SEQUENCE.*does not run"),
        (lambda v: tf.cast(tf.unique(v[0, 0, :, 0])[0], tf.float32), "UNIQUE.*only at run time"),
    ],
)
def test_what_could_not_be_int8_is_an_error(function: Any, message: str) -> None:
    x, y = classes(*IMAGE)
    model = keras.Sequential([keras.Input(IMAGE), L.Conv2D(4, 1), L.Lambda(function)])
    with pytest.raises(ConversionError, match=message):
        convert(model, "qat_int8", training=short(x, y))
