"""What a model came to on each board, and the smallest on which everything passes."""

from __future__ import annotations

from recorded_events import verdict_event

from pytest_edgequant.records import Outcome
from pytest_edgequant.report.boards import model_boards, profiles, smallest_lines
from pytest_edgequant.results.session import Event, Session
from pytest_edgequant.results.standing import Standings


def limited(check: str, value: float, limit: float, target: str = "pico") -> Event:
    event = verdict_event("int8", check, Outcome.PASS)
    event["verdict"] |= {"value": value, "limit": limit}
    return {**event, "target": target}


def on(board: str, variant: str, outcome: Outcome) -> Event:
    return {**verdict_event(variant, "arena", outcome), "target": board}


def test_boards_that_are_open_stand_with_what_failed_first() -> None:
    session = Session(watched=False)
    session.add(
        [
            on("rpi4", "int8", Outcome.PASS),
            on("pico", "int8", Outcome.INCONCLUSIVE),
            on("uno-r4", "int8", Outcome.PASS),
            on("teensy41", "int8", Outcome.FAIL),
            on("teensy41", "float32", Outcome.PASS),
            on("nano33ble", "int8", Outcome.FAIL),
            on("a board of mine", "int8", Outcome.PASS),
        ]
    )
    standings = Standings(session)
    found = model_boards("digits", standings.results, profiles(session), standings)
    assert [board.name for board in found.open] == ["nano33ble", "teensy41", "pico"]
    assert [board.name for board in found.passing] == ["uno-r4", "a board of mine", "rpi4"]
    assert [board.name for board in found.fitting("float32")] == ["teensy41"]
    assert smallest_lines(found, standings)[0] == (
        "the smallest boards on which everything passes: uno-r4 (20 KiB for the arena), "
        "a board of mine, rpi4"
    )


def test_the_tightest_limit_of_a_board_is_that_of_its_variants() -> None:
    session = Session()
    session.add([limited("arena", 20, 100), limited("size", 30, 100, "esp32")])
    other = limited("arena", 70, 100)
    session.add([{**other, "variant": "int16x8"}])
    standings = Standings(session)
    (pico,) = (
        board
        for board in model_boards("digits", standings.results, {}, standings).boards
        if board.name == "pico"
    )
    assert pico.tightest is not None
    assert (pico.tightest[0], pico.tightest[1].told) == ("int16x8", "arena 70 % of 100 B")
