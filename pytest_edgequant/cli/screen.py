"""Colours for people: on a terminal, unless NO_COLOR says otherwise."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

_CODES = {"good": "32", "bad": "31", "unsure": "33", "head": "1", "dim": "2"}


def show(lines: Iterable[tuple[str, str]]) -> None:
    """Print lines, each with its tone."""
    colored = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    colored = colored and os.environ.get("TERM") != "dumb"
    for text, tone in lines:
        code = _CODES.get(tone)
        print(f"\x1b[{code}m{text}\x1b[0m" if colored and code and text else text)
