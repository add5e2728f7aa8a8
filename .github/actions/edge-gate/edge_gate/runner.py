"""The runner's side: environment files and workflow commands.

Formats: https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def _append(variable: str, text: str) -> None:
    path = os.environ.get(variable)
    if path:
        with open(path, "a", encoding="utf-8", newline="\n") as file:
            file.write(text)


def set_outputs(values: Mapping[str, str]) -> None:
    """Outputs of this step. The delimiter is random, so that no value can end its own block."""
    for name, value in values.items():
        delimiter = f"edge_gate_{secrets.token_hex(16)}"
        _append("GITHUB_OUTPUT", f"{name}<<{delimiter}\n{value}\n{delimiter}\n")


def add_summary(markdown: str) -> None:
    """Add to the job summary."""
    _append("GITHUB_STEP_SUMMARY", markdown.rstrip("\n") + "\n")


def summary_size() -> int:
    """Bytes that this step's summary has so far."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    return os.path.getsize(path) if path and os.path.exists(path) else 0


def _command(name: str, message: str) -> None:
    escaped = message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    say(f"::{name}::{escaped}")


def say(line: str) -> None:
    """A line of the step's log, in order with what child processes print."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def error(message: str) -> None:
    """An error among the annotations of the run."""
    _command("error", message)


def warning(message: str) -> None:
    """A warning among the annotations of the run."""
    _command("warning", message)


def notice(message: str) -> None:
    """A notice among the annotations of the run."""
    _command("notice", message)


@contextmanager
def group(title: str) -> Iterator[None]:
    """A folded part of the log."""
    _command("group", title)
    try:
        yield
    finally:
        say("::endgroup::")


@contextmanager
def no_commands() -> Iterator[None]:
    """What is printed here can't be a workflow command, whatever prints it."""
    token = secrets.token_hex(16)
    say(f"::stop-commands::{token}")
    try:
        yield
    finally:
        say(f"::{token}::")


def temporary_folder() -> Path:
    """RUNNER_TEMP, which is emptied before and after each job."""
    return Path(os.environ["RUNNER_TEMP"])


def run_url() -> str:
    """The page of this workflow run."""
    get = os.environ.get
    server, repository = get("GITHUB_SERVER_URL", ""), get("GITHUB_REPOSITORY", "")
    return f"{server}/{repository}/actions/runs/{get('GITHUB_RUN_ID', '')}"
