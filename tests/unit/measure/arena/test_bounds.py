"""The upper bound of operators that are not known: above every known kernel, and said so."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterator

import pytest
from model_building import GraphBuilder
from random_models import random_model

from pytest_edgequant.errors import CannotRunError, ModelError
from pytest_edgequant.measure.arena import compute_arena
from pytest_edgequant.measure.arena.bounds import KNOWN, unknown_needs
from pytest_edgequant.measure.arena.calculator import calculate
from pytest_edgequant.measure.arena.kernels import DATA, PREPARED
from pytest_edgequant.measure.arena.view import Needs, View
from pytest_edgequant.targets.profiles import Profile, make_profile
from pytest_edgequant.targets.tflm_operators import TFLM_OPERATORS
from pytest_edgequant.tflite.graph import Graph, read_graph

PROFILES = (
    make_profile("arm32", "cortex-m4", "reference"),
    make_profile("arm32", "cortex-m4", "cmsis-nn"),
    make_profile("arm32", "cortex-m55", "cmsis-nn"),
    make_profile("xtensa", "xtensa-lx7", "esp-nn"),
    make_profile("x86_64", "-", "reference"),
)
KINDS = ("INT8", "INT16", "FLOAT32")


def without(profile: Profile, *names: str) -> Profile:
    """The profile of a release in which these operators' memory is not known."""
    release = dataclasses.replace(profile.release, unknown=frozenset(names))
    return dataclasses.replace(profile, release=release)


def graphs() -> Iterator[Graph]:
    for seed in range(60):
        pick = random.Random(seed).randint
        yield read_graph(random_model(pick, KINDS[seed % 3], 10))


def test_every_operator_of_tflm_is_known() -> None:
    assert TFLM_OPERATORS <= KNOWN


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: f"{p.abi.name}-{p.kernels}")
def test_the_bound_is_above_what_known_kernels_ask_for(profile: Profile) -> None:
    compared = 0
    for graph in graphs():
        for subgraph, operator in graph.operators():
            view = View(operator, subgraph, profile)
            bound, rule = unknown_needs(view), PREPARED.get(operator.name)
            data = DATA[operator.name].size(profile)[0] if operator.name in DATA else 0
            needs = rule(view) if rule is not None else Needs()
            assert data + sum(needs.arrays) <= sum((*bound.data, *bound.prepared.arrays))
            assert sum(needs.scratch) <= sum(bound.prepared.scratch)
            compared += bool(needs.scratch or needs.arrays)
    assert compared > 50


def test_an_unknown_operator_lies_between_its_bounds() -> None:
    profile = PROFILES[1]
    for graph in graphs():
        real = compute_arena(graph, profile)
        names = {operator.name for _, operator in graph.operators()} & KNOWN
        name = sorted(names)[0]
        bounded = compute_arena(graph, without(profile, name))
        assert bounded.low_bytes <= real.minimum_bytes <= bounded.minimum_bytes
        assert all(place.startswith(name) for place in bounded.unknown)
        assert f"upper bound: {bounded.unknown[0]}" in bounded.provenance


def test_custom_operators_of_an_application_are_bounded() -> None:
    b = GraphBuilder()
    x = b.activation((1, 8, 8, 4), "INT8")
    b.add("CUSTOM", [x], (1, 8, 8, 4), "INT8", custom_code="Mine")
    found = compute_arena(read_graph(b.build()), PROFILES[1])
    assert found.unknown == ("CUSTOM(Mine) (operator 0)",)
    assert found.low_bytes < found.minimum_bytes
    assert "at least" in found.explain()


# -- what is wrong with a model is said ------------------------------------------------------------


def test_an_operator_that_tflm_lacks_has_no_arena() -> None:
    b = GraphBuilder()
    x = b.activation((1, 4), "FLOAT32")
    b.add("TILE", [x, b.integers(1, 2)], (1, 8), "FLOAT32")
    with pytest.raises(CannotRunError, match=r"TFLM has no kernel for TILE \(operator 0\)"):
        compute_arena(read_graph(b.build()), PROFILES[0])


@pytest.mark.parametrize("name", sorted(TFLM_OPERATORS))
def test_operators_without_their_tensors_are_a_model_error_or_computed(name: str) -> None:
    shapes: tuple[tuple[int, ...], ...] = ((), (0,), (3,), (1, 2, 3), (1, 2, 3, 4, 5))
    for profile, shape, count in itertools.product(PROFILES, shapes, (0, 1, 3)):
        b = GraphBuilder()
        inputs = [b.activation(shape, "INT8") for _ in range(count)]
        b.add(name, inputs, [shape], "INT8")
        try:
            found = calculate(read_graph(b.build()), profile)
        except (ModelError, CannotRunError):
            continue
        assert found.minimum >= found.persistent


def test_options_that_can_not_be_meant_are_not_computed_with() -> None:
    from flatbuffers import flexbuffers

    for value in (-1, 1 << 40, "many", None, 1.5, True):
        b = GraphBuilder()
        x = b.activation((1, 64), "INT16")
        builder = flexbuffers.Builder()
        with builder.Map():
            builder.Key("delay_length")
            builder.Add(value)
        b.add(
            "CUSTOM",
            [x],
            (1, 64),
            "INT16",
            custom_code="SignalDelay",
            custom_options=bytes(builder.Finish()),
        )
        assert compute_arena(read_graph(b.build()), PROFILES[0]).unknown


@pytest.mark.parametrize("raw", [b"", b"\x00", b"\xff" * 64, bytes(range(40))])
def test_damaged_options_are_not_computed_with(raw: bytes) -> None:
    for code in ("SignalRfft", "SignalFramer", "TFLite_Detection_PostProcess"):
        b = GraphBuilder()
        x = b.activation((1, 64), "INT16")
        b.add("CUSTOM", [x], (1, 64), "INT16", custom_code=code, custom_options=raw)
        assert compute_arena(read_graph(b.build()), PROFILES[0]).unknown
