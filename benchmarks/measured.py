"""The figures that a change of the code must not make worse, one after the other.

    python benchmarks/measured.py [--quick]

Idle cost (idle.py), the installed size without TensorFlow and the gate's import (footprint.py), the
cold and the warm gate (gate.py), and a small model's evaluation (evaluation.py digits). Each prints
its goals, or the alternative that it is held against. --quick leaves out the last two, which need
TensorFlow and minutes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
QUICK = (("idle.py",), ("footprint.py",))
LONG = (("gate.py",), ("evaluation.py", "digits"))


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--quick"]):
        sys.exit(f"expected nothing or --quick, got {' '.join(arguments)}")
    failed = 0
    for script, *given in (*QUICK, *(() if arguments else LONG)):
        print(f"\n== {' '.join([script, *given])}", flush=True)
        done = subprocess.run([sys.executable, str(HERE / script), *given], check=False)
        failed += done.returncode != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
