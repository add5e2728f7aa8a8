"""Versioned JSON documents (`"schema": "KIND/1"`) from files that anyone may have written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_edgequant.errors import DocumentError
from pytest_edgequant.files import read_bytes
from pytest_edgequant.pointers import pointer_reason
from pytest_edgequant.wording import shown


class Damaged(ValueError):
    """What is wrong inside a document; who reads it adds the file's name."""


def expect(value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """The value, where it is of this kind; raises `Damaged` naming `what`."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise Damaged(f"{what} is {shown(value, 60)}")
    return value


def number(value: Any, what: str) -> float | int:
    """The value, where it is a finite number; raises `Damaged`."""
    found: float | int = expect(value, (int, float), what)
    if not abs(found) < 2**1023:
        raise Damaged(f"{what} is {shown(value, 60)}")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def kind_of(document: object) -> str:
    """The kind of a document, as in `"KIND/1"`; empty where it has none."""
    schema = document.get("schema") if isinstance(document, dict) else None
    return schema.partition("/")[0] if isinstance(schema, str) else ""


def parse_document(content: bytes, where: str, newest: Mapping[str, int]) -> dict[str, Any]:
    """The document in a file's bytes, of one of the kinds in `newest`, up to that version.

    `where` names the file. Raises `DocumentError` for what is no JSON, of another kind, or of a
    version that is not read.
    """
    reason = pointer_reason(content)
    if reason is not None:
        raise DocumentError(f"{where}: {reason}")
    try:
        document = json.loads(content.decode("utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{where}: damaged: not readable as JSON ({error})") from None
    kind = kind_of(document)
    version = str(document["schema"])[len(kind) + 1 :] if kind else ""
    if kind not in newest or not (version.isascii() and version.isdigit()) or len(version) > 6:
        kinds = " or ".join(newest)
        schema = document.get("schema") if isinstance(document, dict) else None
        shown = f'its "schema" is {schema!r:.60}' if schema is not None else 'it has no "schema"'
        raise DocumentError(f"{where}: not a file of the kind {kinds}: {shown}")
    if int(version) > newest[kind]:
        raise DocumentError(
            f"{where}: {kind}/{version} was written by a newer pytest-edgequant; this one reads up "
            f"to {kind}/{newest[kind]}. Upgrade it, or write the file anew"
        )
    if int(version) < 1:
        raise DocumentError(
            f"{where}: {kind}/{version} is older than what is read; write the file anew"
        )
    found: dict[str, Any] = document
    return found


def read_file(path: Path) -> bytes:
    """A file's bytes; raises `DocumentError` that names it where there is none."""
    try:
        return read_bytes(path)
    except FileNotFoundError:
        raise DocumentError(f"{path.name}: there is no such file") from None
    except OSError as error:
        raise DocumentError(f"{path.name}: can't be read: {error.strerror}") from None
