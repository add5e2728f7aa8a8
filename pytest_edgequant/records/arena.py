"""The tensor arena: its plan, its peak, and where the bytes go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pytest_edgequant.errors import EdgeQuantError, MeasurementUnavailable
from pytest_edgequant.records.results import Metric
from pytest_edgequant.records.telling import Telling, Told
from pytest_edgequant.wording import counted, short


@dataclass(frozen=True)
class PlannedBuffer:
    """A buffer of the arena's non-persistent part: a tensor, or an operator's scratch.

    `operator` produces the tensor or owns the scratch (empty for the model's inputs). `tensor` is
    the index in the main subgraph, None for scratch. `first` and `last` are the scopes in which it
    is alive: 0 before the first operator, then one an operator.
    """

    name: str
    kind: str
    operator: str
    tensor: int | None
    offset: int
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Peak:
    """The operator at which most of the non-persistent part is alive, and what is alive then."""

    operator: str
    bytes: int
    alive: tuple[PlannedBuffer, ...]


@dataclass(frozen=True)
class Suggestion:
    """A way to a smaller arena, and how many bytes of `minimum_bytes` it saves, as computed.

    `then` says what needs most of the arena that is left.
    """

    text: str
    bytes: int
    then: str = ""

    def __str__(self) -> str:
        return self.told()

    def told(self, verdict: str = "") -> str:
        """In words, with a verdict on what it saves beside the figure."""
        after = f", {self.then}" if self.then else ""
        return f"{self.text}: {self.bytes:,} B less{verdict}{after}"


class ArenaTools(Protocol):
    """What an arena hands its questions to: this knows the model's file and the build of TFLM."""

    def suggestions(self) -> tuple[Suggestion, ...]:
        """What would make the arena smaller, the largest effect first."""

    def unrolled(self) -> str:
        """What unrolled recurrent layers make of the model; empty without any."""

    def svg(self, arena: Arena) -> str:
        """A picture of the arena's plan."""


@dataclass(frozen=True)
class Arena(Telling):
    """The tensor arena that TFLM needs, in bytes.

    `nonpersistent_bytes` is the head (planned activations and scratch), `persistent_bytes` the
    tail (records of tensors and nodes, kernels' data); `total_bytes` their sum, as TFLM's
    `arena_used_bytes()` reports it. `minimum_bytes` is the smallest arena with which allocation
    succeeds: planning itself needs room, so it can be more. `lower_bound_bytes` is the most that is
    alive at once: no plan of the non-persistent part can be smaller. `sections` are the persistent
    bytes by purpose, `operators` by operator.

    Where the memory of operators is not known, `unknown` names them; all figures are upper bounds
    then, and `low_bytes` is the smallest arena without those operators' own data, which the need
    can't be below. Elsewhere `low_bytes` equals `minimum_bytes`.
    """

    total_bytes: int
    nonpersistent_bytes: int
    persistent_bytes: int
    minimum_bytes: int
    provenance: str
    lower_bound_bytes: int | None = None
    plan: tuple[PlannedBuffer, ...] = ()
    peak: Peak | None = None
    sections: Mapping[str, int] = field(default_factory=dict)
    operators: Mapping[str, int] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    low_bytes: int = -1
    tools: ArenaTools | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.low_bytes < 0:
            object.__setattr__(self, "low_bytes", self.minimum_bytes)

    @property
    def exact(self) -> bool:
        """Whether this is what the device needs, to the byte."""
        return not self.unknown and self.provenance.startswith("exact")

    _UNTOLD = frozenset({"tools"})

    def _told(self) -> Told:
        most = ", at most" if self.unknown else ""
        return Told(
            f"arena: give the interpreter {self.minimum_bytes:,} B (minimum_bytes{most})",
            (
                ("how", self.provenance),
                ("at least", f"{self.low_bytes:,} B, {self._unknown()}" if self.unknown else ""),
                ("used then", f"{self.total_bytes:,} B (total_bytes): what it reports afterwards"),
                ("planned", f"{self.nonpersistent_bytes:,} B of activations and scratch"),
                ("persistent", f"{self.persistent_bytes:,} B of records and kernels' data"),
                ("most alive", self._peak()),
                ("more", "explain(), suggestions(), svg()" if self.plan else ""),
            ),
        )

    def _picture(self) -> tuple[str, str]:
        try:
            return self.svg(), "the plan of the arena: operators across, addresses up"
        except EdgeQuantError:  # made by hand, or without Matplotlib
            return "", ""

    def _peak(self) -> str:
        return f"{self.peak.bytes:,} B at {self.peak.operator}" if self.peak is not None else ""

    def metric(self) -> Metric:
        """`minimum_bytes` as a metric; with bounds where operators are not known."""
        low = self.low_bytes if self.unknown else None
        high = self.minimum_bytes if self.unknown else None
        return Metric(self.minimum_bytes, "bytes", self.provenance, low, high)

    def suggestions(self) -> tuple[Suggestion, ...]:
        """What would make it smaller, computed with the same rules; the largest effect first."""
        return self.tools.suggestions() if self.tools is not None else ()

    def unrolled(self) -> str:
        """What unrolled recurrent layers make of the model, in a sentence; empty without any."""
        return self.tools.unrolled() if self.tools is not None else ""

    def svg(self) -> str:
        """A picture of the plan as SVG: operators across, addresses up, a box for each buffer.

        Raises `MeasurementUnavailable` for an arena that was not computed here, and
        `MissingExtraError` without Matplotlib.
        """
        if self.tools is None:
            raise MeasurementUnavailable(
                "this arena was made by hand, and has no plan to draw; measure_arena() gives one"
            )
        return self.tools.svg(self)

    def explain(self) -> str:
        """Where the bytes go, and what would make them fewer.

        The peak and what is alive there, the persistent part by purpose and by operator, how far
        the plan is from its lower bound, and changes with their effect in bytes.
        """
        lines = [
            f"{self.minimum_bytes:,} B are needed ({self.provenance}): "
            f"{self.nonpersistent_bytes:,} B planned, {self.persistent_bytes:,} B persistent"
        ]
        if self.unknown:
            lines.append(f"{self.low_bytes:,} B are needed at least, without {self._unknown()}")
        if self.minimum_bytes > self.total_bytes + 15:
            lines.append(
                f"{self.total_bytes:,} B are used afterwards; preparing needs more room for a while"
            )
        if self.peak is not None and self.lower_bound_bytes is not None:
            lines.append(f"most is alive at {self.peak.operator}: {self.peak.bytes:,} B")
            largest = sorted(self.peak.alive, key=lambda b: -b.size)
            lines += [f"  {b.size:>10,} B  {b.kind} {short(b.name)}" for b in largest[:8]]
            above = self.nonpersistent_bytes - self.lower_bound_bytes
            lines.append(
                f"the plan is {above:,} B above that"
                if above
                else "no plan of the same buffers can be smaller"
            )
        lines.append("persistent, by purpose:")
        lines += _shares(self.sections)
        if self.operators:
            lines.append("persistent, by operator:")
            lines += _shares(self.operators, 5)
        unrolled = self.unrolled()
        if unrolled:
            lines.append(unrolled)
        found = self.suggestions()
        if found:
            lines.append("what would make it smaller:")
            for way in found:
                then = f"; {way.then}" if way.then else ""
                lines.append(f"  {way.bytes:>10,} B  {way.text}{then}")
        return "\n".join(lines)

    def _unknown(self) -> str:
        return f"what is not known of {', '.join(self.unknown)}"


def _shares(parts: Mapping[str, int], most: int | None = None) -> list[str]:
    """Lines of the largest parts, and how much the others are together."""
    by_size = sorted(parts.items(), key=lambda item: (-item[1], item[0]))
    shown, others = by_size[:most], by_size[len(by_size[:most]) :]
    lines = [f"  {count:>10,} B  {name}" for name, count in shown]
    if others:
        lines.append(f"  {sum(c for _, c in others):>10,} B  in {counted(len(others), 'other')}")
    return lines
