"""Quiet on a green run, nothing loaded while idle, and a cache that heals itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from edge_project import TFLM, Project, summary

import pytest_edgequant
from pytest_edgequant.isolation import IsolatedProcess

HEAVY = (
    "numpy",
    "tensorflow",
    "keras",
    "ai_edge_litert",
    "ai_edge_quantizer",
    "litert_quantizer",
    "tflite_micro",
    "scipy",
    "matplotlib",
    "jinja2",
    "tabulate",
)


# -- quiet ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("-q",), ("-q", "-Werror"), ("-q", "-Walways")])
def test_a_green_run_has_no_warnings(project: Project, arguments: tuple[str, ...]) -> None:
    project.conftest(model="tiny_float32")
    project.test(
        "def test_it(edge_variant, edge_target, edge_float32, edge_dataset):\n"
        "    assert_deployable(edge_variant, edge_target)\n"
        "    assert_max_accuracy_drop(edge_variant, edge_float32, edge_dataset, 0.02)\n"
    )
    result = project.run("--edge-target=rpi4", *arguments, cache=project.cache)
    result.assert_outcomes(passed=7)
    text = result.stdout.str() + result.stderr.str()
    assert "arning" not in text
    assert result.stderr.str() == ""


def test_a_green_run_prints_nothing_of_the_converters(project: Project) -> None:
    project.conftest(model="tiny_float32")
    project.test("def test_it(edge_int8, edge_dataset): evaluate(edge_int8, edge_dataset)\n")
    result = project.run_subprocess("-q", "-s", "--edge-target=host", cache=project.cache)
    outside = result.stdout.str().split("-- edgequant --")[0].strip("-\n ")
    assert outside.split() == [".", "[100%]"] or outside == "."
    assert result.stderr.str() == ""


def test_a_run_without_edge_tests_prints_no_section(project: Project) -> None:
    project.conftest()
    project.test("def test_it(edge_model, edge_dataset): pass\n")
    result = project.run()
    result.assert_outcomes(passed=1)
    assert "edgequant ---" not in result.stdout.str()
    assert summary(result) == []


def test_an_empty_run_prints_no_section(project: Project) -> None:
    result = project.run()
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "edgequant ---" not in result.stdout.str()


def test_the_section_is_printed_once(project: Project) -> None:
    project.conftest()
    project.test("def test_it(edge_int8): assert_size_within(edge_int8, '6 KiB')\n")
    result = project.run("-q")
    assert sum("edgequant ---" in line for line in result.outlines) == 1


# -- idle -----------------------------------------------------------------------------------------

LOADED = """
import json, sys

def pytest_unconfigure():
    heavy = sorted(name for name in {heavy!r} if name in sys.modules)
    ours = sorted(name for name in sys.modules if name.startswith("pytest_edgequant"))
    with open("loaded.json", "w") as f:
        json.dump({{"heavy": heavy, "ours": ours}}, f)
"""


def _loaded(project: Project, *arguments: str) -> tuple[list[str], list[str]]:
    project.write("conftest.py", LOADED.format(heavy=HEAVY))
    # Others that are installed here are not what is measured.
    others = ("-p", "no:hypothesispytest", "-p", "no:benchmark")
    project.pytester.runpytest_subprocess(*others, *arguments, timeout=60)
    found = json.loads((project.path / "loaded.json").read_text())
    return found["heavy"], found["ours"]


@pytest.mark.parametrize("suite", ["empty", "other tests", "with a pyproject.toml"])
def test_idle_loads_nothing_heavy(project: Project, suite: str) -> None:
    if suite != "empty":
        project.write(
            "test_it.py",
            "import pytest\n"
            "@pytest.mark.parametrize('n', [1, 2])\n"
            "def test_it(n): pass\n"
            "class TestIt:\n    def test_it(self, tmp_path): pass\n",
        )
    if suite == "with a pyproject.toml":
        project.write("pyproject.toml", "[project]\nname = 'x'\n[tool.ruff]\nline-length = 100\n")
    heavy, ours = _loaded(project)
    assert heavy == []
    assert "pytest_edgequant.plugin.hooks" in ours
    assert "pytest_edgequant.pipeline.pipeline" not in ours
    assert "pytest_edgequant.plugin.run" not in ours


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, pytest_edgequant\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
        "from pytest_edgequant import EdgeQuantError, CannotRun, UnitError\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]
    assert done.stderr == ""


def test_using_a_public_name_never_loads_tensorflow() -> None:
    code = (
        "import sys, pytest_edgequant\n"
        "for name in pytest_edgequant.__all__: getattr(pytest_edgequant, name)\n"
        "heavy = ('tensorflow', 'keras', 'ai_edge_quantizer', 'litert_quantizer')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_every_public_name_resolves() -> None:
    assert len(set(pytest_edgequant.__all__)) == len(pytest_edgequant.__all__)
    for name in pytest_edgequant.__all__:
        assert getattr(pytest_edgequant, name) is not None
    assert set(dir(pytest_edgequant)) >= set(pytest_edgequant.__all__)
    with pytest.raises(AttributeError, match="no attribute 'assert_everything'"):
        pytest_edgequant.assert_everything  # noqa: B018 - asking for it is the test


def test_assertions_work_without_fixtures_and_without_pytest(project: Project) -> None:
    project.test("")
    source = (project.path / "test_it.py").read_text()
    project.write(
        "script.py",
        source + "assert_size_within(DATA + '/tiny_int8.tflite', '6 KiB', target='pico')\n"
        "x, y = samples()['x'], samples()['y']\n"
        "print(evaluate(DATA + '/tiny_int8.tflite', (x, y)).count)\n"
        "try:\n    assert_size_within(DATA + '/tiny_int8.tflite', 1024)\n"
        "except SizeExceeded as error:\n    print(error)\n",
    )
    done = project.pytester.runpython(project.path / "script.py")
    assert done.ret == 0
    done.stdout.fnmatch_lines(["397", "tiny_int8/*: size 5,568 B is over the limit of 1,024 B*"])


# -- the cache ------------------------------------------------------------------------------------

CACHED = """
def test_it(edge_int8, edge_float32, edge_dataset):
    assert_max_accuracy_drop(edge_int8, edge_float32, edge_dataset, 0.02)
"""
DAMAGE = {
    "truncated file": ("*.tflite", lambda content: content[:100]),
    "changed byte": ("*.tflite", lambda content: content[:-1] + bytes([content[-1] ^ 1])),
    "empty file": ("*.tflite", lambda content: b""),
    "changed predictions": ("*.arrays", lambda content: content[:-1] + b"?"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_cache_entry_is_rebuilt_and_mentioned(project: Project, case: str) -> None:
    pattern, damage = DAMAGE[case]
    project.conftest(model="tiny_float32")
    project.test(CACHED)
    before = project.report("--edge-target=pico", cache=project.cache)
    before.result.assert_outcomes(passed=1)
    assert not any("damaged" in line for line in summary(before.result))
    files = sorted(project.cache.rglob(pattern))
    # Of the conversion's family only the int8 file is read.
    if pattern == "*.tflite":
        size = before.document["results"][1]["metrics"]["size_bytes"]["value"]
        files = [p for p in files if p.stat().st_size == size]
    damaged = files[0]
    damaged.write_bytes(damage(damaged.read_bytes()))
    after = project.report("--edge-target=pico", cache=project.cache)
    after.result.assert_outcomes(passed=1)
    assert after.document == before.document
    count = 1 if pattern == "*.arrays" else r"\d+"
    (line,) = [line for line in summary(after.result) if line.startswith("cache: ")]
    assert re.match(f"cache: {count} damaged", line), line
    again = project.run("--edge-target=pico", cache=project.cache)
    assert not any("damaged" in line for line in summary(again))


def test_a_damaged_index_is_rebuilt(project: Project) -> None:
    project.conftest(model="tiny_float32")
    project.test(CACHED)
    project.run("--edge-target=pico", cache=project.cache).assert_outcomes(passed=1)
    for entry in project.cache_entries():
        entry.write_text("{")
    result = project.run("--edge-target=pico", cache=project.cache)
    result.assert_outcomes(passed=1)
    assert any("damaged" in line for line in summary(result))


def test_a_lost_file_is_rebuilt(project: Project) -> None:
    project.conftest(model="tiny_float32")
    project.test(CACHED)
    project.run("--edge-target=pico", cache=project.cache).assert_outcomes(passed=1)
    for path in project.cache.rglob("*.tflite"):
        path.unlink()
    project.run("--edge-target=pico", cache=project.cache).assert_outcomes(passed=1)


def test_a_warm_run_starts_no_process(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.conftest(model="tiny_float32")
    arena = "def test_arena(edge_int8): assert_arena_fits(edge_int8)\n"
    project.test(CACHED + (arena if TFLM else ""))
    count = 2 if TFLM else 1
    project.run("--edge-target=pico", cache=project.cache).assert_outcomes(passed=count)
    monkeypatch.delattr(IsolatedProcess, "call")
    project.run("--edge-target=pico", cache=project.cache).assert_outcomes(passed=count)


def test_the_default_cache_is_the_users_and_not_in_the_project(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.conftest(model="tiny_float32")
    project.test("def test_it(edge_float16): pass\n")
    before = {p.name for p in project.path.iterdir()}
    monkeypatch.setenv("XDG_CACHE_HOME", str(project.cache))
    others = ("-p", "no:cacheprovider", "-p", "no:benchmark")
    project.pytester.runpytest_inprocess(*others).assert_outcomes(passed=1)
    after = {p.name for p in project.path.iterdir()}
    assert not after - before - {"__pycache__", project.cache.name, "Library", "AppData"}
