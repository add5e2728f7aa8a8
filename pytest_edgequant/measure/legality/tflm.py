"""Rules on operators: what TFLM's kernels take, by types, ranks and constness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from pytest_edgequant.conversion.replacing import replacement
from pytest_edgequant.measure.legality.accelerators import COMPILED_OPERATORS, compiled_operator
from pytest_edgequant.measure.legality.rule import (
    input_types,
    on_tflm,
    output_types,
    place,
    rule,
)
from pytest_edgequant.records import Target
from pytest_edgequant.targets.tflm_operators import TFLM_CUSTOM_OPERATORS, TFLM_OPERATORS
from pytest_edgequant.tflite.graph import Graph, Operator, Subgraph
from pytest_edgequant.toml import load_toml

INSTEAD = {
    "BIDIRECTIONAL_SEQUENCE_LSTM": "Use two unidirectional LSTM layers",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "Use an LSTM, or unroll=True",
    "LSTM": "Use an LSTM layer that the converter fuses (UNIDIRECTIONAL_SEQUENCE_LSTM)",
    "RELU_N1_TO_1": "Use keras.ops.clip, or tanh",
    "RELU_0_TO_1": "Use ReLU6 on a scaled input, or keras.ops.clip",
    "ATAN2": "Compute it outside of the model",
    "RANGE": "Make it a constant",
    "NON_MAX_SUPPRESSION_V4": "Leave it to the application",
    "NON_MAX_SUPPRESSION_V5": "Leave it to the application",
    "REVERSE_SEQUENCE": "Use keras.ops.flip on full sequences (REVERSE_V2)",
    "ONE_HOT": "Encode outside of the model",
    "RANK": "Make it a constant",
    "UNIQUE": "Compute it outside of the model",
    "WHERE": "Use a mask and a product",
}

_RANKS = {
    "BROADCAST_TO": 5,
    "CONCATENATION": 6,
    "DEPTH_TO_SPACE": 4,
    "L2_NORMALIZATION": 4,
    "L2_POOL_2D": 4,
    "PAD": 5,
    "PADV2": 5,
    "REVERSE_V2": 6,
    "SLICE": 5,
    "SPACE_TO_DEPTH": 4,
    "STRIDED_SLICE": 4,
    "TRANSPOSE": 5,
}
"""The most dimensions that the wheel's kernels take.

`tests/unit/measure/legality/test_legality.py` asks again."""


@dataclass(frozen=True)
class Kernel:
    """What one operator's kernel takes: roles by position, and their accepted types."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    accepts: frozenset[tuple[str, ...]]
    constant: tuple[int, ...]

    def roles(self) -> list[str]:
        letters = (name.rstrip("*") for name in (*self.inputs, *self.outputs))
        return [role for role in dict.fromkeys(letters) if len(role) == 1 and role != "-"]

    def by_position(self, names: tuple[str, ...], count: int) -> list[str]:
        if len(names) == 1 and names[0].endswith("*"):
            return [names[0][0]] * count
        return [*names, *["-"] * (count - len(names))][:count]

    def types(self, subgraph: Subgraph, operator: Operator) -> dict[str, str]:
        """The type that each role has in a model; the first one that differs from the role's."""
        found: dict[str, str] = {}
        for names, types in (
            (self.inputs, input_types(subgraph, operator)),
            (self.outputs, output_types(subgraph, operator)),
        ):
            for role, kind in zip(self.by_position(names, len(types)), types, strict=True):
                if len(role) == 1 and role != "-" and kind != "-":
                    found.setdefault(role, kind)
        return found


# The cell's input and its first weights, by `unidirectional_sequence_lstm.cc`.
_LSTM = {
    "tensors": "T - W > T",
    "accepts": ["FLOAT32 FLOAT32", "INT8 INT8", "INT16 INT8"],
}


@cache
def kernels() -> Mapping[str, Kernel]:
    """What the kernels take, by operator, from `tflm_kernels.toml`."""
    name = "tflm_kernels.toml"
    table: dict[str, Any] = load_toml((resources.files(__package__) / name).read_bytes(), name)
    found = {}
    for operator, entry in {**table, "UNIDIRECTIONAL_SEQUENCE_LSTM": _LSTM}.items():
        inputs, outputs = entry["tensors"].split(" > ")
        found[operator] = Kernel(
            tuple(inputs.split()),
            tuple(outputs.split()),
            frozenset(tuple(row.split()) for row in entry["accepts"]),
            tuple(entry.get("constant", ())),
        )
    return found


def _known_custom(operator: Operator, target: Target) -> bool:
    known = {*target.custom_operators, compiled_operator(target)}
    if target.is_microcontroller:
        known |= TFLM_CUSTOM_OPERATORS
    return operator.custom_code in known


@rule("TFLM and LiteRT", lambda target: True)
def custom_operators(graph: Graph, target: Target) -> Iterator[str]:
    """A custom or Flex operator that the target's runtime does not know"""
    for subgraph, operator in graph.operators():
        if operator.name != "CUSTOM" or _known_custom(operator, target):
            continue
        if operator.custom_code.startswith("Flex"):
            yield (
                f"{place(subgraph, operator)} needs TensorFlow's Flex delegate. "
                "Use operators that TFLite has"
            )
        elif operator.custom_code in COMPILED_OPERATORS.values():
            yield (
                f"{place(subgraph, operator)} was compiled for an accelerator that the "
                "target does not have. Gate the model that it was compiled from"
            )
        else:
            yield (
                f"{place(subgraph, operator)} is a custom operator that the runtime does not know. "
                f'If the firmware registers it: custom_operators = ["{operator.custom_code}"] '
                "in the target"
            )


@rule("TFLM", on_tflm)
def no_kernel(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM has no kernel for the operator"""
    for subgraph, operator in graph.operators():
        if operator.name != "CUSTOM" and operator.name not in TFLM_OPERATORS:
            otherwise = INSTEAD.get(operator.name, "Replace the layer by supported operators")
            yield f"{place(subgraph, operator)}. {replacement(subgraph, operator, otherwise)}"


_NO_TYPE = ("STRING", "COMPLEX64", "COMPLEX128", "FLOAT64", "VARIANT")
_COPYING = ("BROADCAST_TO", "RESHAPE", "SHAPE", "SQUEEZE")
"""Operators that move bytes, whatever they are."""


@rule("TFLM", on_tflm)
def unusable_types(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM has no kernels for strings, complex numbers and float64"""
    for subgraph, operator in graph.operators():
        types = {*input_types(subgraph, operator), *output_types(subgraph, operator)}
        if operator.name in _COPYING:
            types -= {"COMPLEX64", "FLOAT64"}
        if types & set(_NO_TYPE):
            yield f"{place(subgraph, operator)}. Compute in float32 or int8, strings outside"


def _advice(kind: str, operator: Operator) -> str:
    if kind == "UINT8":
        return "Quantize to int8: uint8 is for inputs and outputs only (uint8_io)"
    if kind == "INT16":
        return f"Use int8, or replace {operator.name}"
    if kind == "INT64":
        return "Use int32"
    if kind == "INT4":
        return "Use int8 weights"
    return "Convert the layer's data to a type that the kernel takes"


def _listed(values: set[str]) -> str:
    names = sorted(values)
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]


@rule("TFLM", on_tflm)
def kernel_types(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM has the operator, but not in these types"""
    for subgraph, operator in graph.operators():
        kernel = kernels().get(operator.name)
        if kernel is None:
            continue
        types = kernel.types(subgraph, operator)
        if {*types.values()} & {*_NO_TYPE, "FLOAT16", "BFLOAT16"}:
            continue  # unusable_types and float16 say it
        if types.get("T") == "FLOAT32" and types.get("W") in ("INT8", "INT4", "INT16"):
            continue  # hybrid says it
        order = kernel.roles()
        rows = kernel.accepts
        for count, role in enumerate(order):
            if role not in types:
                continue
            left = frozenset(row for row in rows if row[count] == types[role])
            if not left:
                wanted = _listed({row[count] for row in rows})
                words = {"T": "data", "W": "weights", "I": "indices", "O": "an output"}
                advice = _advice(types[role], operator)
                if count == 0 and types[role] in ("INT8", "INT16", "BOOL"):
                    advice = replacement(subgraph, operator, advice)
                yield (
                    f"{place(subgraph, operator)} takes {words.get(role, 'values')} of type "
                    f"{wanted}{' here' if count else ''}, not {types[role]}. "
                    f"{advice}"
                )
                break
            rows = left


@rule("TFLM", on_tflm)
def constant_inputs(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM wants shapes, axes and paddings as constants, not computed at run time"""
    for subgraph, operator in graph.operators():
        kernel = kernels().get(operator.name)
        for position in kernel.constant if kernel is not None else ():
            if position >= len(operator.inputs) or operator.inputs[position] < 0:
                continue
            tensor = subgraph.tensors[operator.inputs[position]]
            if not tensor.constant and tensor.elements:
                yield (
                    f"{place(subgraph, operator)} takes {tensor.shown} at run time. Give the "
                    "model a fixed input shape and a batch of 1"
                )


@rule("TFLM", on_tflm)
def dimensions(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM's kernel takes fewer dimensions"""
    for subgraph, operator in graph.operators():
        most = _RANKS.get(operator.name)
        if operator.name == "PRELU" and "FLOAT32" in input_types(subgraph, operator):
            most = 4
        if most is None:
            continue
        ranks = [len(subgraph.tensors[i].shape) for i in operator.inputs[:1] if i >= 0]
        rank = max(ranks, default=0)
        if rank > most:
            advice = replacement(subgraph, operator, "Reshape before")
            yield f"{place(subgraph, operator)} has {rank}, the kernel takes {most}. {advice}"


@rule("TFLM", on_tflm)
def fused_activation(graph: Graph, target: Target) -> Iterator[str]:
    """TFLM's concatenation takes no fused activation"""
    for subgraph, operator in graph.operators():
        if operator.name == "CONCATENATION" and operator.options.get("fusedActivationFunction"):
            yield f"{place(subgraph, operator)}. Put the activation into a layer of its own"


RULES = (
    custom_operators,
    no_kernel,
    unusable_types,
    kernel_types,
    constant_inputs,
    dimensions,
    fused_activation,
)
