"""Tests that want more than to be run: the comment of their own job stays what it is."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from edge_gate import comment
from fake_github import BOT, REPOSITORY
from test_action_comment import HEAD, gate_json
from test_action_end_to_end import _CONFTEST, ACTIONS, World
from test_action_end_to_end import world as world

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

_HOSTILE = """
import json, os, subprocess, sys
from pathlib import Path

def environment(process):
    entries = Path(f"/proc/{process}/environ").read_text().split(chr(0))
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)

def pytest_configure():
    seen = environment(os.getppid())  # the step's own Python
    Path("seen.json").write_text(json.dumps(seen))
    for name in ("GITHUB_ENV", "GITHUB_PATH"):
        Path(seen[name]).write_text("evil")
    left = "import os, time; os.setsid(); open('left', 'w').write(str(os.getpid())); time.sleep(90)"
    start = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {left!r}])"
    subprocess.run([sys.executable, "-c", start], check=True)
    while not (Path("left").is_file() and Path("left").read_text()):
        pass

def pytest_unconfigure():
    temporary = Path(os.environ["RUNNER_TEMP"])
    for path in [*temporary.glob("edge-gate-*/plan.json"), Path(os.environ["GITHUB_EVENT_PATH"])]:
        text = path.read_text()
        assert '"number": 26' in text
        text = text.replace('"number": 26', '"number": 7')
        path.write_text(text.replace('"name": "nano33ble"', '"name": "other"'))
    for report in temporary.glob("edge-gate-*/report/report.md"):
        report.unlink()
        report.symlink_to("/proc/self/environ")
"""


def test_tests_can_t_choose_where_the_comment_goes(world: World) -> None:
    files = {"conftest.py": _CONFTEST + _HOSTILE}
    job = world.pull_request(26, world.branch("topic", files), baseline="none")
    assert job.green, job.log
    assert world.github.bodies(7) == []
    (body,) = world.github.bodies(26)
    assert body.startswith("<!-- edgequant-edge-gate: nano33ble -->")
    assert "Edge gate: passed" in body
    checkout = world.tmp / f"checkout{world.count}"
    seen = json.loads((checkout / "seen.json").read_text())
    assert seen["GITHUB_ACTION_PATH"] == str(ACTIONS / "edge-gate")
    assert "writes" not in seen.values()
    assert "GITHUB" not in body
    with pytest.raises(ProcessLookupError):
        os.kill(int((checkout / "left").read_text()), 0)
    assert "the tests wrote to GITHUB_ENV" in job.log
    assert "the tests wrote to GITHUB_PATH" in job.log


@pytest.mark.parametrize("change", ["main.py", "edge_gate/comment.py", "edge_gate/zipfile.py"])
def test_code_that_was_changed_writes_nothing(world: World, tmp_path: Path, change: str) -> None:
    world.action = tmp_path / "actions" / "edge-gate"
    shutil.copytree(ACTIONS / "edge-gate", world.action)
    planted = f"""
from pathlib import Path

def pytest_unconfigure():
    with Path({str(world.action / change)!r}).open("a") as file:
        file.write("# changed")
"""
    head = world.branch("topic", {"conftest.py": _CONFTEST + planted})
    job = world.pull_request(27, head, baseline="none")
    assert job.step("Comment on the pull request").outcome == "failure", job.log
    assert "code of the edge gate was changed" in job.log
    assert world.github.comments == []


def test_bytecode_beside_the_sources_is_not_run(world: World, tmp_path: Path) -> None:
    world.action = tmp_path / "actions" / "edge-gate"
    shutil.copytree(
        ACTIONS / "edge-gate", world.action, ignore=shutil.ignore_patterns("__pycache__")
    )
    planted = f"""
import py_compile
from pathlib import Path

def pytest_unconfigure():
    source = Path({str(world.action / "edge_gate" / "comment.py")!r})
    kept = source.read_bytes()
    source.write_text("raise SystemExit('evil')")
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(source), invalidation_mode=mode)
    source.write_bytes(kept)
"""
    head = world.branch("topic", {"conftest.py": _CONFTEST + planted})
    job = world.pull_request(28, head, baseline="none")
    assert list(world.action.rglob("comment.*.pyc")), "the test must plant something"
    assert job.step("Comment on the pull request").outcome == "success", job.log
    assert len(world.github.bodies(28)) == 1


@pytest.mark.parametrize("made", ["a link", "a folder's link", "a pipe", "another's", "broken"])
def test_the_comment_reads_files_of_its_own_pull_request_alone(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    folder, elsewhere = tmp_path / "report", tmp_path / "elsewhere"
    for place in (folder, elsewhere):
        place.mkdir()
        (place / "gate.json").write_bytes(gate_json(number=7 if made == "another's" else 26))
    (elsewhere / "report.md").write_text("hush")
    said = "is a link"
    if made == "a link":
        (folder / "report.md").symlink_to(elsewhere / "report.md")
    elif made == "a folder's link":
        shutil.rmtree(folder)
        folder.symlink_to(elsewhere)
    elif made == "a pipe":
        os.mkfifo(folder / "report.md")
        said = "report.md is not a file"
    elif made == "another's":
        shutil.copyfile(elsewhere / "report.md", folder / "report.md")
        said = "another pull request"
    else:
        (folder / "gate.json").write_text("[" * 10_000)
        said = "gate.json is not a JSON object"
    monkeypatch.setenv("GITHUB_API_URL", world.github.url)
    monkeypatch.setenv("GITHUB_REPOSITORY", REPOSITORY)
    pull = comment.Pull("gate", "pull_request", 26, HEAD, False, folder)
    comment.of_job(pull, "writes", BOT)
    (body,) = world.github.bodies(26)
    assert "no result" in body
    assert "hush" not in body
    assert said in body
