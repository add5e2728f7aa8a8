"""Running a .tflite on LiteRT, in a child process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.errors import CannotRunError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KEPT = 8
_interpreters: OrderedDict[str, Any] = OrderedDict()


def _interpreter(fingerprint: str, content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = _interpreters.pop(fingerprint, None)
    if interpreter is None:
        try:
            interpreter = Interpreter(model_content=content, num_threads=1)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            text = " ".join(str(error).split())
            raise CannotRunError(f"LiteRT refuses the model: {text[:600]}") from None
    _interpreters[fingerprint] = interpreter
    while len(_interpreters) > _KEPT:
        _interpreters.popitem(last=False)
    return interpreter


def run(
    fingerprint: str,
    content: bytes,
    stateful: bool,
    inputs: Sequence[tuple[int, NDArray[Any]]],
    outputs: Sequence[int],
) -> list[NDArray[Any]]:
    """Invoke the model over samples, each inference from a fresh state.

    `inputs` are (tensor index, array (N, ...) in the tensor's own type); gives an array (N, ...)
    for each output index. Models with a batch larger than 1 take that many samples an inference,
    the last one filled up by repetition.
    """
    interpreter = _interpreter(fingerprint, content)
    count = len(inputs[0][1])
    details = {d["index"]: d for d in interpreter.get_input_details()}
    batches = {
        int(details[index]["shape"][0]) for index, _ in inputs if len(details[index]["shape"])
    }
    batch = batches.pop() if len(batches) == 1 else 1
    collected: list[list[NDArray[Any]]] = [[] for _ in outputs]
    for start in range(0, count, batch):
        taken = min(batch, count - start)
        if stateful:
            interpreter.reset_all_variables()
        for index, samples in inputs:
            part = samples[start : start + taken]
            if taken < batch:
                part = np.concatenate([part, np.repeat(part[-1:], batch - taken, axis=0)])
            interpreter.set_tensor(index, part)
        try:
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            text = " ".join(str(error).split())
            raise CannotRunError(f"LiteRT fails at inference: {text[:600]}") from None
        for results, index in zip(collected, outputs, strict=True):
            value = interpreter.get_tensor(index)
            batched = value.ndim > 0 and value.shape[0] == batch
            results.append(value[:taken] if batched else value[np.newaxis])
    return [np.concatenate(results) for results in collected]
