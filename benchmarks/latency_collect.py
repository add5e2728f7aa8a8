"""Gather the facts that latency is fitted to, from a folder of reference data.

    python benchmarks/latency_collect.py ../shared/reference

Writes benchmarks/latency_data/operators.csv (each operator's types and shapes, with the
instructions that it executes on three builds of TFLM), latency.csv (published inference times with
their sources) and operator_latency.csv (times by kind of operator, as published). All are facts
about models; the models themselves stay where they are.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from latency_fit.data import (
    LATENCY_FIELDS,
    OPERATOR_FIELDS,
    shape_to_row,
)

from pytest_edgequant.measure.latency.shapes import operator_shape
from pytest_edgequant.tflite.graph import Graph, Operator, Subgraph, read_graph
from pytest_edgequant.tflite.macs import operator_macs

DATA = Path(__file__).parent / "latency_data"
BUILDS = {"cm4-ref": "reference", "cm4-cmsis": "dsp", "cm55-cmsis": "mve"}
SOCS = {
    "NUCLEO-L4R5ZI": "STM32L4R5ZI",
    "Nucleo-L4R5ZI": "STM32L4R5ZI",
    "Arduino Nano 33 BLE": "nRF52840",
    "Renesas RX65N": "RX65N",
    "ESP32": "ESP32",
    "ESP32-S3": "ESP32-S3",
    "ESP32-P4": "ESP32-P4",
    "STM32H743": "STM32H743",
    "EK-RA8D1": "RA8D1",
    "PCL Scepu02": "SCEPU02",
    "MCX N947": "MCXN947",
    "FRDM-MCXN947": "MCXN947",
    "apollo510_evb HP": "Apollo510",
    "apollo510_evb LP": "Apollo510",
}
CORES = {
    "Cortex-M4": "cortex-m4",
    "Cortex-M7": "cortex-m7",
    "Cortex-M33": "cortex-m33",
    "Cortex-M55": "cortex-m55",
    "Cortex-M85": "cortex-m85",
    "RXv2": "rxv2",
    "RV32IMAC with FPU": "riscv32",
    "RISC-V HP": "riscv32-p4",
    "Xtensa LX6": "xtensa-lx6",
    "Xtensa LX7": "xtensa-lx7",
}


def kernels(text: str) -> str:
    if "ESP-NN" in text or "esp-nn" in text:
        return "esp-nn"
    if text == "ansi-c-reference":
        return "esp-nn (C only)"
    if text.startswith(("CMSIS-NN", "cmsis-nn")):
        return "cmsis-nn"
    return "reference"


def usable(row: dict[str, str]) -> bool:
    """Whether a measurement says on what it was made: its chip, and which kernels ran."""
    return row["board"] in SOCS and row["kernel_lib"] not in ("", "not stated")


def use(row: dict[str, str]) -> str:
    """Whether a measurement is fitted to, or why not."""
    if row["board"] == "FRDM-MCXN947":
        return "no: for the effect of the compiler's options alone"
    if row["variant"] == "dynamic_range":
        return "no: TFLM has no hybrid kernels, so what ran was the float model"
    if row["framework"].startswith("Edge Impulse"):
        return "no: Edge Impulse's compiled runtime, not TFLM's interpreter"
    if row["framework"].endswith("v2.3.1") and "CMSIS" in row["kernel_lib"]:
        return "no: TFLM 2.3.1 of 2020, whose CMSIS-NN kernels are slower than today's"
    if row["compiler_opt"] == "-Os":
        return "no: kernels built for size"
    if row["compiler_opt"] == "-Ofast" and "EdgeMark" in row["source"]:
        return "no: the models of -O3 again, within 2 % of it"
    if "SPIRAM" in row["notes"]:
        return "no: arena in external memory"
    return "yes"


def executed(graph: Graph) -> Iterator[tuple[Subgraph, Operator]]:
    """Operators in the order of a first inference: what CALL_ONCE calls runs after it."""
    for operator in graph.main.operators:
        yield graph.main, operator
        if operator.name == "CALL_ONCE":
            called = graph.subgraphs[operator.options["initSubgraphIndex"]]
            yield from ((called, inner) for inner in called.operators)


def operators(reference: Path) -> dict[str, list[dict[str, object]]]:
    counted: dict[str, dict[int, dict[str, tuple[str, str]]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    with (reference / "operator_instructions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["build"] in BUILDS:
                entry = counted[row["file"]][int(row["op"])]
                entry[BUILDS[row["build"]]] = (row["operator"], row["instructions"])
    found = {}
    with (reference / "device_latency.csv").open(newline="") as file:
        measured = {row["file"] for row in csv.DictReader(file) if row["file"] and usable(row)}
    for name in sorted({*counted, *measured}):
        graph = read_graph((reference / "models" / name).read_bytes(), name)
        rows = []
        for index, (subgraph, operator) in enumerate(executed(graph)):
            row = shape_to_row(operator_shape(subgraph, operator))
            row |= {"model": name, "index": index}
            row["macs"] = operator_macs(subgraph, operator)
            for build, (kind, instructions) in counted[name][index].items():
                if kind not in (operator.name, operator.custom_code):
                    sys.exit(f"{name}, operator {index}: {operator.label} was counted as {kind}")
                row[build] = instructions
            rows.append(row)
        found[name] = rows
    return found


def latencies(reference: Path, known: dict[str, object]) -> list[dict[str, object]]:
    found = []
    with (reference / "device_latency.csv").open(newline="") as file:
        for row in filter(usable, csv.DictReader(file)):
            layers = row["file"]
            if not layers and row["framework"].startswith("TFLM (project"):
                # The same architecture in other types: its layers are those of the int8 file.
                layers = f"edgemark_{row['model']}_int8.tflite"
            clock = row["clock_MHz"].split()[0]
            note = row["notes"].strip("; ")
            if "assumed" in row["clock_MHz"]:
                note = "; ".join(filter(None, [note, "clock assumed"]))
            found.append(
                {
                    "model": row["model"],
                    "layers": layers if layers in known else "",
                    "variant": row["variant"],
                    "board": row["board"],
                    "soc": SOCS[row["board"]],
                    "core": CORES[row["core"]],
                    "kernels": kernels(row["kernel_lib"]),
                    "float": "soft" if "soft-float" in row["compiler_opt"] else "fpu",
                    "clock_hz": round(float(clock) * 1e6),
                    "latency_us": round(float(row["latency_ms"]) * 1e3, 3),
                    "energy_uj": row["energy_uJ"],
                    "macs": row["macs"],
                    "build": " ".join(filter(None, [row["framework"], row["compiler_opt"]])),
                    "fitted": use(row),
                    "source": row["source"],
                    "note": note,
                }
            )
    return found


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    reference = Path(sys.argv[1])
    layers = operators(reference)
    times = latencies(reference, dict(layers))
    with (DATA / "operators.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, OPERATOR_FIELDS, lineterminator="\n")
        writer.writeheader()
        for rows in layers.values():
            writer.writerows(rows)
    with (DATA / "latency.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, LATENCY_FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(times)
    with (
        (reference / "device_operator_latency.csv").open(newline="") as given,
        (DATA / "operator_latency.csv").open("w", newline="") as file,
    ):
        reader = csv.DictReader(given)
        writer = csv.DictWriter(file, reader.fieldnames or (), lineterminator="\n")
        writer.writeheader()
        writer.writerows(reader)
    print(f"{sum(map(len, layers.values()))} operators of {len(layers)} models, {len(times)} times")


if __name__ == "__main__":
    main()
