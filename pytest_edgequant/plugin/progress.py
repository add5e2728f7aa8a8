"""Where a pytest run shows what takes its time: on pytest's own terminal, and nowhere else."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import IO

import pytest

from pytest_edgequant.progress import Display, Progress, is_watched, silent


def progress_of(config: pytest.Config) -> Progress:
    """What shows progress in this run; silent in workers, in logs, and without a terminal."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput") or not reporter.isatty:
        return silent
    return Display(lambda: _terminal(config))


def _terminal(config: pytest.Config) -> IO[str] | None:
    """The terminal behind pytest's capture: a stream of our own, so that the capture stays on.

    None where there is none.
    """
    capture = config.pluginmanager.get_plugin("capturemanager")
    suspended = capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
    with suspended, contextlib.suppress(OSError, ValueError, AttributeError):
        stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="replace")
        if is_watched(stream):
            config.add_cleanup(stream.close)
            return stream
        stream.close()
    return None
