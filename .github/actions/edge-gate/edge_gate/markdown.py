"""Markdown that others wrote, made harmless, and the comment that is built from it.

GitHub finds mentions and references in the rendered text, so neither backslashes nor entities stop
them. A zero-width space does, in code as well as outside of it, and is invisible in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edge_gate.inert import BREAK, characters, joints
from edge_gate.record import Record

LIMIT = 65_536  # characters in a comment's body
_KEPT_TAGS = re.compile(
    r"</?(?:details|summary|sub|sup|b|i|em|strong|code)>|<br ?/?>|<details open>"
)
# One character as it is shown: the entity of a punctuation mark, or itself.
_CHARACTER = re.compile(
    r"(?<!\\)&(?:(amp|lt|gt|quot|nbsp)|#(3[2-9]|4[0-7]|5[89]|6[0-4]|9[1-6]|12[3-6]));|[\s\S]"
)
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "nbsp": "\xa0"}
# Other control characters, and those that turn the direction of text or are not seen at all.
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200c-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
    r"|[\ud800-\udfff]"
)
# GitHub makes diagrams, maps, models and formulas of some kinds of code.
_FENCE_KIND = re.compile(
    r"^((?:[ >\t]|[-+*][ \t]|\d{1,9}[.)][ \t])*(?:`{3,}|~{3,}))[^`\n]*$", re.MULTILINE
)
_OTHER_KIND = re.compile(r"(?:`{3,}(?!`)|~{3,}(?!~))(?=[^\n]*\S)")
# Our reports lead from words to what they mean, from boards to their tables; in a comment, which
# may have several reports, they stay words.
_WORD = re.compile(
    r"\[([A-Za-z]+|`[\w-]+`)\]\(#edgequant-[\w-]+\)|<a id=\"edgequant-[\w-]+\"></a>", re.ASCII
)
_LONG_RUN = re.compile(r"`{20,}|~{20,}")
_ALIGNMENT = re.compile(r"^[ >|:-]*\|[ >|:-]*$", re.MULTILINE)
_BEGINS = re.compile(r"[-+#]|\d{1,9}[.)]")  # a heading, a list, a rule
_DOLLAR = "\uff04"  # a dollar sign that begins no formula, in code as well
_MAX_DEPTH = 5
_MAX_SUMMARY, _MOST_SUMMARIES = 500, 3


def harmless(markdown: str) -> str:
    """Markdown without links, images, mentions, references, comments, and tags beyond a few.

    What a report of this project holds looks the same afterwards: tables, emphasis, code, folded
    parts. It can't be told here what is code and what isn't, so the same holds everywhere: what
    `joints` tells is parted, `]` is parted from what would make a link of it, no `$` and no kind
    of code is left, and `<` and `&` begin nothing but the tags and entities of our reports.
    """
    markdown = _WORD.sub(r"\1", markdown)
    markdown = _UNSEEN.sub("", markdown.replace("\r\n", "\n").replace("\r", "\n"))
    markdown = _FENCE_KIND.sub(r"\1", _LONG_RUN.sub(lambda run: run[0][:20], markdown))
    markdown = _OTHER_KIND.sub(lambda run: f"{run[0][:2]}{BREAK}", markdown)
    return _closed("".join(_pieces(markdown)))


def _pieces(markdown: str) -> Iterator[str]:
    """What is between the tags that are kept, and these, each part folded at most so deep."""
    position = depth = 0
    for tag in _KEPT_TAGS.finditer(markdown):
        if "details" in tag.group():
            step = -1 if tag.group().startswith("</") else 1
            if not 0 <= depth + step <= _MAX_DEPTH:
                continue  # would end a part that isn't its own, or never end
            depth += step
        yield _without_links(markdown[position : tag.start()])
        yield tag.group()
        position = tag.end()
    yield _without_links(markdown[position:])


def _without_links(markdown: str) -> str:
    """Markdown without tags, of which GitHub makes no link, no formula and no tag."""
    units = list(_CHARACTER.finditer(markdown))
    shown = "".join(map(_shown, units))
    parted = joints(shown)
    for line in _ALIGNMENT.finditer(shown):
        parted.difference_update(range(*line.span()))
    pieces = []
    for at, unit in enumerate(units):
        after = shown[at + 1 : at + 2]
        if after != BREAK and (unit[0] in "<&" or (unit[0] == "]" and after != "`")):
            parted.add(at + 1)
        pieces.append(BREAK if at in parted else "")
        pieces.append(_DOLLAR if shown[at] == "$" else unit[0])
    return "".join(pieces) + (BREAK if len(units) in parted else "")


def _shown(unit: re.Match[str]) -> str:
    """The one character that an entity, or a character, is shown as."""
    if unit[1]:
        return _NAMED[unit[1]]
    return chr(int(unit[2])) if unit[2] else unit[0]


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
    """Text from anywhere as one line of plain text, in Markdown as well as in HTML."""
    line = " ".join(_UNSEEN.sub("", value).split())
    line = line if len(line) <= limit else f"{line[: max(limit - 1, 0)]}…"
    return (BREAK if _BEGINS.match(line) else "") + characters(line, _DOLLAR)


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
        remarks = [text(p.record.summary, _MAX_SUMMARY) for p in parts if not p.record.clean]
        if not remarks:
            return f"**✅ Edge gate: passed**{runs}"
        # Green is what has nothing to add: what is open or was accepted is said in the first line.
        more = [f"{len(remarks) - _MOST_SUMMARIES} more"] if len(remarks) > _MOST_SUMMARIES else []
        said = "; ".join([*remarks[:_MOST_SUMMARIES], *more])
        whole = said if len(parts) == 1 else f"passed{runs}, not all without remarks: {said}"
        return f"**⚠️ Edge gate: {whole}**"
    bad = [v for v in verdicts if v != "passed"]
    state = "failed" if "failed" in bad else "broken"
    runs = "" if len(parts) == 1 else f" on {len(bad)} of {len(parts)}"
    return f"**❌ Edge gate: {state}**{runs}"


def _head(
    name: str, parts: Sequence[Part], url: str, notes: Sequence[str], head: str, width: int
) -> str:
    """What comes before the reports, of each text that is not ours at most `width` characters."""
    commit = f" · commit {head}" if head else ""
    lines = [marker(name), _headline(parts), ""]
    lines += [f"> {text(note, width)}" for note in notes if width] + ([""] if notes else [])
    if parts:
        lines += ["| gate | verdict | why | baseline |", "| --- | --- | --- | --- |"]
        for part in parts:
            r = part.record
            why = text(r.explanation, min(_MAX_SUMMARY, 4_000 // len(parts), 4 * width))
            cells = (text(r.target or r.name, width), r.verdict, why, text(r.baseline, width))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"[Run and uploaded reports]({url}){commit}", ""])


def comment(
    name: str, parts: Sequence[Part], url: str, *, notes: Sequence[str] = (), head: str = ""
) -> str:
    """The body of the comment, verdict first, within GitHub's limit."""
    heads = (_head(name, parts, url, notes, head, width) for width in (240, 100, 40, 12, 0))
    head_text = next((text for text in heads if len(text) <= LIMIT // 2), "")
    bodies, room = [], LIMIT - len(head_text) - 100
    # The failed ones first: what is cut, where something must be, is what is good.
    order = sorted(parts, key=lambda p: (p.record.verdict == "passed", p.record.clean))
    for index, part in enumerate(order):
        if part.report is None:
            continue
        title = text(part.record.target or part.record.name, 100)
        unfolded = " open" if len(parts) == 1 or part.record.verdict != "passed" else ""
        frame = f"<details{unfolded}><summary>{title}</summary>\n\n", "\n\n</details>\n"
        share = room // (len(order) - index) - len(frame[0]) - len(frame[1])
        body = cut(harmless(cut(part.report, 2 * LIMIT)), share)
        if not body:
            continue
        bodies.append(body.join(frame))
        room -= len(bodies[-1]) + 1
    return head_text + "\n" + "\n".join(bodies)
