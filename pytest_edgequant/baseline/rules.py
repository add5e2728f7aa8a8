"""What counts as a regression: a rule a metric, the defaults overridden by the user's table.

[tool.edgequant.regression]
accuracy = { max_drop = "0.5 pt", confidence = 0.99 }
size = { max_growth = "1 KiB" }
arena = { max_growth = "5%" }
latency = { max_ratio = 1.2 }
output_sqnr = { max_drop = 3, informational = true }
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_edgequant.baseline.known import TASK, check_name, not_known, own_name
from pytest_edgequant.errors import EdgeQuantError, SettingsError, UnknownNameError
from pytest_edgequant.limits import is_number, parse_drop
from pytest_edgequant.names import unknown
from pytest_edgequant.units import parse_size
from pytest_edgequant.wording import shown

DEFAULT_CONFIDENCE = 0.95
_LIMITS = ("max_drop", "max_growth", "max_ratio")
_FLAGS = ("informational", "strict")
_KEYS = (*_LIMITS, "confidence", *_FLAGS)
# Figures that are derived from others or that say something of the output, not of the task.
_BETTER = {
    "size_bytes": "lower",
    "arena_bytes": "lower",
    "latency_ms": "lower",
    "runtime_code_bytes": "lower",
    "flash_left_bytes": "higher",
    "accuracy_drop": "lower",
    "worst_class_drop": "lower",
    "agreement": "higher",
    "output_cosine": "higher",
    "output_sqnr": "higher",
    "parity_max_steps": "lower",
    "parity_changed": "lower",
    "calibration_worst_drop": "lower",
    "device_arena_bytes": "lower",
    "energy_mj": "lower",
    "speedup": "higher",
}
_SHARES = ("agreement",)
_SPAN = {"output_cosine": 2.0}
"""How far a figure can fall at most, where that is known and it is no fraction."""


@dataclass(frozen=True)
class Rule:
    """How much worse one metric may become.

    `kind` is max_drop, max_growth or max_ratio, and `limit` as the user wrote it: None judges
    nothing. `confidence` is what evidence a drop needs where samples are paired.
    """

    kind: str | None = None
    limit: Any = None
    confidence: float = DEFAULT_CONFIDENCE
    informational: bool = False
    strict: bool = False
    place: str = "default"
    key: str = ""

    @property
    def judges(self) -> bool:
        """Whether there is a limit, and breaking it counts."""
        return self.kind is not None and self.limit is not None and not self.informational


@dataclass(frozen=True)
class Rules:
    """The rules of a run: by metric, with defaults for what has none."""

    rules: Mapping[str, Rule] = field(default_factory=dict)
    strict: bool = False
    informational: bool = False

    def unmet(
        self, measured: Collection[str], tasks: Collection[str], earlier: Collection[str] = ()
    ) -> tuple[list[Rule], list[UnknownNameError]]:
        """Rules that met no figure of a run, and errors for those that are none of any figure.

        `measured` are the figures of the run, `tasks` those of them that are task metrics,
        `earlier` those of its baseline.
        """
        unmet, unknown_ones = [], []
        names = [*measured, *earlier]
        for name, rule in self.rules.items():
            if name == TASK:
                met = any(self._own(metric) is None for metric in tasks)
            else:
                met = name in measured or rule.key in measured
            if not met and (name == TASK or name in names or own_name(name) is not None):
                unmet.append(rule)
            elif not met:
                unknown_ones.append(not_known(name, rule.place, names))
        return unmet, unknown_ones

    def _own(self, metric: str) -> Rule | None:
        """The rule of a metric by its name, or by that of a user's metric called as an alias is."""
        named = (rule for rule in self.rules.values() if rule.key == metric)
        return self.rules.get(metric) or next(named, None)

    def of(self, metric: str, *, task: bool, share: bool = False) -> Rule:
        """The rule of a metric; `task`: it was evaluated on a dataset, as a fraction or not."""
        found = self._own(metric)
        if found is None and task:
            found = self.rules.get(TASK)
        if found is None:
            found = _DEFAULTS.get(metric) or (_task_default(share) if task else Rule())
        if found.kind == "max_drop" and found.limit is None:
            found = replace(found, limit=_task_default(share).limit)
        return replace(
            found,
            strict=found.strict or self.strict,
            informational=found.informational or self.informational,
        )


_DEFAULTS = {
    "size_bytes": Rule("max_growth", "2%"),
    "arena_bytes": Rule("max_growth", "2%"),
    "latency_ms": Rule("max_ratio", 1.1),
}


def _task_default(share: bool) -> Rule:
    return Rule("max_drop", "1 pt" if share else "2% relative")


def better(metric: str) -> str | None:
    """Whether "higher" or "lower" is better; None where it is not known of a metric."""
    return _BETTER.get(metric)


def _number(value: object, place: str, least: float) -> float:
    if not is_number(value) or not math.isfinite(value) or value < least:
        raise SettingsError(f"{place}: expected a number of {least:g} or more, got {shown(value)}")
    return float(value)


def parse_growth(value: object, place: str) -> tuple[float, bool]:
    """How much a figure may grow: bytes (or its own unit), or, True, a share of what it was.

    `"1 KiB"`, `512`, `"2%"`. Raises `SettingsError`.
    """
    if isinstance(value, str) and value.strip().endswith("%"):
        text = value.strip()[:-1].strip()
        try:
            share = float(text)
        except ValueError:
            raise SettingsError(f"{place}: can't read {shown(value)} as a percentage") from None
        return _number(share, place, 0) / 100, True
    if isinstance(value, str):
        return float(parse_size(value, place)), False
    return _number(value, place, 0), False


def _check_drop(value: object, metric: str, place: str) -> None:
    """What can be told before the metric is measured; points fit fractions only."""
    points = isinstance(value, str) and "%" not in value
    limit = parse_drop(value, metric, points or _is_share(metric), place)
    if metric in _SPAN and not limit.relative and limit.amount >= _SPAN[metric]:
        raise SettingsError(f"{place}: {shown(value)} is all that {metric} can fall: it can't fail")


def _is_share(metric: str) -> bool:
    """Whether a metric is known to be a fraction from 0 to 1; of others a measurement tells."""
    if metric in _BETTER:
        return metric in _SHARES
    from pytest_edgequant.measure.metrics import get_metric

    try:
        return get_metric(metric).share
    except EdgeQuantError:
        return False


def _rule(metric: str, value: object, place: str) -> Rule:
    if not isinstance(value, Mapping):
        # size = "2%" stands for the limit that the metric is judged by.
        default = _DEFAULTS.get(metric, Rule("max_drop"))
        value = {default.kind: value}
    table: dict[str, Any] = {str(key).replace("-", "_"): item for key, item in value.items()}
    for key in table:
        if key not in _KEYS:
            raise unknown("key", key, _KEYS, place)
    given = [kind for kind in _LIMITS if kind in table]
    if len(given) > 1:
        raise SettingsError(f"{place}: {' and '.join(given)}; give one of them")
    for flag in _FLAGS:
        if not isinstance(table.get(flag, False), bool):
            raise SettingsError(f"{place}.{flag}: expected true or false, got {table[flag]!r}")
    rule = Rule(
        informational=table.get("informational", False),
        strict=table.get("strict", False),
        place=place,
    )
    if given:
        (kind,) = given
        _check_limit(kind, table[kind], metric, f"{place}.{kind}")
        rule = replace(rule, kind=kind, limit=table[kind])
    elif metric in _DEFAULTS:
        rule = replace(rule, kind=_DEFAULTS[metric].kind, limit=_DEFAULTS[metric].limit)
    elif better(metric) is None:
        rule = replace(rule, kind="max_drop")
    elif not rule.informational:
        raise SettingsError(f"{place}: give one of {', '.join(_LIMITS)}; {metric} has no default")
    if "confidence" in table:
        rule = replace(rule, confidence=_confidence(table["confidence"], f"{place}.confidence"))
    return rule


def _check_limit(kind: str, value: object, metric: str, place: str) -> None:
    direction = better(metric)
    if kind == "max_drop" and direction == "lower":
        raise SettingsError(f"{place}: {metric} is better when lower: limit it with max_growth")
    if kind != "max_drop" and direction == "higher":
        raise SettingsError(f"{place}: {metric} is better when higher: limit it with max_drop")
    if kind == "max_drop":
        _check_drop(value, metric, place)
    elif kind == "max_growth":
        parse_growth(value, place)
    else:
        _number(value, place, 1)


def _confidence(value: object, place: str) -> float:
    from pytest_edgequant.measure.confidence import check_confidence

    return check_confidence(value, place)


def parse_rules(
    table: object, where: str, *, strict: bool = False, measured: Collection[str] = ()
) -> Rules:
    """The rules of `[tool.edgequant.regression]`; `where` names it.

    `measured` are names of figures that a baseline has, the user's own metrics among them. Raises
    `SettingsError`, also for a name that is a known one misspelt.
    """
    if table is None:
        table = {}
    if not isinstance(table, Mapping):
        raise SettingsError(f"{where}: regression must be a table of metrics")
    rules: dict[str, Rule] = {}
    flags = {"strict": strict, "informational": False}
    for key, value in table.items():
        key = str(key)
        place = f"{where}: regression.{key}"
        if key in flags:
            if not isinstance(value, bool):
                raise SettingsError(f"{place}: expected true or false, got {shown(value)}")
            flags[key] = flags[key] or value
            continue
        metric = check_name(key, place, (*measured, TASK, *flags))
        if metric in rules:
            raise SettingsError(f"{place}: {metric} has a rule already, as {rules[metric].place}")
        rules[metric] = replace(_rule(metric, value, place), key=key)
    return Rules(rules, flags["strict"], flags["informational"])
