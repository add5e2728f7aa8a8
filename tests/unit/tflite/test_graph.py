from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import isolation_functions
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st
from model_building import one_operator, tensor

from pytest_edgequant.conversion.built import build_variant
from pytest_edgequant.errors import ModelError
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.records import Quantization
from pytest_edgequant.tflite.edit import pack, unpack
from pytest_edgequant.tflite.form import detect_form, float_tensors, quantized_nothing
from pytest_edgequant.tflite.graph import Graph, read_graph
from pytest_edgequant.tflite.model import TFLiteModel

INT8 = (Path(__file__).parents[2] / "data" / "tiny_int8.tflite").read_bytes()


@pytest.fixture(scope="module")
def oracle() -> Iterator[IsolatedProcess]:
    """LiteRT, in a child: some reference models are not its own."""
    process = IsolatedProcess("oracle", 120)
    yield process
    process.close()


def graph_or_model_error(content: bytes) -> None:
    """Read, and look at what was read: anything but a `ModelError` is a bug."""
    try:
        graph = read_graph(content)
    except ModelError:
        return
    detect_form(graph)
    float_tensors(graph)
    quantized_nothing(graph)
    with contextlib.suppress(ModelError):  # it computes nothing
        build_variant("as_is", TFLiteModel(content, "x"), Path("x.tflite"), {})


def said_of(details: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """LiteRT's details as plain values."""
    rows = []
    for detail in details:
        parameters = detail["quantization_parameters"]
        scales = tuple(float(s) for s in parameters["scales"])
        rows.append(
            (
                detail["index"],
                detail["name"],
                tuple(int(n) for n in detail["shape"]),
                np.dtype(detail["dtype"]),
                scales,
                tuple(int(z) for z in parameters["zero_points"]),
                parameters["quantized_dimension"] if len(scales) > 1 else None,
            )
        )
    return rows


def ours(graph: Graph, indices: set[int]) -> list[tuple[Any, ...]]:
    rows = []
    for t in graph.main.tensors:
        if t.index in indices:
            q = t.quantization or Quantization((), ())
            rows.append((t.index, t.name, t.shape, t.dtype, q.scales, q.zero_points, q.axis))
    return rows


def assert_reads_as_litert_does(files: Mapping[str, Path], oracle: IsolatedProcess) -> None:
    contents = {name: path.read_bytes() for name, path in files.items()}
    details = oracle.call(isolation_functions.tensor_details, contents)
    known = {name: found for name, found in details.items() if not isinstance(found, str)}
    assert len(known) >= len(files) - 1  # LiteRT refuses TFLM's person_detect
    different = []
    for name, found in known.items():
        expected = said_of(found)
        if ours(read_graph(contents[name]), {row[0] for row in expected}) != expected:
            different.append(name)
    assert different == []


# -- what is in a file --------------------------------------------------------------------------


def test_the_tiny_models_read_as_litert_reads_them(
    tiny: Mapping[str, Path], oracle: IsolatedProcess
) -> None:
    files = {form: path for form, path in tiny.items() if path.suffix == ".tflite"}
    assert_reads_as_litert_does(files, oracle)


def test_all_reference_models_read_as_litert_reads_them(
    reference: Path, oracle: IsolatedProcess
) -> None:
    files = {path.name: path for path in (reference / "models").glob("*.tflite")}
    assert len(files) > 100
    assert_reads_as_litert_does(files, oracle)


def test_operators_and_names_are_read() -> None:
    graph = read_graph(INT8)
    main = graph.main
    labels = [operator.label for _, operator in graph.operators()]
    assert labels == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"]
    assert graph.signature_inputs == (("image", main.inputs[0]),)
    assert [main.tensors[i].shape for i in (*main.inputs, *main.outputs)] == [(1, 8, 8, 1), (1, 10)]


def test_constants_are_told_with_their_size() -> None:
    main = read_graph(INT8).main
    dense = next(o for o in main.operators if o.name == "FULLY_CONNECTED")
    activation, weights, bias = (main.tensors[i] for i in dense.inputs)
    assert not activation.constant
    assert (weights.constant_bytes, weights.elements) == (2880, 2880)
    assert (bias.type, bias.constant_bytes) == ("INT32", 40)


def test_convolution_weights_are_quantized_per_channel_and_dense_ones_per_tensor() -> None:
    main = read_graph(INT8).main
    by_operator = {o.name: main.tensors[o.inputs[1]].quantization for o in main.operators[::2]}
    conv, dense = by_operator["CONV_2D"], by_operator["FULLY_CONNECTED"]
    assert conv is not None
    assert dense is not None
    assert (conv.axis, len(conv.scales), conv.zero_points) == (0, 8, (0,) * 8)
    assert (dense.axis, len(dense.scales), dense.zero_points) == (None, 1, (0,))


def test_options_have_the_names_of_the_schema() -> None:
    by_operator = {o.name: o.options for o in read_graph(INT8).main.operators}
    assert by_operator["CONV_2D"]["strideW"] == 1
    assert by_operator["CONV_2D"]["padding"] == schema.Padding.VALID
    assert by_operator["CONV_2D"]["fusedActivationFunction"] == (schema.ActivationFunctionType.RELU)
    assert by_operator["SOFTMAX"]["beta"] == 1.0
    plain = one_operator("RELU", [tensor("x", [1], "INT8")], tensor("y", [1], "INT8"))
    assert read_graph(plain).main.operators[0].options == {}


def test_metadata_is_read_by_name() -> None:
    x, w, y = (tensor(name, [1, 4], "INT8") for name in "xwy")
    model = unpack(one_operator("ADD", [x, w], y, constants={1: np.arange(4, dtype=np.int8)}))
    entry = schema.MetadataT()
    entry.name, entry.buffer = b"plan", 1
    model.metadata = [entry]
    assert read_graph(pack(model)).metadata == {"plan": bytes([0, 1, 2, 3])}
    entry.buffer = 2
    with pytest.raises(ModelError, match="metadata 0 refers to buffer 2"):
        read_graph(pack(model))


def test_a_custom_operator_is_named_by_its_code() -> None:
    content = one_operator(
        "CUSTOM", [tensor("x", [1], "FLOAT32")], tensor("y", [1], "FLOAT32"), custom_code="FlexErf"
    )
    assert read_graph(content).main.operators[0].label == "CUSTOM(FlexErf)"


def test_one_zero_point_serves_all_scales() -> None:
    x = tensor("x", [1, 2], "INT8", scales=[0.5, 0.25], zero_points=[3], axis=1)
    content = one_operator("RELU", [x], tensor("y", [1, 2], "INT8"))
    assert read_graph(content).main.tensors[0].quantization == Quantization((0.5, 0.25), (3, 3), 1)


def test_scales_and_zero_points_that_do_not_match_are_refused() -> None:
    x = tensor("x", [1, 3], "INT8", scales=[1, 1, 1], zero_points=[0, 0], axis=1)
    with pytest.raises(ModelError, match="3 scales and 2 zero points"):
        read_graph(one_operator("RELU", [x], tensor("y", [1, 3], "INT8")))


SPOILT: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "a negative extent": (
        lambda model, graph: setattr(graph.tensors[0], "shape", [1, -1]),
        r"tensor 0 'x' has the shape \(1, -1\)",
    ),
    "an unknown type": (
        lambda model, graph: setattr(graph.tensors[0], "type", 99),
        "tensor 0 has the unknown type 99",
    ),
    "a buffer that is not there": (
        lambda model, graph: setattr(graph.tensors[0], "buffer", len(model.buffers)),
        "tensor 0 refers to buffer 1",
    ),
    "an operator code that is not there": (
        lambda model, graph: setattr(graph.operators[0], "opcodeIndex", 1),
        "operator 0 refers to operator code 1",
    ),
    "an operator's tensor that is not there": (
        lambda model, graph: setattr(graph.operators[0], "inputs", [2]),
        "operator 0 refers to tensor 2 of 2",
    ),
    "an input that is not there": (
        lambda model, graph: setattr(graph, "inputs", [2]),
        "inputs or outputs refer to tensor 2",
    ),
    "an output that is left out": (
        lambda model, graph: setattr(graph, "outputs", [-1]),
        "inputs or outputs refer to tensor -1",
    ),
    "constants behind the end": (
        lambda model, graph: (
            setattr(model.buffers[0], "offset", 100),
            setattr(model.buffers[0], "size", 10**6),
        ),
        "buffer 0 ends behind the end of the file",
    ),
    "no subgraph": (lambda model, graph: model.subgraphs.clear(), "it holds no subgraph"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_what_contradicts_itself_is_refused(how: str) -> None:
    x, y = (tensor(name, [1, 4], "INT8") for name in "xy")
    model = unpack(one_operator("RELU", [x], y))
    spoil, said = SPOILT[how]
    spoil(model, model.subgraphs[0])
    with pytest.raises(ModelError, match=f"^m: damaged or truncated .tflite file.*{said}"):
        read_graph(pack(model), "m")


def test_constants_may_lie_behind_the_flatbuffer() -> None:
    """Large models keep them there, by offset and size."""
    x, w, y = (tensor(name, [1, 4], "INT8") for name in "xwy")
    model = unpack(one_operator("ADD", [x, w], y, constants={1: np.zeros(4, np.int8)}))
    model.buffers[1].data, model.buffers[1].offset, model.buffers[1].size = None, 64, 4
    assert [t.constant_bytes for t in read_graph(pack(model)).main.tensors] == [0, 4, 0]


def test_an_optional_input_may_be_left_out() -> None:
    model = unpack(one_operator("RELU", [tensor("x", [1], "INT8")], tensor("y", [1], "INT8")))
    model.subgraphs[0].operators[0].inputs = [0, -1]
    assert read_graph(pack(model)).main.operators[0].inputs == (0, -1)


# -- what is no file ----------------------------------------------------------------------------


def test_an_empty_file_says_so() -> None:
    with pytest.raises(ModelError, match=r"^a\.tflite: the file is empty"):
        read_graph(b"", "a.tflite")


def test_another_file_says_what_is_missing() -> None:
    with pytest.raises(ModelError, match=r"a\.tflite: not a \.tflite file .*'TFL3' is missing"):
        read_graph(b"PK\x03\x04 something else", "a.tflite")


def test_a_file_cut_anywhere_is_refused() -> None:
    for length in range(len(INT8)):
        with pytest.raises(ModelError, match=r"^a\.tflite: "):
            read_graph(INT8[:length], "a.tflite")


@given(st.dictionaries(st.integers(0, len(INT8) - 1), st.integers(0, 255), min_size=1, max_size=8))
def test_a_file_with_changed_bytes_gives_a_graph_or_a_model_error(changes: dict[int, int]) -> None:
    content = bytearray(INT8)
    for position, value in changes.items():
        content[position] = value
    graph_or_model_error(bytes(content))


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF, 0x00FFFFFF, len(INT8)])
def test_a_huge_length_anywhere_gives_a_graph_or_a_model_error(length: int) -> None:
    for position in [*range(0, 400, 4), *range(400, len(INT8) - 3, 20)]:
        content = bytearray(INT8)
        struct.pack_into("<I", content, position, length)
        graph_or_model_error(bytes(content))


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_random_bytes_behind_the_identifier_give_a_graph_or_a_model_error(
    rest: bytes, root: bytes
) -> None:
    graph_or_model_error(root + b"TFL3" + rest)
