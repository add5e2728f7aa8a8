"""The inputs and the event: what is refused, what is compared with what."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from edge_gate import commands, plan
from edge_gate.errors import ActionError
from edge_gate.runner import set_outputs
from fake_github import REPOSITORY, FakeGitHub
from fake_runner import _outputs, evaluate

Make = Callable[..., tuple[plan.Plan, Mapping[str, str]]]


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "sub").mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / "sub" / "a").write_text("a")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    git(folder, "commit", "-qm", "two", "--allow-empty")
    return folder.resolve()


@pytest.fixture
def make(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, github: FakeGitHub
) -> Make:
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    def make_plan(
        event: str = "push", payload: Mapping[str, Any] | None = None, **inputs: str
    ) -> tuple[plan.Plan, Mapping[str, str]]:
        document = payload or {"before": git(workspace, "rev-parse", "HEAD^")}
        document = {"repository": {"default_branch": "main"}, **document}
        (tmp_path / "event.json").write_text(json.dumps(document))
        environment = {
            "GITHUB_EVENT_PATH": str(tmp_path / "event.json"), "GITHUB_EVENT_NAME": event,
            "GITHUB_REPOSITORY": REPOSITORY, "GITHUB_REF": "refs/heads/main",
            "GITHUB_WORKSPACE": str(workspace), "RUNNER_TEMP": str(temporary),
            "GITHUB_API_URL": github.url, "GITHUB_TOKEN": "reads",
            "GITHUB_SHA": git(workspace, "rev-parse", "HEAD"),
            "INPUT_PATH": ".", "INPUT_BASELINE_FILE": "edge-baseline.json",
        }  # fmt: skip
        environment |= {f"INPUT_{name.upper()}": value for name, value in inputs.items()}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return plan.make()

    return make_plan


@pytest.mark.parametrize(
    "inputs, said",
    [
        ({"path": "../.."}, "leads out of the workspace"),
        ({"path": "/etc"}, "leads out of the workspace"),
        ({"path": "missing"}, "no folder 'missing'"),
        ({"baseline_file": "../../x"}, "leads out"),
        ({"baseline": "files"}, "'files' is none of auto"),
        ({"extras": "a]; rm -rf /"}, "no name of an extra"),
        ({"package": "--index-url=http://x y"}, "not one requirement"),
        ({"package": "-r/etc/passwd"}, "not one requirement"),
        ({"requirements": "missing.txt"}, "no file 'missing.txt'"),
        ({"report_paths": "a.exe"}, "ends in none of"),
        ({"report_paths": "ok.md\n../../x.md"}, "leads out"),
        ({"pytest_args": "-k 'open"}, "pytest-args"),
        ({"comment": "yes"}, "input comment: expected true or false"),
        ({"event": "pull_request_target"}, "pull_request_target would do with"),
        ({"event": "workflow_run"}, "edge-comment"),
        ({"event": "pull_request", "payload": {"pull_request": {}}}, "no pull_request.number"),
        ({"event": "pull_request", "payload": {"pull_request": []}}, "no pull_request.number"),
    ],
)
def test_bad_inputs_are_refused_by_name(make: Make, inputs: dict[str, Any], said: str) -> None:
    with pytest.raises(ActionError, match=said):
        make(**inputs)


def test_an_error_is_one_line_for_the_user(
    make: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make()
    monkeypatch.setenv("INPUT_PATH", "a\nb")
    assert commands.main(["plan"]) == 1
    (line,) = capsys.readouterr().out.splitlines()[1:]
    assert line.startswith("::error::input path: ")
    assert commands.main(["unknown"]) == 2


def test_names_are_safe_and_differ(make: Make) -> None:
    assert make(target="nano33ble")[0].name == "nano33ble"
    assert make(target="nano33ble", path="sub")[0].name.startswith("nano33ble-sub-")
    names = {make(target=t)[0].name for t in ("stm32*", "stm32?", "a,b", "A,b", "x" * 300, "../")}
    assert len(names) == 6
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for name in names)
    assert max(map(len, names)) <= 60


@pytest.mark.parametrize(
    "package, extras, made",
    [
        ("installed", "plots", ""),
        ("pytest-edgequant==1.0", "tensorflow,plots", "pytest-edgequant[tensorflow,plots]==1.0"),
        ("pytest-edgequant[qat]", "plots", "pytest-edgequant[qat]"),
        ("pytest-edgequant", "", "pytest-edgequant"),
        ("./wheels/x.whl", "plots", "./wheels/x.whl[plots]"),
    ],
)
def test_what_pip_installs(make: Make, package: str, extras: str, made: str) -> None:
    assert make(package=package, extras=extras)[0].package == made


def test_the_action_s_own_sources_are_installed_by_default(make: Make) -> None:
    root = Path(plan.__file__).parents[4]
    assert make(extras="plots")[0].package == f"{root}[plots]"


def test_pushes_compare_with_the_commit_before(make: Make, workspace: Path) -> None:
    before = git(workspace, "rev-parse", "HEAD^")
    assert make()[0].base == before
    assert make(payload={"before": "0" * 40})[0].base == before
    assert make("schedule", {"schedule": "x"})[0].base == before
    assert make("merge_group", {"merge_group": {"base_sha": before}})[0].base == before


def pull(base: str, head: str) -> dict[str, Any]:
    return {
        "pull_request": {
            "number": 7,
            "base": {"sha": base},
            "head": {"sha": head, "repo": {"full_name": REPOSITORY}},
        }
    }


def test_pull_requests_compare_with_the_merge_base(
    make: Make, workspace: Path, github: FakeGitHub
) -> None:
    one, two = git(workspace, "rev-parse", "HEAD^"), git(workspace, "rev-parse", "HEAD")
    git(workspace, "checkout", "-qb", "topic", one)
    git(workspace, "commit", "-qm", "mine", "--allow-empty")
    head = git(workspace, "rev-parse", "HEAD")
    made, outputs = make("pull_request", pull(two, head))
    assert (made.base, made.base_note) == (one, "the merge base")
    assert outputs["stored-key"].endswith(one)

    # The base branch's tip is not here: GitHub is asked, and without an answer it is the tip.
    missing = "c" * 40
    github.merge_bases[f"{missing}...{head}"] = one
    assert make("pull_request", pull(missing, head))[0].base == one
    github.merge_bases.clear()
    made, _ = make("pull_request", pull(missing, head))
    assert made.base == missing
    assert "could not be found" in made.base_note

    # Merged, as pull requests are checked out: the base is what it was merged into.
    git(workspace, "checkout", "-q", "--detach", two)
    git(workspace, "merge", "-q", "--no-ff", "-m", "merge", head)
    made, _ = make("pull_request", pull(one, head))
    assert made.base == two


def test_branches_compare_with_the_default_branch(
    make: Make, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = make("pull_request", pull("nonsense", "nonsense"))
    assert (made.base, made.base_note) == (None, "the event names no base commit")
    git(workspace, "checkout", "-qb", "topic")
    git(workspace, "update-ref", "refs/remotes/origin/main", "HEAD^")
    made, _ = make("workflow_dispatch", {"inputs": {}})
    assert made.base == git(workspace, "rev-parse", "HEAD^")


def test_outputs_can_t_be_broken_out_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "output"
    monkeypatch.setenv("GITHUB_OUTPUT", str(path))
    evil = "x\nedge_gate\nother=1\nEOF\nother<<EOF\n1\nEOF"
    set_outputs({"one": evil, "two": ""})
    assert _outputs(path.read_text()) == {"one": evil, "two": ""}


@pytest.mark.parametrize(
    "code, given", [("0", 0), ("1", 1), ("5", 5), ("", 1), ("x", 1), ("-11", 245)]
)
def test_the_exit_code_is_pytest_s(code: str, given: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_GATE_EXIT_CODE", code)
    assert commands.main(["conclude"]) == given


def test_expressions_of_the_played_runner() -> None:
    contexts = {"inputs.comment": "true", "steps.a.outputs.x": ""}
    status = {"always": True, "success": False}
    assert evaluate("always() && inputs.comment == 'true'", contexts, status)
    assert not evaluate("success() && inputs.comment == 'true'", contexts, status)
    assert not evaluate("steps.a.outputs.x != ''", contexts, status)
    with pytest.raises(ValueError, match="not understood"):
        evaluate("a ~ b", contexts, status)
