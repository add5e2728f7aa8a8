"""The command `edgequant`: merges and renders reports, compares baselines, explains words."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from pytest_edgequant.cli import check, compare, glossary, merge, report
from pytest_edgequant.errors import EdgeQuantError
from pytest_edgequant.version import __version__

WRONG = 2
COMMANDS = (check, compare, merge, report, glossary)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgequant", description=__doc__)
    parser.add_argument("--version", action="version", version=f"edgequant {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands).set_defaults(run=command.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit status: 0, 1 for a regression, 2 for what can't be done."""
    given = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = given.run
    try:
        return run(given)
    except EdgeQuantError as error:
        print(f"edgequant: {error}", file=sys.stderr)
        return WRONG


if __name__ == "__main__":
    sys.exit(main())
