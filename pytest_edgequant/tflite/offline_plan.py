"""TFLM's offline memory plan: where in the arena each tensor lies, in the model's metadata."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from pytest_edgequant.tflite.graph import OFFLINE_PLAN
from pytest_edgequant.tflite.rewrite import NotRewritableError, Rewrite

_VERSION, _SUBGRAPH = 1, 0


@dataclass(frozen=True)
class PlanOffline(Rewrite):
    """Give a model a plan of its arena: an offset for each tensor, -1 where TFLM places it.

    1. A model without a plan gets one.
    2. One that has another plan has it replaced; what it has of other metadata stays.
    3. A model of several subgraphs is refused, for the plan covers the main one alone, and so are
       offsets of another count than the model's tensors.
    """

    needless = "the model has this plan already"
    offsets: tuple[int, ...]

    def edit(self, model: Any) -> bool:
        if len(model.subgraphs) > 1:
            raise NotRewritableError("the model has several subgraphs")
        count = len(model.subgraphs[0].tensors)
        if len(self.offsets) != count:
            raise NotRewritableError(f"{len(self.offsets)} offsets for {count} tensors")
        metadata = model.metadata or []
        values = [_VERSION, _SUBGRAPH, count, *self.offsets]
        data = struct.pack(f"<{len(values)}i", *values)
        plans = [entry for entry in metadata if _is_plan(entry)]
        if [_content(model, entry) for entry in plans] == [data]:
            return False
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data, dtype=np.uint8)
        model.buffers = [*model.buffers, buffer]
        entry = schema.MetadataT()
        entry.name = OFFLINE_PLAN
        entry.buffer = len(model.buffers) - 1
        model.metadata = [*(entry for entry in metadata if not _is_plan(entry)), entry]
        return True


def _is_plan(entry: Any) -> bool:
    return entry.name in (OFFLINE_PLAN, OFFLINE_PLAN.encode())


def _content(model: Any, entry: Any) -> bytes:
    data = model.buffers[entry.buffer].data
    return b"" if data is None else np.asarray(data, np.uint8).tobytes()
