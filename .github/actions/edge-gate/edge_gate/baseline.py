"""Where the baseline comes from: a file, what the base's own run stored, or running the base."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from edge_gate import artifacts, pytest_run
from edge_gate.api import Api
from edge_gate.errors import ActionError
from edge_gate.git import Git
from edge_gate.plan import ARTIFACT_PREFIX, Plan
from edge_gate.runner import group, temporary_folder, warning

MAX_BASELINE = 64 * 2**20


@dataclass(frozen=True)
class Baseline:
    """The file that the run is compared with (None without one), and where it comes from."""

    path: Path | None
    source: str


def _usable(path: Path) -> bool:
    """Whether this is a JSON object of a sane size; its version is the plugin's to judge."""
    try:
        if path.stat().st_size > MAX_BASELINE:
            return False
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError, RecursionError):
        return False


def _named(plan: Plan, path: Path, kind: str, source: str) -> Baseline:
    """The same file by a name that tells where it is from: reports show the name."""
    named = temporary_folder() / f"edge-gate-{plan.name}" / f"{kind}-{(plan.base or '')[:10]}.json"
    shutil.copyfile(path, named)
    return Baseline(named, source)


def _from_file(plan: Plan, git: Git, notes: list[str]) -> Baseline | None:
    path = Path(plan.baseline_file)
    shown = os.path.relpath(path, plan.workspace).replace(os.sep, "/")
    if not path.is_file():
        notes.append(f"no file {shown} in the repository")
        return None
    # A damaged file is not passed over: the plugin says what is wrong with it.
    changed = ""
    relative = os.path.relpath(path, plan.project).replace(os.sep, "/")
    if plan.base and git.has(plan.base) and not git.same_file(plan.base, relative):
        changed = ", which differs from the base's"
    return Baseline(path, f"the file {shown} in the repository{changed}")


def _from_store(plan: Plan, api: Api, notes: list[str]) -> Baseline | None:
    base, path = plan.base, Path(plan.stored_file)
    if base is None:
        return None
    if path.is_file():
        if _usable(path):
            return _named(plan, path, "cache-of", f"the cache of {base[:10]}, {plan.base_note}")
        notes.append(f"the cache of {base[:10]} holds no readable baseline")
    branch = plan.read_event().default_branch
    try:
        found = artifacts.of_commit(api, f"{ARTIFACT_PREFIX}{plan.name}", base, branch)
        content = found.read("baseline.json", MAX_BASELINE) if found else None
    except ActionError as error:
        notes.append(f"artifacts of {base[:10]} can't be read ({error})")
        return None
    if content is None:
        notes.append(f"neither cache nor artifact of {base[:10]} on {branch}")
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if not _usable(path):
        notes.append(f"the artifact of {base[:10]} holds no readable baseline")
        return None
    return _named(plan, path, "artifact-of", f"the artifact of {base[:10]}, {plan.base_note}")


def _recomputed(plan: Plan, git: Git, notes: list[str]) -> Baseline | None:
    base = plan.base
    if base is None:
        return None
    folder = temporary_folder() / f"edge-gate-{plan.name}" / "base"
    target = folder.with_name("recomputed") / "baseline.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        git.fetch(base)
        shutil.rmtree(folder, ignore_errors=True)
        with group(f"The base, {base[:10]}"), git.worktree(base, folder) as tree:
            project = tree / Path(plan.project).relative_to(plan.root)
            if not project.is_dir():
                notes.append(f"{base[:10]} has no folder {project.relative_to(tree)}")
                return None
            code = pytest_run.run(plan, [f"--edge-save-baseline={target}"], project, of_base=True)
    except (ActionError, OSError) as error:
        notes.append(f"{base[:10]} could not be run: {error}")
        return None
    if not _usable(target):
        notes.append(f"running {base[:10]} gave no baseline (pytest exited with {code})")
        return None
    return _named(plan, target, "recomputed", f"recomputed from {base[:10]}, {plan.base_note}")


def resolve(plan: Plan, token: str, *, supported: bool) -> Baseline:
    """The first baseline there is, in the order file, stored, recompute."""
    if not supported:
        return Baseline(None, "none: the installed pytest-edgequant has no --edge-baseline")
    if not plan.sources:
        return Baseline(None, "none: the workflow asks for none")
    git, notes = Git(Path(plan.project), token), list[str]()
    event = plan.read_event()
    for source in plan.sources:
        if source == "file":
            found = _from_file(plan, git, notes)
        elif source == "stored":
            found = _from_store(plan, Api(event.repository, token), notes)
        elif event.on_default_branch:
            continue  # nobody waits for a comparison there; the run itself becomes a base
        else:
            found = _recomputed(plan, git, notes)
        if found:
            return found
    if plan.base is None:
        notes.append(plan.base_note)
    warning(f"Edge gate {plan.name}: no baseline: {'; '.join(notes)}")
    return Baseline(None, f"none: {'; '.join(notes)}")
