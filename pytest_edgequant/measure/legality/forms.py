"""Rules on the form of a whole model: hybrid, float16, float inputs, float without an FPU."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_edgequant.measure.legality.rule import Severity, on_tflm, place, rule
from pytest_edgequant.records import Target
from pytest_edgequant.tflite.form import FLOAT_TYPES, float16_tensors, hybrid_operators
from pytest_edgequant.tflite.graph import Graph


@rule("TFLM", on_tflm)
def hybrid(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM has no hybrid kernels (float activations with integer weights, as dynamic range
    quantization makes them)
    """
    for subgraph, operator in hybrid_operators(graph):
        yield f"{place(subgraph, operator)}. Use int8"


@rule("TFLM", on_tflm)
def float16(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM can't dequantize float16 weights"""
    names = float16_tensors(graph)
    if names:
        yield f"{len(names)} float16 tensors ({names[0]!r}, ...). Use int8 or float32"


@rule("targets that require integer I/O", lambda target: target.requires_integer_io)
def integer_io(graph: Graph, target: Target) -> Iterator[str]:
    """The target requires integer inputs and outputs"""
    for role, indices in (("input", graph.main.inputs), ("output", graph.main.outputs)):
        for index in indices:
            tensor = graph.main.tensors[index]
            if tensor.type in FLOAT_TYPES:
                yield f"the {role} {tensor.shown} is {tensor.type}. Use int8 or uint8_io"


@rule("TFLM", on_tflm)
def dynamic_shapes(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM can't resize tensors: every dimension but the batch must be known"""
    for index in graph.main.inputs:
        tensor = graph.main.tensors[index]
        if -1 in tensor.shape_signature[1:]:
            yield (
                f"the input {tensor.shown} has the shape {tensor.shape_signature}; TFLM would run "
                f"it with {tensor.shape} for ever. Give the model a fixed input shape"
            )


@rule("cores without an FPU", lambda target: not target.has_fpu, Severity.WARNING)
def software_float(graph: Graph, target: Target) -> Iterator[str]:
    """Float runs in software on a core without an FPU: many times slower than int8"""
    count = sum(
        any(subgraph.tensors[i].type == "FLOAT32" for i in operator.outputs if i >= 0)
        for subgraph, operator in graph.operators()
        if operator.name != "DEQUANTIZE"
    )
    if count:
        one = count == 1
        yield f"{count} {'operator computes' if one else 'operators compute'} in float. Use int8"


RULES = (hybrid, float16, integer_io, dynamic_shapes, software_float)
