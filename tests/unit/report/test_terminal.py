from __future__ import annotations

import re

import pytest
from recorded_events import metric_event, note_event, verdict_event
from syrupy.assertion import SnapshotAssertion

from pytest_edgequant.records import Outcome
from pytest_edgequant.report.targets import target_lines
from pytest_edgequant.report.terminal import summary_lines
from pytest_edgequant.results.session import Event, Session
from pytest_edgequant.targets import Targets


def lines(*events: Event) -> list[str]:
    session = Session()
    session.add(events)
    return [line.rstrip() for line in summary_lines(session)]


def limited(
    variant: str, check: str, value: float, limit: float, outcome: Outcome = Outcome.PASS
) -> Event:
    event = verdict_event(variant, check, outcome, limit=limit)
    event["verdict"]["value"] = value
    return event


def verdict_of(*outcomes: Outcome) -> str:
    """The last cell of a row with checks named a, b, c of these outcomes."""
    named = zip("abc", outcomes, strict=False)
    row = lines(*(verdict_event("int8", name, outcome) for name, outcome in named))[4]
    return row.split(maxsplit=1)[-1]


def test_why_a_variant_can_not_run_is_told_once_for_all_boards() -> None:
    events = []
    for board in ("rpi4", "pico"):
        refusal = verdict_event("int8", "ops", Outcome.CANNOT_RUN)
        refusal["target"] = board
        refusal["verdict"]["message"] = f"digits/int8: cannot run on {board}: no kernel"
        events.append(refusal)
    assert "digits/int8 cannot run on pico, rpi4: no kernel" in lines(*events)


def test_a_session_is_a_table_a_model_and_target_and_what_there_is_to_say(
    snapshot: SnapshotAssertion,
) -> None:
    arena = metric_event("int8", "arena_bytes", 1_616)
    arena["metric"]["provenance"] = "measured (tflite-micro)"
    found = lines(
        metric_event("float32", "size_bytes", 13_856),
        metric_event("float32", "accuracy", 0.95),
        metric_event("int8", "size_bytes", 5_568),
        metric_event("int8", "accuracy", 0.9375),
        metric_event("int8", "accuracy_drop", 0.0125),
        arena,
        note_event("int8", "calibration: 60 of 120 samples split off"),
        note_event("uint8_io", "calibration: 60 of 120 samples split off"),
        limited("float32", "size", 13_856, 32_768),
        limited("int8", "size", 5_568, 32_768),
        limited("int8", "arena", 1_616, 204_800),
        limited("int8", "accuracy_drop", 0.0125, 0.02, Outcome.FAIL),
        verdict_event("float16", "runs", Outcome.CANNOT_RUN, skipped=True),
        metric_event("int8", "size_bytes", 5_568, target=None),
        {"kind": "cache", "damaged": 2},
    )
    assert "\n".join(found) == snapshot


def test_nothing_recorded_is_nothing_said() -> None:
    assert lines() == []


def test_a_rebuilt_cache_entry_is_told_after_an_empty_line() -> None:
    cache: Event = {"kind": "cache", "damaged": 1}
    assert lines(cache) == ["", "cache: 1 damaged entry was rebuilt"]


def test_a_regressor_is_shown_in_its_own_unit() -> None:
    found = lines(
        metric_event("float32", "mae", 41.2345678),
        metric_event("int8", "mae", 42.5),
        metric_event("int8", "accuracy_drop", 1.2654322),
    )
    assert found[2:] == [
        "variant      mae [a]    drop",
        "---------  ---------  ------",
        "float32       41.235       -",
        "int8            42.5  +1.265",
        "",
        "[a] exact  what drop means: edgequant glossary",
    ]


def test_a_drop_is_shown_with_its_interval_and_the_distance_of_the_outputs() -> None:
    drop = metric_event("int8", "accuracy_drop", 0.0125)
    drop["metric"] |= {
        "unit": "fraction",
        "low": -0.004,
        "high": 0.029,
        "provenance": (
            "measured (LiteRT on this host), against digits/float32; 95% interval, "
            "Tango's score interval"
        ),
    }
    top = metric_event("int8", "top_5", 0.987654)
    top["metric"]["unit"] = "fraction"
    noise = metric_event("int8", "output_sqnr", 43.96)
    same = metric_event("uint8_io", "output_sqnr", 0)
    same["metric"] |= {"value": None, "reason": "infinite: the outputs are identical"}
    hidden = metric_event("int8", "output_cosine", 0.999)
    found = lines(drop, top, noise, same, hidden)
    rows = [re.split(r" {2,}", line) for line in found[2:6]]
    assert [row[1:] for row in rows] == [
        ["top_5 [a]", "drop from float32 [b]", "SQNR"],
        ["-----------", "-------------------------", "-------"],
        ["98.77%", "+1.25 pt (-0.40 to +2.90)", "44.0 dB"],
        ["-", "-", "inf"],
    ]
    assert found[-1] == (
        "[a] exact  [b] in brackets: 95% interval, Tango's score interval  "
        "what drop, interval, SQNR, Tango mean: edgequant glossary"
    )


def test_a_metric_that_is_unavailable_is_told() -> None:
    event = metric_event("int8", "mine", 0)
    event["metric"] |= {"value": None, "reason": "it raised"}
    assert lines(event)[4].split() == ["int8", "unavailable"]


def test_no_drop_reads_as_no_gain() -> None:
    row = lines(metric_event("int8", "accuracy", 1), metric_event("int8", "accuracy_drop", -0.0))[4]
    assert row.split() == ["int8", "100.00%", "+0.00", "pt"]


def test_a_missing_figure_is_not_left_blank() -> None:
    event = metric_event("int8", "arena_bytes", 0)
    event["metric"] |= {"value": None, "reason": "no wheel"}
    assert lines(event)[4].split() == ["int8", "unavailable"]


@pytest.mark.parametrize(
    "outcomes, cell",
    [
        ((Outcome.PASS, Outcome.PASS), "pass"),
        ((Outcome.NOT_APPLICABLE,), "n/a"),
        ((Outcome.NOT_APPLICABLE, Outcome.PASS), "pass"),
        ((Outcome.PASS, Outcome.FAIL), "FAIL: b"),
        ((Outcome.FAIL, Outcome.PASS, Outcome.FAIL), "FAIL: a, c"),
        ((Outcome.UNAVAILABLE, Outcome.PASS), "UNAVAILABLE: a"),
        ((Outcome.CANNOT_RUN, Outcome.UNAVAILABLE), "CANNOT RUN"),
        ((Outcome.INCONCLUSIVE, Outcome.PASS), "INCONCLUSIVE: a"),
    ],
)
def test_the_worst_verdict_is_shown_with_its_checks(
    outcomes: tuple[Outcome, ...], cell: str
) -> None:
    assert verdict_of(*outcomes) == cell


def test_flash_that_may_or_may_not_be_left_is_shown_by_both_bounds() -> None:
    for low, high, shown in ((-24_176, 3_280, "-24,176 to 3,280 B"), (10, 30, " 10 B")):
        left = metric_event("int8", "flash_left_bytes", low)
        left["metric"] |= {"low": low, "high": high}
        assert shown in lines(metric_event("int8", "size_bytes", 1), left)[4]


def test_targets_are_a_table_that_marks_assumptions() -> None:
    mine = {"mine": {"base": "pico", "title": "My board", "sram_for_arena": "64 KiB"}}
    rows = {line.split()[0]: line for line in target_lines(Targets(mine))}
    assert "64 KiB " in rows["mine"]
    assert "64 KiB *" not in rows["mine"]
    assert "200 KiB *" in rows["pico"]
    assert "183.4 KiB " in rows["nano33ble"]
    assert "*" not in rows["nano33ble"]
    assert rows["rpi4"].count("no limit") == 4
    assert rows["*"].startswith("* unverified: an assumption")
