"""From what a converter gave to a variant: I/O type, checks, and the record of the file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_edgequant.conversion import check
from pytest_edgequant.conversion.tensorflow_worker import Converted
from pytest_edgequant.errors import ConversionError
from pytest_edgequant.forms import VariantSpec
from pytest_edgequant.records import TensorInfo, TrainingSummary, Variant
from pytest_edgequant.tflite.complete import check_complete
from pytest_edgequant.tflite.ends import Ends, model_inputs, model_outputs
from pytest_edgequant.tflite.float_form import DropSimulatedQuantization
from pytest_edgequant.tflite.graph import Graph, read_graph
from pytest_edgequant.tflite.io_types import ChangeIoType
from pytest_edgequant.tflite.passthrough import MoveIntegers
from pytest_edgequant.tflite.rewrite import Rewrite
from pytest_edgequant.tflite.state import QuantizeState


def _rewritten(rewrite: Rewrite, content: bytes, place: str) -> bytes:
    """The file after a rewrite that it must be able to take."""
    found = rewrite.apply(content)
    if found.refused:
        raise ConversionError(f"{place}: {found.reason}")
    return found.content


def finish(converted: Converted, spec: VariantSpec, where: str) -> tuple[bytes, list[str]]:
    """The family's file as this member: I/O type changed, then checked for what it must be."""
    place = f"{where}: {spec.name}"
    content, notes = converted.content, []
    if spec.activations is None:
        floating = DropSimulatedQuantization(constants=spec.family == "float32")
        content = _rewritten(floating, content, place)
        check.check_float(read_graph(content, place), spec, place)
    if spec.activations is not None:
        for rewrite in (MoveIntegers(), QuantizeState()):
            content = _rewritten(rewrite, content, place)
        if spec.io != "float32":
            # The check of the whole comes first: it names what fell back to float.
            check.check_inside(read_graph(content, place), spec, place)
            content = _rewritten(ChangeIoType(spec.activations, spec.io), content, place)
        check.check_integer(read_graph(content, place), spec, place)
    elif spec.name == "dynamic_range" and check.quantized_nothing(read_graph(content, place)):
        notes.append(
            "dynamic_range: the converter quantized nothing (it leaves layers under 1,024 weights "
            "as they are); this file is float32"
        )
    return content, notes


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


def build_variant(
    name: str, content: bytes, path: Path, meta: Mapping[str, Any], where: str
) -> Variant:
    """The record of a .tflite file; raises `ModelError` for one that computes nothing."""
    graph = read_graph(content, where)
    check_complete(graph, where)
    return Variant(
        name=name,
        content=content,
        path=path,
        fingerprint=hashlib.sha256(content).hexdigest(),
        inputs=_infos(graph, model_inputs(graph, meta.get("inputs"))),
        outputs=_infos(graph, model_outputs(graph, meta.get("outputs"))),
        tensors=tuple(_info(graph, i) for i in range(len(graph.main.tensors))),
        notes=(*meta.get("notes", ()), *_training_notes(meta.get("training"))),
        training=TrainingSummary(**meta["training"]) if meta.get("training") else None,
    )
