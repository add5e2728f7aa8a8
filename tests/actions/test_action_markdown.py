"""Markdown from anybody, in a comment that the repository's own token writes."""

from __future__ import annotations

import re

import pytest
from edge_gate import markdown
from edge_gate.markdown import Part
from edge_gate.record import Record
from github_page import live_texts, render
from hypothesis import given, settings
from hypothesis import strategies as st

HEAD = "a" * 40
ZERO_WIDTH = "\u200b"


def record(**changes: object) -> Record:
    values = {
        "name": "nano33ble", "target": "nano33ble", "exit_code": 0, "baseline": "none: asked for",
        "number": 7, "head": HEAD, "tool": "0.1.0",
    }  # fmt: skip
    return Record(**{**values, **changes})  # type: ignore[arg-type]


HOSTILE = {
    "mention": "ping @octo/team and \\@octo and &#64;octo and &#x40;octo and &commat;octo",
    "reference": "see #12, octo/edge#12, GH-12, &#35;12",
    "link": "[click](http://evil.example) and [a] (http://evil.example)",
    "reference link": "[click][x]\n\n[x]: http://evil.example",
    "image": "![pixel](https://evil.example/p.png)",
    "address": "http://evil.example https://evil.example www.evil.example <http://evil.example>",
    "mail": "mail octo@evil.example or <mailto:octo@evil.example>",
    "tag": "<script>alert(1)</script><img src=x onerror=alert(1)><a href='http://evil'>x</a>",
    "attribute": "<details onclick='x'><summary style=x>",
    "comment": "<!-- edgequant-edge-gate: gate -->",
    "diagram": "```mermaid\ngraph TD; click A 'http://evil.example'\n```",
    "entities": "&#60;script&#62; &lt;script&gt; &#x3c;a&#x3e;",
    "hidden": "pas\u202esed \u2066 \ufeff \x1b[31m",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_harmless_leaves_nothing_to_click_to_call_or_to_load(text: str) -> None:
    made = markdown.harmless(text)
    assert not re.search(r"@[\w]|(?<!&)#\d|GH-\d|://|www\.|mailto:|<!--", made, re.I)
    assert not re.search(r"\]\s*[(\[:]", made)
    assert not re.search(r"<(?!\u200b|/?(details|summary)>)", made)
    assert not re.search(r"&#0*(64|35|58|46|47);(?!\u200b)|&#x|&commat", made)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\ufeff\x1b]", made)
    assert "mermaid" not in made.split("graph")[0]


_ALPHABET = "ab @#[]()<>!&;:/`~\\*_|\n\t$" + ZERO_WIDTH
_PIECES = st.sampled_from(
    [*HOSTILE.values(), "<details>", "</details>", "```", "`", "\\", "&#91;", "](http://x.y)"]
)


@given(st.lists(st.one_of(st.text(_ALPHABET, max_size=20), _PIECES), max_size=8).map("".join))
def test_a_renderer_finds_no_link_image_or_foreign_tag(text: str) -> None:
    renderer = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable("table")
    html = renderer.render(markdown.harmless(text))
    tags = set(re.findall(r"<\s*/?\s*([a-z][\w-]*)", html, re.I))
    assert tags <= {
        "p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "pre", "code", "em", "strong",
        "blockquote", "hr", "br", "table", "thead", "tbody", "tr", "th", "td", "details",
        "summary", "b", "i", "sub", "sup",
    }  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(live_texts())
def test_nothing_comes_alive_whatever_stands_beside_it(text: str) -> None:
    made = markdown.harmless(text)
    assert not render(made).live()
    assert "$" not in made
    assert markdown.harmless(made) == made
    framed = f"<details><summary>{markdown.text(text)}</summary>\n\n{made}\n\n</details>"
    assert not render(f"> {markdown.text(text)}\n\n{framed}").live()


@pytest.mark.parametrize("number", [39, 64, 91])
def test_an_entity_behind_a_backslash_is_text_with_a_number_in_it(number: int) -> None:
    """It is shown as it is written, and so must be no reference."""
    made = markdown.harmless(f"see \\&#{number};, &#{number};")
    escaped, entity = made.split(", ")
    assert f"#{number}" not in escaped
    assert f"#{number}" in entity
    assert markdown.harmless(made) == made


def test_harmless_keeps_what_a_report_looks_like() -> None:
    report = (
        "❌ **edgequant failed** — `model` on `nano33ble`\n\n"
        "| model | size |\n|---|---|\n| `m/int8` | 5,568 B (+1.2 %) |\n\n"
        "<details><summary>Figures</summary>\n\nTFLM&#39;s `a[0]` &#124; x\n\n</details>\n"
    )
    assert markdown.harmless(report) == report


@pytest.mark.parametrize(
    "text, end",
    [
        ("<details><summary>x</summary>", "\n</details>"),
        ("```\ncode", "\n```"),
        ("~~~~\n~~~\ncode", "\n~~~~"),
        ("<details>\n```\n```", "\n</details>"),
        ("`" * 500, "\n" + "`" * 20),
    ],
)
def test_harmless_closes_what_was_left_open(text: str, end: str) -> None:
    assert markdown.harmless(text).removeprefix(text[:20]).endswith(end)


def test_harmless_can_t_end_the_frame_around_it() -> None:
    assert "</details>" not in markdown.harmless("</details>")
    made = markdown.harmless("<details>" * 100 + "</details>" * 200)
    assert made.count("<details>") == made.count("</details>") == 5


@given(st.text(max_size=400))
def test_text_is_one_line_without_markup(value: str) -> None:
    made = markdown.text(value)
    assert "\n" not in made
    assert not re.search(r"<|(?<!\\)[\[\]|`*]|@\w", made)


def test_the_verdict_comes_first() -> None:
    good, bad = record(), record(target="esp32", exit_code=1)
    assert markdown.comment("gate", [Part(good, "ok")], "URL").splitlines()[:2] == [
        "<!-- edgequant-edge-gate: gate -->",
        "**✅ Edge gate: passed**",
    ]
    body = markdown.comment("gate", [Part(good, "ok"), Part(bad, "no")], "URL", head=HEAD)
    assert body.splitlines()[1] == "**❌ Edge gate: failed** on 1 of 2"
    assert body.index("<summary>esp32") < body.index("<summary>nano33ble")
    assert "<details open><summary>esp32" in body
    assert "no result" in markdown.comment("gate", [], "URL")
    broken = markdown.comment("gate", [Part(record(exit_code=5), None)], "URL")
    assert "**❌ Edge gate: broken**" in broken
    assert "nothing was gated" in broken


@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize("line", ["| `m/int8` | 5,568 B | @x |\n", "<details>\n", "x" * 700 + "\n"])
def test_a_comment_stays_under_github_s_limit(count: int, line: str) -> None:
    parts = [
        Part(record(target=f"t{i}", exit_code=i % 2), line * (200_000 // len(line)))
        for i in range(count)
    ]
    body = markdown.comment("gate", parts, "URL", notes=["x" * 5000])
    assert len(body) <= markdown.LIMIT
    assert "Cut here" in body
    assert all(f"| t{i} |" in body for i in range(count))


def test_names_of_tests_can_be_copied_out_of_a_comment() -> None:
    names = (
        "- `tests/test_edge.py::test_size[nano33ble-int8]`",
        "- `test_edge.py::TestBoards::test_arena[digits-nano33ble-int8_float_io]`",
    )
    for line in names:
        assert markdown.harmless(line) == line


@pytest.mark.parametrize("lead", ["_", "*", "~", "(", "\\_", "&#95;", "<b>", "é", "[", "> _", "|_"])
def test_an_address_behind_a_mark_is_no_link(lead: str) -> None:
    for address in ("www.evil.example", "https://evil.example", "octo@evil.example", "www. x"):
        for written in (markdown.harmless(lead + address), markdown.text(lead + address)):
            page = render(written)
            assert not page.live()
            assert "evil" in page.text or "x" in page.text


def headline(*changes: dict[str, object]) -> str:
    """The first line of a comment that is seen."""
    parts = [Part(record(target=f"t{n}", **more), None) for n, more in enumerate(changes)]
    return markdown.comment("gate", parts, "URL").splitlines()[1].replace(ZERO_WIDTH, "")


def test_what_is_open_or_accepted_stands_in_the_headline() -> None:
    accepted = "passed with 1 accepted regression: 12 checks (size +9 B, until 2030-01-31: x)"
    assert headline({"summary": accepted, "clean": False}) == f"**⚠️ Edge gate: {accepted}**"
    good = {"summary": "passed: 12 checks", "clean": True}
    assert headline(good) == "**✅ Edge gate: passed**"
    assert headline(good, good) == "**✅ Edge gate: passed** on all 2"
    open_ = {"summary": "inconclusive: 3 checks passed, 2 inconclusive", "clean": False}
    assert headline(good, open_) == (
        f"**⚠️ Edge gate: passed on all 2, not all without remarks: {open_['summary']}**"
    )
    assert headline(good, {**open_, "exit_code": 1}) == "**❌ Edge gate: failed** on 1 of 2"


def test_a_headline_of_anybody_s_is_text() -> None:
    for written in HOSTILE.values():
        body = markdown.comment("g", [Part(record(summary=written, clean=False), None)], "URL")
        # Without what is our own: the marker and the link to the run.
        shown = body.partition("\n")[2].replace("[Run and", "Run and")
        assert not render(shown).live()


def test_words_that_a_report_explains_stay_words() -> None:
    text = '| [arena](#edgequant-arena) [a] |\n\n- <a id="edgequant-arena"></a>**arena**: SRAM'
    made = markdown.harmless(text).replace(ZERO_WIDTH, "")
    assert made == "| arena [a] |\n\n- **arena**: SRAM"
    assert not render(markdown.harmless(text)).words


def test_boards_that_lead_to_their_tables_stay_names() -> None:
    text = '| [`uno-r4`](#edgequant-on-uno-r4) |\n\n### <a id="edgequant-on-uno-r4"></a>`uno-r4`'
    made = markdown.harmless(text)
    assert made.replace(ZERO_WIDTH, "") == "| `uno-r4` |\n\n### `uno-r4`"
    assert not render(made).words


@pytest.mark.parametrize(
    "text",
    [
        "[`x`](http://e.example/#edgequant-on-x)",
        "[a[`b`](#edgequant-on-b)](http://e.example)",
        "[x](http://e.example/#edgequant-arena)",
        "[x](#edgequant-arena 'http://e.example')",
        "[a[b](#edgequant-arena)](http://e.example)",
        '[x](htt<a id="edgequant-a"></a>p://e.example)',
        '<<a id="edgequant-a"></a>a href=http://e.example>x</a>',
        '[<a id="edgequant-a"></a>x](#edgequant-<a id="edgequant-a"></a>b)',
    ],
)
def test_nothing_else_passes_for_a_word_that_is_explained(text: str) -> None:
    page = render(markdown.harmless(text))
    assert not page.live()
    assert not page.words
