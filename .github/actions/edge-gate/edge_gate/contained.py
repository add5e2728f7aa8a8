"""Running what the project brought, so that it is over when it is over.

Tests run as the same user as the steps behind them, so nothing here is a border: who has to have
one runs the gate in a job of its own. What would reach a later step by itself is taken back.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_gate.runner import warning

# What is written to these changes the steps behind; no test has anything to write there.
_FILES = ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STATE")
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of linux/prctl.h
_MOST_ROUNDS = 1000


@contextmanager
def contained() -> Iterator[None]:
    """End the processes that were left behind, and undo what was written to the runner's files."""
    paths = {name: Path(os.environ[name]) for name in _FILES if os.environ.get(name)}
    before = {name: path.read_bytes() for name, path in paths.items() if path.is_file()}
    others = _children()
    _adopt_orphans()
    try:
        yield
    finally:
        if not _end(others):
            warning("Edge gate: processes that the tests left behind could not be ended")
        for name, content in before.items():
            if not paths[name].is_file() or paths[name].read_bytes() != content:
                paths[name].write_bytes(content)
                warning(f"Edge gate: the tests wrote to {name}; that was undone")


def _adopt_orphans() -> None:
    """Become the parent of all descendants whose own parents end. Linux has this alone."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _children() -> set[int]:
    """The processes whose parent is this one."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat") if sys.platform == "linux" else ():
        with contextlib.suppress(OSError, ValueError, IndexError):
            # 12 (name) S 11 ...: the name may hold anything, brackets too
            parent = int(entry.read_text(errors="replace").rpartition(")")[2].split()[1])
            if parent == os.getpid():
                found.add(int(entry.parent.name))
    return found


def _end(others: set[int]) -> bool:
    """End all children but `others`, and the children that are left by those; whether all are."""
    for _ in range(_MOST_ROUNDS):
        left = _children() - others
        if not left:
            return True
        for process in left:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                try:
                    os.kill(process, signal.SIGKILL)
                except PermissionError:  # of another user's
                    return False
                os.waitpid(process, 0)
    return False
