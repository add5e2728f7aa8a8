"""Legality and size of one model against all targets, in a warm process.

    python benchmarks/legality.py [MODEL.tflite]

For comparison the time that TFLM's own interpreter takes to allocate and run the model once, which
is what one would do to find out for one build.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.measure.arena import tflm_worker
from pytest_edgequant.measure.flash import split_flash
from pytest_edgequant.measure.legality import graph_refusals, warnings
from pytest_edgequant.targets import Targets
from pytest_edgequant.tflite.graph import forget_graphs, read_graph

DEFAULT = Path(__file__).parents[1] / "tests/data/residual_int8.tflite"


def timed(action: Callable[[], object], repeats: int = 15) -> float:
    """The median time in milliseconds, after one run to warm up."""
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, default=DEFAULT)
    path = parser.parse_args().model
    content, targets = path.read_bytes(), list(Targets())

    def judge() -> None:
        forget_graphs()
        graph = read_graph(content, path.name)
        for target in targets:
            graph_refusals(graph, target)
            warnings(graph, target)
            split_flash(len(content), graph, target)

    operators = sum(1 for _ in read_graph(content, path.name).operators())
    print(f"{path.name}: {len(content):,} B, {operators} operators, {len(targets)} targets")
    ours = timed(judge)
    print(f"legality and size, the file read anew: {ours:.1f} ms")
    process = IsolatedProcess("TFLM")
    theirs = timed(lambda: process.call(tflm_worker.measure, content), 5)
    process.close()
    print(f"TFLM's interpreter, one build: {theirs:.1f} ms ({ours / theirs:.2f}x)")


if __name__ == "__main__":
    main()
