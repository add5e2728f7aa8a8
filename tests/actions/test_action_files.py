"""What the YAML of actions and workflows keeps to, whoever edits it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = sorted(
    [
        *ROOT.glob(".github/workflows/*.yml"),
        *ROOT.glob(".github/actions/*/action.yml"),
        *ROOT.glob("example_project/.github/workflows/*.yml"),
    ]
)
IDS = [str(path.relative_to(ROOT)) for path in FILES]
WORKFLOWS = [path for path in FILES if path.parent.name == "workflows"]
each_file = pytest.mark.parametrize("path", FILES, ids=IDS)


def load(path: Path) -> dict[Any, Any]:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def steps(document: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    for job in document.get("jobs", {}).values():
        yield from job.get("steps", [])
    yield from document.get("runs", {}).get("steps", [])


def test_all_files_are_here() -> None:
    assert len(FILES) == 7


@each_file
def test_third_party_actions_are_pinned_and_named(path: Path) -> None:
    uses = re.findall(r"uses:\s*(\S+)(?:\s+#\s*(.*))?", path.read_text(encoding="utf-8"))
    for action, note in uses:
        if action.startswith(("./", "OWNER/pytest-edgequant/")):
            continue
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r"v\d+\.\d+\.\d+", note), f"{action}: say which release it is"


def test_an_action_is_the_same_release_everywhere() -> None:
    pins: dict[str, set[str]] = {}
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        for action, pin in re.findall(r"uses:\s*([\w-]+/[\w-]+)[\w/-]*@([0-9a-f]{40} # \S+)", text):
            pins.setdefault(action, set()).add(pin)
    assert pins
    assert all(len(found) == 1 for found in pins.values()), pins


@each_file
def test_shells_get_values_by_environment_only(path: Path) -> None:
    for step in steps(load(path)):
        assert "${{" not in step.get("run", ""), step


@pytest.mark.parametrize("path", WORKFLOWS, ids=[p.name for p in WORKFLOWS])
def test_permissions_are_given_job_by_job(path: Path) -> None:
    document = load(path)
    assert document["permissions"] == {}
    for job in document["jobs"].values():
        assert isinstance(job["permissions"], dict)
        writes = {name for name, right in job["permissions"].items() if right != "read"}
        runs_code = any(
            "edge-comment" not in s.get("uses", "edge-comment") for s in job.get("steps", [])
        )
        if "pull-requests" in writes and "steps" in job:
            assert not runs_code, "a job that may comment runs nothing else"


@each_file
def test_checkouts_leave_no_credentials(path: Path) -> None:
    for step in steps(load(path)):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("name", ["edge-gate", "edge-comment"])
def test_every_input_is_used_and_every_used_one_exists(name: str) -> None:
    path = ROOT / ".github" / "actions" / name / "action.yml"
    used = set(re.findall(r"inputs\.([\w-]+)", path.read_text(encoding="utf-8")))
    assert used == set(load(path)["inputs"])


def test_the_reusable_workflow_passes_on_what_the_action_takes() -> None:
    action = load(ROOT / ".github/actions/edge-gate/action.yml")
    workflow = load(ROOT / ".github/workflows/edge-gate.yml")
    inputs = workflow[True]["workflow_call"]["inputs"]  # YAML 1.1 reads `on` as true
    given = workflow["jobs"]["gate"]["steps"][-1]["with"]
    assert set(given) <= set(action["inputs"])
    for name in set(inputs) & set(given) - {"comment"}:
        assert inputs[name].get("default") == action["inputs"][name].get("default")


def test_the_comment_on_forks_checks_nothing_out() -> None:
    document = load(ROOT / "example_project/.github/workflows/edge-gate-comment.yml")
    used = [step["uses"] for step in steps(document)]
    assert used == ["OWNER/pytest-edgequant/.github/actions/edge-comment@v1"]


def test_the_action_needs_the_standard_library_only() -> None:
    import ast
    import sys

    for path in (ROOT / ".github/actions/edge-gate").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.partition(".")[0]
                assert top == "edge_gate" or top in sys.stdlib_module_names, f"{path}: {name}"


def test_the_action_tells_what_github_recognizes_as_the_package_does() -> None:
    ours = ROOT / ".github/actions/edge-gate/edge_gate/inert.py"
    assert ours.read_bytes() == (ROOT / "pytest_edgequant/report/inert.py").read_bytes()
