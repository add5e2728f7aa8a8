"""Row, matrix cell, headline, comment and exit status say the same of a run."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from simulated_runs import ROWS, Row, Simulated, check, feed, report, simulate

from pytest_edgequant.records import Outcome
from pytest_edgequant.report import html, markdown
from pytest_edgequant.report import json as documents
from pytest_edgequant.report.overview import tone
from pytest_edgequant.report.reading import merge_reports, read_report
from pytest_edgequant.report.terminal import headline_line, summary_lines
from pytest_edgequant.results.session import Session
from pytest_edgequant.results.standing import Standings
from pytest_edgequant.targets import Targets

sys.path.insert(0, str(Path(__file__).parents[3] / ".github/actions/edge-gate"))
from edge_gate.markdown import Part, comment
from edge_gate.record import Record, read_record, read_verdict

RUNS = 600
HTML_ROW = r'<th scope="row"><a [^>]*>([^<]*)</a></th>.*?class="verdict (\w*)"'
SIGNS = {"✅": "good", "❌": "bad", "⚠️": "unsure"}
PROFILES = [target for target in Targets() if target.name in {row[1] for row in ROWS}]


def said(tone: str) -> str:
    """Of a whole run in which nothing was judged every format warns."""
    return "unsure" if tone == "plain" else tone


def comment_tone(report: str, exit_status: int) -> str:
    summary, clean = read_verdict(report.encode())
    record = Record("gate", "pico", exit_status, "none", 7, "a" * 40, "1", summary, clean)
    (line,) = [
        line
        for line in comment("gate", [Part(record, None)], "URL").splitlines()
        if "Edge gate:" in line
    ]
    return next(tone for sign, tone in SIGNS.items() if sign in line)


def html_tones(page: str) -> tuple[str, list[tuple[str, str, str]]]:
    """The badge of the headline, and (target, model/variant, class) of each row."""
    badge = re.search(r'<h1><span class="badge (\w+)">', page)
    assert badge is not None
    rows = []
    overview = page.split("<h2>Overview</h2>")[1].split("</section>")[0]
    for table in re.split(r"<caption>", overview):
        for name, cell in re.findall(HTML_ROW, table):
            rows.append((table.partition("<")[0], name, cell))
    # What was not run is folded away, in a list of its own.
    for names, targets in re.findall(r"<li>([^<]*) on ([^<]*)<", overview):
        rows += [(at, name, "plain") for at in targets.split(", ") for name in names.split(", ")]
    return badge[1], rows


def words(row_tone: str, text: str) -> bool:
    """Whether a cell in plain words fits its tone."""
    passes = text.startswith("pass")
    if row_tone == "good":
        return passes and "with" not in text
    if row_tone == "bad":
        return not passes and text not in ("-", "n/a") and ", expected" not in text
    if row_tone == "plain":
        return text in ("-", "n/a", "CANNOT RUN", "cannot run")
    return re.sub(r", \w+ (<|\d|over ).*", "", text) not in ("-", "n/a", "pass")


def cells(lines: list[str], run: Simulated) -> dict[Row, list[str]]:
    """The verdicts of the terminal's tables and matrices, by row."""
    found: dict[Row, list[str]] = {}
    title, header = "", []
    for line in lines:
        if re.fullmatch(r"\w+ on (\w+|\d+ targets)", line):
            title, header = line, []
        elif not line:
            title, header = "", []
        elif title and not header:
            header = re.split(r"  +", line)
        elif title and line and not line.startswith("-"):
            parts = re.split(r"  +", line.rstrip())
            model, _, where = title.partition(" on ")
            if header[0] == "target" and len(parts) == len(header):
                for variant, cell in zip(header[1:], parts[1:], strict=True):
                    if (model, parts[0], variant) in run.rows and cell != "-":
                        found.setdefault((model, parts[0], variant), []).append(cell)
            elif header[0] == "variant" and len(parts) == len(header):
                # A column in which nothing stands is not printed.
                verdict = parts[-1] if header[-1] == "verdict" else "-"
                found.setdefault((model, where, parts[0]), []).append(verdict)
    return found


def holds(run: Simulated, session: Session) -> None:
    text = documents.render(session)
    report = json.loads(text)
    standings = Standings(session)
    rows = {result.key[:3]: tone(standings.of(result)) for result in standings.results}
    assert rows == {row: run.tone(row) for row in run.rows}
    for entry in report["results"]:
        own = run.tone((entry["model"], entry["target"], entry["variant"]))
        assert entry["verdict"]["failed"] is (own == "bad")
        assert entry["verdict"]["clean"] is (own == "good")
        assert words(own, entry["verdict"]["text"]), (own, entry["verdict"])
    lines = list(summary_lines(session, PROFILES))
    shown = cells(lines, run)
    for row, texts in shown.items():
        assert all(words(run.tone(row), cell) for cell in texts), (run.tone(row), texts)
    named = " ".join(line for line in lines if "everything passes: " in line)
    assert not (named and run.lost)
    # The headline, in every format, and the exit status.
    wanted = said(run.run)
    assert (run.run == "bad") is bool(run.exit_status)
    assert report["verdict"]["failed"] is bool(run.exit_status)
    assert said(headline_line(session)[1]) == wanted
    first = markdown.render(session).splitlines()[0]
    assert SIGNS[first.partition(" ")[0]] == wanted, first
    assert comment_tone(text, run.exit_status) == wanted


@pytest.mark.parametrize("start", range(0, RUNS, RUNS // 6))
def test_everything_says_the_same_of_a_run(start: int) -> None:
    """On random runs: as they are, read back from their report, and merged of two shards."""
    for seed in range(start, start + RUNS // 6):
        run = simulate(seed)
        session = run.session()
        try:
            holds(run, session)
            holds(run, read_report(json.loads(documents.render(session)), "report.json"))
            shards = [
                (name, read_report(json.loads(documents.render(run.session(part))), name))
                for part, name in enumerate(("first.json", "second.json"))
            ]
            holds(run, merge_reports(shards))
            if seed % 10 == 0:
                badge, rows = html_tones(html.render(session))
                assert said(badge) == said(run.run)
                found = {(name.split("/")[0], at, name.split("/")[1]): c for at, name, c in rows}
                assert found == {row: run.tone(row) for row in run.rows}
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_random_runs_are_of_every_kind() -> None:
    runs = [simulate(seed) for seed in range(RUNS)]
    assert {run.run for run in runs} == {"good", "bad", "unsure", "plain"}
    assert {run.tone(row) for run in runs for row in run.rows} == {"good", "bad", "unsure", "plain"}
    assert {run.exit_status for run in runs} == {0, 1, 5}
    assert any(run.lost for run in runs)


INT8: Row = ("digits", "pico", "int8")
FLOAT32: Row = ("digits", "pico", "float32")
USED = [
    {"kind": "variant", "model": m, "target": t, "variant": v, "notes": []}
    for m, t, v in (INT8, FLOAT32)
]


def tones(session: Session) -> dict[str, str]:
    standings = Standings(session)
    return {r.variant: tone(standings.of(r)) for r in standings.results}


def test_a_failed_check_is_of_its_own_variant_and_another_error_of_all_that_the_test_used() -> None:
    broken = [*USED, check(INT8, "drop", Outcome.FAIL, "int8 lost too much")]
    session = Session(watched=True)
    feed(session, [report("t", "call", "failed", broken, message="int8 lost too much. Calibrate")])
    assert tones(session) == {"int8": "bad", "float32": "plain"}
    session = Session(watched=True)
    feed(session, [report("t", "call", "failed", broken, message="CannotRunError: int8 aborts")])
    assert tones(session) == {"int8": "bad", "float32": "bad"}


def test_ten_tests_that_can_not_run_leave_nothing_green() -> None:
    session = Session(watched=True, exit_status=1)
    good = [
        *USED,
        check(INT8, "size", Outcome.PASS, "5 KB"),
        check(FLOAT32, "size", Outcome.PASS, "9"),
    ]
    feed(session, [report("test_it.py::test_size", "call", "passed", good)])
    for number in range(10):
        test = f"test_it.py::test_parity[{number}]"
        feed(session, [report(test, "call", "failed", USED, message=f"it aborts {number}")])
    assert tones(session) == {"int8": "bad", "float32": "bad"}
    lines = "\n".join(summary_lines(session, Targets()))
    assert "everything passes: " not in lines
    assert lines.count("FAIL: test_parity") == 2


def test_an_attempt_that_was_not_the_last_does_not_count() -> None:
    slow = check(INT8, "latency", Outcome.FAIL, "too slow")
    session = Session(watched=True, exit_status=0)
    feed(
        session,
        [
            report("t", "setup", "passed"),
            report("t", "call", "rerun", [*USED, slow], message="too slow"),
            report("t", "setup", "passed"),
            report("t", "call", "passed", [check(INT8, "latency", Outcome.PASS, "fast")]),
        ],
    )
    assert tones(session) == {"int8": "good"}
    assert session.failures == []
    assert headline_line(session) == ("edgequant passed: 1 check", "good")


def test_what_else_failed_in_a_run_is_no_pass() -> None:
    session = Session(watched=True, exit_status=2)
    feed(session, [report("t", "call", "passed", [check(INT8, "size", Outcome.PASS, "5 KB")])])
    assert headline_line(session) == (
        "edgequant failed: the run was interrupted, or tests could not be collected",
        "bad",
    )


def test_a_baseline_that_fails_a_run_is_said() -> None:
    session = Session(watched=True, exit_status=1, baseline_outcome=Outcome.FAIL)
    feed(session, [report("t", "call", "passed", [check(INT8, "size", Outcome.PASS, "5 KB")])])
    assert headline_line(session) == ("edgequant failed: the baseline can't be gone by", "bad")


def test_a_record_without_a_headline_is_read_and_one_that_contradicts_is_not_believed() -> None:
    old = {
        "schema": "edge-gate/1", "name": "n", "target": "t", "exit_code": 0, "baseline": "none",
        "number": 7, "head": "a" * 40, "tool": "0.1.0",
    }  # fmt: skip
    assert read_record(json.dumps(old).encode(), "old").clean
    lying = {**old, "exit_code": 1, "summary": "passed: 3 checks", "clean": True}
    record = read_record(json.dumps(lying).encode(), "lying")
    assert record.explanation == "at least one check failed"
    assert "❌ Edge gate: failed" in comment("gate", [Part(record, None)], "URL")
