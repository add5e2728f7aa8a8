"""The form of a file as its graph tells it, and what in it is float."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_edgequant.forms import VARIANTS
from pytest_edgequant.tflite.form import (
    detect_form,
    float16_tensors,
    float_tensors,
    hybrid_operators,
    quantized_nothing,
)
from pytest_edgequant.tflite.graph import Graph, read_graph

FORMS = [s.name for s in VARIANTS.values() if s.name != "as_is" and not s.trained]
# Reference models whose operators the converter left in float, whatever the file's name says.
FELL_BACK = {
    f"op_{name}.tflite"
    for name in (
        "addn_int8",
        "argmax_int8",
        "ceil_int8",
        "cos_int8",
        "ln_int8",
        "neg_int8",
        "padv2_int16x8",
        "round_int8",
        "sin_int8",
        "square_int8",
    )
}
# Signal processing on plain integers: nothing in it is quantized.
FELL_BACK |= {"csihar_Transformer_uthar_int8.tflite", "vey_dense_int8.tflite"}
# The second has float inputs and outputs, whatever its name says.
NO_FORM = {"tflm_audio_preprocessor_int8.tflite", "vey_custom_conv_int8.tflite"}


@pytest.fixture(scope="module")
def graphs(tiny: Mapping[str, Path]) -> dict[str, Graph]:
    return {form: read_graph(tiny[form].read_bytes()) for form in FORMS}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_told_from_the_graph(form: str, graphs: dict[str, Graph]) -> None:
    assert detect_form(graphs[form]) == form


def test_the_reference_models_are_what_their_names_say(reference: Path) -> None:
    different = {}
    for path in (reference / "models").glob("*.tflite"):
        named = path.stem.rpartition("_")[2]
        if named not in ("int8", "int16x8", "float32") or path.name in NO_FORM:
            continue
        expected = "mixed" if path.name in FELL_BACK else named
        found = detect_form(read_graph(path.read_bytes()))
        if found != expected:
            different[path.name] = found
    assert different == {}


def test_a_model_that_is_float_after_its_quantized_layers_is_mixed(reference: Path) -> None:
    graph = read_graph((reference / "models" / "op_ceil_int8.tflite").read_bytes())
    places = [f"{f.role} of {f.operator}" for f in float_tensors(graph)]
    assert places == ["activation of CEIL (operator 2)"] * 2


# -- float tensors ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["int8", "uint8_io", "int16x8"])
def test_integer_forms_have_no_float_tensor(form: str, graphs: dict[str, Graph]) -> None:
    assert float_tensors(graphs[form]) == []


def test_float_inputs_and_outputs_are_named(graphs: dict[str, Graph]) -> None:
    first, second = map(str, float_tensors(graphs["int8_float_io"]))
    assert first == "input 'serving_default_image:0' (FLOAT32) of the model"
    assert second.startswith("output 'StatefulPartitionedCall")
    assert second.endswith("(FLOAT32) of the model")


def test_float_weights_and_activations_are_named_with_their_operator(
    graphs: dict[str, Graph],
) -> None:
    said = [str(f) for f in float_tensors(graphs["float32"])]
    assert any(s.startswith("weights") and "of CONV_2D (operator 0)" in s for s in said)
    assert any(s.startswith("activation") and "of FULLY_CONNECTED (operator 2)" in s for s in said)
    assert len(said) == len(set(said))


def test_float16_tensors_are_the_weights(graphs: dict[str, Graph]) -> None:
    assert len(float16_tensors(graphs["float16"])) == 4
    assert float16_tensors(graphs["float32"]) == []


def test_hybrid_operators_are_those_of_dynamic_range(graphs: dict[str, Graph]) -> None:
    found = [operator.place for _, operator in hybrid_operators(graphs["dynamic_range"])]
    assert "FULLY_CONNECTED (operator 2)" in found
    for form in set(FORMS) - {"dynamic_range"}:
        assert hybrid_operators(graphs[form]) == []


@pytest.mark.parametrize("form", FORMS)
def test_only_float_files_have_no_quantized_weights(form: str, graphs: dict[str, Graph]) -> None:
    assert quantized_nothing(graphs[form]) is (form in ("float32", "float16"))
