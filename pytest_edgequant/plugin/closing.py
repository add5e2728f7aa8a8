"""The end of a run: the reports are written, and the terminal says what came of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_edgequant.plugin.baseline_gate import BaselineGate
from pytest_edgequant.progress import Progress
from pytest_edgequant.records import Target
from pytest_edgequant.report import github, terminal, write_report
from pytest_edgequant.report.made import made_here
from pytest_edgequant.results.session import Session
from pytest_edgequant.settings import Settings
from pytest_edgequant.targets import Targets
from pytest_edgequant.wording import printable

NO_TESTS_COLLECTED = 5
_MARKUP = {"good": {"green": True}, "bad": {"red": True}, "unsure": {"yellow": True}}


class Closing:
    """What is done once all tests of a run are."""

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        targets: Targets,
        session: Session,
        baseline: BaselineGate,
        progress: Progress,
    ) -> None:
        self.config = config
        self.settings = settings
        self.targets = targets
        self.session = session
        self.baseline = baseline
        self.progress = progress
        self._report_errors: list[str] = []
        self._nothing_gated = False

    def finish(self, pytest_session: pytest.Session) -> None:
        """Write the baseline and the reports, and turn a run that gated nothing red."""
        self.baseline.compare(self.session)
        self.baseline.save(self.session)
        gated_nothing = self._has_to_gate() and self.session.gated == 0
        if gated_nothing and pytest_session.exitstatus in (0, NO_TESTS_COLLECTED):
            self._nothing_gated = True
            pytest_session.exitstatus = NO_TESTS_COLLECTED
        self.session.targets = self._given_targets()
        self.session.exit_status = int(pytest_session.exitstatus)
        if self.settings.report:
            self.session.made = made_here(self.config.rootpath)
        for path in self.settings.report:
            with self.progress(f"writing {path.name}"):
                self._report_errors += write_report(path, self.session)
        self._report_errors += github.write_summary(self.session)

    def _has_to_gate(self) -> bool:
        """Whether a target was given, to this run.

        Where models are configured, their targets stand in the configuration of every run, those
        of other tests alone as well.
        """
        by_hand = self.settings.origins.get("target", "").startswith("--")
        own = by_hand or not self.settings.models or bool(self.session.tests())
        return self.settings.target_given and own

    def _given_targets(self) -> dict[str, Target]:
        """The profiles that this run was given, by name."""
        return {
            target.name: target
            for name in self.settings.target
            for target in self.targets.expand(name)
        }

    def _shown(self, path: Path) -> str:
        """A report's path as people at this terminal would type it."""
        here = self.config.invocation_params.dir
        return path.relative_to(here).as_posix() if path.is_relative_to(here) else str(path)

    def _width(self, reporter: pytest.TerminalReporter) -> int | None:
        """How wide the terminal is that somebody looks at; None of a file, a pipe, a log of CI."""
        if not reporter.isatty or os.environ.get("CI"):
            return None
        return self.config.get_terminal_writer().fullwidth

    def summarize(self, reporter: pytest.TerminalReporter) -> None:
        """Print the tables, then what needs to be seen in red."""
        reports = list(map(self._shown, self.settings.report))
        targets = self._given_targets().values()
        width = self._width(reporter)
        lines = list(terminal.summary_lines(self.session, targets, reports, width))
        more = list(self.baseline.lines())
        if lines or more:
            reporter.write_sep("-", "edgequant")
            for line in lines:
                # Names may hold newlines, and so begin a line that a workflow obeys.
                reporter.write_line(printable(line))
            for line, markup in more:
                reporter.write_line(printable(line), **markup)
            verdict, tone = terminal.headline_line(self.session)
            if verdict:
                reporter.write_line(printable(verdict), bold=True, **_MARKUP.get(tone, {}))
        for error in self._report_errors:
            reporter.write_line(printable(error), red=True)
        failures = [*self.session.failures, *self.baseline.annotations()]
        for line in github.annotation_lines(failures, self.config.rootpath):
            reporter.write_line(line)
        if self._nothing_gated:
            origin = self.settings.origins["target"]
            reporter.write_line(
                f"{origin}{' = ' if ':' in origin else '='}{','.join(self.settings.target)}: "
                "nothing was gated. No test made a check of this plugin, or all were skipped; this "
                "run says nothing of the target. Run the tests that gate (-m edge), or, to run "
                "others alone, leave the plugin out: -p no:edgequant",
                red=True,
                bold=True,
            )
