"""An operator with its tensors and the build it runs on, as the rules of memory look at it."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_edgequant.errors import ModelError
from pytest_edgequant.targets.profiles import Profile
from pytest_edgequant.tflite.graph import Operator, Subgraph, Tensor

SAME = 0


@dataclass(frozen=True)
class Needs:
    """Bytes that one operator asks for when it is prepared.

    `arrays` are persistent, in order; `scratch` lives while the operator runs.
    """

    arrays: tuple[int, ...] = ()
    scratch: tuple[int, ...] = ()


@dataclass(frozen=True)
class View:
    """An operator with its tensors, as rules look at it."""

    operator: Operator
    subgraph: Subgraph
    profile: Profile

    def input(self, position: int) -> Tensor | None:
        """The input at that position; None where it is left out."""
        indices = self.operator.inputs
        if position >= len(indices) or indices[position] < 0:
            return None
        return self.subgraph.tensors[indices[position]]

    def output(self, position: int = 0) -> Tensor:
        return self.subgraph.tensors[self.operator.outputs[position]]

    def need(self, position: int) -> Tensor:
        """The input at that position, which the operator can't do without."""
        tensor = self.input(position)
        if tensor is None:
            raise ModelError(f"{self.operator.place}: input {position} is missing")
        return tensor

    def option(self, name: str, default: int = 0) -> int:
        return int(self.operator.options.get(name, default))

    def padding(self, filter_index: int) -> tuple[int, int]:
        """Padding before the first row and column, as TFLite computes it for SAME and VALID."""
        if self.option("padding") != SAME:
            return 0, 0
        kernel, output, source = self.need(filter_index), self.output(), self.need(0)
        found = []
        for axis, stride, dilation in (
            (1, "strideH", "dilationHFactor"),
            (2, "strideW", "dilationWFactor"),
        ):
            reach = (kernel.shape[axis] - 1) * self.option(dilation, 1) + 1
            total = (output.shape[axis] - 1) * self.option(stride, 1) + reach - source.shape[axis]
            found.append(max(total, 0) // 2)
        return found[0], found[1]

    @property
    def undilated(self) -> bool:
        return self.option("dilationHFactor", 1) == 1 and self.option("dilationWFactor", 1) == 1
