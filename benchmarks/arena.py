"""How long the arena takes to compute, and how right it is.

    python benchmarks/arena.py [folder of .tflite files, or ../shared/reference]

Prints the time of `measure_arena` in a warm process (goals: under 20 ms for a 300 KB model with 30
operators, under 150 ms for one with 200), and, where the folder has arena_cortex_m.csv, a table of
ours against what TFLM really needed on Cortex-M, with two usual guesses for comparison: the 64-bit
host's number and 3 times the file's size.
"""

from __future__ import annotations

import csv
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tabulate import tabulate

from pytest_edgequant.errors import EdgeQuantError
from pytest_edgequant.measure.arena import compute_arena
from pytest_edgequant.measure.arena.profiles import make_profile
from pytest_edgequant.tflite.graph import read_graph

HERE = Path(__file__).parent
BUILDS = {
    "cm4-ref": ("cortex-m4", "reference"),
    "cm4-cmsis": ("cortex-m4", "cmsis-nn"),
    "cm7-cmsis": ("cortex-m7", "cmsis-nn"),
    "cm55-cmsis": ("cortex-m55", "cmsis-nn"),
}


def timings(models: list[Path]) -> Iterator[list[str]]:
    """Reading and computing, the median of five; the file's records are not kept between."""
    profile = make_profile("arm32", "cortex-m4", "cmsis-nn")
    for path in models:
        content = path.read_bytes()
        seconds = []
        try:
            for _ in range(5):
                read_graph.cache_clear()
                start = time.perf_counter()
                graph = read_graph(content)
                compute_arena(graph, profile)
                seconds.append(time.perf_counter() - start)
        except EdgeQuantError:
            continue
        operators = sum(len(s.operators) for s in graph.subgraphs)
        milliseconds = f"{1000 * statistics.median(seconds):.1f} ms"
        yield [path.name, f"{len(content):,} B", str(operators), milliseconds]


def accuracy(folder: Path) -> None:
    errors: dict[str, list[float]] = {"ours": [], "64-bit host": [], "3 x file": []}
    wrong = skipped = 0
    with open(folder / "arena_cortex_m.csv", newline="") as stream:
        for row in csv.DictReader(stream):
            path = folder / "models" / row["file"]
            if row["status"] != "ok" or not row["min_arena"] or not path.exists():
                continue
            core, kernels = BUILDS[row["build"]]
            truth = int(row["min_arena"])
            try:
                profile = make_profile("arm32", core, kernels)
                ours = compute_arena(read_graph(path.read_bytes()), profile).minimum_bytes
            except EdgeQuantError:
                skipped += 1
                continue
            wrong += ours != truth
            errors["ours"].append(abs(ours - truth) / truth)
            errors["3 x file"].append(abs(3 * path.stat().st_size - truth) / truth)
            if row["x64_total"]:
                errors["64-bit host"].append(abs(int(row["x64_total"]) - truth) / truth)
    rows = [
        [name, len(values), f"{statistics.median(values):.1%}", f"{max(values):.1%}"]
        for name, values in errors.items()
    ]
    print(tabulate(rows, ["method", "rows", "median error", "largest error"]))
    print(f"{wrong} rows differ from ours; {skipped} have operators whose memory is not known")


def main(folder: Path) -> None:
    models = sorted((folder / "models").glob("*.tflite")) or sorted(folder.glob("*.tflite"))
    largest = sorted(timings(models), key=lambda row: -int(row[2]))[:12]
    print(tabulate(largest, ["model", "size", "operators", "read and compute"]))
    if (folder / "arena_cortex_m.csv").exists():
        print()
        accuracy(folder)


if __name__ == "__main__":
    default = HERE.parents[1] / "shared" / "reference"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
