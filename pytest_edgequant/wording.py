"""How messages name tensors, and how they say several things: for people, on any surface."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

_MOST = 48
_FUSED = re.compile(r"""[^\s;'"`]+(?:;[^\s;'"`]+)+""")


def short(name: str, width: int = _MOST) -> str:
    """A tensor's or layer's name: the first of those that a fused operator got, its end if long.

    Converters join the names of all that they fused with semicolons; a GRU's has 700 characters.
    """
    first = name.split(";")[0]
    return first if len(first) <= width else f"...{first[3 - width :]}"


def short_names(text: str) -> str:
    """A message with the long names of fused tensors shortened, whoever wrote it.

    It keeps what people type, and what is no longer than a name may be.
    """
    if ";" not in text:
        return text
    return _FUSED.sub(
        lambda name: short(name.group()) if len(name.group()) > _MOST else name.group(), text
    )


LONGEST = 20_000
"""Characters of a message; more says nothing more, and buries what comes behind it."""


def bounded(text: str) -> str:
    """The beginning of a very long message, and how much more there was."""
    if len(text) <= LONGEST:
        return text
    more = f"... ({len(text) - LONGEST:,} more characters are left out)"
    return text if text.endswith("characters are left out)") else f"{text[:LONGEST]}{more}"


def message(text: str) -> str:
    """A message as errors and records carry it: no long names of tensors, and an end."""
    return bounded(short_names(text))


def portable(text: str, root: str) -> str:
    """A message without the folders of this machine: paths below `root` relative, home as `~`.

    Reports are read on other machines, and by other people.
    """
    for folder, instead in ((root, "."), (os.path.expanduser("~"), "~")):
        if len(folder) < 2 or folder not in text:
            continue
        below = "" if instead == "." else f"{instead}{os.sep}"
        text = text.replace(f"{folder}{os.sep}", below)
        text = re.sub(rf"{re.escape(folder)}(?![\w.-])", lambda _: instead, text)  # noqa: B023 - called at once
    return text


def shown(value: object, most: int = 80) -> str:
    """What was given instead of what was expected, as messages quote it: short, whatever it is."""
    if isinstance(value, int) and value.bit_length() > 3 * most:
        # Python itself refuses to write the longest ones.
        return f"an integer of about {value.bit_length() * 30103 // 100000 + 1:,} digits"
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def facts(head: str, found: Iterable[str]) -> str:
    """Several facts behind a head, each of them on a line of its own."""
    return f"{head} " + "\n  ".join(found)


def first_of(found: Iterable[str], limit: int = 6) -> list[str]:
    """The first of several facts, and how many more there are."""
    every = list(found)
    more = [f"and {len(every) - limit} more"] if len(every) > limit else []
    return [*every[:limit], *more]


def counted(count: int, noun: str, many: str = "") -> str:
    """How many there are of something: `1 sample`, `1,204 samples`, `2 classes`, `3 entries`.

    `many` is the plural where it isn't made as these are.
    """
    return f"{count:,} {noun if count == 1 else many or _plural(noun)}"


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def one_line(text: str) -> str:
    """The same where there is room for one line: summaries, cells of tables, properties."""
    line = ""
    for part in text.splitlines():
        fact = " ".join(part.split())
        if line and fact:
            line += " " if line[-1] in ".:;,!?" else "; "
        line += fact
    return line


def printable(text: object, keep: str = "", instead: str = "?") -> str:
    """Text without control characters, lone surrogates and signs that turn a line's direction.

    What is not printable becomes `instead`, save the characters in `keep`.
    """
    return "".join(c if c.isprintable() or c in keep else instead for c in str(text))
