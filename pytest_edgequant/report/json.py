"""The JSON report: one versioned document, described by `schema.json` beside this file."""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
from collections.abc import Mapping
from typing import Any

from pytest_edgequant import __version__
from pytest_edgequant.conversion.source import versions
from pytest_edgequant.records import Change, Metric, Result
from pytest_edgequant.session import Session

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
    "ai-edge-quantizer",
    "tflite-micro",
)


def _metric(metric: Metric) -> dict[str, Any]:
    return dataclasses.asdict(metric)


def _change(change: Change) -> dict[str, Any]:
    return dataclasses.asdict(change) | {"verdict": change.verdict.value}


def _result(result: Result, details: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": result.model,
        "variant": result.variant,
        "target": result.target,
        "metrics": {name: _metric(metric) for name, metric in result.metrics.items()},
        "verdicts": [
            {
                "check": verdict.check,
                "verdict": verdict.verdict.value,
                "limit": verdict.limit,
                "value": verdict.value,
                "message": verdict.message,
            }
            for verdict in result.verdicts
        ],
        "notes": list(result.notes),
        "changes": [_change(change) for change in result.changes],
        "details": dict(details),
    }


def _origin() -> Mapping[str, Any]:
    return {
        "tool": {"name": "pytest-edgequant", "version": __version__},
        "environment": {
            "python": platform.python_version(),
            "platform": sys.platform,
            "machine": platform.machine(),
            "packages": versions(_PACKAGES),
        },
    }


def document(session: Session) -> Mapping[str, Any]:
    """The report as plain data."""
    return {
        "schema": SCHEMA,
        **(session.origin or _origin()),
        "baseline": {"note": session.baseline_note},
        "results": [_result(result, session.details(result)) for result in session.results()],
        "failures": [
            dataclasses.asdict(failure)
            for failure in sorted(session.failures, key=lambda failure: failure.test)
        ],
    }


def render(session: Session) -> str:
    """The report's text."""
    return json.dumps(document(session), indent=2, allow_nan=False) + "\n"
