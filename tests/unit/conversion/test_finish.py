"""From a converter's file to a variant: what can't be made of it is said with its place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from model_building import kept_in_variable

from pytest_edgequant.conversion.finish import finish
from pytest_edgequant.conversion.order import Converted
from pytest_edgequant.errors import ConversionError
from pytest_edgequant.forms import get_spec


def test_a_state_that_is_read_on_two_grids_is_named_with_model_and_variant() -> None:
    converted = Converted(kept_in_variable(0.2, 0.3))
    with pytest.raises(ConversionError) as caught:
        finish(converted, get_spec("int8"), "digits.keras")
    assert str(caught.value).startswith("digits.keras: int8: the state 'state' is read with ")


@pytest.mark.parametrize("form, kind", [("int8", "INT8"), ("uint8_io", "UINT8")])
def test_inputs_and_outputs_get_the_type_of_the_form(
    form: str, kind: str, tiny: Mapping[str, Path]
) -> None:
    converted = Converted(tiny["int8_float_io"].read_bytes())
    model, notes = finish(converted, get_spec(form), "m")
    main = model.graph.main
    assert {main.tensors[i].type for i in (*main.inputs, *main.outputs)} == {kind}
    assert not notes


@pytest.mark.parametrize("form", ["float32", "int8_float_io", "int8"])
def test_what_needs_no_change_is_the_converters_own_file(
    form: str, tiny: Mapping[str, Path]
) -> None:
    content = tiny[form].read_bytes()
    assert finish(Converted(content), get_spec(form), "m")[0].content is content
