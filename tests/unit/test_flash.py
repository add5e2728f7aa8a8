"""How flash is shared: the model, TFLM's code for its operators, what is left."""

from __future__ import annotations

import csv
import dataclasses
import re
from pathlib import Path

import pytest
from model_building import one_operator, tensor

from pytest_edgequant.measure.flash import _bound, _table, runtime_code, split_flash
from pytest_edgequant.records import Figure
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
    assert _bound("default", KWS) == 110_848
    assert _bound("release", KWS) == 83_392
    # What a program holds already costs nothing more, what it lacks at most what it adds alone.
    assert _bound("default", KWS[1:]) == 110_848
    added = _table()["default"]["operators"]["ABS"]
    assert _bound("default", [*KWS, "ABS"]) == 110_848 + added
    assert _bound("default", []) == _table()["default"]["interpreter"]
    assert _bound("default", ["NO_SUCH"]) is None


def test_the_figure_tells_where_it_was_measured() -> None:
    metric = runtime_code(graph_of("RELU"), NANO)
    assert (metric.value, metric.low) == (27_396 + 5_460, None)
    assert metric.provenance.startswith("upper bound (measured by operator: TFLM sources of 2026")
    other = runtime_code(graph_of("RELU"), Targets().get("esp32"))
    assert other.value == int(1.5 * (27_396 + 5_460))
    assert "an assumption" in other.provenance
    small = runtime_code(graph_of("FULLY_CONNECTED"), NANO)
    assert (small.low, small.value) == (31_120, 50_980)


def test_the_firmwares_own_operators_count_nothing_and_unknown_ones_are_unavailable() -> None:
    mine = graph_of("CUSTOM", "Mine")
    metric = runtime_code(mine, NANO)
    assert metric.value is None
    assert metric.reason == "TFLM's code for Mine is not known"
    known = dataclasses.replace(NANO, custom_operators=("Mine",))
    assert runtime_code(mine, known).value == 27_396


@pytest.mark.parametrize("room, left", [(200_000, 200_000 - 32_856 - 1_000), (30_000, -1_000)])
def test_what_is_left_is_after_firmware_and_code(room: int, left: int) -> None:
    board = dataclasses.replace(NANO, flash_after_firmware=Figure(room, "here"))
    split = split_flash(1_000, graph_of("RELU"), board)
    assert split.left == left
    assert f"{room:,} B of flash after firmware: 1,000 B model, 32,856 B TFLM" in split.describe()


def test_a_share_that_is_the_models_alone_counts_no_code() -> None:
    board = dataclasses.replace(NANO, flash_for_model=Figure(4_000, "here"))
    split = split_flash(1_000, graph_of("RELU"), board)
    assert (split.limit, split.runtime, split.describe()) == (4_000, None, "")
    assert split_flash(1_000, graph_of("RELU"), Targets().get("rpi4")).limit is None
