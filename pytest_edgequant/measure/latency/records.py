"""What latency measurements hand out: frozen records."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from pytest_edgequant.records import Metric, Target, Variant
from pytest_edgequant.records.telling import Telling, Told
from pytest_edgequant.units import format_bytes
from pytest_edgequant.wording import short

_MOST_LAYERS = 10
"""Layers in a notebook's table; in plain text there are fewer."""


@dataclass(frozen=True)
class LayerLatency:
    """One operator's part of an estimate.

    `name` and `shape` are its first output's. `share` is of the operators' time together, 0 to 1.
    """

    index: int
    operator: str
    name: str
    shape: tuple[int, ...]
    macs: int
    latency_ms: float
    share: float
    note: str = ""


@dataclass(frozen=True)
class LatencyEstimate(Metric):
    """Milliseconds of one inference on a target, estimated; `low` and `high` bound the error.

    `value` is None where it is unavailable. `layers` are the operators in order, whose times add up
    to `value` but for `overhead_ms`, the fixed cost of an inference. `energy` is in millijoules.
    """

    variant: Variant | None = None
    target: Target | None = None
    layers: tuple[LayerLatency, ...] = ()
    overhead_ms: float = 0.0
    energy: Metric | None = None

    @property
    def metric(self) -> Metric:
        """The figure alone, as reports carry it."""
        return Metric(self.value, self.unit, self.provenance, self.low, self.high, self.reason)

    def _told(self) -> Told:
        name = self.variant.label if self.variant is not None else "latency"
        subject = f"{name} on {self.target.name}" if self.target is not None else name
        if self.value is None:
            return Told(f"{subject}: latency is unavailable: {self.reason}")
        head, *rows = self._rows(_MOST_LAYERS)
        figure = super()._told()
        known = self.energy is not None and self.energy.value is not None
        energy = str(self.energy).partition("\n")[0] if known else ""
        return Told(
            f"{subject}: {figure.head}",
            (*figure.rows, ("energy", energy), ("more", "explain()" if self.layers else "")),
            (head, *rows) if rows else (),
            shown=3,
        )

    def explain(self, most: int = 20) -> str:
        """The table of the dearest layers, `most` of them, under the figure and its provenance."""
        from tabulate import tabulate

        if self.value is None:
            return f"latency is unavailable: {self.reason}"
        bounds = "" if self.low is None else f" ({self.low:.4g} to {self.high:.4g} ms)"
        headings, *rows = self._rows(most)
        columns = ("left", "left", "left", "right", "right", "right", "left")
        table = tabulate(rows, headings, disable_numparse=True, colalign=columns)
        return f"{self.value:.4g} ms{bounds}, {self.provenance}\n{table}"

    def _rows(self, most: int) -> list[tuple[str, ...]]:
        """The headings, the `most` dearest layers, and what the others are together."""
        ordered = sorted(self.layers, key=lambda layer: (-layer.latency_ms, layer.index))
        rows = [
            (
                layer.operator,
                short(layer.name),
                "x".join(map(str, layer.shape)),
                f"{layer.macs:,}",
                f"{layer.latency_ms:.4g}",
                f"{layer.share:.1%}",
                layer.note,
            )
            for layer in ordered[:most]
        ]
        rest = ordered[most:]
        if rest:
            macs = f"{sum(layer.macs for layer in rest):,}"
            time = f"{sum(layer.latency_ms for layer in rest):.4g}"
            share = f"{sum(layer.share for layer in rest):.1%}"
            rows.append((f"{len(rest)} more", "", "", macs, time, share, ""))
        return [("operator", "layer", "output", "MACs", "ms", "share", ""), *rows]


def _figure_of(variant: Variant, metric: Metric, target: Target | None = None) -> Told:
    """A measured latency: what of, the figure, and how it was had."""
    on = f" on {target.name}" if target is not None else ""
    head, *rest = str(metric).splitlines()
    return Told(f"{variant.label}{on}: {head}", (("how", metric.provenance),) if rest else ())


@dataclass(frozen=True)
class HostMeasurement(Telling):
    """Milliseconds of one inference, as measured here: batch 1, `threads` threads, invoke alone.

    `on_target` tells whether this machine is the target. `metric` is the median with a 95 %
    confidence interval; its value is None where nothing was measured, and `reason` says why.
    """

    variant: Variant
    target: Target | None
    metric: Metric
    host: str
    threads: int
    rounds: int
    on_target: bool

    def _told(self) -> Told:
        figure = _figure_of(self.variant, self.metric)
        where = self.host if self.on_target else f"{self.host}, which is not the target"
        return dataclasses.replace(figure, rows=(*figure.rows, ("measured on", where)))


@dataclass(frozen=True)
class DeviceMeasurement(Telling):
    """What a board printed of a variant: `metric` is its latency in milliseconds.

    `arena_used_bytes` as the firmware reported it, None where it did not. `where` names the file
    and line, or the connection.
    """

    variant: Variant
    target: Target | None
    metric: Metric
    arena_used_bytes: int | None
    where: str

    def _told(self) -> Told:
        figure = _figure_of(self.variant, self.metric, self.target)
        used = "" if self.arena_used_bytes is None else format_bytes(self.arena_used_bytes)
        return dataclasses.replace(
            figure, rows=(*figure.rows, ("arena used", used), ("read from", self.where))
        )
