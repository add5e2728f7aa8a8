"""Of what and when a report is: the commit that was checked out, and the time."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_edgequant.report.made import made_here

AT = {"SOURCE_DATE_EPOCH": "1700000000"}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for command in (
        ["init", "-q"],
        ["config", "user.email", "someone@example.org"],
        ["config", "user.name", "Someone"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    (tmp_path / "model.tflite").write_bytes(b"then")
    subprocess.run(["git", "add", "-A"], cwd=tmp_path, check=True)
    subprocess.run(["git", "commit", "-qm", "First"], cwd=tmp_path, check=True)
    return tmp_path


def head(repository: Path) -> str:
    command = ["git", "rev-parse", "HEAD"]
    return subprocess.run(
        command, cwd=repository, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_commit_is_that_of_the_folder_and_says_whether_files_changed(repository: Path) -> None:
    assert made_here(repository, AT) == {
        "commit": head(repository),
        "date": "2023-11-14 22:13 UTC",
    }
    (repository / "report.html").write_text("new, and not of the repository")
    assert made_here(repository, AT)["commit"] == head(repository)
    (repository / "model.tflite").write_bytes(b"now")
    assert made_here(repository, AT)["commit"] == f"{head(repository)} with changes"


def test_without_a_repository_the_commit_is_what_ci_says(tmp_path: Path) -> None:
    assert made_here(tmp_path, {**AT, "GITHUB_SHA": "0123abc"})["commit"] == "0123abc"
    assert "commit" not in made_here(tmp_path, AT)


@pytest.mark.parametrize("epoch", ["", "yesterday", "-5", "9" * 40, "١٢"])
def test_a_time_that_cannot_be_read_is_now(tmp_path: Path, epoch: str) -> None:
    assert made_here(tmp_path, {"SOURCE_DATE_EPOCH": epoch})["date"] > "2026-"


def test_nothing_that_a_repository_configures_is_run(repository: Path) -> None:
    seen = repository / "seen"
    hook = repository / "hook.sh"
    hook.write_text(f"#!/bin/sh\ntouch {seen}\n")
    hook.chmod(0o755)
    subprocess.run(["git", "config", "core.fsmonitor", str(hook)], cwd=repository, check=True)
    assert made_here(repository, AT)["commit"].startswith(head(repository))
    seen.unlink(missing_ok=True)  # by the test's own command
    made_here(repository, AT)
    assert not seen.exists()
