"""A model layer by layer: operators, shapes, types, quantization, and what each costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_edgequant.api.convert import for_target
from pytest_edgequant.api.latency import estimate_latency
from pytest_edgequant.api.memory import measure_arena
from pytest_edgequant.errors import (
    CannotRunError,
    MeasurementUnavailable,
    NotApplicableError,
    user_facing,
)
from pytest_edgequant.records import Arena, Metric, Quantization, Target, Variant
from pytest_edgequant.records.layers import Edge, Layer, ModelLayers
from pytest_edgequant.tflite.graph import Graph, Operator, Subgraph, Tensor, read_graph
from pytest_edgequant.tflite.macs import operator_macs


@user_facing
def inspect_model(model: Any, target: Target | str | None = None) -> ModelLayers:
    """The layers of a .tflite; with a target, what each takes of its arena and of an inference.

    `model` is a Variant, a path or the bytes of a .tflite. What can't be had on the target is None
    in the layers, with the reason in `metrics`. Raises `ModelError` for what can't be read.
    """
    variant, profile = for_target(model, target)
    graph = read_graph(variant.content, variant.label)
    metrics = {"size_bytes": Metric(variant.size_bytes, "bytes", "exact (file size)")}
    arena: Arena | None = None
    times: dict[int, float] = {}
    if profile is not None:
        arena, metrics["arena_bytes"] = _arena(variant, profile)
        times, metrics["latency_ms"] = _times(variant, profile)
    return ModelLayers(
        variant.model_name,
        variant.name,
        None if profile is None else profile.name,
        variant.size_bytes,
        tuple(_edge(graph.main.tensors[i]) for i in graph.main.inputs),
        tuple(_edge(graph.main.tensors[i]) for i in graph.main.outputs),
        tuple(_layers(graph, arena, times)),
        metrics,
        variant.notes,
    )


def _arena(variant: Variant, target: Target) -> tuple[Arena | None, Metric]:
    try:
        found = measure_arena(variant, target)
    except (CannotRunError, MeasurementUnavailable, NotApplicableError) as error:
        return None, Metric.unavailable("bytes", str(error))
    return found, found.metric()


def _times(variant: Variant, target: Target) -> tuple[dict[int, float], Metric]:
    """Milliseconds by operator of the main subgraph, and of all together."""
    try:
        found = estimate_latency(variant, target)
    except CannotRunError as error:
        return {}, Metric.unavailable("ms", str(error))
    return {layer.index: layer.latency_ms for layer in found.layers}, found.metric


def _layers(graph: Graph, arena: Arena | None, times: Mapping[int, float]) -> list[Layer]:
    found = []
    for number, subgraph in enumerate(graph.subgraphs):
        seen: set[int] = set()
        for operator in subgraph.operators:
            layer = _layer(number, subgraph, operator, seen)
            if number == 0:
                layer = _with_costs(layer, arena, times)
            found.append(layer)
    return found


def _layer(number: int, subgraph: Subgraph, operator: Operator, seen: set[int]) -> Layer:
    """A layer; `seen` are the constants of those before it."""
    inputs = [subgraph.tensors[i] for i in operator.inputs if i >= 0]
    outputs = [subgraph.tensors[i] for i in operator.outputs if i >= 0]
    own = {tensor.index: tensor.constant_bytes for tensor in inputs if tensor.index not in seen}
    seen.update(own)
    return Layer(
        operator.index,
        number,
        operator.label,
        outputs[0].name if outputs else "",
        tuple(map(_edge, inputs)),
        tuple(map(_edge, outputs)),
        operator.options,
        operator_macs(subgraph, operator),
        sum(own.values()),
    )


def _with_costs(layer: Layer, arena: Arena | None, times: Mapping[int, float]) -> Layer:
    scope = layer.index + 1  # the inputs are alive in a scope of their own before the first
    return dataclasses.replace(
        layer,
        arena_bytes=None
        if arena is None
        else sum(b.size for b in arena.plan if b.first <= scope <= b.last),
        persistent_bytes=None if arena is None else arena.operators.get(layer.place, 0),
        latency_ms=times.get(layer.index),
    )


def _edge(tensor: Tensor) -> Edge:
    return Edge(
        tensor.name,
        tensor.shape_signature or tensor.shape,
        tensor.type,
        _quantization(tensor.quantization),
        tensor.constant_bytes,
    )


def _quantization(given: Quantization | None) -> str:
    """`0.0039 * (q + 128)`; of many channels how many, and the range of their scales."""
    if given is None:
        return ""
    if given.per_axis:
        low, high = min(given.scales), max(given.scales)
        return f"{len(given.scales)} scales along axis {given.axis}, {low:.4g} to {high:.4g}"
    return f"{given.scales[0]:.4g} * (q{_shift(given.zero_points)})"


def _shift(zero_points: Sequence[int]) -> str:
    zero = zero_points[0]
    return "" if zero == 0 else f" {'-' if zero > 0 else '+'} {abs(zero)}"
