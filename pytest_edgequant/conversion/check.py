"""Whether a converted file is what its name says: an int8 one int8, a float one float.

Converters fall back to float without a word; these checks look at every tensor and operator.
"""

from __future__ import annotations

from pytest_edgequant.conversion.replacing import replacements
from pytest_edgequant.errors import ConversionError
from pytest_edgequant.forms import VariantSpec
from pytest_edgequant.tflite.form import (
    EDGES,
    FLOAT_TYPES,
    activation_of,
    inner_float,
    weights_of,
)
from pytest_edgequant.tflite.graph import Graph
from pytest_edgequant.tflite.model import TFLiteModel
from pytest_edgequant.wording import counted, facts, first_of


def _ways_out(graph: Graph) -> str:
    """What replaces the operators that fell back to float, in the user's layers."""
    left = {f.operator.split(" ")[0] for f in inner_float(graph)} - {*EDGES, "the"}
    ways = replacements(graph, left)
    return ". ".join(ways[:4]) or "Replace these operators by ones that the converter quantizes"


def check_inside(model: TFLiteModel, spec: VariantSpec) -> None:
    """Make sure that nothing fell back to float between the model's inputs and outputs.

    Raises `ConversionError` naming tensors and operators.
    """
    problems = [str(f) for f in inner_float(model.graph)]
    if problems:
        raise ConversionError(
            facts(
                f"{model.where}: {spec.family} fell back to float in "
                f"{counted(len(problems), 'tensor')}:",
                (*first_of(problems), f"{_ways_out(model.graph)}, or use float32"),
            )
        )


def check_float(model: TFLiteModel, spec: VariantSpec) -> None:
    """Make sure that a float form computes in float.

    The converter takes the ranges of simulated quantization for those of an integer model. Raises
    `ConversionError` naming operators.
    """
    found = []
    for subgraph, operator in model.graph.operators():
        tensor = activation_of(subgraph, operator)
        if operator.name in EDGES or tensor is None or tensor.constant:
            continue
        if tensor.quantization is not None and tensor.type not in FLOAT_TYPES:
            found.append(operator.place)
    if found:
        raise ConversionError(
            facts(
                f"{model.where}: the model was trained with simulated quantization, from whose "
                f"ranges the converter made integer operators; this is no {spec.name}:",
                (
                    *first_of(found),
                    "Use int8, float32, or the model as it was before (without the layers that "
                    "simulate)",
                ),
            )
        )


def check_integer(model: TFLiteModel, spec: VariantSpec) -> None:
    """Make sure that an integer variant is what its name says.

    Weights int8, activations of the form's type, inputs and outputs of its I/O type (integer
    indices stay), nothing float inside. Raises `ConversionError` naming tensors and operators.
    """
    assert spec.activations is not None
    check_inside(model, spec)
    problems = []
    for subgraph, operator in model.graph.operators():
        weights = weights_of(subgraph, operator)
        if weights is not None and weights.type not in ("INT8", "INT4", "INT2"):
            problems.append(f"weights {weights.shown} ({weights.type}) of {operator.place}")
        first = operator.outputs[0] if operator.outputs else -1
        if weights is not None and first >= 0:
            output = subgraph.tensors[first]
            if output.type != spec.activations.upper():
                problems.append(f"output {output.shown} ({output.type}) of {operator.place}")
    main = model.graph.main
    allowed = {spec.io.upper(), "INT32", "INT64", "BOOL"}
    for role, indices in (("input", main.inputs), ("output", main.outputs)):
        for index in indices:
            tensor = main.tensors[index]
            if tensor.type not in allowed:
                problems.append(f"{role} {tensor.shown} ({tensor.type})")
    if problems:
        raise ConversionError(
            facts(f"{model.where}: not a real {spec.name} ({spec.summary}):", first_of(problems))
        )
