"""TOML from bytes, with the place named in the error."""

from __future__ import annotations

import sys
from typing import Any

from pytest_edgequant.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def load_toml(content: bytes, where: str) -> dict[str, Any]:
    """The parsed document; raises `SettingsError` naming `where` when it is not TOML."""
    try:
        document: dict[str, Any] = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        # Beside what is no TOML: numbers of thousands of digits, tables nested without end.
        raise SettingsError(f"{where}: not valid TOML: {error}") from None
    return document
