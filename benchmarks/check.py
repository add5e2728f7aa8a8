"""How long `edgequant check` takes, as a whole process.

    python benchmarks/check.py FOLDER [rounds] [path of mcufit]

FOLDER holds .tflite files. The one nearest to 300 KB is checked on one board, in turns with PyPI's
`mcufit check` where that is installed; then the 20 largest are checked on all microcontrollers.
Prints the median time on the wall and the least processor time, children included (goals: under
0.6 s of processor time and less than mcufit; under 6 s).
"""

from __future__ import annotations

import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from _timing import Timing, run

_SIZE = 300_000
_MODELS = 20
_BOARD = "nano33ble"


def _row(name: str, found: Sequence[Timing]) -> float:
    """Print the figures of a command; gives its least processor time."""
    wall, cpu = statistics.median(t.wall for t in found), min(t.cpu for t in found)
    print(f"{name:44} {wall:8.2f} s {cpu:8.2f} s")
    return cpu


def main(folder: Path, rounds: int, mcufit: str | None) -> None:
    files = sorted(folder.glob("*.tflite"), key=lambda path: path.stat().st_size)
    if not files:
        sys.exit(f"{folder} holds no .tflite file")
    one = min(files, key=lambda path: abs(path.stat().st_size - _SIZE))
    check = [sys.executable, "-m", "pytest_edgequant.cli", "check"]
    single = [*check, str(one), "--target", _BOARD]
    other = [mcufit, "check", str(one), "-b", _BOARD] if mcufit else None
    ours, theirs = [], []
    run(single, ends=(0, 1))  # not counted: compiles modules
    for _ in range(rounds):
        ours.append(run(single, ends=(0, 1)))
        if other is not None:
            theirs.append(run(other, ends=(0, 1)))
    print(f"{'':44} {'median wall':>10} {'least CPU':>10}")
    mine = _row(f"edgequant check {one.name[:22]} on {_BOARD}"[:44], ours)
    if theirs:
        least = _row("mcufit check, the same", theirs)
        print(f"edgequant takes {mine / least:.2f} times the processor time")
    else:
        print("mcufit is not installed: pip install mcufit, or give its path")
    many = [str(path) for path in files[-_MODELS:]]
    whole = [run([*check, *many, "--target", "all-mcu"], ends=(0, 1)) for _ in range(3)]
    _row(f"edgequant check {len(many)} models on all-mcu", whole)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(
        Path(sys.argv[1]),
        int(sys.argv[2]) if len(sys.argv) > 2 else 7,
        sys.argv[3] if len(sys.argv) > 3 else shutil.which("mcufit"),
    )
