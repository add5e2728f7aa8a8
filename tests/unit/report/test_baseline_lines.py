"""What is said of a run against its baseline: a line a model and board."""

from __future__ import annotations

import datetime
from typing import Any

from pytest_edgequant.baseline import Baseline, Entry, compare, parse_accepted, parse_rules
from pytest_edgequant.records import Metric, Outcome
from pytest_edgequant.report.baseline import comparison_lines

TODAY = datetime.date(2026, 11, 27)
FORMS = ("int8", "float32", "int16x8")
BOARDS = ("pico", "esp32")


def entry(fingerprint: str, **metrics: float) -> Entry:
    units = {"size_bytes": "bytes", "arena_bytes": "bytes", "latency_ms": "ms"}
    found = {n: Metric(v, units.get(n, ""), "measured") for n, v in metrics.items()}
    return Entry(found, {}, fingerprint)


def baseline(fingerprint: str, boards: Any = BOARDS, **metrics: float) -> Baseline:
    keys = [("wake", board, form) for board in boards for form in FORMS]
    return Baseline({key: entry(fingerprint, **metrics) for key in keys})


def lines(before: Baseline, after: Baseline, accepted: Any = None) -> list[tuple[str, Outcome]]:
    rules = parse_rules(None, "x")
    found = compare(before, after, rules, parse_accepted(accepted, "x"), TODAY)
    return list(comparison_lines(found))


def test_a_change_of_a_model_is_a_line_a_board_whatever_it_changed() -> None:
    """Twelve figures became better for one reason."""
    before = baseline("old", size_bytes=9_000, arena_bytes=2_000)
    after = baseline("new", size_bytes=8_000, arena_bytes=1_500)
    found = lines(before, after)
    assert [outcome for _, outcome in found] == [Outcome.PASS, Outcome.PASS]
    assert [line.partition(":")[2].partition(":")[0] for line, _ in found] == [
        " wake on esp32",
        " wake on pico",
    ]
    for line, _ in found:
        assert line.count("9,000 B -> 8,000 B") == line.count("2,000 B -> 1,500 B") == 3
        assert line.count("better") == line.count("the model changed") == 1
        assert line.endswith("; the model changed")


def test_the_worst_comes_first_and_is_what_the_line_is_of() -> None:
    before = baseline("old", ["pico"], size_bytes=9_000, arena_bytes=2_000)
    after = baseline("new", ["pico"], size_bytes=8_000, arena_bytes=2_500)
    ((line, outcome),) = lines(before, after)
    assert outcome is Outcome.FAIL
    assert line.startswith("FAIL: wake on pico: float32 arena_bytes 2,000 B -> 2,500 B")
    worse, better = line.split("; better: ")
    assert worse.count("arena_bytes") == better.count("size_bytes") == 3
    assert "size_bytes" not in worse
    assert line.count("the model changed") == 1


def test_one_variant_is_named_as_it_is_everywhere() -> None:
    key = ("wake", "pico", "int8")
    before = Baseline({key: entry("old", size_bytes=9_000, arena_bytes=2_000)})
    after = Baseline({key: entry("new", size_bytes=8_000, arena_bytes=1_500)})
    assert [line for line, _ in lines(before, after)] == [
        "better: wake/int8 on pico: arena_bytes 2,000 B -> 1,500 B (-500 B, -25.00%); "
        "size_bytes 9,000 B -> 8,000 B (-1,000 B, -11.11%); the model changed"
    ]


def test_what_changed_for_different_reasons_says_each() -> None:
    before = baseline("old", ["pico"], size_bytes=9_000)
    after = Baseline(
        {
            key: entry("old" if key[2] == "float32" else "new", size_bytes=8_000)
            for key in before.entries
        }
    )
    ((line, _),) = lines(before, after)
    assert line.count("the model is the same (graph, shapes, quantization and weights)") == 1
    assert line.count("the float32 model is the same, its quantized form changed") == 2


def test_what_is_accepted_stands_with_its_reason_beside_the_rest() -> None:
    before = baseline("old", ["pico"], size_bytes=8_000, arena_bytes=2_000)
    after = baseline("new", ["pico"], size_bytes=9_000, arena_bytes=1_500)
    accepted = [
        {"model": "wake", "metric": "size_bytes", "reason": "a wider head", "expires": "2026-12-31"}
    ]
    ((line, outcome),) = lines(before, after, accepted)
    assert (line.partition(":")[0], outcome) == ("accepted", Outcome.PASS)
    assert line.count("accepted until 2026-12-31: a wider head") == 3
    assert line.partition("; better: ")[2].count("arena_bytes") == 3


def test_nothing_changed_is_no_line() -> None:
    same = baseline("old", size_bytes=9_000)
    assert lines(same, same) == []
