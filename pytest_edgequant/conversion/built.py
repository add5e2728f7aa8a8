"""The record of a variant around the bytes of its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_edgequant.records import TensorInfo, TrainingSummary, Variant
from pytest_edgequant.tflite.ends import Ends, model_inputs, model_outputs
from pytest_edgequant.tflite.graph import Graph
from pytest_edgequant.tflite.model import TFLiteModel


def _info(graph: Graph, index: int, name: str | None = None) -> TensorInfo:
    tensor = graph.main.tensors[index]
    return TensorInfo(
        tensor.name if name is None else name,
        tensor.shape,
        tensor.dtype,
        tensor.quantization,
        tensor.index,
        tensor.constant,
    )


def _infos(graph: Graph, ends: Ends) -> tuple[TensorInfo, ...]:
    return tuple(_info(graph, i, n) for n, i in zip(ends.names, ends.tensors, strict=True))


_AGREEMENT = 0.995


def _training_notes(training: Mapping[str, Any] | None) -> list[str]:
    """What a report must say of a training: where it did not train what runs."""
    if not training or training["agreement"] is None or training["agreement"] >= _AGREEMENT:
        return []
    return [
        f"training: the simulated model and the file agree on {training['agreement']:.1%} of "
        f"{training['samples']} validation samples only; judge the file by its own accuracy"
    ]


def build_variant(name: str, model: TFLiteModel, path: Path, meta: Mapping[str, Any]) -> Variant:
    """The record of a .tflite file; raises `ModelError` for one that computes nothing."""
    graph = model.computing
    return Variant(
        name=name,
        content=model.content,
        path=path,
        fingerprint=model.fingerprint,
        inputs=_infos(graph, model_inputs(graph, meta.get("inputs"))),
        outputs=_infos(graph, model_outputs(graph, meta.get("outputs"))),
        tensors=tuple(_info(graph, i) for i in range(len(graph.main.tensors))),
        notes=(*meta.get("notes", ()), *_training_notes(meta.get("training"))),
        training=TrainingSummary(**meta["training"]) if meta.get("training") else None,
    )
