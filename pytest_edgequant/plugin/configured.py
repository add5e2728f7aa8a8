"""Gates that the configuration asks for, as items that pytest collects from its file.

They belong to runs of the whole suite: `pytest` without an argument, with a folder that holds the
file or all `testpaths`, and to runs that name the file. Registered where a model is configured.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pytest_edgequant.errors import (
    ConfigurationError,
    EdgeAssertionError,
    EdgeQuantError,
)
from pytest_edgequant.gate.configured.gates import Gate, Gates, PassedOverError

if TYPE_CHECKING:
    from pytest_edgequant.plugin.run import Run


class GateItem(pytest.Item):
    """One check of one variant of a configured model on one target."""

    def __init__(self, *, gate: Gate, gates: Gates, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gate = gate
        self._gates = gates
        self.add_marker("edge")
        self.extra_keyword_matches.update(
            (gate.model.name, gate.target.name, gate.variant, gate.check)
        )

    def runtest(self) -> None:
        """Run the check; a failure says which key of which file to edit."""
        try:
            self._gates.run(self.gate)
        except PassedOverError as error:
            pytest.skip(str(error))
        except EdgeAssertionError as error:
            message = f"{error}\n{self.gate.edit(error)}"
            told = type(error)(message, error.verdict, error.brief)
            raise told from None

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *_: Any) -> Any:
        """What failed, without a traceback: nobody wrote the code that it would show."""
        if isinstance(excinfo.value, EdgeAssertionError | EdgeQuantError):
            return excinfo.getrepr(style="value")
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[os.PathLike[str], int, str]:
        return self.path, self.gate.line - 1, self.name


class GateFile(pytest.File):
    """The configuration's file, with its gates."""

    gates: Gates
    planned: Sequence[Gate]

    def collect(self) -> Iterator[GateItem]:
        for gate in self.planned:
            # As text, so that pytest takes it apart as it does what it remembers of the last run.
            nodeid = f"{self.nodeid}::{gate.name}"
            yield GateItem.from_parent(
                self, name=gate.name, nodeid=nodeid, gate=gate, gates=self.gates
            )


class _WholeId(str):
    """An id in which no bracket begins parameters that end the id.

    pytest 9.2 takes ids apart at their first bracket, and puts one behind them where it shows them
    in its summary and in JUnit XML. Options that find items by ids (--lf) need them as it reads
    them, so that this is for what is shown.
    """

    __slots__ = ()

    def partition(self, sep: str) -> tuple[str, str, str]:
        if sep == "[":
            return str(self), "", ""
        head, found, tail = super().partition(sep)
        return head, found, _WholeId(tail)


class ConfiguredGates:
    """Hooks of runs with configured models."""

    def __init__(self, run: Run, gates: Gates) -> None:
        self._run = run
        self._gates = gates
        self._config = run.config

    # -- what is collected ------------------------------------------------------------------------

    @cached_property
    def _planned(self) -> list[Gate]:
        return self._gates.plan()

    @property
    def _files(self) -> list[Path]:
        return list(dict.fromkeys(model.file.path for model in self._gates.models))

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> GateFile | None:
        if file_path not in self._files:
            return None
        collected: GateFile = GateFile.from_parent(parent, path=file_path)
        collected.gates = self._gates
        collected.planned = [g for g in self._planned if g.model.file.path == file_path]
        return collected

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Let the files be collected where they belong to the run; stop on what can't be meant."""
        config = self._config
        wanted = [path for path in self._files if self._belongs(path)]
        try:
            if wanted or any(map(self._reaches, self._files)):
                self._planned  # noqa: B018 - planned now, so that what is wrong stops the run
        except EdgeQuantError as error:
            self._refuse(error)
        config.args[:] = [part for given in config.args for part in self._expanded(given)]
        config.args += [str(path) for path in wanted]

    def _argument(self, given: str) -> tuple[Path, str]:
        """The path of an argument, and what of it is selected."""
        path, separator, rest = given.partition("::")
        return Path(os.path.abspath(self._config.invocation_params.dir / path)), separator + rest

    def _reaches(self, file: Path) -> bool:
        """Whether an argument names the file or a folder above it, which collects it."""
        paths = (self._argument(given)[0] for given in self._config.args)
        return any(file == path or file.is_relative_to(path) for path in paths)

    def _belongs(self, file: Path) -> bool:
        """Whether a run that doesn't come by the file is one of the whole suite."""
        config = self._config
        if self._reaches(file) or getattr(config.option, "pyargs", False):
            return False
        if config.args_source is not config.ArgsSource.ARGS:
            return True
        named = [self._argument(given) for given in config.args]
        if any(selected or not path.is_dir() for path, selected in named):
            return False
        folders = [path for path, _ in named]
        whole = [config.rootpath / path for path in config.getini("testpaths")]
        if whole:
            return all(any(part.is_relative_to(f) for f in folders) for part in whole)
        return any(folder.parent == file.parent for folder in folders)

    def _expanded(self, given: str) -> list[str]:
        """An argument; one that names a variant on a target stands for all its checks."""
        file, selected = self._argument(given)
        if file not in self._files or not selected.endswith("]"):
            return [given]
        mine = [g for g in self._planned if g.model.file.path == file]
        path = given.partition("::")[0]
        names = [g.name for g in mine if f"::{g.name.rpartition('::')[0]}" == selected]
        return [f"{path}::{name}" for name in names] or [given]

    # -- before and while they run ----------------------------------------------------------------

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Load what the gates need before anything runs: one message says what is wrong."""
        if self._run.is_worker or self._config.option.collectonly:
            return  # the controller has no items, and stops at the first report of this kind
        try:
            self._gates.prepare(i.gate for i in session.items if isinstance(i, GateItem))
        except EdgeQuantError as error:
            self._refuse(error)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        error = call.excinfo.value if call.excinfo is not None else None
        if isinstance(item, GateItem):
            report.edgequant_name = item.name  # type: ignore[attr-defined]
            if isinstance(error, ConfigurationError):
                report.edgequant_misuse = str(error)  # type: ignore[attr-defined]
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(
        self, report: pytest.TestReport
    ) -> Generator[None, object, object]:
        name = getattr(report, "edgequant_name", None)
        nodeid = f"{report.nodeid.partition('::')[0]}::{name}"
        if name is not None:
            report.nodeid = nodeid
            self._name_in_junit(report, name)
        result = yield
        if name is not None:
            report.nodeid = _WholeId(nodeid)
        message = getattr(report, "edgequant_misuse", None)
        if message is not None and not self._run.is_worker:
            self._refuse(message)
        return result

    def _name_in_junit(self, report: pytest.TestReport, name: str) -> None:
        for plugin in self._config.pluginmanager.get_plugins():
            if type(plugin).__name__ == "LogXML" and hasattr(plugin, "node_reporter"):
                plugin.node_reporter(report).add_attribute("name", name)

    def _refuse(self, error: object) -> NoReturn:
        self._run.refuse()
        raise pytest.UsageError(str(error)) from None


def enter(run: Run) -> None:
    """Let the run have the gates of its configuration; raises `UsageError` for what is wrong."""
    try:
        gates = Gates(run.models, run.settings, run.targets, lambda: run.pipeline)
    except EdgeQuantError as error:
        raise pytest.UsageError(str(error)) from None
    run.config.pluginmanager.register(ConfiguredGates(run, gates), "edgequant-configured")
