"""The keys of a model's table, each once: the parser and the JSON Schema are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NAMES: Mapping[str, Any] = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
    ]
}
_REFERENCE = {"type": "string", "pattern": r"(:|\.[nN][pP][yYzZ]$)"}
_BYTES = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "minLength": 1}]}
_TIME = {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(ns|us|µs|μs|ms|s)\s*$"}


@dataclass(frozen=True)
class Key:
    """One key: what it is, what its value looks like in JSON Schema, other spellings of it."""

    name: str
    help: str
    schema: Mapping[str, Any]
    also: tuple[str, ...] = ()


MODEL = (
    Key(
        "model",
        "the model's file, relative to this one: .tflite, .keras, .h5, or a SavedModel folder",
        {"type": "string", "minLength": 1},
    ),
    Key(
        "dataset",
        "what it is evaluated on: module:function that gives (x, y), or an .npz file with x and y",
        _REFERENCE,
    ),
    Key(
        "calibration",
        "representative samples: module:function, or an .npz or .npy file; without it they are "
        "split off the dataset",
        _REFERENCE,
    ),
    Key(
        "training",
        "what qat_int8 is trained with: module:function that gives (x, y) or a TrainingRecipe, or "
        "an .npz file",
        _REFERENCE,
    ),
    Key(
        "baseline",
        "the float model that a quantized .tflite is compared with",
        {"type": "string", "minLength": 1},
    ),
    Key(
        "metric",
        "the task metric, by name or as module:function (default: accuracy)",
        {"type": "string", "minLength": 1},
    ),
    Key(
        "variants",
        "the forms that are gated (default: a .tflite as it is, of others what the target runs)",
        NAMES,
        ("variant",),
    ),
    Key("targets", "the boards that it is gated on (default: the section's)", NAMES, ("target",)),
    Key("budgets", "limits beside the targets' own", {"$ref": "#/definitions/budgets"}),
)
LIMITS = (
    Key(
        "max_accuracy_drop",
        'the most that may be lost against the float model: "2 pt", 0.02 or "2% relative"',
        {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": "[A-Za-z%]"}]},
    ),
    Key("size", 'of the file: "64 KiB", bytes, or "80%" of the flash that is left', _BYTES),
    Key(
        "arena",
        'of tensor memory: "target" (what the target leaves), "24 KiB", bytes, or "80%" of that',
        _BYTES,
    ),
    Key(
        "latency",
        'of one inference: "50 ms", or { max = "50 ms", on = "nano33ble" } on these targets alone',
        {
            "anyOf": [
                _TIME,
                {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["max"],
                    "properties": {"max": _TIME, "on": NAMES},
                },
            ]
        },
    ),
)
