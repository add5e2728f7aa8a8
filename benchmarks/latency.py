"""Refit the latency estimate and print its errors on what was left out of the fit.

    python benchmarks/latency.py [folder of .tflite files] [--save]

Prints the errors by core, kernel library, board and type (each model estimated without itself in
the fit), by model, from board to board, and the time of an estimate in a warm process (goal: under
20 ms for 50 operators). --save writes the coefficients into the package.
"""

from __future__ import annotations

import csv
import json
import math
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from latency_fit import fit, fit_instructions, fit_optimization
from latency_fit.data import (
    CountedOperator,
    PublishedTime,
    read_operators,
    read_times,
)
from tabulate import tabulate

from pytest_edgequant import load_target
from pytest_edgequant.errors import EdgeQuantError
from pytest_edgequant.measure.latency import costs
from pytest_edgequant.measure.latency.costs import Table, instructions, numeric_type
from pytest_edgequant.measure.latency.estimate import estimate
from pytest_edgequant.measure.latency.features import BUILDS
from pytest_edgequant.measure.latency.options import effect_on, operator_group
from pytest_edgequant.tflite.graph import forget_graphs, read_graph

DATA = Path(__file__).parent / "latency_data"
COEFFICIENTS = Path(costs.__file__).parent / "coefficients.json"


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def instruction_rows(operators: list[CountedOperator]) -> Iterator[list[str]]:
    """Errors of operators that take the most instructions, by build and path."""
    for build in BUILDS:
        errors = fit_instructions.instruction_errors(operators, build)
        for path, found in errors.items():
            if len(found) >= 10:
                absolute = sorted(map(abs, found))
                ninth = absolute[math.ceil(0.9 * len(absolute)) - 1]
                median = statistics.median(absolute)
                yield [build, path, str(len(found)), percent(median), percent(ninth)]


def device_rows(devices: list[fit.DeviceFit]) -> Iterator[list[str]]:
    for device in devices:
        groups: dict[tuple[str, str], list[float]] = defaultdict(list)
        for sample, error in zip(device.samples, device.errors, strict=True):
            groups[sample.time.board, sample.type].append(abs(math.expm1(-error)))
            groups["all", ""].append(abs(math.expm1(-error)))
        for (board, kind), errors in sorted(groups.items()):
            covered = percent(device.covered / device.judged) if board == "all" else ""
            factor = f"{math.exp(device.spread[kind]):.2f}" if kind in device.spread else ""
            yield [
                device.core,
                device.kernels + (", soft float" if device.soft_float else ""),
                board,
                kind,
                str(len(errors)),
                percent(statistics.median(errors)),
                percent(statistics.fmean(e <= 0.3 for e in errors)),
                percent(max(errors)),
                factor,
                covered,
            ]


def board_rows(devices: list[fit.DeviceFit]) -> Iterator[list[str]]:
    """Each board estimated from the others of its core."""
    for device in devices:
        errors = fit.board_errors(device)
        for board, found in errors.items():
            median = percent(statistics.median(map(abs, found)))
            yield [device.core, device.kernels, board, str(len(found)), median]


def model_rows(devices: list[fit.DeviceFit]) -> Iterator[list[str]]:
    """Each measurement on Cortex-M4 with CMSIS-NN, estimated without its model in the fit."""
    for device in devices:
        if (device.core, device.kernels, device.soft_float) != ("cortex-m4", "cmsis-nn", False):
            continue
        for sample, error in zip(device.samples, device.errors, strict=True):
            measured = sample.time.latency_us / 1e3
            yield [
                sample.architecture,
                sample.time.variant,
                sample.time.board,
                f"{measured:.4g}",
                f"{measured / math.exp(error):.4g}",
                f"{100 * math.expm1(-error):+.1f} %",
            ]


def excluded_rows(
    devices: list[fit.DeviceFit],
    times: list[PublishedTime],
    layers: dict[str, list[CountedOperator]],
    table: Table,
) -> Iterator[list[str]]:
    """What is not fitted to, with the reason: measured over estimated by the fit of the rest."""
    ratios: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)
    for published in times:
        sample = None if published.fitted == "yes" else fit.make_sample(published, layers, table)
        for device in devices:
            same = (published.core, published.kernels, published.soft_float)
            if sample is None or same != (device.core, device.kernels, device.soft_float):
                continue
            if not published.layers or published.variant == "dynamic_range":
                continue
            ratio = sample.cycles / fit.estimated_cycles(device, sample)
            ratios[published.core, published.board, published.fitted[4:], sample.type].append(ratio)
    for key, found in sorted(ratios.items()):
        spread = (min(found), statistics.median(found), max(found))
        yield [*key, str(len(found)), *(f"{ratio:.2f}" for ratio in spread)]


def kind_rows(
    devices: list[fit.DeviceFit],
    effects: list[dict[str, object]],
    layers: dict[str, list[CountedOperator]],
    table: Table,
) -> Iterator[list[str]]:
    """Times by kind of operator on the Nano 33 BLE, as published and as estimated."""
    effect = effect_on("cortex-m4", effects)
    assert effect is not None
    (device,) = [d for d in devices if (d.core, d.soft_float) == ("cortex-m4", False)]
    estimated: dict[tuple[str, str], float] = defaultdict(float)
    with (DATA / "operator_latency.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["board"] == "nano33ble"]
    for model in {row["file"] for row in rows}:
        for operator in layers[model]:
            cost = instructions(operator.shape, "dsp", table)
            assert cost is not None
            kind = numeric_type(operator.shape)
            cycles = cost.instructions * device.rates[kind]
            cycles += device.rates.get(f"operator/{kind}", device.rates.get("operator", 0.0))
            # Arduino's core builds for size.
            group = operator_group(operator.shape.operator, kind)
            cycles *= effect["factors"].get(group, 1.0) * math.exp(device.chips["nRF52840"])
            estimated[model, operator.shape.operator] += cycles
    for row in rows:
        measured = float(row["us_per_inference"])
        found = estimated[row["file"], row["operator"]] / float(row["clock_MHz"])
        error = f"{100 * (found / measured - 1):+.1f} %"
        yield [
            row["file"],
            row["operator"],
            row["calls"],
            f"{measured:,.0f}",
            f"{found:,.0f}",
            error,
        ]


def timing_rows(folder: Path) -> Iterator[list[str]]:
    """Reading a model, and estimating what was read: the median of nine each."""
    target = load_target("nucleo-l4r5zi")
    for path in sorted(folder.glob("*.tflite")):
        content = path.read_bytes()
        reading, estimating = [], []
        try:
            for _ in range(9):
                forget_graphs()
                start = time.perf_counter()
                graph = read_graph(content)
                read = time.perf_counter()
                estimate(graph, target, None)
                reading.append(read - start)
                estimating.append(time.perf_counter() - read)
        except EdgeQuantError:
            continue
        times = [f"{1e3 * statistics.median(seconds):.2f} ms" for seconds in (reading, estimating)]
        yield [path.name, f"{len(content):,} B", str(len(graph.main.operators)), *times]


def option_rows(effects: list[dict[str, object]]) -> Iterator[list[str]]:
    """How many times as long kernels built for size take, by core and group of operators."""
    for effect in effects:
        factors, spread, models = effect["factors"], effect["spread"], effect["models"]
        assert isinstance(factors, dict)
        assert isinstance(spread, dict)
        assert isinstance(models, dict)
        for group, factor in factors.items():
            kind = group.split("/")[0]
            error = f"{math.exp(spread[kind]):.2f}"
            core = str(effect["core"]) or "all"
            yield [core, group, f"{factor:.2f}", str(models[kind]), error]


def save(
    table: Table,
    devices: list[fit.DeviceFit],
    effects: list[dict[str, object]],
    times: list[PublishedTime],
    operators: list[CountedOperator],
) -> None:
    document = {
        "schema": "edgequant-latency/1",
        "note": "written by benchmarks/latency.py --save; never edited by hand",
        "measured_models": fit.measured_models(times),
        "power": fit.fit_power(times),
        "optimization": effects,
        "devices": [device.document() for device in devices],
        "doubts": fit_instructions.instruction_doubts(operators),
        "instructions": table,
    }
    COEFFICIENTS.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    print(f"wrote {COEFFICIENTS}")


def main() -> None:
    layers = read_operators(DATA / "operators.csv")
    times = read_times(DATA / "latency.csv")
    operators = [operator for model in layers.values() for operator in model]
    table = fit_instructions.fit_instructions(operators)
    pairs = fit_optimization.pairs(times, layers, table)
    effects = fit_optimization.fit_optimization(pairs, fit.spread_of)
    slower = fit_optimization.slower(effects, layers, table)
    devices = fit.fit_devices(times, layers, table, slower)
    if "--save" in sys.argv[1:]:
        save(table, devices, effects, times, operators)
    headers = ["build", "path", "operators", "median error", "nine of ten within"]
    print("\nInstructions, each model left out\n")
    print(tabulate(instruction_rows(operators), headers))
    headers = ["core", "operators", "times as long", "models", "interval, factor"]
    print("\nKernels built with -Os, against the same for speed\n")
    print(tabulate(option_rows(effects), headers))
    headers = ["core", "kernels", "board", "type", "times", "median error", "within 30 %", "worst"]
    print("\nLatency, each model left out\n")
    print(tabulate(device_rows(devices), [*headers, "interval, factor", "in interval"]))
    print("\nLatency, each board left out\n")
    print(tabulate(board_rows(devices), ["core", "kernels", "board", "times", "median error"]))
    print("\nCortex-M4 with CMSIS-NN, each model left out\n")
    headers = ["model", "type", "board", "measured, ms", "estimated, ms", "error"]
    print(tabulate(model_rows(devices), headers, disable_numparse=True))
    print("\nNot fitted to: measured over estimated\n")
    headers = ["core", "board", "why", "type", "times", "least", "median", "most"]
    rows = excluded_rows(devices, times, layers, table)
    print(tabulate(rows, headers, disable_numparse=True))
    print("\nBy kind of operator on the Nano 33 BLE\n")
    headers = ["model", "operator", "calls", "measured, us", "estimated, us", "error"]
    print(tabulate(kind_rows(devices, effects, layers, table), headers, disable_numparse=True))
    folders = [Path(argument) for argument in sys.argv[1:] if argument != "--save"]
    print("\nThe time of an estimate\n")
    for folder in folders or [Path(__file__).parents[1] / "tests" / "data"]:
        rows = sorted(timing_rows(folder), key=lambda row: -int(row[2]))[:15]
        print(
            tabulate(
                rows, ["model", "size", "operators", "read", "estimate"], disable_numparse=True
            )
        )


if __name__ == "__main__":
    main()
