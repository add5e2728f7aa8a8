"""`edgequant report`: a JSON report in another format."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_edgequant.cli.files import add_outputs
from pytest_edgequant.cli.merge import merge

if TYPE_CHECKING:
    from pytest_edgequant.cli.files import Commands


EXAMPLES = """
examples:
  edgequant report report.json -o report.html
  edgequant report report.json -o report.md -o report.html --json
"""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = commands.add_parser(
        "report",
        help="render a JSON report in another format",
    )
    parser.add_argument("inputs", nargs=1, type=Path, metavar="FILE")
    add_outputs(parser)
    return parser


def run(given: argparse.Namespace) -> int:
    """Render the report, which is a merge of one; gives the exit status."""
    return merge(given.inputs, given.outputs, as_json=given.json)
