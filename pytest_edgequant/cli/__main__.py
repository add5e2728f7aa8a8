"""`python -m pytest_edgequant.cli`: the command, where its script is not on the path."""

import sys

from pytest_edgequant.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
