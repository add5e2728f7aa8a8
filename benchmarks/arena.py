"""How long the arena takes to compute, and how right it is.

    python benchmarks/arena.py [folder of .tflite files, or ../shared/reference]
                               [--table] [--mcufit COMMAND] [--minimum]

Prints the time of reading a model and computing its arena in a warm process (goals: under 20 ms for
a 300 KB model with 30 operators, under 150 ms for one with 200, growth close to linear). Where the
folder has arena_cortex_m.csv, ours is held against what TFLM really needed on Cortex-M, with usual
guesses for comparison: the 64-bit host's number, 3 times the file's size, and, with --mcufit, what
`mcufit check --json` says for a board with a Cortex-M4. --table prints every row. --minimum asks
the `tflite-micro` interpreter for the smallest arena that it accepts for each model.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema
from tabulate import tabulate

from pytest_edgequant.errors import EdgeQuantError
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.measure.arena import compute_arena
from pytest_edgequant.measure.arena.verification import smallest_arena
from pytest_edgequant.targets.profiles import make_profile
from pytest_edgequant.tflite.edit import pack, unpack
from pytest_edgequant.tflite.graph import forget_graphs, read_graph

HERE = Path(__file__).parent
BUILDS = {
    "cm4-ref": ("cortex-m4", "reference"),
    "cm4-cmsis": ("cortex-m4", "cmsis-nn"),
    "cm7-cmsis": ("cortex-m7", "cmsis-nn"),
    "cm55-cmsis": ("cortex-m55", "cmsis-nn"),
}
MCUFIT_BOARD = "nano33ble"


def milliseconds(content: bytes) -> tuple[int, float]:
    """Operators, and the median of five; nothing that was read is kept between."""
    profile = make_profile("arm32", "cortex-m4", "cmsis-nn")
    seconds = []
    for _ in range(5):
        forget_graphs()
        start = time.perf_counter()
        graph = read_graph(content)
        compute_arena(graph, profile)
        seconds.append(time.perf_counter() - start)
    return sum(len(s.operators) for s in graph.subgraphs), 1000 * statistics.median(seconds)


def repeated(content: bytes, times: int) -> bytes:
    """A model of the same operators several times over, each copy fed by the same input.

    The copies' outputs are all outputs: the number of operators, tensors and living buffers grows.
    """
    model = unpack(content)
    graph = model.subgraphs[0]
    tensors, operators, outputs = list(graph.tensors), list(graph.operators), list(graph.outputs)
    first = {int(i) for i in graph.inputs}
    for _ in range(times - 1):
        new = {}
        for index, tensor in enumerate(graph.tensors):
            constant = model.buffers[tensor.buffer].data is not None
            if index in first or constant or index >= len(graph.tensors):
                new[index] = index
            else:
                new[index] = len(tensors)
                tensors.append(tensor)
        for operator in graph.operators:
            copy = schema.OperatorT()
            copy.__dict__.update(operator.__dict__)
            copy.inputs = [new.get(int(i), -1) for i in operator.inputs]
            copy.outputs = [new[int(i)] for i in operator.outputs]
            operators.append(copy)
        outputs += [new[int(i)] for i in graph.outputs]
    graph.tensors, graph.operators, graph.outputs = tensors, operators, outputs
    return pack(model)


def chained(count: int) -> bytes:
    """A model of `count` elementwise operators, one after the other."""
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RELU
    model.operatorCodes = [code]
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [], []
    for index in range(count + 1):
        tensor = schema.TensorT()
        tensor.name, tensor.shape = f"t{index}".encode(), [1, 16, 16, 1 + index % 8]
        tensor.type, tensor.buffer = schema.TensorType.INT8, 0
        graph.tensors.append(tensor)
    for index in range(count):
        operator = schema.OperatorT()
        operator.inputs, operator.outputs = [index], [index + 1]
        graph.operators.append(operator)
    graph.inputs, graph.outputs = [0], [count]
    model.subgraphs = [graph]
    return pack(model)


def timings(models: list[Path]) -> Iterator[list[object]]:
    for path in models:
        content = path.read_bytes()
        try:
            operators, taken = milliseconds(content)
        except EdgeQuantError:
            continue
        yield [path.name, f"{len(content):,} B", operators, f"{taken:.1f} ms"]


def growth(models: list[Path]) -> Iterator[list[object]]:
    """Time by operators: a chain, and copies of a real model side by side."""
    for count in (50, 100, 200, 400):
        operators, taken = milliseconds(chained(count))
        yield ["a chain", operators, f"{taken:.1f} ms", f"{1000 * taken / operators:.0f} us"]
    real = next((p for p in models if p.name == "tflm_person_detect_int8.tflite"), None)
    for times in (2, 3, 6, 13) if real is not None else ():
        assert real is not None
        operators, taken = milliseconds(repeated(real.read_bytes(), times))
        name = f"{times} x {real.stem}"
        yield [name, operators, f"{taken:.1f} ms", f"{1000 * taken / operators:.0f} us"]


def ask_mcufit(command: str, path: Path) -> int | None:
    """The arena that mcufit gives in bytes; None where it gives none."""
    done = subprocess.run(
        [command, "check", str(path), "--board", MCUFIT_BOARD, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return int(json.loads(done.stdout)["estimate"]["total_arena_bytes"])
    except (ValueError, KeyError, TypeError):
        return None


def accuracy(folder: Path, table: bool, mcufit: str | None) -> None:
    errors: dict[str, list[float]] = {"ours": [], "64-bit host": [], "3 x file": [], "mcufit": []}
    rows: list[list[object]] = []
    wrong = skipped = low = 0
    asked: dict[Path, int | None] = {}
    with open(folder / "arena_cortex_m.csv", newline="") as stream:
        for row in csv.DictReader(stream):
            path = folder / "models" / row["file"]
            if row["status"] != "ok" or not row["min_arena"] or not path.exists():
                continue
            core, kernels = BUILDS[row["build"]]
            truth = int(row["min_arena"])
            try:
                profile = make_profile("arm32", core, kernels)
                found = compute_arena(read_graph(path.read_bytes()), profile)
            except EdgeQuantError:
                skipped += 1
                continue
            ours = found.minimum_bytes
            wrong += ours != truth
            guesses: dict[str, int | None] = {
                "ours": ours,
                "3 x file": 3 * path.stat().st_size,
                "64-bit host": int(row["x64_total"]) if row["x64_total"] else None,
            }
            if mcufit is not None and row["build"] == "cm4-cmsis":
                if path not in asked:
                    asked[path] = ask_mcufit(mcufit, path)
                guesses["mcufit"] = asked[path]
                low += asked[path] is not None and int(asked[path] or 0) < truth
            for name, guess in guesses.items():
                if guess is not None:
                    errors[name].append(abs(guess - truth) / truth)
            shown = [guesses.get(name) for name in ("64-bit host", "3 x file", "mcufit")]
            rows.append([path.name, row["build"], ours, truth, ours - truth, *shown])
    if table:
        headers = ["model", "build", "ours", "truth", "difference", "host", "3 x file", "mcufit"]
        print(tabulate(rows, headers, intfmt=","))
    summary = [
        [name, len(values), f"{statistics.median(values):.1%}", f"{max(values):.1%}"]
        for name, values in errors.items()
        if values
    ]
    print(tabulate(summary, ["method", "rows", "median error", "largest error"]))
    print(f"{wrong} of {len(rows)} rows differ from ours; {skipped} could not be computed")
    if mcufit is not None:
        print(f"mcufit is below the truth on {low} of {len(errors['mcufit'])} rows (cm4-cmsis)")


def minimum(models: list[Path]) -> None:
    """The smallest arena that the interpreter accepts, against ours for the same build."""
    profile = make_profile("x86_64", "-", "reference")
    process = IsolatedProcess("interpreter", 60)
    compared = different = 0
    for path in models:
        content = path.read_bytes()
        try:
            ours = compute_arena(read_graph(content), profile).minimum_bytes
            theirs = smallest_arena(process, content, ours)
        except EdgeQuantError:
            continue
        compared += 1
        if ours != theirs:
            different += 1
            print(f"{path.name}: ours {ours:,}, the interpreter's {theirs:,}")
    process.close()
    print(f"smallest arena on x86-64: {different} of {compared} models differ")


def main() -> None:
    parser = argparse.ArgumentParser()
    default = HERE.parents[1] / "shared" / "reference"
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--mcufit", metavar="COMMAND")
    parser.add_argument("--minimum", action="store_true")
    chosen = parser.parse_args()
    models = sorted((chosen.folder / "models").glob("*.tflite"))
    models = models or sorted(chosen.folder.glob("*.tflite"))
    largest = sorted(timings(models), key=lambda row: -int(str(row[2])))[:12]
    print(tabulate(largest, ["model", "size", "operators", "read and compute"]))
    print()
    print(tabulate(growth(models), ["model", "operators", "read and compute", "each operator"]))
    if (chosen.folder / "arena_cortex_m.csv").exists():
        print()
        accuracy(chosen.folder, chosen.table, chosen.mcufit)
    if chosen.minimum:
        print()
        minimum(models)


if __name__ == "__main__":
    main()
