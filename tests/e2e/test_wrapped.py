"""Models of tf_keras that went through tensorflow-model-optimization or were written by Keras 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from e2e_helpers import operators, relative_error, samples

from pytest_edgequant import ConversionError, ModelError, convert

tf_keras = pytest.importorskip("tf_keras")
tfmot = pytest.importorskip("tensorflow_model_optimization")
h5py = pytest.importorskip("h5py")
T = tf_keras.layers
PLAIN = ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]


def _network() -> Any:
    layers = [T.Conv2D(3, 3, activation="relu"), T.Flatten(), T.Dense(4)]
    return tf_keras.Sequential([T.Input((6, 5, 2)), *layers])


def _pruned() -> Any:
    constant = tfmot.sparsity.keras.ConstantSparsity(0.5, 0, frequency=1)
    return tfmot.sparsity.keras.prune_low_magnitude(_network(), pruning_schedule=constant)


def _clustered() -> Any:
    linear = tfmot.clustering.keras.CentroidInitialization.LINEAR
    return tfmot.clustering.keras.cluster_weights(
        _network(), number_of_clusters=3, cluster_centroids_init=linear
    )


WRAPPED = {"strip_pruning": _pruned, "strip_clustering": _clustered}


@pytest.mark.parametrize("strip", WRAPPED)
def test_a_wrapped_model_becomes_what_its_stripped_one_does(strip: str, tmp_path: Path) -> None:
    model, x = WRAPPED[strip](), samples(6, 5, 2)
    expected = np.asarray(model(x, training=False))
    before = model.get_weights()
    for form, most in (("float32", 1e-5), ("int8", 0.1), ("int16x8", 0.05)):
        variant = convert(model, form, calibration=x)
        assert operators(variant) == PLAIN
        assert relative_error(variant.predict(x), expected) < most
    # The caller's model is as it was: its weights, and each layer in one model alone.
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert [layer.output.shape[0] for layer in model.layers] == [None] * 3

    for name in ("model.h5", "model.keras"):
        model.save(tmp_path / name)
        with pytest.raises(ModelError, match=rf"for training alone: save .*\.{strip}\(model\)"):
            convert(str(tmp_path / name), "float32")


def test_a_saved_model_that_writes_its_weights_has_no_integer_form(tmp_path: Path) -> None:
    x = samples(6, 5, 2)
    _pruned().save(tmp_path / "saved", save_format="tf")
    with pytest.raises(ConversionError, match=r"'prune_low_magnitude_\w+' writes its weights in"):
        convert(str(tmp_path / "saved"), "int8", calibration=x)
    notes = convert(str(tmp_path / "saved"), "float32").notes
    assert any("strip_pruning" in note for note in notes)


def test_a_model_with_simulated_int8_is_told_why_it_has_no_int16x8() -> None:
    model = tfmot.quantization.keras.quantize_model(_network())
    with pytest.raises(
        ConversionError, match=r"simulated quantization, .* Use int8, float32, or the model"
    ):
        convert(model, "int16x8", calibration=samples(6, 5, 2))


@pytest.mark.parametrize("name", ["model.h5", "model.keras"])
def test_hard_sigmoid_of_keras_2_is_computed_as_keras_2_does(name: str, tmp_path: Path) -> None:
    gates = T.LSTM(3, recurrent_activation="hard_sigmoid")
    dense = T.Dense(4, activation=tf_keras.activations.hard_sigmoid)
    for number, layers in enumerate(([gates, T.Dense(2)], [T.Flatten(), dense])):
        model, x = tf_keras.Sequential([T.Input((4, 3)), *layers]), 3 * samples(4, 3)
        path = tmp_path / f"{number}-{name}"
        model.save(path)
        variant = convert(str(path), "float32")
        assert relative_error(variant.predict(x), model(x)) < 1e-5


def test_keras_3_has_its_own_hard_sigmoid(tmp_path: Path) -> None:
    keras, x = pytest.importorskip("keras"), 3 * samples(5)
    layers = [keras.layers.Dense(4, activation="hard_sigmoid")]
    model = keras.Sequential([keras.Input((5,)), *layers])
    for name in ("model.h5", "model.keras"):
        model.save(tmp_path / name)
        variant = convert(str(tmp_path / name), "float32")
        assert relative_error(variant.predict(x), model(x)) < 1e-5
    with h5py.File(tmp_path / "model.h5") as file:
        assert "hard_sigmoid" in json.dumps(json.loads(file.attrs["model_config"]))


def test_operations_in_hdf5_are_no_custom_layers(tmp_path: Path) -> None:
    keras, x = pytest.importorskip("keras"), samples(6, 3)
    entry = keras.Input((6, 3))
    model = keras.Model(entry, keras.layers.Dense(2)(keras.ops.mean(entry, 1)))
    model.save(tmp_path / "model.h5")
    with pytest.raises(ModelError, match=r"'Mean'; Keras does not read .* write it as \.keras"):
        convert(str(tmp_path / "model.h5"), "float32")
    model.save(tmp_path / "model.keras")
    variant = convert(str(tmp_path / "model.keras"), "float32")
    assert relative_error(variant.predict(x), model(x)) < 1e-5
