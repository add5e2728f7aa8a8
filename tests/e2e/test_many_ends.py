"""Several inputs and outputs, named against the alphabet, against what Keras itself predicts."""

from __future__ import annotations

from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from e2e_helpers import relative_error, samples

from pytest_edgequant import convert, evaluate, task_metric
from pytest_edgequant.records import Variant

L = keras.layers
RUNTIMES = ["litert", *(["tflm"] if find_spec("tflite_micro") else [])]
NAMES = ("x_10", "x_2", "b", "x_1")
"""Of one shape, so that nothing but the mapping tells them apart; the last one is not read."""
OUTPUTS = ("zebra", "apple", "y_10", "y_2")
X = {name: (i + 1) * samples(6, seed=i) for i, name in enumerate(NAMES)}


def parts(library: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors of a model by name, in an order that is not the alphabet's."""
    library.utils.set_random_seed(4)
    layers = library.layers
    inputs = {name: library.Input((6,), name=name) for name in NAMES}
    read = list(inputs.values())[:3]
    outputs = {}
    for position, name in enumerate(OUTPUTS):
        chosen = [read[position % 3], read[(position + 1) % 3]]
        hidden = layers.Dense(5, activation="relu")(layers.Concatenate()(chosen))
        outputs[name] = layers.Dense(3, name=name)(hidden)
    return inputs, outputs


def in_list(library: Any) -> tuple[Any, list[Any]]:
    """A model with a list of inputs and outputs, the first output twice, and what it gives."""
    inputs, outputs = parts(library)
    model = library.Model([*inputs.values()], [*outputs.values(), outputs["zebra"]])
    return model, model.predict([*X.values()], verbose=0)


def seen(variant: Variant, x: Any, runtime: str, output: int | str) -> Any:
    """The values of one output that a metric is given."""
    found: list[Any] = []

    def keep(_: Any, outputs: Any) -> float:
        found.append(np.array(outputs))
        return 0.0

    metric = task_metric(keep, higher_is_better=False, on="scores")
    labels = np.zeros(len(X["x_1"]), int)
    evaluate(variant, (x, labels), metric=metric, runtime=runtime, output=output)
    return found[0]


def assert_gives(variant: Variant, expected: list[Any], atol: float) -> None:
    order = [info.name for info in variant.inputs]
    assert sorted(order) == sorted(X)
    for x in (X, tuple(X[name] for name in order)):
        for found, right in zip(variant.predict(x), expected, strict=True):
            assert relative_error(found, right) < atol
    for runtime in RUNTIMES:
        for position, right in enumerate(expected):
            assert relative_error(seen(variant, X, runtime, position), right) < atol
        for info in variant.outputs[::2]:
            right = expected[[o.name for o in variant.outputs].index(info.name)]
            assert relative_error(seen(variant, X, runtime, info.name), right) < atol


FORMS = {"float32": 1e-5, "int8": 0.08}


@pytest.mark.parametrize("kind", ["keras", "tf_keras"])
def test_lists_keep_their_order(kind: str) -> None:
    model, expected = in_list(pytest.importorskip(kind))
    for form, atol in FORMS.items():
        variant = convert(model, form, calibration=X)
        assert [info.name for info in variant.inputs] == list(NAMES)
        assert [info.name for info in variant.outputs[:4]] == list(OUTPUTS)
        assert len({info.name for info in variant.outputs}) == 5
        assert_gives(variant, expected, atol)


@pytest.mark.parametrize("structure", [dict, OrderedDict])
def test_dicts_are_met_by_their_keys(structure: type[dict[str, Any]]) -> None:
    inputs, outputs = parts(keras)
    model = keras.Model(structure(inputs), structure(outputs))
    expected = model.predict(structure(X), verbose=0)
    for form, atol in FORMS.items():
        variant = convert(model, form, calibration=X)
        order = sorted(OUTPUTS) if structure is dict else list(OUTPUTS)  # as Keras flattens them
        assert [info.name for info in variant.outputs] == order
        assert_gives(variant, [expected[name] for name in order], atol)


@pytest.mark.parametrize("kind", ["m.keras", "saved_model", "m.tflite"])
def test_files_keep_the_order_or_the_names(kind: str, tmp_path: Path) -> None:
    model, expected = in_list(keras)
    path, names = tmp_path / kind, list(OUTPUTS)
    if kind == "saved_model":
        model.export(path, verbose=False)
        names = ["output_0", "output_1", "output_2", "output_3"]
    elif kind == "m.keras":
        model.save(path)
    else:
        pytest.importorskip("litert_quantizer")
        path.write_bytes(convert(model, "float32").content)
    for form, atol in FORMS.items():
        variant = convert(path, form, calibration=X)
        given = [info.name for info in variant.outputs]
        if kind == "m.tflite":
            right = dict(zip(OUTPUTS, expected, strict=False))
            assert_gives(variant, [right.get(name, expected[0]) for name in given], atol)
        else:
            assert [info.name for info in variant.inputs] == list(NAMES)
            assert given[:4] == names
            assert_gives(variant, expected, atol)


@pytest.mark.parametrize("names", [("self", "args"), ("A", "a"), ("x.1", "x_1")])
def test_names_that_no_signature_takes_are_the_user_s_all_the_same(names: tuple[str, ...]) -> None:
    inputs = {name: keras.Input((6,), name=name) for name in names}
    model = keras.Model(
        list(inputs.values()), {name: L.Dense(2)(tensor) for name, tensor in inputs.items()}
    )
    x = {name: X[known] for name, known in zip(names, NAMES, strict=False)}
    expected = model.predict([*x.values()], verbose=0)
    variant = convert(model, "float32")
    assert tuple(info.name for info in variant.inputs) == names
    assert {info.name for info in variant.outputs} == set(names)
    for info, found in zip(variant.outputs, variant.predict(x), strict=True):
        assert relative_error(found, expected[info.name]) < 1e-5
