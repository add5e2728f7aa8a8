from __future__ import annotations

import pytest
from github_page import render as github
from hypothesis import given, settings
from nasty_names import NASTY, texts
from recorded_events import metric_event, note_event, verdict_event

from pytest_edgequant.records import Change, Failure, Outcome
from pytest_edgequant.report.inert import BREAK
from pytest_edgequant.report.markdown import LIMIT, render
from pytest_edgequant.results.session import Event, Session

TAGS = {
    *("p", "strong", "em", "code", "h3", "ul", "li", "details", "summary"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}


def session_of(*events: Event, watched: bool = True, failures: tuple[Failure, ...] = ()) -> Session:
    session = Session(watched=watched, failures=list(failures))
    session.add(events, "test_it")
    return session


def of(event: Event, **changes: object) -> Event:
    return event | changes


GOOD = (
    metric_event("int8", "size_bytes", 5_568),
    metric_event("int8", "arena_bytes", 1_616),
    metric_event("int8", "accuracy", 0.9375),
    metric_event("int8", "accuracy_drop", 0.0125),
    verdict_event("int8", "size", Outcome.PASS),
)


def first_line(session: Session) -> str:
    return render(session).splitlines()[0]


def row(session: Session, name: str) -> list[str]:
    (line,) = (
        line
        for line in render(session).splitlines()
        if line.startswith(f"| `digits/{name}` | ") and "`pico`" not in line
    )
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_verdict_comes_first() -> None:
    assert first_line(session_of(*GOOD)) == (
        "✅ **edgequant passed: 1 check** — `digits` on `pico`"
    )


def test_a_failed_test_makes_it_red() -> None:
    failed = Failure("test_it.py::test_it", "test_it.py", 3, "size of int8")
    session = session_of(*GOOD, verdict_event("int8", "size", Outcome.FAIL), failures=(failed,))
    assert first_line(session).startswith(
        "❌ **edgequant failed: 1 of 2 checks not passed, 1 test failed**"
    )
    assert "- **FAIL** size of `digits/int8 on pico`: size of int8 (`test_it.py::test_it`)" in (
        render(session)
    )


def test_a_test_that_failed_otherwise_is_there_with_its_message() -> None:
    failed = Failure("test_it.py::test_it", "test_it.py", 3, "ConversionError: float tensors left")
    assert "- **FAIL** `test_it.py::test_it`: ConversionError: float tensors left" in render(
        session_of(failures=(failed,))
    )


def test_an_expected_failure_is_shown_and_not_red() -> None:
    session = session_of(*GOOD, verdict_event("int8", "arena", Outcome.FAIL))
    assert first_line(session).startswith(
        "⚠️ **edgequant passed with 1 expected failure: 1 of 2 checks**"
    )
    assert "### What did not pass, and fails nothing\n\n- **FAIL, expected** arena" in (
        render(session)
    )
    assert row(session, "int8")[-1] == "FAIL, expected: arena"


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.UNAVAILABLE, Outcome.CANNOT_RUN])
def test_of_results_that_were_read_back_the_verdicts_decide(outcome: Outcome) -> None:
    session = session_of(*GOOD, verdict_event("int8", "arena", outcome), watched=False)
    assert first_line(session).startswith("❌ **edgequant failed: 1 of 2 checks not passed**")


def test_a_variant_that_was_skipped_is_no_failure() -> None:
    skipped = verdict_event("float16", "runs", Outcome.CANNOT_RUN, skipped=True)
    session = session_of(*GOOD, skipped, watched=False)
    assert first_line(session).startswith("✅ **edgequant passed: 1 check**")
    assert row(session, "float16")[-1] == "CANNOT RUN"
    assert "What failed" not in render(session)


def test_an_inconclusive_check_warns() -> None:
    session = session_of(*GOOD, verdict_event("int8", "arena", Outcome.INCONCLUSIVE))
    assert first_line(session).startswith(
        "⚠️ **edgequant inconclusive: 1 of 2 checks passed, 1 inconclusive**"
    )


def test_an_inconclusive_headline_begins_with_what_to_do() -> None:
    open_ = verdict_event("int8", "arena", Outcome.INCONCLUSIVE)
    open_["verdict"]["message"] = "Measure the arena on the device: digits/int8: not known exactly"
    older = verdict_event("float32", "latency", Outcome.INCONCLUSIVE)
    older["verdict"]["message"] = "digits/float32 on pico: latency 5 ms: neither is proven"
    session = session_of(*GOOD, open_, of(open_, variant="int16x8"), older)
    assert first_line(session).startswith(
        "⚠️ **edgequant inconclusive: measure the arena on the device: 1 of 4 checks passed, "
        "3 inconclusive**"
    )
    session.add_changes(
        ("digits", "pico", "int8"),
        [Change("accuracy", "", 0.9, 0.8, Outcome.INCONCLUSIVE, "worse; 95% interval, of 3 pairs")],
    )
    assert "inconclusive: evaluate more samples; measure the arena on the device: " in (
        first_line(session)
    )


def test_nothing_gated_is_not_passed() -> None:
    assert first_line(session_of(GOOD[0])).startswith("⚠️ **edgequant nothing was gated**")
    assert first_line(Session(watched=True)) == "⚠️ **edgequant nothing was gated**"


def test_a_row_has_every_figure_and_its_change() -> None:
    session = session_of(*GOOD)
    session.baseline_note = "compared with base.json"
    session.add_changes(
        ("digits", "pico", "int8"),
        [
            Change("size_bytes", "bytes", 5_500, 5_568, Outcome.FAIL, "68 B more than allowed"),
            Change("arena_bytes", "bytes", 1_616, 1_616, Outcome.PASS, ""),
            Change("accuracy", "fraction", 0.95, 0.9375, Outcome.PASS, ""),
            Change("latency_ms", "ms", 3.5, None, Outcome.UNAVAILABLE, "not measured"),
        ],
    )
    assert row(session, "int8") == [
        "`digits/int8`",
        "5,568 B, 0 % of 1 B (+68 B, +1.2%)",
        "1,616 B (unchanged)",
        "93.75% (-1.25 pt, -1.3%)",
        "- (was 3.5 ms)",
        "+1.25 pt",
        "FAIL: size_bytes regressed",
    ]
    text = render(session)
    assert text.startswith("❌ **edgequant failed: 1 figure regressed**")
    assert "\nBaseline: compared with base.json\n" in text
    assert "size_bytes regressed of `digits/int8 on pico`: 68 B more than allowed" in text


def test_a_drop_has_its_interval() -> None:
    drop = metric_event("int8", "accuracy_drop", 0.0125)
    drop["metric"] |= {"unit": "fraction", "low": -0.004, "high": 0.029}
    assert row(session_of(drop), "int8")[1:] == ["+1.25 pt (-0.40 to +2.90)"]


def test_missing_figures_say_so() -> None:
    missing = metric_event("int8", "arena_bytes", 0)
    missing["metric"] |= {"value": None, "reason": "no wheel here"}
    session = session_of(missing)
    assert row(session, "int8")[1:] == ["unavailable"]
    assert "no wheel here" in render(session)


def test_there_is_one_table_a_target() -> None:
    events = [of(event, target=target) for target in ("pico", "esp32", None) for event in GOOD]
    page = github(render(session_of(*events)))
    headings = [line for line in render(session_of(*events)).splitlines() if line[:3] == "###"]
    assert headings == ["### `esp32`", "### `no target`", "### `pico`"]
    assert page.tags.count("table") == 4  # with the folded one


def test_notes_and_details_are_folded() -> None:
    page = github(render(session_of(*GOOD, note_event("int8", "60 of 120 samples split off"))))
    assert page.tags.count("details") == page.tags.count("summary") == 3


def nasty_session(name: str, message: str) -> Session:
    events = [
        of(event, model=name, variant=name, target=name or None)
        for event in (
            *GOOD,
            note_event("int8", message),
            of(metric_event("int8", "x", 1.0), name=name or "x"),
            verdict_event("int8", "runs", Outcome.CANNOT_RUN),
        )
    ]
    verdict = verdict_event("int8", name, Outcome.FAIL)
    verdict["verdict"]["message"] = message
    failures = (Failure(name, name, 1, message), Failure("t", "t", None, message * 2))
    session = session_of(*events, of(verdict, model=name), failures=failures)
    session.baseline_note = message
    change = Change(name, name, 1, 2, Outcome.FAIL, message)
    session.add_changes((name, name, name), [change])
    return session


@settings(deadline=None)
@given(texts, texts)
def test_nothing_from_outside_becomes_markup(name: str, message: str) -> None:
    text = render(nasty_session(name, message))
    page = github(text)
    assert set(page.tags) <= TAGS
    assert page.tags.count("details") == text.count("\n<details><summary>")
    assert not page.live()
    assert text.splitlines()[0].startswith("❌ **edgequant failed: ")


def large_session(models: int, name: str) -> Session:
    session = Session(watched=True)
    for model in range(models):
        for target in ("pico", "esp32", "nano33ble", "teensy40", "rpi4"):
            for variant in ("float32", "int8", "int16x8"):
                outcome = Outcome.FAIL if model % 3 == 0 else Outcome.PASS
                events = (
                    metric_event(variant, "size_bytes", 5_000 + model),
                    metric_event(variant, "accuracy", 0.9),
                    verdict_event(variant, "size", outcome),
                    note_event(variant, f"{name} of {variant}"),
                )
                session.add(of(e, model=f"{name}{model}", target=target) for e in events)
    message = "size of float32, size of int8"
    session.failures.append(Failure("test_it.py::test_it", "test_it.py", 3, message))
    return session


@pytest.mark.parametrize("models", [1, 20, 60, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["model", "名" * 60, "|" * 200])
def test_it_stays_under_githubs_limit_and_says_what_is_missing(models: int, name: str) -> None:
    text = render(large_session(models, name))
    assert len(text) <= len(text.encode()) < LIMIT
    assert text.startswith("❌ **edgequant failed: ")
    folded = "<summary>Every figure" in text
    assert ("Left out, for GitHub takes 65,536 characters" in text) is not folded
    if models == 60:
        assert not folded
        assert "| FAIL: size |" in text
        assert set(github(text).tags) <= TAGS


@pytest.mark.parametrize("name", NASTY)
def test_lines_that_a_workflow_obeys_begin_nowhere(name: str) -> None:
    text = render(nasty_session(name, name))
    assert not any(line.lstrip().startswith("::") for line in text.splitlines())


def test_the_order_of_tests_makes_no_difference() -> None:
    session = nasty_session("digits", "message")
    backwards = Session(watched=True, failures=session.failures[::-1])
    backwards.baseline_note = "message"
    for test, events in reversed(session._events.items()):
        backwards.add(reversed(events), test)
    for key, changes in session._changes.items():
        backwards.add_changes(key, changes)
    assert render(session) == render(backwards)


def limited(event: Event, value: float, limit: float, **changes: object) -> Event:
    """A verdict on a figure with its limit."""
    return of({**event, "verdict": {**event["verdict"], "value": value, "limit": limit}}, **changes)


def many_boards() -> Session:
    """Seven boards, of which two are not right, and the arena of one is near its limit."""
    session = Session(watched=False)
    needs = {"uno-r4": 21_000, "pico": 150_000, "teensy41": 5_280}
    for at, board in enumerate(("teensy41", "uno-r4", "pico", "esp32", "nano33ble", "giga-r1")):
        need, limit = needs.get(board, 5_280), 20_480 + (board != "uno-r4") * 80_000 * at
        outcome = Outcome.FAIL if board == "uno-r4" else Outcome.PASS
        session.add(
            [
                of(metric_event("int8", "arena_bytes", need), target=board),
                limited(
                    verdict_event("int8", "arena", outcome),
                    need,
                    limit,
                    target=board,
                ),
            ]
        )
    missing = verdict_event("int16x8", "arena", Outcome.UNAVAILABLE)
    missing["verdict"]["value"] = None
    session.add([of(missing, target="giga-r1")])
    return session


def test_many_boards_are_a_matrix_of_what_is_not_right_and_the_rest_is_folded() -> None:
    text = render(many_boards())
    open_part, _, rest = text.partition("<details><summary>4 boards pass</summary>")
    assert "### `digits` on 6 boards" in open_part
    table = [line for line in open_part.splitlines() if line.startswith("|")]
    assert table[0] == "| target | `int8` &#91;a&#93; | `int16x8` |"
    assert [line.partition("`")[2].partition("`")[0] for line in table[2:]] == ["uno-r4", "giga-r1"]
    assert (
        "| [`uno-r4`](#edgequant-on-uno-r4) | FAIL&#58; arena 103 % of 20 KiB | - |"
        in open_part.replace(BREAK, "").replace(":", "&#58;")
    )
    folded = rest.partition("</details>")[0]
    assert [board for board in ("teensy41", "pico", "esp32", "nano33ble") if board in folded] == [
        *("teensy41", "pico", "esp32", "nano33ble")
    ]
    assert "pass, arena 83 % of 176 KiB" in folded
    assert "The smallest boards on which everything passes: esp32" in rest
    assert "<summary>Every variant on each of 6 targets</summary>" in rest
    page = github(text)
    assert not page.live()
    assert page.open == []


def test_words_lead_to_what_they_mean_and_each_is_explained_once() -> None:
    drop = metric_event("int8", "accuracy_drop", 0.0125)
    drop["metric"] |= {
        "unit": "fraction", "low": -0.004, "high": 0.029,
        "provenance": "measured (LiteRT on this host), against digits/float32; "
        "95% interval, Tango's score interval",
    }  # fmt: skip
    noise = metric_event("int8", "output_sqnr", 44.0)
    text = render(session_of(*GOOD, drop, noise))
    page = github(text)
    words = {word for word in page.words if word.startswith("#")}
    assert words == {
        f"#edgequant-{word}" for word in ("arena", "drop", "interval", "sqnr", "tango")
    }
    assert sorted(word for word in page.words if not word.startswith("#")) == sorted(
        word.removeprefix("#") for word in words
    )
    assert "[drop](#edgequant-drop) from float32" in text


def test_a_column_in_which_nothing_stands_is_not_there() -> None:
    text = render(session_of(metric_event("int8", "size_bytes", 5_568)))
    assert "| model/variant | size &#91;a&#93; |" in text.splitlines()


def test_a_note_names_its_boards() -> None:
    notes = [of(note_event("int8", "calibrated with 60"), target=t) for t in ("pico", "esp32")]
    assert "digits (int8) on esp32, pico&#58; calibrated with 60" in render(
        session_of(*notes)
    ).replace(BREAK, "").replace(":", "&#58;")


def change_of(metric: str, before: int, after: int, said: str, outcome: Outcome) -> Change:
    message = (
        f"digits/int8 on pico: {metric} {before:,} B -> {after:,} B; {said}; the model changed"
    )
    return Change(metric, "bytes", before, after, outcome, message)


@pytest.mark.parametrize("models", [1, 20])
def test_what_changed_is_a_line_a_model_and_board(models: int) -> None:
    session = Session(watched=True)
    for number in range(models):
        name = f"digits{number}" if number else "digits"
        session.add([of(event, model=name) for event in GOOD])
        session.add_changes(
            (name, "pico", "int8"),
            [
                change_of("size_bytes", 9_000, 5_568, "better", Outcome.PASS),
                change_of("arena_bytes", 1_500, 1_616, "beyond the limit", Outcome.FAIL),
                Change("accuracy", "", 0.9, 0.9, Outcome.PASS, "digits/int8 on pico: accuracy"),
            ],
        )
    text = render(session).replace(BREAK, "")
    lines = [line for line in text.splitlines() if line.startswith("- FAIL: digits")]
    assert len(lines) == models
    assert lines[0] == (
        "- FAIL: digits/int8 on pico: arena_bytes 1,500 B -&#62; 1,616 B; beyond the limit; "
        "better: size_bytes 9,000 B -&#62; 5,568 B; the model changed"
    )
    title = "What changed against the baseline, and why"
    assert (f"### {title}" in text) is (models == 1)
    assert (f"<summary>{title}: 20 models and boards</summary>" in text) is (models == 20)


def test_training_is_held_against_what_needs_none() -> None:
    drops = {"int8": 0.05, "qat_int8": 0.01}
    events = [metric_event(name, "accuracy_drop", drop) for name, drop in drops.items()]
    events += [metric_event(name, "accuracy", 0.9) for name in drops]
    assert "\nTraining: digits: int8 loses +5.00 pt, qat_int8 loses +1.00 pt" in (
        render(session_of(*events))
    )
