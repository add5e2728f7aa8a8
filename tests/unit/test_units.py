from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_edgequant.errors import SettingsError, UnitError
from pytest_edgequant.units import (
    FREQUENCY_UNITS,
    SIZE_UNITS,
    format_bytes,
    format_duration,
    format_frequency,
    format_points,
    format_size,
    parse_duration,
    parse_frequency,
    parse_share,
    parse_size,
    parse_size_limit,
)

COUNTS = st.integers(0, 2**50)


@given(COUNTS, st.sampled_from(sorted(SIZE_UNITS)), st.sampled_from(["", " ", "  "]))
def test_a_size_is_its_number_times_its_unit(count: int, unit: str, space: str) -> None:
    assert parse_size(f"{count}{space}{unit}") == count * SIZE_UNITS[unit]


@given(COUNTS)
def test_a_number_without_a_unit_is_bytes(count: int) -> None:
    assert parse_size(count) == parse_size(str(count)) == count


@given(COUNTS)
def test_formatted_bytes_read_back_exactly(count: int) -> None:
    assert parse_size(format_bytes(count).replace(",", "")) == count


@given(st.integers(0, 999), st.sampled_from(sorted(FREQUENCY_UNITS)))
def test_a_formatted_frequency_reads_back(count: int, unit: str) -> None:
    hertz = parse_frequency(f"{count} {unit}")
    assert hertz == count * FREQUENCY_UNITS[unit]
    assert parse_frequency(format_frequency(hertz)) == hertz


@given(st.integers(0, 2**40))
def test_a_readable_size_is_right_to_four_digits(count: int) -> None:
    number, unit = format_size(count).split()
    assert float(number) * SIZE_UNITS[unit] == pytest.approx(count, rel=5.1e-4)


@pytest.mark.parametrize(
    "count, text",
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (26_010, "25.4 KiB"), (2**20, "1 MiB")],
)
def test_a_readable_size_is_short(count: int, text: str) -> None:
    assert format_size(count) == text


@pytest.mark.parametrize(
    "hertz, text", [(32, "32 Hz"), (64_000_000, "64 MHz"), (1_500_000_000, "1.5 GHz")]
)
def test_a_readable_frequency_is_short(hertz: int, text: str) -> None:
    assert format_frequency(hertz) == text


@pytest.mark.parametrize(
    "text, count",
    [
        ("100 KiB", 102_400),
        ("25.4 KiB", 26_009),
        ("0.3 KiB", 307),
        ("100 kB", 100_000),
        ("1.5 MiB", 1_572_864),
        ("0.1 kB", 100),
        (" 64 KiB ", 65_536),
        (1e3, 1000),
    ],
)
def test_sizes_are_exact(text: object, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize(
    "value, said",
    [
        ("64 KB", "write kB or KiB"),
        ("64K", "write kB or KiB"),
        ("1 mb", "write kB or KiB"),
        ("100 MBfoo", "unknown unit 'MBfoo'"),
        ("80%", "unknown unit '%'"),
        ("-1 KiB", "can't read '-1 KiB'"),
        (-1, "-1 is negative"),
        ("1e3", "unknown unit 'e'|can't read '1e3'"),
        ("64 KiB 2", "can't read"),
        ("", "can't read"),
        ("KiB", "can't read"),
        ("1.5 B", "not a whole number of B"),
        ("0.0003 KiB", "not a whole number of B"),
        (0.5, "not a whole number of B"),
        (math.nan, "nan is not a finite number"),
        (math.inf, "inf is not a finite number"),
        (True, "got True"),
        (None, "got None"),
        (b"64 KiB", "got b'64 KiB'"),
    ],
)
def test_what_is_no_size_is_refused_by_name(value: object, said: str) -> None:
    with pytest.raises(UnitError, match=f"^flash: .*({said})"):
        parse_size(value, "flash")


def test_a_unit_error_is_a_settings_error_and_a_value_error() -> None:
    assert issubclass(UnitError, SettingsError)
    assert issubclass(UnitError, ValueError)


def test_a_frequency_takes_no_size_unit() -> None:
    with pytest.raises(UnitError, match="Known: Hz, kHz, MHz, GHz"):
        parse_frequency("64 MB")


@given(st.integers(0, 100))
def test_a_percentage_is_a_fraction(percent: int) -> None:
    assert parse_share(f"{percent}%") == parse_share(f" {percent} % ") == Fraction(percent, 100)


@pytest.mark.parametrize("value", ["64 KiB", "0.8", 0.8, 80, None, True])
def test_what_is_no_percentage_is_no_share(value: object) -> None:
    assert parse_share(value) is None


@pytest.mark.parametrize("value", ["101%", "100.1 %", "-5%", "%", "x%"])
def test_an_impossible_percentage_is_refused(value: str) -> None:
    with pytest.raises(UnitError, match="max: "):
        parse_share(value, "max")


def test_a_limit_is_a_size_or_a_share_of_the_whole() -> None:
    assert parse_size_limit("80%", 1000) == 800
    assert parse_size_limit("33%", 10) == 3
    assert parse_size_limit("1 KiB", 10) == 1024
    assert parse_size_limit(5, None) == 5


@pytest.mark.parametrize("share, size", [(0.2, 200), (0.335, 335), (0.999, 999), (1 / 3, 333)])
def test_a_fraction_is_a_share_too(share: float, size: int) -> None:
    assert parse_size_limit(share, 1000) == parse_size_limit(f"{100 * share:.8f}%", 1000) == size


@pytest.mark.parametrize(
    "text, ways",
    [
        ("20", "write '20 B' or '20 KiB' or '20%'"),
        ("99.5", "write '99.5 B' or '99.5 KiB' or '99.5%'"),
        ("0.2", "write '20%'"),
    ],
)
def test_text_that_could_be_bytes_or_per_cent_is_refused(text: str, ways: str) -> None:
    with pytest.raises(UnitError, match=f"^headroom: '{text}' has no unit: {ways}$"):
        parse_size_limit(text, 1000, "headroom")
    assert parse_size_limit("4096", 1000) == 4096


def test_a_share_of_nothing_known_is_refused() -> None:
    with pytest.raises(UnitError, match="max: '80%' is a share"):
        parse_size_limit("80%", None)


def test_points_are_hundredths() -> None:
    assert format_points(0.0125) == "1.25 points"
    assert format_points(-0.1) == "-10.00 points"


def test_durations_in_every_unit() -> None:
    given = ("1500 ns", "1.5 us", "1.5 µs", "0.0015 ms", "0.0000015 s")
    assert {parse_duration(text) for text in given} == {0.0015}


@pytest.mark.parametrize("text", ["20", "1.5", " 7 "])
def test_a_duration_without_a_unit_is_refused_with_one_that_is_right(text: str) -> None:
    with pytest.raises(UnitError, match=f"max: .* has no unit: write '{text.strip()} ms'"):
        parse_duration(text, "max")


@given(st.floats(1e-3, 1e6))
def test_formatted_durations_read_back(milliseconds: float) -> None:
    assert parse_duration(format_duration(milliseconds)) == pytest.approx(milliseconds, rel=1e-3)
