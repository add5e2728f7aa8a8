"""Text from outside as Markdown that shows it, and does nothing else, on GitHub.

No markup, links, autolinks, @mentions, #references, commit links, formulas, table cells or HTML
come out of names of models, tests, classes and tensors, or out of messages.
"""

from __future__ import annotations

import re
from functools import lru_cache

from pytest_edgequant.report.inert import characters, inert
from pytest_edgequant.wording import one_line, printable

_MARKS_IN_CODE = re.compile(r"[`|\\$]")
"""What ends code, ends a table's cell or escapes it, or makes a formula of two pieces of code."""


_REMEMBERED = 4096
"""Texts that are made once: a report says the same names and figures in many cells."""


def clean(text: str, most: int) -> str:
    """One line of printable characters, `most` of them, the middle of a longer one cut."""
    line = " ".join(printable(one_line(text), instead=" ").split())
    if len(line) <= most:
        return line
    tail = most // 3
    return f"{line[: most - tail - 1]}…{line[len(line) - tail :]}"


@lru_cache(_REMEMBERED)
def prose(text: str, most: int = 2000) -> str:
    """A sentence: its words stay readable, its punctuation is only that."""
    return inert(clean(text, most))


@lru_cache(_REMEMBERED)
def code(text: str, most: int = 120) -> str:
    """A name, as code: GitHub looks for nothing within it."""
    name = clean(text, most)
    if name and not _MARKS_IN_CODE.search(name):
        return f"`{name}`"
    return f"<code>{characters(name) or '&nbsp;'}</code>"
