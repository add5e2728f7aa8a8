"""Whether a model can be deployed: what runtimes refuse, operators, types, all of it at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checked import UNKNOWN, Tiny, lone, needs_tflm, outcomes, said, target
from model_building import one_operator, tensor

from pytest_edgequant import (
    CannotRun,
    ModelError,
    NotDeployable,
    NotFullyInteger,
    Outcome,
    SettingsError,
    SizeExceeded,
    Unavailable,
    UnknownNameError,
    UnsupportedOperators,
    assert_arena_fits,
    assert_deployable,
    assert_fully_integer,
    assert_max_accuracy_drop,
    assert_ops_supported,
    assert_size_within,
)
from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.errors import TargetError
from pytest_edgequant.targets import Targets

pytestmark = pytest.mark.usefixtures("pipeline")


@pytest.mark.parametrize("check", [assert_deployable, assert_arena_fits, assert_ops_supported])
def test_a_microcontroller_made_in_python_has_no_litert_either(
    check: Callable[[Any, Any], None], tiny: Tiny
) -> None:
    board = dataclasses.replace(Targets().get("nano33ble"), runtime="litert")
    with pytest.raises(TargetError, match="the core 'cortex-m4' is a microcontroller's"):
        check(tiny["int8"], board)


# -- what a runtime refuses ---------------------------------------------------------------------

# Not all alike: agreement with one answer for all of them would prove nothing.
NOISE = (np.random.default_rng(0).random((20, 8, 8, 1)), np.zeros(20, int))
CHECKS: dict[str, Callable[[Any, Any, Path], None]] = {
    "size": lambda model, board, _: assert_size_within(model, "1 MiB", target=board),
    "arena": lambda model, board, _: assert_arena_fits(model, board),
    "ops": lambda model, board, _: assert_ops_supported(model, board),
    "deployable": lambda model, board, _: assert_deployable(model, board),
    "accuracy_drop": lambda model, board, same: assert_max_accuracy_drop(
        model, same, NOISE, 0.5, metric="agreement", target=board
    ),
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    "form, why", [("dynamic_range", "no hybrid kernels"), ("float16", "no float16 kernels")]
)
def test_a_form_that_the_runtime_refuses_passes_no_check(
    check: str, form: str, why: str, tiny: Tiny
) -> None:
    message = said(CannotRun, lambda: CHECKS[check](tiny[form], "nano33ble", tiny[form]))
    assert message.startswith(f"tiny_{form}/{form}: cannot run on nano33ble: TFLM has {why}")
    assert "Use int8" in message
    recorded = outcomes(lambda: CHECKS[check](tiny[form], "nano33ble", tiny[form]))
    assert recorded == [(check, "cannot_run")]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("form", ["dynamic_range", "float16", "float32", "int8"])
def test_a_board_with_litert_runs_every_form(check: str, form: str, tiny: Tiny) -> None:
    CHECKS[check](tiny[form], "rpi4", tiny[form])


def test_a_variant_is_judged_on_the_target_that_it_carries(tiny: Tiny) -> None:
    variant = dataclasses.replace(load_variant(tiny["float16"]), target=target())
    assert "cannot run on mini" in said(CannotRun, lambda: assert_size_within(variant, "1 MiB"))
    assert "cannot run on mini" in said(CannotRun, lambda: assert_fully_integer(variant))
    assert_size_within(variant, "1 MiB", target="rpi4")


@pytest.mark.parametrize("check", CHECKS)
def test_a_form_is_refused_by_its_name_too(check: str, tiny: Tiny) -> None:
    """The converter quantizes nothing in small layers: such a dynamic_range file is float32."""
    variant = dataclasses.replace(load_variant(tiny["float32"]), name="dynamic_range")
    message = said(CannotRun, partial(CHECKS[check], variant, "nano33ble", variant))
    assert "no hybrid kernels" in message


@pytest.mark.parametrize("check", CHECKS)
def test_a_form_that_the_target_does_not_list_passes_no_check(check: str, tiny: Tiny) -> None:
    board = target(variants=["float32"], refused={"uint8_io": "no driver for it"})
    for form, why in (("int8", "does not list it"), ("uint8_io", "no driver for it")):
        message = said(CannotRun, partial(CHECKS[check], tiny[form], board, tiny[form]))
        assert message.endswith(why)


@pytest.mark.parametrize("check", [assert_arena_fits, assert_ops_supported, assert_deployable])
def test_a_check_of_a_target_needs_one(check: Callable[[Any], None], tiny: Tiny) -> None:
    assert "needs a target; give one" in said(SettingsError, lambda: check(tiny["int8"]))


def test_an_unknown_target_gives_the_closest(tiny: Tiny) -> None:
    check = partial(assert_ops_supported, tiny["int8"], "nano33bel")
    assert "Did you mean nano33ble" in said(UnknownNameError, check)


def test_a_file_that_is_not_there_is_named() -> None:
    assert "there is no file 'no.tflite'" in said(
        ModelError, lambda: assert_fully_integer("no.tflite")
    )


# -- operators and types ------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["float32", "int8", "int8_float_io", "uint8_io", "int16x8"])
def test_supported_operators_pass(form: str, tiny: Tiny) -> None:
    check = partial(assert_ops_supported, tiny[form], "nano33ble")
    assert outcomes(check) == [("ops", "pass")]


@pytest.mark.parametrize(
    "content, board, reason",
    [
        (lone("COMPLEX_ABS"), "nano33ble", "COMPLEX_ABS (operator 0, layer 'my_layer', FLOAT32 -"),
        (lone("CUSTOM", custom_code="FlexErf"), "rpi4", "needs TensorFlow's Flex delegate"),
        (lone("CUSTOM", custom_code="Mine"), "rpi4", "is a custom operator that the runtime does"),
        (lone("CUSTOM", custom_code="Mine"), "nano33ble", "CUSTOM(Mine) (operator 0, layer 'my_la"),
    ],
)
@pytest.mark.usefixtures("without_tflm")
def test_an_operator_without_a_kernel_is_named_with_its_layer(
    content: bytes, board: str, reason: str
) -> None:
    check = partial(assert_ops_supported, content, board)
    message = said(UnsupportedOperators, check)
    assert message.startswith(f"model/float32: {board} can't run the model: ")
    assert reason in message
    assert outcomes(check) == [("ops", "fail")]


@pytest.mark.usefixtures("without_tflm")
def test_a_custom_operator_of_tflm_is_known_there_only() -> None:
    assert_ops_supported(UNKNOWN, "nano33ble")
    check = partial(assert_ops_supported, UNKNOWN, "rpi4")
    assert "CUSTOM(SignalDelay)" in said(UnsupportedOperators, check)


@needs_tflm
def test_what_no_rule_finds_is_tflms_reason_with_the_layer() -> None:
    model = lone("CUMSUM")
    message = said(UnsupportedOperators, partial(assert_ops_supported, model, "nano33ble"))
    assert "TFLM refuses the model: " in message
    assert "Node CUMSUM (number 0)" in message
    assert "CUMSUM (operator 0, layer 'my_layer', FLOAT32 -> FLOAT32). Replace the layer" in message


def test_what_litert_refuses_passes_nothing_on_its_boards() -> None:
    x, y = (tensor(n, [1, 4], "INT8", scales=[0.5] * 3, zero_points=[0] * 3, axis=1) for n in "xy")
    model = one_operator("RELU", [x], y)
    check = partial(assert_size_within, model, "1 MiB", target="rpi4")
    message = said(CannotRun, check)
    assert "cannot run on rpi4: LiteRT refuses the model: " in message
    assert message.endswith("Convert the model again with a newer converter")
    assert_size_within(lone("SQRT"), "1 MiB", target="rpi4")


@pytest.mark.parametrize("form", ["int8", "uint8_io"])
def test_integer_inputs_and_outputs_pass_where_they_are_demanded(form: str, tiny: Tiny) -> None:
    assert_ops_supported(tiny[form], target(requires_integer_io=True))


def test_float_inputs_and_outputs_are_named_where_integers_are_demanded(tiny: Tiny) -> None:
    board = target(requires_integer_io=True)
    message = said(UnsupportedOperators, lambda: assert_ops_supported(tiny["int8_float_io"], board))
    assert "mini can't run the model: The target requires integer inputs and outputs" in message
    assert "the input 'serving_default_image:0' is FLOAT32. Use int8 or uint8_io; the" in message


@pytest.mark.parametrize("form", ["int8", "uint8_io", "int16x8"])
def test_integer_forms_are_fully_integer(form: str, tiny: Tiny) -> None:
    assert outcomes(lambda: assert_fully_integer(tiny[form])) == [("fully_integer", "pass")]


@pytest.mark.parametrize(
    "form, count, named",
    [
        ("int8_float_io", 2, "output 'StatefulPartitionedCall:0' (FLOAT32) of the model"),
        ("float32", 9, "of CONV_2D (operator 0)"),
        ("dynamic_range", 8, "output 'StatefulPartitionedCall:0' (FLOAT32) of the model"),
    ],
)
def test_float_tensors_are_counted_and_named(form: str, count: int, named: str, tiny: Tiny) -> None:
    message = said(NotFullyInteger, lambda: assert_fully_integer(tiny[form]))
    assert message.startswith(f"tiny_{form}/{form}: {count} float tensors: input ")
    lines = [line.strip() for line in message.splitlines()]
    assert any(line.endswith(named) for line in lines)
    assert lines[-1] == "Use int8 (or uint8_io, int16x8)"
    # A tensor a line, and how many were left out.
    assert len(lines) == min(count, 6) + (count > 6) + 1
    assert (f"and {count - 6} more" in lines) == (count > 6)


# -- everything at once -------------------------------------------------------------------------


def test_a_deployable_model_passes_every_limit(tiny: Tiny) -> None:
    assert outcomes(lambda: assert_deployable(tiny["int8"], "nano33ble")) == [
        ("ops", "pass"),
        ("size", "pass"),
        ("arena", "pass"),
    ]


def test_every_broken_limit_is_told(tiny: Tiny) -> None:
    board = target(flash_for_model="4 KiB", sram_for_arena="1 KiB")
    message = said(NotDeployable, lambda: assert_deployable(tiny["int8"], board))
    assert message.startswith(
        "tiny_int8/int8 is not deployable on mini: tiny_int8/int8: size 5,568"
    )
    assert "over the limit of 4,096 B by 1,472 B" in message
    assert "\n  tiny_int8/int8 on mini: arena " in message
    assert outcomes(lambda: assert_deployable(tiny["int8"], board)) == [
        ("ops", "pass"),
        ("size", "fail"),
        ("arena", "fail"),
    ]


@pytest.mark.usefixtures("without_tflm")
def test_what_can_not_be_had_is_not_deployable() -> None:
    message = said(Unavailable, lambda: assert_deployable(UNKNOWN, target(core="mips-4k")))
    assert "arena is unavailable" in message
    small = target(flash_for_model="100 B", core="mips-4k")
    both = said(NotDeployable, lambda: assert_deployable(UNKNOWN, small))
    assert "over the limit of 100 B" in both
    assert "arena is unavailable" in both


def test_a_board_without_limits_asks_for_its_operators_only(tiny: Tiny) -> None:
    assert outcomes(lambda: assert_deployable(tiny["float32"], "rpi4")) == [
        ("ops", "pass"),
        ("arena", "not_applicable"),
    ]


def test_a_failure_carries_its_verdict(tiny: Tiny) -> None:
    with pytest.raises(SizeExceeded) as caught:
        assert_size_within(tiny["int8"], "1 KiB")
    verdict = caught.value.verdict
    assert verdict is not None
    assert (verdict.check, verdict.verdict, verdict.limit, verdict.value) == (
        "size",
        Outcome.FAIL,
        1024,
        5568,
    )
    assert verdict.message == str(caught.value)
