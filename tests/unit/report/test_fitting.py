"""Tables on terminals that are narrower than the tables are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from printed_runs import Printed, anomaly_and_recurrent, four_files, keyword_spotting

from pytest_edgequant.report.fitting import fitted, wrapped
from pytest_edgequant.report.legend import Cell, Column
from pytest_edgequant.report.terminal import summary_lines

RUNS = (keyword_spotting, anomaly_and_recurrent, four_files)


def columns() -> list[Column]:
    """Two rows of unequal width, in which every kind of column stands."""
    return [
        Column("variant", [Cell("uint8_io"), Cell("int8")]),
        Column("size", [Cell("13,148 B, 2 % of 608 KiB", ["[a]"]), Cell("5,392 B", ["[b]"])]),
        Column("ratio", [Cell("1.00x"), Cell("0.41x")]),
        Column("samples", [Cell("100"), Cell("100")]),
        Column(
            "drop",
            [Cell(), Cell("-0.04 (-0.4 to +0.1), 0 % of 1", ["[c]"], Cell("-0.04, 0 % of 1"))],
            loose=True,
        ),
        Column("SQNR", [Cell(), Cell("42.5 dB")]),
        Column("verdict", [Cell("pass"), Cell("FAIL: size")]),
    ]


def widest(lines: Sequence[str]) -> int:
    return max(map(len, lines))


def test_a_log_and_a_wide_terminal_have_the_whole_rows() -> None:
    whole = fitted(columns(), right=True)
    assert fitted(columns(), widest(whole.lines), right=True) == whole
    assert (whole.aside, whole.left_out) == ("", ())
    assert [line.rstrip() for line in whole.lines] == whole.lines


def test_what_is_missed_least_goes_first_and_is_told() -> None:
    whole = widest(fitted(columns(), right=True).lines)
    told: list[tuple[str, tuple[str, ...]]] = []
    for width in range(whole, 50, -1):
        found = fitted(columns(), width, right=True)
        assert widest(found.lines) <= width
        what = (found.aside, tuple(found.left_out))
        told += [what] if told[-1:] != [what] else []
    assert told == [
        ("", ()),
        ("", ("ratio",)),
        ("100 samples", ("ratio",)),
        ("100 samples", ("ratio", "SQNR")),
        ("100 samples", ("ratio", "intervals")),
        ("100 samples", ("ratio", "SQNR", "intervals")),
        ("", ()),
    ]


def test_numbers_of_samples_that_differ_stay_in_the_rows() -> None:
    made = columns()
    made[3].cells[0] = Cell("60 of 100")
    whole = widest(fitted(made, right=True).lines)
    found = fitted(made, whole - 12, right=True)
    assert found.aside == ""
    assert "60 of 100" in "\n".join(found.lines)


def test_in_a_narrow_terminal_a_row_is_a_paragraph_with_all_of_it() -> None:
    assert fitted(columns(), 48, right=True).lines == [
        "uint8_io: pass;",
        "    size 13,148 B, 2 % of 608 KiB [a];",
        "    ratio 1.00x; samples 100",
        "int8: FAIL: size; size 5,392 B [b]; ratio 0.41x;",
        "    samples 100;",
        "    drop -0.04 (-0.4 to +0.1), 0 % of 1 [c];",
        "    SQNR 42.5 dB",
    ]


def test_words_are_wrapped_and_never_broken() -> None:
    assert wrapped("one two-three four") == ["one two-three four"]
    assert wrapped("one two-three four", 14) == ["one two-three", "    four"]
    assert wrapped("a " + "x" * 30, 14) == ["a", "    " + "x" * 30]


def shown(run: Printed, width: int | None) -> list[str]:
    return list(summary_lines(run.session, run.targets, width=width))


@pytest.mark.parametrize("make", RUNS, ids=lambda run: run.__name__)
@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_no_line_of_a_run_is_wider_than_its_terminal(
    make: Callable[[], Printed], width: int
) -> None:
    run = make()
    assert widest(shown(run, width)) <= width
    # A narrow terminal takes no more lines than the rows did that it broke.
    assert len(shown(run, width)) <= sum(1 + len(line) // width for line in shown(run, None)) + 2


@pytest.mark.parametrize("width", [80, 120])
def test_marks_are_explained_where_they_stand_and_only_there(width: int) -> None:
    lines = shown(keyword_spotting(), width)
    cut = max(at for at, line in enumerate(lines) if line == "")
    for mark in (f"[{letter}]" for letter in "abcdefghij"):
        used = any(mark in line for line in lines[:cut])
        assert used == any(mark in line for line in lines[cut:])
