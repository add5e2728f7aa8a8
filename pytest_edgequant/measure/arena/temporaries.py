"""Temporary full tensors that kernels ask for while they are prepared.

They lie between the two ends of the arena and are let go after each operator, not before: a kernel
that asks twice holds twice. Which tensors a kernel asks for was found with TFLM's interpreter, by
the smallest arenas that it accepts (`benchmarks/arena.py --minimum`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_edgequant.measure.arena.planner import align_up
from pytest_edgequant.measure.arena.view import View
from pytest_edgequant.targets.profiles import Profile
from pytest_edgequant.tflite.graph import Tensor


def quantization_bytes(tensor: Tensor, profile: Profile) -> list[int]:
    """The records of a full tensor's affine quantization: itself, and its zero points."""
    if tensor.quantization is None:
        return []
    return [profile.abi.affine, 4 + 4 * len(tensor.quantization.scales)]


def _full(tensor: Tensor, profile: Profile) -> int:
    """A full tensor with its quantization records."""
    records = profile.abi.tensor + sum(quantization_bytes(tensor, profile))
    return align_up(records, profile.abi.pointer)


def _inputs(view: View) -> list[Tensor]:
    return [view.subgraph.tensors[i] for i in view.operator.inputs if i >= 0]


def _outputs(view: View) -> list[Tensor]:
    return [view.subgraph.tensors[i] for i in view.operator.outputs if i >= 0]


def _at(view: View, *positions: int) -> list[Tensor]:
    return [t for position in positions if (t := view.input(position)) is not None]


Asked = Callable[[View], list[Tensor]]


def _all(view: View) -> list[Tensor]:
    return [*_inputs(view), *_outputs(view)]


def _nothing(view: View) -> list[Tensor]:
    return []


def _first(view: View) -> list[Tensor]:
    return _at(view, 0)


def _first_again(view: View) -> list[Tensor]:
    return [*_at(view, 0), *_inputs(view), *_outputs(view)]


def _reduced(view: View) -> list[Tensor]:
    if view.need(0).type != "INT8":
        return [*_inputs(view), *_inputs(view), *_outputs(view)]
    return [*_inputs(view), *_outputs(view), *_inputs(view), *_outputs(view)]


def _convolved(view: View) -> list[Tensor]:
    return [*_at(view, 0, 1), *_outputs(view), *_inputs(view), *_outputs(view)]


def _transposed(view: View) -> list[Tensor]:
    first = [*_at(view, 1, 2), *_outputs(view)]
    if view.output().type == "FLOAT32":
        return first
    return [*first, *_at(view, 1, 2, 3), *_outputs(view)]


_CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"})

_ASKED: Mapping[str, Asked] = {
    "ARG_MAX": _nothing,
    "ARG_MIN": _nothing,
    "CONCATENATION": _first_again,
    "CONV_2D": _convolved,
    "DEPTHWISE_CONV_2D": _convolved,
    "EQUAL": _inputs,
    "GREATER": _inputs,
    "GREATER_EQUAL": _inputs,
    "LESS": _inputs,
    "LESS_EQUAL": _inputs,
    "MAXIMUM": _nothing,
    "MEAN": _reduced,
    "MINIMUM": _nothing,
    "NOT_EQUAL": _inputs,
    "REDUCE_ALL": _reduced,
    "REDUCE_MAX": _reduced,
    "REDUCE_MIN": _reduced,
    "RELU6": _first,
    "SHAPE": _nothing,
    "SPLIT": _first,
    "SUM": _reduced,
    "TANH": _first_again,
    "TRANSPOSE_CONV": _transposed,
}
"""Kernels that ask for something else than all their tensors once."""


def while_prepared(view: View, before: int, after: int) -> int:
    """The most of temporary tensors and persistent bytes that an operator's preparation holds.

    `before` and `after` are the persistent bytes without and with the arrays that it keeps.
    Kernels ask for their tensors and then keep arrays, which are not checked against temporary
    tensors: they may overwrite the end of the last one, the output's quantization, which is not
    read then. Convolutions keep their arrays before they ask for their tensors once more.
    """
    profile = view.profile
    asked = _ASKED.get(view.operator.name, _all)(view)
    held = sum(_full(tensor, profile) for tensor in asked)
    if view.operator.name in _CONVOLUTIONS or before == after or not asked:
        return after + held
    unread = _full(asked[-1], profile) - profile.abi.tensor
    return max(before + held, after + held - max(unread - profile.abi.pointer, 0))
