"""Entry point of the steps: `python -I main.py COMMAND`. Standard library only."""

import sys
from pathlib import Path

# -I keeps PYTHONPATH and the checked-out repository off the path; this folder must be on it.
sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

# Runners on Windows have another default, in which not everything can be said.
for stream in (sys.stdout, sys.stderr):
    stream.reconfigure(encoding="utf-8", errors="replace")

from edge_gate.commands import main  # noqa: E402 - it may print

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
