"""One pytest run: its settings, its pipeline, what it recorded, and what it prints at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import linecache
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pytest_edgequant import context
from pytest_edgequant.api.latency import record_device
from pytest_edgequant.api.memory import for_target, refusals
from pytest_edgequant.context import Undefined
from pytest_edgequant.errors import (
    DeviceResultError,
    EdgeAssertionError,
    EdgeQuantError,
    NotDerivableError,
    SettingsError,
    user_facing,
)
from pytest_edgequant.measure.latency.device import (
    DeviceResult,
    measurement,
    parse_result,
    read_results,
)
from pytest_edgequant.measure.latency.records import DeviceMeasurement
from pytest_edgequant.measure.legality import variant_refused
from pytest_edgequant.pipeline.calibration import CalibrationRequest
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.plugin import parametrization
from pytest_edgequant.records import CalibrationRobustness, Failure, Outcome, Target, Variant
from pytest_edgequant.records.forms import get_spec
from pytest_edgequant.report import RENDERERS, github, junit, needs_files, terminal, write_report
from pytest_edgequant.report import targets as targets_report
from pytest_edgequant.results import session
from pytest_edgequant.results.gathered import Event
from pytest_edgequant.settings import OPTIONS, Settings, read_section, resolve
from pytest_edgequant.targets import DEFAULT_TARGET, Targets
from pytest_edgequant.wording import printable

if TYPE_CHECKING:
    from pytest_edgequant.plugin.baseline_gate import BaselineGate

NO_TESTS_COLLECTED = 5
_MOST_DECORATORS = 100
"""Lines of decorators that are looked through for the test below them."""
_MARKUP = {"good": {"green": True}, "bad": {"red": True}, "unsure": {"yellow": True}}
_recorded_key: pytest.StashKey[bool] = pytest.StashKey()
_RUNS_NO_TEST = (
    "collectonly",
    "setupplan",
    "setuponly",
    "showfixtures",
    "show_fixtures_per_test",
)


def _stop(error: Exception) -> NoReturn:
    """Fail the test with the message alone: the traceback would be ours."""
    misuse = isinstance(error, SettingsError | pytest.UsageError)
    kind = "UsageError" if misuse else type(error).__name__
    raise pytest.fail.Exception(f"{kind}: {error}", pytrace=False) from None


def _not_parametrized(fixture: str, choices: str, otherwise: str) -> pytest.UsageError:
    return pytest.UsageError(
        f"{fixture} was asked for where pytest can't parametrize (getfixturevalue, or a unittest "
        f"class), and there are several: {choices}. Make it an argument of a test function, or "
        f"{otherwise}"
    )


def _on_board(variant: Any, target: Any) -> tuple[Variant, Target]:
    loaded, profile = for_target(variant, target)
    if profile is None:
        raise SettingsError(f"{loaded.label}: a device result needs a target; give one")
    return loaded, profile


def _definition(path: Path, first: int) -> int:
    """The line of a test's `def`, from 1: pytest gives that of its first decorator."""
    for number in range(first, first + _MOST_DECORATORS):
        if linecache.getline(str(path), number).lstrip().startswith(("def ", "async def ")):
            return number
    return first


class Run:
    """The state of one run, reached from hooks and fixtures."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.session = session.Session(watched=True)
        self.is_worker = hasattr(config, "workerinput")
        self._pipeline: Pipeline | None = None
        self._damaged = 0
        self._report_errors: list[str] = []
        self._filed: set[tuple[str, str, str, str]] = set()
        self._nothing_gated = False
        self._refused = False

    # -- settings -----------------------------------------------------------------------------

    @cached_property
    def settings(self) -> Settings:
        config = self.config
        inipath = config.inipath
        pyproject = config.rootpath / "pyproject.toml"
        if inipath is not None and inipath.name == "pyproject.toml":
            pyproject = inipath
        return resolve(
            {o.name: getattr(config.option, f"edgequant_{o.name}", None) for o in OPTIONS},
            {o.name: config.getini(o.ini) for o in OPTIONS},
            read_section(pyproject),
            cwd=config.invocation_params.dir,
            rootdir=pyproject.parent,
            where=f"{pyproject.name}: [tool.edgequant]",
        )

    def check_settings(self) -> None:
        """Stop before collection on a setting that can't be meant."""
        try:
            targets = self.targets
            for name in self.settings.target:
                targets.expand(name)
            for name in self.settings.variant:
                get_spec(name, self.settings.origins["variant"])
            self._device_results  # noqa: B018 - read now, so that a damaged file stops the run
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

    def start(self) -> None:
        """Stop before collection where the baseline that was asked for can't be compared with."""
        try:
            self.baseline.check_file()
        except EdgeQuantError as error:
            self._refused = True
            raise pytest.UsageError(str(error)) from None

    @cached_property
    def baseline(self) -> BaselineGate:
        from pytest_edgequant.plugin.baseline_gate import BaselineGate

        judges = self._runs_tests and not self.is_worker
        return BaselineGate(self.config, self.settings, self.targets, judges=judges)

    @cached_property
    def targets(self) -> Targets:
        return Targets(self.settings.user_targets, self.settings.where)

    def target_lines(self) -> list[str]:
        try:
            return targets_report.target_lines(self.targets)
        except EdgeQuantError as error:
            raise pytest.UsageError(str(error)) from None

    @property
    def pipeline(self) -> Pipeline:
        if self._pipeline is None:
            settings = self.settings
            self._pipeline = Pipeline(
                settings.cache_dir,
                no_cache=settings.no_cache,
                timeout=settings.timeout,
                targets=self.targets,
                dense_per_channel=settings.dense_per_channel,
                arena_verify=settings.arena_verify,
                tflm_macs=settings.tflm_macs,
                progress=self._progress,
            )
        return self._pipeline

    def close(self) -> None:
        if self._pipeline is not None:
            self._pipeline.close()

    @contextlib.contextmanager
    def _progress(self, what: str) -> Iterator[None]:
        """A line on a terminal while something takes its time; nothing in logs of CI."""
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        capture = self.config.pluginmanager.get_plugin("capturemanager")
        if reporter is None or self.is_worker or os.environ.get("CI") or not reporter.isatty:
            yield
            return
        text = f"[edgequant] {what} ..."[: shutil.get_terminal_size().columns - 1]

        def show(line: str) -> None:
            suspended = (
                capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
            )
            with suspended:
                reporter.write(line, flush=True)

        show(f"\r{text}")
        try:
            yield
        finally:
            show(f"\r{' ' * len(text)}\r")

    # -- collection ---------------------------------------------------------------------------

    def _marker(self, node: Any) -> parametrization.EdgeMarker:
        return parametrization.read_marker(node.get_closest_marker("edge"), node.nodeid)

    def _target_names(self, marker: parametrization.EdgeMarker) -> list[str]:
        names = marker.target or self.settings.target or (DEFAULT_TARGET,)
        return parametrization.union(
            [target.name for target in self.targets.expand(name)] for name in names
        )

    def _variant_names(
        self, marker: parametrization.EdgeMarker, target: Target
    ) -> tuple[Sequence[str], bool]:
        """The variants of a target, and whether they were asked for by name."""
        named = marker.variant or self.settings.variant
        if named:
            return parametrization.union([[get_spec(name).name for name in named]]), True
        return target.variants, False

    def parametrize(self, metafunc: pytest.Metafunc) -> None:
        """Give the test its targets and variants."""
        try:
            marker = self._marker(metafunc.definition)
            targets = self._target_names(marker)
            for name in marker.variant:
                get_spec(name)
            if "edge_target" in metafunc.fixturenames:
                parametrization.add_parameters(metafunc, "edge_target", targets, "session")
            if "edge_variant" in metafunc.fixturenames:
                given = parametrization.users_values(metafunc.definition, "edge_target")
                profiles = [self._profile(target) for target in given or targets]
                names = parametrization.union(
                    [self._variant_names(marker, profile)[0] for profile in profiles]
                )
                parametrization.add_parameters(metafunc, "edge_variant", names, "function")
        except EdgeQuantError as error:
            place = metafunc.definition.nodeid
            text = str(error) if place in str(error) else f"{place}: {error}"
            raise pytest.Collector.CollectError(text) from None

    def _profile(self, target: Any) -> Target:
        return target if isinstance(target, Target) else self.targets.get(str(target))

    def wanted(self, item: pytest.Item) -> bool:
        """Whether the item's variant is one of its target's: targets have different ones."""
        params = getattr(getattr(item, "callspec", None), "params", {})
        target, variant = params.get("edge_target"), params.get("edge_variant")
        if target is None or not isinstance(variant, str):
            return True
        if parametrization.is_users(item, "edge_variant"):
            return True
        names, _ = self._variant_names(self._marker(item), self._profile(target))
        return variant in names

    # -- fixtures -----------------------------------------------------------------------------

    def target(self, request: pytest.FixtureRequest) -> Target:
        """The target of this test: its parameter, else the only one there is."""
        try:
            param = getattr(request, "param", None)
            if isinstance(param, Target):
                return param
            if param is not None:
                return self.targets.get(param)
            names = self._target_names(parametrization.EdgeMarker())
        except EdgeQuantError as error:
            _stop(error)
        if len(names) > 1:
            _stop(_not_parametrized("edge_target", ", ".join(names), "give one --edge-target"))
        return self.targets.get(names[0])

    def variant(
        self, request: pytest.FixtureRequest, target: Target, model: tuple[Any, str]
    ) -> Variant:
        """The variant of this test's parameter; one the target can't run is skipped."""
        param = getattr(request, "param", None)
        if isinstance(param, Variant):
            given = dataclasses.replace(param, target=target)
            session.record_variant(given)
            return given
        try:
            marker = self._marker(request.node)
            target = self._marked_target(request, target)
            names, named = self._variant_names(marker, target)
            if param is None and len(names) > 1:
                raise _not_parametrized(
                    "edge_variant",
                    f"{target.name} has {', '.join(names)}",
                    "give one --edge-variant, or use a named fixture such as edge_int8",
                )
            name = get_spec(names[0] if param is None else str(param)).name
        except (EdgeQuantError, pytest.UsageError) as error:
            _stop(error)
        named = named or parametrization.is_users(request.node, "edge_variant")
        return self._hand_out(request, target, model, name, named)

    def named_variant(
        self, request: pytest.FixtureRequest, target: Target, model: tuple[Any, str], name: str
    ) -> Variant:
        """The variant of a fixture such as edge_int8: handed out whatever the target says."""
        try:
            target = self._marked_target(request, target)
        except (EdgeQuantError, pytest.UsageError) as error:
            _stop(error)
        return self._hand_out(request, target, model, name, named=True)

    def _marked_target(self, request: pytest.FixtureRequest, target: Target) -> Target:
        """The target that a marker names, where pytest could not parametrize the test by it."""
        marker = self._marker(request.node)
        params = getattr(getattr(request.node, "callspec", None), "params", {})
        if not marker.target or "edge_target" in params:
            return target
        names = self._target_names(marker)
        if len(names) > 1:
            raise _not_parametrized("edge_target", ", ".join(names), "name one in the marker")
        return self.targets.get(names[0])

    def _hand_out(
        self,
        request: pytest.FixtureRequest,
        target: Target,
        model: tuple[Any, str],
        name: str,
        named: bool,
    ) -> Variant:
        source, model_name = model
        refused = variant_refused(name, target)
        if refused is not None and not named:
            self._skip_illegal(model_name, name, target, refused)
        try:
            variant = self.pipeline.variant(
                source,
                name,
                self._calibration(request),
                model_name=model_name,
                target=target,
            )
            reasons = [] if named else refusals(variant, target)
        except NotDerivableError as error:
            if not named:
                session.record_skip(model_name, name, target.name, "source", str(error))
                pytest.skip(str(error))
            session.record_use(model_name, name, target.name)
            _stop(error)
        except EdgeQuantError as error:
            session.record_use(model_name, name, target.name)
            _stop(error)
        except Exception:
            session.record_use(model_name, name, target.name)
            raise
        if reasons:
            self._skip_illegal(model_name, name, target, "; ".join(reasons))
        session.record_variant(variant)
        # What a board measured of it is shown, whether or not a test gates on it.
        if any(result.model_sha256 == variant.fingerprint for result in self._device_results):
            with contextlib.suppress(DeviceResultError):
                found = measurement(self._device_results, variant, target)
                if found.metric.value is not None:
                    record_device(found)
        return variant

    def calibration_gate(
        self, request: pytest.FixtureRequest, target: Target, model: tuple[Any, str]
    ) -> Callable[..., CalibrationRobustness]:
        """What the fixture edge_calibration_robustness gives: a function that measures and gates.

        It loads what it needs when it is called, and raises at the caller's line.
        """
        source, model_name = model

        @user_facing
        def gate(
            max_drop: float | str = 0.02,
            *,
            variant: str = "int8",
            subsets: int = 3,
            sizes: Sequence[int] | None = None,
            seed: int = 0,
        ) -> CalibrationRobustness:
            from pytest_edgequant.diagnose.robustness import calibration_robustness
            from pytest_edgequant.gate.deployment import assert_calibration_robust

            dataset = request.getfixturevalue("edge_dataset")
            calibrated = self.pipeline.variant(
                source,
                variant,
                dataclasses.replace(
                    self._calibration(request), dataset=lambda: dataset, split_applies=True
                ),
                model_name=model_name,
                target=target,
            )
            if calibrated.calibration is None:
                raise SettingsError(
                    f"edge_calibration_robustness: {calibrated.label} is not calibrated here; it "
                    "needs a float model, and an integer variant"
                )
            found = calibration_robustness(
                source,
                calibrated.calibration,
                dataset,
                variant=variant,
                subsets=subsets,
                sizes=sizes,
                seed=seed,
                metric=request.getfixturevalue("edge_metric"),
                name=model_name,
                target=target,
                where="edge_model",
            )
            session.record_variant(found.variant)
            assert_calibration_robust(found, max_drop)
            return found

        return gate

    @staticmethod
    def _skip_illegal(model: str, variant: str, target: Target, reason: str) -> NoReturn:
        message = f"{model}/{variant} cannot run on {target.name}: {reason}"
        session.record_skip(
            model, variant, target.name, "runs", message, outcome=Outcome.CANNOT_RUN
        )
        pytest.skip(message)

    @staticmethod
    def _calibration(request: pytest.FixtureRequest) -> CalibrationRequest:
        def value_of(name: str) -> Any:
            value = request.getfixturevalue(name)
            return None if isinstance(value, Undefined) else value

        # Asked for only where needed: a test of the size alone must not load a dataset.
        evaluated = "edge_dataset" in request.fixturenames
        return CalibrationRequest(
            samples=lambda: value_of("edge_calibration"),
            training=lambda: value_of("edge_training"),
            dataset=lambda: value_of("edge_dataset"),
            preprocess=lambda: value_of("edge_preprocess"),
            split_applies=evaluated and value_of("edge_calibration") is None,
        )

    # -- what boards measured -----------------------------------------------------------------

    @cached_property
    def _device_results(self) -> list[DeviceResult]:
        path = self.settings.device_results
        return [] if path is None else read_results(path, self.targets)

    @user_facing
    def device_result(self, variant: Any, target: Any) -> DeviceMeasurement:
        """The measurement of a variant in --edge-device-results, recorded."""
        loaded, profile = _on_board(variant, target)
        return record_device(measurement(self._device_results, loaded, profile))

    @user_facing
    def dut_result(self, line: bytes, variant: Any, target: Any) -> DeviceMeasurement:
        """The measurement of a variant in a line that a board has just printed, recorded."""
        loaded, profile = _on_board(variant, target)
        result = parse_result(line, "dut")
        self.targets.get(result.target)
        found = measurement([result], loaded, profile)
        if found.metric.value is None:
            raise DeviceResultError(
                f"dut: the board says that it is {result.target!r}, this test is for "
                f"{profile.name!r}"
            )
        return record_device(found)

    # -- results ------------------------------------------------------------------------------

    def cache_events(self) -> list[Event]:
        """What the cache had to rebuild since the last call."""
        if self._pipeline is None:
            return []
        damaged = self._pipeline.cache.counts.damaged - self._damaged
        self._damaged += damaged
        return [{"kind": "cache", "damaged": damaged}] if damaged else []

    def add_report(self, report: pytest.TestReport) -> None:
        """Take what a report of one phase of a test says: what was recorded, and how it ended."""
        if self.is_worker:
            return
        test, died = report.nodeid, report.when not in ("setup", "call", "teardown")
        if report.when == "setup":
            self.session.begin(test)
        self.session.add(getattr(report, "edgequant_events", ()), test)
        if not (died or hasattr(report, "edgequant_gate")):
            return
        found = getattr(report, "edgequant_failure", None)
        if report.failed:
            state = "failed" if report.when == "call" else "error"
            if found is None and not died and self.session.has_failed(test):
                self.session.end(test, state)  # pytest's own word on subtests that are here already
                return
            failure = self._plain_failure(report) if found is None else Failure(**found)
            self.session.fail(failure, state)
        elif hasattr(report, "wasxfail"):
            message = "" if found is None else found["message"]
            self.session.end(test, "xfailed" if report.skipped else "xpassed", message)
        elif report.skipped or report.passed:  # and not to be run again
            self.session.end(test, report.outcome)

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

    @staticmethod
    def add_properties(item: pytest.Item, events: list[Event]) -> None:
        """Give the test what it measured and judged as properties, which JUnit XML shows."""
        junit.add_properties(item.user_properties, events)

    @staticmethod
    def is_gate(item: pytest.Item, events: Sequence[Event]) -> bool:
        """Whether a test uses the plugin: by its fixtures and marker, or by what it recorded."""
        if any(event["kind"] != "cache" for event in events):
            item.stash[_recorded_key] = True
        return item.stash.get(_recorded_key, False) or item.get_closest_marker("edge") is not None

    @staticmethod
    def failure(
        item: pytest.Item, report: pytest.TestReport, call: pytest.CallInfo[None]
    ) -> dict[str, Any]:
        """What a failed test came to, as plain data that xdist carries."""
        file, line, _ = report.location
        message = report.longreprtext
        if call.excinfo is not None:
            error = call.excinfo.value
            # Our own errors are whole sentences; of others, pytest's own account is shorter.
            ours = isinstance(error, EdgeQuantError | EdgeAssertionError | pytest.fail.Exception)
            message = str(error) if ours else call.excinfo.exconly(tryshort=True)
        place = None if line is None else _definition(item.path, line + 1)
        failure = Failure(report.nodeid, file.replace(os.sep, "/"), place, message)
        return dataclasses.asdict(failure)

    @staticmethod
    def _plain_failure(report: pytest.TestReport) -> Failure:
        """The failure of a report that nobody of ours has seen: a worker died, a plugin made it."""
        file, line, _ = report.location
        place = None if line is None else line + 1
        return Failure(report.nodeid, file.replace(os.sep, "/"), place, report.longreprtext)

    def finish(self, pytest_session: pytest.Session) -> None:
        """Write the reports, and turn a run that gated nothing red."""
        if not self._runs_tests or self._refused:
            return
        self.baseline.compare(self.session)
        self.baseline.save(self.session)
        gated_nothing = self.settings.target_given and self.session.gated == 0
        if gated_nothing and pytest_session.exitstatus in (0, NO_TESTS_COLLECTED):
            self._nothing_gated = True
            pytest_session.exitstatus = NO_TESTS_COLLECTED
        self.session.targets = self._given_targets()
        self.session.exit_status = int(pytest_session.exitstatus)
        for path in self.settings.report:
            self._report_errors += write_report(path, self.session)
        self._report_errors += github.write_summary(self.session)

    def _given_targets(self) -> dict[str, Target]:
        """The profiles that this run was given, by name."""
        return {
            target.name: target
            for name in self.settings.target
            for target in self.targets.expand(name)
        }

    def summarize(self, reporter: pytest.TerminalReporter) -> None:
        """Print the tables, then what needs to be seen in red."""
        if not self._runs_tests:
            return
        lines = list(terminal.summary_lines(self.session, self._given_targets().values()))
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
