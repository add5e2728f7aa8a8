"""The arena against what a target has, and what is said of one that does not fit."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
from checked import UNKNOWN, Tiny, outcomes, said, target
from recorded_events import recording

from pytest_edgequant import (
    ArenaExceeded,
    CannotRunError,
    Inconclusive,
    MeasurementUnavailable,
    NotApplicableError,
    NotDeployable,
    SettingsError,
    SizeExceeded,
    Unavailable,
    assert_arena_fits,
    assert_deployable,
    assert_size_within,
    measure_arena,
)

pytestmark = pytest.mark.usefixtures("pipeline")


def needed(model: Any) -> int:
    """The bytes that the gate on our microcontroller compares."""
    with recording() as events:
        assert_arena_fits(model, target())
    (verdict,) = (e["verdict"] for e in events if e["kind"] == "verdict")
    assert isinstance(verdict["value"], int)
    return verdict["value"]


def test_an_arena_is_the_sum_of_its_parts(tiny: Tiny) -> None:
    arena = measure_arena(tiny["int8"], "nano33ble")
    assert arena.total_bytes == arena.nonpersistent_bytes + arena.persistent_bytes
    # The two largest activations, 6 x 6 x 8 bytes each, are alive at once.
    assert 2 * 288 <= arena.nonpersistent_bytes < arena.total_bytes <= needed(tiny["int8"])


def test_float_activations_need_four_times_as_much(tiny: Tiny) -> None:
    parts = {form: measure_arena(tiny[form], target()) for form in ("int8", "float32")}
    assert parts["float32"].nonpersistent_bytes >= 4 * 2 * 288
    assert parts["float32"].total_bytes > parts["int8"].total_bytes


def test_an_arena_fits_up_to_the_last_byte(tiny: Tiny) -> None:
    size = needed(tiny["int8"])
    assert_arena_fits(tiny["int8"], target(sram_for_arena=size))
    assert_arena_fits(tiny["int8"], target(sram_for_arena=size + 100), headroom=100)
    assert_arena_fits(tiny["int8"], target(sram_for_arena=2 * size), headroom="50%")


@pytest.mark.parametrize("room, headroom", [(-1, 0), (99, 100), (0, "1%")])
def test_an_arena_that_does_not_fit_names_target_bytes_and_advice(
    room: int, headroom: Any, tiny: Tiny
) -> None:
    size = needed(tiny["int8"])
    board = target(sram_for_arena=size + room)
    check = partial(assert_arena_fits, tiny["int8"], board, headroom=headroom)
    message = said(ArenaExceeded, check)
    assert message.startswith(f"tiny_int8/int8 on mini: arena {size:,} B is over the limit of ")
    assert "The smallest target that has room is nano33iot: " in message
    assert outcomes(check) == [("arena", "fail")]


def test_ways_to_a_smaller_arena_come_with_their_effect(tiny: Tiny) -> None:
    size = needed(tiny["float32"])
    board = target(sram_for_arena=size - 1)
    message = said(ArenaExceeded, partial(assert_arena_fits, tiny["float32"], board))
    found = re.search(r"int8 instead of float32: ([\d,]+) B less \(then it fits\)", message)
    assert found is not None
    assert int(found.group(1).replace(",", "")) > 0


def test_headroom_may_be_a_fraction(tiny: Tiny) -> None:
    size = measure_arena(tiny["int8"], "nano33ble").minimum_bytes
    board = target(sram_for_arena=2 * size)
    assert_arena_fits(tiny["int8"], board, headroom=0.5)
    for headroom in (0.51, "51%"):
        with pytest.raises(ArenaExceeded, match="by "):
            assert_arena_fits(tiny["int8"], board, headroom=headroom)


@pytest.mark.parametrize("given", [20, 90, 90.0, 1])
def test_a_few_bytes_must_be_meant_as_per_cent(given: Any, tiny: Tiny) -> None:
    said = rf'{given:g} per cent are {given / 100:g} or "{given:g}%"'
    with pytest.raises(SettingsError, match=f"^headroom: .*{said}"):
        assert_arena_fits(tiny["int8"], "nano33ble", headroom=given)
    with pytest.raises(SettingsError, match=f"max: .*{said}"):
        assert_size_within(tiny["int8"], given, target="nano33ble")


def test_a_size_may_be_a_fraction_of_the_flash_that_is_left(tiny: Tiny) -> None:
    board = target(flash_for_model="11136 B")  # twice the file
    assert_size_within(tiny["int8"], 0.5, target=board)
    with pytest.raises(SizeExceeded, match="over the limit of 5,556 B by 12 B"):
        assert_size_within(tiny["int8"], 0.499, target=board)


def test_headroom_that_leaves_nothing_is_refused(tiny: Tiny) -> None:
    check = partial(assert_arena_fits, tiny["int8"], "nano33ble", headroom="100%")
    assert "leaves nothing of the 187,792 B on nano33ble" in said(SettingsError, check)


def test_an_arena_has_no_meaning_on_litert(tiny: Tiny) -> None:
    assert outcomes(lambda: assert_arena_fits(tiny["int8"], "rpi4")) == [
        ("arena", "not_applicable")
    ]
    assert "there is no tensor arena" in said(
        NotApplicableError, lambda: measure_arena(tiny["int8"], "rpi4")
    )


def test_what_tflm_refuses_has_no_arena(tiny: Tiny) -> None:
    message = said(CannotRunError, lambda: measure_arena(tiny["dynamic_range"], "nano33ble"))
    assert message.startswith("tiny_dynamic_range/dynamic_range: TFLM ")


@pytest.mark.usefixtures("without_tflm")
def test_an_arena_that_can_not_be_had_never_passes() -> None:
    strange = target(core="mips-4k")
    check = partial(assert_arena_fits, UNKNOWN, strange)
    message = said(Unavailable, check)
    assert message.startswith("model/float32 on mini: arena is unavailable: ")
    assert outcomes(check) == [("arena", "unavailable")]
    said(MeasurementUnavailable, lambda: measure_arena(UNKNOWN, strange))


@pytest.mark.usefixtures("without_tflm")
def test_an_operator_that_is_not_known_is_bounded_and_named() -> None:
    arena = measure_arena(UNKNOWN, "nano33ble")
    assert arena.unknown == ("CUSTOM(SignalDelay) (operator 0)",)
    assert "upper bound: CUSTOM(SignalDelay) (operator 0) is not known" in arena.provenance
    assert not arena.exact
    assert arena.low_bytes < arena.minimum_bytes
    metric = arena.metric()
    assert (metric.low, metric.high) == (arena.low_bytes, arena.minimum_bytes)


@pytest.mark.usefixtures("without_tflm")
@pytest.mark.parametrize(
    ("share", "verdict"), [(2.0, "pass"), (1.0, "pass"), (0.5, "inconclusive"), (0.0, "fail")]
)
def test_what_is_known_between_bounds_passes_only_if_the_upper_one_fits(
    share: float, verdict: str
) -> None:
    arena = measure_arena(UNKNOWN, "nano33ble")
    low, high = arena.low_bytes, arena.minimum_bytes
    board = target(sram_for_arena=low - 1 + int(share * (high - low + 1)))
    check = partial(assert_arena_fits, UNKNOWN, board)
    assert outcomes(check) == [("arena", verdict)]
    if verdict == "fail":
        assert "CUSTOM(SignalDelay) (operator 0)" in said(ArenaExceeded, check)
        said(NotDeployable, lambda: assert_deployable(UNKNOWN, board))
    elif verdict == "inconclusive":
        for undecided in (check, lambda: assert_deployable(UNKNOWN, board)):
            message = said(Inconclusive, undecided)
            assert message.startswith("Measure the arena on the device: model/float32 on mini: ")
            assert "CUSTOM(SignalDelay) (operator 0)" in message


def test_the_release_that_a_target_states_decides_the_arena(tiny: Tiny) -> None:
    newest, older = target(), target(release="chirale-2.0.0")
    arena = measure_arena(tiny["int8"], older)
    assert arena == measure_arena(tiny["int8"], newest, release="chirale-2.0.0")
    assert arena.minimum_bytes > measure_arena(tiny["int8"], newest).minimum_bytes
    assert arena.provenance.startswith("estimated")
