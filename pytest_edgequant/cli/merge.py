"""`edgequant merge`: one report, or one baseline, of those of the shards of a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_edgequant.cli.files import add_outputs, check_formats, read_documents, write_text
from pytest_edgequant.cli.screen import say_json
from pytest_edgequant.errors import DocumentError

if TYPE_CHECKING:
    from pytest_edgequant.cli.files import Commands


EXAMPLES = """
examples:
  edgequant merge shard-1.json shard-2.json -o report.json -o report.md
  edgequant merge shard-*.json -o report.html --json
"""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = commands.add_parser(
        "merge",
        help="one report of several: the shards of a run (JSON reports, or baselines)",
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="FILE")
    add_outputs(parser)
    return parser


def run(given: argparse.Namespace) -> int:
    """Merge the files; gives the exit status."""
    return merge(given.inputs, given.outputs, as_json=given.json)


def merge(inputs: Sequence[Path], outputs: Sequence[Path], *, as_json: bool = False) -> int:
    """Merge reports, or baselines, of shards of one run into one."""
    from pytest_edgequant.baseline.document import (
        KIND,
        dump_baseline,
        merge_baselines,
        read_baseline,
    )
    from pytest_edgequant.progress import on_terminal
    from pytest_edgequant.report import renderer
    from pytest_edgequant.report.json import verdict_document
    from pytest_edgequant.report.reading import merge_reports, read_report

    found = read_documents(inputs)
    if len(found) > 1:
        raise DocumentError("reports and baselines can't be merged with each other")
    ((kind, documents),) = found.items()
    made: dict[str, Any] = {"kind": kind, "inputs": [path.as_posix() for path in inputs]}
    if kind == KIND:
        parts = [(where, read_baseline(document, where)) for where, document in documents]
        merged = merge_baselines(parts)
        text = dump_baseline(merged)
        for path in outputs:
            write_text(path, text, quiet=as_json)
        made["entries"] = len(merged.entries)
    else:
        check_formats(outputs)
        whole = merge_reports((where, read_report(doc, where)) for where, doc in documents)
        for path in outputs:
            with on_terminal(f"writing {path.name}"):
                text = renderer(path)(whole)
            write_text(path, text, quiet=as_json)
        made["verdict"] = verdict_document(whole)
    if as_json:
        say_json(made | {"outputs": [path.as_posix() for path in outputs]})
    return 0
