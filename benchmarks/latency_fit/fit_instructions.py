"""Fitting what kernels execute to instructions that were counted, path by path.

Costs are non-negative, and least squares are of relative errors: a small operator counts as much as
a large one. How far off they are follows from leaving out one tenth of the models at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from latency_fit.data import CountedOperator
from pytest_edgequant.measure.latency.costs import Table
from pytest_edgequant.measure.latency.features import BUILDS, Work, work_of

LEVEL = 0.9
"""How often an interval is to contain the truth."""
_FEW = 5
_CALL = 200.0
"""Instructions of an operator's call: errors are relative to an operator's own plus these."""

Rates = dict[str, float]


def relative_fit(rows: Sequence[Mapping[str, float]], truth: Sequence[float]) -> Rates:
    """Non-negative costs of terms, with the smallest sum of squared relative errors."""
    names = sorted({name for row in rows for name in row})
    if not names:
        return {}
    weight = 1 / np.asarray(truth, float)
    matrix = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    found, _ = nnls(matrix * weight[:, None], np.asarray(truth, float) * weight)
    return {name: float(value) for name, value in zip(names, found, strict=True) if value > 0}


@dataclass(frozen=True)
class _Counted:
    model: str
    work: Work
    instructions: int


def _by_path(operators: Iterable[CountedOperator], build: str) -> dict[str, list[_Counted]]:
    found: dict[str, list[_Counted]] = defaultdict(list)
    for operator in operators:
        if build in operator.instructions:
            work = work_of(operator.shape, build)
            counted = _Counted(operator.model, work, operator.instructions[build])
            found[work.path].append(counted)
    return found


def _fit_path(rows: Sequence[_Counted]) -> Rates:
    weight = [row.instructions + _CALL for row in rows]
    names = sorted({name for row in rows for name in row.work.terms})
    scale = 1 / np.asarray(weight)
    matrix = np.array([[row.work.terms.get(name, 0.0) for name in names] for row in rows])
    truth = np.array([row.instructions for row in rows], float)
    found, _ = nnls(matrix * scale[:, None], truth * scale)
    return {name: float(f"{v:.6g}") for name, v in zip(names, found, strict=True) if v > 0}


def fit_instructions(operators: Sequence[CountedOperator]) -> Table:
    """The costs of every path on every build."""
    return {
        build: {path: _fit_path(rows) for path, rows in sorted(_by_path(operators, build).items())}
        for build in BUILDS
    }


def instruction_errors(
    operators: Sequence[CountedOperator], build: str, folds: int = 10
) -> dict[str, list[float]]:
    """Relative errors by path, each operator predicted without its model in the fit."""
    errors: dict[str, list[float]] = {}
    for path, rows in sorted(_by_path(operators, build).items()):
        models = sorted({row.model for row in rows})
        if len(models) < 2:
            continue
        for start in range(min(folds, len(models))):
            left_out = set(models[start::folds])
            costs = _fit_path([row for row in rows if row.model not in left_out])
            for row in rows:
                if row.model in left_out:
                    guess = sum(costs.get(n, 0.0) * v for n, v in row.work.terms.items())
                    errors.setdefault(path, []).append(guess / row.instructions - 1)
    return errors


def instruction_doubts(operators: Sequence[CountedOperator]) -> dict[str, dict[str, float]]:
    """By build and path: the relative error that nine of ten left-out operators stay within.

    Under the name "" that of all paths that few models have, for a path that has no error of its
    own: one model alone has it, or another path stands in.
    """
    found: dict[str, dict[str, float]] = {}
    for build in BUILDS:
        models = {
            path: len({row.model for row in rows})
            for path, rows in _by_path(operators, build).items()
        }
        errors = instruction_errors(operators, build)
        few = [e for path, own in errors.items() if models[path] < _FEW for e in own]
        found[build] = {path: _ninth(own) for path, own in errors.items()} | {"": _ninth(few)}
    return found


def _ninth(errors: Sequence[float]) -> float:
    return round(float(np.quantile(np.abs(errors), LEVEL)), 4)
