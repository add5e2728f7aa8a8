"""Rules on a target's own build of TFLM: its kernel library and the age of its sources."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_edgequant.measure.legality.rule import (
    Severity,
    input_types,
    on_cmsis_nn,
    on_tflm,
    place,
    rule,
)
from pytest_edgequant.records import Target
from pytest_edgequant.tflite.graph import Graph, Operator, Subgraph

PER_CHANNEL_DENSE_SINCE = "2024-08"
"""The month in which TFLM's fully connected kernels took weights per channel (its pull request
2673)."""


def _per_channel_dense(graph: Graph) -> Iterator[tuple[Subgraph, Operator]]:
    for subgraph, operator in graph.operators():
        if operator.name == "FULLY_CONNECTED" and len(operator.inputs) > 1:
            weights = operator.inputs[1]
            quantization = subgraph.tensors[weights].quantization if weights >= 0 else None
            if quantization is not None and quantization.per_axis:
                yield subgraph, operator


@rule("CMSIS-NN", on_cmsis_nn)
def per_channel_dense(graph: Graph, target: Target) -> Iterator[str]:
    """CMSIS-NN refuses int16 or int4 fully connected layers with weights quantized per channel"""
    for subgraph, operator in _per_channel_dense(graph):
        given, weights = input_types(subgraph, operator)[:2]
        if given == "INT16" or weights == "INT4":
            yield (
                f"{place(subgraph, operator)} has int16 activations and weights quantized per "
                "channel. Convert with weights per tensor (the default here), or int8"
                if given == "INT16"
                else f"{place(subgraph, operator)} has int4 weights quantized per channel. "
                "Quantize them per tensor, or int8"
            )


@rule("TFLM before August 2024, or of unknown age", on_tflm, Severity.WRONG)
def per_channel_dense_unknown(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM before August 2024 computes fully connected layers with weights per channel wrongly,
    without an error
    """
    if target.tflm is not None and target.tflm[:7] >= PER_CHANNEL_DENSE_SINCE:
        return
    age = f"of {target.tflm}" if target.tflm else "of unknown age"
    for subgraph, operator in _per_channel_dense(graph):
        yield (
            f"{place(subgraph, operator)}, and the firmware's TFLM is {age}. Convert with "
            "weights per tensor (the default here), or state the age of the firmware's TFLM: "
            f'tflm = "{PER_CHANNEL_DENSE_SINCE}" in the target'
        )


@rule("CMSIS-NN", on_cmsis_nn, Severity.HANGS)
def transpose_conv_bias(graph: Graph, target: Target) -> Iterator[str]:
    """CMSIS-NN's int16 transposed convolution reads a bias that is not there"""
    for subgraph, operator in graph.operators():
        if operator.name != "TRANSPOSE_CONV":
            continue
        types = input_types(subgraph, operator)
        if types[2:3] == ["INT16"] and types[3:4] in ([], ["-"]):
            yield f"{place(subgraph, operator)}. Use int8, or give the layer a bias that is not 0"


_CMSIS_RANKS = {"MAXIMUM": 4, "MINIMUM": 4, "PAD": 4, "PADV2": 4, "TRANSPOSE": 4}


@rule("CMSIS-NN", on_cmsis_nn, Severity.WRONG)
def cmsis_dimensions(graph: Graph, target: Target) -> Iterator[str]:
    """CMSIS-NN's int8 kernel computes on four dimensions at most"""
    for subgraph, operator in graph.operators():
        most = _CMSIS_RANKS.get(operator.name)
        if most is None or "INT8" not in input_types(subgraph, operator)[:1]:
            continue
        rank = len(subgraph.tensors[operator.inputs[0]].shape)
        if rank > most:
            yield f"{place(subgraph, operator)} has {rank}. Reshape before"


RULES = (per_channel_dense, per_channel_dense_unknown, transpose_conv_bias, cmsis_dimensions)
