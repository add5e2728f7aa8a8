"""The action from end to end: commits, events, a runner and an API that are played here.

`pytest tests/actions` runs all of it, without network.
"""

# Over 400 lines: one run of the action after the other, all on the same played runner.

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fake_github import REPOSITORY, REPOSITORY_ID, FakeGitHub, zipped
from fake_runner import Job, Runner

from pytest_edgequant.settings import OPTIONS

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
ACTIONS = ROOT / ".github" / "actions"
COMPARES = "baseline" in {option.name for option in OPTIONS}
MARKDOWN = find_spec("pytest_edgequant.report.markdown") is not None
compares = pytest.mark.skipif(not COMPARES, reason="this state has no --edge-baseline")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="plays a Linux runner")

_CONFTEST = """
from pathlib import Path
import pytest

@pytest.fixture(scope="session")
def edge_model():
    return Path(__file__).parent / "model.tflite"
"""
_TEST = """
from pytest_edgequant import assert_arena_fits, assert_size_within

def test_size(edge_int8):
    assert_size_within(edge_int8, {limit})

def test_arena(edge_int8, edge_target):
    assert_arena_fits(edge_int8, edge_target)
"""
SMALL = (DATA / "tiny_int8.tflite").stat().st_size
FORK = 2000


@dataclass
class Repository:
    """A user's repository, with the commits that the events below are about."""

    folder: Path

    def git(self, *arguments: str) -> str:
        identity = {
            f"GIT_{who}_{what}": "test"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        done = subprocess.run(
            ["git", "-c", "protocol.file.allow=always", *arguments],
            cwd=self.folder,
            env={**os.environ, **identity, "GIT_CONFIG_GLOBAL": os.devnull},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def write(self, files: Mapping[str, str | Path]) -> None:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, path)
            else:
                path.write_text(content, encoding="utf-8")

    def commit(self, files: Mapping[str, str | Path], message: str = "change") -> str:
        self.write(files)
        self.git("add", "-A")
        self.git("commit", "-qm", message)
        return self.git("rev-parse", "HEAD")


@dataclass
class World:
    """A repository at GitHub, and a machine that runs its workflows."""

    github: FakeGitHub
    runner: Runner
    origin: Repository
    base: str
    tmp: Path
    count: int = 0
    run_id: int | None = None
    action: Path = ACTIONS / "edge-gate"

    def branch(self, name: str, files: Mapping[str, str | Path]) -> str:
        """A commit on top of the base, in a branch of its own."""
        self.origin.git("checkout", "-q", "-B", name, self.base)
        return self.origin.commit(files)

    def checkout(self, sha: str, *, merge: str | None = None) -> tuple[Path, str]:
        """What actions/checkout leaves: one commit, or its merge into `merge`, no history."""
        if merge is not None:
            self.origin.git("checkout", "-q", "--detach", merge)
            self.origin.git("merge", "-q", "--no-ff", "-m", "merge", sha)
            sha = self.origin.git("rev-parse", "HEAD")
        self.count += 1
        folder = self.tmp / f"checkout{self.count}"
        folder.mkdir()
        clone = Repository(folder)
        clone.git("init", "-q")
        clone.git("remote", "add", "origin", f"file://{self.origin.folder}")
        clone.git("fetch", "-q", "--depth=1", "origin", sha)
        clone.git("checkout", "-q", "FETCH_HEAD")
        return folder, sha

    def push(self, **inputs: str) -> Job:
        """The run of the base on the default branch."""
        workspace, sha = self.checkout(self.base)
        payload = {"repository": {"default_branch": "main"}, "before": "0" * 40, "after": sha}
        return self._run(workspace, "push", payload, sha, "refs/heads/main", inputs, "writes", {})

    def pull_request(self, number: int, head: str, *, fork: bool = False, **inputs: str) -> Job:
        """The run of a pull request: GitHub's merge of it is checked out."""
        workspace, sha = self.checkout(head, merge=self.base)
        repository = "stranger/edge" if fork else REPOSITORY
        payload = {
            "repository": {"default_branch": "main"},
            "pull_request": {
                "number": number,
                "base": {"sha": self.base, "ref": "main"},
                "head": {"sha": head, "ref": "topic", "repo": {"full_name": repository}},
            },
        }
        variables = {
            "TEST_RUN_SHA": head,
            "TEST_RUN_BRANCH": "main" if fork else "topic",
            "TEST_RUN_REPOSITORY": str(FORK if fork else REPOSITORY_ID),
        }
        token = "reads" if fork else "writes"
        ref = f"refs/pull/{number}/merge"
        return self._run(workspace, "pull_request", payload, sha, ref, inputs, token, variables)

    def _run(
        self,
        workspace: Path,
        event: str,
        payload: Mapping[str, Any],
        sha: str,
        ref: str,
        inputs: Mapping[str, str],
        token: str,
        variables: Mapping[str, str],
    ) -> Job:
        given = {"target": "nano33ble", "package": "installed", **inputs}
        if self.run_id is not None:
            variables = {**variables, "GITHUB_RUN_ID": str(self.run_id)}
        return self.runner.run(
            self.action,
            workspace=workspace,
            event=event,
            payload=json.dumps(payload),
            sha=sha,
            ref=ref,
            inputs={name.replace("_", "-"): value for name, value in given.items()},
            token=token,
            variables={**_python(), **variables},
        )

    def comment_job(self, number: int, head: str, run: int) -> Job:
        """The job behind a matrix of gates, in the same run."""
        self.count += 1
        empty = self.tmp / f"empty{self.count}"
        empty.mkdir()
        pull = {"number": number, "head": {"sha": head, "repo": {"full_name": REPOSITORY}}}
        return self.runner.run(
            ACTIONS / "edge-comment",
            workspace=empty,
            event="pull_request",
            payload=json.dumps({"pull_request": pull}),
            sha=head,
            ref=f"refs/pull/{number}/merge",
            inputs={},
            token="writes",
            variables={"GITHUB_RUN_ID": str(run)},
        )

    def workflow_run(self, head: str, run: int, *, branch: str = "main", name: str = "gate") -> Job:
        """The run that comments on what a fork's run uploaded."""
        payload = {
            "repository": {"default_branch": "main", "id": REPOSITORY_ID},
            "workflow_run": {
                "id": run,
                "event": "pull_request",
                "head_sha": head,
                "head_branch": branch,
                "pull_requests": [],
                "repository": {"id": REPOSITORY_ID},
                "head_repository": {"id": FORK, "owner": {"login": "stranger"}},
            },
        }
        self.count += 1
        empty = self.tmp / f"empty{self.count}"
        empty.mkdir()
        return self.runner.run(
            ACTIONS / "edge-comment",
            workspace=empty,
            event="workflow_run",
            payload=json.dumps(payload),
            sha=self.base,
            ref="refs/heads/main",
            inputs={"name": name},
            token="writes",
            variables={},
        )

    def artifact(self, name: str) -> Mapping[str, bytes]:
        """The newest upload of this name."""
        content = [a["content"] for a in self.github.artifacts if a["name"] == name][-1]
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {member: archive.read(member) for member in archive.namelist()}


def _python() -> dict[str, str]:
    """The package under test, where the runner would have installed it."""
    plugin = "" if _installed() else "-p pytest_edgequant.plugin.hooks"
    return {
        "PYTHONPATH": str(ROOT),
        "PYTEST_ADDOPTS": f"{plugin} -p no:cacheprovider -p no:hypothesispytest".strip(),
    }


def _installed() -> bool:
    from importlib.metadata import entry_points

    return any(e.value == "pytest_edgequant.plugin.hooks" for e in entry_points(group="pytest11"))


@pytest.fixture
def world(tmp_path: Path, github: FakeGitHub) -> World:
    folder = tmp_path / "origin"
    folder.mkdir()
    origin = Repository(folder)
    origin.git("init", "-q", "-b", "main")
    origin.git("config", "uploadpack.allowAnySHA1InWant", "true")
    base = origin.commit(
        {
            "conftest.py": _CONFTEST,
            "test_edge.py": _TEST.format(limit=SMALL + 100),
            "model.tflite": DATA / "tiny_int8.tflite",
            "pytest.ini": "[pytest]\n",
        }
    )
    runner = Runner(tmp_path / "machine", tmp_path / "cache", github)
    return World(github, runner, origin, base, tmp_path)


def test_a_good_pull_request_is_green_and_commented_once(world: World) -> None:
    head = world.branch("topic", {"README.md": "better"})
    job = world.pull_request(7, head)
    assert job.green, job.log
    (body,) = world.github.bodies(7)
    assert "✅ Edge gate: passed" in body.splitlines()[1]
    assert head in body
    uploaded = world.artifact("edge-gate-nano33ble")
    assert {"report.json", "gate.json"} <= set(uploaded)
    record = json.loads(uploaded["gate.json"])
    assert (record["number"], record["head"], record["exit_code"]) == (7, head, 0)
    assert "Baseline: " in job.summary

    # A second push to the pull request updates the comment.
    again = world.branch("topic", {"README.md": "better still"})
    world.pull_request(7, again, baseline="none")
    (body,) = world.github.bodies(7)
    assert again in body
    assert head not in body
    assert world.github.comments[0]["edits"] == 1


def test_a_bad_pull_request_is_red_with_pytest_s_exit_code(world: World) -> None:
    head = world.branch("topic", {"test_edge.py": _TEST.format(limit=100)})
    job = world.pull_request(8, head, baseline="none")
    assert not job.green
    assert [step.name for step in job.steps if step.outcome == "failure"] == ["Pass or fail"]
    (body,) = world.github.bodies(8)
    assert "❌ Edge gate: failed" in body.splitlines()[1]
    assert "::error::Edge gate: failed (pytest exited with 1)" in job.log
    assert job.step("Run the gate").outputs["verdict"] == "failed"
    assert job.step("Upload the reports").outcome == "success"
    if MARKDOWN:
        assert "over the limit of 100 B" in body
        assert "over the limit of 100 B" in job.summary
        assert "::error file=test_edge.py,line=" in job.log
        assert {"report.md", "report.html"} <= set(world.artifact("edge-gate-nano33ble"))

    # Mended, the same comment says so.
    mended = world.branch("topic", {"test_edge.py": _TEST.format(limit=SMALL)})
    assert world.pull_request(8, mended, baseline="none").green
    (body,) = world.github.bodies(8)
    assert "✅ Edge gate: passed" in body


def test_the_base_is_recomputed_where_nothing_is_stored(world: World) -> None:
    head = world.branch("topic", {"README.md": "new"})
    job = world.pull_request(9, head, comment="false")
    assert job.green, job.log
    assert world.github.comments == []
    said = job.step("Run the gate").outputs["baseline"]
    if COMPARES:
        assert said.startswith(f"recomputed from {world.base[:10]}")
        uploaded = world.artifact("edge-gate-nano33ble")
        assert "baseline.json" in uploaded
        # The reports themselves say so too.
        assert f"recomputed-{world.base[:10]}.json" in uploaded["report.json"].decode()
        # What the base's run says is no annotation of this one.
        start = job.log.index("::stop-commands::")
        assert f"::{job.log[start + 17 :].split()[0]}::" in job.log
    else:
        assert "no --edge-baseline" in said
    assert said[:20] in job.summary.replace("\\", "")


@compares
def test_the_base_is_taken_from_its_cache(world: World) -> None:
    push = world.push()
    assert push.green, push.log
    assert push.step("Keep the baseline").outcome == "success"
    head = world.branch("topic", {"README.md": "new"})
    job = world.pull_request(10, head)
    said = job.step("Run the gate").outputs["baseline"]
    assert said.startswith(f"the cache of {world.base[:10]}")
    assert "the cache of" in world.github.bodies(10)[0]


@compares
def test_the_base_is_taken_from_its_artifact_but_never_from_a_fork_s(world: World) -> None:
    world.push()
    shutil.rmtree(world.runner.cache)
    world.github.add_artifact(
        "edge-gate-nano33ble",
        zipped({"baseline.json": b'{"planted": 1}'}),
        run=99,
        sha=world.base,
        branch="main",
        head_repository=FORK,
    )
    head = world.branch("topic", {"README.md": "new"})
    job = world.pull_request(11, head)
    said = job.step("Run the gate").outputs["baseline"]
    assert said.startswith(f"the artifact of {world.base[:10]}"), job.log
    assert world.github.downloads_with_token == 0


@compares
def test_a_file_in_the_repository_comes_first(world: World) -> None:
    world.push()
    baseline = world.artifact("edge-gate-nano33ble")["baseline.json"].decode()
    head = world.branch("topic", {"edge-baseline.json": baseline})
    job = world.pull_request(12, head)
    said = job.step("Run the gate").outputs["baseline"]
    assert said.startswith("the file edge-baseline.json in the repository"), job.log
    assert job.step("Restore the base's baseline").outcome == "skipped"


@compares
def test_a_damaged_baseline_is_an_error_only_where_it_is_named(world: World) -> None:
    damaged = "<<<<<<< HEAD"
    head = world.branch("topic", {"edge-baseline.json": damaged, "ci/base.json": damaged})
    job = world.pull_request(23, head)
    assert job.green, job.log
    assert "edge-baseline.json: damaged" in job.log
    named = world.pull_request(24, head, baseline_file="ci/base.json")
    assert not named.green
    assert "--edge-baseline: ci/base.json: damaged" in named.log


@compares
def test_a_regression_against_the_base_is_red(world: World) -> None:
    head = world.branch(
        "topic",
        {
            "model.tflite": DATA / "residual_int8.tflite",
            "test_edge.py": _TEST.format(limit=10**6),
        },
    )
    job = world.pull_request(13, head)
    assert not job.green, job.log
    assert job.step("Run the gate").outputs["exit-code"] == "1"
    assert world.pull_request(13, head, baseline="none").green


def test_without_any_baseline_the_limits_stay_in_force(world: World) -> None:
    head = world.branch("topic", {"test_edge.py": _TEST.format(limit=100)})
    job = world.pull_request(14, head, baseline="file,stored")
    assert job.step("Run the gate").outputs["baseline"].startswith("none: ")
    assert not job.green
    assert "none: " in world.github.bodies(14)[0]


def test_a_fork_uploads_and_another_workflow_comments(world: World) -> None:
    head = world.branch("topic", {"test_edge.py": _TEST.format(limit=100)})
    job = world.pull_request(15, head, fork=True, baseline="none")
    assert not job.green
    assert [s.name for s in job.steps if s.outcome == "failure"] == ["Pass or fail"]
    assert world.github.comments == []
    assert not any(method != "GET" for method, _ in world.github.requests)

    world.github.add_pull(15, head, owner="stranger", branch="main", repo=FORK)
    comment = world.workflow_run(head, run=world.runner.jobs)
    assert comment.green, comment.log
    (body,) = world.github.bodies(15)
    assert "❌ Edge gate: failed" in body
    assert "From a fork" in body
    world.workflow_run(head, run=1)
    assert len(world.github.comments) == 1


@pytest.mark.parametrize(
    "files, verdict",
    [
        ({"test_edge.py": "import nothing_of_this_name"}, "broken"),
        ({"test_edge.py": "def test_nothing(): pass"}, "broken"),
    ],
)
def test_a_run_that_judged_nothing_is_red(
    world: World, files: Mapping[str, str], verdict: str
) -> None:
    job = world.pull_request(16, world.branch("topic", files), baseline="none")
    assert not job.green
    assert job.step("Run the gate").outputs["verdict"] == verdict
    assert f"❌ Edge gate: {verdict}" in world.github.bodies(16)[0]


def test_a_comment_that_can_t_be_written_keeps_the_verdict(world: World) -> None:
    world.github.tokens["writes"] = False
    job = world.pull_request(17, world.branch("topic", {"README.md": "new"}), baseline="none")
    assert job.green
    assert "pull-requests: write" in job.log


def test_converted_models_are_kept_between_runs(world: World) -> None:
    head = world.branch("topic", {"README.md": "new"})
    first = world.pull_request(18, head, baseline="none")
    assert first.step("Keep converted models").outcome == "success", first.log
    second = world.pull_request(18, head, baseline="none")
    assert second.step("Keep converted models").outcome == "skipped"


def test_the_tests_get_neither_token_nor_the_runner_s_files(world: World) -> None:
    spy = (
        "import os\n"
        "def test_env(edge_int8):\n"
        "    assert 'GITHUB_TOKEN' not in os.environ\n"
        "    assert not any(n.startswith(('INPUT_', 'ACTIONS_')) for n in os.environ)\n"
        "    assert not {'GITHUB_ENV', 'GITHUB_OUTPUT', 'GITHUB_PATH'} & set(os.environ)\n"
    )
    head = world.branch("topic", {"test_spy.py": spy})
    job = world.pull_request(19, head, baseline="none")
    assert job.green, job.log


def test_reports_go_where_the_workflow_wants_them_too(world: World) -> None:
    head = world.branch("topic", {"README.md": "new"})
    job = world.pull_request(20, head, report_paths="out/edge.json\n", baseline="none")
    assert job.green, job.log
    document = json.loads((world.tmp / f"checkout{world.count}/out/edge.json").read_text())
    assert document["results"]


def test_a_matrix_of_boards_is_one_comment(world: World) -> None:
    head = world.branch("topic", {"test_edge.py": _TEST.format(limit=100)})
    run = world.runner.jobs + 1
    for target in ("nano33ble", "esp32"):
        world.run_id = run
        job = world.pull_request(22, head, target=target, comment="false", baseline="none")
        assert not job.green
    assert world.github.comments == []
    for _ in range(2):
        assert world.comment_job(22, head, run).green
    (body,) = world.github.bodies(22)
    assert "failed** on 2 of 2" in body
    assert "| nano33ble | failed |" in body
    assert "| esp32 | failed |" in body
    assert f"/actions/runs/{run})" in body


def test_a_project_in_a_folder_of_its_own(world: World) -> None:
    base_before = world.base
    files = {
        "ml/conftest.py": _CONFTEST,
        "ml/test_edge.py": _TEST.format(limit=SMALL),
        "ml/model.tflite": DATA / "tiny_int8.tflite",
        "ml/pytest.ini": "[pytest]\n",
    }
    head = world.branch("topic", files)
    job = world.pull_request(23, head, path="ml", name="The ML part")
    assert job.green, job.log
    if COMPARES:
        said = job.step("Run the gate").outputs["baseline"]
        assert said.startswith("none: ")
        assert f"{base_before[:10]} has no folder ml" in said

    world.base = head
    head = world.branch("topic2", {"README.md": "new"})
    job = world.pull_request(24, head, path="ml", name="The ML part")
    assert job.green, job.log
    if COMPARES:
        said = job.step("Run the gate").outputs["baseline"]
        assert said.startswith(f"recomputed from {world.base[:10]}")
    assert world.github.artifacts
    assert all(a["name"].startswith("edge-gate-the-ml-part-") for a in world.github.artifacts)
    worktrees = subprocess.run(
        ["git", "worktree", "list"],
        cwd=world.tmp / f"checkout{world.count}",
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(worktrees.stdout.splitlines()) == 1
