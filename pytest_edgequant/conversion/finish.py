"""From what a converter gave to a variant's file: I/O type, and checks."""

from __future__ import annotations

from pytest_edgequant.conversion import check
from pytest_edgequant.conversion.tensorflow_worker import Converted
from pytest_edgequant.errors import ConversionError
from pytest_edgequant.forms import VariantSpec
from pytest_edgequant.tflite.float_form import DropSimulatedQuantization
from pytest_edgequant.tflite.graph import read_graph
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
