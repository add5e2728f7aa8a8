"""The compiler's options for optimization, and the groups of operators that they affect alike."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_edgequant.names import fold

SIZE = "-Os"
SPEED = ("-O2", "-O3", "-Ofast")
"""Options that build for speed; on the same models their times differ by 2 % at most."""
_OPTION = re.compile(r"(?<!\S)-O(?:fast|[0-3sgz])(?![\w])")
# The Arduino cores for Mbed OS compile everything with -Os: arduino/ArduinoCore-mbed:
# variants/ARDUINO_NANO33BLE/cxxflags.txt.
_ARDUINO_MBED = "arduino:mbed"


def option_in(build: str) -> str:
    """The option that a build's description names; empty where it names none."""
    if build.startswith(_ARDUINO_MBED):
        return SIZE
    found = _OPTION.findall(build)
    return found[0] if len(found) == 1 else ""


def operator_group(operator: str, kind: str) -> str:
    """The group of operators that the options affect alike: `float/convolution`, `int8/other`."""
    convolution = "CONV" in operator
    return f"{kind}/{'convolution' if convolution else 'other'}"


def factor_of(factors: Mapping[str, float], shares: Mapping[str, float]) -> float:
    """How many times as long a model takes; groups that were not measured are as before."""
    return sum(factors.get(group, 1.0) * share for group, share in shares.items())


def effect_on(core: str, effects: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The fitted effect of building for size on a core; where it has none, that of all cores."""
    by_core = {fold(effect["core"]): effect for effect in effects}
    return by_core.get(fold(core), by_core.get(""))
