"""`edgequant targets`: the boards that are known, with every figure's source."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_edgequant.cli.project import add_project, working
from pytest_edgequant.cli.screen import say, say_json
from pytest_edgequant.errors import SettingsError

if TYPE_CHECKING:
    from pytest_edgequant.cli.files import Commands
    from pytest_edgequant.records import Figure, Target

EXAMPLES = """
examples:
  edgequant targets
  edgequant targets 'stm32*' pico
  edgequant targets --core cortex-m4 --min-arena "128 KiB"
  edgequant targets nano33ble --json
"""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = commands.add_parser(
        "targets",
        help="the boards that are known, and what each leaves to a model",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a name, a pattern, all-mcu (default: all)"
    )
    parser.add_argument("--core", metavar="NAME", help="with this core: cortex-m4, xtensa-lx7")
    parser.add_argument("--vendor", metavar="NAME", help="of this vendor")
    parser.add_argument("--variant", metavar="NAME", help="that run this form: int8, float32")
    parser.add_argument("--min-arena", metavar="SIZE", help="that leave so much to an arena")
    parser.add_argument("--min-flash", metavar="SIZE", help="that leave so much flash to a model")
    parser.add_argument("--json", action="store_true", help="print JSON instead")
    add_project(parser)
    return parser


def run(given: argparse.Namespace) -> int:
    """List the boards; gives the exit status."""
    from pytest_edgequant.report.targets import target_document, target_lines

    with working(given.project, interpreters=False) as pipeline:
        names = given.names or ["all"]
        chosen = {t.name: t for name in names for t in pipeline.targets.expand(name)}
        found = _filtered(list(chosen.values()), given)
        if given.json:
            document = {"schema": "edgequant-targets/1", "targets": [*map(target_document, found)]}
            say_json(document)
            return 0
        for line in target_lines(found):
            say(line)
    return 0


def _filtered(targets: Sequence[Target], given: argparse.Namespace) -> list[Target]:
    """The boards that are as asked for; raises `SettingsError` where none is."""
    from pytest_edgequant.forms import get_spec
    from pytest_edgequant.names import fold
    from pytest_edgequant.units import parse_size

    variant = None if given.variant is None else get_spec(given.variant, "--variant").name
    arena = None if given.min_arena is None else parse_size(given.min_arena, "--min-arena")
    flash = None if given.min_flash is None else parse_size(given.min_flash, "--min-flash")
    found = [
        target
        for target in targets
        if (given.core is None or fold(target.core) == fold(given.core))
        and (given.vendor is None or fold(given.vendor) in fold(target.vendor))
        and (variant is None or variant in target.variants)
        and _at_least(target.sram_for_arena, arena)
        and _at_least(target.flash_for_model or target.flash_after_firmware, flash)
    ]
    if not found:
        cores = ", ".join(sorted({target.core for target in targets}))
        raise SettingsError(f"no board is like that, of {len(targets)}; cores: {cores}")
    return found


def _at_least(figure: Figure | None, least: int | None) -> bool:
    """Whether a board leaves so much; one without the limit does."""
    return least is None or figure is None or figure.value >= least
