from __future__ import annotations

import pytest
from test_session import metric_event, note_event, verdict_event

from pytest_edgequant.records import Outcome
from pytest_edgequant.report.targets import target_lines
from pytest_edgequant.report.terminal import summary_lines
from pytest_edgequant.session import Event, Session
from pytest_edgequant.targets import Targets


def lines(*events: Event) -> list[str]:
    session = Session()
    session.add(events)
    return [line.rstrip() for line in summary_lines(session)]


def verdict_of(*outcomes: Outcome) -> str:
    """The last cell of a row with checks named a, b, c of these outcomes."""
    names = zip("abc", outcomes, strict=False)
    return lines(*(verdict_event("int8", name, outcome) for name, outcome in names))[-1].split(
        maxsplit=5
    )[-1]


def test_a_session_is_one_table_a_model_and_target() -> None:
    arena = metric_event("int8", "arena_bytes", 1_616)
    arena["metric"]["provenance"] = "measured (tflite-micro)"
    found = lines(
        metric_event("float32", "size_bytes", 13_856),
        metric_event("float32", "accuracy", 0.95),
        metric_event("int8", "size_bytes", 5_568),
        metric_event("int8", "accuracy", 0.9375),
        metric_event("int8", "accuracy_drop", 0.0125),
        arena,
        note_event("int8", "calibration: 60 of 120 samples split off"),
        note_event("uint8_io", "calibration: 60 of 120 samples split off"),
        verdict_event("int8", "size", Outcome.PASS),
        verdict_event("int8", "accuracy_drop", Outcome.FAIL),
        verdict_event("float16", "runs", Outcome.CANNOT_RUN, skipped=True),
        metric_event("int8", "size_bytes", 5_568, target=None),
        {"kind": "cache", "converted": 1, "damaged": 2},
    )
    assert found == [
        "",
        "digits on no target",
        "variant        size    ratio    arena    drop  verdict",
        "---------  --------  -------  -------  ------  ---------",
        "int8       5,568 B    0.40x        -       -  -",
        "",
        "digits on pico",
        "variant        size    ratio    arena    top-1      drop  verdict",
    ] or found == EXPECTED


EXPECTED: list[str] = []


def test_nothing_recorded_is_nothing_said() -> None:
    assert lines() == []
