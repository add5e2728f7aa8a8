"""What commands print, for people or for programs; never what a terminal would obey."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from pytest_edgequant.wording import printable

_CODES = {"good": "32", "bad": "31", "unsure": "33", "head": "1", "dim": "2"}


def prepare() -> None:
    """Let any name be printed: what the output's encoding lacks is escaped."""
    if sys.stdout is None:  # which was closed before we began
        discard()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard() -> None:
    """Print nothing from now on, where the output takes no more."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    if sys.stdout is None:
        sys.stdout = os.fdopen(devnull, "w")
    else:
        os.dup2(devnull, sys.stdout.fileno())


def say(text: str) -> None:
    """Print text for people, in which models, files and layers may have any name."""
    print(printable(text, keep="\n\t"))


def say_json(document: Any) -> None:
    """Print a document for programs."""
    print(json.dumps(document, indent=2, allow_nan=False))


def show(lines: Iterable[tuple[str, str]]) -> None:
    """Print lines, each with its tone: coloured on a terminal, unless NO_COLOR says otherwise."""
    colored = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    colored = colored and os.environ.get("TERM") != "dumb"
    for line, tone in lines:
        code, text = _CODES.get(tone), printable(line, keep="\n\t")
        print(f"\x1b[{code}m{text}\x1b[0m" if colored and code and text else text)
