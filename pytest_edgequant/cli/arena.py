"""`edgequant arena`: where the bytes of a model's arena go, and what would make them fewer."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_edgequant.cli.files import write_text
from pytest_edgequant.cli.project import add_project, working
from pytest_edgequant.cli.screen import say, say_json

if TYPE_CHECKING:
    from pytest_edgequant.cli.files import Commands

EXAMPLES = """
examples:
  edgequant arena model.tflite --target nano33ble
  edgequant arena model.tflite --target esp32s3 --svg arena.svg
"""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = commands.add_parser(
        "arena",
        help="where the bytes of a model's tensor arena go, and what would make them fewer",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a .tflite file")
    parser.add_argument("--target", required=True, metavar="NAME", help="the board")
    parser.add_argument("--svg", type=Path, metavar="PATH", help="also draw the plan")
    parser.add_argument("--json", action="store_true", help="print JSON instead")
    add_project(parser)
    return parser


def run(given: argparse.Namespace) -> int:
    """Explain the arena; gives the exit status."""
    from pytest_edgequant.api.memory import measure_arena
    from pytest_edgequant.report.layers import arena_document

    with working(given.project, interpreters=False, strip=False):
        arena = measure_arena(given.model, given.target)
        if given.json:
            say_json(arena_document(arena))
        else:
            say(arena.explain())
        picture = arena.svg() if given.svg is not None else ""
    if given.svg is not None:
        write_text(given.svg, picture, quiet=given.json)
    return 0
