"""Timing LiteRT's `invoke` alone: batch 1, a pinned number of threads, the same input each time.

Used in the child process, and in pytest's own where pytest-benchmark times it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from pytest_edgequant.errors import CannotRunError

_WARM_UP_SECONDS = 0.1
_WARM_UP_RUNS = 3
_SAMPLE_SECONDS = 0.002
_FEWEST_ROUNDS = 11
_MOST_SECONDS = 20.0


def _filled(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Values over a type's whole range, always the same: kernels' times can depend on them."""
    random = np.random.default_rng(0)
    if dtype.kind == "f":
        return random.random(shape).astype(dtype)
    if dtype.kind == "b":
        return random.random(shape) < 0.5
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def invoker(content: bytes, threads: int) -> Callable[[], None]:
    """A function that runs one inference, its interpreter allocated, filled and warmed up.

    Raises `CannotRunError` where LiteRT refuses the model or fails at it.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=content, num_threads=threads)
        for details in interpreter.get_input_details():
            shape = [1, *details["shape"][1:]] if len(details["shape"]) else []
            if len(shape) and details["shape"][0] != 1:
                interpreter.resize_tensor_input(details["index"], shape)
        interpreter.allocate_tensors()
        for details in interpreter.get_input_details():
            dtype = np.dtype(details["dtype"])
            if dtype.kind not in "fiub":
                raise CannotRunError(f"input {details['name']!r} of type {dtype} can't be filled")
            interpreter.set_tensor(details["index"], _filled(tuple(details["shape"]), dtype))
        until = time.perf_counter() + _WARM_UP_SECONDS
        runs = 0
        while runs < _WARM_UP_RUNS or time.perf_counter() < until:
            interpreter.invoke()
            runs += 1
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise CannotRunError(f"LiteRT can't run the model with batch 1: {text[:600]}") from None
    invoke: Callable[[], None] = interpreter.invoke
    return invoke


def check(content: bytes, threads: int) -> None:
    """Run a model once; for the child process, so that one that aborts takes nothing with it."""
    invoker(content, threads)


def _sample(invoke: Callable[[], None], runs: int) -> float:
    start = time.perf_counter()
    for _ in range(runs):
        invoke()
    return (time.perf_counter() - start) / runs


def _runs_a_sample(invoke: Callable[[], None]) -> int:
    """So many inferences that the clock's resolution and one interrupt hardly matter."""
    return max(1, round(_SAMPLE_SECONDS / max(_sample(invoke, 3), 1e-9)))


def interleaved(
    candidate: bytes, baseline: bytes, threads: int, rounds: int
) -> list[tuple[float, float]]:
    """Seconds of one inference of each of two models, `rounds` times, taking turns.

    Which one goes first alternates, so that a machine that slows down or speeds up favors neither.
    Large models get fewer rounds, 11 at least.
    """
    invokes = invoker(candidate, threads), invoker(baseline, threads)
    runs = [_runs_a_sample(invoke) for invoke in invokes]
    started = time.perf_counter()
    found: list[tuple[float, float]] = []
    for turn in range(rounds):
        if turn >= _FEWEST_ROUNDS and time.perf_counter() - started > _MOST_SECONDS:
            break
        order = (0, 1) if turn % 2 == 0 else (1, 0)
        seconds = [0.0, 0.0]
        for which in order:
            seconds[which] = _sample(invokes[which], runs[which])
        found.append((seconds[0], seconds[1]))
    return found
