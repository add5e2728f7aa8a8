"""A copy of a model with resource variables that begins anew at each inference.

Streaming models keep frames in resource variables, which a subgraph sets before the first inference
(CALL_ONCE). LiteRT has nothing that sets them again: `reset_all_variables` leaves them. In the copy
that subgraph's operators stand in the place of CALL_ONCE.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from pytest_edgequant.tflite.edit import operator_code, pack, unpack


def restarting_copy(content: bytes) -> bytes | None:
    """The model with its variables set at each inference; None where nothing sets them.

    What no such subgraph sets keeps its value: whoever runs the copy compares it with a model that
    was loaded anew.
    """
    model = unpack(content)
    main = model.subgraphs[0]
    operators: list[Any] = []
    found = False
    main.tensors = list(main.tensors)
    for operator in main.operators or []:
        if operator_code(model, operator) == schema.BuiltinOperator.CALL_ONCE:
            found = True
            once = model.subgraphs[operator.builtinOptions.initSubgraphIndex]
            operators += _moved(once, len(main.tensors))
            main.tensors += [copy.deepcopy(tensor) for tensor in once.tensors]
        else:
            operators.append(operator)
    if not found:
        return None
    main.operators = operators
    return pack(model)


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
