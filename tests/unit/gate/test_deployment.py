from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_building import one_operator, tensor
from recorded_events import recording

from pytest_edgequant import (
    AccuracyDropExceeded,
    ArenaExceeded,
    CannotRun,
    CannotRunError,
    DatasetError,
    EdgeAssertionError,
    Inconclusive,
    MeasurementUnavailable,
    ModelError,
    NotApplicableError,
    NotDeployable,
    NotFullyInteger,
    Outcome,
    SettingsError,
    SizeExceeded,
    Target,
    Unavailable,
    UnitError,
    UnknownNameError,
    UnsupportedOperators,
    Variant,
    assert_arena_fits,
    assert_deployable,
    assert_fully_integer,
    assert_max_accuracy_drop,
    assert_ops_supported,
    assert_size_within,
    compare_accuracy,
    context,
    evaluate,
    measure_arena,
)
from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.errors import TargetError
from pytest_edgequant.pipeline import interpreters
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.records import HeldOut
from pytest_edgequant.samples.inputs import load_pair
from pytest_edgequant.targets import Targets

Tiny = Mapping[str, Path]
needs_tflm = pytest.mark.skipif(
    find_spec("tflite_micro") is None, reason="there is a tflite-micro wheel for Linux x86-64 only"
)
pytestmark = pytest.mark.usefixtures("pipeline")


def target(**changes: Any) -> Target:
    """A microcontroller of our own."""
    return Targets({"mini": {"base": "nano33ble", **changes}}).get("mini")


def said(error: type[Exception], check: Callable[[], object]) -> str:
    with pytest.raises(error) as caught:
        check()
    assert type(caught.value) is error
    return str(caught.value)


def outcomes(check: Callable[[], object]) -> list[tuple[str, str]]:
    """The verdicts that a check records, in order."""
    with recording() as events, contextlib.suppress(EdgeAssertionError):
        check()
    return [
        (event["verdict"]["check"], event["verdict"]["verdict"])
        for event in events
        if event["kind"] == "verdict"
    ]


def lone(name: str, custom_code: str = "") -> bytes:
    x, y = (tensor(n, [1, 4], "FLOAT32") for n in ("x", "my_layer"))
    return one_operator(name, [x], y, custom_code=custom_code)


# What it allocates stands in its options, which it lacks.
UNKNOWN = lone("CUSTOM", custom_code="SignalDelay")


@pytest.fixture
def without_tflm(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine for which there is no tflite-micro wheel."""
    installed = interpreters.versions

    def versions(packages: list[str]) -> dict[str, str]:
        return {k: v for k, v in installed(packages).items() if k != "tflite-micro"}

    monkeypatch.setattr(interpreters, "versions", versions)


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


# -- size ---------------------------------------------------------------------------------------


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


# -- arena --------------------------------------------------------------------------------------


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
    x, y = (tensor(n, [1, 4], "INT8", scales=[0.5] * 4, zero_points=[0] * 4, axis=3) for n in "xy")
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


# -- accuracy -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["float32", "float16", "dynamic_range", "int8", "int16x8"])
def test_the_models_know_their_digits(form: str, tiny: Tiny, tiny_dataset: tuple[Any, Any]) -> None:
    evaluation = evaluate(tiny[form], tiny_dataset)
    assert evaluation.value > 0.9
    assert (evaluation.metric, evaluation.count) == ("accuracy", 397)
    assert evaluation.outcomes is not None
    assert evaluation.outcomes.mean() == pytest.approx(evaluation.value)


def test_an_evaluation_is_made_once_and_then_comes_from_the_cache(
    fresh_pipeline: Pipeline,
    tiny: Tiny,
    tiny_dataset: tuple[Any, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y = tiny_dataset
    first = evaluate(tiny["int8"], (x, y))
    again = Pipeline(fresh_pipeline.cache.root, timeout=120)
    monkeypatch.setattr(context, "pipeline_factory", lambda: again)
    assert evaluate(tiny["int8"], (x.copy(), y.copy())).value == first.value
    assert (fresh_pipeline._interpreter.starts, again._interpreter.starts) == (1, 0)


def test_samples_that_were_held_out_are_left_out(tiny: Tiny, tiny_dataset: tuple[Any, Any]) -> None:
    variant = load_variant(tiny["int8"])
    right = evaluate(variant, tiny_dataset).outcomes
    assert right is not None
    wrong = tuple(int(i) for i in np.flatnonzero(~right))
    assert len(wrong) > 5
    held = HeldOut(load_pair(tiny_dataset).fingerprint, wrong)
    evaluation = evaluate(dataclasses.replace(variant, held_out=held), tiny_dataset)
    assert (evaluation.value, evaluation.count) == (1.0, 397 - len(wrong))
    elsewhere = dataclasses.replace(variant, held_out=HeldOut("another dataset", wrong))
    assert evaluate(elsewhere, tiny_dataset).count == 397


def test_samples_that_either_was_calibrated_with_are_left_out_of_both(
    tiny: Tiny, tiny_dataset: tuple[Any, Any]
) -> None:
    fingerprint = load_pair(tiny_dataset).fingerprint
    candidate, baseline = (
        dataclasses.replace(load_variant(tiny[form]), held_out=HeldOut(fingerprint, indices))
        for form, indices in (("int8", (0, 1, 2)), ("int16x8", (2, 3)))
    )
    assert compare_accuracy(candidate, baseline, tiny_dataset).count == 393


def test_a_callable_gets_what_is_right_and_what_was_given(
    tiny: Tiny, tiny_dataset: tuple[Any, Any]
) -> None:
    def share_of_sevens(y_true: Any, y_pred: Any) -> float:
        return float(((y_pred.argmax(axis=1) == 7) & (y_true == 7)).sum() / (y_true == 7).sum())

    evaluation = evaluate(tiny["int8"], tiny_dataset, metric=share_of_sevens)
    assert 0.9 < evaluation.value <= 1
    assert (evaluation.metric, evaluation.outcomes) == ("share_of_sevens", None)


@pytest.mark.parametrize("form", ["int8", "float32"])
def test_nan_in_the_samples_is_told(form: str, tiny: Tiny) -> None:
    samples = np.zeros((3, 8, 8, 1), np.float32)
    samples[1:, 0] = np.nan
    message = said(DatasetError, lambda: evaluate(tiny[form], (samples, [0, 1, 2])))
    assert message.startswith("edge_dataset: the input 'image' has NaN values in 2 of 3 samples")
    assert "shape (8, 8, 1)" in message


def test_samples_of_another_shape_are_told(tiny: Tiny) -> None:
    message = said(DatasetError, lambda: evaluate(tiny["int8"], (np.zeros((2, 64)), [0, 1])))
    assert message.startswith("edge_dataset: the model's input 'image' takes samples of shape (8, ")
    assert "reshape to (N, 8, 8, 1)" in message


class Contested:
    """Samples with the baseline's answers as labels, so that every disagreement is a loss."""

    def __init__(self, baseline: Variant, candidate: Variant) -> None:
        x = np.random.default_rng(0).uniform(0, 1, (1500, 8, 8, 1)).astype(np.float32)
        self.x = x
        self.y, other = (
            np.asarray(variant.predict(x)).argmax(axis=1) for variant in (baseline, candidate)
        )
        self.lost = np.flatnonzero(self.y != other)
        self.kept = np.flatnonzero(self.y == other)

    def dataset(self, lost: int, count: int) -> tuple[Any, Any]:
        assert len(self.lost) >= lost
        chosen = np.concatenate([self.lost[:lost], self.kept[: count - lost]])
        return self.x[chosen], self.y[chosen]


@pytest.fixture
def contest(tiny: Tiny) -> Contested:
    return Contested(load_variant(tiny["float32"]), load_variant(tiny["int8"]))


@pytest.mark.parametrize("lost, count", [(0, 50), (1, 3), (1, 7), (3, 300), (7, 100)])
def test_a_drop_of_exactly_the_limit_passes(
    lost: int, count: int, contest: Contested, tiny: Tiny
) -> None:
    dataset = contest.dataset(lost, count)
    check = partial(assert_max_accuracy_drop, tiny["int8"], tiny["float32"], dataset, lost / count)
    assert outcomes(check) == [("accuracy_drop", "pass")]
    comparison = compare_accuracy(tiny["int8"], tiny["float32"], dataset)
    assert (comparison.lost, comparison.gained, comparison.count) == (lost, 0, count)
    assert (comparison.baseline, comparison.drop) == (1.0, pytest.approx(lost / count))


@pytest.mark.parametrize(
    "count, advice",
    [
        (300, "A drop under 5 points is a trade-off to decide"),
        (50, "A drop of 5 to 10 points asks for more and more diverse calibration samples"),
        (15, "A drop of over 10 points means no or bad calibration data"),
    ],
)
def test_a_larger_drop_fails_with_advice_by_its_size(
    count: int, advice: str, contest: Contested, tiny: Tiny
) -> None:
    dataset = contest.dataset(3, count)
    check = partial(assert_max_accuracy_drop, tiny["int8"], tiny["float32"], dataset, 2.9 / count)
    message = said(AccuracyDropExceeded, check)
    assert message.startswith(
        f"tiny_int8/int8: accuracy 100.00% -> {1 - 3 / count:.2%} on {count} samples, a drop of "
        f"{300 / count:.2f} points; allowed are {290 / count:.2f} points (3 samples lost, 0 gained)"
    )
    assert advice in message
    assert outcomes(check) == [("accuracy_drop", "fail")]


def test_a_form_without_calibration_gets_no_advice_about_it(tiny: Tiny) -> None:
    contest = Contested(load_variant(tiny["int8"]), load_variant(tiny["dynamic_range"]))
    dataset = contest.dataset(3, 15)
    check = partial(assert_max_accuracy_drop, tiny["dynamic_range"], tiny["int8"], dataset, 0.1)
    assert "This form needs no calibration data" in said(AccuracyDropExceeded, check)


def test_a_gain_is_a_negative_drop(tiny: Tiny) -> None:
    contest = Contested(load_variant(tiny["dynamic_range"]), load_variant(tiny["int8"]))
    dataset = contest.dataset(3, 50)
    comparison = compare_accuracy(tiny["dynamic_range"], tiny["int8"], dataset)
    assert (comparison.drop, comparison.lost, comparison.gained) == (-3 / 50, 0, 3)
    assert_max_accuracy_drop(tiny["dynamic_range"], tiny["int8"], dataset, 0)


def test_less_is_better_for_an_error(tiny: Tiny, tiny_dataset: tuple[Any, Any]) -> None:
    x, y = tiny_dataset
    dataset = (x, np.eye(10)[y])
    comparison = compare_accuracy(tiny["int8"], tiny["float32"], dataset, metric="mae")
    assert comparison.drop == comparison.candidate - comparison.baseline != 0
    assert (comparison.lost, comparison.gained) == (None, None)


@pytest.mark.parametrize(
    "shift, advice", [(0.3, "over 10 points"), (0.07, "5 to 10 points"), (0.02, "under 5 points")]
)
def test_the_size_of_another_metrics_drop_is_relative(
    shift: float, advice: str, tiny: Tiny
) -> None:
    scores = iter([50.0, 50.0 * (1 - shift)])

    def score(y_true: Any, y_pred: Any) -> float:
        return next(scores)

    dataset = (np.zeros((2, 8, 8, 1)), [0, 1])
    check = partial(
        assert_max_accuracy_drop, tiny["int8"], tiny["float32"], dataset, 0.1, metric=score
    )
    message = said(AccuracyDropExceeded, check)
    assert message.startswith(
        f"tiny_int8/int8: score 50 -> {50 * (1 - shift):.6g} on 2 samples, a drop of "
        f"{50 * shift:.6g}; allowed are 0.1. "
    )
    assert advice in message


def test_a_metric_of_ones_own_may_drop_by_more_than_one(tiny: Tiny) -> None:
    def score(y_true: Any, y_pred: Any) -> float:
        return 100 * float(y_pred.max())

    dataset = (np.stack([np.full((8, 8, 1), 0.3), np.zeros((8, 8, 1))]), [0, 1])
    assert_max_accuracy_drop(tiny["int8"], tiny["float32"], dataset, 50, metric=score)


@pytest.mark.parametrize("limit", ["2%", "0.02", None, True, -0.01, float("nan"), 2, 1.5])
def test_a_limit_that_can_not_be_meant_is_refused(
    limit: Any, tiny: Tiny, tiny_dataset: tuple[Any, Any]
) -> None:
    check = partial(assert_max_accuracy_drop, tiny["int8"], tiny["float32"], tiny_dataset, limit)
    assert said(SettingsError, check).startswith("max_drop: ")


def test_a_baseline_may_be_what_the_target_refuses(
    tiny: Tiny, tiny_dataset: tuple[Any, Any]
) -> None:
    assert_max_accuracy_drop(tiny["int8"], tiny["float16"], tiny_dataset, 0.05, target="nano33ble")


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
