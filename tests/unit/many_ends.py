"""Models with many inputs and outputs, whose file lists them in an order that nobody would guess.

Each output is one input plus a constant of its own, so that NumPy says what must come out.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from model_building import GraphBuilder

from pytest_edgequant.tflite.edit import pack

_KINDS = {"FLOAT32": np.float32, "INT32": np.int32}


def signature(key: str, inputs: Mapping[str, int], outputs: Mapping[str, int], graph: int) -> Any:
    """A signature of a subgraph: names and tensor indices."""

    def entries(names: Mapping[str, int]) -> list[Any]:
        found = []
        for name, index in names.items():
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name, index
            found.append(entry)
        return found

    made = schema.SignatureDefT()
    made.signatureKey, made.subgraphIndex = key, graph
    made.inputs, made.outputs = entries(inputs), entries(outputs)
    return made


@dataclass(frozen=True)
class ManyEnds:
    """A file, its names in the order of the model that it stands for, and its outputs by NumPy."""

    content: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    samples: Mapping[str, Any]
    expected: Mapping[str, Any]

    @property
    def meta(self) -> dict[str, Any]:
        """What a conversion knows of the model's order."""
        return {
            "inputs": [[name, name] for name in self.inputs],
            "outputs": [[name, name] for name in self.outputs],
        }


def many_ends(
    inputs: int,
    outputs: int,
    seed: int,
    *,
    signed: bool = True,
    alike: bool = False,
    count: int = 9,
) -> ManyEnds:
    """A model of so many; without a signature, tensors have the names. `alike` inputs have one type
    and shape.

    The last output is an input passed on where there are three, the one before it is another
    output's tensor where there are four.
    """
    chance, numbers = random.Random(seed), np.random.default_rng(seed)
    builder = GraphBuilder()
    names = chance.sample([f"x_{i}" for i in range(inputs)], inputs)
    gives = chance.sample([f"y_{i}" for i in range(outputs)], outputs)
    tensors, samples = {}, {}
    for name in chance.sample(names, inputs):
        shape, type_ = chance.choice([(4,), (4,), (2, 3)]), chance.choice([*_KINDS])
        if alike:
            shape, type_ = (4,), "FLOAT32"
        tensors[name] = builder.activation((1, *shape), type_, "" if signed else name)
        samples[name] = numbers.integers(-50, 50, (count, *shape)).astype(_KINDS[type_])
    ends, expected = {}, {}
    for position, name in enumerate(gives):
        source = chance.choice(names)
        if position == outputs - 1 >= 2:
            ends[name], expected[name] = tensors[source], samples[source]
        elif position == outputs - 2 >= 2:
            ends[name], expected[name] = ends[gives[0]], expected[gives[0]]
        else:
            ends[name], expected[name] = _plus(builder, tensors[source], samples[source], position)
            if not signed:
                builder.graph.tensors[ends[name]].name = name.encode()
    builder.graph.inputs = np.asarray(chance.sample([*tensors.values()], inputs), np.int32)
    builder.graph.outputs = np.asarray(chance.sample([*ends.values()], outputs), np.int32)
    builder.model.subgraphs = [builder.graph]
    if signed:
        builder.model.signatureDefs = [
            signature("serving_default", _shuffled(tensors, chance), _shuffled(ends, chance), 0)
        ]
    return ManyEnds(pack(builder.model), tuple(names), tuple(gives), samples, expected)


def _shuffled(names: Mapping[str, int], chance: random.Random) -> dict[str, int]:
    return {name: names[name] for name in chance.sample([*names], len(names))}


def _plus(builder: GraphBuilder, tensor: int, samples: Any, position: int) -> tuple[int, Any]:
    """An output that adds a number of its own."""
    kind = builder.kind(tensor)
    number = np.full(builder.shape(tensor), 1000 * (position + 1), _KINDS[kind])
    options = schema.AddOptionsT()
    made = builder.add(
        "ADD", [tensor, builder.constant(number, kind)], builder.shape(tensor), kind, options
    )
    return made, samples + number[0]


def in_order(parts: Mapping[str, Any], names: Sequence[str]) -> tuple[Any, ...]:
    """The arrays in the order of these names."""
    return tuple(parts[name] for name in names)
