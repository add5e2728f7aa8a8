"""What GitHub makes of Markdown: its own renderer, then its own look at the texts that come out.

cmark-gfm is what GitHub renders with. What GitHub does after that is described in its
documentation: mentions, references, emoji and formulas are looked for in each text that is not
code. Here they are looked for a bit more eagerly than there.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import strategies as st

_ENDLESS = {"br", "hr", "img", "input", "wbr"}
LIVE = re.compile(
    r"""
    (?<![a-z0-9])@[a-z0-9]                                # a person, a team
    | [\w.+-]@[\w-]+\.\w                                  # an address
    | \#\w                                                # an issue, in a repository or this one
    | \bgh-\w | \b(?-i:[A-Z]{2,})-\w                       # an issue, or what a repository links
    | (?<![a-z0-9])[0-9a-f]{7,40}(?![a-z0-9])             # a commit
    | :[+\w-]+:                                           # an emoji
    | \w://\w | \bwww\.                                   # a bare address
    | \$                                                  # a formula
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_CLASS = re.compile(r"(?<=\.py)::[A-Z]\w*::")
"""Not an emoji: their names are in small letters."""

OWN_LINK = re.compile(r"href=#edgequant-[\w-]+|id=edgequant-[\w-]+")
"""Links of a report to words that it explains and boards, and what they lead to."""


class Page(HTMLParser):
    """The tags of a page, its kinds of code, its text, and each text that is outside of code."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.words: list[str] = []
        self.kinds: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.texts: list[str] = [""]
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if (tag, len(attrs)) == ("a", 1) and OWN_LINK.fullmatch(f"{attrs[0][0]}={attrs[0][1]}"):
            self.words.append(str(attrs[0][1]))  # to a word that the report explains
        else:
            self.tags.append(tag)
        self.kinds += [value for name, value in attrs if (tag, name) == ("pre", "lang") and value]
        self.texts.append("")
        if tag not in _ENDLESS:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.texts.append("")
        if tag in self.open:
            del self.open[len(self.open) - 1 - self.open[::-1].index(tag) :]

    def handle_comment(self, data: str) -> None:
        self.tags.append("<!--")

    def handle_data(self, data: str) -> None:
        self.text += data
        if not {"code", "pre"} & set(self.open):
            self.texts[-1] += data

    @property
    def outside(self) -> str:
        """The text that is outside of code."""
        return "".join(self.texts)

    def live(self) -> list[str]:
        """What GitHub makes more of than text: links, mentions, references, formulas, ..."""
        found = [f"a {kind} diagram" for kind in self.kinds]
        found += [
            f"<{tag}>" for tag in self.tags if tag in ("a", "img", "input", "section", "<!--")
        ]
        for text in self.texts:
            found += [match.group() for match in LIVE.finditer(_CLASS.sub("::", text))]
        return found


def render(source: str) -> Page:
    """The page of a comment with this Markdown."""
    cmarkgfm = pytest.importorskip("cmarkgfm", reason="GitHub's renderer is not installed")
    from cmarkgfm.cmark import Options

    options = Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_FOOTNOTES
    return Page(cmarkgfm.github_flavored_markdown_to_html(source, options))


_LIVE = (
    "www.evil.example", "WWW.evil.example", "www.", "http://evil.example", "https://evil.example/x",
    "HTTPS://evil.example", "ftp://evil.example", "//evil.example", "mailto:a@evil.example",
    "xmpp:a@evil.example/x", "a@evil.example", "<https://evil.example>", "<a@evil.example>",
    "@octocat", "@octo/team", "#12", "GH-12", "gh-12", "octo/edge#12", "octocat#12",
    "octo/edge@9b8c7d6", "octo/edge@90b983c2deadbeefdeadbeefdeadbeefdeadbeef", "9b8c7d6", "1234567",
    "deadbeef", "90b983c2deadbeefdeadbeefdeadbeefdeadbeef", "JIRA-12", "GHSA-abcd-efgh-ijkl",
    "CVE-2024-1234", ":tada:", ":+1:", ":-1:", "::tada:", "$x$", "$$x$$", "$`x`$",
    "$\\href{http://x.y}{z}$", "\n```math\nx\n```\n", "\n```mermaid\ng\n```\n",
    "\n- ~~~geojson `\n  x\n  ~~~\n", "\n1. ```stl\n   x\n   ```\n", "[a](http://evil.example)",
    "![a](http://evil.example/x.png)", "[a][b]\n\n[b]: http://evil.example\n",
    "[b]\n\n[b]: <http://evil.example> 'x'\n", "[^1]\n\n[^1]: note\n", "\n- [ ] task\n", "[[page]]",
    "> [!NOTE]\n> x", "<a href=http://evil.example>x</a>", "<img src=x>", "<input>", "<!-- x -->",
    "<script>x</script>", "&#64;octocat", "&#x40;octocat", "&commat;octocat", "&#64octocat",
    "&#35;12", "GH&#45;12", "&#58;tada&#58;", "http&#58;//evil.example", "&#119;ww.evil.example",
    "www&#46;evil.example", "&#36;x&#36;", "&lt;a&gt;",
)  # fmt: skip
"""What GitHub makes more of than text, and other ways to write it."""
_NEIGHBOURS = (
    "", "", "_", "__", "*", "**", "~", "~~", "`", "``", "(", ")", "[", "]", "{", "}", "<", ">", '"',
    "'", "|", "\\", "/", ":", ";", ".", ",", "!", "?", "-", "+", "=", "&", "%", "^", "#", "@", "$",
    " ", "\t", "\n", "\n\n", "\n    ", "\n> ", "\n- ", "a", "Z", "w", "0", "é", "名", "ß", "\u0301",
    "\u00a0", "\u200b", "\u200d", "\u2060", "\u00ad", "\ufeff", "\u202e", "\u3000", "\ufe0f",
    "\U0001f600", "&#95;", "&amp;", "&nbsp;", "&#8203;", "<b>", "</b>", "<code>", "</code>", "<br>",
    "<details>", "</details>", "<summary>",
)  # fmt: skip


def live_texts() -> st.SearchStrategy[str]:
    """Triggers between neighbours of every kind, some of them with a letter escaped."""
    neighbours = st.lists(
        st.one_of(st.sampled_from(_NEIGHBOURS), st.characters(codec="utf-8")), max_size=3
    ).map("".join)
    trigger = st.sampled_from(_LIVE)
    escaped = st.builds(_escaped, trigger, st.integers(0, 40), st.sampled_from("\\*_`"))
    piece = st.tuples(neighbours, st.one_of(trigger, trigger, escaped), neighbours).map("".join)
    return st.lists(piece, min_size=1, max_size=3).map("".join)


def _escaped(text: str, at: int, sign: str) -> str:
    at %= len(text)
    return f"{text[:at]}{sign}{text[at:]}"
