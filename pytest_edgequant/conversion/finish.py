"""From what a converter gave to a variant's file: I/O type, and checks."""

from __future__ import annotations

from pytest_edgequant.conversion import check
from pytest_edgequant.conversion.order import Converted
from pytest_edgequant.errors import ConversionError
from pytest_edgequant.forms import VariantSpec
from pytest_edgequant.tflite.float_form import DropSimulatedQuantization
from pytest_edgequant.tflite.form import quantized_nothing
from pytest_edgequant.tflite.io_types import ChangeIoType
from pytest_edgequant.tflite.model import TFLiteModel
from pytest_edgequant.tflite.passthrough import MoveIntegers
from pytest_edgequant.tflite.rewrite import Rewrite
from pytest_edgequant.tflite.state import QuantizeState


def finish(
    converted: Converted, spec: VariantSpec, where: str
) -> tuple[TFLiteModel, tuple[str, ...]]:
    """The family's file as this member, checked for what it must be; and what to say of it.

    Raises `ConversionError` naming tensors and operators.
    """
    model = TFLiteModel(converted.content, f"{where}: {spec.name}")
    if spec.activations is None:
        return _float_form(model, spec)
    return _integer_form(model, spec), ()


def _rewritten(model: TFLiteModel, rewrite: Rewrite) -> TFLiteModel:
    """The file after a rewrite that it must be able to take."""
    found = rewrite.apply(model.content)
    if found.refused:
        raise ConversionError(f"{model.where}: {found.reason}")
    return TFLiteModel(found.content, model.where) if found.changed else model


def _float_form(model: TFLiteModel, spec: VariantSpec) -> tuple[TFLiteModel, tuple[str, ...]]:
    model = _rewritten(model, DropSimulatedQuantization(constants=spec.family == "float32"))
    check.check_float(model, spec)
    if spec.name == "dynamic_range" and quantized_nothing(model.graph):
        return model, (
            "dynamic_range: the converter quantized nothing (it leaves layers under 1,024 weights "
            "as they are); this file is float32",
        )
    return model, ()


def _integer_form(model: TFLiteModel, spec: VariantSpec) -> TFLiteModel:
    assert spec.activations is not None
    for rewrite in (MoveIntegers(), QuantizeState()):
        model = _rewritten(model, rewrite)
    if spec.io != "float32":
        # The check of the whole comes first: it names what fell back to float.
        check.check_inside(model, spec)
        model = _rewritten(model, ChangeIoType(spec.activations, spec.io))
    check.check_integer(model, spec)
    return model
