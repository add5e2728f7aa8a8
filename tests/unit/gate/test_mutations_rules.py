"""The mutation test of legality: one operator, type, scale or shape that a rule refuses.

Each goes through every check about a target, and none may pass; its twin passes all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

import kernel_probe
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from kernel_probe import PROBES
from model_building import kept_in_variable, one_operator, tensor
from mutations import Mutation
from recorded_events import recording

import pytest_edgequant as eq
from pytest_edgequant.measure.legality import RULES, Severity
from pytest_edgequant.records import Target
from pytest_edgequant.targets import Targets
from pytest_edgequant.tflite.edit import pack, unpack

pytestmark = pytest.mark.usefixtures("pipeline")


def board(name: str = "nano33ble", **changes: Any) -> Target:
    return dataclasses.replace(Targets().get(name), **{"tflm": "2026-08-20", **changes})


CMSIS_NN = board()


def probe(name: str, scale: float = 0.5, given: float = 0.5, **types: str) -> bytes:
    """One operator; `given` and `scale` are its input's and its output's scale."""
    kinds = ("INT8", "INT16", "UINT8", "INT4")
    return kernel_probe.build(
        name,
        PROBES[name],
        types,
        dict.fromkeys(kinds, (scale, 0)),
        dict.fromkeys(kinds, (given, 0)),
    )


def unary(name: str, kind: str, signature: Any = None, **options: Any) -> bytes:
    scaled: Mapping[str, Any] = {"scales": [0.5], "zero_points": [0]} if kind == "INT8" else {}
    x, y = (tensor(n, [1, 2, 4], kind, **scaled) for n in "xy")
    x.shapeSignature = signature
    return one_operator(name, [x], y, **options)


def padded(kind: str, rank: int, constant: bool = True) -> bytes:
    """Zeros at both ends of the last of so many dimensions; how many may be an input."""
    scaled: Mapping[str, Any] = {"scales": [0.5], "zero_points": [0]} if kind == "INT8" else {}
    pads = np.asarray([[0, 0]] * (rank - 1) + [[1, 1]], np.int32)
    x = tensor("x", [1] * (rank - 1) + [4], kind, **scaled)
    y = tensor("y", [1] * (rank - 1) + [6], kind, **scaled)
    data = {1: pads} if constant else {}
    return one_operator("PAD", [x, tensor("p", [rank, 2], "INT32")], y, constants=data)


def dense(given: str, channels: int) -> bytes:
    scaled: Mapping[str, Any] = {"scales": [0.5], "zero_points": [0]}
    weights = tensor("w", [3, 4], "INT8", scales=[0.5] * channels, zero_points=[0] * channels)
    return one_operator(
        "FULLY_CONNECTED",
        [tensor("x", [1, 4], given, **scaled), weights],
        tensor("y", [1, 3], given, **scaled),
        constants={1: np.ones((3, 4), np.int8)},
    )


def joined(activation: int) -> bytes:
    model = PROBES["CONCATENATION"]
    fused = dict(model.options, fusedActivationFunction=activation)
    return kernel_probe.build(
        "CONCATENATION", dataclasses.replace(model, options=fused), {"T": "FLOAT32"}
    )


def transposed(bias: bool) -> bytes:
    model = PROBES["TRANSPOSE_CONV"]
    inputs = model.inputs if bias else model.inputs[:3]
    kinds = {"T": "INT16", "W": "INT8", "B": "INT64"}
    return kernel_probe.build("TRANSPOSE_CONV", dataclasses.replace(model, inputs=inputs), kinds)


def scaled(name: str, output: Any, given: Any = (0.5,), kind: str = "INT8") -> bytes:
    """One operator on four values whose input has the scales `given`, and its output another."""
    x = tensor("x", [1, 4], kind, scales=given, zero_points=[0] * len(given))
    return one_operator(name, [x], tensor("y", [1, 4], kind, scales=[output], zero_points=[0]))


def conv(bias_scale: float = 0.05, weights_zero: int = 0) -> bytes:
    """A 1x1 convolution of two channels: data with the scale 0.1, weights with 0.5."""
    x = tensor("x", [1, 1, 1, 2], "INT8", scales=[0.1], zero_points=[3])
    w = tensor("w", [2, 1, 1, 2], "INT8", scales=[0.5] * 2, zero_points=[weights_zero] * 2)
    b = tensor("b", [2], "INT32", scales=[bias_scale] * 2, zero_points=[0] * 2)
    y = tensor("y", [1, 1, 1, 2], "INT8", scales=[0.2], zero_points=[0])
    data = {1: np.ones((2, 1, 1, 2), np.int8), 2: np.asarray([1000, -1000], np.int32)}
    options = schema.Conv2DOptionsT()
    options.strideW = options.strideH = 1
    options.dilationWFactor = options.dilationHFactor = 1
    model = unpack(one_operator("CONV_2D", [x, w, b], y, constants=data))
    model.subgraphs[0].operators[0].builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    model.subgraphs[0].operators[0].builtinOptions = options
    return pack(model)


Pair = tuple[bytes, Target, bytes, Target]


def same(target: Target, fine: bytes, broken: bytes) -> Pair:
    return fine, target, broken, target


CASES: dict[str, Callable[[Any], Pair]] = {
    "hybrid": lambda tiny: same(CMSIS_NN, tiny("int8"), tiny("dynamic_range")),
    "float16": lambda tiny: same(CMSIS_NN, tiny("float32"), tiny("float16")),
    "integer_io": lambda tiny: same(
        board(requires_integer_io=True), tiny("int8"), tiny("int8_float_io")
    ),
    "dynamic_shapes": lambda _: same(
        CMSIS_NN, unary("RELU", "FLOAT32", [-1, 2, 4]), unary("RELU", "FLOAT32", [1, -1, 4])
    ),
    "custom_operators": lambda _: (
        unary("CUSTOM", "INT8", custom_code="MyFilter"),
        board(custom_operators=("MyFilter",)),
        unary("CUSTOM", "INT8", custom_code="MyFilter"),
        board(custom_operators=("MyFlter",)),
    ),
    "no_kernel": lambda _: same(
        CMSIS_NN, unary("RELU", "FLOAT32"), unary("RELU_0_TO_1", "FLOAT32")
    ),
    "unusable_types": lambda _: same(CMSIS_NN, unary("ABS", "FLOAT32"), unary("ABS", "FLOAT64")),
    "kernel_types": lambda _: same(
        CMSIS_NN, probe("GATHER", T="INT8", I="INT32"), probe("GATHER", T="INT8", I="INT64")
    ),
    "constant_inputs": lambda _: same(
        CMSIS_NN, padded("FLOAT32", 3), padded("FLOAT32", 3, constant=False)
    ),
    "dimensions": lambda _: same(CMSIS_NN, padded("FLOAT32", 5), padded("FLOAT32", 6)),
    "fused_activation": lambda _: same(CMSIS_NN, joined(0), joined(1)),
    "equal_scales": lambda _: same(
        CMSIS_NN,
        probe("MAX_POOL_2D", 0.5, T="INT8"),
        probe("MAX_POOL_2D", float(np.nextafter(np.float32(0.5), np.float32(1))), T="INT8"),
    ),
    "scale_ratio": lambda _: same(
        CMSIS_NN,
        probe("EQUAL", given=float(np.nextafter(np.float32(1), np.float32(0))), T="INT8"),
        probe("EQUAL", given=1.0, T="INT8"),
    ),
    "fixed_scale": lambda _: same(CMSIS_NN, scaled("TANH", 1 / 128), scaled("TANH", 1 / 64)),
    "ignored_scales": lambda _: same(
        CMSIS_NN, probe("LOGICAL_AND", T="BOOL"), probe("LOGICAL_AND", T="INT8")
    ),
    "usable_scales": lambda _: same(
        CMSIS_NN, scaled("RELU", 0.5), scaled("RELU", 0.5, given=(0.0,))
    ),
    "kept_values": lambda _: same(CMSIS_NN, scaled("RESHAPE", 0.5), scaled("RESHAPE", 0.25)),
    "kept_in_variables": lambda _: same(CMSIS_NN, kept_in_variable(0.1), kept_in_variable(0.2)),
    "zero_points": lambda _: same(CMSIS_NN, conv(), conv(weights_zero=1)),
    "bias_scale": lambda _: same(CMSIS_NN, conv(), conv(bias_scale=0.1)),
    "per_channel_scales": lambda _: same(
        CMSIS_NN, scaled("RELU", 0.5), scaled("RELU", 0.5, given=(0.5, 0.5, 0.5, 0.5))
    ),
    "per_channel_dense": lambda _: same(CMSIS_NN, dense("INT16", 1), dense("INT16", 3)),
    "per_channel_dense_unknown": lambda _: (
        dense("INT8", 3),
        board(tflm="2024-08"),
        dense("INT8", 3),
        board(tflm="2024-07"),
    ),
    "transpose_conv_bias": lambda _: same(CMSIS_NN, transposed(True), transposed(False)),
    "cmsis_dimensions": lambda _: same(CMSIS_NN, padded("INT8", 4), padded("INT8", 5)),
}

CHECKS: dict[str, Callable[[bytes, Target], object]] = {
    "assert_deployable": eq.assert_deployable,
    "assert_arena_fits": eq.assert_arena_fits,
    "assert_size_within": lambda model, target: eq.assert_size_within(
        model, "1 MiB", target=target
    ),
}


def read(tiny: Mapping[str, Any]) -> Callable[[str], bytes]:
    return lambda form: bytes(tiny[form].read_bytes())


@pytest.mark.parametrize("rule", CASES)
def test_what_a_rule_refuses_passes_no_check(rule: str, tiny: Mapping[str, Any]) -> None:
    fine, first, broken, second = CASES[rule](read(tiny))
    error = (eq.UnsupportedOperators, eq.CannotRun)
    Mutation(
        rule,
        partial(eq.assert_ops_supported, fine, first),
        partial(eq.assert_ops_supported, broken, second),
        error,
        rf"\[{rule}\]|no hybrid kernels|no float16 kernels",
    ).check()
    for check in CHECKS.values():
        with pytest.raises(eq.CannotRun):
            check(broken, second)


@pytest.mark.skipif(find_spec("tflite_micro") is None, reason="no tflite-micro wheel here")
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("rule", CASES)
def test_its_twin_passes_every_check(check: str, rule: str, tiny: Mapping[str, Any]) -> None:
    if rule == "custom_operators" and check != "assert_size_within":
        pytest.skip("the firmware's own operator has an arena that nobody else knows")
    fine, first, _, _ = CASES[rule](read(tiny))
    CHECKS[check](fine, first)


WARNED: dict[str, tuple[bytes, bytes, Target]] = {
    "software_float": (unary("RELU", "INT8"), unary("RELU", "FLOAT32"), board("pico")),
    "edge_tpu_quantized": (
        probe("RELU", T="INT8"),
        probe("RELU", T="INT16"),
        board("coral-dev-board-micro"),
    ),
    "edge_tpu_operators": (
        probe("RELU", T="INT8"),
        probe("LEAKY_RELU", T="INT8"),
        board("rpi4", accelerator="edgetpu"),
    ),
    "ethos_u_operators": (
        probe("RELU", T="INT8"),
        probe("ARG_MAX", T="INT8", I="INT32", O="INT32"),
        board(accelerator="ethos-u55-128"),
    ),
}


@pytest.mark.parametrize("rule", WARNED)
def test_what_a_rule_warns_of_is_said(rule: str) -> None:
    fine, warned, target = WARNED[rule]

    def said(content: bytes) -> str:
        with recording() as events:
            eq.assert_size_within(content, "1 MiB", target=target)
        return " ".join(n for e in events if e["kind"] == "variant" for n in e["notes"])

    assert f"[{rule}]" in said(warned)
    assert f"[{rule}]" not in said(fine)


ASSUMED = {"lstm_states", "kept_in_branches"}
"""Rules whose models need a file of the reference data, or many lines (`test_assumed.py`)."""


OF_LITERT = {"quantized_dimension", "pad_value_type"}
"""Rules of a runtime without an arena (`test_legality_litert.py`)."""


def test_every_rule_has_a_mutation() -> None:
    warned = {rule.name for rule in RULES if rule.severity is Severity.WARNING}
    assert warned == set(WARNED)
    assert {rule.name for rule in RULES} - warned == {*CASES, *ASSUMED, *OF_LITERT}
