"""Two .tflite files beside each other: layers added, removed, changed, and what each costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.api.layers import inspect_model
from pytest_edgequant.errors import user_facing
from pytest_edgequant.records import Target
from pytest_edgequant.records.layers import Edge, Layer, LayerChange, ModelDifference
from pytest_edgequant.tflite.fingerprint import logical_fingerprint


@user_facing
def compare_models(before: Any, after: Any, target: Target | str | None = None) -> ModelDifference:
    """What changed from one .tflite to another, layer by layer; with a target, what it costs there.

    Both are Variants, paths or bytes. Layers are matched by what they compute and in which order,
    since converters give them new names. Raises `ModelError` for what can't be read.
    """
    first, second = load_variant(before, "before"), load_variant(after, "after")
    old, new = inspect_model(first, target), inspect_model(second, target)
    pairs = list(_matched(old.layers, new.layers))
    changes = [
        LayerChange(one, other, () if one is None or other is None else _differences(one, other))
        for one, other in pairs
    ]
    told = [c for c in changes if c.before is None or c.after is None or c.differs]
    requantized = sum(
        one is not None
        and other is not None
        and not _differences(one, other)
        and _quantization(one) != _quantization(other)
        for one, other in pairs
    )
    same = logical_fingerprint(first.content, first.label) == logical_fingerprint(
        second.content, second.label
    )
    return ModelDifference(old, new, tuple(told), same, requantized)


Pair = tuple[Layer | None, Layer | None]


def _matched(old: Sequence[Layer], new: Sequence[Layer]) -> Iterator[Pair]:
    """The layers of both in order: of the same operator and shapes, else of the same operator."""
    for tag, i, j, k, m in _opcodes(list(map(_exact, old)), list(map(_exact, new))):
        if tag == "equal":
            yield from zip(old[i:j], new[k:m], strict=True)
        else:
            yield from _roughly(old[i:j], new[k:m])


def _roughly(old: Sequence[Layer], new: Sequence[Layer]) -> Iterator[Pair]:
    names = [[layer.operator for layer in layers] for layers in (old, new)]
    for tag, i, j, k, m in _opcodes(*names):
        if tag == "equal":
            yield from zip(old[i:j], new[k:m], strict=True)
            continue
        yield from ((layer, None) for layer in old[i:j])
        yield from ((None, layer) for layer in new[k:m])


def _opcodes(old: Sequence[Any], new: Sequence[Any]) -> Sequence[tuple[str, int, int, int, int]]:
    return SequenceMatcher(None, old, new, autojunk=False).get_opcodes()


def _exact(layer: Layer) -> tuple[Any, ...]:
    shapes = (tuple(e.shape for e in edges) for edges in (layer.inputs, layer.outputs))
    return layer.subgraph, layer.operator, *shapes


def _differences(one: Layer, other: Layer) -> tuple[str, ...]:
    """In what two layers of one operator differ, in words; scales and zero points are not told."""
    said = []
    for what, old, new in (
        ("inputs", one.activations, other.activations),
        ("constants", one.constants, other.constants),
        ("outputs", one.outputs, other.outputs),
    ):
        if _shown(old) != _shown(new):
            said.append(f"{what} {_shown(old) or 'none'} -> {_shown(new) or 'none'}")
    for name in sorted({*one.options, *other.options}):
        values = [_plain(layer.options.get(name)) for layer in (one, other)]
        if values[0] != values[1]:
            said.append(f"{name} {values[0]} -> {values[1]}")
    return tuple(said)


def _shown(edges: Sequence[Edge]) -> str:
    return ", ".join(f"{'x'.join(map(str, edge.shape)) or 'scalar'} {edge.type}" for edge in edges)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value or 0


def _quantization(layer: Layer) -> tuple[str, ...]:
    return tuple(edge.quantization for edge in (*layer.inputs, *layer.outputs))
