"""Options: command line, ini, [tool.edgequant], and what can't be meant."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from edge_project import Project

from pytest_edgequant.plugin.hooks import get_run
from pytest_edgequant.settings import OPTIONS, Settings

# One value for each option, as it is written in each place, and what it then is.
CASES: dict[str, tuple[str, Any]] = {
    "target": ("nano33ble", ("nano33ble",)),
    "variant": ("int8", ("int8",)),
    "report": ("out.json", ("out.json",)),
    "baseline": ("base.json", "base.json"),
    "save_baseline": ("base.json", "base.json"),
    "baseline_optional": ("true", True),
    "baseline_prune": ("true", True),
    "strict": ("true", True),
    "cache_dir": ("somewhere", "somewhere"),
    "no_cache": ("true", True),
    "dense_per_channel": ("true", True),
    "strip": ("true", True),
    "arena_verify": ("true", True),
    "device_results": ("results.jsonl", "results.jsonl"),
    "timeout": ("7.5", 7.5),
    "tflm_macs": ("2e6", 2_000_000),
}


RESULT = {"model_sha256": 64 * "0", "target": "nano33ble", "latency_us": 1}


@pytest.fixture(autouse=True)
def _results(request: pytest.FixtureRequest) -> None:
    """The file of device results that the cases name: it is read before anything runs."""
    if "device_results" in request.node.nodeid:
        path = request.getfixturevalue("pytester").path / "results.jsonl"
        path.write_text(json.dumps(RESULT), encoding="utf-8")


def _settings(pytester: pytest.Pytester, *args: str) -> Settings:
    return get_run(pytester.parseconfigure(*args)).settings


def _plain(value: Any, base: Path) -> Any:
    if isinstance(value, tuple):
        return tuple(_plain(v, base) for v in value)
    return value.relative_to(base).as_posix() if isinstance(value, Path) else value


def test_every_option_has_a_case_here() -> None:
    assert set(CASES) == {option.name for option in OPTIONS}


def test_help_lists_every_flag_and_every_ini_key(project: Project) -> None:
    text = project.run("--help").stdout.str()
    for option in OPTIONS:
        assert option.flag in text
        assert option.ini in text
    assert "--edge-list-targets" in text


def test_the_marker_is_listed_and_explained(project: Project) -> None:
    result = project.run("--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.edge(*, target=None, variant=None):*"])


def test_fixtures_are_listed_with_their_docstrings(project: Project) -> None:
    text = project.run("--fixtures").stdout.str()
    for name in ("edge_model", "edge_dataset", "edge_calibration", "edge_metric"):
        assert f"{name} [session scope]" in text
    for name in ("edge_variant", "edge_int8", "edge_float32", "edge_model_name", "edge_benchmark"):
        assert f"\n{name} -- " in text
    assert "no docstring available" not in text.split("edge_")[1]
    assert "fixtures defined from pytest_edgequant.plugin.fixtures" in text


@pytest.mark.parametrize("name", CASES)
def test_every_option_has_a_flag(pytester: pytest.Pytester, name: str) -> None:
    given, expected = CASES[name]
    flag = f"--edge-{name.replace('_', '-')}"
    settings = _settings(pytester, flag if expected is True else f"{flag}={given}")
    assert _plain(getattr(settings, name), pytester.path) == expected


@pytest.mark.parametrize("name", CASES)
def test_every_option_has_an_ini_twin(pytester: pytest.Pytester, name: str) -> None:
    given, expected = CASES[name]
    pytester.makeini(f"[pytest]\nedge_{name} = {given}\n")
    assert _plain(getattr(_settings(pytester), name), pytester.path) == expected


@pytest.mark.parametrize("name", CASES)
def test_every_option_has_a_toml_twin(pytester: pytest.Pytester, name: str) -> None:
    given, expected = CASES[name]
    bare = expected is True or isinstance(expected, float)
    value = given if bare else json.dumps([given] if isinstance(expected, tuple) else given)
    pytester.makepyprojecttoml(f"[tool.edgequant]\n{name} = {value}\n")
    assert _plain(getattr(_settings(pytester), name), pytester.path) == expected


def test_toml_keys_may_have_dashes(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml('[tool.edgequant]\ncache-dir = "somewhere"\n')
    assert _settings(pytester).cache_dir == pytester.path / "somewhere"


def test_the_section_is_read_beside_another_ini_file(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\n")
    pytester.makepyprojecttoml('[tool.edgequant]\ntarget = "pico"\n')
    assert _settings(pytester).target == ("pico",)


def test_names_are_repeatable_and_comma_separated(pytester: pytest.Pytester) -> None:
    settings = _settings(pytester, "--edge-target=nano33ble,rpi4", "--edge-target", "pico")
    assert settings.target == ("nano33ble", "rpi4", "pico")


def test_command_line_wins_over_ini_and_ini_over_toml(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml('[tool.edgequant]\ntarget = "rpi4"\nvariant = "int16x8"\n')
    pytester.makeini("[pytest]\nedge_target = nano33ble\n")
    assert _settings(pytester).target == ("nano33ble",)
    assert _settings(pytester, "--edge-target=pico").target == ("pico",)
    assert _settings(pytester, "--edge-target=pico").variant == ("int16x8",)


def test_a_false_ini_flag_wins_over_a_true_toml_flag(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml("[tool.edgequant]\nno_cache = true\n")
    assert _settings(pytester).no_cache
    pytester.makeini("[pytest]\nedge_no_cache = false\n")
    assert not _settings(pytester).no_cache


@pytest.mark.parametrize("place", ["ini", "toml"])
def test_flags_that_are_not_given_hide_nothing(pytester: pytest.Pytester, place: str) -> None:
    if place == "ini":
        pytester.makeini("[pytest]\nedge_no_cache = true\nedge_dense_per_channel = true\n")
    else:
        pytester.makepyprojecttoml(
            "[tool.edgequant]\nno_cache = true\ndense_per_channel = true\ntimeout = 5\n"
        )
    settings = _settings(pytester, "--edge-target=pico", "-q")
    assert settings.no_cache
    assert settings.dense_per_channel
    assert settings.timeout == (900 if place == "ini" else 5)


def test_a_configured_target_counts_as_given(pytester: pytest.Pytester) -> None:
    assert not _settings(pytester).target_given
    assert _settings(pytester, "--edge-target=pico").target_given
    pytester.makeini("[pytest]\nedge_target = pico\n")
    assert _settings(pytester).target_given


def test_paths_are_relative_to_where_they_stand(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini("[pytest]\nedge_cache_dir = cache\n")
    inside = pytester.mkdir("inside")
    monkeypatch.chdir(inside)
    settings = _settings(pytester, "--edge-report=out.json")
    assert settings.report == (inside / "out.json",)
    assert settings.cache_dir == pytester.path / "cache"


BAD_CONFIGURATION = {
    "unknown key": ('tagret = "pico"', "*unknown key 'tagret'. Did you mean target*"),
    "unknown target": ('target = "pcio"', "*unknown target 'pcio'. Did you mean pico*"),
    "unknown variant": ('variant = "int9"', "*unknown variant 'int9'. Did you mean int8*"),
    "report's ending": ('report = "out.xml"', "*no format ends in '.xml'; known: .json*"),
    "not a name": ("target = 3", "*target: expected a name or a list of names, got 3*"),
    "not a time": ("timeout = -1", "*timeout: expected a number of seconds above 0, got -1*"),
    "not a flag": ('no_cache = "maybe"', "*no_cache: expected true or false, got 'maybe'*"),
    "not TOML": ("target = ", "*pyproject.toml*"),
    "own target's key": (
        'target = "mine"\ntargets.mine = { base = "pico", flahs = "1 MiB" }',
        "*unknown key 'flahs'; did you mean flash?*",
    ),
    "own target's unit": (
        'target = "mine"\ntargets.mine = { base = "pico", flash = "64 KB" }',
        "*unknown unit 'KB'*write kB or KiB*",
    ),
}


@pytest.mark.parametrize("case", BAD_CONFIGURATION)
def test_a_bad_section_is_a_usage_error_before_anything_runs(project: Project, case: str) -> None:
    line, message = BAD_CONFIGURATION[case]
    project.write("pyproject.toml", f"[tool.edgequant]\n{line}\n")
    project.write("test_it.py", "open('collected', 'w')\ndef test_it(): pass\n")
    result = project.pytester.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert "Traceback" not in result.stderr.str()
    assert not (project.path / "collected").exists()


BAD_ARGUMENTS = {
    "target": ("--edge-target=nano33bel", "*unknown target 'nano33bel'. Did you mean nano33ble*"),
    "one of two targets": (
        "--edge-target=pico,rpi7",
        "*unknown target 'rpi7'. Did you mean *rpi4*",
    ),
    "target like none": ("--edge-target=zzz", "*unknown target 'zzz'. Known: *nano33ble*"),
    "variant": (
        "--edge-variant=int9",
        "*--edge-variant: unknown variant 'int9'. Did you mean int8*",
    ),
    "report": ("--edge-report=out.yml", "*--edge-report*'out.yml'*ends in '.yml'*known: .json*"),
    "report without ending": ("--edge-report=out", "*--edge-report*'out'*known: .json*"),
    "timeout": ("--edge-timeout=soon", "*--edge-timeout: expected a number of seconds*'soon'*"),
}


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_a_bad_argument_is_a_usage_error_before_anything_runs(project: Project, case: str) -> None:
    argument, message = BAD_ARGUMENTS[case]
    project.write("test_it.py", "open('collected', 'w')\ndef test_it(): pass\n")
    result = project.pytester.runpytest_inprocess(argument)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert "Traceback" not in result.stderr.str()
    assert not (project.path / "collected").exists()


def test_an_unknown_ini_value_is_a_usage_error(project: Project) -> None:
    project.write("pytest.ini", "[pytest]\nedge_target = nano33bel\n")
    result = project.pytester.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*'nano33bel'. Did you mean nano33ble*"])


@pytest.mark.parametrize("name", ["Nano33BLE", "nano-33-ble", "arduino-nano-33-ble"])
def test_names_are_matched_as_people_write_them(pytester: pytest.Pytester, name: str) -> None:
    run = get_run(pytester.parseconfigure(f"--edge-target={name}"))
    assert run.targets.get(run.settings.target[0]).name == "nano33ble"


def test_a_cache_that_cannot_be_written_is_one_clear_error(project: Project) -> None:
    project.conftest()
    project.test("def test_it(edge_int8): pass\n")
    project.write("blocker", "")
    result = project.run(cache=project.path / "blocker" / "cache")
    result.stdout.fnmatch_lines(["*edge_cache_dir: can't write to *blocker*give another folder*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_no_cache_keeps_nothing(project: Project) -> None:
    project.conftest(model="tiny_float32")
    project.test("def test_it(edge_int8): assert_size_within(edge_int8, '6 KiB')\n")
    result = project.run("--edge-no-cache", cache=project.cache)
    result.assert_outcomes(passed=1)
    assert not project.cache.exists()


LIST = ["target *variants", "---*", "*host *", "*nano33ble *64 MHz*960 KiB*", "*rpi4 *litert*"]


def test_list_targets_prints_a_table_and_runs_nothing(project: Project) -> None:
    project.write("test_it.py", "raise SystemExit('collected')\n")
    result = project.pytester.runpytest_inprocess("--edge-list-targets")
    assert result.ret == 0
    result.stdout.fnmatch_lines(LIST)
    assert "collected" not in result.stdout.str()


def test_list_targets_shows_own_targets(project: Project) -> None:
    project.write(
        "pyproject.toml",
        '[tool.edgequant.targets.our-board]\nbase = "nano33ble"\ntitle = "Ours, revision C"\n'
        'sram_for_arena = "20 KiB"\nclock = "48 MHz"\n',
    )
    result = project.pytester.runpytest_inprocess("--edge-list-targets")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["our-board *Ours, revision C*48 MHz*20 KiB*"])


def test_list_targets_of_a_bad_section_is_a_usage_error(project: Project) -> None:
    project.write("pyproject.toml", '[tool.edgequant.targets.ours]\nbase = "nano33bel"\n')
    result = project.pytester.runpytest_inprocess("--edge-list-targets")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*targets.ours: base: unknown target 'nano33bel'*nano33ble*"])


def test_an_own_target_is_a_target_like_any_other(project: Project) -> None:
    project.write(
        "pyproject.toml",
        '[tool.edgequant]\ntarget = "ours"\n'
        '[tool.edgequant.targets.ours]\nbase = "nano33ble"\nvariants = ["int8"]\n'
        'flash_for_model = "5 KiB"\n',
    )
    project.conftest()
    project.test("def test_it(edge_variant): assert_deployable(edge_variant)\n")
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*test_it[[]ours-int8[]]*", "*not deployable on ours*size 5,568 B is over*5,120 B*"]
    )


def test_an_installation_that_names_the_package_as_its_plugin_still_works(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an editable one that was made before the package had rooms, and has newer code now."""
    metadata = project.path / "installed" / "pytest_edgequant-0.0.1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: pytest-edgequant\n")
    plugin = "[pytest11]\nedgequant = pytest_edgequant.plugin\n"
    (metadata / "entry_points.txt").write_text(plugin)
    monkeypatch.setenv("PYTHONPATH", str(metadata.parent), prepend=os.pathsep)
    project.conftest()
    project.test("def test_it(edge_int8): assert_size_within(edge_int8, '6 KiB')\n")
    result = project.pytester.runpytest_subprocess("--edge-target=pico", "--trace-config")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"*edgequant *: *{Path('plugin', '__init__.py')}"])
