"""A smaller file for nothing: without what only people and converters read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pytest_edgequant.tflite import schema
from pytest_edgequant.tflite.graph import OFFLINE_PLAN
from pytest_edgequant.tflite.rewrite import NotRewritableError, Rewrite

_READ = (OFFLINE_PLAN.encode(),)
"""The metadata that the runtime reads."""


@dataclass(frozen=True)
class Strip(Rewrite):
    """Take off what no interpreter reads. Tensors, operators and subgraphs keep their numbers.

    1. Names of tensors and subgraphs, signatures, the description.
    2. Minima and maxima of tensors: scales and zero points say what is computed.
    3. Metadata, but for the memory plan, which TFLM follows; numbers of debug metadata.
    4. Buffers that nothing refers to any more, and empty ones beside the first: what is computed
       has none. A variable keeps its own where it starts from values.
    5. A file with data behind its flatbuffer is refused.
    A file that would not get smaller stays as it is.
    """

    needless: ClassVar[str] = "the file holds nothing that the device does not read"
    only_smaller: ClassVar[bool] = True

    def edit(self, model: Any) -> bool:
        operators = [o for graph in model.subgraphs for o in graph.operators or []]
        if any(b.offset > 1 for b in model.buffers) or any(
            o.largeCustomOptionsOffset > 1 for o in operators
        ):
            raise NotRewritableError("data lie behind the flatbuffer, as in files beyond 2 GB")
        model.description, model.signatureDefs = None, None
        for graph in model.subgraphs:
            graph.name = None
            for tensor in graph.tensors or []:
                _strip_tensor(tensor)
            graph.debugMetadataIndex = -1
        for operator in operators:
            operator.debugMetadataIndex = -1
        model.metadata = [m for m in model.metadata or [] if m.name in _READ] or None
        model.metadataBuffer = None
        _drop_buffers(model)
        return True


def _strip_tensor(tensor: Any) -> None:
    tensor.name = None
    quantization = tensor.quantization
    if quantization is None:
        return
    quantization.min, quantization.max = None, None
    bare = quantization.scale is None or not len(quantization.scale)
    points = quantization.zeroPoint is not None and len(quantization.zeroPoint)
    if bare and not points and quantization.details is None:
        tensor.quantization = None


def _drop_buffers(model: Any) -> None:
    """Number the buffers anew: an empty first one, then those that hold something in use."""
    used = {0: 0}
    kept = [schema.BufferT()]

    def moved(index: int) -> int:
        if index not in used:
            buffer = model.buffers[index]
            if _is_empty(buffer):
                used[index] = 0
            else:
                used[index] = len(kept)
                kept.append(buffer)
        return used[index]

    if not _is_empty(model.buffers[0]):  # then it is somebody's
        kept[0] = model.buffers[0]
    for graph in model.subgraphs:
        for tensor in graph.tensors or []:
            tensor.buffer = moved(tensor.buffer)
    for entry in model.metadata or []:
        entry.buffer = moved(entry.buffer)
    model.buffers = kept


def _is_empty(buffer: Any) -> bool:
    stored = buffer.data is not None and np.asarray(buffer.data).size > 0
    return not stored and buffer.offset <= 1
