from __future__ import annotations

import html
import re

import pytest
from github_page import Page, live_texts, render
from hypothesis import given, settings
from nasty_names import NASTY, texts

from pytest_edgequant.report.markdown_text import clean, code, prose

BREAK = "\u200b"


def shown(page: Page) -> str:
    return page.text.replace(BREAK, "").replace("\xa0", " ").strip()


@given(texts)
def test_prose_is_shown_as_it_is_and_does_nothing(text: str) -> None:
    page = render(f"- x {prose(text)} y")
    assert set(page.tags) <= {"ul", "li", "code"}
    assert shown(page).split() == f"x {clean(text, 2000).replace(BREAK, '')} y".split()
    assert not page.live()


@given(texts)
def test_a_name_is_code_and_nothing_else(text: str) -> None:
    page = render(f"- x {code(text)} y")
    assert page.tags == ["ul", "li", "code"]
    assert shown(page).split() == f"x {clean(text, 120).replace(BREAK, '')} y".split()
    assert page.outside.replace(" ", "").strip() == "xy"


@given(texts, texts)
def test_cells_of_a_table_stay_cells(name: str, message: str) -> None:
    page = render(f"| a | b | c |\n|---|---|---|\n| {code(name)} | {prose(message)} | end |")
    assert page.tags.count("td") == page.tags.count("th") == 3
    assert page.tags.count("tr") == 2
    assert set(page.tags) <= {"table", "thead", "tbody", "tr", "th", "td", "code"}
    assert page.text.rstrip().endswith("end")
    assert not page.live()


@pytest.mark.parametrize("text", NASTY)
def test_no_markup_of_the_text_is_left_in_the_source(text: str) -> None:
    for source in (prose(text), code(text)):
        assert "\n" not in source
        assert "<" not in re.sub(r"^`[^`]*`$", "", source.removeprefix("<code>")).removesuffix(
            "</code>"
        )
        assert "|" not in source


def test_plain_words_stay_readable_in_the_source() -> None:
    message = "digits/int8: size 26,640 B is over the limit of 4,096 B (8.5 kB). Use CONV_2D"
    assert prose(message) == message
    assert code("digits/int8") == "`digits/int8`"


def test_long_text_is_cut_in_the_middle() -> None:
    found = clean("a" * 50 + "z" * 50, 20)
    assert len(found) == 20
    assert found.startswith("aaaa")
    assert found.endswith("zzzz")


def test_nothing_to_show_is_still_code() -> None:
    assert html.unescape(code("  ")) == "<code>\xa0</code>"


@settings(max_examples=500)
@given(live_texts())
def test_nothing_comes_alive_whatever_stands_beside_it(text: str) -> None:
    source = f"- x {prose(text)} {prose(text)} y\n\n| a | b |\n|---|---|\n| {prose(text)} | z |"
    page = render(source)
    assert not page.live()
    assert not re.search(r"\$`[^`]*`\$", source)
    line = clean(text, 2000).replace(BREAK, "")
    assert " ".join(shown(page).split()) == " ".join(f"x {line} {line} y a b {line} z".split())
    assert not render(f"- x {code(text)} y {code(text)}").live()
