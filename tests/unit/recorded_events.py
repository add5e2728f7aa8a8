"""What a run records, as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pytest_edgequant import context
from pytest_edgequant.records import Outcome
from pytest_edgequant.results.session import Event


@contextmanager
def recording() -> Iterator[list[Event]]:
    """What is recorded meanwhile; the run that tests this package hears nothing of it."""
    outer, context.events = context.events, []
    try:
        yield context.events
    finally:
        context.events = outer


def metric_event(variant: str, name: str, value: float, target: str | None = "pico") -> Event:
    metric = {
        "value": value,
        "unit": "bytes",
        "provenance": "exact",
        "low": None,
        "high": None,
        "reason": None,
    }
    return {
        "kind": "metric",
        "model": "digits",
        "variant": variant,
        "target": target,
        "name": name,
        "metric": metric,
    }


def verdict_event(
    variant: str, check: str, outcome: Outcome, *, skipped: bool = False, limit: float = 1
) -> Event:
    return {
        "kind": "verdict",
        "model": "digits",
        "variant": variant,
        "target": "pico",
        "verdict": {
            "check": check,
            "verdict": outcome.value,
            "message": f"{check} of {variant}",
            "limit": limit,
            "value": 0,
        },
        "skipped": skipped,
    }


def note_event(variant: str, *notes: str) -> Event:
    return {
        "kind": "variant",
        "model": "digits",
        "variant": variant,
        "target": "pico",
        "notes": list(notes),
    }
