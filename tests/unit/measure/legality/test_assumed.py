"""What TFLM's kernels assume of scales and zero points, asked of TFLM itself.

Each operator in each type is run with every tensor's scale, zero point and number of scales
changed, one at a time. What TFLM computes wrongly, against LiteRT's float kernels, a rule must
refuse, and what it computes rightly none may. The default run takes every seventh change;
EDGEQUANT_WHOLE=1 all of them (about a minute).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scale_probe
from ai_edge_litert import schema_py_generated as schema
from kernel_probe import PROBES
from model_building import (
    BUILTIN_CODES,
    kept_in_variable,
    one_operator,
    tensor,
)
from scale_probe import Case, Scaled

from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.measure.legality import Severity, findings, graph_refusals
from pytest_edgequant.records import Target
from pytest_edgequant.targets import Targets
from pytest_edgequant.tflite.edit import drop_unused, operator_code, pack, unpack
from pytest_edgequant.tflite.graph import read_graph

WHOLE = bool(os.environ.get("EDGEQUANT_WHOLE"))


def board(**changes: Any) -> Target:
    return dataclasses.replace(Targets().get("nano33ble"), **{"tflm": "2026-08-20", **changes})


CMSIS_NN, REFERENCE = board(), board(kernels="reference")


def rules_of(content: bytes, target: Target = REFERENCE) -> set[str]:
    found = findings(read_graph(content), target)
    return {f.rule for f in found if f.severity is not Severity.WARNING}


@pytest.fixture(scope="module")
def litert() -> Iterator[IsolatedProcess]:
    process = IsolatedProcess("LiteRT", timeout=60)
    yield process
    process.close()


UNDECIDED = {
    # Few values of a comparison change with a scale, and none need be among the samples.
    ("EQUAL", "scale for each"),
    ("NOT_EQUAL", "scale for each"),
    ("CAST", "zero point"),
    ("CAST", "scale for each"),
    ("CAST", "all"),
    # A state of zeros, and a bias that is small, are the same in any scale.
    ("SVDF", "scale for each"),
}
NEVER_RIGHT = {"GREATER", "LOGICAL_AND", "LOGICAL_OR", "SVDF", "TRANSPOSE_CONV", "CAST"}
"""Operators that are wrong with some types in whatever scale."""


def quantized_types() -> Iterator[Any]:
    for name in sorted(PROBES):
        for types in scale_probe.combinations(name):
            if name.startswith("LOGICAL"):
                continue  # LiteRT takes them as booleans alone: test_types_read_as_others
            yield pytest.param(name, types, id="-".join((name, *types.values())))


def wraps(case: Case) -> bool:
    """Whether a cast cuts off the upper byte, which has nothing to do with scales."""
    return case.name == "CAST" and case.kinds == ["INT16", "INT8"]


@pytest.mark.parametrize("name, types", list(quantized_types()))
def test_the_rules_are_what_tflm_computes(
    name: str, types: dict[str, str], tflm: IsolatedProcess, litert: IsolatedProcess
) -> None:
    base, runs = scale_probe.based(tflm, litert, scale_probe.case(name, types))
    if not runs:
        assert name in NEVER_RIGHT
        assert rules_of(base.content) or wraps(base)
        return
    assert not rules_of(base.content) or scale_probe.outcome(tflm, litert, base) != "right"
    problems = []
    for number, (change, case) in enumerate(scale_probe.variations(base)):
        if not WHOLE and (number + len(name)) % 7:
            continue
        said = rules_of(case.content)
        if any(name == n and word in change for n, word in UNDECIDED):
            continue
        outcome = scale_probe.outcome(tflm, litert, case)
        if (outcome == "wrong" and not said) or (outcome == "right" and said):
            problems.append((change, outcome, said))
    assert not problems


@pytest.mark.parametrize("name", ["LOGICAL_AND", "LOGICAL_OR"])
@pytest.mark.parametrize("kind", ["INT8", "INT16", "UINT8", "INT32"])
def test_types_read_as_others(name: str, kind: str, tflm: IsolatedProcess) -> None:
    """TFLM's logical operators read single bytes, whatever the tensors' type is."""
    case = scale_probe.case(name, {"T": kind})
    sample = [np.full((1, 4), value, scale_probe.NUMPY[kind]) for value in (2, 1)]
    ((got,),) = tflm.call(scale_probe.run_tflm, case.content, [sample])
    assert not np.array_equal(got, np.ones((1, 4)))
    assert "ignored_scales" in rules_of(case.content)


# -- messages -------------------------------------------------------------------------------------


def unary(name: str, output: tuple[float, int], kind: str = "INT8", layer: str = "gate") -> bytes:
    x = tensor("x", [1, 4], kind, scales=[0.05], zero_points=[0])
    return one_operator(
        name, [x], tensor(layer, [1, 4], kind, scales=[output[0]], zero_points=[output[1]])
    )


@pytest.mark.parametrize(
    "name, kind, scale, zero, written",
    [
        ("LOGISTIC", "INT8", 1 / 256, -128, "0.00390625 (1/256), zero point -128"),
        ("TANH", "INT8", 1 / 128, 0, "0.0078125 (1/128), zero point 0"),
        ("L2_NORMALIZATION", "INT8", 1 / 128, 0, "0.0078125 (1/128), zero point 0"),
        ("SOFTMAX", "INT8", 1 / 256, -128, "0.00390625 (1/256), zero point -128"),
        ("LOG_SOFTMAX", "INT8", 1 / 16, 127, "0.0625 (1/16), zero point 127"),
        ("LOGISTIC", "INT16", 1 / 32768, 0, "3.05176e-05 (1/32768), zero point 0"),
        ("TANH", "INT16", 1 / 32768, 0, "3.05176e-05 (1/32768), zero point 0"),
        ("SOFTMAX", "INT16", 1 / 32768, 0, "3.05176e-05 (1/32768), zero point 0"),
    ],
)
def test_an_assumed_output_scale_is_told_with_the_layer_and_both(
    name: str, kind: str, scale: float, zero: int, written: str
) -> None:
    for target in (CMSIS_NN, REFERENCE):
        assert rules_of(unary(name, (scale, zero), kind), target) == set()
        assert rules_of(unary(name, (scale * 1.0001, zero), kind), target) == set()
    (said,) = graph_refusals(read_graph(unary(name, (2 * scale, zero), kind)), CMSIS_NN)
    assert said.startswith("TFLM's kernel assumes one scale and zero point of its output")
    assert f"{name} (operator 0, layer 'gate'" in said
    assert f"assumes scale {written}" in said
    assert "read 2 times as large" in said
    off = zero + (5 if zero < 100 else -5)
    assert "fixed_scale" in rules_of(unary(name, (scale, off), kind))
    assert rules_of(unary(name, (2 * scale, zero), kind), Targets().get("rpi4")) == set()


def test_a_relu6_of_its_own_is_told_to_be_fused() -> None:
    (said,) = graph_refusals(read_graph(unary("RELU6", (6 / 255, -128))), CMSIS_NN)
    assert "the input 'x' has scale 0.05, zero point 0, the result 'gate' scale 0.0235" in said
    assert "Put ReLU6 directly behind the layer" in said
    assert rules_of(unary("RELU6", (0.05, 0))) == set()


def test_what_runs_but_wrongly_is_no_refusal_of_the_interpreter() -> None:
    graph = read_graph(unary("TANH", (1 / 64, 0)))
    assert graph_refusals(graph, CMSIS_NN)
    assert graph_refusals(graph, CMSIS_NN, wrong_results=False) == []


def conv(bias: Any, scales: list[float], zeros: list[int], weights_zero: int = 0) -> bytes:
    """A 1x1 convolution of 2 channels to 2: data with the scale 0.1, weights with 0.5 and 0.25."""
    x = tensor("x", [1, 1, 1, 2], "INT8", scales=[0.1], zero_points=[3])
    w = tensor("w", [2, 1, 1, 2], "INT8", scales=[0.5, 0.25], zero_points=[weights_zero] * 2)
    b = tensor("b", [2], "INT32", scales=scales, zero_points=zeros)
    y = tensor("y", [1, 1, 1, 2], "INT8", scales=[0.2], zero_points=[0])
    return one_operator(
        "CONV_2D",
        [x, w, b],
        y,
        constants={1: np.ones((2, 1, 1, 2), np.int8), 2: np.asarray(bias, np.int32)},
    )


def test_a_bias_with_another_scale_counts_by_what_it_does() -> None:
    right = [0.05, 0.025]
    assert rules_of(conv([1000, -1000], right, [0, 0])) == set()
    # Converters share one bias of zeros between layers: its scale does not matter.
    assert rules_of(conv([0, 0], [0.7, 0.9], [0, 0])) == set()
    assert rules_of(conv([1, 1], [0.1, 0.05], [0, 0])) == set()
    assert rules_of(conv([1000, 0], [0.05, 0.05], [0, 0])) == {"bias_scale"}
    assert rules_of(conv([-(2**31), 0], [0.0501, 0.025], [0, 0])) == {"bias_scale"}
    (said,) = graph_refusals(read_graph(conv([1000, 0], [0.05, 0.05], [0, 0])), CMSIS_NN)
    assert "'b' has the scale 0.05, the kernel assumes 0.025" in said
    assert "up to 125 steps off" in said
    assert rules_of(conv([1000, 0], right, [40, 0])) == {"zero_points"}
    assert rules_of(conv([1000, 0], right, [0, 0], weights_zero=1)) == {"zero_points"}


def test_the_zero_point_of_weights_is_lost_in_cmsis_nn_alone() -> None:
    """CMSIS-NN computes dense layers on more than two dimensions as convolutions."""

    def dense(shape: list[int], kind: str = "INT8") -> bytes:
        x = tensor("x", [*shape, 4], kind, scales=[0.1], zero_points=[0])
        w = tensor("w", [2, 4], "INT8", scales=[0.5], zero_points=[7])
        y = tensor("y", [*shape, 2], kind, scales=[0.2], zero_points=[0])
        return one_operator("FULLY_CONNECTED", [x, w], y, constants={1: np.ones((2, 4), np.int8)})

    for content, wrong in ((dense([1]), False), (dense([1, 3]), True), (dense([1], "INT16"), True)):
        assert rules_of(content, REFERENCE) == set()
        assert (rules_of(content, CMSIS_NN) == {"zero_points"}) is wrong


@pytest.mark.parametrize(
    "scales, word",
    [([], "has no scale"), ([0.0], "the scale 0"), ([-0.1], "-0.1"), ([np.nan], "nan")],
)
def test_a_scale_that_is_none(scales: list[float], word: str) -> None:
    x = tensor("x", [1, 4], "INT8", scales=scales, zero_points=[0] * len(scales))
    y = tensor("y", [1, 4], "INT8", scales=[0.1], zero_points=[0])
    content = one_operator("RELU", [x], y)
    assert "usable_scales" in rules_of(content)
    (said,) = [t for t in graph_refusals(read_graph(content), CMSIS_NN) if "usable" in t]
    assert word in said
    moved = one_operator("RESHAPE", [x], tensor("y", [2, 2], "INT8"))
    assert ("usable_scales" in rules_of(moved)) is bool(scales)


def test_every_reference_model_keeps_its_verdict(reference: Path) -> None:
    """Converters write what the kernels assume: of real files none is computed wrongly."""
    from pytest_edgequant.measure.legality import assumed, kept, products

    names = {rule.name for module in (assumed, kept, products) for rule in module.RULES}
    for path in sorted((reference / "models").glob("*.tflite")):
        for target in (CMSIS_NN, REFERENCE):
            assert not rules_of(path.read_bytes(), target) & names, path.name


# -- states, branches, variables ------------------------------------------------------------------


def lstm_alone(reference: Path) -> Any:
    """The int8 LSTM of a real model as a model of its own, unpacked."""
    model = unpack((reference / "models" / "tflm_micro_speech_lstm.tflite").read_bytes())
    graph = model.subgraphs[0]
    wanted = BUILTIN_CODES["UNIDIRECTIONAL_SEQUENCE_LSTM"]
    (operator,) = [o for o in graph.operators if operator_code(model, o) == wanted]
    graph.operators = [operator]
    graph.inputs = np.asarray([operator.inputs[0]], np.int32)
    graph.outputs = operator.outputs
    model.signatureDefs, model.metadata = [], []
    drop_unused(model)
    return model


@pytest.mark.parametrize(
    "position, scale, zero, rule",
    [
        (18, 1.5, 0, "lstm_states"),
        (18, 1.0, 20, "lstm_states"),
        (13, 1.0, 5000, "zero_points"),
        (13, 5.0, 0, "bias_scale"),
        (None, 1.0, 0, None),
        (0, 0.5, 0, None),
    ],
)
def test_what_an_lstm_assumes(
    position: int | None,
    scale: float,
    zero: int,
    rule: str | None,
    reference: Path,
    tflm: IsolatedProcess,
    litert: IsolatedProcess,
) -> None:
    model = lstm_alone(reference)
    graph = model.subgraphs[0]
    if position is not None:
        changed = graph.tensors[graph.operators[0].inputs[position]].quantization
        changed.scale = np.asarray(changed.scale, np.float32) * np.float32(scale)
        changed.zeroPoint = np.asarray(changed.zeroPoint) + zero
    if position == 0:
        for bias in range(12, 16):
            made = graph.tensors[graph.operators[0].inputs[bias]].quantization
            made.scale = np.asarray(made.scale, np.float32) * np.float32(scale)
    content = pack(model)
    real = unpack(scale_probe.in_float(content))
    real.subgraphs[0].operators[0].intermediates = None
    given, made = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    chance = np.random.default_rng(0)
    samples = [chance.integers(-128, 128, given.shape).astype(np.int8) for _ in range(2)]
    floats = [[scale_probe.dequantized(s, given).astype(np.float32)] for s in samples]
    want = np.stack([w[0] for w in litert.call(scale_probe.run_litert, pack(real), floats)])
    got = np.stack([g[0] for g in tflm.call(scale_probe.run_tflm, content, [[s] for s in samples])])
    stored = want / made.quantization.scale[0] + made.quantization.zeroPoint[0]
    off = np.abs(np.clip(stored, -128, 127) - got)
    assert bool(off.max() > 10) is (rule is not None)
    assert rules_of(content) == rules_of(content, CMSIS_NN) == ({rule} if rule else set())


def test_an_lstm_whose_cell_state_is_no_power_of_two(reference: Path) -> None:
    model = lstm_alone(reference)
    graph = model.subgraphs[0]
    cell = graph.tensors[graph.operators[0].inputs[19]].quantization
    cell.scale = np.asarray([0.0006], np.float32)
    (said,) = graph_refusals(read_graph(pack(model)), CMSIS_NN)
    assert "has the scale 0.0006, the kernel assumes a power of two such as 0.000488281" in said
    cell.scale = np.asarray([2.0**-12], np.float32)
    assert graph_refusals(read_graph(pack(model)), CMSIS_NN) == []


def branches(inside: float) -> bytes:
    """An IF whose branches take the value with the scale `inside` for 0.1 outside."""

    def branch() -> Any:
        made = schema.SubGraphT()
        made.tensors = [
            tensor(name, [1, 4], "INT8", scales=[inside], zero_points=[0]) for name in "ab"
        ]
        made.inputs, made.outputs = np.asarray([0], np.int32), np.asarray([1], np.int32)
        operator = schema.OperatorT()
        operator.opcodeIndex = 1
        operator.inputs, operator.outputs = made.inputs, made.outputs
        made.operators = [operator]
        return made

    x = tensor("x", [1, 4], "INT8", scales=[0.1], zero_points=[0])
    y = tensor("y", [1, 4], "INT8", scales=[0.1], zero_points=[0])
    model = unpack(one_operator("IF", [tensor("which", [1], "BOOL"), x], y))
    relu = schema.OperatorCodeT()
    relu.builtinCode = relu.deprecatedBuiltinCode = BUILTIN_CODES["RELU"]
    relu.version = 1
    model.operatorCodes.append(relu)
    options = schema.IfOptionsT()
    options.thenSubgraphIndex, options.elseSubgraphIndex = 1, 2
    operator = model.subgraphs[0].operators[0]
    operator.builtinOptionsType = schema.BuiltinOptions.IfOptions
    operator.builtinOptions = options
    model.subgraphs += [branch(), branch()]
    return pack(model)


def test_values_go_into_branches_as_they_are_stored(tflm: IsolatedProcess) -> None:
    """The RELU inside sees the same numbers in another scale, and so does what comes out."""
    sample = [np.asarray([True]), np.asarray([[-5, 0, 7, 100]], np.int8)]
    for inside in (0.1, 0.3):
        ((got,),) = tflm.call(scale_probe.run_tflm, branches(inside), [sample])
        assert got.tolist() == [[0, 0, 7, 100]]
        assert rules_of(branches(inside)) == ({"kept_in_branches"} if inside != 0.1 else set())


def test_values_go_through_variables_as_they_are_stored() -> None:
    assert rules_of(kept_in_variable(0.1)) == set()
    assert rules_of(kept_in_variable(0.2)) == {"kept_in_variables"}


def test_scales_of_a_hand_made_case_are_what_its_model_has() -> None:
    case = scale_probe.case("ADD", {"T": "INT8"})
    changed = case.having(1, Scaled((0.25,), (7,)))
    graph = read_graph(changed.having(2, Scaled((0.5,), (1,))).content)
    assert [t.quantization.scales[0] for t in graph.main.tensors if t.quantization] == [
        pytest.approx(0.047),
        0.25,
        0.5,
    ]
