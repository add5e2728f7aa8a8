"""Whether two files give the same outputs to the bit: what the child process runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from pytest_edgequant.errors import CannotRunError
from pytest_edgequant.tflite.graph import Graph, read_graph

_INVOCATIONS = 3
"""A model that keeps a state shows what it does with it from the second on."""
_ARENAS = (1 << 18, 1 << 21, 1 << 24, 1 << 27)


def _samples(graph: Graph, chance: np.random.Generator) -> list[tuple[int, Any]]:
    """A value for each input, by the tensor's index: any of its type's, floats around zero."""
    found = []
    for index in graph.main.inputs:
        tensor = graph.main.tensors[index]
        kind, shape = tensor.dtype, tensor.shape
        if kind.kind == "f":
            found.append((index, chance.normal(size=shape).astype(kind)))
        elif kind.kind in "iu" and kind.itemsize <= 2 and tensor.quantization is not None:
            limits = np.iinfo(kind)
            found.append((index, chance.integers(limits.min, limits.max, shape, kind, True)))
        elif kind.kind in "iub":  # indices, lengths, switches: small ones are in range
            found.append((index, chance.integers(0, 2, shape).astype(kind)))
    return found


def litert(content: bytes) -> list[bytes]:
    """LiteRT's outputs of some invocations; raises `CannotRunError` where it refuses."""
    from ai_edge_litert.interpreter import Interpreter

    graph, chance, found = read_graph(content), np.random.default_rng(0), []
    try:
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        for _ in range(_INVOCATIONS):
            for index, value in _samples(graph, chance):
                interpreter.set_tensor(index, value)
            interpreter.invoke()
            found += [interpreter.get_tensor(i).tobytes() for i in graph.main.outputs]
    except (RuntimeError, ValueError) as error:
        raise CannotRunError(f"LiteRT refuses the model: {error}") from None
    return found


def tflm(content: bytes) -> list[bytes]:
    """TFLM's outputs of some invocations; raises `CannotRunError` where it refuses."""
    from tflite_micro import runtime

    graph = read_graph(content)
    for size in _ARENAS:
        chance: np.random.Generator = np.random.default_rng(0)
        found: list[bytes] = []
        try:
            interpreter = runtime.Interpreter.from_bytes(content, arena_size=size)
            for _ in range(_INVOCATIONS):
                values = dict(_samples(graph, chance))
                for position, index in enumerate(graph.main.inputs):
                    if index in values:
                        interpreter.set_input(values[index], position)
                interpreter.invoke()
                count = len(graph.main.outputs)
                found += [interpreter.get_output(i).tobytes() for i in range(count)]
        except (RuntimeError, ValueError, SystemError):
            continue
        return found
    raise CannotRunError("TFLM refuses the model")
