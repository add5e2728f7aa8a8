"""The facts that latency is fitted to, as CSV: operators with their instructions, inference times.

`benchmarks/latency_collect.py` writes them, `fit` reads them.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_edgequant.measure.latency.features import BUILDS
from pytest_edgequant.measure.latency.options import option_in
from pytest_edgequant.measure.latency.shapes import OperatorShape

_SHAPE_FIELDS = tuple(field.name for field in dataclasses.fields(OperatorShape))
_SHAPES = frozenset({"source", "weights", "output", "stride", "dilation", "padding"})
_FLAGS = frozenset({"per_axis", "constant"})
OPERATOR_FIELDS = ("model", "index", *_SHAPE_FIELDS, "macs", *BUILDS)
LATENCY_FIELDS = (
    "model",
    "layers",
    "variant",
    "board",
    "soc",
    "core",
    "kernels",
    "float",
    "clock_hz",
    "latency_us",
    "energy_uj",
    "macs",
    "build",
    "fitted",
    "source",
    "note",
)


@dataclass(frozen=True)
class CountedOperator:
    """An operator of a model, its MACs, and the instructions it executes on each build."""

    model: str
    shape: OperatorShape
    macs: int
    instructions: Mapping[str, int]


@dataclass(frozen=True)
class PublishedTime:
    """One published inference time; `layers` names the model in the table of operators."""

    model: str
    layers: str
    variant: str
    board: str
    soc: str
    core: str
    kernels: str
    soft_float: bool
    clock_hz: int
    latency_us: float
    energy_uj: float | None
    macs: int | None
    build: str
    fitted: str
    source: str

    @property
    def cycles(self) -> float:
        return self.latency_us * self.clock_hz / 1e6

    @property
    def optimization(self) -> str:
        """The compiler's option that its kernels were built with; empty where that is not said."""
        return option_in(self.build)


def shape_to_row(shape: OperatorShape) -> dict[str, Any]:
    """The fields of a shape as CSV cells: `1x28x28x1`, `yes`, or as they are."""
    row: dict[str, Any] = {}
    for name in _SHAPE_FIELDS:
        value = getattr(shape, name)
        if name in _SHAPES:
            value = "x".join(map(str, value))
        elif name in _FLAGS:
            value = "yes" if value else ""
        row[name] = value
    return row


def _shape_from_row(row: Mapping[str, str]) -> OperatorShape:
    values: dict[str, Any] = {}
    for name in _SHAPE_FIELDS:
        cell = row[name]
        if name in _SHAPES:
            values[name] = tuple(int(part) for part in cell.split("x")) if cell else ()
        elif name in _FLAGS:
            values[name] = cell == "yes"
        else:
            values[name] = int(cell) if name == "inputs" else cell
    return OperatorShape(**values)


def read_operators(path: Path) -> dict[str, list[CountedOperator]]:
    """The operators of each model, in order."""
    found: dict[str, list[CountedOperator]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            counts = {build: int(row[build]) for build in BUILDS if row[build]}
            operator = CountedOperator(row["model"], _shape_from_row(row), int(row["macs"]), counts)
            found.setdefault(row["model"], []).append(operator)
    return found


def read_times(path: Path) -> list[PublishedTime]:
    """The published times, in the file's order."""
    with path.open(newline="") as file:
        return [
            PublishedTime(
                model=row["model"],
                layers=row["layers"],
                variant=row["variant"],
                board=row["board"],
                soc=row["soc"],
                core=row["core"],
                kernels=row["kernels"],
                soft_float=row["float"] == "soft",
                clock_hz=int(row["clock_hz"]),
                latency_us=float(row["latency_us"]),
                energy_uj=float(row["energy_uj"]) if row["energy_uj"] else None,
                macs=int(row["macs"]) if row["macs"] else None,
                build=row["build"],
                fitted=row["fitted"],
                source=row["source"],
            )
            for row in csv.DictReader(file)
        ]


def as_variant(operators: list[CountedOperator], variant: str) -> list[CountedOperator]:
    """The same layers in another form: int16 activations, or float inputs and outputs."""
    if variant.startswith("int16x8"):
        wider = {"INT8": "INT16"}
        operators = [
            dataclasses.replace(
                operator,
                shape=dataclasses.replace(
                    operator.shape,
                    type=wider.get(operator.shape.type, operator.shape.type),
                    output_type=wider.get(operator.shape.output_type, operator.shape.output_type),
                ),
                instructions={},
            )
            for operator in operators
        ]
    if variant.endswith("float_io"):
        first, last = operators[0], operators[-1]
        inner, outer = first.shape, last.shape
        enter = OperatorShape(
            "QUANTIZE", "FLOAT32", "NONE", inner.source, (), inner.source, inner.type
        )
        leave = OperatorShape(
            "DEQUANTIZE", outer.output_type, "NONE", outer.output, (), outer.output, "FLOAT32"
        )
        operators = [
            CountedOperator(first.model, enter, 0, {}),
            *operators,
            CountedOperator(last.model, leave, 0, {}),
        ]
    return operators
