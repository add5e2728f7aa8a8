"""What a record says of itself: a few lines for people, and all of it as plain data.

`repr` has every field, as of any dataclass. `print` gives what the record came to in its first
line, and what matters beside it; a notebook shows the same as a table. `to_dict` is the whole
record for `json.dumps`.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

_INDENT = "  "


@dataclass(frozen=True)
class Told:
    """What a record says: the `head`, and `rows` of a name and a text each.

    Rows without a text are left out. `table` has its headings in the first row; plain text has
    only as many of its rows as `shown`.
    """

    head: str
    rows: tuple[tuple[str, str], ...] = ()
    table: tuple[tuple[str, ...], ...] = ()
    shown: int = 0

    @property
    def filled(self) -> list[tuple[str, str]]:
        """The rows that say something."""
        return [(name, text) for name, text in self.rows if text]


class Telling:
    """A record that people print, see in a notebook, and write as JSON."""

    _UNTOLD: ClassVar[frozenset[str]] = frozenset()
    """Fields that are no data: what answers a record's questions, and the bytes of files."""

    def _told(self) -> Told:
        """What the record says of itself."""
        raise NotImplementedError

    def _picture(self) -> tuple[str, str]:
        """A picture of the record as SVG, and what it is of; empty without one."""
        return "", ""

    def __str__(self) -> str:
        return as_text(self._told())

    def _repr_html_(self) -> str:
        return as_html(self._told(), *self._picture())

    def to_dict(self) -> dict[str, Any]:
        """All that is public as plain data, which `json.dumps` takes.

        Arrays are lists; what is not finite is the text that `float` reads back ("inf"). Of bytes
        there are none: a file has its `fingerprint`. A variant or target within another record
        stands as its name and what tells it from others.
        """
        return {name: plain(value) for name, value in public(self, self._UNTOLD)}

    def identity(self) -> Any:
        """What stands for the record within another one."""
        return self.to_dict()


def public(record: Any, untold: frozenset[str] = frozenset()) -> Iterable[tuple[str, Any]]:
    """The public fields of a record, and the properties that are plain values."""
    names = [field.name for field in dataclasses.fields(record)]
    for name in names:
        if name not in untold and not name.startswith("_"):
            yield name, getattr(record, name)
    for name in dir(type(record)):
        if isinstance(getattr(type(record), name), property) and not name.startswith("_"):
            value = getattr(record, name)
            if name not in names and isinstance(value, str | bool | int | float | None):
                yield name, value


def plain(value: Any) -> Any:
    """A value as plain data; `Telling.to_dict` says how."""
    if value is None or (isinstance(value, bool | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, int):
        return value
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()] if value.ndim else plain(value.item())
    if hasattr(value, "identity"):
        return value.identity()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: plain(item) for name, item in public(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, np.dtype | Path):
        return str(value)
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    return type(value).__name__


def as_text(told: Told) -> str:
    """The head, and under it each row: its name, and its text beside the others'."""
    rows = told.filled
    width = max((len(name) for name, _ in rows), default=0)
    lines = [told.head]
    for name, text in rows:
        first, *more = text.splitlines()
        lines.append(f"{_INDENT}{name:<{width}}  {first}")
        lines += [f"{_INDENT}{'':<{width}}  {line}" for line in more]
    if told.table and told.shown:
        from tabulate import tabulate

        head, *body = told.table
        shown = tabulate(body[: told.shown], head, tablefmt="plain", disable_numparse=True)
        lines += [f"{_INDENT}{line}" for line in shown.splitlines()]
        if len(body) > told.shown:
            lines.append(f"{_INDENT}and {len(body) - told.shown} more")
    return "\n".join(lines)


def as_html(told: Told, picture: str = "", about: str = "") -> str:
    """The same for a notebook, with a picture as SVG: text is escaped, and no script runs."""
    parts = [f"<p><strong>{_escaped(told.head)}</strong></p>"]
    if told.filled:
        rows = "".join(
            f'<tr><th style="text-align:left">{_escaped(name)}</th>'
            f'<td style="text-align:left">{_escaped(text)}</td></tr>'
            for name, text in told.filled
        )
        parts.append(f"<table><tbody>{rows}</tbody></table>")
    if told.table:
        head, *body = told.table
        cells = "".join(f"<th>{_escaped(cell)}</th>" for cell in head)
        lines = "".join(
            f"<tr>{''.join(f'<td>{_escaped(cell)}</td>' for cell in row)}</tr>" for row in body
        )
        parts.append(f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>")
    if picture:
        data = base64.b64encode(picture.encode()).decode()
        parts.append(
            f'<img alt="{_escaped(about)}" style="max-width:100%;background:#fff" '
            f'src="data:image/svg+xml;base64,{data}">'
        )
    return f'<div class="edgequant">{"".join(parts)}</div>'


def _escaped(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")
