"""Text from outside, in places that show characters as they are."""

from __future__ import annotations


def printable(text: object, keep: str = "", instead: str = "?") -> str:
    """Text without control characters, lone surrogates and signs that turn a line's direction.

    What is not printable becomes `instead`, save the characters in `keep`.
    """
    return "".join(c if c.isprintable() or c in keep else instead for c in str(text))
