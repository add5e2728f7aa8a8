from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from nasty_names import NASTY, texts

from pytest_edgequant.report.markdown_text import clean, code, prose

BREAK = "\u200b"


class Page(HTMLParser):
    """The tags of a page, its text, and the text that is outside of code."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = self.outside = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            del self.open[len(self.open) - 1 - self.open[::-1].index(tag) :]

    def handle_data(self, data: str) -> None:
        self.text += data
        if "code" not in self.open:
            self.outside += data


# What GitHub makes links of in text that is not code.
LINKED = re.compile(
    r"(?i)@[a-z0-9]|#\d|\bgh-\d|https?://[a-z0-9]|\bwww\.[a-z0-9]|"
    r"\b(?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{7,40}\b|:[+\w-]+:",
    re.ASCII,
)


def github(source: str) -> Page:
    cmarkgfm = pytest.importorskip("cmarkgfm", reason="GitHub's renderer is not installed")
    from cmarkgfm.cmark import Options

    return Page(cmarkgfm.github_flavored_markdown_to_html(source, Options.CMARK_OPT_UNSAFE))


def shown(page: Page) -> str:
    return page.text.replace(BREAK, "").replace("\xa0", " ").strip()


@given(texts)
def test_prose_is_shown_as_it_is_and_does_nothing(text: str) -> None:
    page = github(f"- x {prose(text)} y")
    assert set(page.tags) <= {"ul", "li", "code"}
    assert shown(page).split() == f"x {clean(text, 2000).replace(BREAK, '')} y".split()
    assert not LINKED.search(page.outside)


@given(texts)
def test_a_name_is_code_and_nothing_else(text: str) -> None:
    page = github(f"- x {code(text)} y")
    assert page.tags == ["ul", "li", "code"]
    assert shown(page).split() == f"x {clean(text, 120).replace(BREAK, '')} y".split()
    assert page.outside.replace(" ", "").strip() == "xy"


@given(texts, texts)
def test_cells_of_a_table_stay_cells(name: str, message: str) -> None:
    page = github(f"| a | b | c |\n|---|---|---|\n| {code(name)} | {prose(message)} | end |")
    assert page.tags.count("td") == page.tags.count("th") == 3
    assert page.tags.count("tr") == 2
    assert set(page.tags) <= {"table", "thead", "tbody", "tr", "th", "td", "code"}
    assert page.text.rstrip().endswith("end")
    assert not LINKED.search(page.outside)


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
