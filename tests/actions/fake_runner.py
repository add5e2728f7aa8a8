"""Plays GitHub's runner for a composite action: it reads action.yml and runs its steps.

`run` steps are run by bash with their environment files; of the actions that are used, caches and
uploads do here what they do there, and setting up Python means the Python of the tests.
Expressions are evaluated as far as the action uses them; others are an error.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from fake_github import REPOSITORY, FakeGitHub, zipped

_TOKEN = re.compile(r"\s*('(?:[^']|'')*'|==|!=|&&|\|\||!|\(|\)|[A-Za-z_][\w.-]*)")
_PYTHON = {"==": "==", "!=": "!=", "&&": " and ", "||": " or ", "!": " not ", "(": "(", ")": ")"}


def evaluate(expression: str, contexts: Mapping[str, str], status: Mapping[str, bool]) -> Any:
    """The value of an expression: names, strings, comparisons, status functions."""
    python, position = "", 0
    while expression[position:].strip():
        match = _TOKEN.match(expression, position)
        if match is None:
            raise ValueError(f"not understood: {expression[position:]!r} in {expression!r}")
        token, position = match[1], match.end()
        if token in _PYTHON:
            python += _PYTHON[token]
        elif token.startswith("'"):
            python += repr(token[1:-1].replace("''", "'"))
        elif token in status:
            python += f"(lambda: {status[token]})"
        else:
            python += repr(contexts.get(token, ""))
    return eval(python, {"__builtins__": {}})


@dataclass
class Step:
    """How a step went: its outcome, log, outputs and summary."""

    name: str
    outcome: str
    log: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""


@dataclass
class Job:
    """A job with one use of the action, and how its steps went."""

    steps: list[Step] = field(default_factory=list)

    @property
    def green(self) -> bool:
        return all(step.outcome != "failure" for step in self.steps)

    def step(self, name: str) -> Step:
        return next(step for step in self.steps if step.name == name)

    @property
    def log(self) -> str:
        return "\n".join(step.log for step in self.steps)

    @property
    def summary(self) -> str:
        return "".join(step.summary for step in self.steps)


@dataclass
class Runner:
    """A machine. `cache` outlives its jobs, as GitHub's cache does."""

    folder: Path
    cache: Path
    github: FakeGitHub
    jobs: int = 0

    # Over 60 lines: a job is told step after step, as a runner goes through it.
    def run(
        self,
        action: Path,
        *,
        workspace: Path,
        event: str,
        payload: str,
        sha: str,
        ref: str,
        inputs: Mapping[str, str],
        token: str,
        variables: Mapping[str, str],
    ) -> Job:
        """Run a job that uses the action in the checked-out `workspace`."""
        self.jobs += 1
        home = self.folder / f"job{self.jobs}"
        temporary = self.folder / "temp"  # the same path in each job, and empty
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        home.mkdir()
        (home / "event.json").write_text(payload, encoding="utf-8")
        definition = yaml.safe_load((action / "action.yml").read_text(encoding="utf-8"))
        contexts = {"github.token": token, **_flattened("github.event", json.loads(payload))}
        for name, details in definition["inputs"].items():
            default = self._filled(str(details.get("default", "")), contexts)
            contexts[f"inputs.{name}"] = inputs.get(name, default)
        unknown = set(inputs) - set(definition["inputs"])
        assert not unknown, f"the action has no inputs {unknown}"
        common = {
            "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(action),
            "GITHUB_API_URL": self.github.url,
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_RUN_ID": str(self.jobs),
            "GITHUB_EVENT_NAME": event,
            "GITHUB_EVENT_PATH": str(home / "event.json"),
            "GITHUB_SHA": sha,
            "GITHUB_REF": ref,
            "GITHUB_WORKSPACE": str(workspace),
            "RUNNER_TEMP": str(temporary),
            **variables,
        }
        (home / "bin").mkdir()
        for name in ("python", "python3"):
            (home / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
            (home / "bin" / name).chmod(0o755)
        job = Job()
        for index, definition_of_step in enumerate(definition["runs"]["steps"]):
            step = self._step(
                definition_of_step, job, contexts, common, home / f"step{index}", sha, workspace
            )
            job.steps.append(step)
            if "id" in definition_of_step:
                for name, value in step.outputs.items():
                    contexts[f"steps.{definition_of_step['id']}.outputs.{name}"] = value
        return job

    def _filled(self, text: str, contexts: Mapping[str, str]) -> str:
        return re.sub(r"\$\{\{(.*?)\}\}", lambda match: str(evaluate(match[1], contexts, {})), text)

    def _step(
        self,
        step: Mapping[str, Any],
        job: Job,
        contexts: Mapping[str, str],
        common: Mapping[str, str],
        folder: Path,
        sha: str,
        workspace: Path,
    ) -> Step:
        name = step["name"]
        status = {"always": True, "success": job.green, "failure": not job.green}
        condition = str(step.get("if", "success()"))
        if not re.search(r"\b(always|success|failure|cancelled)\(\)", condition):
            condition = f"success() && ({condition})"
        if not evaluate(condition, contexts, status):
            return Step(name, "skipped")
        if "uses" in step:
            given = {k: self._filled(str(v), contexts) for k, v in step.get("with", {}).items()}
            return self._used(name, step["uses"].partition("@")[0], given, common, sha)
        assert step["shell"] == "bash"
        folder.mkdir()
        files = {
            f"GITHUB_{n}": folder / n.lower() for n in ("OUTPUT", "STEP_SUMMARY", "ENV", "PATH")
        }
        for path in files.values():
            path.touch()
        own = {k: self._filled(str(v), contexts) for k, v in step.get("env", {}).items()}
        # As the runner calls it: bash --noprofile --norc -e -o pipefail {0}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]],
            cwd=workspace,
            env={**common, **own, **{k: str(v) for k, v in files.items()}},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        assert files["GITHUB_ENV"].read_text() == files["GITHUB_PATH"].read_text() == ""
        return Step(
            name,
            "failure" if done.returncode else "success",
            done.stdout,
            _outputs(files["GITHUB_OUTPUT"].read_text(encoding="utf-8")),
            files["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8"),
        )

    def _used(
        self, name: str, action: str, given: Mapping[str, str], common: Mapping[str, str], sha: str
    ) -> Step:
        if action == "actions/cache/restore":
            # A cache is found by key and by the path that it was saved from.
            place = self.cache / _flat(given["path"])
            keys = [given["key"], *given.get("restore-keys", "").split()]
            for index, key in enumerate(keys):
                found = sorted(place.glob(f"{_flat(key)}*" if index else _flat(key)))
                if found:
                    _copy(found[-1], Path(given["path"]))
                    break
        elif action == "actions/cache/save":
            place = self.cache / _flat(given["path"]) / _flat(given["key"])
            if Path(given["path"]).exists() and not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                _copy(Path(given["path"]), place)
        elif action == "actions/upload-artifact":
            root = Path(given["path"])
            members = {
                path.relative_to(root).as_posix(): path.read_bytes()
                for path in sorted(root.rglob("*"))
                if path.is_file()
            }
            self.github.add_artifact(
                given["name"],
                zipped(members),
                run=int(common["GITHUB_RUN_ID"]),
                sha=common.get("TEST_RUN_SHA", sha),
                branch=common.get("TEST_RUN_BRANCH", "main"),
                head_repository=int(common.get("TEST_RUN_REPOSITORY", "1000")),
            )
        else:
            assert action in ("actions/setup-python", "actions/cache"), action
        return Step(name, "success")


def _flattened(name: str, value: Any) -> dict[str, str]:
    """A context by dotted names."""
    if not isinstance(value, dict):
        return {name: "" if value is None else str(value)}
    return {
        key: text
        for k, inner in value.items()
        for key, text in _flattened(f"{name}.{k}", inner).items()
    }


def _flat(text: str) -> str:
    return re.sub(r"[^\w.-]", "_", text)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def _outputs(text: str) -> dict[str, str]:
    """name<<DELIMITER, lines, DELIMITER."""
    values, lines = {}, iter(text.splitlines())
    for line in lines:
        name, _, delimiter = line.partition("<<")
        assert delimiter, f"not an output: {line!r}"
        value = []
        for inner in lines:
            if inner == delimiter:
                break
            value.append(inner)
        values[name] = "\n".join(value)
    return values
