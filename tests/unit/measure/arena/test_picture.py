"""The picture of a memory plan: valid, the same every time, and harmless."""

from __future__ import annotations

import builtins
import dataclasses
import random
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from random_models import random_model

from pytest_edgequant import Arena, MissingExtraError, measure_arena
from pytest_edgequant.measure.arena import compute_arena
from pytest_edgequant.targets.profiles import make_profile
from pytest_edgequant.tflite.graph import read_graph

DATA = Path(__file__).parents[3] / "data"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def arena() -> Arena:
    pytest.importorskip("matplotlib", reason="the extra plots is not installed")
    return measure_arena(DATA / "residual_int8.tflite", "nano33ble")


def titles(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [title.text or "" for title in root.iter(f"{SVG}title")]


def test_every_buffer_has_a_box_with_its_name_size_and_place(arena: Arena) -> None:
    found = titles(arena.svg())
    assert len(found) == len(arena.plan)
    for title, buffer in zip(found, sorted(arena.plan, key=arena.plan.index), strict=True):
        assert title.startswith(f"{buffer.name}: {buffer.size:,} B at {buffer.offset:,}")


def test_operators_have_the_numbers_that_messages_give_them(arena: Arena) -> None:
    assert arena.peak is not None
    number = re.search(r"\((\d+)\)$", arena.peak.operator)
    assert number is not None
    root = ElementTree.fromstring(arena.svg())
    ticks = {text.text: float(text.get("x", "nan")) for text in root.iter(f"{SVG}text")}
    dotted = [
        path.get("d", "").split()
        for path in root.iter(f"{SVG}path")
        if "stroke-dasharray: 0.8" in path.get("style", "")
    ]
    assert [float(line[1]) for line in dotted] == [pytest.approx(ticks[number[1]], abs=0.1)]
    first = [b for b in arena.plan if b.first == 0]
    assert first
    assert all("before operator 0" in title for title in titles(arena.svg())[: len(first)])
    assert "in" in ticks


def test_addresses_of_a_small_arena_are_distinct_whole_numbers(arena: Arena) -> None:
    plan = (dataclasses.replace(arena.plan[0], offset=0, size=3),)
    small = dataclasses.replace(arena, plan=plan, peak=None, nonpersistent_bytes=3)
    root = ElementTree.fromstring(small.svg())
    shown = [text.text or "" for text in root.iter(f"{SVG}text")]
    addresses = [text for text in shown if text.isdigit()]
    assert addresses[-4:] == ["0", "1", "2", "3"]


def test_the_same_plan_gives_the_same_bytes(arena: Arena) -> None:
    text = arena.svg()
    assert text == arena.svg()
    assert text.startswith("<svg")
    assert "<dc:date>" not in text


@pytest.mark.parametrize(
    "name",
    [
        "</title><script>alert(1)</script>",
        'a & b < c > d " e',
        "$\\frac{1}{$",
        "_^{}\\",
        "\x00\x07\u202e\ufffe",
        "x" * 5000,
        "",
        "名前/层",
    ],
)
def test_hostile_names_do_no_harm(arena: Arena, name: str) -> None:
    plan = tuple(dataclasses.replace(b, name=name, operator=name) for b in arena.plan)
    assert arena.peak is not None
    peak = dataclasses.replace(arena.peak, operator=name)
    text = dataclasses.replace(arena, plan=plan, peak=peak).svg()
    ElementTree.fromstring(text)
    assert "<script" not in text


def test_a_plan_of_many_operators_or_of_none_is_drawn() -> None:
    pytest.importorskip("matplotlib", reason="the extra plots is not installed")
    profile = make_profile("arm32", "cortex-m4", "cmsis-nn")
    content = random_model(random.Random(5).randint, "INT8", 200)
    large = compute_arena(read_graph(content), profile)
    assert len(titles(large.svg())) == len(large.plan)
    empty = dataclasses.replace(large, plan=(), peak=None, nonpersistent_bytes=0)
    assert titles(empty.svg()) == []


def test_the_users_own_figures_stay_as_they_were(arena: Arena) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    arena.svg()
    assert dict(matplotlib.rcParams) == before


def test_without_matplotlib_it_says_what_to_install(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pytest-edgequant\[plots\]"):
        arena.svg()
