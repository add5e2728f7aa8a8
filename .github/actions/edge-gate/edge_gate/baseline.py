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
CONVENTIONAL = "edge-baseline.json"
"""What `baseline-file` is where the workflow does not say."""


@dataclass(frozen=True)
class Baseline:
    """The file that the run is compared with (None without one), and where it comes from.

    `by_convention`: nobody named it, so that one that can't be compared with is no mistake.
    """

    path: Path | None
    source: str
    by_convention: bool = True


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
    named = path != Path(plan.project) / CONVENTIONAL
    return Baseline(path, f"the file {shown} in the repository{changed}", not named)


def _from_store(plan: Plan, notes: list[str]) -> Baseline | None:
    base, cached, uploaded = plan.base, Path(plan.stored_file), _uploaded(plan)
    if base is None:
        return None
    for path, kind in ((cached, "cache"), (uploaded, "artifact")):
        if path.is_file() and _usable(path):
            source = f"the {kind} of {base[:10]}, {plan.base_note}"
            return _named(plan, path, f"{kind}-of", source)
        if path.is_file():
            notes.append(f"the {kind} of {base[:10]} holds no readable baseline")
    if not uploaded.is_file():
        branch = plan.read_event().default_branch
        problem = _problem(plan)
        without = f"neither cache nor artifact of {base[:10]} on {branch}"
        notes.append(problem.read_text(encoding="utf-8") if problem.is_file() else without)
    return None


def _uploaded(plan: Plan) -> Path:
    """Where the baseline from the base's artifact lies."""
    return temporary_folder() / f"edge-gate-{plan.name}" / "artifact" / "baseline.json"


def _problem(plan: Plan) -> Path:
    """Where it is said why there is none."""
    return _uploaded(plan).with_name("problem.txt")


def fetch(plan: Plan, token: str) -> None:
    """Get what `resolve` may need and only a token gets: the base's artifact, or its commit.

    It is a step of its own, as `resolve` belongs to one that runs the project's code.
    """
    if plan.base is None or ("file" in plan.sources and Path(plan.baseline_file).is_file()):
        return
    stored = "stored" in plan.sources
    if stored and (_usable(Path(plan.stored_file)) or _download(plan, plan.base, token)):
        return
    if "recompute" in plan.sources and not plan.read_event().on_default_branch:
        try:
            Git(Path(plan.project), token).fetch(plan.base)
        except ActionError as error:
            warning(f"Edge gate {plan.name}: {plan.base[:10]} can't be fetched: {error}")


def _download(plan: Plan, base: str, token: str) -> bool:
    """Whether the base's run left a baseline as an artifact; then it is here."""
    event, path = plan.read_event(), _uploaded(plan)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        api, name = Api(event.repository, token), f"{ARTIFACT_PREFIX}{plan.name}"
        found = artifacts.of_commit(api, name, base, event.default_branch)
        content = found.read("baseline.json", MAX_BASELINE) if found else None
    except ActionError as error:
        problem = f"artifacts of {base[:10]} can't be read ({error})"
        _problem(plan).write_text(problem, encoding="utf-8")
        return False
    if content is None:
        return False
    path.write_bytes(content)
    return _usable(path)


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


def resolve(plan: Plan, *, supported: bool) -> Baseline:
    """The first baseline there is, in the order file, stored, recompute."""
    if not supported:
        return Baseline(None, "none: the installed pytest-edgequant has no --edge-baseline")
    if not plan.sources:
        return Baseline(None, "none: the workflow asks for none")
    git, notes = Git(Path(plan.project)), list[str]()
    for source in plan.sources:
        if source == "file":
            found = _from_file(plan, git, notes)
        elif source == "stored":
            found = _from_store(plan, notes)
        elif plan.read_event().on_default_branch:
            continue  # nobody waits for a comparison there; the run itself becomes a base
        else:
            found = _recomputed(plan, git, notes)
        if found:
            return found
    if plan.base is None:
        notes.append(plan.base_note)
    warning(f"Edge gate {plan.name}: no baseline: {'; '.join(notes)}")
    return Baseline(None, f"none: {'; '.join(notes)}")
