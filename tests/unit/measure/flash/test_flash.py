"""How flash is shared: the model, TFLM's code for its operators, what is left."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_building import GraphBuilder, one_operator, tensor

from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.gate.flash import judge_flash
from pytest_edgequant.measure.flash import _least, _most, _table, runtime_code, split_flash
from pytest_edgequant.records import Figure, Outcome, Verdict
from pytest_edgequant.targets import Targets
from pytest_edgequant.tflite.graph import Graph, read_graph

NANO = Targets().get("nano33ble")
KWS = "AVERAGE_POOL_2D CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED RESHAPE SOFTMAX".split()


def graph_of(name: str, custom_code: str = "") -> Graph:
    x, y = (tensor(n, [1, 4], "INT8", scales=[0.5], zero_points=[0]) for n in "xy")
    return read_graph(one_operator(name, [x], y, custom_code=custom_code))


def test_the_table_is_what_was_measured(reference: Path) -> None:
    with open(reference / "operator_flash.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if "int8 only" not in row["operator"]]
    compared = 0
    for build in ("default", "release"):
        mine = {re.sub("[^A-Z0-9]", "", name.upper().removeprefix("SIGNAL")): count
                for name, count in _table()[build]["operators"].items()}  # fmt: skip
        for row in (row for row in rows if row["build"] == build):
            name = re.sub("[^A-Z0-9]", "", row["operator"].upper())
            if name.startswith("INTERPRETER"):
                assert _table()[build]["interpreter"] == int(row["total_bytes"])
                continue
            aliases = {"DETECTIONPOSTPROCESS": "TFLITEDETECTIONPOSTPROCESS", "DECODE": "TFLMDECODE"}
            assert mine[aliases.get(name, name)] == int(row["added_bytes"])
            compared += 1
    assert compared > 120


def test_a_measured_program_is_the_bound_of_its_operators() -> None:
    assert _most(frozenset(KWS)) == 110_848
    assert _least(frozenset(KWS)) == 83_392
    # What a program holds already costs nothing more, what it lacks at most what it adds alone.
    assert _most(frozenset(KWS[1:])) == 110_848
    added = _table()["default"]["operators"]["ABS"]
    assert _most(frozenset([*KWS, "ABS"])) == 110_848 + added
    assert _most(frozenset([])) == _table()["default"]["interpreter"]
    assert _most(frozenset(["NO_SUCH"])) is None


def test_the_least_is_a_program_that_has_no_more_than_the_model() -> None:
    assert _least(frozenset([*KWS, "ABS", "NO_SUCH"])) == 83_392
    assert _least(frozenset([])) == _least(frozenset(["NO_SUCH"])) == 10_880
    for name, size in _table()["release"]["operators"].items():
        assert _least(frozenset([name])) == 10_880 + size
    # One operator less: the largest of the others alone, or of smaller programs.
    assert _least(frozenset(KWS[1:])) < 83_392


@given(st.sets(st.sampled_from(sorted(_table()["default"]["operators"]))), st.data())
def test_more_operators_take_no_less(names: set[str], data: st.DataObject) -> None:
    """Both bounds grow with the operators, and the lower one is below the upper one."""
    fewer = data.draw(st.sets(st.sampled_from(sorted(names)))) if names else set()
    least, most = _least(frozenset(names)), _most(frozenset(names))
    assert most is not None
    assert _least(frozenset(fewer)) <= least <= most
    some = _most(frozenset(fewer))
    assert some is not None
    assert some <= most


def test_the_figure_tells_where_it_was_measured() -> None:
    metric = runtime_code(graph_of("RELU"), NANO)
    assert (metric.value, metric.low) == (27_396 + 5_460, 10_880)
    assert metric.provenance.startswith("upper bound (measured by operator: TFLM sources of 2026")
    other = runtime_code(graph_of("RELU"), Targets().get("esp32"))
    assert other.value == int(1.5 * (27_396 + 5_460))
    assert other.low == int(10_880 / 1.5)
    assert "an assumption" in other.provenance
    reference = dataclasses.replace(NANO, kernels="reference")
    assert runtime_code(graph_of("RELU"), reference) == other
    small = runtime_code(graph_of("FULLY_CONNECTED"), NANO)
    assert (small.low, small.value) == (31_120, 50_980)


def test_the_firmwares_own_operators_count_nothing_and_unknown_ones_are_unavailable() -> None:
    mine = graph_of("CUSTOM", "Mine")
    metric = runtime_code(mine, NANO)
    assert metric.value is None
    assert metric.reason == "TFLM's code for Mine is not known"
    known = dataclasses.replace(NANO, custom_operators=("Mine",))
    assert runtime_code(mine, known).value == 27_396


@pytest.mark.parametrize("room, left", [(200_000, 166_144), (30_000, -3_856)])
def test_what_is_left_is_after_firmware_and_code(room: int, left: int) -> None:
    board = dataclasses.replace(NANO, flash_after_firmware=Figure(room, "here"))
    split = split_flash(1_000, graph_of("RELU"), board)
    assert split.left is not None
    assert (split.left.value, split.left.low, split.left.high) == (left, left, room - 11_880)
    assert split.describe() == (
        f"{room:,} B of flash after firmware: 1,000 B model, 10,880 to 32,856 B TFLM's code, "
        f"{left:,} to {room - 11_880:,} B left"
    )


def program(names: Sequence[str], size: int) -> bytes:
    """A model of that many bytes with these operators, one after the other."""
    builder = GraphBuilder()
    x = builder.activation([1, 4], "INT8")
    for name in names:
        x = builder.add(name, [x], [1, 4], "INT8")
    content = builder.build()
    assert len(content) <= size
    return content + bytes(size - len(content))


def judged(room: int, size: int = 15_728, share: str = "100%", names: Any = KWS) -> Verdict:
    content = program(names, size)
    board = dataclasses.replace(NANO, flash_after_firmware=Figure(room, "here"))
    variant = dataclasses.replace(load_variant(content), target=board)
    split = split_flash(size, read_graph(content), board)
    return judge_flash(variant, split, board, Fraction(share.removesuffix("%")) / 100)


def test_an_upper_bound_of_the_code_is_no_fact() -> None:
    """Fails where the least does not fit, passes where the most does, to the byte."""
    least, most = 83_392 + 15_728, 110_848 + 15_728
    for room, outcome in (
        (least - 1, Outcome.FAIL),
        (least, Outcome.INCONCLUSIVE),
        (102_400, Outcome.INCONCLUSIVE),
        (most - 1, Outcome.INCONCLUSIVE),
        (most, Outcome.PASS),
    ):
        verdict = judged(room)
        assert verdict.verdict is outcome, room
        assert f"{room - most:,}" in verdict.message
    verdict = judged(102_400)
    assert "83,392 to 110,848 B TFLM's code, -24,176 to 3,280 B left" in verdict.message
    assert 'flash_for_model = "..." in [tool.edgequant.targets.nano33ble]' in verdict.message
    assert "limit of 0 B" not in verdict.message
    assert "fewer channels" not in verdict.message


def test_a_share_of_what_is_left_has_two_limits_too() -> None:
    # Between 80 % of 89,152 and 80 % of 116,608 bytes.
    for size, outcome in (
        (71_321, Outcome.PASS),
        (71_322, Outcome.INCONCLUSIVE),
        (93_286, Outcome.INCONCLUSIVE),
        (93_287, Outcome.FAIL),
    ):
        assert judged(200_000, size, "80%").verdict is outcome, size


def test_code_that_does_not_fit_alone_is_no_matter_of_channels() -> None:
    verdict = judged(60_000)
    assert verdict.verdict is Outcome.FAIL
    assert "takes at least 83,392 B of the 60,000 B of flash after firmware" in verdict.message
    assert "Use fewer kinds of operators" in verdict.message
    assert verdict.limit == 0


def test_unknown_code_is_unavailable_unless_the_least_is_too_much() -> None:
    names = [*KWS, "ATAN2"]
    assert judged(500_000, names=names).verdict is Outcome.UNAVAILABLE
    assert judged(90_000, names=names).verdict is Outcome.FAIL


def test_a_share_that_is_the_models_alone_counts_no_code() -> None:
    board = dataclasses.replace(NANO, flash_for_model=Figure(4_000, "here"))
    split = split_flash(1_000, graph_of("RELU"), board)
    assert (split.limit, split.at_most, split.runtime) == (4_000, 4_000, None)
    assert (split.describe(), split.left) == ("", None)
    assert split_flash(1_000, graph_of("RELU"), Targets().get("rpi4")).limit is None


def test_a_share_of_what_is_left_is_asked_for_as_such() -> None:
    """The model fits in any case here; whether it keeps the rest free is what is not known."""
    verdict = judged(110_848 + 16_000, share="80%")
    assert verdict.verdict is Outcome.INCONCLUSIVE
    assert "whether 15,728 B are within 80% of the flash that is left" in verdict.message
    # No share is not no flash: code that fits is not said to take too much.
    nothing = judged(400_000, share="0%")
    assert nothing.verdict is Outcome.FAIL
    assert "is over the limit of 0 B by 15,728 B (0% of the flash" in nothing.message
