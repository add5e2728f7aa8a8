"""`edgequant inspect`: a model layer by layer."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_edgequant.cli.project import add_project, working
from pytest_edgequant.cli.screen import say, say_json

if TYPE_CHECKING:
    from pytest_edgequant.cli.files import Commands

EXAMPLES = """
examples:
  edgequant inspect model.tflite
  edgequant inspect model.tflite --target nano33ble
  edgequant inspect model.tflite --json
"""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = commands.add_parser(
        "inspect",
        help="a .tflite layer by layer: operators, shapes, types, MACs, weights, arena, time",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a .tflite file")
    parser.add_argument("--target", metavar="NAME", help="the board that arena and time are on")
    parser.add_argument("--json", action="store_true", help="print JSON instead")
    add_project(parser)
    return parser


def run(given: argparse.Namespace) -> int:
    """Show the layers; gives the exit status."""
    from pytest_edgequant.api.layers import inspect_model
    from pytest_edgequant.report.layers import layer_lines, layers_document

    with working(given.project, interpreters=False, strip=False):
        found = inspect_model(given.model, given.target)
    if given.json:
        say_json(layers_document(found))
        return 0
    for line in layer_lines(found):
        say(line)
    return 0
