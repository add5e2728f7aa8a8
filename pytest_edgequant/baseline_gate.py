"""The pytest side of baselines: compare at the end of a run, fail on regressions, save.

A regression is found when all tests are done, so no test can fail for it. It is reported as a
failure of its own instead, through the hook that tests are reported by, before pytest takes stock:
the exit status, the counts, the section FAILURES, the short summary, JUnit XML and every plugin
that listens have it like any failed test, with and without xdist.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_edgequant.baseline import (
    Baseline,
    Comparison,
    accept_all,
    compare,
    load_baseline,
    parse_accepted,
    parse_rules,
    save_baseline,
)
from pytest_edgequant.conversion.source import versions
from pytest_edgequant.errors import DocumentError
from pytest_edgequant.records import Failure, Outcome
from pytest_edgequant.report.baseline import comparison_lines, differs, failed
from pytest_edgequant.session import Session
from pytest_edgequant.settings import Settings

TOOLCHAIN = (
    "pytest-edgequant",
    "tensorflow",
    "keras",
    "tf-keras",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "tflite-micro",
)
DEFAULT_NAME = "edge-baseline.json"
"""What a baseline is called where nobody says."""
_NOT_REPEATED = ("--edge-baseline", "--edge-save-baseline", "--edge-report", "--edge-cache-dir")
_MARKUP: dict[Outcome, dict[str, bool]] = {
    Outcome.FAIL: {"red": True},
    Outcome.INCONCLUSIVE: {"yellow": True},
    Outcome.UNAVAILABLE: {"yellow": True},
    Outcome.PASS: {"green": True},
}


class _Explanation:
    """A failure's text as pytest shows it; `brief` stands in the short summary."""

    def __init__(self, path: str, lines: list[str], brief: str) -> None:
        self.lines = lines
        self.reprcrash = SimpleNamespace(path=path, lineno=0, message=brief)

    def toterminal(self, tw: Any) -> None:
        for line in self.lines:
            tw.line(f"E   {line}", red=True, bold=True)

    def __str__(self) -> str:
        return "\n".join(self.lines)


class BaselineGate:
    """The baseline of one run. Raises `SettingsError` for rules that can't be read."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config = config
        self.path = settings.baseline
        self.save_path = settings.save_baseline
        self.rules = parse_rules(settings.regression, settings.where, strict=settings.strict)
        self.accepted = parse_accepted(settings.accepted, settings.where)
        self.comparison: Comparison | None = None
        self.before: Baseline | None = None
        self.completed = False
        self.compared = False
        self._reporting = False
        self._lines: list[tuple[str, Outcome]] = []

    @property
    def active(self) -> bool:
        return self.path is not None or self.save_path is not None

    @property
    def accepting(self) -> bool:
        """Whether this run writes the very file that it compares with: what changed is accepted."""
        return self.path is not None and self.path == self.save_path

    def shown(self, path: Path) -> str:
        """A path as messages have it, relative to the project."""
        relative = os.path.relpath(path, self.config.rootpath) if path.is_absolute() else str(path)
        return path.name if relative.startswith("..") else Path(relative).as_posix()

    def command(self, path: Path) -> str:
        """How to run this again so that it writes a baseline."""
        kept, skip = [], False
        for argument in map(str, self.config.invocation_params.args):
            if skip:
                skip = False
            elif argument.partition("=")[0] in _NOT_REPEATED:
                skip = "=" not in argument
            else:
                kept.append(argument)
        here = os.path.relpath(path, self.config.invocation_params.dir)
        # What lies outside is a copy that a CI job fetched: the one to write is the project's own.
        shown = DEFAULT_NAME if here.startswith("..") else Path(here).as_posix()
        return shlex.join(["pytest", *kept, f"--edge-save-baseline={shown}"])

    # -- comparing ----------------------------------------------------------------------------

    def compare(self, session: Session) -> None:
        """Hold the session against the baseline, once; its results have their changes then."""
        if self.path is None or self.compared:
            return
        self.compared = True
        shown = self.shown(self.path)
        try:
            self.before = load_baseline(self.path)
        except DocumentError as error:
            text = str(error).replace(self.path.name, shown, 1)
            note = (
                f"{text}. Nothing was compared; the tests' own limits hold. Write a baseline: "
                f"{self.command(self.path)}"
            )
            session.baseline_note = note
            self._lines.append((f"baseline: {note}", Outcome.UNAVAILABLE))
            return
        after = session.measured(versions(TOOLCHAIN))
        found = compare(self.before, after, self.rules, self.accepted)
        if self.accepting:
            found = accept_all(found)
        self.comparison = found
        for key, changes in found.changes.items():
            session.add_changes(key, changes)
        parts = [f"compared with {shown}: {len(found.changes)} measured then and now"]
        if found.new:
            parts.append(f"{len(found.new)} new")
        if found.absent:
            parts.append(f"{len(found.absent)} not measured in this run")
        note = ", ".join(parts)
        if found.versions:
            note += f". The toolchain changed: {found.versions}"
        accept = ""
        if differs(found) and not self.accepting:
            accept = f"To accept what changed: {self.command(self.path)}"
        session.baseline_note = f"{note}. {accept}" if accept else note
        self._lines.append((f"baseline: {note}", Outcome.NOT_APPLICABLE))
        self._lines += comparison_lines(found)
        if accept:
            self._lines.append((accept, Outcome.NOT_APPLICABLE))

    def failures(self) -> Iterator[pytest.TestReport]:
        """A failed report for each variant with a regression."""
        if self.comparison is None or self.path is None:
            return
        shown = self.shown(self.path)
        for name, changes in failed(self.comparison).items():
            lines = [change.message for change in changes]
            brief = "; ".join(message.removeprefix(f"{name}: ") for message in lines)
            lines.append(f"To accept it: {self.command(self.path)}")
            yield self._report(shown, name, _Explanation(shown, lines, brief))

    def annotations(self) -> Iterator[Failure]:
        """The regressions as failed tests are annotated: at the baseline's first line."""
        for report in self.failures():
            path, _, _ = report.location
            yield Failure(report.nodeid, path, 1, report.longreprtext)

    @staticmethod
    def _report(path: str, name: str, explanation: _Explanation | None) -> pytest.TestReport:
        return pytest.TestReport(
            nodeid=f"{path}::{name}",
            location=(path, 0, name),
            keywords={},
            outcome="failed" if explanation is not None else "passed",
            longrepr=explanation,  # type: ignore[arg-type]
            when="call",
        )

    def status(self) -> tuple[str, str, str] | None:
        """How pytest's terminal shows a report: a regression has no letter in the progress."""
        return ("failed", "", "") if self._reporting else None

    def judge(self, session: Session) -> None:
        """All tests are done: compare, and report each regression as a failure."""
        self.completed = True
        self.compare(session)
        reported: list[str] = []
        for report in self.failures():
            reported.append(report.nodeid)
            self._reporting = True
            try:
                self.config.hook.pytest_runtest_logreport(report=report)
            finally:
                self._reporting = False
        self._forget(reported)

    def _forget(self, reported: Iterable[str]) -> None:
        """Take regressions that are no more from what `--last-failed` remembers."""
        cache = getattr(self.config, "cache", None)
        plugin = self.config.pluginmanager.get_plugin("lfplugin")
        if self.comparison is None or self.path is None or cache is None or plugin is None:
            return
        prefix = f"{self.shown(self.path)}::"
        for nodeid in cache.get("cache/lastfailed", {}):
            if nodeid.startswith(prefix) and nodeid not in reported:
                report = self._report(prefix[:-2], nodeid[len(prefix) :], None)
                plugin.pytest_runtest_logreport(report)

    # -- saving -------------------------------------------------------------------------------

    def save(self, session: Session) -> None:
        """Write the baseline that was asked for, unless the run was cut short."""
        if self.save_path is None:
            return
        shown = self.shown(self.save_path)
        measured = session.measured(versions(TOOLCHAIN))
        if not self.completed or not measured.entries:
            why = "nothing was measured" if self.completed else "the run did not come to its end"
            self._lines.append((f"baseline: {shown} is not written: {why}", Outcome.FAIL))
            return
        try:
            gone = len(set(load_baseline(self.save_path).entries) - set(measured.entries))
        except DocumentError:
            gone = 0
        try:
            save_baseline(measured, self.save_path)
        except DocumentError as error:
            self._lines.append((f"--edge-save-baseline: {error}", Outcome.FAIL))
            return
        count = len(measured.entries)
        text = f"baseline: wrote {shown}, {count} {'entry' if count == 1 else 'entries'}"
        if gone:
            text += f"; {gone} that this run did not measure {'is' if gone == 1 else 'are'} gone"
        self._lines.append((text, Outcome.NOT_APPLICABLE))

    def lines(self) -> Iterator[tuple[str, dict[str, bool]]]:
        """What to print in the summary, with its color."""
        for line, outcome in self._lines:
            yield line, _MARKUP.get(outcome, {})
