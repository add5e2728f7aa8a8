"""A line on the terminal while something takes its time."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def progress(config: pytest.Config, what: str) -> Iterator[None]:
    """A line on a terminal while something takes its time; nothing in logs of CI."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if (
        reporter is None
        or hasattr(config, "workerinput")
        or os.environ.get("CI")
        or not reporter.isatty
    ):
        yield
        return
    text = f"[edgequant] {what} ..."[: shutil.get_terminal_size().columns - 1]

    def show(line: str) -> None:
        suspended = capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
        with suspended:
            reporter.write(line, flush=True)

    show(f"\r{text}")
    try:
        yield
    finally:
        show(f"\r{' ' * len(text)}\r")
