"""What a file's graph really is: its form, whatever it is called, and what in it is float."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from pytest_edgequant.tflite.graph import Graph, Operator, Subgraph, Tensor
from pytest_edgequant.wording import short

FLOAT_TYPES = ("FLOAT32", "FLOAT16", "FLOAT64", "BFLOAT16")
_WEIGHTED = {
    "CONV_2D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "CONV_3D": 1,
    "TRANSPOSE_CONV": 1,
    "CONV_3D_TRANSPOSE": 1,
    "FULLY_CONNECTED": 1,
    "BATCH_MATMUL": 1,
    "SVDF": 1,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 1,
    "BIDIRECTIONAL_SEQUENCE_LSTM": 1,
    "LSTM": 1,
    "UNIDIRECTIONAL_SEQUENCE_RNN": 1,
    "BIDIRECTIONAL_SEQUENCE_RNN": 1,
    "RNN": 1,
    "EMBEDDING_LOOKUP": 1,
}
EDGES = ("QUANTIZE", "DEQUANTIZE")
_DATA_INPUT = {"TRANSPOSE_CONV": 2, "SPLIT": 1}
"""Where the activation is not the first input."""


@dataclass(frozen=True)
class FloatTensor:
    """A float tensor in a graph, and the operator that it belongs to."""

    tensor: str
    type: str
    role: str
    operator: str

    def __str__(self) -> str:
        return f"{self.role} {short(self.tensor)!r} ({self.type}) of {self.operator}"


def float_tensors(graph: Graph) -> list[FloatTensor]:
    """Every float tensor: inputs, outputs, weights, activations; an integer model has none."""
    found: list[FloatTensor] = []
    seen: set[tuple[int, int]] = set()
    for number, subgraph in enumerate(graph.subgraphs):
        edges = (("input", subgraph.inputs), ("output", subgraph.outputs))
        for role, indices in edges if number == 0 else ():
            for index in indices:
                tensor = subgraph.tensors[index]
                if tensor.type in FLOAT_TYPES:
                    seen.add((number, index))
                    found.append(FloatTensor(tensor.name, tensor.type, role, "the model"))
        # What computes in float is the reason, not the DEQUANTIZE before it.
        for operator in sorted(subgraph.operators, key=lambda o: o.name in EDGES):
            for index in (*operator.inputs, *operator.outputs):
                if index < 0 or (number, index) in seen:
                    continue
                tensor = subgraph.tensors[index]
                if tensor.type in FLOAT_TYPES:
                    seen.add((number, index))
                    role = "weights" if tensor.constant else "activation"
                    found.append(FloatTensor(tensor.name, tensor.type, role, operator.place))
    return found


def inner_float(graph: Graph) -> list[FloatTensor]:
    """Float tensors other than the model's inputs and outputs."""
    return [f for f in float_tensors(graph) if f.role not in ("input", "output")]


def weights_of(subgraph: Subgraph, operator: Operator) -> Tensor | None:
    """An operator's constant weights; None where it has none."""
    position = _WEIGHTED.get(operator.name)
    if position is None or position >= len(operator.inputs) or operator.inputs[position] < 0:
        return None
    tensor = subgraph.tensors[operator.inputs[position]]
    return tensor if tensor.constant else None


def activation_of(subgraph: Subgraph, operator: Operator) -> Tensor | None:
    """The data that an operator works on; None where it is left out."""
    position = _DATA_INPUT.get(operator.name, 0)
    if position >= len(operator.inputs) or operator.inputs[position] < 0:
        return None
    return subgraph.tensors[operator.inputs[position]]


def _activation_types(graph: Graph) -> set[str]:
    """Types of the data that every operator computes on."""
    found = set()
    for subgraph, operator in graph.operators():
        tensor = activation_of(subgraph, operator)
        if operator.name not in EDGES and tensor is not None and not tensor.constant:
            found.add(tensor.type)
    return found


def hybrid_operators(graph: Graph) -> list[tuple[Subgraph, Operator]]:
    """Operators that take float activations with integer weights."""
    found = []
    for subgraph, operator in graph.operators():
        weights, activation = weights_of(subgraph, operator), activation_of(subgraph, operator)
        if weights is None or weights.type in FLOAT_TYPES or activation is None:
            continue
        if activation.type in FLOAT_TYPES:
            found.append((subgraph, operator))
    return found


def float16_tensors(graph: Graph) -> list[str]:
    """Names of the float16 tensors."""
    return [
        tensor.name
        for subgraph in graph.subgraphs
        for tensor in subgraph.tensors
        if tensor.type in ("FLOAT16", "BFLOAT16")
    ]


@lru_cache(maxsize=64)
def detect_form(graph: Graph) -> str:
    """The variant's name that a file's graph amounts to; "mixed" where there is none."""
    main = graph.main
    if float16_tensors(graph):
        return "float16"
    if hybrid_operators(graph):
        return "dynamic_range"
    kinds = _activation_types(graph)
    edges = {main.tensors[i].type for i in (*main.inputs, *main.outputs)}
    quantized = any(t.quantization and t.type not in FLOAT_TYPES for t in main.tensors)
    if not quantized:
        dequantized = any(
            s.tensors[o.inputs[0]].constant for s, o in graph.operators() if o.name == "DEQUANTIZE"
        )
        return "dynamic_range" if dequantized else "float32"
    if inner_float(graph):
        return "dynamic_range" if not kinds & {"INT8", "INT16", "UINT8"} else "mixed"
    if "INT16" in kinds and "INT8" not in kinds:
        return "int16x8"
    if "INT8" in kinds:
        if "FLOAT32" in edges:
            return "int8_float_io"
        return "uint8_io" if "UINT8" in edges else "int8"
    return "mixed"


def quantized_nothing(graph: Graph) -> bool:
    """Whether a file that should have quantized weights has none."""
    return not any(
        tensor.constant and tensor.quantization is not None and tensor.type not in FLOAT_TYPES
        for subgraph in graph.subgraphs
        for tensor in subgraph.tensors
    )
