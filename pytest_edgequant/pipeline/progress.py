"""What is shown while something takes its time."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator

Progress = Callable[[str], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def silent(_: str) -> Iterator[None]:
    """Show nothing."""
    yield


@contextlib.contextmanager
def on_terminal(what: str) -> Iterator[None]:
    """A line on stderr while something takes its time, where that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    text = f"[edgequant] {what} ..."[: shutil.get_terminal_size().columns - 1]
    print(f"\r{text}", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print(f"\r{' ' * len(text)}\r", end="", file=sys.stderr, flush=True)
