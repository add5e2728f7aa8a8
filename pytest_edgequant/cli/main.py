"""The command `edgequant`: checks, explains, converts and compares models, and their reports."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from pytest_edgequant.cli import (
    arena,
    check,
    compare,
    convert,
    glossary,
    init,
    inspect,
    merge,
    report,
    strip,
    targets,
)
from pytest_edgequant.cli.screen import discard, prepare
from pytest_edgequant.errors import EdgeQuantError
from pytest_edgequant.version import __version__
from pytest_edgequant.wording import printable

WRONG = 2
_KEPT = "\n\t"
COMMANDS = (init, check, inspect, arena, targets, convert, strip, compare, merge, report, glossary)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgequant", description=__doc__)
    parser.add_argument("--version", action="version", version=f"edgequant {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        made = command.add_parser(commands)
        made.set_defaults(run=command.run)
        made.epilog = command.EXAMPLES
        made.formatter_class = argparse.RawDescriptionHelpFormatter
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit status: 0, 1 for what did not pass, 2 for misuse."""
    prepare()
    given = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = given.run
    try:
        status = run(given)
        sys.stdout.flush()
    except EdgeQuantError as error:
        print(f"edgequant: {printable(error, keep=_KEPT)}", file=sys.stderr)
        return WRONG
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        discard()
        return WRONG
    except OSError as error:
        if error.filename is not None:
            raise
        discard()
        print(f"edgequant: the output can't be written: {error.strerror}", file=sys.stderr)
        return WRONG
    return status


if __name__ == "__main__":
    sys.exit(main())
