"""Recurrent layers that keep their state from one inference to the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from e2e_helpers import samples

from pytest_edgequant import assert_fully_integer, convert
from pytest_edgequant.errors import ConversionError
from pytest_edgequant.samples.quantize import dequantize, quantize
from pytest_edgequant.tflite.edit import tensor_data, unpack
from pytest_edgequant.tflite.graph import read_graph

tf_keras = pytest.importorskip("tf_keras")
COUNT = 24

KINDS: dict[str, tuple[Any, Callable[[Any], Any], tuple[int, ...]]] = {
    "lstm": (keras, lambda L: L.LSTM(8, stateful=True), (1, 4)),
    "gru": (keras, lambda L: L.GRU(8, stateful=True), (3, 4)),
    "rnn": (keras, lambda L: L.SimpleRNN(8, stateful=True), (2, 4)),
    "both": (keras, lambda L: L.Bidirectional(L.LSTM(4, stateful=True)), (2, 4)),
    "tf_keras": (tf_keras, lambda L: L.LSTM(8, stateful=True), (2, 4)),
}


def build(kind: str) -> tuple[Any, Any]:
    """A model whose states are not zero any more, and samples."""
    package, layer, shape = KINDS[kind]
    package.utils.set_random_seed(3)
    if package is keras:
        first = keras.Input(batch_shape=(1, *shape), name="x")
    else:
        first = package.layers.InputLayer(batch_input_shape=(1, *shape))
    model = package.Sequential([first, layer(package.layers), package.layers.Dense(3)])
    x = samples(*shape)
    for sample in x[:5]:
        model(sample[np.newaxis])
    return model, x


def states(model: Any) -> list[Any]:
    from pytest_edgequant.conversion.layers import stateful_layers

    return [s for layer in stateful_layers(model) for s in layer.states or ()]


def in_turn(model: Any, x: Any, *, anew: bool) -> Any:
    """Keras' own outputs, with states at zero before the first sample, or before each."""
    found = []
    for position, sample in enumerate(x):
        if anew or position == 0:
            for state in states(model):
                state.assign(np.zeros(state.shape, np.float32))
        found.append(np.asarray(model(sample[np.newaxis])))
    return np.concatenate(found)


def on_litert(variant: Any, x: Any) -> Any:
    """One interpreter for all samples: what a device gives that is never restarted."""
    interpreter = Interpreter(model_content=variant.content)
    interpreter.allocate_tensors()
    found = []
    for sample in quantize(x, variant.inputs[0]):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample[np.newaxis])
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return dequantize(np.concatenate(found), variant.outputs[0])


def on_tflm(variant: Any, x: Any) -> Any:
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    interpreter = runtime.Interpreter.from_bytes(variant.content, arena_size=400_000)
    found = []
    for sample in quantize(x, variant.inputs[0]):
        interpreter.set_input(sample[np.newaxis], 0)
        interpreter.invoke()
        found.append(interpreter.get_output(0).copy())
    return dequantize(np.concatenate(found), variant.outputs[0])


@pytest.mark.parametrize("kind", KINDS)
def test_states_are_kept_in_variables(kind: str) -> None:
    model, x = build(kind)
    before = [state.numpy().copy() for state in states(model)]
    variants = {f: convert(model, f, calibration=x) for f in ("float32", "int8", "int16x8")}
    after = [state.numpy() for state in states(model)]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert any(np.any(state) for state in before)
    anew, running = (in_turn(model, x[:COUNT], anew=a) for a in (True, False))
    size = np.abs(running).max()
    assert np.abs(anew - running).max() > 0.1 * size
    for form, most in (("float32", 1e-5), ("int8", 0.12), ("int16x8", 0.08)):
        variant = variants[form]
        names = [operator.name for _, operator in read_graph(variant.content).operators()]
        assert "ASSIGN_VARIABLE" in names
        if form != "float32":
            assert_fully_integer(variant)
        # A gate judges each sample from the start; a device goes on.
        assert np.abs(variant.predict(x[:COUNT]) - anew).max() <= most * size, form
        assert np.abs(on_litert(variant, x[:COUNT]) - running).max() <= most * size, form
        assert np.abs(on_tflm(variant, x[:COUNT]) - running).max() <= most * size, form


def test_what_a_model_has_seen_does_not_count() -> None:
    model, x = build("lstm")
    content = convert(model, "float32").content
    model(x[:1] * 3)
    assert convert(model, "float32").content == content


@pytest.mark.parametrize("kind", ["lstm", "tf_keras"])
@pytest.mark.slow
def test_files_keep_them_too(tmp_path: Path, kind: str) -> None:
    model, x = build(kind)
    anew = in_turn(model, x[:COUNT], anew=True)
    model.save(tmp_path / ("m.keras" if kind == "lstm" else "m.h5"))
    (path,) = tmp_path.iterdir()
    for form, most in (("float32", 1e-5), ("int8", 0.12)):
        variant = convert(path, form, calibration=x)
        assert np.abs(variant.predict(x[:COUNT]) - anew).max() <= most * np.abs(anew).max()


def test_an_integer_state_begins_at_its_zero_point() -> None:
    model, x = build("gru")
    model_object = unpack(convert(model, "int8", calibration=x).content)
    main, once = model_object.subgraphs[:2]
    points = {
        int(np.ravel(t.quantization.zeroPoint)[0])
        for t in main.tensors
        if b"ReadVariableOp" in t.name and t.quantization.scale is not None
    }
    model_object.subgraphs[0] = once
    constants = [tensor_data(model_object, i) for i, t in enumerate(once.tensors) if t.type == 9]
    values = {int(v) for c in constants for v in np.frombuffer(c, np.int8)}
    assert len(values) == 1
    assert values <= points


@pytest.mark.parametrize("package", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_the_state_of_several_samples_is_refused_by_name(package: Any) -> None:
    """And the way out that is told is one."""
    layers = package.layers

    def of(batch: int) -> Any:
        first = (
            keras.Input(batch_shape=(batch, 2, 4))
            if package is keras
            else layers.InputLayer(batch_input_shape=(batch, 2, 4))
        )
        return package.Sequential([first, layers.GRU(3, stateful=True, name="memory")])

    model = of(4)
    with pytest.raises(ConversionError, match=r"'memory' \(GRU\) keeps the state of 4 samples"):
        convert(model, "float32")
    again = of(1)
    again.set_weights(model.get_weights())
    assert convert(again, "float32").inputs[0].shape == (1, 2, 4)


def test_what_can_not_be_converted_is_named() -> None:
    from pytest_edgequant.conversion.tensorflow_source import _stateful_hint
    from pytest_edgequant.conversion.tensorflow_worker import Description

    description = Description((), (), False, True, ("memory",))
    hinted = str(_stateful_hint(ConversionError("m: failed."), description))
    assert hinted.startswith("m: failed. The state of 'memory' is kept")
    assert "stateful=False" in hinted
    assert "initial_state" in hinted
