"""The steps by name. Each reads its inputs from the environment, and gives its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from edge_gate import baseline as baselines
from edge_gate import comment as comments
from edge_gate import gate as gates
from edge_gate import plan as plans
from edge_gate import pytest_run
from edge_gate.api import ApiError
from edge_gate.contained import contained
from edge_gate.errors import ActionError
from edge_gate.record import verdict_of
from edge_gate.runner import error, group, set_outputs, warning


def _token() -> str:
    return os.environ.get("GITHUB_TOKEN", "")


def _author() -> str:
    return os.environ.get("INPUT_COMMENT_AUTHOR", "").strip() or "github-actions[bot]"


def plan() -> int:
    """Check the inputs, find the base, and say where things are kept."""
    _, outputs = plans.make()
    set_outputs(outputs)
    return 0


def fetch() -> int:
    """Get what the base left, with the token, before anything of the project's runs."""
    baselines.fetch(plans.load(), _token())
    return 0


def install() -> int:
    """Install pytest-edgequant and the project's requirements."""
    made = plans.load()
    arguments = [made.package] if made.package else []
    if made.requirements:
        arguments += ["-r", made.requirements]
    if not arguments:
        return 0
    with group(f"pip install {' '.join(arguments)}"), contained():
        command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
        code = subprocess.run(
            [*command, *arguments], env=pytest_run.environment({}), check=False
        ).returncode
    if code:
        raise ActionError(f"pip install {' '.join(arguments)} failed with {code}; its log is above")
    return 0


def gate() -> int:
    """Find the baseline, run the tests, and keep the verdict for `conclude`."""
    return gates.run(plans.load())


def comment() -> int:
    """Comment on the pull request. What goes wrong here never decides over the verdict."""
    try:
        comments.of_job(comments.Pull.of_step(), _token(), _author())
    except ActionError as problem:
        hint = ""
        if isinstance(problem, ApiError) and problem.status in (401, 403, 404):
            hint = "; the job needs `permissions: pull-requests: write`"
        warning(f"The comment could not be written: {problem}{hint}")
    return 0


def comment_on_run() -> int:
    """Comment on the reports that a run has uploaded."""
    name = os.environ.get("INPUT_NAME", "").strip() or "gate"
    comments.of_run(_token(), name, _author())
    return 0


def conclude() -> int:
    """Pass or fail as the gate did."""
    code = os.environ.get("EDGE_GATE_EXIT_CODE", "")
    if not code.lstrip("-").isdigit():
        raise ActionError("the gate did not run to its end; the log of an earlier step says why")
    if code != "0":
        error(f"Edge gate: {verdict_of(int(code))} (pytest exited with {code})")
    return int(code) & 0xFF


_COMMANDS: dict[str, Callable[[], int]] = {
    "plan": plan,
    "fetch": fetch,
    "install": install,
    "gate": gate,
    "comment": comment,
    "comment-on-run": comment_on_run,
    "conclude": conclude,
}


def main(arguments: Sequence[str]) -> int:
    """Run one step."""
    if len(arguments) != 1 or arguments[0] not in _COMMANDS:
        error(f"expected one of {', '.join(_COMMANDS)}, got {' '.join(arguments)!r}")
        return 2
    try:
        return _COMMANDS[arguments[0]]()
    except ActionError as problem:
        error(str(problem))
        return 1
