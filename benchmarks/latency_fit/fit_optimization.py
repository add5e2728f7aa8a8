"""What the compiler's options cost: kernels built for size, against the same kernels for speed.

Fitted to models that were measured both ways on the same board. Operators are affected unlike each
other (a float convolution is several times slower, a dense layer by a fifth), so that the factor of
a model follows from its instructions by kind of operator; how far that is off, from leaving out one
model at a time.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latency_fit.data import CountedOperator, PublishedTime, as_variant
from latency_fit.fit_instructions import Rates, relative_fit
from pytest_edgequant.measure.latency.costs import Table, instructions, numeric_type
from pytest_edgequant.measure.latency.features import build_of
from pytest_edgequant.measure.latency.options import (
    SIZE,
    SPEED,
    effect_on,
    factor_of,
    operator_group,
)

Spread = Callable[[Sequence[float]], float]

FEWEST = 3
"""Models measured both ways below which the effect on a kind of arithmetic is not told."""


@dataclass(frozen=True)
class Pair:
    """One model measured both ways: what its instructions go to, and how much longer it took."""

    model: str
    type: str
    core: str
    shares: Mapping[str, float]
    factor: float
    sources: tuple[str, ...]


def shares_of(work: Iterable[tuple[str, str, float]]) -> dict[str, float]:
    """The share of each group of operators, from (operator, kind of arithmetic, amount)."""
    found: dict[str, float] = defaultdict(float)
    for operator, kind, amount in work:
        found[operator_group(operator, kind)] += amount
    total = sum(found.values()) or 1.0
    return {group: amount / total for group, amount in found.items()}


def _shares(
    time: PublishedTime, layers: Mapping[str, list[CountedOperator]], table: Table
) -> dict[str, float] | None:
    build = build_of(time.core, time.kernels)
    if build is None or not time.layers:
        return None
    work = []
    for operator in as_variant(layers[time.layers], time.variant):
        cost = instructions(operator.shape, build, table)
        if cost is None:
            return None
        work.append((operator.shape.operator, numeric_type(operator.shape), cost.instructions))
    return shares_of(work)


def pairs(
    times: Sequence[PublishedTime], layers: Mapping[str, list[CountedOperator]], table: Table
) -> list[Pair]:
    """Models that were measured on one board with kernels built for size and for speed."""
    fast: dict[tuple[Any, ...], PublishedTime] = {}
    slow: dict[tuple[Any, ...], PublishedTime] = {}
    for time in times:
        key = (time.model, time.layers, time.variant, time.board, time.kernels, time.soft_float)
        if time.optimization == SIZE:
            slow.setdefault(key, time)
        elif time.optimization in SPEED:
            fast.setdefault(key, time)
    found = []
    for key, time in slow.items():
        shares = _shares(time, layers, table) if key in fast else None
        if shares is None:
            continue
        kind = "float" if time.variant == "float32" else "int8"
        kind = "int16" if time.variant.startswith("int16x8") else kind
        factor = time.cycles / fast[key].cycles
        sources = tuple(sorted({time.source, fast[key].source}))
        found.append(Pair(time.model, kind, time.core, shares, factor, sources))
    return found


def _fit(found: Sequence[Pair]) -> Rates:
    return relative_fit([p.shares for p in found], [p.factor for p in found])


def _errors(found: Sequence[Pair], kind: str) -> dict[str, float]:
    """The log of each model's largest error, estimated without it, of one kind of arithmetic."""
    errors: dict[str, float] = {}
    for pair in found:
        if pair.type == kind:
            rates = _fit([p for p in found if p.model != pair.model])
            error = abs(math.log(pair.factor / factor_of(rates, pair.shares)))
            errors[pair.model] = max(errors.get(pair.model, 0.0), error)
    return errors


def _effect(core: str, found: Sequence[Pair], spread_of: Spread) -> dict[str, Any]:
    errors = {kind: _errors(found, kind) for kind in sorted({pair.type for pair in found})}
    return {
        "option": SIZE,
        "core": core,
        "factors": {group: round(rate, 4) for group, rate in _fit(found).items()},
        "spread": {kind: round(spread_of(list(e.values())), 4) for kind, e in errors.items()},
        "models": {kind: len(e) for kind, e in errors.items()},
        "sources": sorted({source.split("#")[0] for pair in found for source in pair.sources}),
    }


def fit_optimization(found: Sequence[Pair], spread_of: Spread) -> list[dict[str, Any]]:
    """The effect of building for size on each core, and (core "") on all together.

    A factor for each group of operators, and the bound on the error of a model's. Platforms differ
    in it, so that a core that was measured often enough has its own.
    """
    counted: dict[tuple[str, str], set[str]] = defaultdict(set)
    for pair in found:
        counted[pair.core, pair.type].add(pair.model)
        counted["", pair.type].add(pair.model)
    effects = []
    for core in sorted({core for core, _ in counted}):
        enough = {k for c, k in counted if c == core and len(counted[c, k]) >= FEWEST}
        own = [p for p in found if p.type in enough and core in ("", p.core)]
        if own:
            effects.append(_effect(core, own, spread_of))
    return effects


def slower(
    effects: Sequence[Mapping[str, Any]],
    layers: Mapping[str, list[CountedOperator]],
    table: Table,
) -> Callable[[PublishedTime], float]:
    """How many times as long a measurement took for being built as it was; 1 where for speed."""

    def factor(time: PublishedTime) -> float:
        shares = _shares(time, layers, table) if time.optimization == SIZE else None
        effect = effect_on(time.core, effects)
        if shares is None or effect is None:
            return 1.0
        return factor_of(effect["factors"], shares)

    return factor
