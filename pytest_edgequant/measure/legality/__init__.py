"""Legality before metrics: what a target's runtime refuses in a model, as its graph tells.

A rule is a small function in one of the modules here; `RULES` are all of them in the order in
which they are told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from pytest_edgequant.forms import VARIANTS
from pytest_edgequant.measure.legality import (
    accelerators,
    assumed,
    builds,
    forms,
    kept,
    litert,
    products,
    scales,
    tflm,
)
from pytest_edgequant.measure.legality.rule import Finding, Rule, Severity, place
from pytest_edgequant.records import Target
from pytest_edgequant.targets.tflm_operators import TFLM_CUSTOM_OPERATORS
from pytest_edgequant.tflite.form import detect_form
from pytest_edgequant.tflite.graph import Graph

__all__ = [
    "RULES",
    "Finding",
    "Rule",
    "Severity",
    "explain",
    "findings",
    "foreign_operators",
    "graph_refusals",
    "named_by_interpreter",
    "variant_refused",
    "warnings",
]

RULES: tuple[Rule, ...] = (
    *forms.RULES,
    *tflm.RULES,
    *scales.RULES,
    *assumed.RULES,
    *kept.RULES,
    *products.RULES,
    *builds.RULES,
    *litert.RULES,
    *accelerators.RULES,
)


TRAITS = (
    *("runtime", "kernels", "accelerator", "requires_integer_io"),
    *("tflm", "custom_operators", "has_fpu"),
)
"""What rules may look at in a target."""


def variant_refused(name: str, target: Target) -> str | None:
    """Why the target can't run this form, by its name alone; None where it can.

    Names that don't tell what is in the file ("as_is", "mixed") are refused by their graph alone.
    """
    if name not in VARIANTS or name == "as_is":
        return None
    form = VARIANTS[name].runs_as or name
    for listed in (name, form):
        if listed in target.refused:
            return target.refused[listed]
    if form in target.variants or name in target.variants:
        return None
    return f"{target.name} does not list {name} among what it can run"


@dataclass(frozen=True)
class _Question:
    """A model and what the rules look at in a target: boards that are alike share the answer."""

    graph: Graph
    traits: tuple[object, ...]
    target: Target = field(compare=False)


@lru_cache(maxsize=512)
def _answer(question: _Question) -> tuple[Finding, ...]:
    graph, target = question.graph, question.target
    return tuple(found for rule in RULES for found in rule.findings(graph, target))


def findings(graph: Graph, target: Target) -> tuple[Finding, ...]:
    """Everything that the rules find in a model for a target, warnings included."""
    traits = tuple(getattr(target, name) for name in TRAITS)
    return _answer(_Question(graph, traits, target))


def explain(found: list[Finding]) -> list[str]:
    """Findings as messages, one a rule: its summary, its name, and every place."""
    by_rule: dict[str, list[str]] = {}
    for finding in found:
        by_rule.setdefault(finding.rule, []).append(finding.text)
    summaries = {rule.name: rule.summary for rule in RULES}
    return [f"{summaries[name]} [{name}]: {'; '.join(t)}" for name, t in by_rule.items()]


def graph_refusals(graph: Graph, target: Target, *, wrong_results: bool = True) -> list[str]:
    """Every reason why the target's runtime can't run the model, from its graph.

    Without `wrong_results` only what it does not run at all.
    """
    form = detect_form(graph)
    if form in target.refused:
        return [target.refused[form]]
    allowed = {Severity.WARNING} | (set() if wrong_results else {Severity.WRONG})
    return explain([f for f in findings(graph, target) if f.severity not in allowed])


def warnings(graph: Graph, target: Target) -> list[str]:
    """What a user should know of a model that the target's runtime does run."""
    return explain([f for f in findings(graph, target) if f.severity is Severity.WARNING])


def foreign_operators(graph: Graph, target: Target) -> set[str]:
    """Custom operators that the target's interpreter has not from its own sources."""
    codes = {operator.custom_code for _, operator in graph.operators() if operator.name == "CUSTOM"}
    return codes - TFLM_CUSTOM_OPERATORS if target.is_microcontroller else codes


_NODE = re.compile(r"Node (\w+) \(number (\d+)\)")


def named_by_interpreter(message: str, graph: Graph, target: Target) -> str:
    """What an interpreter says of a model, with the operator's layer and what to do."""
    if not target.is_microcontroller:
        return f"{message.removesuffix('.')}. Convert the model again with a newer converter"
    node = _NODE.search(message)
    if node is not None:
        name, number = node.group(1), int(node.group(2))
        for subgraph in graph.subgraphs:
            for operator in subgraph.operators:
                if (operator.name, operator.index) == (name, number):
                    return f"{message}: {place(subgraph, operator)}. Replace the layer"
    return f"{message}. Remove layers until it runs, to find the one that it stops at"
