"""Files that compute nothing: small, within any arena, without an operator to be refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_building import one_operator, tensor

from pytest_edgequant import (
    assert_arena_fits,
    assert_deployable,
    assert_fully_integer,
    assert_latency_within,
    assert_max_accuracy_drop,
    assert_ops_supported,
    assert_runtime_parity,
    assert_size_within,
    convert,
    estimate_latency,
    evaluate,
    measure_arena,
    model_fingerprint,
)
from pytest_edgequant.errors import ModelError
from pytest_edgequant.tflite.complete import check_complete
from pytest_edgequant.tflite.edit import pack, unpack
from pytest_edgequant.tflite.graph import read_graph


def relu() -> Any:
    """A model of one operator, unpacked: x (tensor 0) to y (tensor 1)."""
    x, y = (tensor(n, [1, 4], "INT8", scales=[0.5], zero_points=[0]) for n in "xy")
    return unpack(one_operator("RELU", [x], y))


def without_outputs() -> bytes:
    model = relu()
    model.subgraphs[0].outputs = np.asarray([], np.int32)
    return pack(model)


def without_operators() -> bytes:
    model = relu()
    model.subgraphs[0].operators = []
    model.subgraphs[0].outputs = np.asarray([0], np.int32)
    return pack(model)


def beside_the_operators() -> bytes:
    """Its operator computes y, and what is read is x."""
    model = relu()
    model.subgraphs[0].outputs = np.asarray([0], np.int32)
    return pack(model)


def out_of_nothing() -> bytes:
    model = relu()
    model.subgraphs[0].tensors.append(tensor("z", [1, 4], "INT8"))
    model.subgraphs[0].outputs = np.asarray([2], np.int32)
    return pack(model)


def without_anything() -> bytes:
    model = relu()
    model.subgraphs[0].operators = []
    model.subgraphs[0].inputs = model.subgraphs[0].outputs = np.asarray([], np.int32)
    return pack(model)


def without_inputs() -> bytes:
    """Its operator reads x, which nobody gives it."""
    model = relu()
    model.subgraphs[0].inputs = np.asarray([], np.int32)
    return pack(model)


def of_another_input() -> bytes:
    """Its input is z, and its operator reads x."""
    model = relu()
    model.subgraphs[0].tensors.append(tensor("z", [1, 4], "INT8", scales=[0.5], zero_points=[0]))
    model.subgraphs[0].inputs = np.asarray([2], np.int32)
    return pack(model)


EMPTY = {
    without_outputs: "the model has no outputs",
    without_operators: "the model has no operators",
    without_anything: "the model has no outputs",
    beside_the_operators: "every output is an input or a constant",
    out_of_nothing: "the output 'z' is computed by no operator",
    without_inputs: "RELU (operator 0) reads 'x', which is no input",
    of_another_input: "RELU (operator 0) reads 'x', which is no input",
}
DATA = (np.zeros((200, 4), np.float32), np.zeros(200, int))
ASKED: dict[str, Callable[[Any], object]] = {
    "deployable": lambda model: assert_deployable(model, "nano33ble"),
    "deployable on a Raspberry Pi": lambda model: assert_deployable(model, "rpi4"),
    "ops": lambda model: assert_ops_supported(model, "nano33ble"),
    "size": lambda model: assert_size_within(model, "1 MiB"),
    "arena": lambda model: assert_arena_fits(model, "nano33ble"),
    "fully_integer": assert_fully_integer,
    "drop": lambda model: assert_max_accuracy_drop(model, model, DATA, "1 pt"),
    "parity": lambda model: assert_runtime_parity(model, DATA[0]),
    "evaluate": lambda model: evaluate(model, DATA),
    "measure": lambda model: measure_arena(model, "nano33ble"),
    "estimate": lambda model: estimate_latency(model, "nano33ble"),
    "latency": lambda model: assert_latency_within(estimate_latency(model, "nano33ble"), "1 s"),
    "fingerprint": model_fingerprint,
    "as_is": lambda model: convert(model, "as_is"),
    "int8": lambda model: convert(model, "int8", calibration=DATA[0]),
}


@pytest.mark.parametrize("build", EMPTY)
@pytest.mark.parametrize("asked", ASKED)
def test_what_computes_nothing_passes_nothing(
    asked: str, build: Callable[[], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "hollow.tflite"
    path.write_bytes(build())
    with pytest.raises(ModelError) as caught:
        ASKED[asked](path)
    message = str(caught.value)
    assert "hollow.tflite: " in message
    assert EMPTY[build] in message
    assert "convert the model again" in message


def test_what_computes_something_is_complete(reference: Path) -> None:
    check_complete(read_graph(pack(relu())), "relu")
    for path in sorted((reference / "models").glob("*.tflite")):
        check_complete(read_graph(path.read_bytes()), path.name)


def test_an_output_beside_a_constant_one_is_complete() -> None:
    """Converters give a second head that folded to a constant as one."""
    constant = unpack(
        one_operator(
            "ADD",
            [tensor("x", [1, 4], "FLOAT32"), tensor("c", [1, 4], "FLOAT32")],
            tensor("y", [1, 4], "FLOAT32"),
            constants={1: np.ones((1, 4), np.float32)},
        )
    )
    constant.subgraphs[0].outputs = np.asarray([2, 1], np.int32)
    check_complete(read_graph(pack(constant)), "two heads")
    constant.subgraphs[0].outputs = np.asarray([1], np.int32)
    with pytest.raises(ModelError, match="input or a constant"):
        check_complete(read_graph(pack(constant)), "one head")
