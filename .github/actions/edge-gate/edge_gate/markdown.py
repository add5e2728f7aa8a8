"""Markdown that others wrote, made harmless, and the comment that is built from it.

GitHub finds mentions and references in the rendered text, so neither backslashes nor entities stop
them. A zero-width space does, in code as well as outside of it, and is invisible in both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edge_gate.record import Record

LIMIT = 65_536  # characters in a comment's body
_ZERO_WIDTH = "\u200b"
_KEPT_TAGS = re.compile(
    r"</?(?:details|summary|sub|sup|b|i|em|strong|code)>|<br ?/?>|<details open>"
)
_ENTITY = re.compile(r"&(?:(?:amp|lt|gt|quot|nbsp);|#(\d{2,3});)")
_RECOGNIZED = "#./:@"  # what mentions, references and addresses are recognized by
# Other control characters, and those that turn the direction of text or are not seen at all.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200c-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
# GitHub makes diagrams, maps and models of some kinds of code.
_FENCE_KIND = re.compile(r"^([ >\t]*(?:`{3,}|~{3,}))[^`\n]*$", re.MULTILINE)
_LONG_RUN = re.compile(r"`{20,}|~{20,}")
_MAX_DEPTH = 5
_RULES = (
    (re.compile(rf"@(?!{_ZERO_WIDTH})"), f"@{_ZERO_WIDTH}"),  # mentions, mail addresses
    (re.compile(r"(?<!&)#(?=\w)"), f"#{_ZERO_WIDTH}"),  # issues and pull requests
    (re.compile(r"\b(GH-)(?=\d)", re.I), rf"\1{_ZERO_WIDTH}"),
    (re.compile(r"\](?=\s*[(\[:])"), f"]{_ZERO_WIDTH}"),  # links, images, their definitions
    (re.compile(r"(?<=\w):(?=//|\\)"), f":{_ZERO_WIDTH}"),  # bare addresses
    (re.compile(r"\b(mailto|xmpp|javascript|data):", re.I), rf"\1{_ZERO_WIDTH}:"),
    (re.compile(r"\bwww\.", re.I), f"www{_ZERO_WIDTH}."),
)


def harmless(markdown: str) -> str:
    """Markdown without links, images, mentions, references, comments, and tags beyond a few.

    What a report of this project holds looks the same afterwards: tables, emphasis, code, folded
    parts. It can't be told here what is code and what isn't, so all rules hold everywhere.
    """
    markdown = _UNSEEN.sub("", markdown.replace("\r\n", "\n").replace("\r", "\n"))
    markdown = _FENCE_KIND.sub(r"\1", _LONG_RUN.sub(lambda run: run[0][:20], markdown))
    parts, position, depth = [], 0, 0
    for match in re.finditer(r"[<&]", markdown):
        start = match.start()
        if start < position:
            continue
        tag = _KEPT_TAGS.match(markdown, start)
        kept = tag.group() if tag else _entity(markdown, start)
        if "details" in kept:
            step = -1 if kept.startswith("</") else 1
            if 0 <= depth + step <= _MAX_DEPTH:
                depth += step
            else:  # would end a part that isn't its own, or never end
                kept = ""
        parts.append(_without_links(markdown[position:start]))
        if kept:
            parts.append(kept)
            position = start + len(kept.rstrip(_ZERO_WIDTH))
        else:
            parted = markdown[start + 1 : start + 2] == _ZERO_WIDTH
            parts.append(match.group() + ("" if parted else _ZERO_WIDTH))
            position = start + 1
    parts.append(_without_links(markdown[position:]))
    return _closed("".join(parts))


def _entity(markdown: str, start: int) -> str:
    """The entity of a punctuation mark, parted from what follows where it must be; else empty."""
    match = _ENTITY.match(markdown, start)
    if not match:
        return ""
    sign = chr(int(match[1])) if match[1] else ""
    if sign and not (sign.isascii() and sign.isprintable() and not sign.isalnum()):
        return ""
    return match.group() + (_ZERO_WIDTH if sign and sign in _RECOGNIZED else "")


def _without_links(text: str) -> str:
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def _closed(markdown: str) -> str:
    """Folded parts and code fences closed, so that what follows is not swallowed."""
    fence = ""
    for line in markdown.splitlines():
        match = re.match(r" {0,3}(`{3,}|~{3,})", line)
        if match and not fence:
            fence = match[1]
        elif match and match[1].startswith(fence) and not line.strip().strip(fence[0]):
            fence = ""
    end = f"\n{fence}" if fence else ""
    opened = len(re.findall(r"<details(?: open)?>", markdown)) - markdown.count("</details>")
    return markdown + end + "\n</details>" * max(opened, 0)


def text(value: str, limit: int = 300) -> str:
    """Text from anywhere as one line of plain text."""
    line = " ".join(_UNSEEN.sub("", value).split())
    line = line if len(line) <= limit else f"{line[: limit - 1]}…"
    line = re.sub(r"([\\`*_{}\[\]()#!|~$])", r"\\\1", line)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _without_links(line).replace("\\#", f"\\#{_ZERO_WIDTH}")


def cut(markdown: str, limit: int) -> str:
    """At most `limit` characters, whole lines, saying so where lines are missing."""
    if len(markdown) <= limit:
        return markdown
    note = "\n\n*Cut here: the rest is in the uploaded report.*"
    # Closing what was open takes room too.
    kept = markdown[: max(limit - len(note) - 200, 0)].rpartition("\n")[0]
    return (_closed(kept) + note)[:limit] if kept else ""


@dataclass(frozen=True)
class Part:
    """One run of the gate: its record and its report, None where it left none."""

    record: Record
    report: str | None


def marker(name: str) -> str:
    """What a comment of this gate starts with; invisible."""
    return f"<!-- edgequant-edge-gate: {name} -->"


def _headline(parts: Sequence[Part]) -> str:
    verdicts = [part.record.verdict for part in parts]
    if not parts:
        return "**Edge gate: no result.** The run left no report."
    if all(verdict == "passed" for verdict in verdicts):
        runs = "" if len(parts) == 1 else f" on all {len(parts)}"
        return f"**✅ Edge gate: passed**{runs}"
    bad = [v for v in verdicts if v != "passed"]
    state = "failed" if "failed" in bad else "broken"
    runs = "" if len(parts) == 1 else f" on {len(bad)} of {len(parts)}"
    return f"**❌ Edge gate: {state}**{runs}"


def comment(
    name: str, parts: Sequence[Part], url: str, *, notes: Sequence[str] = (), head: str = ""
) -> str:
    """The body of the comment, verdict first, within GitHub's limit."""
    commit = f" · commit {head}" if head else ""
    lines = [marker(name), _headline(parts), ""]
    lines += [f"> {text(note)}" for note in notes] + ([""] if notes else [])
    if parts:
        lines += ["| gate | verdict | why | baseline |", "| --- | --- | --- | --- |"]
        for part in parts:
            r = part.record
            cells = (text(r.target or r.name), r.verdict, r.explanation, text(r.baseline, 240))
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"[Run and uploaded reports]({url}){commit}", ""]
    head_text = "\n".join(lines)
    bodies, room = [], LIMIT - len(head_text) - 100
    # The failed ones first: what is cut, where something must be, is what is good.
    order = sorted(parts, key=lambda part: part.record.verdict == "passed")
    for index, part in enumerate(order):
        if part.report is None:
            continue
        title = text(part.record.target or part.record.name)
        unfolded = " open" if len(parts) == 1 or part.record.verdict != "passed" else ""
        frame = f"<details{unfolded}><summary>{title}</summary>\n\n", "\n\n</details>\n"
        share = room // (len(order) - index) - len(frame[0]) - len(frame[1])
        body = cut(harmless(cut(part.report, 2 * LIMIT)), share)
        if not body:
            continue
        bodies.append(body.join(frame))
        room -= len(bodies[-1]) + 1
    return head_text + "\n" + "\n".join(bodies)
