"""Strict reading and formatting of sizes, durations, shares and frequencies.

Units follow IEC 80000-13: 1 KiB = 1,024 bytes, 1 kB = 1,000 bytes. What could mean either ("64K",
"64 KB") is refused instead of guessed.
"""

from __future__ import annotations

import math
import numbers
import operator
import re
from fractions import Fraction

from pytest_edgequant.errors import UnitError
from pytest_edgequant.limits import is_number
from pytest_edgequant.wording import counted, shown

SIZE_UNITS = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
DURATION_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
FREQUENCY_UNITS = {"Hz": 1, "kHz": 10**3, "MHz": 10**6, "GHz": 10**9}

_QUANTITY = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z%]*)", re.ASCII)


_LONGEST = 100
"""Characters of a quantity; Python refuses to read numbers of thousands of digits."""
_MOST = 10**30
"""Of any unit: what no device has, and every arithmetic holds."""


def _split(text: str, what: str) -> tuple[Fraction, str]:
    match = _QUANTITY.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if match is None:
        raise UnitError(f"{what}: can't read {shown(text)} as a number and a unit")
    return Fraction(match["number"]), match["unit"]


def _quantity(value: object, units: dict[str, int], base: str, example: str, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Real | str):
        raise UnitError(f"{what}: expected something like {example}, got {shown(value)}")
    if isinstance(value, str):
        number, unit = _split(value, what)
        if unit == "" and number.denominator == 1:
            unit = base
        if unit not in units:
            hint = ""
            if units is SIZE_UNITS and unit.upper() in {"K", "KB", "M", "G", "MB", "GB"}:
                hint = " (it could mean 1,000 or 1,024: write kB or KiB, MB or MiB)"
            raise UnitError(
                f"{what}: unknown unit {unit!r} in {shown(value)}{hint}. Known: {', '.join(units)}"
            )
        amount = number * units[unit]
    else:
        if not is_number(value) or not math.isfinite(value):
            raise UnitError(f"{what}: {shown(value)} is not a finite number that a double holds")
        if isinstance(value, numbers.Integral):
            amount = Fraction(operator.index(value))
        else:
            amount = Fraction(float(value))
        unit = base
    if amount < 0:
        raise UnitError(f"{what}: {shown(value)} is negative")
    if amount >= _MOST:
        raise UnitError(f"{what}: {shown(value)} is more than any device has")
    # A readable figure such as "25.4 KiB" is rarely whole: what is counted is, so that rounding it
    # down changes no comparison. A fraction of the base unit itself is a slip.
    if amount.denominator != 1 and (unit == base or amount < 1):
        raise UnitError(f"{what}: {shown(value)} is not a whole number of {base}")
    return math.floor(amount)


def parse_size(value: object, what: str = "size") -> int:
    """Bytes from `65536`, `"65536"`, `"64 KiB"`, `"64 kB"`, `"25.4 KiB"` (rounded down to bytes).

    Raises `UnitError` for anything else: negative, not finite, a fraction of a byte such as
    `"1.5 B"`, an unknown or ambiguous unit. `what` names the place in the message.
    """
    return _quantity(value, SIZE_UNITS, "B", '"64 KiB" or 65536', what)


def parse_frequency(value: object, what: str = "frequency") -> int:
    """Hertz from `64_000_000` or `"64 MHz"`; raises `UnitError`."""
    return _quantity(value, FREQUENCY_UNITS, "Hz", '"64 MHz"', what)


def parse_duration(value: object, what: str = "duration") -> float:
    """Milliseconds from `"50 ms"`, `"800 us"`, `"1.5 s"`; a number needs its unit.

    Raises `UnitError` for a bare number, an unknown unit, nothing or less than nothing.
    """
    if not isinstance(value, str):
        raise UnitError(
            f'{what}: expected a duration with its unit, such as "50 ms", got {shown(value)}'
        )
    number, unit = _split(value.replace("µs", "us").replace("μs", "us"), what)
    if unit == "":
        raise UnitError(f"{what}: {shown(value)} has no unit: write {value.strip() + ' ms'!r}")
    if unit not in DURATION_UNITS:
        raise UnitError(
            f"{what}: unknown unit {unit!r} in {shown(value)}. Known: {', '.join(DURATION_UNITS)}"
        )
    if number == 0:
        raise UnitError(f"{what}: {shown(value)} leaves no time at all")
    if number >= _MOST:
        raise UnitError(f"{what}: {shown(value)} is longer than anyone waits")
    return float(number * DURATION_UNITS[unit] / 10**6)


def parse_share(value: object, what: str = "share") -> Fraction | None:
    """The exact fraction 0..1 of a string such as `"80%"`; None when it is not a percentage at all.

    Raises `UnitError` for a percentage outside 0..100.
    """
    if not isinstance(value, str) or not value.strip().endswith("%"):
        return None
    number, unit = _split(value, what)
    if unit != "%":
        raise UnitError(f"{what}: can't read {shown(value)} as a percentage such as '80%'")
    if number > 100:
        raise UnitError(f"{what}: {shown(value)} is more than the whole")
    return number / 100


def _bare(value: object) -> float | None:
    """The number of text that has no unit; None of anything else."""
    if (
        isinstance(value, str)
        and len(value) <= _LONGEST
        and re.fullmatch(r"\d+(\.\d+)?", value.strip(), re.ASCII)
    ):
        return float(value)
    return None


def limit_share(value: object, what: str = "max") -> Fraction | None:
    """The exact fraction of a limit that is a share, `"80%"` or 0.8; None for one in bytes.

    Raises `UnitError` as `parse_share`, and for text without a unit that could mean either.
    """
    number = _bare(value)
    if number is not None and number <= 100:
        size = [f"{number:g} B", f"{number:g} KiB"] if number >= 1 else []
        ways = [*size, f"{100 * number if number < 1 else number:g}%"]
        raise UnitError(f"{what}: {shown(value)} has no unit: write {' or '.join(map(repr, ways))}")
    if is_number(value) and 0 < float(value) < 1:
        return Fraction(str(float(value)))
    return parse_share(value, what)


def parse_size_limit(value: object, whole: int | None, what: str = "max") -> int:
    """A limit in bytes: a size as `parse_size` takes it, or a share of `whole`: `"80%"`, 0.8.

    Raises `UnitError` for what can't be read, for text such as `"20"`, which could be per cent, and
    when a share is asked for and there is no whole to take it of.
    """
    share = limit_share(value, what)
    if share is None:
        return parse_size(value, what)
    if whole is None:
        raise UnitError(
            f"{what}: {shown(value)} is a share of what the target has left, which is not known "
            "here; give target=..., or an absolute size such as '64 KiB'"
        )
    return math.floor(share * whole)


def format_bytes(count: int) -> str:
    """Exact bytes with separators: `22,832 B`."""
    return f"{count:,} B"


def format_size(count: int) -> str:
    """A readable size: `25.4 KiB`; exact below one KiB."""
    for unit in ("GiB", "MiB", "KiB"):
        if count >= SIZE_UNITS[unit]:
            return f"{count / SIZE_UNITS[unit]:.4g} {unit}"
    return f"{count} B"


def format_frequency(hertz: int) -> str:
    """`64 MHz`, `1.5 GHz`."""
    for unit in ("GHz", "MHz", "kHz"):
        if hertz >= FREQUENCY_UNITS[unit]:
            return f"{hertz / FREQUENCY_UNITS[unit]:g} {unit}"
    return f"{hertz} Hz"


def format_duration(milliseconds: float) -> str:
    """`213.6 ms`, `38 us`, `1.589 s`: four digits, in the unit that reads best."""
    for unit, size in (("s", 1e3), ("ms", 1.0)):
        if milliseconds >= size:
            return f"{milliseconds / size:.4g} {unit}"
    return f"{milliseconds * 1e3:.4g} us"


def format_quantity(value: float, unit: str) -> str:
    """A figure of a metric with its unit: `5,568 B`, `213.6 ms`, `97.23%`, `1.52 times`."""
    if unit == "bytes":
        return format_bytes(int(value))
    if unit == "ms":
        return format_duration(value)
    if unit == "fraction":
        return f"{value:.2%}"
    return f"{value:.4g} {unit}".rstrip()


def format_points(fraction: float) -> str:
    """A difference of two fractions in percentage points: `-1.25 points`."""
    return f"{100 * fraction:.2f} points"


def format_samples(count: int, of: int | None = None) -> str:
    """On how many samples a figure was had: `360 samples`, `7,396 of 12,000 samples`."""
    if of is None or of == count:
        return counted(count, "sample")
    return f"{count:,} of {counted(of, 'sample')}"
