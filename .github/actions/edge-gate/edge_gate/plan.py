"""The inputs of the action, checked once, and what follows from them and from the event."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from edge_gate.api import Api, ApiError
from edge_gate.errors import ActionError
from edge_gate.event import Event, commit, read_event
from edge_gate.git import Git
from edge_gate.runner import notice, temporary_folder

SOURCES = ("file", "stored", "recompute")
_EXTRA = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REPORT_ENDINGS = (".json", ".md", ".html")
ARTIFACT_PREFIX = "edge-gate-"


@dataclass(frozen=True)
class Plan:
    """Everything that the steps of one job share. Folders and files are absolute paths."""

    name: str
    workspace: str
    root: str
    project: str
    target: str
    pytest_arguments: list[str]
    package: str
    requirements: str
    sources: list[str]
    baseline_file: str
    stored_file: str
    report_folder: str
    report_paths: list[str]
    model_cache: str
    model_key: str
    event: dict[str, Any]
    head: str
    base: str | None
    base_note: str

    def read_event(self) -> Event:
        return Event(**self.event)


def load() -> Plan:
    """The plan of this job, which the first step wrote."""
    path = os.environ.get("EDGE_GATE_PLAN", "")
    try:
        return Plan(**json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ActionError(f"the plan {path!r} can't be read: {error}") from None


def _check_flag(name: str, value: str) -> None:
    """An input that action.yml compares with 'true': anything else would count as false."""
    if value not in ("true", "false"):
        raise ActionError(f"input {name}: expected true or false, got {value!r}")


def _input(name: str) -> str:
    return os.environ.get(f"INPUT_{name.upper().replace('-', '_')}", "").strip()


def slug(text: str) -> str:
    """A short name from any text, safe in file, artifact and cache names, different for others."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if plain == text:
        return plain[:60] if len(plain) <= 60 else f"{plain[:48]}-{_digest(text)}"
    return f"{plain[:48].strip('-')}-{_digest(text)}".strip("-")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def inside(workspace: Path, name: str, value: str) -> Path:
    """A path that an input gives relative to the workspace. Raises `ActionError` outside of it."""
    if "\0" in value or "\n" in value:
        raise ActionError(f"input {name}: {value!r} is not one path")
    path = (workspace / value).resolve()
    if not path.is_relative_to(workspace):
        raise ActionError(f"input {name}: {value!r} leads out of the workspace")
    return path


def _sources(value: str) -> list[str]:
    names = [name.strip() for name in value.split(",") if name.strip()]
    if names in ([], ["auto"]):
        return list(SOURCES)
    if names == ["none"]:
        return []
    for name in names:
        if name not in SOURCES:
            raise ActionError(
                f"input baseline: {name!r} is none of auto, none, {', '.join(SOURCES)}"
            )
    return [name for name in SOURCES if name in names]  # the order is fixed


def _package(requirement: str, extras: str) -> str:
    """What pip installs; empty for nothing."""
    names = [name.strip() for name in extras.split(",") if name.strip()]
    for name in names:
        if not _EXTRA.fullmatch(name):
            raise ActionError(f"input extras: {name!r} is no name of an extra")
    if requirement == "installed":
        return ""
    if not requirement:
        action = Path(os.environ.get("GITHUB_ACTION_PATH") or __file__).resolve()
        roots = [folder for folder in action.parents if (folder / "pyproject.toml").is_file()]
        if not roots:
            raise ActionError(f"no pyproject.toml above {action}; give the input package")
        requirement = str(roots[0])
    elif requirement.startswith("-") or any(c.isspace() for c in requirement):
        raise ActionError(
            f"input package: {requirement!r} is not one requirement such as pytest-edgequant==1.0"
        )
    elif names and "[" not in requirement:
        # The extras belong behind the name: pytest-edgequant[plots]==1.0
        match = re.match(r"[A-Za-z0-9._-]+", requirement)
        if match and "/" not in requirement:
            return f"{match[0]}[{','.join(names)}]{requirement[match.end() :]}"
    return f"{requirement}[{','.join(names)}]" if names and "[" not in requirement else requirement


def find_base(git: Git, event: Event, head: str, token: str) -> tuple[str | None, str]:
    """The commit to compare with, and how it was found (or why there is none)."""
    if event.name == "pull_request":
        parents = git.parents(head)
        if len(parents) == 2 and parents[1] == event.head:
            # What runs is the pull request merged into its base: only its own changes differ.
            return parents[0], "the base branch's commit that the pull request was merged into"
        if event.base is None:
            return None, "the event names no base commit"
        found = git.merge_base(event.base, head)
        if found:
            return found, "the merge base"
        try:
            answer = Api(event.repository, token).request(
                "GET", f"compare/{event.base}...{event.head or head}"
            )
            found = commit(answer["merge_base_commit"]["sha"])
        except (ApiError, KeyError, TypeError):
            found = None
        if found:
            return found, "the merge base"
        return event.base, "the base branch's tip, as the merge base could not be found"
    if event.name == "merge_group":
        return event.base, "the merge queue's base"
    if event.on_default_branch:
        base = event.base or next(iter(git.parents(head)), None)
        return base, "the commit before" if base else "there is no commit before"
    found = git.merge_base(f"origin/{event.default_branch}", head)
    if found and found != head:
        return found, "the merge base"
    return None, f"the merge base with {event.default_branch} is not in the checkout"


def _pip_cache() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def make() -> tuple[Plan, Mapping[str, str]]:
    """The plan, written down for the next steps, and the outputs of the first one."""
    event = read_event()
    workspace = Path(os.environ["GITHUB_WORKSPACE"]).resolve()
    project = inside(workspace, "path", _input("path") or ".")
    if not project.is_dir():
        raise ActionError(f"input path: there is no folder {_input('path')!r} in the checkout")
    _check_flag("comment", _input("comment") or "true")
    token = os.environ.get("GITHUB_TOKEN", "")
    git = Git(project, token)
    try:
        head, root = git.head(), git.root()
    except ActionError as error:
        raise ActionError(f"check out the repository before the gate runs ({error})") from None
    try:
        arguments = shlex.split(_input("pytest-args"))
    except ValueError as error:
        raise ActionError(f"input pytest-args: {error}") from None
    target = _input("target")
    relative = project.relative_to(workspace).as_posix()
    name = slug(_input("name") or " ".join(filter(None, [target, relative.strip(".")])) or "gate")
    folder = temporary_folder() / f"edge-gate-{name}"
    (folder / "report").mkdir(parents=True, exist_ok=True)
    report_paths = []
    for line in _input("report-paths").splitlines():
        if line.strip():
            path = inside(workspace, "report-paths", line.strip())
            if path.suffix.lower() not in _REPORT_ENDINGS:
                endings = ", ".join(_REPORT_ENDINGS)
                raise ActionError(f"input report-paths: {line.strip()!r} ends in none of {endings}")
            report_paths.append(str(path))
    requirements = _input("requirements")
    if requirements and not inside(workspace, "requirements", requirements).is_file():
        raise ActionError(f"input requirements: there is no file {requirements!r}")
    base, note = find_base(git, event, head, token)
    plan = Plan(
        name=name,
        workspace=str(workspace),
        root=str(root),
        project=str(project),
        target=target,
        pytest_arguments=arguments,
        package=_package(_input("package"), _input("extras")),
        requirements=str(inside(workspace, "requirements", requirements)) if requirements else "",
        sources=_sources(_input("baseline")),
        baseline_file=str(inside(project, "baseline-file", _input("baseline-file"))),
        stored_file=str(folder / "stored" / "baseline.json"),
        report_folder=str(folder / "report"),
        report_paths=report_paths,
        model_cache=str(folder / "models"),
        model_key=f"edgequant-models-{_system()}-{name}-",
        event=dataclasses.asdict(event),
        head=head,
        base=base,
        base_note=note,
    )
    path = folder / "plan.json"
    path.write_text(json.dumps(dataclasses.asdict(plan), indent=2), encoding="utf-8")
    notice(f"Edge gate {name}: commit {head[:10]}, base {(base or 'none')[:10]} ({note})")
    return plan, _outputs(plan, path)


def _outputs(plan: Plan, path: Path) -> Mapping[str, str]:
    system, event = _system(), plan.read_event()
    has_file = "file" in plan.sources and Path(plan.baseline_file).is_file()
    looks_up = plan.base and "stored" in plan.sources and not has_file
    installs = _digest("\n".join([PurePath(plan.package).name, *_dependencies(plan)]))
    return {
        "plan": str(path),
        "name": plan.name,
        "artifact": f"{ARTIFACT_PREFIX}{plan.name}",
        "report-folder": plan.report_folder,
        "pip-cache": _pip_cache(),
        "pip-key": f"edgequant-pip-{system}-{installs}",
        "pip-restore-key": f"edgequant-pip-{system}-",
        "model-cache": plan.model_cache,
        "model-restore-key": plan.model_key,
        "stored-file": plan.stored_file,
        "stored-key": f"edgequant-baseline-{plan.name}-{plan.base}" if plan.base else "",
        "look-up-stored": str(bool(looks_up)).lower(),
        "save-key": f"edgequant-baseline-{plan.name}-{plan.head}",
        # What the comment goes by: no file that is still there when the tests have run.
        "pull-number": str(event.number or ""),
        "pull-head": event.head or "",
        "pull-repository": "" if event.fork else event.repository,
        "code": code_digest(),
    }


def code_digest() -> str:
    """What tells whether this action's code is still what it was; action.yml compares it."""
    folder, total = Path(__file__).resolve().parents[1], hashlib.sha256()
    for path in sorted(folder.rglob("*.py"), key=str):
        total.update(f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes())
    return total.hexdigest()


def _system() -> str:
    python = f"py{sys.version_info[0]}.{sys.version_info[1]}"
    return f"{platform.system()}-{platform.machine()}-{python}"


def _dependencies(plan: Plan) -> list[str]:
    """The texts that say what pip downloads besides the package itself."""
    action = Path(os.environ.get("GITHUB_ACTION_PATH") or __file__).resolve()
    paths = [folder / "pyproject.toml" for folder in action.parents]
    paths += [Path(plan.requirements)] if plan.requirements else []
    return [path.read_text(encoding="utf-8") for path in paths if path.is_file()]
