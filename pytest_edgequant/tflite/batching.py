"""A copy of a model that takes several samples at once, each computed as the model would alone.

What is deployed is pinned at batch 1, and not by its inputs alone: RESHAPE, SLICE and others carry
the batch in constants. The copy has every tensor that depends on the inputs enlarged along its
outermost axis, and those constants with it. In row-major order the samples then lie one after the
other in every tensor, which each operator has to preserve: `batching_rules` knows for which that
holds.

That samples are computed apart follows from the rules; that the same kernel gives the same bits
whatever the batch does not, so whoever runs the copy compares it with the deployed file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_edgequant.tflite import schema
from pytest_edgequant.tflite.batching_rules import RULES, Batching, inputs_of, need
from pytest_edgequant.tflite.edit import operator_code
from pytest_edgequant.tflite.rewrite import NotRewritableError, Rewrite
from pytest_edgequant.tflite.time_major import PutSamplesOutermost

_NAMES: dict[int, str] = {
    code: name
    for name, code in vars(schema.BuiltinOperator).items()
    if isinstance(code, int) and not name.startswith("_")
}


@dataclass(frozen=True)
class BatchSamples(Rewrite):
    """Enlarge a model to `count` samples along axis 0 of every input and output.

    1. An operator that takes samples has a rule, by which it keeps them apart: constants that carry
       the batch are enlarged.
    2. What is computed from constants alone stays, and so does what is computed from shapes.
    3. Steps of unrolled layers that lie outermost are put inside first (`time_major`).
    4. A model is refused that keeps state or has several subgraphs, an input that is a scalar, an
       output that depends on no input, or an operator whose samples would meet.
    """

    needless = "the model takes one sample"
    count: int

    def edit(self, model: Any) -> bool:
        if self.count == 1:
            return False
        if len(model.subgraphs) > 1:
            raise NotRewritableError("the model has several subgraphs")
        PutSamplesOutermost().edit(model)
        graph = model.subgraphs[0]
        graph.tensors = list(graph.tensors)
        if any(tensor.isVariable for tensor in graph.tensors):
            raise NotRewritableError("the model keeps state in variables")
        batching = Batching(model, self.count, set(map(int, graph.inputs)))
        if not all(batching.shape(index) for index in batching.batched):
            raise NotRewritableError("an input is a scalar")
        for position, operator in enumerate(graph.operators):
            try:
                _visit(batching, operator)
            except NotRewritableError as error:
                place = f"{_name(model, operator)} (operator {position})"
                raise NotRewritableError(f"{place} {error}") from None
        if not all(index in batching.batched for index in map(int, graph.outputs)):
            raise NotRewritableError("an output does not depend on the inputs")
        self._enlarge(graph, batching.batched)
        # A plan for the arena was made for the old sizes; metadata is of no use here.
        model.metadata = None
        return True

    def _enlarge(self, graph: Any, batched: set[int]) -> None:
        for index in batched:
            tensor = graph.tensors[index]
            tensor.shape = np.array(tensor.shape, np.int32)
            tensor.shape[0] *= self.count
            tensor.shapeSignature = None


def _name(model: Any, operator: Any) -> str:
    return _NAMES.get(operator_code(model, operator), "?")


def _visit(batching: Batching, operator: Any) -> None:
    """Apply the operator's rule, and mark what it gives."""
    given = set(inputs_of(operator)) - {-1}
    outputs = {int(i) for i in operator.outputs}
    name = _name(batching.model, operator)
    if name == "SHAPE" and given & batching.batched:
        batching.unknown |= outputs
    elif not given & batching.batched:
        # Constants at work, or shapes: what they give is no sample.
        if given & batching.unknown:
            batching.unknown |= outputs
        need((bool(given) and name in RULES) or name == "SHAPE", "holds state or is not known")
    else:
        rule = RULES.get(name)
        need(rule is not None, "has no rule that keeps samples apart")
        assert rule is not None
        try:
            rule(batching, operator)
        except IndexError:  # a scalar where the operator takes a matrix, say
            need(False, "has inputs of other ranks than it takes")
        batching.batched |= outputs
        ranks = [len(batching.shape(i)) for i in outputs]
        need(all(ranks), "gives a scalar")
