"""What a terminal shows while something takes its time, and what is left of it."""

from __future__ import annotations

import re
import time

import pytest
from screen import Screen, Terminal, progress_lines

from pytest_edgequant.progress import Display, Step, duration, is_watched, silent


def display(stream: Terminal, delay: float = 0.02) -> Display:
    return Display(lambda: stream, delay=delay, interval=0.01)


def wait_for(stream: Terminal, text: str) -> None:
    """Until the thread that draws has drawn it."""
    for _ in range(500):
        if text in stream.getvalue():
            return
        time.sleep(0.01)
    raise AssertionError(f"{text!r} never came: {stream.getvalue()!r}")


@pytest.mark.parametrize(
    "seconds, text",
    [(0.4, "0 s"), (41, "41 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (7830, "2 h 10 min")],
)
def test_a_duration_reads_in_its_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_step_tells_what_how_far_and_how_long_still() -> None:
    now = [100.0]
    step = Step("training kws", clock=lambda: now[0])
    now[0] = 112.0
    assert step.text() == "training kws: 12 s so far"
    step.at(0, 20, "epochs")
    assert step.text() == "training kws: 0 of 20 epochs, 12 s so far"
    step.at(5, 20, "epochs", "loss 0.25")
    assert step.text() == "training kws: 5 of 20 epochs, 36 s left, loss 0.25"
    now[0] = 115.0  # nothing new was told: it is less by what has passed
    assert step.text() == "training kws: 5 of 20 epochs, 33 s left, loss 0.25"
    now[0] = 300.0
    assert step.text() == "training kws: 5 of 20 epochs, 0 s left, loss 0.25"
    step.at(1200, unit="samples")
    assert step.text() == "training kws: 1,200 samples, 3 min 20 s so far"
    step.at(1200, 1200, "samples")
    assert step.text() == "training kws: 1,200 of 1,200 samples, 0 s left"


def test_what_can_not_be_counted_is_told_by_the_last_of_its_kind() -> None:
    now = [0.0]
    step = Step("converting kws to int8", clock=lambda: now[0], last=31.0)
    now[0] = 12.0
    assert step.text() == "converting kws to int8: 12 s so far, the last took 31 s"
    stream = Terminal()
    show = display(stream)
    for what in ("converting a to int8", "converting b to float32", "converting c to int8"):
        with show(what):
            wait_for(stream, what)
            time.sleep(0.03)
    found = progress_lines(Screen().feed(stream.getvalue()).seen)
    assert {line.split()[2] for line in found if "the last took" in line} == {"c"}


def test_what_is_done_at_once_is_not_shown() -> None:
    stream = Terminal()
    show = display(stream, delay=0.5)
    for what in ("one thing", "another"):
        with show(what) as step:
            step.at(1, 2)
    time.sleep(0.05)
    assert stream.getvalue() == ""


@pytest.mark.parametrize("height", [24, 3])
@pytest.mark.parametrize("before", ["tests/test_it.py ..", "$ ", "\r\n" * 5 + "x"])
def test_the_line_comes_below_what_stands_there_and_goes(before: str, height: int) -> None:
    stream = Terminal()
    screen = Screen(height).feed(before)
    expected = Screen(height).feed(f"{before}F done\r\nnext").shown()
    show = display(stream)
    with show("converting kws to int8"):
        wait_for(stream, "converting kws")
    screen.feed(stream.getvalue())
    assert progress_lines(screen.seen)
    assert not progress_lines(screen.shown())
    # What is printed next stands where it would have.
    assert screen.feed("F done\r\nnext").shown() == expected


def test_one_thing_within_another_is_on_the_same_line() -> None:
    stream = Terminal()
    show = display(stream)
    with show("six calibrations") as outer:
        outer.at(2, 6, "conversions")
        wait_for(stream, "six")
        for inner in ("converting a", "converting b"):
            with show(inner):
                wait_for(stream, inner)
        wait_for(stream, "conversions")
    found = progress_lines(Screen().feed(stream.getvalue()).seen)
    nested = r"\[edgequant\] six calibrations: 2 of 6 conversions, \d+ s left > converting b: "
    assert any(re.match(nested, line) for line in found)
    assert not progress_lines(Screen().feed(stream.getvalue()).shown())


def test_an_error_leaves_nothing_behind() -> None:
    stream = Terminal()
    show = display(stream)
    with pytest.raises(ValueError, match="no"), show("converting"):
        wait_for(stream, "converting")
        raise ValueError("no")
    assert not progress_lines(Screen().feed(stream.getvalue()).shown())
    length = len(stream.getvalue())
    time.sleep(0.05)
    assert len(stream.getvalue()) == length


def test_names_break_no_line_and_long_ones_are_cut() -> None:
    stream = Terminal()
    show = display(stream)
    with show("converting \x1b[31m\r\nx" + "y" * 200):
        wait_for(stream, "converting")
    (shown,) = set(progress_lines(Screen().feed(stream.getvalue()).seen))
    assert len(shown) <= 80
    assert shown.startswith("[edgequant] converting ?[31m??xyyy")
    assert shown.endswith("...")


@pytest.mark.parametrize("environ", [{"CI": "true"}, {"TERM": "dumb"}])
def test_nobody_watches_logs(environ: dict[str, str]) -> None:
    assert is_watched(Terminal(), {"TERM": "xterm", "WT_SESSION": "1"})
    assert not is_watched(Terminal(), {"WT_SESSION": "1", **environ})
    assert not is_watched(Terminal(watched=False), {"TERM": "xterm", "WT_SESSION": "1"})


def test_without_a_terminal_nothing_is_begun() -> None:
    show = Display(lambda: None, delay=0.0)
    for progress in (show, silent):
        with progress("converting") as step:
            step.at(1, 2, "steps")
    assert show._thread is None


def test_a_terminal_that_went_away_stops_nothing() -> None:
    stream = Terminal()
    show = display(stream)
    with show("converting"):
        wait_for(stream, "converting")
        stream.close()
    with show("evaluating"):
        time.sleep(0.05)
