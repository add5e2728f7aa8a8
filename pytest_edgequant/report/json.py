"""The JSON report: one versioned document, described by `schema.json` beside this file."""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
from collections.abc import Mapping
from typing import Any

from pytest_edgequant.cache import versions
from pytest_edgequant.records import GateTest, Metric, Result
from pytest_edgequant.report.changes import change_document
from pytest_edgequant.report.overview import headline, row_text
from pytest_edgequant.results.session import Session
from pytest_edgequant.results.standing import Standing, Standings
from pytest_edgequant.version import __version__

KIND = "edgequant-report"
VERSION = 1
SCHEMA = f"{KIND}/{VERSION}"
_PACKAGES = (
    "pytest",
    "numpy",
    "tensorflow",
    "keras",
    "tf-keras",
    "ai-edge-litert",
    "litert-quantizer",
    "ai-edge-quantizer",
    "tflite-micro",
)


def _metric(metric: Metric) -> dict[str, Any]:
    found = dataclasses.asdict(metric)
    counts = {name: found.pop(name) for name in ("count", "of")}
    return found | {name: count for name, count in counts.items() if count is not None}


def _standing(standing: Standing, text: str) -> dict[str, Any]:
    return {
        "outcome": None if standing.outcome is None else standing.outcome.value,
        "failed": standing.failed,
        "clean": standing.clean,
        "text": text,
    }


def _result(result: Result, standing: Standing, details: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": result.model,
        "variant": result.variant,
        "target": result.target,
        "file": result.file,
        "verdict": _standing(standing, row_text(standing)),
        "metrics": {name: _metric(metric) for name, metric in result.metrics.items()},
        "verdicts": [
            {
                "check": verdict.check,
                "verdict": verdict.verdict.value,
                "limit": verdict.limit,
                "value": verdict.value,
                "message": verdict.message,
                **({"note": verdict.note} if verdict.note else {}),
            }
            for verdict in result.verdicts
        ],
        "notes": list(result.notes),
        "changes": [change_document(change) for change in result.changes],
        "details": dict(details),
    }


def _origin(made: Mapping[str, str]) -> Mapping[str, Any]:
    return {
        "tool": {"name": "pytest-edgequant", "version": __version__},
        "environment": {
            "python": platform.python_version(),
            "platform": sys.platform,
            "machine": platform.machine(),
            **made,
            "packages": versions(_PACKAGES),
        },
    }


def _test(test: GateTest) -> dict[str, Any]:
    return {
        "test": test.test,
        "state": test.state,
        "message": test.message,
        "rows": [
            {"model": model, "variant": variant, "target": target or None, "file": file}
            for model, target, variant, file in test.rows
        ],
    }


def verdict_document(session: Session) -> dict[str, Any]:
    """What a run came to, as plain data."""
    found = headline(session)
    return {**_standing(found.standing, found.text), "remarks": list(found.remarks)}


def document(session: Session) -> Mapping[str, Any]:
    """The report as plain data."""
    standings = Standings(session)
    outcome = session.baseline_outcome
    return {
        "schema": SCHEMA,
        **(session.origin or _origin(session.made)),
        "verdict": verdict_document(session),
        "exit_status": session.exit_status,
        "baseline": {
            "note": session.baseline_note,
            **({} if outcome is None else {"outcome": outcome.value}),
        },
        "results": [
            _result(result, standings.of(result), session.details(result))
            for result in standings.results
        ],
        "tests": [_test(test) for test in session.tests()],
        "failures": [
            dataclasses.asdict(failure)
            for failure in sorted(session.failures, key=lambda failure: failure.test)
        ],
    }


def render(session: Session) -> str:
    """The report's text."""
    return json.dumps(document(session), indent=2, allow_nan=False) + "\n"
