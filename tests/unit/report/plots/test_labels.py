"""Labels of pictures: cut to their room, each tick told apart, no name over another."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nasty_names import texts

pytest.importorskip("matplotlib")

from pytest_edgequant.report.plots.bars import bars_svg
from pytest_edgequant.report.plots.labels import Box, fitted, free_place, tick_texts, width
from pytest_edgequant.report.plots.pareto import Point, names_of, pareto_svg

SVG = "{http://www.w3.org/2000/svg}"


@given(
    start=st.floats(-1e6, 1e6),
    step=st.sampled_from([1e-9, 2e-6, 0.001, 0.025, 0.1, 0.25, 1.0, 2.5, 20.0, 5e4, 1e9]),
    count=st.integers(2, 8),
    share=st.booleans(),
)
def test_no_two_ticks_read_the_same(start: float, step: float, count: int, share: bool) -> None:
    ticks = [start // step * step + step * i for i in range(count)]
    if len(set(ticks)) == count and step > abs(start) * 1e-9:
        shown = tick_texts(ticks, share=share)
        assert len(set(shown)) == count


@pytest.mark.parametrize(
    ("ticks", "share", "shown"),
    [
        ([0.951, 0.952, 0.953], True, ["95.1%", "95.2%", "95.3%"]),
        ([0.0, 2.5, 5.0], False, ["0.0", "2.5", "5.0"]),
        ([0, 20_000, 40_000], False, ["0", "20,000", "40,000"]),
        ([1e-7, 2e-7], False, ["1e-07", "2e-07"]),
        ([], False, []),
    ],
)
def test_ticks_have_the_digits_that_they_need(
    ticks: list[float], share: bool, shown: list[str]
) -> None:
    assert tick_texts(ticks, share=share) == shown


@given(name=texts, room=st.floats(20, 200))
def test_a_name_takes_no_more_than_its_room(name: str, room: float) -> None:
    assert width(fitted(name, room, 7), 7) <= room


def test_a_name_that_has_room_is_whole_and_others_keep_both_ends() -> None:
    assert fitted("conv_1/Relu", 100, 7) == "conv_1/Relu"
    cut = fitted("MobilenetV1/Conv2d_10_depthwise/Relu6", 100, 7)
    assert cut.startswith("Mobilenet")
    assert cut.endswith("Relu6")


def test_a_label_takes_another_place_where_one_is_taken_and_none_outside() -> None:
    frame = Box(0, 0, 200, 100)
    first = free_place((100, 50), "int8", 7, frame, [])
    assert first is not None
    second = free_place((100, 50), "int8", 7, frame, [first])
    assert second is not None
    assert not first.meets(second)
    assert free_place((100, 50), "int8", 7, frame, [frame]) is None
    corner = free_place((199, 99), "int8", 7, frame, [])
    assert corner is not None
    assert corner.inside(frame)


def many(count: int) -> list[Point]:
    return [
        Point(f"a_rather_long_name_{i}", 5_000 + 7 * i, 0.95 + 0.0001 * (i % 3), i % 2 == 0)
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [2, 5, 40])
def test_names_of_points_never_overlap(count: int) -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    axes.set_xlim(4_900, 5_400)
    axes.set_ylim(0.949, 0.951)
    boxes = [box for _, box in names_of(many(count), axes)]
    assert boxes
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].meets(pair[1])]


def test_points_on_one_spot_share_a_label_and_boards_of_one_variant_have_one() -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    axes.set_xlim(0, 10_000)
    axes.set_ylim(0, 1)
    points = [
        Point("int8", 5_000, 0.5, True, ("pico",)),
        Point("int8", 5_010, 0.5, True, ("esp32",)),
        Point("uint8_io", 5_000, 0.5, True, ("pico",)),
        Point("float32", 9_000, 0.6, True, ("pico",)),
    ]
    assert [name for name, _ in names_of(points, axes)] == ["int8, uint8_io", "float32"]


@pytest.mark.parametrize("spread", [0, 1, 1_000_000])
def test_ticks_of_a_picture_are_distinct_whatever_the_range(spread: int) -> None:
    points = [Point("a", 5_000, 0.9, True), Point("b", 5_000 + spread, 0.9 + 1e-5, True)]
    root = ElementTree.fromstring(pareto_svg(points, "size, bytes", "top-1", True, True))
    shown = [text.text or "" for text in root.iter(f"{SVG}text")]
    ticks = [text for text in shown if text[:1].isdigit()]
    assert len(ticks) > 3
    assert len(set(ticks)) == len(ticks)


def test_bars_of_tiny_times_have_distinct_ticks() -> None:
    root = ElementTree.fromstring(bars_svg(["a", "b"], [1e-6, 2e-6], "ms"))
    ticks = [t.text or "" for t in root.iter(f"{SVG}text") if (t.text or "")[:1].isdigit()]
    assert len(ticks) > 2
    assert len(set(ticks)) == len(ticks)
