"""Results that a board printed: lines of JSON, each checked before it counts.

A line is `{"model_sha256": ..., "target": ..., "latency_us": ..., "arena_used_bytes": ...}`; the
last key may be left out, and others may stand beside them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pytest_edgequant.errors import DeviceResultError, EdgeQuantError
from pytest_edgequant.files import open_file
from pytest_edgequant.limits import is_number
from pytest_edgequant.measure.latency.records import DeviceMeasurement
from pytest_edgequant.names import fold
from pytest_edgequant.pointers import pointer_reason
from pytest_edgequant.records import Metric, Target, Variant
from pytest_edgequant.targets import Targets
from pytest_edgequant.wording import shown

RESULT_LINE = re.compile(rb'\{[^\r\n]*"model_sha256"[^\r\n]*\}')
"""What to wait for on a serial line."""

_KEYS = ("model_sha256", "target", "latency_us", "arena_used_bytes")
_LARGEST = 1 << 24


@dataclass(frozen=True)
class DeviceResult:
    """One line: the SHA-256 of the model's file, the target's name, microseconds, bytes."""

    model_sha256: str
    target: str
    latency_us: float
    arena_used_bytes: int | None
    where: str


def _number(document: dict[str, Any], key: str, where: str) -> float:
    value = document.get(key)
    if value is None:
        raise DeviceResultError(f"{where}: {key} is missing")
    if not is_number(value):
        raise DeviceResultError(
            f"{where}: {key} must be a plain number (its unit is in its name), got {shown(value)}"
        )
    if not math.isfinite(value) or value <= 0:
        raise DeviceResultError(f"{where}: {key} must be above 0, got {shown(value)}")
    return float(value)


def parse_result(line: str | bytes, where: str) -> DeviceResult:
    """One line as a record; `where` names it in messages.

    Raises `DeviceResultError` for what is no such line, misses a value, has it in another unit, or
    can't be true.
    """
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DeviceResultError(f"{where}: not a line of JSON ({error})") from None
    if not isinstance(document, dict):
        raise DeviceResultError(f"{where}: expected a JSON object, got {type(document).__name__}")
    for key in document:
        if key not in _KEYS and fold(key).startswith(("latency", "arena", "time")):
            raise DeviceResultError(
                f"{where}: {key!r} is in another unit or misspelt; known: {', '.join(_KEYS)}"
            )
    digest = document.get("model_sha256")
    if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        raise DeviceResultError(f"{where}: model_sha256 must be 64 hex digits, got {shown(digest)}")
    target = document.get("target")
    if not isinstance(target, str) or not target.strip():
        raise DeviceResultError(f"{where}: target must be a target's name, got {shown(target)}")
    latency = _number(document, "latency_us", where)
    arena = None
    if document.get("arena_used_bytes") is not None:
        arena = _number(document, "arena_used_bytes", where)
        if arena != int(arena):
            raise DeviceResultError(f"{where}: arena_used_bytes must be whole, got {shown(arena)}")
    return DeviceResult(
        digest.lower(), target, latency, None if arena is None else int(arena), where
    )


def read_results(path: Path, targets: Targets) -> list[DeviceResult]:
    """All results of a file of JSON lines; blank lines are left out.

    Raises `DeviceResultError` with the line's number; a target that is not known is one.
    """
    try:
        with open_file(path) as stream:
            content = stream.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise DeviceResultError(f"{path}: larger than {_LARGEST:,} B; is it the right file?")
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise DeviceResultError(f"{path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DeviceResultError(f"{path}: not a text file in UTF-8") from None
    if pointer := pointer_reason(text.encode()):
        raise DeviceResultError(f"{path}: {pointer}")
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        result = parse_result(line, where)
        try:
            targets.get(result.target)
        except EdgeQuantError as error:
            raise DeviceResultError(f"{where}: {error}") from None
        found.append(result)
    if not found:
        raise DeviceResultError(f"{path}: holds no result")
    return found


def _names(target: Target) -> set[str]:
    return {fold(name) for name in (target.name, *target.aliases)}


def measurement(
    results: Iterable[DeviceResult], variant: Variant, target: Target
) -> DeviceMeasurement:
    """What a board measured of a variant: the median of its results, their range as bounds.

    Raises `DeviceResultError` where the target's results are of other models, with their lines;
    the figure is unavailable where there is none for the target at all.
    """
    here = [result for result in results if fold(result.target) in _names(target)]
    own = [result for result in here if result.model_sha256 == variant.fingerprint]
    if here and not own:
        others = "; ".join(f"{r.where}: {r.model_sha256[:12]}..." for r in here[:4])
        raise DeviceResultError(
            f"{variant.label}: the results of {target.name} are of other models than this file "
            f"({variant.fingerprint[:12]}...): {others}. Flash this model and measure again"
        )
    if not own:
        reason = f"no device result for {target.name}; give --edge-device-results"
        return DeviceMeasurement(variant, target, Metric.unavailable("ms", reason), None, "")
    return _measured(own, variant, target)


def _measured(own: Sequence[DeviceResult], variant: Variant, target: Target) -> DeviceMeasurement:
    times = [result.latency_us / 1e3 for result in own]
    arenas = [r.arena_used_bytes for r in own if r.arena_used_bytes is not None]
    where = "; ".join(result.where for result in own[:4]) + ("; ..." if len(own) > 4 else "")
    metric = Metric(
        median(times), "ms", f"measured on device ({target.name}: {where})", min(times), max(times)
    )
    return DeviceMeasurement(variant, target, metric, max(arenas, default=None), where)
