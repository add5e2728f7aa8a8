"""The command `edgequant`, a file a command: each has its `add_parser`, `EXAMPLES` and `run`.

It knows the command line alone, and may import all rooms but `plugin`; what a command needs is
imported when it runs, so that `--help` is there at once.
"""

from pytest_edgequant.cli.main import main

__all__ = ["main"]
