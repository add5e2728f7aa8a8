"""The inputs and outputs of a .tflite by tensor: what each is called, and in whose order.

A file lists its inputs and outputs in an order of its own, which is neither the alphabet's nor
that of the model it was made from; a signature says which tensor has which name. All that feeds a
file or reads from it goes by this mapping from names to tensors. No position stands for anything,
except a tensor's own place in the file's lists, which TFLM wants.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_edgequant.records import TensorInfo, Variant
from pytest_edgequant.tflite.graph import Graph


@dataclass(frozen=True)
class Ends:
    """What a file takes or gives: names, each with the index of its tensor."""

    names: tuple[str, ...]
    tensors: tuple[int, ...]


Pairs = Sequence[Sequence[str]]
"""(name, signature key) of a model's inputs or outputs, in the model's own order."""


def unique(names: Iterable[str], what: str) -> tuple[str, ...]:
    """The names, those that are empty or there before made others: `what_0`, `name_1`."""
    given = list(names)
    taken = set(given) - {""}
    # In their order; a dictionary, since a file may have a hundred thousand.
    found: dict[str, None] = {}
    last: dict[str, int] = {}
    for position, name in enumerate(given):
        if name and name not in found:
            found[name] = None
            continue
        stem, first = (name, 1) if name else (what, position)
        # What lies below the last number is taken: no name counts from the beginning again.
        number = max(first, last.get(name, -1) + 1)
        while f"{stem}_{number}" in taken:
            number += 1
        last[name] = number
        found[f"{stem}_{number}"] = None
        taken.add(f"{stem}_{number}")
    return tuple(found)


def file_inputs(graph: Graph) -> Ends:
    """The inputs in the file's own order; a tensor that it lists twice is one input."""
    tensors = tuple(dict.fromkeys(graph.main.inputs))
    return Ends(_named(graph, tensors, graph.signature_inputs, "input"), tensors)


def file_outputs(graph: Graph) -> Ends:
    """The outputs in the file's own order; one tensor can be several of them."""
    tensors = graph.main.outputs
    return Ends(_named(graph, tensors, graph.signature_outputs, "output"), tensors)


def _named(
    graph: Graph, tensors: Sequence[int], signature: Iterable[tuple[str, int]], what: str
) -> tuple[str, ...]:
    """Names by the signature, else the tensors' own."""
    left: dict[int, list[str]] = {}
    for name, tensor in signature:
        left.setdefault(tensor, []).append(name)
    names = []
    for tensor in tensors:
        known = left.get(tensor, [])
        # Each name of a tensor that is listed as often as it has names stands for one place.
        own = known.pop(0) if len(known) > 1 else known[0] if known else None
        names.append(own if own is not None else graph.main.tensors[tensor].name)
    return unique(names, what)


def model_inputs(graph: Graph, order: Pairs | None) -> Ends:
    """The inputs in the order of the model that the file was made from; None for the file's."""
    return _ordered(file_inputs(graph), graph.signature_inputs, order, "input")


def model_outputs(graph: Graph, order: Pairs | None) -> Ends:
    """The outputs in the order of the model that the file was made from; None for the file's."""
    return _ordered(file_outputs(graph), graph.signature_outputs, order, "output")


def _ordered(
    own: Ends, signature: Iterable[tuple[str, int]], order: Pairs | None, what: str
) -> Ends:
    """By signature key; what the order does not name comes behind, in the file's order."""
    among = set(own.tensors)
    by_key = {key: tensor for key, tensor in signature if tensor in among}
    known = [(name, by_key[key]) for name, key in order or () if key in by_key]
    covered = {tensor for _, tensor in known}
    rest = [
        (name, tensor)
        for name, tensor in zip(own.names, own.tensors, strict=True)
        if tensor not in covered
    ]
    together = [*known, *rest]
    return Ends(unique((name for name, _ in together), what), tuple(t for _, t in together))


def positions_of(wanted: Sequence[int], among: Sequence[int]) -> tuple[int, ...]:
    """Where each of the wanted tensors stands among others."""
    places = {tensor: place for place, tensor in reversed(list(enumerate(among)))}
    return tuple(places[tensor] for tensor in wanted)


def aligned(variant: Variant, like: Variant) -> Variant:
    """The variant with inputs and outputs in another one's order, where the names are the same."""
    return dataclasses.replace(
        variant,
        inputs=_by_names(variant.inputs, like.inputs),
        outputs=_by_names(variant.outputs, like.outputs),
    )


def _by_names(
    infos: tuple[TensorInfo, ...], like: tuple[TensorInfo, ...]
) -> tuple[TensorInfo, ...]:
    by_name = {info.name: info for info in infos}
    if by_name.keys() != {info.name for info in like} or len(infos) != len(like):
        return infos
    return tuple(by_name[info.name] for info in like)
