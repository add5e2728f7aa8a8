"""Sizes of files against budgets, as users give them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from checked import Tiny, outcomes, said

from pytest_edgequant import (
    SizeExceeded,
    Unavailable,
    UnitError,
    assert_arena_fits,
    assert_deployable,
    assert_size_within,
)
from pytest_edgequant.targets import Targets

pytestmark = pytest.mark.usefixtures("pipeline")


@pytest.mark.parametrize("limit", ["5568", 5568, "5.5 KiB", "1.1%"])
def test_a_file_within_its_budget_passes(limit: Any, tiny: Tiny) -> None:
    assert_size_within(tiny["int8"], limit, target="nano33ble")
    assert_size_within(tiny["int8"].read_bytes(), limit, target="nano33ble")


@pytest.mark.parametrize(
    "form, limit, expected",
    [
        (
            "int8",
            5567,
            "tiny_int8/int8: size 5,568 B is over the limit of 5,567 B by 1 B. Use fewer channels",
        ),
        (
            "float32",
            "5 KiB",
            "tiny_float32/float32: size 13,856 B is over the limit of 5,120 B by 8,736 B. Quantize",
        ),
        ("int8", "0.5%", "tiny_int8/int8: size 5,568 B is over the limit of 3,156 B by 2,412 B"),
    ],
)
def test_a_file_over_its_budget_fails_with_advice(
    form: str, limit: Any, expected: str, tiny: Tiny
) -> None:
    check = partial(assert_size_within, tiny[form], limit, target="nano33ble")
    assert said(SizeExceeded, check).startswith(expected)
    assert outcomes(check) == [("size", "fail")]


@pytest.mark.parametrize("limit", ["64 KB", -1, "101%", None, True])
def test_a_size_that_can_not_be_meant_is_refused(limit: Any, tiny: Tiny) -> None:
    check = partial(assert_size_within, tiny["int8"], limit, target="nano33ble")
    assert said(UnitError, check).startswith("tiny_int8/int8: max: ")


def test_a_microcontroller_that_states_no_room_for_the_arena_passes_nothing(tiny: Tiny) -> None:
    table = {"title": "x", "vendor": "x", "soc": "x", "core": "cortex-m4", "isa": "x"}
    own = Targets({"mini": {**table, "runtime": "tflm", "kernels": "reference"}}).get("mini")
    for check in (assert_arena_fits, assert_deployable):
        message = said(Unavailable, partial(check, tiny["int8"], own))
        assert "State it: sram_for_arena in [tool.edgequant.targets.mini]" in message


def test_a_share_needs_a_target_with_flash(tiny: Tiny) -> None:
    for board in (None, "rpi4"):
        check = partial(assert_size_within, tiny["int8"], "80%", target=board)
        assert "'80%' is a share of what the target has left" in said(UnitError, check)
