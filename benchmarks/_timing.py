"""Wall and CPU time of a command, children included."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Timing:
    wall: float
    cpu: float


def _children() -> float:
    """Processor seconds of all children that have ended; `os.times` counts in steps of 10 ms."""
    if resource is None:
        told = os.times()
        return told.children_user + told.children_system
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(
    command: Sequence[str], env: Mapping[str, str] | None = None, *, ends: Collection[int] = (0,)
) -> Timing:
    """Run a command that must end with one of `ends`; its output is shown only when it doesn't."""
    # As in an installation, modules are compiled once and not in each process.
    given = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before, start = _children(), time.perf_counter()
    done = subprocess.run(
        command, env={**given, **(env or {})}, capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - start
    if done.returncode not in ends:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return Timing(wall, _children() - before)
