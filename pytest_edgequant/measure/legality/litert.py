"""Rules of LiteRT: what its interpreter refuses whatever the operators are made for."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_edgequant.measure.legality.rule import place, rule
from pytest_edgequant.records import Target
from pytest_edgequant.tflite.graph import Graph
from pytest_edgequant.wording import counted


def _on_litert(target: Target) -> bool:
    return not target.is_microcontroller


@rule("LiteRT", _on_litert)
def quantized_dimension(graph: Graph, target: Target) -> Iterator[str]:
    """LiteRT wants scales along a dimension that the tensor has, even where it has one scale"""
    found = [
        tensor
        for subgraph in graph.subgraphs
        for tensor in subgraph.tensors
        if tensor.quantization and tensor.shape and not 0 <= tensor.axis < len(tensor.shape)
    ]
    if found:
        first = found[0]
        yield (
            f"{counted(len(found), 'tensor')}, such as {first.shown} (dimension {first.axis} of "
            f"{len(first.shape)}). Convert the model again with a newer converter"
        )


@rule("LiteRT", _on_litert)
def pad_value_type(graph: Graph, target: Target) -> Iterator[str]:
    """LiteRT pads with a value of the data's own type alone"""
    for subgraph, operator in graph.operators():
        if operator.name != "PADV2" or len(operator.inputs) < 3:
            continue
        data, value = (operator.inputs[i] for i in (0, 2))
        if min(data, value) >= 0 and subgraph.tensors[data].type != subgraph.tensors[value].type:
            yield f"{place(subgraph, operator)}. Pad with zeros, or use int8 or float32"


RULES = (quantized_dimension, pad_value_type)
