from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_events import metric_event, note_event, recording, verdict_event

from pytest_edgequant import context
from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.forms import VARIANTS
from pytest_edgequant.outcomes import worst
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.records import Metric, Outcome, Variant, Verdict
from pytest_edgequant.results.recording import (
    record_metric,
    record_skip,
    record_variant,
    record_verdict,
)
from pytest_edgequant.results.session import Event, Session

WORST_FIRST = [
    Outcome.FAIL,
    Outcome.CANNOT_RUN,
    Outcome.UNAVAILABLE,
    Outcome.INCONCLUSIVE,
    Outcome.PASS,
    Outcome.NOT_APPLICABLE,
]


def merged(*events: Event) -> Session:
    session = Session()
    session.add(events)
    return session


@pytest.fixture
def variant(pipeline: Pipeline, tiny: Mapping[str, Path]) -> Variant:
    return load_variant(tiny["int8"])


# -- the worst ----------------------------------------------------------------------------------


@pytest.mark.parametrize("position", range(len(WORST_FIRST)))
def test_the_worst_outcome_decides(position: int) -> None:
    assert worst(reversed(WORST_FIRST[position:])) is WORST_FIRST[position]


def test_every_outcome_has_its_place() -> None:
    assert set(WORST_FIRST) == set(Outcome)
    assert worst([]) is None


# -- merging ------------------------------------------------------------------------------------

EVENTS = [
    metric_event("float32", "size_bytes", 14_000),
    metric_event("int8", "size_bytes", 5_568),
    metric_event("int8", "arena_bytes", 2_000),
    metric_event("int8", "size_bytes", 5_568, target=None),
    note_event("int8", "calibration: few samples"),
    verdict_event("int8", "size", Outcome.PASS),
    verdict_event("int8", "size", Outcome.FAIL, limit=0),
    verdict_event("int8", "arena", Outcome.PASS),
    verdict_event("float32", "arena", Outcome.CANNOT_RUN, skipped=True),
    {"kind": "cache", "damaged": 1},
]


@given(st.permutations(EVENTS), st.integers(0, len(EVENTS)))
def test_results_do_not_depend_on_the_order_of_tests_or_workers(
    shuffled: list[Event], cut: int
) -> None:
    split = Session()
    split.add(shuffled[cut:])
    split.add(shuffled[:cut])
    assert list(split.results()) == list(merged(*EVENTS).results())
    assert (split.gated, split.damaged) == (3, 1)


def test_one_result_a_model_target_and_variant() -> None:
    results = list(merged(*EVENTS).results())
    assert [(r.target, r.variant) for r in results] == [
        (None, "int8"),
        ("pico", "float32"),
        ("pico", "int8"),
    ]
    assert list(results[2].metrics) == ["arena_bytes", "size_bytes"]
    assert [v.check for v in results[2].verdicts] == ["arena", "size", "size"]
    assert results[2].notes == ["calibration: few samples"]


def test_variants_are_in_the_order_of_the_registry() -> None:
    names = [*VARIANTS, "homemade"]
    session = merged(*(metric_event(name, "size_bytes", 1) for name in sorted(names)))
    assert [result.variant for result in session.results()] == names


def test_what_is_said_twice_is_kept_once_and_counted_twice() -> None:
    event = verdict_event("int8", "size", Outcome.PASS)
    session = merged(event, event, note_event("int8", "a"), note_event("int8", "a", "b"))
    (result,) = session.results()
    assert len(result.verdicts) == 1
    assert result.notes == ["a", "b"]
    assert session.gated == 2


@pytest.mark.parametrize(
    "outcome, skipped, gated",
    [
        (Outcome.PASS, False, 1),
        (Outcome.FAIL, False, 1),
        (Outcome.INCONCLUSIVE, False, 1),
        (Outcome.UNAVAILABLE, False, 1),
        (Outcome.CANNOT_RUN, False, 1),
        (Outcome.CANNOT_RUN, True, 0),
        (Outcome.NOT_APPLICABLE, False, 0),
    ],
)
def test_only_what_was_judged_is_gated(outcome: Outcome, skipped: bool, gated: int) -> None:
    assert merged(verdict_event("int8", "arena", outcome, skipped=skipped)).gated == gated


def test_the_size_of_float32_is_known_for_its_model_on_every_target() -> None:
    session = merged(
        metric_event("float32", "size_bytes", 14_000, target="rpi4"),
        metric_event("int8", "size_bytes", 5_568),
    )
    assert session.float32_sizes() == {"digits": 14_000}


# -- recording ----------------------------------------------------------------------------------


def test_what_is_recorded_is_plain_and_merges_to_what_it_was(variant: Variant) -> None:
    arena = Metric.unavailable("bytes", "no wheel")
    verdict = Verdict("size", Outcome.FAIL, "too large", 100, 5_568)
    with recording() as events:
        record_variant(variant)
        record_metric(variant, "arena_bytes", arena)
        record_verdict(variant, verdict)
    (result,) = merged(*json.loads(json.dumps(events))).results()
    assert (result.model, result.variant, result.target) == ("tiny_int8", "int8", None)
    assert result.metrics["size_bytes"].value == variant.size_bytes
    assert result.metrics["arena_bytes"] == arena
    assert result.verdicts == [verdict]


def test_a_skipped_variant_is_shown_and_gates_nothing() -> None:
    with recording() as events:
        record_skip(
            "digits", "float16", "pico", "runs", "no float16 kernels", outcome=Outcome.CANNOT_RUN
        )
    session = merged(*events)
    (result,) = session.results()
    assert [(v.check, v.verdict) for v in result.verdicts] == [("runs", Outcome.CANNOT_RUN)]
    assert (result.target, session.gated) == ("pico", 0)


def test_nothing_is_recorded_where_no_test_runs(variant: Variant) -> None:
    assert context.events is None
    record_variant(variant)
    record_skip("digits", "float16", "pico", "runs", "no float16 kernels")
    assert context.events is None


def test_an_event_of_an_unknown_kind_is_not_swallowed() -> None:
    odd: dict[str, Any] = {"kind": "latency", "model": "m", "variant": "v", "target": None}
    with pytest.raises(KeyError):
        merged(odd)
