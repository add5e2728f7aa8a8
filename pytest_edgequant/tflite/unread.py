"""How much of a .tflite no interpreter reads, as its records tell."""

from __future__ import annotations

from pytest_edgequant.tflite.graph import OFFLINE_PLAN, Graph

_FRAME = 5
"""The least that text takes beside its characters: its length, and a zero."""


def unread_bytes(graph: Graph) -> int:
    """The least that names, signatures and metadata take which the device never reads."""
    names = [tensor.name for subgraph in graph.subgraphs for tensor in subgraph.tensors]
    names += [name for name, _ in (*graph.signature_inputs, *graph.signature_outputs)]
    text = sum(len(name.encode()) + _FRAME for name in names if name)
    kept = sum(len(data) for name, data in graph.metadata.items() if name != OFFLINE_PLAN)
    return text + kept
