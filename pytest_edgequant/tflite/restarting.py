"""A copy of a model with resource variables that begins anew at each inference.

Streaming models keep frames in resource variables, which a subgraph sets before the first inference
(CALL_ONCE). LiteRT has nothing that sets them again: `reset_all_variables` leaves them. In the copy
that subgraph's operators stand in the place of CALL_ONCE.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_edgequant.tflite import schema
from pytest_edgequant.tflite.edit import operator_code
from pytest_edgequant.tflite.rewrite import Rewrite


@dataclass(frozen=True)
class RestartVariables(Rewrite):
    """Set a model's variables at each inference.

    1. CALL_ONCE: the operators of the subgraph that it calls stand in its place, each time anew.
    2. A variable that no such subgraph sets keeps its value: whoever runs the copy compares it with
       a model that was loaded anew.
    """

    needless = "no subgraph sets variables before the first inference (CALL_ONCE)"

    def edit(self, model: Any) -> bool:
        main = model.subgraphs[0]
        given = list(main.operators or [])
        if not any(_sets(model, operator) for operator in given):
            return False
        main.tensors, main.operators = list(main.tensors), []
        for operator in given:
            if not _sets(model, operator):
                main.operators.append(operator)
                continue
            once = model.subgraphs[operator.builtinOptions.initSubgraphIndex]
            main.operators += _moved(once, len(main.tensors))
            main.tensors += [copy.deepcopy(tensor) for tensor in once.tensors]
        return True


def _sets(model: Any, operator: Any) -> bool:
    return operator_code(model, operator) == int(schema.BuiltinOperator.CALL_ONCE)


def _moved(subgraph: Any, offset: int) -> list[Any]:
    """A subgraph's operators, their tensors so many places further."""
    found = []
    for operator in subgraph.operators or []:
        moved = copy.copy(operator)
        for name in ("inputs", "outputs", "intermediates"):
            indices = getattr(operator, name)
            if indices is not None:
                array = np.asarray(indices, np.int32)
                setattr(moved, name, np.where(array < 0, array, array + offset).astype(np.int32))
        found.append(moved)
    return found
