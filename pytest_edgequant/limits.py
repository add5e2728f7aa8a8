"""Limits on a metric as users write them, for tests and for baselines.

A drop is absolute in the metric's own unit (`0.02`; for accuracy a fraction: two points), absolute
in points (`"2 pt"`, for metrics that are fractions), or relative to the baseline
(`"2% relative"`). `"2%"` alone could mean either and is refused.
"""

from __future__ import annotations

import contextlib
import math
import numbers
import re
from dataclasses import dataclass
from typing import Protocol, TypeGuard

from pytest_edgequant.errors import SettingsError
from pytest_edgequant.wording import counted, shown

_DROP = re.compile(
    r"(?:(?P<before>relative)\s*)?(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>%|[a-z ]*[a-z])?"
    r"(?:\s*(?P<after>relative|rel\.?))?",
    re.IGNORECASE | re.ASCII,
)
_POINTS = ("pt", "pts", "point", "points", "pp", "percentage point", "percentage points")
_PERCENT = ("%", "percent", "per cent")

NOISE = 1e-9
"""Relative differences of no meaning: rounding of the last digits."""


@dataclass(frozen=True)
class DropLimit:
    """How much may be lost: in the metric's own unit, or as a share of the baseline's value."""

    amount: float
    relative: bool = False

    def of(self, baseline: float) -> float:
        """The limit in the metric's own unit."""
        return self.amount * abs(baseline) if self.relative else self.amount


class Bounded(Protocol):
    """What of a task metric tells which limits can be meant: satisfied by `TaskMetric`."""

    @property
    def name(self) -> str: ...
    @property
    def share(self) -> bool: ...
    @property
    def higher_is_better(self) -> bool: ...


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a real number that a double holds; True and False are none."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        float(value)
    except (OverflowError, ValueError, TypeError):
        return False
    return True


def parse_number(value: object, what: str, example: str) -> float:
    """A finite number of 0 or more, such as `example` says; raises `SettingsError`."""
    if not is_number(value):
        raise SettingsError(f"{what}: expected {example}, got {shown(value)}")
    if not math.isfinite(value) or float(value) < 0:
        raise SettingsError(f"{what}: expected a number of 0 or more, got {shown(value)}")
    return float(value)


def parse_drop(value: object, metric: str, share: bool, what: str = "max_drop") -> DropLimit:
    """A limit on a drop: `0.02`, `"2 pt"` or `"2% relative"`; `share`: `metric` is a fraction.

    Raises `SettingsError` for anything else, for `"2%"`, which could mean either, and for a limit
    that can't fail.
    """
    if not isinstance(value, str):
        example = 'a number such as 0.02, "2 pt" or "2% relative"'
        amount = parse_number(value, what, example)
        if share and amount >= 1:
            much = "more than everything" if amount > 1 else "everything, so that it can't fail"
            raise SettingsError(
                f"{what}: {shown(value)} is {much}; {metric} is a fraction: {_points(amount)}"
            )
        return DropLimit(amount)
    return _parse_drop_text(value, metric, share, what)


def _parse_drop_text(value: str, metric: str, share: bool, what: str) -> DropLimit:
    """A limit on a drop that has its unit behind it."""
    match = _DROP.fullmatch(value.strip())
    unit = (match["unit"] or "").lower() if match else ""
    relative = match is not None and bool(match["before"] or match["after"])
    if unit.endswith(" relative"):
        unit, relative = unit.removesuffix(" relative").strip(), True
    if match is not None and not unit and not relative:
        number = float(match["number"])
        raise SettingsError(
            f"{what}: can't read {shown(value)}: it has no unit; "
            + (_points(number) if share else f"write the number {number:g}")
        )
    if match is None or unit not in (*_POINTS, *_PERCENT):
        raise SettingsError(
            f"{what}: can't read {shown(value)}; expected a number such as 0.02 in the unit of "
            f'{metric}, "2 pt" (points), or "2% relative" (of the baseline)'
        )
    number = float(match["number"])
    if unit in _PERCENT:
        if not relative:
            raise SettingsError(
                f'{what}: {shown(value)} could mean points or a share of the baseline: write "'
                f'{number:g} pt" for a drop such as 90% -> {90 - number:g}%, or "{number:g}% '
                f'relative" for 90% -> {90 * (1 - number / 100):g}%'
            )
        if share and number >= 100:
            raise SettingsError(f"{what}: {shown(value)} is all of the baseline: it can't fail")
        return DropLimit(number / 100, relative=True)
    if relative:
        raise SettingsError(
            f'{what}: {shown(value)}: points are not relative; write "{number:g} pt"'
        )
    if not share:
        raise SettingsError(
            f"{what}: {shown(value)}: {metric} is not a fraction, so it has no points; give a "
            f'number in its own unit, or "{number:g}% relative"'
        )
    if number >= 100:
        much = "more than everything" if number > 100 else "everything, so that it can't fail"
        raise SettingsError(f"{what}: {shown(value)} is {much}")
    return DropLimit(number / 100)


def _points(number: float) -> str:
    """How what was written as `number` is written as a drop."""
    if number < 1:
        return f'write the number {number:g}, or "{100 * number:g} pt" (points)'
    if number < 100:
        are = "point is" if number == 1 else "points are"
        return f'{number:g} {are} {number / 100:g} or "{number:g} pt"'
    return 'two points are 0.02 or "2 pt"'


def parse_floor(value: object, metric: Bounded, what: str) -> float:
    """A least value: `0.9`, or `"90%"` for metrics that are fractions; raises `SettingsError`."""
    if not metric.higher_is_better:
        raise SettingsError(
            f"{what}: {metric.name} is better when it is smaller, so it has no floor; limit its "
            "drop with max_drop"
        )
    given = value
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip(), re.ASCII)
        if match is None or not metric.share:
            raise SettingsError(f"{what}: can't read {shown(value)}; {_floor(value, metric)}")
        if float(match[1]) > 100:
            raise SettingsError(f"{what}: {shown(value)} is more than everything")
        value = float(match[1]) / 100
    number = parse_number(value, what, 'a number such as 0.9, or "90%"')
    if metric.share and number > 1:
        raise SettingsError(
            f"{what}: {shown(given)} is more than everything; {_floor(number, metric)}"
        )
    if metric.share and number == 0:
        raise SettingsError(
            f"{what}: {shown(given)} can't fail: {metric.name} is never less; leave it out, or "
            'give a floor such as 0.9 or "90%"'
        )
    return number


def _floor(value: object, metric: Bounded) -> str:
    """How a floor is written that was written as `value`."""
    if not metric.share:
        return f"{metric.name} is not a fraction: expected a number in its own unit"
    with contextlib.suppress(ValueError):
        number = float(str(value))
        if number <= 1:
            return f'write the number {number:g}, or "{100 * number:g}%"'
        if number <= 100:
            return f'{number:g} per cent are {number / 100:g} or "{number:g}%"'
    return 'expected 0.9, or "90%"'


def parse_fraction(value: object, what: str) -> float:
    """A share that may be: `0.01`, or `"1%"`; raises `SettingsError`."""
    number = value
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip(), re.ASCII)
        if match is None:
            raise SettingsError(f'{what}: can\'t read {shown(value)}; expected 0.01, or "1%"')
        number = float(match[1]) / 100
    share = parse_number(number, what, 'a number of 0 or more such as 0.01, or "1%"')
    if share >= 1:
        ways = f'; {share:g} per cent are {share / 100:g} or "{share:g}%"' if share <= 100 else ""
        raise SettingsError(f"{what}: {shown(value)} is all samples: it can't fail{ways}")
    return share


def check_bytes(value: object, what: str) -> None:
    """Raise `SettingsError` for a number of bytes that must be meant as per cent."""
    if not is_number(value):
        return
    number = float(value)
    if not 1 <= number < 100:
        return
    raise SettingsError(
        f"{what}: {shown(value)} would be {counted(int(number), 'byte')}; {number:g} per cent are "
        f'{number / 100:g} or "{number:g}%", and a size has a unit ("{number:g} KiB")'
    )


def within(value: float, limit: float) -> bool:
    """At most the limit; equal where only the last binary digit says otherwise."""
    return value <= limit or math.isclose(value, limit, rel_tol=NOISE)
