"""The JSON Schema of `[tool.edgequant]`, for editors and `validate-pyproject`.

`schema.json` beside this file is what `table_schema` gives: `python -m
pytest_edgequant.gate.configured.schema` writes it anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_edgequant.forms import VARIANTS
from pytest_edgequant.gate.configured.keys import LIMITS, MODEL, NAMES, Key
from pytest_edgequant.settings import OPTIONS, PLURALS

PUBLISHED = Path(__file__).with_name("schema.json")
_KINDS: Mapping[str, Mapping[str, Any]] = {
    "names": NAMES,
    "paths": NAMES,
    "path": {"type": "string", "minLength": 1},
    "flag": {"type": ["boolean", "string"]},
    "seconds": {"type": ["number", "string"]},
    "count": {"type": ["number", "string"]},
}


def table_schema() -> dict[str, Any]:
    """The schema of the whole table, made of the keys that the parsers know."""
    options = {
        spelling: {"description": option.help, **_KINDS[option.kind]}
        for option in OPTIONS
        for spelling in dict.fromkeys((option.name, option.name.replace("_", "-")))
    }
    options[PLURALS["variant"]] = options["variant"]
    tables = {"type": "object", "additionalProperties": {"type": "object"}}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "https://pypi.org/project/pytest-edgequant/configuration/1",
        "title": "Deployment constraints of quantized models: pytest-edgequant",
        "description": "The table [tool.edgequant] of pyproject.toml, or the file edgequant.toml.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            **options,
            "targets": {
                "description": "the boards to gate on, or tables of boards of your own",
                "anyOf": [*NAMES["anyOf"], tables],
            },
            "models": {
                "description": "models that are gated without a test, by name",
                "type": "object",
                "propertyNames": {"pattern": r"^[^\s\[\]/\\:][^\[\]/\\:]*$"},
                "additionalProperties": {"$ref": "#/definitions/model"},
            },
            "regression": {"description": "rules of baselines", "type": "object"},
            "accepted": {
                "description": "regressions that are accepted",
                "type": "array",
                "items": {"type": "object"},
            },
        },
        "definitions": {
            "model": {
                "type": "object",
                "required": ["model"],
                "additionalProperties": False,
                "properties": _properties(MODEL),
            },
            # Not one that holds itself: validators that unroll references would never end.
            "budgets": _budgets("narrowed"),
            "narrowed": _budgets("limits"),
            "limits": _budgets(),
        },
    }


def _budgets(narrower: str = "") -> dict[str, Any]:
    """Limits, and tables of them for a variant or a target where there may be such."""
    found: dict[str, Any] = {"type": "object", "properties": _properties(LIMITS)}
    if not narrower:
        return {**found, "additionalProperties": False}
    table = {"$ref": f"#/definitions/{narrower}"}
    found["properties"].update(dict.fromkeys(VARIANTS, table))
    return {**found, "additionalProperties": table}


def _properties(keys: tuple[Key, ...]) -> dict[str, Any]:
    return {
        spelling: {"description": key.help, **key.schema}
        for key in keys
        for name in (key.name, *key.also)
        for spelling in dict.fromkeys((name, name.replace("_", "-")))
    }


def tool_schema(_tool: str = "edgequant") -> dict[str, Any]:
    """The published schema, as `validate-pyproject` asks for it."""
    found: dict[str, Any] = json.loads(PUBLISHED.read_text("utf-8"))
    return found


if __name__ == "__main__":
    PUBLISHED.write_text(json.dumps(table_schema(), indent=2, ensure_ascii=False) + "\n", "utf-8")
