"""What the commands share: documents that are read, and files that are written."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_edgequant.cli.screen import say
from pytest_edgequant.errors import DocumentError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def read_documents(paths: Sequence[Path]) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """The documents of the files by their kind; names are as short as they are distinct."""
    from pytest_edgequant.baseline import document as baselines
    from pytest_edgequant.report import json as reports
    from pytest_edgequant.results.documents import kind_of, parse_document, read_file

    newest = {reports.KIND: reports.VERSION, baselines.KIND: baselines.VERSION}
    names = [path.name for path in paths]
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for path in paths:
        where = path.name if names.count(path.name) == 1 else path.as_posix()
        document = parse_document(read_file(path), where, newest)
        found.setdefault(kind_of(document), []).append((where, document))
    return found


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """The option that says where a command writes."""
    parser.add_argument(
        *("-o", "--output"),
        dest="outputs",
        action="append",
        required=True,
        type=Path,
        metavar="PATH",
        help="where to write; repeatable, the format by its ending",
    )
    parser.add_argument("--json", action="store_true", help="tell what was made as JSON")


def check_formats(paths: Sequence[Path]) -> None:
    """Raise `DocumentError` for a path whose ending is no report format's."""
    from pytest_edgequant.report import RENDERERS

    for path in paths:
        if path.suffix.lower() not in RENDERERS:
            raise DocumentError(
                f"{path}: no format ends in {path.suffix!r}; known: {', '.join(RENDERERS)}"
            )


def write_text(path: Path, text: str, *, quiet: bool = False) -> None:
    """Write a file and say so; raises `DocumentError` where it can't be written."""
    write_bytes(path, text.encode("utf-8", "replace"))
    if not quiet:
        say(f"wrote {path}")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file; raises `DocumentError` where it can't be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise DocumentError(f"{path}: can't be written: {error.strerror}") from None
