"""What a run shows on a terminal while it works, and that pytest's own lines stand as ever."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping

import pytest
from edge_project import Project
from screen import Screen, progress_lines

pty = pytest.importorskip("pty", reason="no pseudo-terminals on this system")

PYTEST = ("-m", "pytest", "-p", "no:cacheprovider", "--color=no", "--tb=line")
SLOW = """
import time

@pytest.fixture(scope="session")
def edge_dataset():
    def batches():
        data = samples()
        for i in range(0, 240, 40):
            time.sleep(0.2)
            yield data["x"][i : i + 40], data["y"][i : i + 40]
    return batches
"""
TESTS = """
def test_fast(): pass

def test_slow(edge_int8, edge_dataset):
    print("printed by the test")
    evaluate(edge_int8, edge_dataset)

def test_wrong(edge_int8, edge_dataset):
    assert_size_within(edge_int8, "1 KiB")
"""


def on_terminal(project: Project, *command: str, environ: Mapping[str, str]) -> str:
    """All that Python prints on a terminal."""
    master, slave = pty.openpty()
    kept = {k: v for k, v in os.environ.items() if k not in ("CI", "COLUMNS")}
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=project.path,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**kept, "TERM": "xterm", **environ},
    )
    os.close(slave)
    output = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # Linux says so where the other end is closed
            break
        if not part:
            break
        output += part
    process.wait(timeout=60)
    os.close(master)
    return output.decode()


def lines_of(output: str) -> list[str]:
    """What stands on the terminal at the end, without times."""
    return [re.sub(r"in \d.*s", "in T", line) for line in Screen().feed(output).shown()]


@pytest.fixture
def slow(project: Project) -> Project:
    project.conftest(SLOW, dataset=False)
    project.test(TESTS)
    return project


@pytest.mark.parametrize("options", [(), ("-s",)], ids=["captured", "s"])
@pytest.mark.slow
def test_progress_comes_and_goes_and_breaks_no_line(
    slow: Project, options: tuple[str, ...]
) -> None:
    arguments = ("--edge-target=pico", f"--edge-cache-dir={slow.cache}", *options)
    shown = on_terminal(slow, *PYTEST, *arguments, environ={})
    found = progress_lines(Screen().feed(shown).seen)
    assert any(
        re.match(r"\[edgequant\] evaluating tiny_int8/int8: \d+ samples, \d+ s so far", line)
        or re.match(r"\[edgequant\] evaluating tiny_int8/int8: \d+ of 240 samples, \d+ s", line)
        for line in found
    ), found
    assert not progress_lines(Screen().feed(shown).shown())
    quiet = on_terminal(slow, *PYTEST, *arguments, environ={"TERM": "dumb"})
    assert "\x1b7" not in quiet
    assert lines_of(shown) == lines_of(quiet)
    assert any("1 failed, 2 passed" in line for line in lines_of(shown))


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["CI", "workers"])
def test_logs_and_workers_show_none(slow: Project, workers: tuple[str, ...]) -> None:
    if workers:
        pytest.importorskip("xdist")
    environ = {"COLUMNS": "60", **({} if workers else {"CI": "true"})}
    options = ("--edge-target=pico", f"--edge-cache-dir={slow.cache}", *workers)
    shown = on_terminal(slow, *PYTEST, *options, environ=environ)
    assert not progress_lines(Screen().feed(shown).seen)
    assert "1 failed, 2 passed" in shown
    # A log keeps whole rows, a terminal has none that is wider than itself.
    table = shown.partition(" edgequant -")[2].partition("edgequant failed")[0]
    widest = max(map(len, table.splitlines()[1:]))
    assert widest > 60 if "CI" in environ else widest <= 60


def test_a_script_shows_it_too(slow: Project) -> None:
    """And what it prints itself stands as it printed it."""
    slow.write(
        "script.py",
        "import sys, os\n"
        "sys.path.insert(0, '.')\n"
        "from conftest import *\n"
        "from conftest import DATA, samples\n"
        "data = samples()\n"
        "def batches():\n"
        "    for i in range(0, 240, 40):\n"
        "        time.sleep(0.2)\n"
        "        yield data['x'][i : i + 40], data['y'][i : i + 40]\n"
        "print('before')\n"
        "print('half a', end=' ', flush=True)\n"
        "found = evaluate(DATA + '/tiny_int8.tflite', batches)\n"
        "print('line')\n"
        "print(found)\n",
    )
    output = on_terminal(slow, "script.py", environ={"XDG_CACHE_HOME": str(slow.cache)})
    screen = Screen().feed(output)
    assert progress_lines(screen.seen)
    assert screen.shown()[:3] == [
        "before",
        "half a line",
        next(line for line in screen.shown() if line.startswith("accuracy ")),
    ]
