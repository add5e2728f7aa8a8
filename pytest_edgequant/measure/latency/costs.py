"""Instructions of an operator on a build of TFLM, from the fitted table that ships with us."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from pytest_edgequant.measure.latency.features import work_of
from pytest_edgequant.measure.latency.shapes import OperatorShape

Table = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Build, then path, then term: instructions for each of what is counted."""


@cache
def coefficients() -> Mapping[str, Any]:
    """Everything that was fitted: `instructions`, `devices`, and what they were fitted to."""
    text = resources.files(__package__).joinpath("coefficients.json").read_text("utf-8")
    found: Mapping[str, Any] = json.loads(text)
    return found


_LIKE = {
    "arg_min": "arg_max",
    "batch_to_space_nd": "space_to_batch_nd",
    "floor": "ceil",
    "relu6": "relu",
    "sqrt": "rsqrt",
    "squeeze": "reshape",
}
"""Operators that were not counted, and ones whose kernels loop over the same values alike."""


def _stand_ins(build: str, path: str) -> Iterator[tuple[str, str]]:
    """Where to look for a path's costs: its own, then what it shares code or structure with."""
    kind, _, rest = path.partition("/")
    like = f"{_LIKE[kind]}/{rest}" if kind in _LIKE else path
    for name in dict.fromkeys((path, like, like.replace("INT16", "INT8"))):
        plain = name.removesuffix("/axis").removesuffix("/spatial").removesuffix("/scalar")
        for shorter in dict.fromkeys((name, plain)):
            yield build, shorter
            # CMSIS-NN replaces some kernels; the others are TFLM's own on every build.
            yield "reference", shorter


@dataclass(frozen=True)
class Cost:
    """Instructions of one operator on a path; `borrowed` names the path that stands in, if any."""

    instructions: float
    path: str
    borrowed: str = ""


def instructions(shape: OperatorShape, build: str, table: Table) -> Cost | None:
    """What an operator executes on a build; None where nothing like it was ever counted."""
    work = work_of(shape, build)
    for place, path in _stand_ins(build, work.path):
        costs = table[place].get(path)
        if costs is not None:
            found = sum(costs.get(term, 0.0) * count for term, count in work.terms.items())
            same = path == work.path
            return Cost(found, work.path, "" if same else path)
    return None


def doubt(cost: Cost, build: str) -> float:
    """The relative error of an operator's instructions that nine of ten stay within."""
    by_path: Mapping[str, float] = coefficients()["doubts"][build]
    return by_path[""] if cost.borrowed else by_path.get(cost.path, by_path[""])


def numeric_type(shape: OperatorShape) -> str:
    """The kind of arithmetic that an operator's cycles are counted under."""
    if shape.type == "FLOAT32" or shape.output_type == "FLOAT32":
        return "float"
    return "int16" if shape.type == "INT16" else "int8"
