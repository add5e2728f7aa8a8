from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from importlib import resources
from typing import Any

import jsonschema
import pytest
from recorded_events import metric_event, note_event, verdict_event

from pytest_edgequant import __version__
from pytest_edgequant.records import Change, Outcome
from pytest_edgequant.report.json import SCHEMA, document, render
from pytest_edgequant.results.session import Session

SCHEMA_FILE = resources.files("pytest_edgequant.report") / "schema.json"
VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text("utf-8")))


@pytest.fixture
def session() -> Session:
    unavailable = metric_event("int8", "arena_bytes", 0)
    unavailable["metric"] |= {
        "value": None,
        "provenance": "unavailable",
        "reason": "there is no wheel here",
    }
    session = Session()
    session.add(
        [
            metric_event("int8", "size_bytes", 5_568),
            unavailable,
            metric_event("int8", "accuracy", 0.95, target=None),
            note_event("int8", "calibration: µ samples"),
            *(verdict_event("int8", outcome.value, outcome) for outcome in Outcome),
        ]
    )
    return session


@pytest.fixture
def report(session: Session) -> Any:
    return json.loads(render(session))


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(VALIDATOR.schema)
    assert VALIDATOR.schema["$id"] == SCHEMA


def test_a_run_without_results_is_a_report() -> None:
    empty = document(Session())
    VALIDATOR.validate(empty)
    assert empty["results"] == []


def test_every_verdict_and_a_missing_figure_make_a_valid_report(report: Any) -> None:
    VALIDATOR.validate(report)
    without_target, on_pico = report["results"]
    assert (without_target["target"], on_pico["target"]) == (None, "pico")
    assert {v["verdict"] for v in on_pico["verdicts"]} == {outcome.value for outcome in Outcome}
    assert on_pico["metrics"]["arena_bytes"] == {
        "value": None,
        "unit": "bytes",
        "provenance": "unavailable",
        "low": None,
        "high": None,
        "reason": "there is no wheel here",
    }
    assert on_pico["notes"] == ["calibration: µ samples"]


def test_changes_against_a_baseline_are_reported(session: Session) -> None:
    session.baseline_note = "compared with baseline.json"
    changes = [
        Change("size_bytes", "bytes", 5_000, 5_568, Outcome.FAIL, "568 B more than allowed"),
        Change("accuracy", "fraction", 0.96, 0.95, Outcome.INCONCLUSIVE, "?", -0.02, 0.01),
        Change("arena_bytes", "bytes", 2_000, None, Outcome.UNAVAILABLE, "not measured"),
    ]
    session.add_changes(("digits", "pico", "int8"), changes)
    report = json.loads(render(session))
    VALIDATOR.validate(report)
    assert report["baseline"] == {"note": "compared with baseline.json"}
    assert [c["metric"] for c in report["results"][1]["changes"]] == [
        "accuracy",
        "arena_bytes",
        "size_bytes",
    ]
    assert report["results"][1]["changes"][0] == {
        "metric": "accuracy",
        "unit": "fraction",
        "before": 0.96,
        "after": 0.95,
        "verdict": "inconclusive",
        "message": "?",
        "low": -0.02,
        "high": 0.01,
    }
    assert report["results"][0]["changes"] == []


def test_a_report_of_before_there_were_changes_is_valid(report: Any) -> None:
    del report["baseline"]
    for result in report["results"]:
        del result["changes"]
    VALIDATOR.validate(report)


def test_the_report_says_what_made_it(report: Any) -> None:
    assert report["schema"] == "edgequant-report/1"
    assert report["tool"] == {"name": "pytest-edgequant", "version": __version__}
    assert {"pytest", "numpy", "ai-edge-litert"} <= set(report["environment"]["packages"])


def test_a_number_that_json_can_not_hold_is_refused(session: Session) -> None:
    session.add([metric_event("int8", "accuracy", math.nan)])
    with pytest.raises(ValueError, match="JSON compliant"):
        render(session)


def metric(report: Any) -> Any:
    return report["results"][1]["metrics"]["arena_bytes"]


def verdict(report: Any) -> Any:
    return report["results"][1]["verdicts"][0]


SPOILT: dict[str, Callable[[Any], Any]] = {
    "a missing figure without a reason": lambda r: metric(r).update(reason=None),
    "a metric without its value": lambda r: metric(r).pop("value"),
    "a metric without a provenance": lambda r: metric(r).pop("provenance"),
    "a metric with something unknown": lambda r: metric(r).update(error=1),
    "a value that is text": lambda r: metric(r).update(value="5 kB"),
    "an unknown verdict": lambda r: verdict(r).update(verdict="maybe"),
    "a verdict without a message": lambda r: verdict(r).pop("message"),
    "a result without a variant": lambda r: r["results"][0].pop("variant"),
    "another version": lambda r: r.update(schema="edgequant-report/2"),
    "no results": lambda r: r.pop("results"),
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_the_schema_refuses(spoil: str, report: Any) -> None:
    spoilt = copy.deepcopy(report)
    SPOILT[spoil](spoilt)
    assert not VALIDATOR.is_valid(spoilt)
