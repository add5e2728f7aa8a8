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
    save_measured,
)
from pytest_edgequant.baseline.measured import measured
from pytest_edgequant.baseline.store import replaceable
from pytest_edgequant.cache import versions
from pytest_edgequant.errors import DocumentError
from pytest_edgequant.plugin.baseline_command import command
from pytest_edgequant.records import Failure, Outcome
from pytest_edgequant.report.baseline import comparison_lines, failed, worse
from pytest_edgequant.results.session import Session
from pytest_edgequant.settings import Settings
from pytest_edgequant.targets import Targets
from pytest_edgequant.wording import counted

TOOLCHAIN = (
    "pytest-edgequant",
    "tensorflow",
    "keras",
    "tf-keras",
    "ai-edge-litert",
    "litert-quantizer",
    "ai-edge-quantizer",
    "tflite-micro",
)
DEFAULT_NAME = "edge-baseline.json"
"""What a baseline is called where nobody says."""
_MOST_NAMES = 5
_NOTHING_COMPARED = "Nothing was compared; the tests' own limits hold"
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


def _plain(path: Path | None) -> Path | None:
    """A path without steps up and down."""
    return None if path is None else Path(os.path.normpath(path))


def _listed(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:_MOST_NAMES]) + (", ..." if len(shown) > _MOST_NAMES else "")


class BaselineGate:
    """The baseline of one run.

    Raises `SettingsError` for rules that can't be read. `judges` is False of runs that run no
    tests, and of workers, whose controller judges.
    """

    def __init__(
        self, config: pytest.Config, settings: Settings, targets: Targets, *, judges: bool
    ) -> None:
        self.config = config
        self.settings = settings
        self.path = _plain(settings.baseline)
        self.save_path = _plain(settings.save_baseline)
        self.comparison: Comparison | None = None
        self.before: Baseline | None = None
        self.problem = ""
        self.completed = False
        self.compared = False
        self._failed = False
        self._reporting = False
        self._lines: list[tuple[str, Outcome]] = []
        if not judges:
            return
        self._load()
        measured = (self.before or Baseline()).figures()
        rules, accepted = settings.place("regression"), settings.place("accepted")
        self.rules = parse_rules(
            settings.regression, rules, strict=settings.strict, measured=measured
        )
        self.accepted = parse_accepted(
            settings.accepted, accepted, targets=targets, measured=measured
        )

    def check_file(self) -> None:
        """Raise `DocumentError` for a file that the command line names and that can't be read.

        One that is named for all runs is an error at the end, of runs that measured something.
        """
        place = self.settings.origins.get("baseline", "")
        if self.problem and self.named and place.startswith("--"):
            raise DocumentError(f"{place}: {self.problem}. {self._way_out}")

    @property
    def active(self) -> bool:
        return self.path is not None or self.save_path is not None

    @property
    def accepting(self) -> bool:
        """Whether this run writes the very file that it compares with: what changed is accepted."""
        if self.path is None or self.save_path is None:
            return False
        return os.path.realpath(self.path) == os.path.realpath(self.save_path)

    @property
    def named(self) -> bool:
        """Whether the file has to be there: it was named, and this run does not make it."""
        return self.path is not None and not self.accepting and not self.settings.baseline_optional

    def shown(self, path: Path) -> str:
        """A path as messages have it, relative to the project."""
        relative = os.path.relpath(path, self.config.rootpath) if path.is_absolute() else str(path)
        return path.name if relative.startswith("..") else Path(relative).as_posix()

    def command(self, path: Path) -> str:
        """How to run this again so that it writes a baseline."""
        invocation = self.config.invocation_params
        if self.settings.baseline_optional and not path.is_relative_to(self.config.rootpath):
            # A copy that a CI job fetched: the one to write is the project's own.
            path = self.config.rootpath / DEFAULT_NAME
        shown = path.as_posix()
        if path.is_relative_to(self.config.rootpath) or path.is_relative_to(invocation.dir):
            shown = Path(os.path.relpath(path, invocation.dir)).as_posix()
        defaults = [
            *self.config.getini("addopts"),
            *shlex.split(os.environ.get("PYTEST_ADDOPTS", "")),
        ]
        return command(list(map(str, invocation.args)), defaults, shown)

    # -- comparing ----------------------------------------------------------------------------

    def _load(self) -> None:
        """Read the file; what is wrong with it is the problem of this run."""
        if self.path is None:
            return
        try:
            self.before = load_baseline(self.path)
        except DocumentError as error:
            self.problem = str(error).replace(self.path.name, self.shown(self.path), 1)

    def _explained_by(self, problem: str) -> str:
        """Why nothing was compared, what holds all the same, and what to do."""
        return f"{problem}. {_NOTHING_COMPARED}. {self._way_out}"

    @property
    def _way_out(self) -> str:
        assert self.path is not None
        if replaceable(self.path) or self.before is not None:
            return f"Write a baseline: {self.command(self.path)}"
        return "Name another file"

    def compare(self, session: Session) -> None:
        """Hold the session against the baseline, once; its results have their changes then."""
        if self.path is None or self.compared:
            return
        self.compared = True
        after = measured(session, versions(TOOLCHAIN))
        found = None
        if self.before is not None:
            found = compare(self.before, after, self.rules, self.accepted)
            self._check_model(after)
        if self.problem:
            self._unusable(session, after)
            return
        assert found is not None
        if self.accepting:
            found = accept_all(found)
        self.comparison = found
        for key, changes in found.changes.items():
            session.add_changes(key, changes)
        self._tell(session, found, after)

    def _check_model(self, after: Baseline) -> None:
        """A baseline that has none of this run's models is another project's, or named wrongly."""
        assert self.path is not None
        assert self.before is not None
        mine, theirs = after.models(), self.before.models()
        if mine and not mine & theirs:
            has = f"is of {_listed(theirs)}" if theirs else "has no entry"
            self.problem = (
                f"{self.shown(self.path)} {has}, this run measured {_listed(mine)}: another "
                "model's baseline, or another name"
            )

    def _unusable(self, session: Session, after: Baseline) -> None:
        """There is no baseline to compare with: an error where one was named."""
        assert self.path is not None
        if self.accepting:
            note = f"{self.shown(self.path)}: nothing to compare with yet; this run writes it"
            self._note(session, note, None)
        elif not (after.entries or after.mixed):
            # Nothing was to be compared, such as in a run of other tests.
            self._note(session, self._explained_by(self.problem), Outcome.NOT_APPLICABLE)
        else:
            strict = self.named or self.settings.strict
            outcome = Outcome.FAIL if strict else Outcome.INCONCLUSIVE
            self._failed = strict
            session.baseline_outcome = outcome
            self._note(session, self._explained_by(self.problem), outcome)

    def _note(self, session: Session, note: str, outcome: Outcome | None) -> None:
        session.baseline_note = note
        self._lines.append((f"baseline: {note}", outcome or Outcome.NOT_APPLICABLE))

    def _tell(self, session: Session, found: Comparison, after: Baseline) -> None:
        """Say what was compared, what came of it, and how to accept what got worse."""
        assert self.path is not None
        note, outcome = self._extent(found), Outcome.NOT_APPLICABLE
        if after.entries and not found.held and not self.accepting:
            self.problem, note = note, self._explained_by(note)
            self._failed = self.settings.strict
            outcome = Outcome.FAIL if self._failed else Outcome.INCONCLUSIVE
            session.baseline_outcome = outcome
        self._note(session, note, outcome)
        if found.unknown:
            session.baseline_outcome = Outcome.FAIL
            session.baseline_note = ". ".join([note, *map(str, found.unknown)])
        self._lines += comparison_lines(found)
        if worse(found) and found.held and not self.accepting:
            accept = f"To accept what changed: {self.command(self.path)}"
            session.baseline_note += f". {accept}"
            self._lines.append((accept, Outcome.NOT_APPLICABLE))

    def _extent(self, found: Comparison) -> str:
        """How much of the baseline was met."""
        assert self.path is not None
        parts = [
            f"compared with {self.shown(self.path)}: {len(found.changes)} measured then and now"
        ]
        if found.new:
            parts.append(f"{len(found.new)} new")
        if found.absent:
            parts.append(f"{len(found.absent)} not measured in this run")
        changed = f". The toolchain changed: {found.versions}" if found.versions else ""
        return f"{', '.join(parts)}{changed}"

    def failures(self) -> Iterator[pytest.TestReport]:
        """A failed report for each variant with a regression, and for what is no baseline.

        What to do about it, once for all of them, is said below (`lines`).
        """
        if self.path is None:
            return
        shown = self.shown(self.path)
        if self._failed:
            told = f"{self.problem}. {_NOTHING_COMPARED}"
            yield self._report(shown, "baseline", _Explanation(shown, [told], self.problem))
        if self.comparison is None:
            return
        if self.comparison.unknown:
            lines = [str(error) for error in self.comparison.unknown]
            yield self._report(shown, "rules", _Explanation(shown, lines, "; ".join(lines)))
        for name, changes in failed(self.comparison).items():
            lines = [change.message for change in changes]
            brief = "; ".join(message.removeprefix(f"{name}: ") for message in lines)
            yield self._report(shown, name, _Explanation(shown, lines, brief))

    def annotations(self) -> Iterator[Failure]:
        """The regressions as failed tests are annotated: at the baseline's first line.

        The first of them says what to do, for it stands alone.
        """
        for number, report in enumerate(self.failures()):
            path, _, _ = report.location
            message = str(report.longrepr)
            if number == 0 and self._failed:
                message += f"\n{self._way_out}"
            elif number == 0 and self.comparison is not None and failed(self.comparison):
                assert self.path is not None
                message += f"\nTo accept it: {self.command(self.path)}"
            yield Failure(report.nodeid, path, 1, message)

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
        now = measured(session, versions(TOOLCHAIN))
        if not self.completed or not now.entries:
            why = "nothing was measured" if self.completed else "the run did not come to its end"
            self._lines.append((f"baseline: {shown} is not written: {why}", Outcome.FAIL))
            return
        try:
            saved = save_measured(now, self.save_path, prune=self.settings.baseline_prune)
        except DocumentError as error:
            self._lines.append((f"--edge-save-baseline: {error}", Outcome.FAIL))
            return
        count = saved.entries
        text = f"baseline: wrote {shown}, {counted(count, 'entry')}"
        if saved.others and saved.pruned:
            text += f"; deleted {saved.others} that this run did not measure"
        elif saved.others:
            text += (
                f"; kept {saved.others} that this run did not measure (--edge-baseline-prune "
                "deletes them)"
            )
        if saved.damaged:
            text += f"; it replaces what was there ({saved.damaged})"
        self._lines.append((text, Outcome.NOT_APPLICABLE))

    def lines(self) -> Iterator[tuple[str, dict[str, bool]]]:
        """What to print in the summary, with its color."""
        for line, outcome in self._lines:
            yield line, _MARKUP.get(outcome, {})
