"""Legality before metrics: what a target's runtime refuses in a model, as its graph tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pytest_edgequant.conversion.check import (
    FLOAT_TYPES,
    detect_form,
    float16_tensors,
    hybrid_operators,
)
from pytest_edgequant.conversion.registry import VARIANTS
from pytest_edgequant.records import Target
from pytest_edgequant.targets.tflm_operators import TFLM_CUSTOM_OPERATORS, TFLM_OPERATORS
from pytest_edgequant.tflite.graph import Graph

Rule = Callable[[Graph, Target], Iterator[str]]


def variant_refused(name: str, target: Target) -> str | None:
    """Why the target can't run this form, by its name alone; None where it can.

    Names that don't tell what is in the file ("as_is", "mixed") are refused by their graph alone.
    """
    if name not in VARIANTS or name == "as_is":
        return None
    if name in target.refused:
        return target.refused[name]
    if name in target.variants:
        return None
    return f"{target.name} does not list {name} among what it can run"


def hybrid(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM has no hybrid kernels: float activations with integer weights are refused."""
    if target.is_microcontroller:
        for place in hybrid_operators(graph):
            yield f"{place} takes float activations with integer weights. Use int8"


def float16(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM can't dequantize float16 weights."""
    if target.is_microcontroller:
        names = float16_tensors(graph)
        if names:
            yield f"{len(names)} float16 tensors ({names[0]!r}, ...). Use int8 or float32"


def integer_io(graph: Graph, target: Target) -> Iterator[str]:
    """A target that demands integer inputs and outputs refuses float ones."""
    if not target.requires_integer_io:
        return
    for role, indices in (("input", graph.main.inputs), ("output", graph.main.outputs)):
        for index in indices:
            tensor = graph.main.tensors[index]
            if tensor.type in FLOAT_TYPES:
                yield (
                    f"the {role} {tensor.name!r} is {tensor.type}, {target.name} requires integer "
                    "inputs and outputs. Use int8 or uint8_io"
                )


def missing_kernels(graph: Graph, target: Target) -> Iterator[str]:
    """An operator without a kernel in the target's runtime."""
    for subgraph, operator in graph.operators():
        layer = subgraph.tensors[operator.outputs[0]].name if operator.outputs else "?"
        place = f"{operator.label} (operator {operator.index}, layer {layer!r})"
        if operator.name == "CUSTOM":
            if operator.custom_code.startswith("Flex"):
                yield f"{place} needs TensorFlow's Flex delegate. Use operators that TFLite has"
            elif not target.is_microcontroller or operator.custom_code not in TFLM_CUSTOM_OPERATORS:
                yield f"{place} is a custom operator that the runtime does not know"
        elif target.is_microcontroller and operator.name not in TFLM_OPERATORS:
            yield f"{place} has no TFLM kernel. Replace the layer by one of supported operators"


def per_channel_dense(graph: Graph, target: Target) -> Iterator[str]:
    """CMSIS-NN refuses int16 fully connected layers with per-channel weights."""
    if not target.is_microcontroller or target.kernels != "cmsis-nn":
        return
    for subgraph, operator in graph.operators():
        if operator.name != "FULLY_CONNECTED" or len(operator.inputs) < 2:
            continue
        source, weights = (subgraph.tensors[i] for i in operator.inputs[:2])
        quantization = weights.quantization
        if source.type == "INT16" and quantization is not None and quantization.per_axis:
            yield (
                f"{operator.place} has int16 activations and weights "
                "quantized per channel. Convert with weights per tensor (the default here), or int8"
            )


RULES: tuple[Rule, ...] = (hybrid, float16, integer_io, missing_kernels, per_channel_dense)


def graph_refusals(graph: Graph, target: Target) -> list[str]:
    """Every reason why the target's runtime would refuse the model, from its graph."""
    form = detect_form(graph)
    by_form = [target.refused[form]] if form in target.refused else []
    return by_form or [reason for rule in RULES for reason in rule(graph, target)]
