from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_edgequant.errors import UnknownNameError
from pytest_edgequant.names import closest, fold, unknown

BOARDS = ["nano33ble", "nucleo-l4r5zi", "esp32", "esp32-s3", "pico", "rpi4"]
LETTERS = st.sampled_from(string.ascii_letters + string.digits)
SEPARATORS = st.sampled_from(["", "-", "_", " ", "."])


@given(st.lists(st.tuples(LETTERS, SEPARATORS), min_size=1))
def test_case_and_separators_do_not_count(parts: list[tuple[str, str]]) -> None:
    plain = "".join(letter for letter, _ in parts)
    typed = "".join(letter.swapcase() + separator for letter, separator in parts)
    assert fold(typed) == plain.lower()


def test_the_closest_name_comes_first() -> None:
    assert closest("nano33bel", BOARDS)[0] == "nano33ble"
    assert closest("ESP-32S3", BOARDS)[0] == "esp32-s3"
    assert closest("NUCLEO_L4R5", BOARDS)[0] == "nucleo-l4r5zi"


def test_no_more_names_than_asked_for() -> None:
    assert len(closest("esp32", BOARDS, 1)) == 1


def test_an_unknown_name_gives_the_closest() -> None:
    error = unknown("target", "nano33bel", BOARDS, "--edge-target")
    assert str(error).startswith(
        "--edge-target: unknown target 'nano33bel'. Did you mean nano33ble"
    )


def test_a_name_like_none_gives_all_there_are() -> None:
    error = unknown("target", "????", BOARDS)
    assert str(error) == f"unknown target '????'. Known: {', '.join(sorted(BOARDS))}"


def test_an_empty_registry_says_so() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown board 'x'\. Known: -$"):
        raise unknown("board", "x", [])


@pytest.mark.parametrize(
    "typed, first", [("nano", "nano33ble"), ("esp", "esp32"), ("l4r5", "nucleo-l4r5zi")]
)
def test_the_beginning_of_a_name_is_enough_to_find_it(typed: str, first: str) -> None:
    assert closest(typed, [*BOARDS, "nano-esp32", "nano33iot"])[0] == first
    assert str(unknown("target", typed, BOARDS)).endswith(
        f"Did you mean {', '.join(closest(typed, BOARDS))}?"
    )


def test_what_is_meant_most_comes_before_what_is_shorter() -> None:
    known = ["pico", "pico-w", "picard"]
    assert closest("pic", known) == ["pico", "pico-w", "picard"]
    assert closest("pic", known, common=["picard"])[0] == "picard"


def test_an_alias_is_shown_by_what_it_means_and_once() -> None:
    meant = {"rpi-pico": "pico", "raspberry-pi-pico": "pico", "everything": "all"}
    assert closest("raspberry", ["pico", "esp32"], meant=meant) == ["pico"]
    assert closest("everythin", ["pico", "esp32"], meant=meant)[0] == "all"
    # Where nothing is like it, aliases aren't names of their own.
    assert "everything" not in str(unknown("target", "????", ["pico"], meant=meant))
