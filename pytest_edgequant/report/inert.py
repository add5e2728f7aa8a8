"""What keeps GitHub from seeing more in a text than its characters.

GitHub makes links, mentions, references, emoji and formulas of text in two ways: by Markdown's
marks, and by signs that stand directly beside words in what comes out of Markdown, however it was
written (escaped, as entities). Marks are written as entities here. Signs are parted from what is
beside them by a space without width, unless it is known that nothing comes of the two together:

- No link without `://`, `www.` or `@`: `:` is parted from `/`, `/` from `/`, `w` from `w`, and `@`
  from everything.
- No mention without a name after `@`; no reference without a word after `#`, or after a `-` that
  follows capitals or comes before a digit; no emoji without a name after `:`; no commit in less
  than seven hexadecimal digits.
- No formula without `$`, which is shown as code, with spaces around it.

The gate's action, which has nothing but the standard library, keeps a copy of this file; a test
holds them equal.
https://github.github.com/gfm/ and GitHub's own additions to it.
"""

from __future__ import annotations

import re

BREAK = "\u200b"
"""A space without width: it parts what GitHub would recognize, and is not seen."""
_JOINTS = re.compile(
    r"""
    (?=@) | (?<=@)
    | (?<=\#)(?![\s\#])
    | (?=:(?![\s*|`)"'<]|\Z)) | (?<=:)(?![\s*|`)"'<]|\Z)
    | (?<=/)(?=/)
    | (?<=(?i:w))(?=(?i:w))
    | (?<=[^\s(|]-)(?=\d)
    | (?<=[A-Z]-)(?=\w) | (?<=(?i:gh)-)
    """,
    re.VERBOSE | re.ASCII,
)
"""Places where nothing is written, and where a space without width belongs."""
_TEST_ID = re.compile(r"\.py(?:::[A-Z]\w*)?::\w+(?![\w:+-])", re.ASCII)
"""Colons that name no emoji: people copy what pytest calls a test."""
_DIGITS = re.compile(r"[0-9a-f]{7,}", re.IGNORECASE)
_MOST_DIGITS = 6
_CODE = re.compile(r"\$|\b(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{7,64}\b", re.IGNORECASE | re.ASCII)
"""Formulas' marks, and commits."""
_MARKS = frozenset("\\`*_{}[]<>|~^=!&\"'")


def joints(text: str) -> set[int]:
    """The positions in `text`, as it is shown, where GitHub must find two texts and not one."""
    found = {match.start() for match in _JOINTS.finditer(text)}
    for test in _TEST_ID.finditer(text):
        colons = (at for at in range(*test.span()) if text[at] == ":")
        found.difference_update(near for at in colons for near in (at, at + 1))
    for run in _DIGITS.finditer(text):
        found.update(range(run.start() + _MOST_DIGITS, run.end(), _MOST_DIGITS))
    return {at for at in found if at and BREAK not in text[at - 1 : at + 1]}


def inert(text: str) -> str:
    """One line of text as Markdown that shows just this; commits are code, so as to be copied."""
    parted, pieces, end = joints(text), [], 0
    for found in _CODE.finditer(text):
        pieces.append(_span(text, end, found.start(), parted))
        if found.start() in parted or (pieces[-1] == "" and end):
            pieces.append(BREAK)  # two pieces of code beside each other would become one
        pieces.append("` $ `" if found.group() == "$" else f"`{found.group()}`")
        end = found.end()
    return "".join([*pieces, _span(text, end, len(text), parted), BREAK * (len(text) in parted)])


def characters(text: str, dollar: str = "&#36;") -> str:
    """The same without code: as Markdown, and as HTML where Markdown is not read."""
    parted = joints(text)
    return _span(text, 0, len(text), parted, dollar) + BREAK * (len(text) in parted)


def _span(text: str, start: int, end: int, parted: set[int], dollar: str = "") -> str:
    pieces = []
    for at in range(start, end):
        sign = text[at]
        pieces.append(BREAK if at in parted else "")
        if sign == "$":
            pieces.append(dollar)
        elif sign in _MARKS and not (sign == "_" and _within(text, at)):
            pieces.append(f"&#{ord(sign)};")
        else:
            pieces.append(sign)
    return "".join(pieces)


def _within(text: str, at: int) -> bool:
    """Whether an underscore is within a word, where it marks nothing."""
    around = text[at - 1 : at] + text[at + 1 : at + 2]
    return len(around) == 2 and around.isascii() and around.isalnum()
