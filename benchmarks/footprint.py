"""What an installation weighs without TensorFlow, and how long the accuracy gate takes to import.

    python benchmarks/footprint.py [--rounds N] [--against COMMIT] [--no-size]

- size: installs this package and what it needs into a folder of its own, with pip, and prints what
  they take there (goal: under 210 MB), the largest of them by name.
- import: the time of importing pytest_edgequant.gate.accuracy in a process of its own, against the
  module that it was before the rooms (pytest_edgequant.assertions_accuracy) at the last commit that
  had it, or at COMMIT, in the same run, turn by turn (goal: at most 0.60 of it). The least of all
  rounds, in processor time, compiled modules ready; NumPy's share is printed beside it.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from pathlib import Path

from _timing import run

ROOT = Path(__file__).parents[1]
NOW = "pytest_edgequant.gate.accuracy"
BEFORE = "pytest_edgequant.assertions_accuracy"
_IMPORT = "import time; t = time.process_time(); import {}; print(time.process_time() - t)"


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"git {' '.join(arguments)}: {done.stderr.decode().strip()}")
    return done.stdout


def last_commit_before_the_rooms() -> str:
    """The parent of the commit that moved the module away."""
    path = BEFORE.replace(".", "/") + ".py"
    removed = _git("log", "-1", "--diff-filter=DR", "--format=%H", "--", path).decode().strip()
    if not removed:
        sys.exit(f"no commit of this checkout had {path}; give one with --against")
    return f"{removed}~1"


def _seconds(module: str, folder: Path, compiled: Path) -> float:
    # The compiled modules of both sides lie in the same place, whatever the caller's environment.
    env = {**os.environ, "PYTHONPATH": str(folder), "PYTHONPYCACHEPREFIX": str(compiled)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", _IMPORT.format(module)]
    done = subprocess.run(
        command, env=env, cwd=compiled, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"importing {module} from {folder} failed:\n{done.stderr}")
    return float(done.stdout)


def imports(rounds: int, commit: str) -> None:
    """Print the import's time, and the ratio to what it was."""
    with tempfile.TemporaryDirectory() as folder:
        before, compiled = Path(folder) / "before", Path(folder) / "compiled"
        compiled.mkdir()
        with tarfile.open(fileobj=io.BytesIO(_git("archive", commit, "pytest_edgequant"))) as tar:
            tar.extractall(before, filter="data")
        modules = {NOW: ROOT, BEFORE: before, "numpy": compiled}
        times = defaultdict(list)
        for turn in range(rounds + 1):
            for module, where in modules.items():
                seconds = _seconds(module, where, compiled)
                if turn:  # the first one compiles
                    times[module].append(seconds)
    least = {module: min(found) for module, found in times.items()}
    short = _git("rev-parse", "--short", commit).decode().strip()
    print(f"import {NOW}                 {1000 * least[NOW]:7.1f} ms")
    print(f"import {BEFORE} at {short} {1000 * least[BEFORE]:7.1f} ms")
    print(f"import numpy                                         {1000 * least['numpy']:7.1f} ms")
    print(f"now / before {least[NOW] / least[BEFORE]:.2f} (goal: at most 0.60)")


def size() -> None:
    """Print what an installation takes, and the largest parts of it."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "installed"
        command = ["-m", "pip", "install", "-q", "--target", str(target), str(ROOT)]
        run([sys.executable, *command], {"PYTHONPYCACHEPREFIX": ""})  # compiled modules count too
        parts: dict[str, int] = defaultdict(int)
        for path in target.rglob("*"):
            if path.is_file():
                parts[path.relative_to(target).parts[0]] += path.stat().st_size
    for name, count in sorted(parts.items(), key=lambda part: -part[1])[:8]:
        print(f"{count / 1e6:8.1f} MB  {name}")
    print(f"{sum(parts.values()) / 1e6:8.1f} MB  together (goal: under 210)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--against", metavar="COMMIT", default="")
    parser.add_argument("--no-size", action="store_true")
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error("--rounds: at least 1")
    if not given.no_size:
        size()
    imports(given.rounds, given.against or last_commit_before_the_rooms())


if __name__ == "__main__":
    main()
