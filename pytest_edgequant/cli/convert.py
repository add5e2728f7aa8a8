"""`edgequant convert`: a model in another form, as a file."""

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
  edgequant convert model.keras --variant int8 --calibration samples.npy -o model_int8.tflite
  edgequant convert saved_model/ --variant float32 -o model.tflite
  edgequant convert float.tflite --variant int8 --calibration samples.npz -o int8.tflite
"""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = commands.add_parser(
        "convert",
        help="a model in another form: int8, dynamic_range, float32, ...",
    )
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="a .keras, .h5 or .tflite file, or a SavedModel"
    )
    parser.add_argument("--variant", required=True, metavar="NAME", help="int8, int16x8, ...")
    parser.add_argument(
        "--calibration", type=Path, metavar="FILE", help="representative samples: .npy or .npz"
    )
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="PATH")
    parser.add_argument(
        "--strip",
        action="store_true",
        default=None,
        help="without what the device never reads (as `edgequant strip` makes it)",
    )
    parser.add_argument("--json", action="store_true", help="tell what was made as JSON")
    add_project(parser)
    return parser


def run(given: argparse.Namespace) -> int:
    """Convert the model; gives the exit status."""
    from pytest_edgequant.api.convert import convert
    from pytest_edgequant.samples.files import load_inputs

    samples = None
    if given.calibration is not None:
        samples = load_inputs(given.calibration, "--calibration")
    with working(given.project, strip=given.strip):
        variant = convert(given.model, given.variant, calibration=samples)
        content, notes = variant.content, list(variant.notes)
    write_bytes(given.output, content)
    if given.json:
        made = {
            "path": given.output.as_posix(),
            "model": variant.model_name,
            "variant": variant.name,
            "size_bytes": len(content),
            "notes": notes,
        }
        say_json(made)
        return 0
    say(f"wrote {given.output}: {variant.label}, {len(content):,} B")
    for note in notes:
        say(note)
    return 0
