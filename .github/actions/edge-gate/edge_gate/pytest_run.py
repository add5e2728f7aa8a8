"""Running pytest with the gate, in the environment that was installed for it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_gate.contained import contained
from edge_gate.errors import ActionError
from edge_gate.plan import Plan
from edge_gate.runner import no_commands, say

# What the tests have no business with: tokens, and the files that change later steps.
_WITHHELD = (
    "ACTIONS_",
    "INPUT_",
    "EDGE_GATE_",
    "GITHUB_TOKEN",
    "GITHUB_ENV",
    "GITHUB_OUTPUT",
    "GITHUB_PATH",
    "GITHUB_STATE",
)
# Only the run that is judged may write the summary and annotate; both hang on these.
_OF_THE_VERDICT = ("GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS")

_PROBE = """
import importlib.util, json
RENDERERS = ((".json", "json"), (".md", "markdown"), (".html", "html"))
from pytest_edgequant import __version__
from pytest_edgequant.settings import OPTIONS
has = lambda name: importlib.util.find_spec("pytest_edgequant.report." + name) is not None
print(json.dumps({
    "version": __version__,
    "options": [option.name for option in OPTIONS],
    "formats": [ending for ending, module in RENDERERS if has(module)],
}))
"""


@dataclass(frozen=True)
class Installed:
    """What the installed pytest-edgequant can do; an older one may be pinned than the action."""

    version: str
    options: tuple[str, ...]
    formats: tuple[str, ...]


def probe() -> Installed:
    """Ask the installed package. Raises `ActionError` where it can't be imported."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE],
        cwd=os.environ.get("RUNNER_TEMP"),
        env=environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ActionError(
            f"pytest-edgequant can't be imported by {sys.executable} ({last}); with "
            "`package: installed` the workflow installs it before this action"
        )
    found = json.loads(done.stdout)
    return Installed(found["version"], tuple(found["options"]), tuple(found["formats"]))


def environment(extra: Mapping[str, str], *, of_base: bool = False) -> dict[str, str]:
    """The environment of the tests: this one without what they must not have."""
    withheld = _WITHHELD + (_OF_THE_VERDICT if of_base else ())
    kept = {name: value for name, value in os.environ.items() if not name.startswith(withheld)}
    return {**kept, "PYTHONUNBUFFERED": "1", **extra}


def run(plan: Plan, options: Sequence[str], project: Path, *, of_base: bool = False) -> int:
    """Run the project's tests with the gate's options, and give pytest's exit code.

    The options with this machine's paths go by environment: the plugin prints the command that
    accepts a change, and repeats in it what the command line has.
    """
    command = [sys.executable, "-m", "pytest"]
    if plan.target:
        command.append(f"--edge-target={plan.target}")
    command += plan.pytest_arguments
    here = [f"--edge-cache-dir={plan.model_cache}", *options]
    extra = {}
    if of_base:
        # Without this an editable install would give the base's tests the head's modules.
        own = [str(path) for path in (project, project / "src") if path.is_dir()]
        others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        extra["PYTHONPATH"] = os.pathsep.join(filter(None, own + others))
        here += ["-p", "no:cacheprovider"]
    given = os.environ.get("PYTEST_ADDOPTS", "")
    extra["PYTEST_ADDOPTS"] = f"{given} {shlex.join(here)}".strip()
    say(f"{project}$ PYTEST_ADDOPTS={shlex.quote(extra['PYTEST_ADDOPTS'])} \\")
    say(f"    pytest {shlex.join(command[3:])}")
    if of_base:
        # Its failures are old news: they must not annotate the pull request.
        with no_commands():
            return _call(command, project, environment(extra, of_base=True))
    return _call(command, project, environment(extra))


def _call(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> int:
    with contained():
        return subprocess.run(
            command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, check=False
        ).returncode
