"""The pytest side: options, the marker, hooks. What they do lives in `run`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from typing import Any

import pytest

from pytest_edgequant import context
from pytest_edgequant.plugin import fixtures, latency_fixtures
from pytest_edgequant.plugin.current import get_run as get_run
from pytest_edgequant.plugin.current import keep_collected, made_run
from pytest_edgequant.plugin.fixtures import PARAMETRIZED
from pytest_edgequant.settings import OPTIONS, is_misspelt, misspelt_section, own_file
from pytest_edgequant.wording import one_line

_INI_TYPES: dict[str, Any] = {
    "names": "args",
    "paths": "args",
    "path": "string",
    "flag": "bool",
    "seconds": "string",
    "count": "string",
}
_MARKER = (
    "edge(*, target=None, variant=None): gate on these targets and variants (a name or a list of "
    "names) whatever the command line says; every test that uses an edge_* fixture has it, so that "
    "`-m edge` selects them"
)
_KEY = re.compile(r"^\s*(\w+)\s*=", re.MULTILINE)
_OUR_ERROR = re.compile(r"pytest_edgequant\.(?:\w+\.)*(?=\w+: )")
"""How Python's account of one of our errors begins."""
_PHASES = ("setup", "call", "teardown")
_outer_key: pytest.StashKey[Any] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Every option, with its ini twin."""
    group = parser.getgroup("edgequant", "edge ML: quantized models and their targets")
    for option in OPTIONS:
        if option.kind == "flag":
            arguments: dict[str, Any] = {"action": "store_true"}
        else:
            action = "append" if option.many else "store"
            arguments = {"action": action, "metavar": option.metavar}
        dest = f"edgequant_{option.name}"
        group.addoption(option.flag, dest=dest, default=None, help=option.help, **arguments)
        parser.addini(option.ini, option.help, type=_INI_TYPES[option.kind], default=None)
    group.addoption(
        "--edge-list-targets",
        action="store_true",
        help="print the known targets as a table, and exit",
    )


def _configured(config: pytest.Config) -> bool:
    """Whether anything of ours is set anywhere, told without loading anything."""
    if any(getattr(config.option, f"edgequant_{o.name}", None) for o in OPTIONS):
        return True
    if any(config.getini(option.ini) for option in OPTIONS):
        return True
    if own_file(config.rootpath, config.invocation_params.dir).is_file():
        return True
    try:
        content = (config.rootpath / "pyproject.toml").read_bytes()
    except OSError:
        return False
    return b"tool.edgequant" in content or misspelt_section(content) is not None


def _refuse_misspelt(config: pytest.Config) -> None:
    """Stop on an ini value that nobody reads and that must be one of ours, misspelt."""
    if config.inipath is None:
        return
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for key in dict.fromkeys(_KEY.findall(config.inipath.read_text("utf-8"))):
            meant = [option.ini for option in OPTIONS if is_misspelt(key, option.ini)]
            if meant and not _is_known(config, key):
                raise pytest.UsageError(
                    f"{config.inipath.name}: unknown option {key!r}. "
                    f"Did you mean {', '.join(meant)}?"
                )


def _is_known(config: pytest.Config, key: str) -> bool:
    """Whether some plugin reads an ini value of that name."""
    try:
        config.getini(key)
    except ValueError:
        return False
    return True


def pytest_configure(config: pytest.Config) -> None:
    """Set this run beside an outer one, which runs it within its own process."""
    config.addinivalue_line("markers", _MARKER)
    config.stash[_outer_key] = (
        context.pipeline_factory,
        context.file_of,
        context.baseline,
        context.datasets,
        context.root,
    )
    context.baseline, context.datasets = False, set()
    context.pipeline_factory = lambda: get_run(config).pipeline
    context.root = str(config.rootpath)
    context.file_of = None
    config.pluginmanager.register(fixtures, "edgequant-fixtures")
    latency_fixtures.register(config)
    _refuse_misspelt(config)
    if _configured(config):
        run = get_run(config)
        run.check_settings()
        if run.settings.models:
            from pytest_edgequant.plugin import configured

            configured.enter(run)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the children of this run, and give back to the outer one what was its own."""
    run = made_run(config)
    if run is not None:
        run.close()
    if _outer_key in config.stash:
        (
            context.pipeline_factory,
            context.file_of,
            context.baseline,
            context.datasets,
            context.root,
        ) = config.stash[_outer_key]


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """List the targets instead of running tests, where that was asked for."""
    if not config.option.edge_list_targets:
        return None
    for line in get_run(config).target_lines():
        print(line)
    return 0


# -- collection: converts nothing ---------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, obj: object
) -> Generator[None, Any, Any]:
    """Let the user parametrize our fixtures by name."""
    if _marked(collector, obj):
        from pytest_edgequant.plugin import parametrization

        parametrization.make_indirect(collector, obj)
    result = yield
    if isinstance(result, list) and any(_uses_variant(item) for item in result):
        return [item for item in result if get_run(collector.config).handing_out.wanted(item)]
    return result


def _marked(collector: pytest.Collector, obj: object) -> bool:
    if getattr(obj, "pytestmark", None):
        return True
    return any(mark.name == "parametrize" for mark in collector.iter_markers())


def _uses_variant(item: object) -> bool:
    return "edge_variant" in getattr(item, "fixturenames", ())


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give tests their targets and variants."""
    marked = metafunc.definition.get_closest_marker("edge") is not None
    if marked or not PARAMETRIZED.isdisjoint(metafunc.fixturenames):
        get_run(metafunc.config).handing_out.parametrize(metafunc)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what uses our fixtures, so that `-m edge` finds it."""
    names = getattr(item, "fixturenames", ())
    if not PARAMETRIZED.isdisjoint(names) and item.get_closest_marker("edge") is None:
        item.add_marker("edge")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, object, object]:
    """Let `-k` find forms by name, and note what was collected, before any is deselected."""
    keep_collected(config, items)
    if not getattr(config.option, "keyword", ""):
        return (yield)
    from pytest_edgequant.plugin.keywords import forms_by_name

    with forms_by_name(config, items):
        return (yield)


# -- running ------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Collect what a test records."""
    outer, context.events = context.events, []
    try:
        return (yield)
    finally:
        context.events = outer


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach to a report what its test recorded."""
    run = made_run(item.config)
    if run is not None and context.events:
        context.events = run.told(item, context.events)
        # Before the report is made, which takes a copy: JUnit XML has them from there.
        run.add_properties(item, context.events)
    report = yield
    _reason_first(report, call.excinfo.value if call.excinfo is not None else None)
    events = [*(context.events or ()), *(run.cache_events() if run is not None else ())]
    if events:
        # Travels with the report, so that a crashing xdist worker loses nothing it had measured.
        report.edgequant_events = events  # type: ignore[attr-defined]
        context.events = []
    if run is not None:
        run.tell(item, report, call, events)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """What passed on one board of a runtime must hold on each that the test is about."""
    __tracebackhide__ = True
    result = yield
    run = made_run(item.config)
    if run is not None and context.events:
        run.check_boards(item, context.events)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Begin the line of a module that could not be collected with the reason."""
    report = yield
    _reason_first(report)
    return report


def _reason_first(
    report: pytest.TestReport | pytest.CollectReport, error: BaseException | None = None
) -> None:
    """Let the line of pytest's short summary begin with what failed, and by how much.

    pytest cuts it where the terminal ends: neither where our error is defined nor the subject,
    which the test's id names, may come first. The account of the crash is part of the report, so
    that it goes through xdist as well.
    """
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return
    ours = _OUR_ERROR.match(crash.message)
    if ours is not None:
        told = crash.message[ours.end() :]
        if isinstance(error, AssertionError):
            # What is inconclusive has no such words: it begins with what to do.
            brief = getattr(error, "brief", "")
            told = f"{brief}\n{told}" if brief else str(error)
        crash.message = one_line(told)
    elif getattr(error, "edgequant", False):
        crash.message = one_line(str(error))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Judge the whole run when all tests have ended."""
    result = yield
    run = made_run(session.config)
    if run is not None and not run.is_worker:
        run.judge()
    return result


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the reports, and let a gate that judged nothing fail."""
    run = made_run(session.config)
    if run is not None and not run.is_worker:
        run.finish(session)


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(config: pytest.Config) -> tuple[str, str, str] | None:
    """Show the items of a baseline's gate as what they are."""
    run = made_run(config)
    return run.baseline.status() if run is not None else None


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse a baseline that can not be compared with, before anything runs."""
    run = made_run(session.config)
    if run is not None:
        run.start()
    session.config.pluginmanager.register(_Reports(session.config), "edgequant-reports")


class _Reports:
    """Hooks that pytest calls without a config, and a second one of a name."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> bool | None:
        if not _uses_variant(item):
            return None
        return get_run(self.config).handing_out.files.pass_over(item, nextitem) or None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        run = made_run(self.config)
        # A worker that died had no time to say what the test was about.
        died = report.when not in _PHASES and report.failed and run is not None
        if died or hasattr(report, "edgequant_events") or hasattr(report, "edgequant_gate"):
            get_run(self.config).add_report(report)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print what the run came to."""
    run = made_run(config)
    if run is not None:
        run.summarize(terminalreporter)
