"""Names and messages as someone would write them who wants more than to be shown."""

from __future__ import annotations

from hypothesis import strategies as st

NASTY = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</details></td></tr></table><h1>gone",
    "[click](https://evil.example/)",
    "![pixel](https://evil.example/x.png)",
    "https://evil.example/path www.evil.example mailto:root@evil.example",
    "@octocat please look, @org/team",
    "fixes #1, octo/repo#2, GH-3, octo/repo@deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
    "see deadbee1 and 90b983c2",
    "a | b | c",
    "a \\| b \\\\| c \\",
    "`code` ``more`` ```",
    "**bold** _em_ ~~gone~~ __x__",
    "# heading\n\n- item\n\n| a | b |\n|---|---|\n| c | d |",
    "<!-- marker --> &lt;b&gt; &#64;octocat &amp;",
    "$\\href{javascript:alert(1)}{x}$ $$x$$",
    ":tada: :+1:",
    "{{ 7 * 7 }} {% raw %}",
    "\u202egnp.exe \u200b\u2066 \x00 \x1b[31m \ud800",
    "::error file=x::y%0A",
    "-----\n=====\n```\nfence",
    "",
    "   ",
    "x" * 5000,
    "名前/モデル ñ é",
)

texts = st.one_of(
    st.sampled_from(NASTY),
    st.text(max_size=60),
    st.text(alphabet="\\`*_{}[]()<>#+-.!|~$^=&\"'@: /\nawgh1.", max_size=40),
    st.lists(st.sampled_from(NASTY), min_size=2, max_size=3).map("".join),
)
