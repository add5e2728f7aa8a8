"""Unrolled recurrent layers with samples along the outermost axis of every tensor.

Keras unrolls over (steps, 1, features): the converter moves the steps outwards with a RESHAPE or
a TRANSPOSE before an UNPACK along axis 0, and back behind a PACK. There the outermost axis can't
hold samples. Said to be (1, steps, features), unpacked and packed along axis 1, the tensor holds
the same numbers in the same order. What a cell adds to a step is flattened from (1, units) to
(units,); unflattened, the sum is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_edgequant.tflite import schema
from pytest_edgequant.tflite.edit import builtin_code_index, operator_code, tensor_data
from pytest_edgequant.tflite.rewrite import Rewrite

_B = schema.BuiltinOperator
_ARITHMETIC = (_B.ADD, _B.SUB, _B.MUL)


@dataclass(frozen=True)
class PutSamplesOutermost(Rewrite):
    """Change what keeps samples from lying outermost, where that moves no number.

    1. (steps, 1, ...) between RESHAPE, PACK and UNPACK along axis 0 becomes (1, steps, ...), and
       they work along axis 1.
    2. A TRANSPOSE of the two outermost axes becomes a RESHAPE: one of the two has one place.
    3. Arithmetic takes (1, ...) instead of what was flattened from it, beside another (1, ...).
    """

    needless = "no unrolled layer has its steps outermost"

    def edit(self, model: Any) -> bool:
        rewriting = _Rewriting(model)
        for index in range(len(model.subgraphs[0].tensors)):
            rewriting.swap_steps(index)
        for operator in rewriting.operators:
            rewriting.unflatten(operator)
        return rewriting.changed


class _Rewriting:
    def __init__(self, model: Any) -> None:
        self.model = model
        self.changed = False
        self.graph = model.subgraphs[0]
        self.operators = list(self.graph.operators or [])
        self.makers = {int(i): operator for operator in self.operators for i in operator.outputs}
        self.takers: dict[int, list[Any]] = {}
        for operator in self.operators:
            for index in {int(i) for i in operator.inputs}:
                self.takers.setdefault(index, []).append(operator)

    def _shape(self, index: int) -> list[int]:
        shape = self.graph.tensors[index].shape
        return [] if shape is None else [int(extent) for extent in shape]

    def _code(self, operator: Any) -> int:
        return operator_code(self.model, operator)

    # -- steps ----------------------------------------------------------------------------------

    def swap_steps(self, index: int) -> None:
        """Make (steps, 1, ...) a tensor (1, steps, ...), and all that make and take it do so."""
        maker, takers = self.makers.get(index), self.takers.get(index, [])
        shape = self._shape(index)
        if len(shape) < 2 or shape[1] != 1 or maker is None or index in self.graph.outputs:
            return
        around = [maker, *takers]
        stacked = [o for o in around if self._stacks_outermost(o)]
        moved = [o for o in around if self._swaps_outermost(o)]
        others = [o for o in around if self._code(o) != _B.RESHAPE]
        if not stacked or len(stacked) + len(moved) < len(others):
            return
        self.changed = True
        self.graph.tensors[index].shape = np.asarray([1, shape[0], *shape[2:]], np.int32)
        self.graph.tensors[index].shapeSignature = None
        for operator in stacked:
            operator.builtinOptions.axis = 1
        for operator in moved:
            # One of the two axes has one place: nothing is moved in memory.
            operator.opcodeIndex = builtin_code_index(self.model, _B.RESHAPE)
            operator.inputs = np.asarray(operator.inputs[:1], np.int32)

    def _stacks_outermost(self, operator: Any) -> bool:
        code = self._code(operator)
        return code in (_B.PACK, _B.UNPACK) and operator.builtinOptions.axis == 0

    def _swaps_outermost(self, operator: Any) -> bool:
        """Whether it is a TRANSPOSE of the two outermost axes, and of no others."""
        if self._code(operator) != _B.TRANSPOSE:
            return False
        order = np.frombuffer(tensor_data(self.model, operator.inputs[1]), np.int32).tolist()
        return bool(order == [1, 0, *range(2, len(order))])

    # -- sums -----------------------------------------------------------------------------------

    def unflatten(self, operator: Any) -> None:
        """Take (1, ...) instead of what was flattened from it, beside another (1, ...)."""
        if self._code(operator) not in _ARITHMETIC:
            return
        result = self._shape(operator.outputs[0])
        inputs = np.array(operator.inputs, np.int32)
        for position, given in enumerate(map(int, operator.inputs)):
            maker = self.makers.get(given)
            if maker is None or self._code(maker) != _B.RESHAPE:
                continue
            source, shape = self._shape(maker.inputs[0]), self._shape(given)
            if source == [1, *shape] and len(result) == len(source) and result[0] == 1:
                inputs[position] = maker.inputs[0]
                self.changed = True
        operator.inputs = inputs
