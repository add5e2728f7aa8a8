"""Everything that a model can come from, and what each looks like when it is broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from e2e_helpers import make, operators, relative_error, samples

from pytest_edgequant import ConversionError, ModelError, NotDerivableError, convert
from pytest_edgequant.conversion import tracing
from pytest_edgequant.conversion.source import open_source
from pytest_edgequant.pipeline.pipeline import Pipeline

L = keras.layers
DATA = Path(__file__).parents[1] / "data"


class Unregistered(L.Layer):  # type: ignore[misc,name-defined,unused-ignore]
    """A layer that no other process can load from a .keras file."""

    def build(self, shape: Any) -> None:
        self.factor = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x: Any) -> Any:
        return keras.ops.relu(x * self.factor) + x


class Subclassed(keras.Model):  # type: ignore[misc,name-defined,unused-ignore]
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.last = L.Dense(8, activation="relu"), L.Dense(3)

    def call(self, x: Any) -> Any:
        return self.last(self.hidden(x))


def test_live_model_with_an_unregistered_layer() -> None:
    model, x = make(lambda: [L.Dense(8), Unregistered(), L.Dense(3)], (6,)), samples(6)
    for form in ("float32", "int8"):
        assert relative_error(convert(model, form, calibration=x).predict(x), model(x)) < 0.05


def test_subclassed_model_once_it_was_called() -> None:
    model, x = Subclassed(), samples(6)
    with pytest.raises(ModelError, match="input shape is not known"):
        convert(model, "float32")
    model(x)
    assert relative_error(convert(model, "int8", calibration=x).predict(x), model(x)) < 0.05


def test_several_inputs_and_outputs_keep_names_and_order() -> None:
    first, second = keras.Input((6,), name="zeta"), keras.Input((4,), name="alpha")
    joined = L.Concatenate()([L.Dense(5)(first), L.Dense(7)(second)])
    model = keras.Model([first, second], [L.Dense(3)(joined), L.Dense(2)(joined)])
    x = {"zeta": samples(6), "alpha": samples(4, seed=1)}
    expected = model([x["zeta"], x["alpha"]])
    for form in ("float32", "int8"):
        variant = convert(model, form, calibration=x)
        assert [info.name for info in variant.inputs] == ["zeta", "alpha"]
        for by in (x, (x["zeta"], x["alpha"])):
            for actual, wanted in zip(variant.predict(by), expected, strict=True):
                assert relative_error(actual, wanted) < 0.05


@pytest.mark.parametrize("kind", ["m.keras", "m.h5", "saved_model"])
def test_saved_model_equals_live_model(tmp_path: Path, kind: str) -> None:
    model, x = make(lambda: [L.Dense(8, activation="relu"), L.Dense(3)], (6,)), samples(6)
    if kind == "saved_model":
        model.export(tmp_path / kind, verbose=False)
    else:
        model.save(tmp_path / kind)
    live = convert(model, "int8", calibration=x).predict(x)
    assert np.array_equal(convert(tmp_path / kind, "int8", calibration=x).predict(x), live)


@pytest.mark.parametrize("layer", [L.LSTM, L.GRU, L.SimpleRNN])
def test_keras_recurrent_layers_become_int8_unrolled(layer: Any) -> None:
    # Several seeds: TensorFlow's quantizer leaves SPLIT in float for some weights only.
    for seed in range(4):
        model = make(lambda: [layer(8), L.Dense(3)], (10, 4), seed=seed)
        x = samples(10, 4, seed=seed)
        variant = convert(model, "int8", calibration=x)
        assert relative_error(variant.predict(x), model(x)) < 0.12
        assert any("unrolled" in note for note in variant.notes)
        assert not model.layers[0].unroll


@pytest.mark.slow
def test_legacy_lstm_keeps_its_fused_operator_where_it_can() -> None:
    legacy = pytest.importorskip("tf_keras")
    layers = legacy.layers
    model = legacy.Sequential([legacy.Input((10, 4)), layers.LSTM(8), layers.Dense(3)])
    x = samples(10, 4)
    fused = convert(model, "int8", calibration=x)
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in operators(fused)
    assert not fused.notes
    assert relative_error(fused.predict(x), model(x)) < 0.12
    unrolled = convert(model, "int16x8", calibration=x)
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" not in operators(unrolled)
    assert any("unrolled" in note for note in unrolled.notes)
    assert relative_error(unrolled.predict(x), model(x)) < 0.05


def test_a_converter_that_dies_takes_down_one_conversion(
    tmp_path: Path, pipeline: Pipeline
) -> None:
    # TensorFlow 2.21's quantizer segfaults on the loop of a Keras 3 LSTM at batch 1.
    model = make(lambda: [L.LSTM(8), L.Dense(3)], (10, 4))
    traced = tracing.trace(model, "lstm")
    tracing.export(model, traced, tmp_path / "lstm")
    with pytest.raises(ConversionError, match=r"died \(signal.*recurrent"):
        convert(tmp_path / "lstm", "int8", calibration=samples(10, 4))
    assert convert(make(lambda: [L.Dense(2)], (3,)), "int8", calibration=samples(3)).size_bytes > 0


def test_fingerprint_knows_what_matters() -> None:
    def of(model: Any) -> str:
        return open_source(model).fingerprint

    # TensorFlow orders by name what a graph waits for: from dense_9 to dense_10 that turns round.
    keras.utils.clear_session()
    model = make(lambda: [L.Dense(8), L.Dense(3)], (6,))
    same = make(lambda: [L.Dense(8), L.Dense(3)], (6,))  # other automatic layer names
    same.set_weights(model.get_weights())  # whatever else draws random numbers meanwhile
    assert of(model) == of(same)
    assert of(model) != of(make(lambda: [L.Dense(8), L.Dense(3)], (6,), seed=1))
    assert of(make(lambda: [L.Dense(8, activation="relu")], (6,))) != of(
        make(lambda: [L.Dense(8)], (6,))
    )
    before = of(model)
    weights = model.get_weights()
    model.set_weights([w + 1 for w in weights])
    assert of(model) != before


def test_unregistered_layer_in_a_file_says_to_hand_over_the_object(tmp_path: Path) -> None:
    make(lambda: [L.Dense(8), Unregistered()], (6,)).save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match=r"Unregistered.*model object itself"):
        convert(tmp_path / "m.keras", "float32")


def test_dynamic_dimension_is_refused() -> None:
    with pytest.raises(ModelError, match=r"dynamic dimension.*\(None, None, 4\)"):
        convert(make(lambda: [L.GlobalAveragePooling1D()], (None, 4)), "float32")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.tflite", "m.bin"])
@pytest.mark.parametrize("damage", ["missing", "empty", "random", "truncated"])
def test_broken_files(tmp_path: Path, name: str, damage: str) -> None:
    path = tmp_path / name
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "random":
        path.write_bytes(np.random.default_rng(0).bytes(3000))
    elif damage == "truncated":
        if name.endswith((".keras", ".h5")):
            make(lambda: [L.Dense(3)], (6,)).save(path)
        else:
            path.write_bytes((DATA / "tiny_int8.tflite").read_bytes())
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        convert(path, "float32")


def test_float_tflite_is_quantized_without_tensorflow(pipeline: Pipeline) -> None:
    pytest.importorskip("litert_quantizer")
    data = np.load(DATA / "tiny.npz")
    x = data["x"].astype(np.float32) / 16
    calibration = data["x_calibration"].astype(np.float32) / 16
    expected = convert(DATA / "tiny_float32.tflite", "float32").predict(x)
    for form in ("float16", "dynamic_range", "int8", "int8_float_io", "uint8_io", "int16x8"):
        variant = convert(DATA / "tiny_float32.tflite", form, calibration=calibration)
        actual = variant.predict(x)
        assert np.mean(actual.argmax(1) == expected.argmax(1)) > 0.97  # type: ignore[union-attr]


def test_quantized_tflite_is_gated_as_it_is() -> None:
    variant = convert(DATA / "tiny_int8.tflite", "int8")
    assert variant.content == (DATA / "tiny_int8.tflite").read_bytes()
    with pytest.raises(NotDerivableError, match="int8 already"):
        convert(DATA / "tiny_int8.tflite", "float32")


def test_a_file_that_is_written_again_is_read_again(tmp_path: Path) -> None:
    x = samples(6)
    for seed in (0, 1, 0):
        model = make(lambda: [L.Dense(3)], (6,), seed=seed)
        model.save(tmp_path / "m.keras")
        model.export(tmp_path / "saved", verbose=False)
        for path in (tmp_path / "m.keras", tmp_path / "saved"):
            assert relative_error(convert(path, "float32").predict(x), model(x)) < 1e-5


def test_a_layer_that_is_set_otherwise_is_converted_anew() -> None:
    model, x = make(lambda: [Unregistered(), L.Dense(3)], (6,)), samples(6)
    for activation in (keras.activations.tanh, keras.activations.relu, keras.activations.tanh):
        model.layers[-1].activation = activation
        right = activation(model.layers[-1].kernel.numpy().T @ np.asarray(model.layers[0](x)).T)
        found = convert(model, "float32").predict(x)
        assert relative_error(found, np.asarray(right).T) < 1e-5


def test_the_float_form_of_a_model_that_was_trained_with_simulated_quantization() -> None:
    """As tensorflow-model-optimization wraps layers: weights as trained, no activation rounded."""
    import tensorflow as tf

    from pytest_edgequant import assert_ops_supported

    class Simulated(L.Layer):  # type: ignore[misc,name-defined,unused-ignore]
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def call(self, x: Any) -> Any:
            fake = tf.quantization.fake_quant_with_min_max_args
            kernel, bias = self.inner.kernel, self.inner.bias
            rounded = fake(kernel, -1.0, 1.0, num_bits=8, narrow_range=True)
            y = tf.matmul(fake(x, -9.0, 9.0), rounded) + bias
            return fake(tf.nn.relu(y), -9.0, 9.0)

    first, second = L.Dense(24), L.Dense(3)
    first.build((None, 6))
    second.build((None, 24))
    model = keras.Sequential([keras.Input((6,)), Simulated(first), Simulated(second)])
    x = np.clip(samples(6), -2.9, 2.9)
    plain = x
    for layer in (first, second):
        kernel = tf.quantization.fake_quant_with_min_max_args(
            layer.kernel, -1.0, 1.0, num_bits=8, narrow_range=True
        )
        plain = tf.nn.relu(tf.matmul(plain, kernel) + layer.bias)
    floating = convert(model, "float32")
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(operators(floating))
    assert relative_error(floating.predict(x), plain) < 1e-5
    assert_ops_supported(floating, "nano33ble")
    for form in ("float16", "dynamic_range"):
        with pytest.raises(ConversionError, match=r"simulated quantization.*FULLY_CONNECTED"):
            convert(model, form)
    with pytest.raises(ConversionError, match="simulated quantization, whose ranges are those of"):
        convert(model, "int16x8", calibration=x)
    assert relative_error(convert(model, "int8", calibration=x).predict(x), model(x)) < 0.1


@pytest.mark.parametrize("kind", ["pruned", "clustered"])
@pytest.mark.slow
def test_the_wrappers_of_pruning_and_clustering_are_taken_off(kind: str) -> None:
    """With them the weights are variables: LiteRT refuses the int8 file, int16x8 is nonsense."""
    tfmot = pytest.importorskip("tensorflow_model_optimization")
    tf_keras = pytest.importorskip("tf_keras")
    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    inner = tf_keras.Sequential([tf_keras.Input((6, 6, 2)), layers.Conv2D(4, 3), layers.ReLU()])
    given = tf_keras.Input((8, 8, 1))
    hidden = inner(layers.Conv2D(2, 3, activation="relu")(given))
    plain = tf_keras.Model(given, layers.Dense(3)(layers.Flatten()(hidden)))
    if kind == "pruned":
        model = tfmot.sparsity.keras.prune_low_magnitude(plain)
    else:
        linear = tfmot.clustering.keras.CentroidInitialization.LINEAR
        model = tfmot.clustering.keras.cluster_weights(
            plain, number_of_clusters=16, cluster_centroids_init=linear
        )
    x = samples(8, 8, 1)
    right = model.predict(x, verbose=0)
    for form, limit in (("float32", 1e-5), ("int16x8", 0.02), ("int8", 0.1)):
        variant = convert(model, form, calibration=x)
        assert not {"READ_VARIABLE", "ASSIGN_VARIABLE", "ARG_MIN"} & set(operators(variant))
        assert relative_error(variant.predict(x), right) < limit
