"""What records say of themselves: in print, in a notebook, and as plain data."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from nasty_names import texts

from pytest_edgequant.measure.latency.records import (
    DeviceMeasurement,
    HostMeasurement,
    LatencyEstimate,
    LayerLatency,
)
from pytest_edgequant.records import (
    AccuracyComparison,
    Arena,
    CalibrationQuality,
    CalibrationRobustness,
    CalibrationTrial,
    Chance,
    ClassDrop,
    Evaluation,
    Fidelity,
    Metric,
    Outcome,
    Peak,
    PlannedBuffer,
    Quantization,
    RuntimeParity,
    TensorInfo,
    TensorRange,
    TrainingSummary,
    Variant,
)
from pytest_edgequant.records.layers import Edge, Layer, LayerChange, ModelDifference, ModelLayers
from pytest_edgequant.records.telling import plain
from pytest_edgequant.targets import Targets

CONTENT = b"\x00\x01" * 700
INPUT = TensorInfo("image", (1, 8, 6, 3), np.dtype(np.int8), Quantization((0.5,), (-128,)), 3)
OUTPUT = TensorInfo("scores", (1, 4), np.dtype(np.float32))
WEIGHTS = TensorInfo("w", (2, 4), np.dtype(np.int8), Quantization((0.1, 0.2), (0, 0), 0), 1, True)
BOARD = Targets().get("nano33ble")


def variant(name: str = "int8", **more: Any) -> Variant:
    tensors = (WEIGHTS, INPUT, OUTPUT)
    return Variant(
        name, CONTENT, Path("a/model.tflite"), "f" * 64, (INPUT,), (OUTPUT,), tensors, "kws", **more
    )


def evaluation(**more: Any) -> Evaluation:
    outcomes = np.array([True, True, False, True])
    details = {"recall[0]": 1.0, "recall[1]": 0.5, "recall[2]": 0.75, "recall[3]": 0.25}
    given: dict[str, Any] = {"details": details, "total": 9, "provenance": "measured (LiteRT)"}
    return Evaluation(0.75, "accuracy", 4, outcomes, **{**given, **more})


def comparison(**more: Any) -> AccuracyComparison:
    given: dict[str, Any] = {
        "low": 0.0125, "high": 0.0375, "method": "Tango's score interval", "share": True,
        "p_value": 0.0625, "detectable": 0.01, "agreement": 0.97, "runtime": "tflm",
        "classes": (ClassDrop(7, 0.1, 0.9, 0.8, 1, -0.1, 0.3),),
        "fidelity": Fidelity(0.999, 31.25, 0.5, 400), "notes": ("only 40 samples",),
    }  # fmt: skip
    given |= more
    return AccuracyComparison(0.025, "accuracy", 0.9, 0.875, 400, 11, 1, **given)


def arena(**more: Any) -> Arena:
    buffer = PlannedBuffer("x", "tensor", "CONV_2D (0)", 3, 0, 512, 0, 1)
    peak = Peak("CONV_2D (0)", 512, (buffer,))
    return Arena(1_444, 576, 868, 1_456, "exact, TFLM", plan=(buffer,), peak=peak, **more)


def estimate(**more: Any) -> LatencyEstimate:
    layers = tuple(
        LayerLatency(i, name, f"layer {i}", (1, i), 100 * i, i / 10, i / 15)
        for i, name in enumerate(["CONV_2D", "MUL", "SOFTMAX", "ADD", "FULLY_CONNECTED"], 1)
    )
    return LatencyEstimate(
        1.5, "ms", "estimated (cortex-m4)", 0.9, 2.25, variant=variant(), target=BOARD,
        layers=layers, energy=Metric(0.02, "mJ", "estimated"), **more,
    )  # fmt: skip


RANGE = TensorRange("conv/Relu", "CONV_2D (0)", 0.0, 2.0, 0.0, 0.125, -0.5, 2.5)
RECORDS: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "evaluation": (
        evaluation(),
        "accuracy 75.00% on 4 of 9 samples",
        ("3 of 4", "measured (LiteRT)", "recall[3] 0.25, recall[1] 0.5, recall[2] 0.75, and 1"),
    ),
    "error": (
        Evaluation(0.25, "mae", 1, None, False, np.array([0.25])),
        "mae 0.25 on 1 sample",
        ("when it is smaller",),
    ),
    "drop": (
        comparison(),
        "accuracy drops 2.50 points: 90.00% -> 87.50% on 400 samples",
        (
            "1.25 to 3.75 points (95%, Tango's score interval)", "11 lost, 1 gained",
            "a drop of 1.00 points or more", "7: recall 90.00% -> 80.00% on 1 sample", "97.00%",
            "SQNR 31.2 dB, cosine 0.99900, largest error 0.5", "only 40 samples",
        ),
    ),
    "gain": (
        AccuracyComparison(-0.5, "mae", 2.5, 2.0, 9, None, None, reason="9 samples are too few",
                           baseline_chance=Chance(2.4, "the mean", False, share=False)),
        "mae gains 0.5: 2.5 -> 2 on 9 samples",
        ("9 samples are too few", "the baseline is not better than the mean, which gives 2.4"),
    ),
    "fidelity": (
        Fidelity(None, math.inf, 0.0, 1, "scores"),
        "outputs of scores: identical, largest error 0 on 1 sample",
        (),
    ),
    "parity": (
        RuntimeParity(("litert", "tflm"), 400, 1.0, 0.01, 9, 2, "scores", "measured (both)"),
        "litert and tflm decide 2 of 400 samples differently, and differ by up to 1 step",
        ("9 with any difference", "0.01 steps on average", "measured (both)"),
    ),
    "equal": (
        RuntimeParity(("litert", "tflm"), 1, 0.0, 0.0, 0, 0, "", "measured (both)"),
        "litert and tflm give equal outputs on 1 sample",
        (),
    ),
    "quality": (
        CalibrationQuality(
            1, 40, (RANGE,), (RANGE,), None, None, "LiteRT", findings=("too few", "clipped")
        ),
        "calibration with 1 sample, held against 40 evaluation samples: 2 findings",
        ("too few\n", "conv/Relu: calibrated 0 to 2, seen -0.5 to 2.5, 12.50% outside", "LiteRT"),
    ),
    "robustness": (
        CalibrationRobustness(
            variant(), "accuracy", 0.9, True,
            (CalibrationTrial(10, 0, 0.03, 0.87), CalibrationTrial(40, 1, 0.01, 0.89)),
        ),
        "kws/int8: accuracy drops 3.00 points at worst, over 2 calibrations with parts of",
        ("accuracy 90.00%", "2.00 points", "87.00%", "89.00%"),
    ),
    "metric": (
        Metric(5_568, "bytes", "exact", 5_000, 6_000),
        "5,568 B (5,000 B to 6,000 B)",
        ("exact",),
    ),
    "share": (Metric(0.975, "fraction", "measured", count=1), "97.50% on 1 sample", ()),
    "none": (Metric.unavailable("ms", "no timer"), "unavailable: no timer", ()),
    "arena": (
        arena(),
        "arena: give the interpreter 1,456 B (minimum_bytes)",
        ("1,444 B (total_bytes)", "576 B of activations", "868 B", "512 B at CONV_2D (0)"),
    ),
    "bounds": (
        arena(unknown=("CUSTOM(Mine)",), low_bytes=480),
        "arena: give the interpreter 1,456 B (minimum_bytes, at most)",
        ("480 B", "CUSTOM(Mine)"),
    ),
    "estimate": (
        estimate(),
        "kws/int8 on nano33ble: 1.5 ms (900 us to 2.25 ms)",
        ("estimated (cortex-m4)", "0.02 mJ", "FULLY_CONNECTED", "and 2 more", "explain()"),
    ),
    "no estimate": (
        LatencyEstimate(
            None, "ms", "unavailable", reason="never measured", variant=variant("float32"),
            target=Targets().get("pico"),
        ),
        "kws/float32 on pico: latency is unavailable: never measured",
        (),
    ),
    "host": (
        HostMeasurement(
            variant(), BOARD, Metric(2.0, "ms", "measured", 1.9, 2.1), "a laptop", 1, 9, False
        ),
        "kws/int8: 2 ms (1.9 ms to 2.1 ms)",
        ("measured", "a laptop, which is not the target"),
    ),
    "device": (
        DeviceMeasurement(variant(), BOARD, Metric(3.0, "ms", "measured"), 1_400, "r.jsonl:3"),
        "kws/int8 on nano33ble: 3 ms",
        ("1,400 B", "r.jsonl:3"),
    ),
    "variant": (
        variant(target=BOARD, notes=("a note",), training=TrainingSummary(
            "accuracy", 0.95, None, 0.94, 100, 1, 1, None)),
        "kws/int8 for nano33ble: 1,400 B",
        ("image: int8 (1, 8, 6, 3), scale 0.5, zero point -128", "scores: float32 (1, 4)",
         "model.tflite", "f" * 64, "a note", "accuracy 0.94 after 1 of 1 epoch"),
    ),
    "target": (BOARD, "nano33ble: Arduino Nano 33 BLE", ("cortex-m4 at 64 MHz", "183.4 KiB")),
    "host target": (Targets().get("rpi4"), "rpi4: Raspberry Pi 4", ("no limit",)),
}  # fmt: skip


class _Page(HTMLParser):
    """What a browser makes of a record: its text, and the tags that it is made of."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.text += "\n" if tag == "br" else ""

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_says_what_it_came_to_in_its_first_line(name: str) -> None:
    record, head, parts = RECORDS[name]
    first, *rest = str(record).splitlines()
    assert first.startswith(head)
    assert len(rest) <= 16
    below = re.sub(r"\n +", "\n", str(record))
    for part in parts:
        assert part in below, (part, below)


@pytest.mark.parametrize("name", RECORDS)
def test_a_notebook_shows_the_same(name: str) -> None:
    record, head, parts = RECORDS[name]
    page = _Page(record._repr_html_())
    for part in (head, *parts):
        if not part.startswith("and "):  # it has room for all layers
            assert part in page.text
    assert set(page.tags) <= {
        *("div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "br", "img")
    }


@pytest.mark.parametrize("name", RECORDS)
def test_the_whole_record_is_in_its_repr_and_in_plain_data(name: str) -> None:
    record = RECORDS[name][0]
    told = record.to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    hidden = {"tools", "content", "runner"}
    fields = {field.name for field in dataclasses.fields(record)}
    assert fields - hidden <= set(told)
    assert not hidden & set(told)
    if not isinstance(record, Variant) and name not in ("target", "host target"):
        assert repr(record).startswith(f"{type(record).__name__}(")
        assert all(f"{field}=" in repr(record) for field in fields - hidden)
    assert repr(record) != str(record)


def test_plain_data_keeps_each_value() -> None:
    told = evaluation().to_dict()
    assert told["outcomes"] == [True, True, False, True]
    assert told["details"]["recall[1]"] == 0.5
    assert told["per_sample"] is None
    assert Fidelity(None, math.inf, 0.0, 1).to_dict()["sqnr_db"] == "inf"
    assert arena().to_dict()["plan"][0]["size"] == 512
    assert arena().to_dict()["exact"] is True
    assert comparison().to_dict()["classes"][0]["label"] == 7
    whole = variant(target=BOARD).to_dict()
    assert whole["inputs"][0]["dtype"] == "int8"
    assert whole["inputs"][0]["scale"] == 0.5
    assert whole["tensors"][0]["quantization"]["scales"] == [0.1, 0.2]
    assert (whole["size_bytes"], whole["target"]) == (1400, "nano33ble")
    assert BOARD.to_dict()["sram"]["value"] == 262_144


def test_a_variant_within_another_record_is_its_identity() -> None:
    assert estimate().to_dict()["variant"] == {
        "model_name": "kws",
        "name": "int8",
        "target": None,
        "fingerprint": "f" * 64,
        "size_bytes": 1400,
    }
    assert estimate().to_dict()["target"] == "nano33ble"


@pytest.mark.parametrize(
    "value, told",
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array(2.5), 2.5),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([1.0, np.nan, -np.inf]), [1.0, "nan", "-inf"]),
        (np.array([[np.inf], [1.0]]), [["inf"], [1.0]]),
        (Outcome.FAIL, "fail"),
        (Path("a") / "b", str(Path("a") / "b")),
        (b"\x00" * 2000, "2,000 bytes"),
        ({3: (1, 2)}, {"3": [1, 2]}),
        (frozenset({1}), [1]),
        (object(), "object"),
    ],
)
def test_a_value_as_plain_data(value: Any, told: Any) -> None:
    found = plain(value)
    assert found == told
    assert type(found) is type(told)
    json.dumps(found, allow_nan=False)


@given(texts)
def test_whatever_a_name_is_a_notebook_shows_it_as_text(name: str) -> None:
    for record in (
        dataclasses.replace(evaluation(), metric=name, provenance=name),
        Metric.unavailable("ms", name),
        dataclasses.replace(arena(), provenance=name),
    ):
        page = _Page(record._repr_html_())
        assert set(page.tags) <= {"div", "p", "strong", "table", "tbody", "tr", "th", "td", "br"}
        str(record).encode("utf-8", "replace")


def test_an_arena_has_its_picture_where_it_can_be_drawn() -> None:
    class Tools:
        def suggestions(self) -> tuple[()]:
            return ()

        def unrolled(self) -> str:
            return ""

        def svg(self, arena: Arena) -> str:
            return "<svg><script>alert(1)</script></svg>"

    shown = arena(tools=Tools())._repr_html_()
    assert '<img alt="the plan of the arena' in shown
    assert "<script" not in shown
    assert "<img" not in arena()._repr_html_()
    assert "tools" not in repr(arena(tools=Tools()))


def layers(model: str, *macs: int) -> ModelLayers:
    found = [
        Layer(i, 0, "CONV_2D", f"<b>l{i}</b>", (), (Edge("o", (1, 8, 4), "INT8"),), {"s": 1}, n, 8)
        for i, n in enumerate(macs)
    ]
    edge = Edge("<img src=x>", (1, 8, 6), "INT8", "0.5 * (q + 128)")
    metrics = {"arena_bytes": Metric(4_096, "bytes", "exact")}
    return ModelLayers(model, "int8", "pico", 5_120, (edge,), (edge,), tuple(found), metrics)


def test_layers_of_a_model_are_a_few_lines_with_the_dearest() -> None:
    found = layers("kws", 1, 900, 30, 4_000)
    assert str(found).splitlines()[:4] == [
        "kws/int8 on pico: 5,120 B, of which weights 32 B; 4,931 MACs in 4 layers",
        "  inputs   <img src=x>: 1x8x6 INT8, 0.5 * (q + 128)",
        "  outputs  <img src=x>: 1x8x6 INT8, 0.5 * (q + 128)",
        "  arena    4,096 B",
    ]
    assert [line.split()[1] for line in str(found).splitlines()[5:8]] == ["(3)", "(1)", "(2)"]
    assert str(found).endswith("and 1 more")
    assert "<img" not in found._repr_html_()
    assert "<b>" not in found._repr_html_()
    assert json.loads(json.dumps(found.to_dict()))["layers"][3]["macs"] == 4_000


def test_a_difference_of_models_begins_with_what_came_of_it() -> None:
    before, after = layers("old", 10, 20), layers("new", 10)
    found = ModelDifference(before, after, (LayerChange(before.layers[1], None),), same=False)
    first, *rest = str(found).splitlines()
    assert first == (
        "old/int8 on pico -> new/int8 on pico: 0 added, 1 removed, 0 changed of 1 layer"
    )
    assert rest[0].split(maxsplit=1) == ["file", "5,120 B -> 5,120 B"]
    assert rest[2].split(maxsplit=1) == ["MACs", "30 -> 10"]
    assert json.loads(json.dumps(found.to_dict()))["before"]["model"] == "old"
    same = ModelDifference(before, before, (), same=True)
    assert "both compute the same" in str(same)
    assert "<b>" not in found._repr_html_()
