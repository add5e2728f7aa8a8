"""TOML from bytes, with the place named in the error."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

from pytest_edgequant.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_HEADER = re.compile(r"\s*\[+\s*([^\]#]+?)\s*\]+")
_KEY = re.compile(r"""\s*([\w.\-"' ]+?)\s*=""")


def load_toml(content: bytes, where: str) -> dict[str, Any]:
    """The parsed document; raises `SettingsError` naming `where` when it is not TOML."""
    try:
        document: dict[str, Any] = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        # Beside what is no TOML: numbers of thousands of digits, tables nested without end.
        raise SettingsError(f"{where}: not valid TOML: {_told(str(error))}") from None
    return document


def _told(message: str) -> str:
    """What a parser objects to; of a table that stands twice, its name and what to do."""
    twice = re.match(r"Cannot declare \((.*)\) twice(.*)", message, re.DOTALL)
    if twice is None:
        return message
    table = ".".join(re.findall(r"'([^']*)'", twice[1]))
    what = "two models of one name" if ".models." in f".{table}." else "it stands twice"
    return f"[{table}]: {what}{twice[2]}: rename one of them, or put their keys into one table"


def line_of(text: str, path: Sequence[str]) -> int | None:
    """The line, from 1, of a table or key in a document; of what it stands in, if not found.

    None where nothing of it is found. For messages: it looks at headers and keys alone.
    """
    found: int | None = None
    depth = 0
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header is not None:
            at = table = _names(header[1])
        else:
            key = _KEY.match(line)
            if key is None:
                continue
            at = (*table, *_names(key[1]))
        if depth < len(at) <= len(path) and at == tuple(path[: len(at)]):
            found, depth = number, len(at)
    return found


def _names(dotted: str) -> tuple[str, ...]:
    """The names of a dotted key, without their quotes."""
    parts = re.findall(r"""\s*("[^"]*"|'[^']*'|[^."']+)\s*\.?""", dotted)
    return tuple(part.strip().strip("\"'") for part in parts)
