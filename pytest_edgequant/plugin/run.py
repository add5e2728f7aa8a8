"""One pytest run: its settings, and what is made of them once; its parts do the work."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from pytest_edgequant import context
from pytest_edgequant.configuration import Configuration, read_configuration
from pytest_edgequant.errors import EdgeQuantError, SettingsError, UnknownNameError
from pytest_edgequant.forms import get_spec
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.plugin import outcomes
from pytest_edgequant.plugin.baseline_gate import BaselineGate
from pytest_edgequant.plugin.closing import Closing
from pytest_edgequant.plugin.device_results import DeviceResults
from pytest_edgequant.plugin.handing_out import HandingOut
from pytest_edgequant.plugin.progress import progress_of
from pytest_edgequant.plugin.runtimes import boards_of
from pytest_edgequant.progress import Progress
from pytest_edgequant.records import Variant
from pytest_edgequant.report import RENDERERS, junit, needs_files
from pytest_edgequant.report import targets as targets_report
from pytest_edgequant.results.gathered import Event
from pytest_edgequant.results.session import Session
from pytest_edgequant.settings import OPTIONS, Settings, own_file, resolve
from pytest_edgequant.targets import Targets

if TYPE_CHECKING:
    from pytest_edgequant.gate.configured.tables import ModelTable

_RUNS_NO_TEST = (
    "collectonly",
    "setupplan",
    "setuponly",
    "showfixtures",
    "show_fixtures_per_test",
)


class Run:
    """The state of one run, reached from hooks and fixtures."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.session = Session(watched=True)
        self.is_worker = hasattr(config, "workerinput")
        self._pipeline: Pipeline | None = None
        self._damaged = 0
        self._unkept = ""
        self._filed: set[tuple[str, str, str, str]] = set()
        self._refused = False

    # -- settings -----------------------------------------------------------------------------

    @cached_property
    def configuration(self) -> Configuration:
        """What the project's files say; raises `SettingsError`."""
        config = self.config
        inipath = config.inipath
        pyproject = config.rootpath / "pyproject.toml"
        if inipath is not None and inipath.name == "pyproject.toml":
            pyproject = inipath
        return read_configuration(
            pyproject, own_file(config.rootpath, config.invocation_params.dir)
        )

    @cached_property
    def settings(self) -> Settings:
        config, found = self.config, self.configuration
        return resolve(
            {o.name: getattr(config.option, f"edgequant_{o.name}", None) for o in OPTIONS},
            {o.name: config.getini(o.ini) for o in OPTIONS},
            found.section,
            cwd=config.invocation_params.dir,
            rootdir=found.root,
            where=found.where,
            places=found.places,
        )

    @cached_property
    def models(self) -> list[ModelTable]:
        """The models that the configuration gates; raises `SettingsError`."""
        from pytest_edgequant.gate.configured.tables import read_models

        return read_models(self.configuration, self.targets)

    def check_settings(self) -> None:
        """Stop before collection on a setting that can't be meant."""
        try:
            self._check_targets()
            for name in self.settings.variant:
                get_spec(name, self.settings.origins["variant"])
            self.devices.results  # noqa: B018 - read now, so that a damaged file stops the run
            for path in self.settings.report:
                if path.suffix.lower() not in RENDERERS:
                    raise SettingsError(
                        f"{self.settings.origins['report']}: {path.name!r}: no format ends in "
                        f"{path.suffix!r}; known: {', '.join(RENDERERS)}"
                    )
            context.baseline = self.baseline.active
            if any(needs_files(path) for path in self.settings.report):
                context.file_of = self._file_of
        except EdgeQuantError as error:
            raise pytest.UsageError(str(error)) from None

    def _check_targets(self) -> None:
        """Raise `UnknownNameError` for a target that is not known, saying where it is named."""
        place = self.settings.origins.get("target", "")
        for name in self.settings.target:
            try:
                self.targets.expand(name)
            except UnknownNameError as error:
                if place.startswith("--"):
                    raise
                raise UnknownNameError(f"{place}: {error}") from None

    def refuse(self) -> None:
        """Write nothing at the end: the run was stopped for what can't be meant."""
        self._refused = True

    def target_lines(self) -> list[str]:
        try:
            return targets_report.target_lines(self.targets)
        except EdgeQuantError as error:
            raise pytest.UsageError(str(error)) from None

    def start(self) -> None:
        """Stop before collection where the baseline that was asked for can't be compared with."""
        try:
            self.baseline.check_file()
        except EdgeQuantError as error:
            self._refused = True
            raise pytest.UsageError(str(error)) from None

    # -- parts --------------------------------------------------------------------------------

    @cached_property
    def targets(self) -> Targets:
        return Targets(self.settings.user_targets, self.settings.place("targets"))

    @cached_property
    def devices(self) -> DeviceResults:
        return DeviceResults(self.settings.device_results, self.targets)

    @cached_property
    def handing_out(self) -> HandingOut:
        return HandingOut(self.settings, self.targets, lambda: self.pipeline, self.devices)

    @cached_property
    def baseline(self) -> BaselineGate:
        judges = self._runs_tests and not self.is_worker
        return BaselineGate(self.config, self.settings, self.targets, judges=judges)

    @cached_property
    def closing(self) -> Closing:
        return Closing(
            self.config, self.settings, self.targets, self.session, self.baseline, self.progress
        )

    @cached_property
    def progress(self) -> Progress:
        return progress_of(self.config)

    @property
    def pipeline(self) -> Pipeline:
        if self._pipeline is None:
            settings = self.settings
            pipeline = Pipeline(
                settings.cache_dir,
                no_cache=settings.no_cache,
                timeout=settings.timeout,
                targets=self.targets,
                dense_per_channel=settings.dense_per_channel,
                strip=settings.strip,
                arena_verify=settings.arena_verify,
                tflm_macs=settings.tflm_macs,
                progress=self.progress,
            )
            pipeline.cache  # noqa: B018 - each test fails where it can't be written to
            self._pipeline = pipeline
        return self._pipeline

    def close(self) -> None:
        if self._pipeline is not None:
            self._pipeline.close()

    # -- results ------------------------------------------------------------------------------

    def cache_events(self) -> list[Event]:
        """What the cache had to rebuild since the last call."""
        if self._pipeline is None:
            return []
        damaged = self._pipeline.cache.counts.damaged - self._damaged
        self._damaged += damaged
        unkept = self._pipeline.cache.counts.unkept
        if not damaged and unkept == self._unkept:
            return []
        self._unkept = unkept
        return [{"kind": "cache", "damaged": damaged, "unkept": unkept}]

    @staticmethod
    def told(item: pytest.Item, events: list[Event]) -> list[Event]:
        """What a test recorded, under each board that it is about."""
        boards = boards_of(item)
        return events if boards is None else [told for e in events for told in boards.told(e)]

    @staticmethod
    def check_boards(item: pytest.Item, events: Sequence[Event]) -> None:
        """Fail a test that passed where some board that it is about can't run what it judged."""
        boards = boards_of(item)
        reason = boards.failure(events) if boards is not None else ""
        if reason:
            failure = pytest.fail.Exception(reason, pytrace=False)
            failure.edgequant = True  # type: ignore[attr-defined]
            raise failure

    @staticmethod
    def add_properties(item: pytest.Item, events: Sequence[Event]) -> None:
        """Give the test what it measured and judged as properties, which JUnit XML shows."""
        junit.add_properties(item.user_properties, events)

    @staticmethod
    def tell(
        item: pytest.Item,
        report: pytest.TestReport,
        call: pytest.CallInfo[None],
        events: Sequence[Event],
    ) -> None:
        """Let the report of a test that uses the plugin say so, and what it came to."""
        outcomes.tell(item, report, call, events)

    def add_report(self, report: pytest.TestReport) -> None:
        """Take what a report of one phase of a test says; a worker's controller does."""
        if not self.is_worker:
            outcomes.add_report(self.session, report)

    @property
    def _runs_tests(self) -> bool:
        option = self.config.option
        return not any(getattr(option, name, False) for name in _RUNS_NO_TEST)

    def judge(self) -> None:
        """All tests are done: what only the whole run can tell."""
        if self._runs_tests:
            self.baseline.judge(self.session)

    def _file_of(self, variant: Variant) -> dict[str, Any] | None:
        """Where a variant's file is, for a report that shows its weights; once for each target."""
        target = variant.target.name if variant.target else ""
        key = variant.model_name, variant.name, target, variant.fingerprint
        if key in self._filed:
            return None
        self._filed.add(key)
        # The folder of a worker that keeps no cache is gone when the reports are written.
        lasting = not (self.is_worker and self.settings.no_cache)
        return {
            "fingerprint": variant.fingerprint,
            "path": str(variant.path),
            "content": None if lasting else variant.content,
        }

    def finish(self, pytest_session: pytest.Session) -> None:
        """Write what the run was asked for."""
        if self._runs_tests and not self._refused:
            self.closing.finish(pytest_session)

    def summarize(self, reporter: pytest.TerminalReporter) -> None:
        """Print what came of the run."""
        if self._runs_tests:
            self.closing.summarize(reporter)
