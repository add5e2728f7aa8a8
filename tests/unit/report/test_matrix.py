"""The table of verdicts over many boards."""

from __future__ import annotations

from recorded_events import metric_event, verdict_event
from syrupy.assertion import SnapshotAssertion

from pytest_edgequant.records import Change, Outcome
from pytest_edgequant.report.boards import room
from pytest_edgequant.report.terminal import summary_lines
from pytest_edgequant.results.session import Event, Session
from pytest_edgequant.targets import Targets


def on(board: str, variant: str, outcome: Outcome, check: str = "arena") -> Event:
    return {**verdict_event(variant, check, outcome), "target": board}


def summary(*events: Event) -> str:
    session = Session()
    session.add(events)
    return "\n".join(line.rstrip() for line in summary_lines(session, Targets()))


def test_boards_stand_by_size_and_the_smallest_that_pass_are_named(
    snapshot: SnapshotAssertion,
) -> None:
    said = summary(
        on("rpi4", "int8", Outcome.PASS),
        on("rpi4", "float32", Outcome.PASS),
        on("nano33ble", "int8", Outcome.PASS),
        on("nano33ble", "float32", Outcome.PASS),
        on("nano33ble", "dynamic_range", Outcome.CANNOT_RUN, "runs"),
        on("microbit-v2", "int8", Outcome.PASS),
        on("microbit-v2", "float32", Outcome.FAIL),
        on("uno-r4", "int8", Outcome.FAIL),
        on("uno-r4", "int8", Outcome.FAIL, "size"),
        on("uno-r4", "float32", Outcome.UNAVAILABLE),
    )
    assert said == snapshot
    assert "digits on uno-r4" not in said  # the matrix stands for more than three tables


def test_that_no_board_will_do_is_said() -> None:
    said = summary(on("pico", "int8", Outcome.FAIL), on("rpi4", "int8", Outcome.INCONCLUSIVE))
    assert "there is no board on which everything passes" in said
    assert "inconclusive: arena" in said
    assert "digits on pico" in said  # up to three have a table of their own too


def test_one_board_has_no_matrix() -> None:
    assert "on 1 targets" not in summary(on("pico", "int8", Outcome.PASS))


def test_what_can_only_not_run_does_not_pass() -> None:
    said = summary(on("pico", "int8", Outcome.CANNOT_RUN), on("rpi4", "int8", Outcome.PASS))
    assert "everything passes: rpi4" in said


def test_boards_without_limits_come_last() -> None:
    targets = sorted(Targets(), key=room)
    limited = [target.sram_for_arena is not None for target in targets]
    assert limited == sorted(limited, reverse=True)


def test_what_is_accepted_is_said_of_the_boards_on_which_the_rest_passes() -> None:
    session = Session()
    session.add([on("pico", "int8", Outcome.PASS), on("rpi4", "int8", Outcome.PASS)])
    session.add([{**on("pico", "float32", Outcome.PASS), "kind": "variant", "notes": []}])
    change = Change(
        "accuracy", "", 0.9, 0.8, Outcome.PASS, "worse", accepted="until 2030-01-31: later"
    )
    session.add_changes(("digits", "pico", "float32"), [change])
    lines = [line.split() for line in summary_lines(session, Targets())]
    assert "pico 1 accepted regression pass, arena 0 % of 1 B".split() in lines
    assert any(
        " ".join(line).startswith(
            "the smallest boards on which everything passes but what is accepted or informational: "
            "pico"
        )
        for line in lines
    )


def test_a_variant_that_is_judged_on_no_board_has_no_column() -> None:
    said = summary(
        *(
            on(board, variant, outcome, check)
            for board in ("pico", "esp32")
            for variant, outcome, check in (
                ("int8", Outcome.PASS, "arena"),
                ("float32", Outcome.NOT_APPLICABLE, "source"),
            )
        )
    )
    matrix = said[said.index("digits on 2 targets") :].splitlines()
    assert matrix[1].split() == ["target", "int8"]


def test_a_cell_without_a_figure_has_no_mark() -> None:
    """A limit that was kept is not what is told of a variant that failed otherwise."""
    events = [
        {**event, "target": board}
        for board in ("pico", "rpi4")
        for event in (
            metric_event("int8", "arena_bytes", 1_616),
            verdict_event("int8", "arena", Outcome.PASS, limit=9_000),
            verdict_event("int8", "latency", Outcome.UNAVAILABLE),
        )
    ]
    said = summary(*events).partition("digits on 2 targets")[2].partition("there is no")[0]
    assert "unavailable: latency" in said
    assert "[" not in said
