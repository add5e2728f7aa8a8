"""Multiply-accumulates (MACs) of operators, by the definitions that MLPerf Tiny's totals follow.

Counted are the products with weights, and of matrices with each other: convolutions, fully
connected, recurrent and matrix operators. Padding counts as if it were multiplied, biases and
everything element by element (activations, pooling, rescaling) count nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from pytest_edgequant.tflite.graph import Graph, Operator, Subgraph, Tensor

_Tensors = list[Tensor | None]


def _shape(tensors: _Tensors, position: int) -> tuple[int, ...]:
    """A tensor's shape; empty for one that is left out."""
    tensor = tensors[position] if position < len(tensors) else None
    return tensor.shape if tensor is not None else ()


def _size(tensors: _Tensors, position: int) -> int:
    """A matrix' number of elements; 0 for one that is left out."""
    shape = _shape(tensors, position)
    return prod(shape) if shape else 0


def _conv_2d(operator: Operator, inputs: _Tensors, outputs: _Tensors) -> int:
    # The filter (out, height, width, in) has the inputs of one group only.
    return prod(_shape(outputs, 0)) * prod(_shape(inputs, 1)[1:])


def _conv_3d(operator: Operator, inputs: _Tensors, outputs: _Tensors) -> int:
    return prod(_shape(outputs, 0)) * prod(_shape(inputs, 1)[:4])


def _conv_3d_transpose(operator: Operator, inputs: _Tensors, outputs: _Tensors) -> int:
    # Output shape, filter (depth, height, width, out, in), input: each input meets each weight.
    return prod(_shape(inputs, 2)) * prod(_shape(inputs, 1)[:4])


def _depthwise_conv_2d(operator: Operator, inputs: _Tensors, outputs: _Tensors) -> int:
    return prod(_shape(outputs, 0)) * prod(_shape(inputs, 1)[1:3])


def _transpose_conv(operator: Operator, inputs: _Tensors, outputs: _Tensors) -> int:
    return prod(_shape(inputs, 2)) * prod(_shape(inputs, 1)[:3])


def _fully_connected(operator: Operator, inputs: _Tensors, outputs: _Tensors) -> int:
    return prod(_shape(outputs, 0)) * prod(_shape(inputs, 1)[-1:])


def _batch_matmul(operator: Operator, inputs: _Tensors, outputs: _Tensors) -> int:
    left = _shape(inputs, 0)
    if len(left) < 2:
        return 0
    inner = left[-2] if operator.options.get("adjX") else left[-1]
    return prod(_shape(outputs, 0)) * inner


def _svdf(operator: Operator, inputs: _Tensors, outputs: _Tensors) -> int:
    # Weights of features (filters, in) and of time (filters, memory), each used once a step.
    batch = _shape(inputs, 0)[:1]
    return prod(batch) * (_size(inputs, 1) + _size(inputs, 2))


def _steps(operator: Operator, inputs: _Tensors) -> int:
    """Batch times time, whichever comes first."""
    return prod(_shape(inputs, 0)[:-1])


def _lstm(operator: Operator, inputs: _Tensors, outputs: _Tensors) -> int:
    # Four gates' weights for input (1-4) and recurrence (5-8), peepholes (9-11), projection (16).
    weights = sum(_size(inputs, i) for i in (*range(1, 12), 16))
    return _steps(operator, inputs) * weights


def _bidirectional_lstm(operator: Operator, inputs: _Tensors, outputs: _Tensors) -> int:
    # As one LSTM forward (1-11, 16), one backward (18-28, 33), and auxiliary weights (40-47).
    used = (*range(1, 12), 16, *range(18, 29), 33, *range(40, 48))
    return _steps(operator, inputs) * sum(_size(inputs, i) for i in used)


def _rnn(operator: Operator, inputs: _Tensors, outputs: _Tensors) -> int:
    return _steps(operator, inputs) * (_size(inputs, 1) + _size(inputs, 2))


def _bidirectional_rnn(operator: Operator, inputs: _Tensors, outputs: _Tensors) -> int:
    used = (1, 2, 5, 6, 10, 11)
    return _steps(operator, inputs) * sum(_size(inputs, i) for i in used)


_COUNTS: dict[str, Callable[[Operator, _Tensors, _Tensors], int]] = {
    "BATCH_MATMUL": _batch_matmul,
    "BIDIRECTIONAL_SEQUENCE_LSTM": _bidirectional_lstm,
    "BIDIRECTIONAL_SEQUENCE_RNN": _bidirectional_rnn,
    "CONV_2D": _conv_2d,
    "CONV_3D": _conv_3d,
    "CONV_3D_TRANSPOSE": _conv_3d_transpose,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "FULLY_CONNECTED": _fully_connected,
    "LSTM": _lstm,
    "RNN": _rnn,
    "SVDF": _svdf,
    "TRANSPOSE_CONV": _transpose_conv,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _rnn,
}


def operator_macs(subgraph: Subgraph, operator: Operator) -> int:
    """MACs of one invocation of an operator, for the shapes in the file; 0 where none are counted.

    A dynamic extent counts as the file has it (the converter stores 1).
    """
    count = _COUNTS.get(operator.name)
    if count is None:
        return 0
    inputs = [subgraph.tensors[i] if i >= 0 else None for i in operator.inputs]
    outputs = [subgraph.tensors[i] if i >= 0 else None for i in operator.outputs]
    if not outputs:
        return 0
    return count(operator, inputs, outputs)


def model_macs(graph: Graph) -> int:
    """MACs of one inference, every subgraph counted once (a loop's body too)."""
    return sum(operator_macs(subgraph, operator) for subgraph, operator in graph.operators())
