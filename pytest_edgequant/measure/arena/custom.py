"""What the custom operators that come with TFLM ask of the arena.

Read from `signal/micro/kernels` and `micro/kernels/{circular_buffer,detection_postprocess}.cc`, and
from allocation traces. Their options are a flexbuffer map in the file.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pytest_edgequant.errors import ModelError
from pytest_edgequant.measure.arena.view import Needs, View

_LARGEST_OPTION = 1 << 24
_COMPLEX = {"INT16": 4, "INT32": 8, "FLOAT32": 8}
"""Bytes of a complex number of the fast Fourier transform."""


@dataclass(frozen=True)
class CustomNeeds:
    """Persistent blocks when the kernel is made, and what it asks for when it is prepared."""

    data: tuple[int, ...] = ()
    prepared: Needs = field(default_factory=Needs)


def _number(view: View, name: str) -> int:
    """An option that is a count. Raises `ValueError` where it is missing or can't be meant.

    Only what is asked for is read: a hostile map may refer to itself over and over.
    """
    from flatbuffers import flexbuffers

    root = flexbuffers.GetRoot(view.operator.custom_options)
    if not root.IsMap:
        raise ValueError("the options are not a map")
    entry = root.AsMap[name]
    if not entry.IsInt or not 0 <= entry.AsInt < _LARGEST_OPTION:
        raise ValueError(f"the option {name} can't be meant")
    return int(entry.AsInt)


def _wide(view: View, arm: int, x86_64: int) -> int:
    return x86_64 if view.profile.abi.pointer == 8 else arm


def _fixed(size: int) -> Callable[[View], CustomNeeds]:
    return lambda view: CustomNeeds((size,))


def _nothing(view: View) -> CustomNeeds:
    return CustomNeeds()


def _transform_state(view: View, kind: str) -> int:
    """Kiss FFT's state for a transform of real numbers: twiddle factors and a buffer."""
    half = _number(view, "fft_length") // 2
    return 3 * view.profile.abi.pointer + 264 + _COMPLEX[kind] * (half + 3 * half // 2)


def _rfft(view: View) -> CustomNeeds:
    kind = view.need(0).type
    element = 2 if kind == "INT16" else 4
    return CustomNeeds(
        (_wide(view, 32, 48), _transform_state(view, kind)),
        Needs((), (element * _number(view, "fft_length"),)),
    )


def _irfft(view: View) -> CustomNeeds:
    kind = view.need(0).type
    # The inverse transform of floats keeps its length and a pointer in front.
    front = 2 * view.profile.abi.pointer if kind == "FLOAT32" else 0
    return CustomNeeds((_wide(view, 24, 32), front + _transform_state(view, kind)))


def _filter_bank(view: View) -> CustomNeeds:
    return CustomNeeds((_wide(view, 36, 64), 8 * (_number(view, "num_channels") + 1)))


def _spectral_subtraction(view: View) -> CustomNeeds:
    return CustomNeeds((_wide(view, 44, 56), 4 * _number(view, "num_channels")))


def _circular(view: View, capacity: int) -> int:
    """A ring of int16 that is written twice, with its record."""
    return _wide(view, 24, 40) + 4 * capacity


def _rings(view: View, record: int, capacity: int) -> CustomNeeds:
    """One ring a row of the input, and two pointers to each."""
    shape = view.need(0).shape
    rows = math.prod(shape[:-1])
    pointers = view.profile.abi.pointer * rows
    return CustomNeeds(
        (record,), Needs((pointers, pointers, *(_circular(view, capacity) for _ in range(rows))))
    )


def _delay(view: View) -> CustomNeeds:
    capacity = view.need(0).shape[-1] + _number(view, "delay_length")
    return _rings(view, _wide(view, 20, 32), capacity)


def _framer(view: View) -> CustomNeeds:
    step = max(_number(view, "frame_step"), 1)
    capacity = -(-_number(view, "frame_size") // step) * step
    return _rings(view, _wide(view, 28, 40), capacity)


def _stacker(view: View) -> CustomNeeds:
    context = _number(view, "stacker_left_context") + _number(view, "stacker_right_context") + 1
    ring = _circular(view, _number(view, "num_channels") * context)
    return CustomNeeds((_wide(view, 36, 56), ring))


def _overlap_add(view: View) -> CustomNeeds:
    source = view.need(0)
    rows = math.prod(source.shape[:-2])
    state = source.shape[-1] * (2 if source.type == "INT16" else 4)
    arrays = (view.profile.abi.pointer * rows, *(state for _ in range(rows)))
    return CustomNeeds((_wide(view, 24, 32),), Needs(arrays))


def _detection(view: View) -> CustomNeeds:
    """Eleven buffers for decoded boxes, their scores, and sorting."""
    boxes, scores = view.need(0).shape[1], view.need(1)
    most, classes = _number(view, "max_detections"), _number(view, "num_classes")
    return CustomNeeds(
        (112,),
        Needs(
            (),
            (
                boxes,
                16 * boxes,
                4 * scores.shape[1] * scores.shape[2],
                4 * boxes,
                4 * boxes,
                4 * most * boxes,
                4 * most * boxes,
                4 * boxes,
                4 * most * boxes,
                4 * max(classes, most) * boxes,
                4 * min(boxes, most) * boxes,
            ),
        ),
    )


CUSTOM: Mapping[str, Callable[[View], CustomNeeds]] = {
    "CIRCULAR_BUFFER": _fixed(8),
    "SignalDelay": _delay,
    "SignalEnergy": _fixed(8),
    "SignalFftAutoScale": _nothing,
    "SignalFilterBank": _filter_bank,
    "SignalFilterBankLog": _fixed(8),
    "SignalFilterBankSpectralSubtraction": _spectral_subtraction,
    "SignalFilterBankSquareRoot": _nothing,
    "SignalFramer": _framer,
    "SignalIrfft": _irfft,
    "SignalOverlapAdd": _overlap_add,
    "SignalPCAN": _fixed(4),
    "SignalRfft": _rfft,
    "SignalStacker": _stacker,
    "SignalWindow": _fixed(8),
    "TFLite_Detection_PostProcess": _detection,
}


def custom_needs(view: View) -> CustomNeeds | None:
    """What a custom operator asks for; None where that is not known, or its options say nothing."""
    rule = CUSTOM.get(view.operator.custom_code)
    if rule is None:
        return None
    try:
        return rule(view)
    except (
        ModelError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        OverflowError,
        struct.error,
    ):
        return None
