"""What tests of checks share: a board of our own, what an error said, what was recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from model_building import one_operator, tensor
from recorded_events import recording

from pytest_edgequant import (
    EdgeAssertionError,
    Target,
)
from pytest_edgequant.targets import Targets

Tiny = Mapping[str, Path]
needs_tflm = pytest.mark.skipif(
    find_spec("tflite_micro") is None, reason="there is a tflite-micro wheel for Linux x86-64 only"
)


def target(**changes: Any) -> Target:
    """A microcontroller of our own."""
    return Targets({"mini": {"base": "nano33ble", **changes}}).get("mini")


def said(error: type[Exception], check: Callable[[], object]) -> str:
    with pytest.raises(error) as caught:
        check()
    assert type(caught.value) is error
    return str(caught.value)


def outcomes(check: Callable[[], object]) -> list[tuple[str, str]]:
    """The verdicts that a check records, in order."""
    with recording() as events, contextlib.suppress(EdgeAssertionError):
        check()
    return [
        (event["verdict"]["check"], event["verdict"]["verdict"])
        for event in events
        if event["kind"] == "verdict"
    ]


def lone(name: str, custom_code: str = "") -> bytes:
    x, y = (tensor(n, [1, 4], "FLOAT32") for n in ("x", "my_layer"))
    return one_operator(name, [x], y, custom_code=custom_code)


# What it allocates stands in its options, which it lacks.
UNKNOWN = lone("CUSTOM", custom_code="SignalDelay")
