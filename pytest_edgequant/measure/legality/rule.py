"""What a rule is: a small function that finds in a graph what a target's runtime can't run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from pytest_edgequant.errors import reading
from pytest_edgequant.records import Target
from pytest_edgequant.tflite.graph import Graph, Operator, Subgraph


class Severity(str, Enum):
    """What happens on the device to a model that breaks a rule."""

    REFUSED = "refused"
    """The runtime refuses to allocate or to run it."""
    HANGS = "hangs"
    """It does not come to an end."""
    WRONG = "wrong results"
    """It runs and computes something else, without an error."""
    WARNING = "warning"
    """It runs, but not as one would expect."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Finding:
    """One thing that a rule found: where, and what to use instead."""

    rule: str
    severity: Severity
    text: str


@dataclass(frozen=True)
class Rule:
    """A rule: `summary` is the first part of its messages and its row in the documentation.

    `check` gives for a graph and a target the places that break it, each with what to do.
    """

    name: str
    runtime: str
    severity: Severity
    summary: str
    check: Callable[[Graph, Target], Iterable[str]]

    def findings(self, graph: Graph, target: Target) -> list[Finding]:
        """Every place that breaks it; raises `ModelError` for a model that contradicts itself."""
        with reading(f"the rule {self.name}"):
            return [Finding(self.name, self.severity, text) for text in self.check(graph, target)]


def rule(
    runtime: str,
    applies: Callable[[Target], bool],
    severity: Severity = Severity.REFUSED,
) -> Callable[[Callable[[Graph, Target], Iterable[str]]], Rule]:
    """Make a rule of a function whose docstring is one sentence for the user.

    `runtime` says in the documentation where the rule holds, `applies` in code.
    """

    def made(function: Callable[[Graph, Target], Iterable[str]]) -> Rule:
        summary = " ".join((function.__doc__ or "").split())

        def check(graph: Graph, target: Target) -> Iterable[str]:
            return function(graph, target) if applies(target) else ()

        return Rule(function.__name__, runtime, severity, summary, check)

    return made


def on_tflm(target: Target) -> bool:
    """Whether TFLM runs on the target."""
    return target.is_microcontroller


def on_cmsis_nn(target: Target) -> bool:
    """Whether TFLM runs on the target, with CMSIS-NN."""
    return target.is_microcontroller and target.kernels == "cmsis-nn"


def input_types(subgraph: Subgraph, operator: Operator) -> list[str]:
    """The types of an operator's inputs by position, "-" where one is left out."""
    return [subgraph.tensors[i].type if i >= 0 else "-" for i in operator.inputs]


def output_types(subgraph: Subgraph, operator: Operator) -> list[str]:
    """The types of what an operator gives; `-` for an output that is left out."""
    return [subgraph.tensors[i].type if i >= 0 else "-" for i in operator.outputs]


def place(subgraph: Subgraph, operator: Operator) -> str:
    """An operator as findings name it: its name and number, its layer, the types it works on."""
    first = next((i for i in operator.outputs if i >= 0), None)
    layer = subgraph.tensors[first].shown if first is not None else "'?'"
    named = f"layer {layer}, " if first is None or subgraph.tensors[first].name else ""
    given = ", ".join(dict.fromkeys(t for t in input_types(subgraph, operator) if t != "-"))
    made = ", ".join(dict.fromkeys(output_types(subgraph, operator)))
    return f"{operator.label} (operator {operator.index}, {named}{given} -> {made})"
