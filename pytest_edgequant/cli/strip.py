"""`edgequant strip`: a smaller .tflite for nothing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_edgequant.cli.files import write_bytes
from pytest_edgequant.cli.project import add_project, working
from pytest_edgequant.cli.screen import say, say_json

if TYPE_CHECKING:
    from pytest_edgequant.cli.files import Commands

EXAMPLES = """
examples:
  edgequant strip model.tflite -o model_stripped.tflite
"""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = commands.add_parser(
        "strip",
        help="a smaller .tflite: without names and metadata that the device never reads",
        description="Take off tensor and signature names, minima and maxima, and old metadata. "
        "Outputs on LiteRT and TFLM are compared to the bit; a memory plan stays.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a .tflite file")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="OUT")
    parser.add_argument("--json", action="store_true", help="tell what was done as JSON")
    add_project(parser)
    return parser


def run(given: argparse.Namespace) -> int:
    """Strip the model; gives the exit status."""
    from pytest_edgequant.api.convert import load_variant
    from pytest_edgequant.api.strip import strip_model

    with working(given.project, strip=False):
        before = load_variant(given.model).size_bytes
        content, proof = strip_model(given.model)
    write_bytes(given.output, content)
    saved = before - len(content)
    if given.json:
        made = {
            "path": given.output.as_posix(),
            "before_bytes": before,
            "size_bytes": len(content),
            "saved_bytes": saved,
            "proof": proof,
        }
        say_json(made)
        return 0
    say(
        f"wrote {given.output}: {len(content):,} B, {saved:,} B ({saved / before:.1%}) less than "
        f"{before:,} B; {proof}"
    )
    return 0
