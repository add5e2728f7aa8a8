"""Ethos-U: what Arm's own compiler, Vela, says that a model takes on the NPU.

Vela's cycles are its scheduler's: ideal in that nothing else uses the memories. How far they are
from a board has not been checked here, so there is a value, and no interval.
"""

from __future__ import annotations

import csv
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytest_edgequant.errors import CannotRunError, MeasurementUnavailable, missing_extra
from pytest_edgequant.measure.latency.records import LatencyEstimate, LayerLatency
from pytest_edgequant.records import Metric, Target, Variant

_ACCELERATOR = re.compile(r"ethos-u(55|65|85)-\d+")


@dataclass(frozen=True)
class VelaLayer:
    """One operator after compilation: `on` is NPU or CPU."""

    operator: str
    name: str
    on: str
    cycles: float
    macs: int


@dataclass(frozen=True)
class VelaReport:
    """Cycles of one inference as Vela's summary has them, and its layers."""

    version: str
    system: str
    cycles: float
    layers: tuple[VelaLayer, ...]


def is_ethos_u(target: Target) -> bool:
    """Whether the target's accelerator is one that Vela compiles for."""
    return _ACCELERATOR.fullmatch(target.accelerator or "") is not None


def compile_model(content: bytes, accelerator: str) -> VelaReport:
    """Compile a model with the default system and memory of Vela; for a child process.

    Raises `CannotRunError` with Vela's reason where it does not compile the model.
    """
    from ethosu.vela import vela
    from ethosu.vela._version import __version__ as version

    with tempfile.TemporaryDirectory(prefix="edgequant-vela-") as folder:
        model = Path(folder) / "model.tflite"
        model.write_bytes(content)
        arguments = [str(model), "--accelerator-config", accelerator, "--output-dir", folder]
        try:
            vela.main([*arguments, "--verbose-performance"])
        except SystemExit as error:
            if error.code not in (0, None):
                raise CannotRunError(f"Vela refuses the model: exit code {error.code}") from None
        except Exception as error:
            raise CannotRunError(f"Vela refuses the model: {error}") from None
        summaries = list(Path(folder).glob("model_summary_*.csv"))
        tables = list(Path(folder).glob("model_per-layer.csv"))
        if not summaries or not tables:
            raise CannotRunError("Vela wrote no summary of the model")
        with summaries[0].open(newline="") as file:
            summary = next(csv.DictReader(file))
        with tables[0].open(newline="") as file:
            layers = tuple(
                VelaLayer(
                    row["NNG Operator"] if row["Target"] == "NPU" else row["Original Operator"],
                    row["Name"],
                    row["Target"],
                    float(row["Op Cycles"]),
                    int(float(row["MAC Count"])),
                )
                for row in csv.DictReader(file)
            )
    return VelaReport(version, summary["system_config"], float(summary["cycles_total"]), layers)


def estimate_on_npu(
    variant: Variant, target: Target, isolated: Callable[..., Any]
) -> LatencyEstimate:
    """The estimate for a target with an Ethos-U, from Vela, at the target's own clock.

    `isolated` calls a function in a child process.

    Raises `MissingExtraError` without Vela, `MeasurementUnavailable` where operators stay on the
    processor, `CannotRunError` where Vela refuses the model.
    """
    if find_spec("ethosu") is None:
        raise missing_extra(f"latency on {target.accelerator}", "vela")
    if target.clock is None:
        raise MeasurementUnavailable(f"{target.name}: its clock is not known; give `clock`")
    report: VelaReport = isolated(compile_model, variant.content, target.accelerator)
    left = [layer for layer in report.layers if layer.on != "NPU"]
    if left or not report.layers:
        names = ", ".join(sorted({layer.operator for layer in left})) or "all of the model"
        raise MeasurementUnavailable(
            f"Vela leaves {names} to the processor, and {target.core} with {target.kernels} has "
            "not been measured often enough"
        )
    to_ms = 1e3 / target.clock.value
    total = sum(layer.cycles for layer in report.layers)
    layers = [layer for layer in report.layers if layer.cycles > 0]
    return LatencyEstimate(
        report.cycles * to_ms,
        "ms",
        f"estimated (Vela {report.version}, {target.accelerator}, {report.system}, at the target's "
        "clock; its error has not been checked)",
        variant=variant,
        target=target,
        layers=tuple(
            LayerLatency(
                index,
                layer.operator,
                layer.name,
                (),
                layer.macs,
                layer.cycles * to_ms,
                layer.cycles / total,
            )
            for index, layer in enumerate(layers)
        ),
        energy=Metric.unavailable("mJ", f"the power of {target.accelerator} was not measured"),
    )
