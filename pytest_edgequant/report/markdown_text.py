"""Text from outside as Markdown that shows it, and does nothing else, on GitHub.

No markup, links, autolinks, @mentions, #references, commit links, formulas, table cells or HTML
come out of names of models, tests, classes and tensors, or out of messages.
https://github.github.com/gfm/ and GitHub's own additions to it.
"""

from __future__ import annotations

import re

from pytest_edgequant.report.text import printable

_BREAK = "\u200b"
"""A space without width: it parts what GitHub would recognize, and is not seen."""
_ENTITIES = {c: f"&#{ord(c)};" for c in "\\`*_{}[]<>|~$^=!&\"'"}
_TOKENS = re.compile(
    r"""
    (?P<commit>\b(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{7,64}\b)
    | (?P<sign>[@\#])
    | (?P<scheme>:(?=//))
    | (?P<www>\bwww(?=\.))
    | (?P<issue>\bgh(?=-\d))
    | (?P<emoji>:(?=[\w+-]+:))
    | (?P<underscore>(?<=[a-z0-9])_(?=[a-z0-9]))
    | (?P<special>[\\`*_{}\[\]<>|~$^=!&"'])
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


def clean(text: str, most: int) -> str:
    """One line of printable characters, `most` of them, the middle of a longer one cut."""
    line = " ".join(printable(text, instead=" ").split())
    if len(line) <= most:
        return line
    tail = most // 3
    return f"{line[: most - tail - 1]}…{line[len(line) - tail :]}"


def _inert(token: re.Match[str]) -> str:
    if token["commit"]:
        return f"`{token.group()}`"
    if token["underscore"]:
        return "_"  # within a word it marks nothing
    if token["special"]:
        return _ENTITIES[token.group()]
    return f"{token.group()}{_BREAK}"


def prose(text: str, most: int = 2000) -> str:
    """A sentence: its words stay readable, its punctuation is only that."""
    return _TOKENS.sub(_inert, clean(text, most))


def code(text: str, most: int = 120) -> str:
    """A name, as code: GitHub looks for nothing within it."""
    name = clean(text, most)
    if name and not re.search(r"[`|\\]", name):
        return f"`{name}`"
    return f"<code>{_entities(name) or '&nbsp;'}</code>"


def _entities(name: str) -> str:
    """Every character with a meaning as an entity, what GitHub recognizes parted."""
    parted = re.sub(r"[@#:.](?=\w|/)", lambda c: f"{c.group()}{_BREAK}", name)
    return "".join(
        c if c.isalnum() or c in f" {_BREAK}…" or ord(c) > 127 else f"&#{ord(c)};" for c in parted
    )
