"""What is printed of runs as newcomers have them; snapshots are to be read as they read them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import pytest
from github_page import render as github
from printed_runs import (
    Printed,
    anomaly_and_recurrent,
    four_files,
    keyword_spotting,
)
from syrupy.assertion import SnapshotAssertion

from pytest_edgequant.report.html import render as html
from pytest_edgequant.report.markdown import render
from pytest_edgequant.report.terminal import headline_line, summary_lines

SCREEN = 50
"""Lines that are taken in at once."""
RUNS: dict[str, Callable[[], Printed]] = {
    run.__name__: cache(run) for run in (keyword_spotting, anomaly_and_recurrent, four_files)
}


def terminal(run: Printed) -> list[str]:
    lines = [*summary_lines(run.session, run.targets), headline_line(run.session)[0]]
    return [line.rstrip() for line in lines]


def unfolded(markdown: str) -> str:
    """What is seen of Markdown before anything is opened."""
    text = re.sub(
        r"<details><summary>([^<]*)</summary>.*?</details>", r"(\1)", markdown, flags=re.S
    )
    return text.replace("\u200b", "")


@pytest.mark.parametrize("name", RUNS)
def test_what_the_terminal_shows(name: str, snapshot: SnapshotAssertion) -> None:
    assert "\n".join(terminal(RUNS[name]())) == snapshot


@pytest.mark.parametrize("name", RUNS)
def test_what_markdown_shows(name: str, snapshot: SnapshotAssertion) -> None:
    text = render(RUNS[name]().session)
    assert unfolded(text) == snapshot
    page = github(text)
    assert not page.live()
    assert page.open == []


def test_four_models_on_all_microcontrollers_are_one_screen() -> None:
    run = four_files()
    assert len(run.targets) >= 39
    assert len(terminal(run)) <= SCREEN
    assert len(unfolded(render(run.session)).splitlines()) <= 2 * SCREEN  # every other one is empty


def test_every_board_of_a_matrix_leads_to_its_table() -> None:
    text = render(four_files().session)
    words = github(text).words
    assert {word[1:] for word in words if word.startswith("#")} <= set(words)
    boards = [word for word in words if word.startswith("#edgequant-on-")]
    rows = re.findall(r"^\| (?!target)([^|]+) \|", text.partition("Every variant on each")[0], re.M)
    assert len(boards) == sum("edgequant-on-" in row for row in rows) >= 39
    assert [row for row in rows if "`" in row and "edgequant-on-" not in row] == []
    places = [word for word in words if not word.startswith("#")]
    assert len(places) == len(set(places))


def test_boards_of_an_html_matrix_lead_to_their_rows() -> None:
    page = html(four_files().session)
    ids = re.findall(r' id="([^"]+)"', page)
    links = re.findall(r'href="#([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(links) <= set(ids)
    assert sum("-on-" in link for link in links) == 4 * 39


def test_what_boards_share_is_said_once() -> None:
    """A model that no board can run is one finding, and its boards are folded."""
    run = four_files()
    for target in run.targets:
        run.break_("gru", "int8", target)
    seen = unfolded(render(run.session))
    assert len(re.findall(r"^- \*\*FAIL\*\* .*`gru/int8` on 39 boards", seen, re.M)) == 1
    assert "(31 more boards are not right)" in seen
    assert len(seen.splitlines()) <= 2 * SCREEN


def test_a_model_that_fits_nowhere_is_one_screen_too() -> None:
    """However many boards are not right, those that are not shown are counted and named."""
    run = four_files()
    for target in run.targets:
        for model in ("gesture", "gru", "kws", "person"):
            run.break_(model, "int8", target)
    lines = terminal(run)
    assert len(lines) <= SCREEN
    assert sum("more that are not right: " in line for line in lines) == 4
    assert sum(line == "there is no board on which everything passes" for line in lines) == 4


def test_every_figure_with_a_limit_shows_it_and_what_is_used() -> None:
    lines = terminal(RUNS["keyword_spotting"]())
    (row,) = [line for line in lines if line.startswith("int8 ")][-1:]
    cells = re.split(r"  +", row)
    assert [bool(re.search(r", (<?\d+|over) ?%? of ", cell)) for cell in cells] == [
        *(False, True, False, True, False, False, True, False)
    ]
