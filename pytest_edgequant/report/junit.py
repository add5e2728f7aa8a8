"""What a test measured and judged as its properties: JUnit XML (`--junitxml`) shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pytest_edgequant.wording import one_line, printable

_MOST_NAME, _MOST_VALUE = 200, 2000


def _plain(text: object, most: int) -> str:
    """Text that XML can hold: pytest escapes the values of properties, not their names."""
    cleaned = printable(text)
    return cleaned if len(cleaned) <= most else f"{cleaned[: most - 1]}…"


def _value(event: Mapping[str, Any]) -> tuple[str, object]:
    if event["kind"] == "metric":
        metric = event["metric"]
        value = metric["value"]
        return event["name"], f"unavailable: {metric['reason']}" if value is None else value
    verdict = event["verdict"]
    return f"verdict:{verdict['check']}", f"{verdict['verdict']}: {verdict['message']}"


def add_properties(
    properties: list[tuple[str, object]], events: Iterable[Mapping[str, Any]]
) -> None:
    """Extend a test's `properties` by the metrics and verdicts of its events.

    Names are `edgequant:MODEL/VARIANT@TARGET:METRIC` and `...:verdict:CHECK`; a figure that was
    measured anew replaces the one before.
    """
    found = {}
    for event in events:
        if event["kind"] in ("metric", "verdict"):
            name, value = _value(event)
            target = f"@{event['target']}" if event["target"] else ""
            whole = f"edgequant:{event['model']}/{event['variant']}{target}:{name}"
            found[_plain(whole, _MOST_NAME)] = _plain(one_line(str(value)), _MOST_VALUE)
    properties[:] = [(name, value) for name, value in properties if name not in found]
    properties += found.items()
