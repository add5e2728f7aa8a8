"""Asking the real TFLM interpreter (the `tflite-micro` wheel), in a child process."""

from __future__ import annotations

import itertools
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pytest_edgequant.errors import CannotRunError, MeasurementUnavailable
from pytest_edgequant.measure.arena.planner import align_up
from pytest_edgequant.tflite.graph import read_graph

_FIRST_ARENA = 1 << 20
_LARGEST_ARENA = 1 << 31
_TOO_SMALL = re.compile(
    r"failed to (resize|allocate)|arena size is too small|requested:?\s*\d+.*available|missing:",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class TFLMAllocation:
    """What TFLM's recording interpreter reports, in bytes."""

    total: int
    head: int
    tail: int
    sections: dict[str, int] = field(default_factory=dict)


def _with_stderr(action: Callable[[], None]) -> tuple[str, Exception | None]:
    """What native code printed on stderr while the action ran, and how it failed."""
    failure: Exception | None = None
    with tempfile.TemporaryFile() as capture:
        saved = os.dup(2)
        os.dup2(capture.fileno(), 2)
        try:
            action()
        except Exception as error:
            failure = error
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        capture.seek(0)
        return capture.read().decode("utf-8", "replace"), failure


def _runtime() -> Any:
    try:
        from tflite_micro import runtime
    except ImportError:
        raise MeasurementUnavailable(
            "the tflite-micro wheel is not installed (there is one for Linux x86-64 only)"
        ) from None
    return runtime


def measure(content: bytes) -> TFLMAllocation:
    """Allocate, run one inference, and report the arena of the x86-64 build.

    Raises `CannotRunError` with TFLM's own reason, `MeasurementUnavailable` without the wheel.
    """
    _, text = _first_run(content, lambda interpreter: interpreter.print_allocations())
    return _parse(text)


def interpreter_that_runs(content: bytes) -> Any:
    """An interpreter that was allocated and has run once; raises as `measure` does."""
    return _first_run(content, lambda interpreter: interpreter.reset())[0]


def _first_run(content: bytes, then: Callable[[Any], None]) -> tuple[Any, str]:
    """An interpreter in an arena that is large enough, and what it printed."""
    runtime = _runtime()
    # The end must be 16-aligned, as a device's arena is, or the report is off by up to 16 bytes.
    size = align_up(max(_FIRST_ARENA, 10 * len(content)))
    while True:
        made: list[Any] = []

        def action(size: int = size, made: list[Any] = made) -> None:
            made.append(runtime.Interpreter.from_bytes(content, arena_size=size))
            _set_ones(made[0])
            made[0].invoke()
            then(made[0])

        text, failure = _with_stderr(action)
        if failure is None:
            return made[0], text
        reason = " ".join(line.strip() for line in text.splitlines() if line.strip())
        if _TOO_SMALL.search(reason) and size < _LARGEST_ARENA:
            size *= 8
            continue
        raise CannotRunError(f"TFLM refuses the model: {(reason or str(failure))[:600]}")


def outputs(content: bytes, size: int) -> list[bytes]:
    """The outputs of one inference on fixed random inputs, in an arena of that many bytes.

    Raises `CannotRunError` where the interpreter refuses.
    """
    import numpy as np
    from tflite_micro import runtime

    found: list[bytes] = []

    def action() -> None:
        interpreter = runtime.Interpreter.from_bytes(content, arena_size=size)
        chance = np.random.default_rng(0)
        graph = read_graph(content)
        for position, index in enumerate(graph.main.inputs):
            tensor = graph.main.tensors[index]
            values = chance.uniform(-1, 1, tensor.shape)
            if tensor.dtype.kind in "iu":
                values = values * 100
            if tensor.dtype.kind in "fiub":
                interpreter.set_input(np.abs(values).astype(tensor.dtype), position)
        interpreter.invoke()
        found.extend(
            interpreter.get_output(position).tobytes()
            for position in range(len(graph.main.outputs))
        )

    text, failure = _with_stderr(action)
    if failure is not None:
        raise CannotRunError(f"TFLM refuses the model: {(text.strip() or str(failure))[:600]}")
    return found


def _set_ones(interpreter: Any) -> None:
    """Fill every input with 1, quantized where the input is.

    What an arena happens to hold would make verdicts differ from run to run: some kernels (RSQRT,
    LOG, DIV) refuse values that are not positive.
    """
    for index in itertools.count():
        try:
            details = interpreter.get_input_details(index)
        except IndexError:
            return
        dtype = np.dtype(details["dtype"])
        scales = details["quantization_parameters"]["scales"]
        value = 1.0
        if len(scales) and dtype.kind in "iu":
            zero = details["quantization_parameters"]["zero_points"][0]
            limits = np.iinfo(dtype)
            value = np.clip(np.round(1 / scales[0]) + zero, limits.min, limits.max)
        interpreter.set_input(np.full(details["shape"], value, dtype), index)


_LINE = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")
_SECTION = re.compile(r"'(.+?)' used (\d+) bytes")


def _parse(text: str) -> TFLMAllocation:
    numbers = {kind: int(count) for kind, count in _LINE.findall(text)}
    if set(numbers) != {"total", "head", "tail"}:
        raise MeasurementUnavailable(f"TFLM's allocation report can't be read: {text[:300]!r}")
    return TFLMAllocation(
        numbers["total"],
        numbers["head"],
        numbers["tail"],
        {name: int(count) for name, count in _SECTION.findall(text)},
    )
