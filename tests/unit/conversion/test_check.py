"""What a converted file must be for its name, and what is said where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from model_building import one_operator, tensor

from pytest_edgequant.conversion.check import check_inside, check_integer
from pytest_edgequant.errors import ConversionError
from pytest_edgequant.forms import VARIANTS, VariantSpec
from pytest_edgequant.tflite.model import TFLiteModel

FORMS = [s.name for s in VARIANTS.values() if s.name != "as_is" and not s.trained]
INTEGER = [s for s in VARIANTS.values() if s.activations is not None and not s.trained]


@pytest.fixture(scope="module")
def models(tiny: Mapping[str, Path]) -> dict[str, TFLiteModel]:
    return {form: TFLiteModel(tiny[form].read_bytes(), "tiny") for form in FORMS}


@pytest.mark.parametrize("spec", INTEGER, ids=lambda spec: spec.name)
@pytest.mark.parametrize("form", FORMS)
def test_only_a_form_itself_passes_its_check(
    form: str, spec: VariantSpec, models: dict[str, TFLiteModel]
) -> None:
    if form == spec.name:
        check_integer(models[form], spec)
    else:
        with pytest.raises(ConversionError, match=r"^tiny: "):
            check_integer(models[form], spec)


def test_a_fall_back_to_float_names_tensors_operators_and_what_to_do(
    models: dict[str, TFLiteModel],
) -> None:
    with pytest.raises(ConversionError) as caught:
        check_inside(models["dynamic_range"], VARIANTS["int8"])
    said = str(caught.value)
    assert said.startswith("tiny: int8 fell back to float in ")
    assert "of CONV_2D (operator 0)\n" in said
    assert "\n  Replace these operators" in said


def test_a_long_list_is_cut(models: dict[str, TFLiteModel]) -> None:
    with pytest.raises(ConversionError, match=r"and 1 more|and [2-9] more"):
        check_inside(models["float16"], VARIANTS["int8"])


def test_float_inputs_and_outputs_are_no_int8(models: dict[str, TFLiteModel]) -> None:
    with pytest.raises(ConversionError, match=r"not a real int8 .*: input 'serving_default_image"):
        check_integer(models["int8_float_io"], VARIANTS["int8"])


def test_wider_weights_and_outputs_are_named() -> None:
    x = tensor("x", [1, 4], "INT8", scales=[0.5], zero_points=[0])
    w = tensor("wide", [3, 4], "INT16", scales=[0.5], zero_points=[0])
    y = tensor("y", [1, 3], "INT16", scales=[0.5], zero_points=[0])
    content = one_operator("FULLY_CONNECTED", [x, w], y, constants={1: np.zeros(12, np.int16)})
    with pytest.raises(ConversionError) as caught:
        check_integer(TFLiteModel(content), VARIANTS["int8"])
    said = str(caught.value)
    assert (
        ": weights 'wide' (INT16) of FULLY_CONNECTED (operator 0)"
        "\n  output 'y' (INT16) of FULLY_CONNECTED (operator 0)\n"
    ) in said


def test_integer_indices_stay_integer() -> None:
    """An input of class numbers or token ids is no float that was forgotten."""
    ids = tensor("ids", [1, 2], "INT32")
    table = tensor("table", [5, 4], "INT8", scales=[0.5], zero_points=[0])
    y = tensor("y", [1, 2, 4], "INT8", scales=[0.5], zero_points=[0])
    content = one_operator(
        "EMBEDDING_LOOKUP", [ids, table], y, constants={1: np.zeros(20, np.int8)}
    )
    check_integer(TFLiteModel(content), VARIANTS["int8"])
