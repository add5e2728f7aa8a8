"""Counting a model's inner values beyond given limits on LiteRT, in a child process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_edgequant.errors import CannotRunError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass
class Seen:
    """What one tensor held over all samples, in the tensor's own type."""

    below: int = 0
    above: int = 0
    total: int = 0
    low: float = float("inf")
    high: float = float("-inf")


def count_beyond(
    content: bytes,
    inputs: Sequence[tuple[int, NDArray[Any]]],
    limits: Mapping[int, tuple[float, float]],
) -> dict[int, Seen]:
    """Run samples one by one and count the values below and above each tensor's limits.

    `inputs` are (tensor index, array (N, ...) in the tensor's own type), `limits` (low, high) by
    tensor index. Every tensor is preserved, which the delegates (XNNPACK) do not do.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    found = {index: Seen() for index in limits}
    try:
        interpreter = Interpreter(
            model_content=content,
            num_threads=1,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
        for sample in range(len(inputs[0][1])):
            interpreter.reset_all_variables()
            for index, samples in inputs:
                interpreter.set_tensor(index, samples[sample : sample + 1])
            interpreter.invoke()
            for index, (low, high) in limits.items():
                value = interpreter.get_tensor(index)
                seen = found[index]
                seen.below += int((value < low).sum())
                seen.above += int((value > high).sum())
                seen.total += value.size
                if value.size:
                    seen.low = min(seen.low, float(value.min()))
                    seen.high = max(seen.high, float(value.max()))
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise CannotRunError(f"LiteRT can't show the inner values: {text[:600]}") from None
    return found
