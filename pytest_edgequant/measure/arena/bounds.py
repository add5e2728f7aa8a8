"""An upper bound for operators whose kernels are not known: no silent guess, and no zero.

What is not known is bounded by the most that any known kernel asks of tensors like the operator's
own, term by term:

- its record: 1,024 bytes (the largest known one, the LSTM with CMSIS-NN, has 912);
- arrays it keeps: 16 bytes for each index of each dimension of each tensor (per-channel multipliers
  and shifts take 8 for each output channel, sums of kernels 8 more), a copy of all its tensors (a
  batch matmul transposes both sides), and two look-up tables of 1,026 bytes;
- scratch: 16 bytes for each element of all its tensors (transposed convolutions with 16-bit
  activations take 8 for each output element), and with Helium 496 for each position of the kernel,
  as depthwise convolutions do.

`tests/unit/measure/arena/test_bounds.py` holds it against all known kernels.
"""

from __future__ import annotations

from pytest_edgequant.measure.arena.custom import CustomNeeds, custom_needs
from pytest_edgequant.measure.arena.kernels import DATA, PARSED, PREPARED
from pytest_edgequant.measure.arena.lifetimes import tensor_bytes
from pytest_edgequant.measure.arena.planner import align_up
from pytest_edgequant.measure.arena.view import Needs, View

_RECORD = 1024
_TABLES = 2 * 1026

_NOTHING = frozenset(
    """
    ASSIGN_VARIABLE BATCH_TO_SPACE_ND BROADCAST_ARGS BROADCAST_TO CEIL COS DYNAMIC_UPDATE_SLICE
    EMBEDDING_LOOKUP EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD LOG LOGICAL_AND LOGICAL_NOT
    LOGICAL_OR MAXIMUM MINIMUM NEG READ_VARIABLE REVERSE_V2 ROUND SIN SLICE SQRT SQUARE TRANSPOSE
    ZEROS_LIKE
    """.split()
)
"""Operators whose kernels are known to ask for nothing of their own."""

KNOWN = frozenset(DATA) | frozenset(PARSED) | frozenset(PREPARED) | _NOTHING


def known(view: View) -> bool:
    """Whether the profile knows what the operator's kernel asks for."""
    operator = view.operator
    if operator.name == "CUSTOM":
        return custom_needs(view) is not None
    return operator.name in KNOWN and operator.name not in view.profile.release.unknown


def unknown_scratch(view: View) -> int | None:
    """An upper bound of scratch that an operator asks for besides what is known; None where none.

    ESP-NN's vector kernels of convolutions copy the padded input and the weights, aligned, some
    releases as 16-bit numbers, with room for sums and alignment: twice the bytes of both, rows of
    weights rounded up to 16, and 64 bytes for each channel.
    """
    profile, operator = view.profile, view.operator
    if profile.kernels != "esp-nn" or profile.extension != "vector":
        return None
    if operator.name not in ("CONV_2D", "DEPTHWISE_CONV_2D") or view.need(0).type != "INT8":
        return None
    source, weights, output = view.need(0), view.need(1), view.output()
    count, height, width, channels = weights.shape
    padded = (source.shape[1] + 2 * height) * (source.shape[2] + 2 * width) * source.shape[3]
    aligned = count * align_up(height * width * channels)
    return 2 * (padded + aligned) + 64 * (source.shape[3] + output.shape[3])


def unknown_needs(view: View) -> CustomNeeds:
    """The most that an operator may ask for, by what is known of others; see the module."""
    indices = (*view.operator.inputs, *view.operator.outputs)
    tensors = [view.subgraph.tensors[i] for i in indices if i >= 0]
    extents = sum(sum(tensor.shape) for tensor in tensors)
    elements = sum(tensor.elements for tensor in tensors)
    arrays = (_TABLES, 16 * extents, sum(tensor_bytes(tensor) for tensor in tensors))
    scratch = 16 * elements
    if view.profile.mve:
        constant = [tensor for tensor in tensors if tensor.constant and tensor.shape]
        scratch += 496 * sum(-(-t.elements // max(t.shape[-1], 1)) for t in constant)
    return CustomNeeds((_RECORD,), Needs(tuple(map(align_up, arrays)), (scratch,)))
