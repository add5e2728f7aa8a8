from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from pytest_edgequant import model_fingerprint
from pytest_edgequant.errors import ModelError
from pytest_edgequant.tflite.edit import pack, unpack
from pytest_edgequant.tflite.fingerprint import logical_fingerprint

DATA = Path(__file__).parents[2] / "data"
SHARED = Path(__file__).parents[3].parent / "shared" / "reference" / "models"
MODEL = (DATA / "residual_int8.tflite").read_bytes()


def changed(edit: Callable[[Any], None], content: bytes = MODEL) -> str:
    model = unpack(content)
    edit(model)
    return logical_fingerprint(pack(model))


def rename(model: Any) -> None:
    model.description = b"made another day"
    for graph in model.subgraphs:
        graph.name = b"renamed"
        for index, tensor in enumerate(graph.tensors):
            tensor.name = f"t{index}".encode()


def without_metadata(model: Any) -> None:
    model.metadata = []


def with_versions(model: Any) -> None:
    for code in model.operatorCodes:
        code.version += 1


def _shuffled(count: int) -> list[int]:
    order = list(range(count))
    random.Random(count).shuffle(order)
    return order


def shuffle_buffers(model: Any) -> None:
    order = [0, *(i + 1 for i in _shuffled(len(model.buffers) - 1))]
    place = {old: new for new, old in enumerate(order)}
    model.buffers = [model.buffers[old] for old in order]
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = place[tensor.buffer]
    for entry in model.metadata or []:
        entry.buffer = place[entry.buffer]


def shuffle_codes(model: Any) -> None:
    order = _shuffled(len(model.operatorCodes))
    place = {old: new for new, old in enumerate(order)}
    model.operatorCodes = [model.operatorCodes[old] for old in order]
    for graph in model.subgraphs:
        for operator in graph.operators:
            operator.opcodeIndex = place[operator.opcodeIndex]


def shuffle_tensors(model: Any) -> None:
    for graph in model.subgraphs:
        order = _shuffled(len(graph.tensors))
        place = {old: new for new, old in enumerate(order)} | {-1: -1}
        graph.tensors = [graph.tensors[old] for old in order]
        graph.inputs = [place[int(i)] for i in graph.inputs]
        graph.outputs = [place[int(i)] for i in graph.outputs]
        for operator in graph.operators:
            operator.inputs = [place[int(i)] for i in operator.inputs]
            operator.outputs = [place[int(i)] for i in operator.outputs]
    for signature in model.signatureDefs or []:
        for entry in [*signature.inputs, *signature.outputs]:
            entry.tensorIndex = place[int(entry.tensorIndex)]


def copy_a_buffer(model: Any) -> None:
    tensor = next(t for t in model.subgraphs[0].tensors if model.buffers[t.buffer].data is not None)
    copied = schema.BufferT()
    copied.data = model.buffers[tensor.buffer].data
    tensor.buffer = len(model.buffers)
    model.buffers.append(copied)


def add_unused(model: Any) -> None:
    unused = schema.TensorT()
    unused.name, unused.shape, unused.buffer = b"unused", [3], 0
    model.subgraphs[0].tensors.append(unused)


SAME = (
    *(rename, without_metadata, with_versions, shuffle_buffers, shuffle_codes, shuffle_tensors),
    *(copy_a_buffer, add_unused),
)


@pytest.mark.parametrize("edit", SAME, ids=lambda edit: edit.__name__)
def test_what_converters_do_not_reproduce_changes_nothing(edit: Callable[[Any], None]) -> None:
    assert changed(edit) == logical_fingerprint(MODEL)


def _weights(model: Any) -> Any:
    return max((b for b in model.buffers if b.data is not None), key=lambda b: len(b.data))


def one_weight(model: Any) -> None:
    buffer = _weights(model)
    buffer.data = np.array(buffer.data)
    buffer.data[7] ^= 1


def _quantized(model: Any) -> Any:
    tensors = model.subgraphs[0].tensors
    return next(
        t for t in tensors if t.quantization is not None and t.quantization.scale is not None
    )


def a_scale(model: Any) -> None:
    quantization = _quantized(model).quantization
    quantization.scale = np.nextafter(np.array(quantization.scale), np.float32(1))


def a_zero_point(model: Any) -> None:
    quantization = _quantized(model).quantization
    quantization.zeroPoint = np.array(quantization.zeroPoint) + 1


def a_shape(model: Any) -> None:
    tensor = model.subgraphs[0].tensors[int(model.subgraphs[0].inputs[0])]
    tensor.shape = [2, *tensor.shape[1:]]


def an_option(model: Any) -> None:
    operator = next(o for o in model.subgraphs[0].operators if hasattr(o.builtinOptions, "strideW"))
    operator.builtinOptions.fusedActivationFunction ^= 1


def the_wiring(model: Any) -> None:
    add = next(
        o for o in model.subgraphs[0].operators if type(o.builtinOptions).__name__ == "AddOptionsT"
    )
    add.inputs = [add.inputs[1], add.inputs[1]]


def an_operator_less(model: Any) -> None:
    graph = model.subgraphs[0]
    graph.operators = graph.operators[:-1]


def custom_options(model: Any) -> None:
    model.subgraphs[0].operators[0].customOptions = [1, 2, 3]


OTHER = (
    *(one_weight, a_scale, a_zero_point, a_shape, an_option, the_wiring, an_operator_less),
    custom_options,
)


@pytest.mark.parametrize("edit", OTHER, ids=lambda edit: edit.__name__)
def test_what_is_computed_changes_it(edit: Callable[[Any], None]) -> None:
    assert changed(edit) != logical_fingerprint(MODEL)


def _two_branches(first_first: bool) -> bytes:
    """x -> RELU -> a, x -> ABS -> b; both outputs."""
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.tensors = []
    for name in (b"x", b"a", b"b"):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, [1, 4], 0
        graph.tensors.append(tensor)
    graph.inputs, graph.outputs = [0], [1, 2]
    model.operatorCodes, graph.operators = [], []
    for index, name in enumerate(("RELU", "ABS")):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = index, [0], [index + 1]
        graph.operators.append(operator)
    if not first_first:
        graph.operators.reverse()
    model.subgraphs = [graph]
    return pack(model)


def test_the_order_of_independent_operators_does_not_matter() -> None:
    assert _two_branches(True) != _two_branches(False)
    assert logical_fingerprint(_two_branches(True)) == logical_fingerprint(_two_branches(False))


def test_which_output_is_which_does_matter() -> None:
    def swap(model: Any) -> None:
        model.subgraphs[0].outputs = [2, 1]

    content = _two_branches(True)
    assert changed(swap, content) != logical_fingerprint(content)


def test_a_path_and_bytes_have_the_fingerprint_of_the_model(tmp_path: Path) -> None:
    path = tmp_path / "other name.tflite"
    path.write_bytes(MODEL)
    assert model_fingerprint(path) == model_fingerprint(MODEL) == logical_fingerprint(MODEL)


@pytest.mark.parametrize("content", [b"", b"TFL3", MODEL[: len(MODEL) // 2]])
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match="here"):
        logical_fingerprint(content, "here")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the reference models are not here")
def test_real_models_keep_theirs_whatever_their_files_look_like() -> None:
    checked = 0
    for path in sorted(SHARED.glob("*.tflite"))[::4]:
        content = path.read_bytes()
        for edit in (rename, shuffle_buffers, shuffle_codes, without_metadata):
            assert changed(edit, content) == logical_fingerprint(content), (path.name, edit)
        checked += 1
    assert checked > 20


@given(st.data())
def test_no_damage_is_anything_but_an_error(data: st.DataObject) -> None:
    content = bytearray(MODEL)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(8, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ModelError):
        assert len(logical_fingerprint(bytes(content))) == 64
