"""What LiteRT refuses, by the rules alone, against what LiteRT itself says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from model_building import one_operator, tensor

from pytest_edgequant import CannotRun, assert_deployable
from pytest_edgequant.measure.legality import graph_refusals
from pytest_edgequant.targets import Targets
from pytest_edgequant.tflite.edit import pack, unpack
from pytest_edgequant.tflite.graph import read_graph

INT8 = Path(__file__).parents[3] / "data" / "tiny_int8.tflite"


def _refused(content: bytes) -> bool:
    """Whether LiteRT refuses a model."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    try:
        litert.Interpreter(model_content=content).allocate_tensors()
    except (RuntimeError, ValueError):
        return True
    return False


def _rules(content: bytes, board: str = "rpi4") -> str:
    return "; ".join(graph_refusals(read_graph(content), Targets().get(board)))


def _along(rank: int, dimension: int) -> bytes:
    """The scales of all tensors of a rank along a dimension."""
    model = unpack(INT8.read_bytes())
    chosen = [
        found
        for found in model.subgraphs[0].tensors
        if found.quantization and found.quantization.scale is not None and len(found.shape) == rank
    ]
    assert chosen
    for one in chosen:
        if len(one.quantization.scale) == 1 or dimension >= rank:
            one.quantization.quantizedDimension = dimension
    return pack(model)


@pytest.mark.parametrize(
    "rank, dimension", [(2, 0), (2, 1), (2, 2), (1, 3), (4, 3), (4, 4), (2, -1)]
)
def test_scales_along_a_dimension_that_is_there(rank: int, dimension: int) -> None:
    content = _along(rank, dimension)
    wrong = not 0 <= dimension < rank
    assert _refused(content) == wrong == ("[quantized_dimension]" in _rules(content))
    assert "quantized_dimension" not in _rules(content, "nano33ble")
    if wrong:
        with pytest.raises(CannotRun, match=f"dimension {dimension} of {rank}"):
            assert_deployable(content, "rpi4")


@pytest.mark.parametrize("value", ["FLOAT32", "INT16"])
def test_a_value_to_pad_with_has_the_type_of_the_data(value: str) -> None:
    dtype = {"FLOAT32": np.float32, "INT16": np.int16}[value]
    content = one_operator(
        "PADV2",
        [tensor("x", [1, 2], "FLOAT32"), tensor("p", [2, 2], "INT32"), tensor("v", [1], value)],
        tensor("y", [1, 4], "FLOAT32"),
        constants={1: np.asarray([[0, 0], [1, 1]], np.int32), 2: np.zeros(1, dtype)},
    )
    wrong = value != "FLOAT32"
    assert _refused(content) == wrong == ("[pad_value_type]" in _rules(content))
