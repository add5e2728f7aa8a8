"""Which pull request is commented on, whose comment is changed, which artifacts are believed."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from edge_gate import api as apis
from edge_gate import artifacts, comment
from edge_gate.api import Api, ApiError
from edge_gate.artifacts import Artifact
from edge_gate.errors import ActionError
from edge_gate.record import read_record
from fake_github import BOT, REPOSITORY, REPOSITORY_ID, FakeGitHub, zipped

HEAD = "a" * 40
FORK = 2000


@pytest.fixture
def api(github: FakeGitHub) -> Api:
    return Api(REPOSITORY, "writes", github.url)


def gate_json(**changes: Any) -> bytes:
    values = {
        "schema": "edge-gate/1", "name": "nano33ble", "target": "nano33ble", "exit_code": 0,
        "baseline": "none: asked for", "number": 7, "head": HEAD, "tool": "0.1.0",
    }  # fmt: skip
    return json.dumps({**values, **changes}).encode()


Run = Callable[..., list[str]]


@pytest.fixture
def workflow_run(github: FakeGitHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Comment as the workflow_run workflow does; gives the bodies on pull request 7."""

    def run(**changes: Any) -> list[str]:
        payload = {
            "workflow_run": {
                "id": 5, "event": "pull_request", "head_sha": HEAD, "head_branch": "topic",
                "repository": {"id": REPOSITORY_ID},
                "head_repository": {"id": FORK, "owner": {"login": "stranger"}},
                **changes,
            }
        }  # fmt: skip
        (tmp_path / "event.json").write_text(json.dumps(payload))
        monkeypatch.setenv("GITHUB_EVENT_PATH", str(tmp_path / "event.json"))
        monkeypatch.setenv("GITHUB_EVENT_NAME", "workflow_run")
        monkeypatch.setenv("GITHUB_REPOSITORY", REPOSITORY)
        monkeypatch.setenv("GITHUB_API_URL", github.url)
        comment.of_run("writes", "gate", BOT)
        return github.bodies(7)

    return run


def upload(github: FakeGitHub, members: Mapping[str, bytes], name: str = "edge-gate-x") -> None:
    github.add_artifact(
        name, zipped(dict(members)), run=5, sha=HEAD, branch="topic", head_repository=FORK
    )


def test_a_comment_is_found_behind_many_others(api: Api, github: FakeGitHub) -> None:
    for i in range(230):
        github.add_comment(7, f"comment {i}", "somebody")
    comment.put(api, 7, "gate", BOT, "<!-- edgequant-edge-gate: gate -->\none")
    comment.put(api, 7, "gate", BOT, "<!-- edgequant-edge-gate: gate -->\ntwo")
    assert len(github.comments) == 231
    assert github.comments[-1]["body"].endswith("two")
    assert github.comments[-1]["edits"] == 1
    comment.put(api, 7, "gate", BOT, "<!-- edgequant-edge-gate: gate -->\ntwo")
    assert github.comments[-1]["edits"] == 1


def test_another_s_comment_with_the_marker_is_left_alone(api: Api, github: FakeGitHub) -> None:
    stolen = "<!-- edgequant-edge-gate: gate -->\nall is well"
    github.add_comment(7, stolen, "stranger")
    github.add_comment(7, f"quoted: {stolen}", BOT)
    for text in ("one", "two"):
        comment.put(api, 7, "gate", BOT, f"<!-- edgequant-edge-gate: gate -->\n{text}")
    assert [c["edits"] for c in github.comments] == [0, 0, 1]
    assert github.bodies(7)[0] == stolen


def test_gates_of_other_names_have_their_own_comments(api: Api, github: FakeGitHub) -> None:
    for name in ("gate", "gate-2"):
        comment.put(api, 7, name, BOT, f"<!-- edgequant-edge-gate: {name} -->")
    assert len(github.comments) == 2


def test_the_pull_request_of_a_fork_is_found_by_its_head(
    github: FakeGitHub, workflow_run: Run
) -> None:
    upload(github, {"gate.json": gate_json(exit_code=1), "report.md": b"**bad** @octo"})
    github.add_pull(6, "b" * 40, owner="stranger", repo=FORK)
    github.add_pull(7, HEAD, owner="stranger", repo=FORK)
    (body,) = workflow_run()
    assert "❌ Edge gate: failed" in body
    assert "From a fork" in body
    assert "@octo" not in body


@pytest.mark.parametrize(
    "pull, changes",
    [
        ({"sha": "b" * 40, "owner": "stranger", "repo": FORK}, {}),
        ({"sha": HEAD, "owner": "stranger", "repo": FORK + 1}, {}),
        ({"sha": HEAD, "owner": "stranger", "repo": FORK}, {"event": "push"}),
        ({"sha": HEAD, "owner": "stranger", "repo": FORK}, {"head_repository": None}),
        ({"sha": HEAD, "owner": "stranger", "repo": FORK}, {"head_sha": "../../x"}),
    ],
    ids=["moved on", "another fork", "a push", "fork deleted", "no commit"],
)
def test_no_pull_request_no_comment(
    github: FakeGitHub, workflow_run: Run, pull: dict[str, Any], changes: dict[str, Any]
) -> None:
    upload(github, {"gate.json": gate_json()})
    github.add_pull(7, **pull)
    workflow_run(**changes)
    assert github.comments == []


@pytest.mark.parametrize(
    "members, said",
    [
        ({"gate.json": gate_json(number=1)}, "another pull request"),
        ({"gate.json": gate_json(head="b" * 40)}, "another pull request"),
        ({"gate.json": gate_json(number="7")}, "number"),
        ({"gate.json": gate_json(number=True)}, "number"),
        ({"gate.json": gate_json(exit_code="0")}, "exit"),
        ({"gate.json": gate_json(target=["x"])}, "target"),
        ({"gate.json": gate_json(schema="edge-gate/9")}, "edge-gate/9"),
        ({"gate.json": b"[]"}, "not a JSON object"),
        ({"gate.json": b"[" * 100_000}, "larger than"),
        ({"gate.json": b"[" * 60_000}, "not a JSON object"),
        ({"gate.json": b"\xff\xfe"}, "not a JSON object"),
        ({"../gate.json": gate_json()}, "no gate"),
        ({"/etc/gate.json": gate_json()}, "no gate"),
        ({"gate.json": gate_json(), "report.md": b"x" * (2**20 + 1)}, "larger than"),
        ({f"{i}": b"" for i in range(101)}, "more than 100 files"),
    ],
)
def test_what_an_artifact_claims_is_not_believed(
    github: FakeGitHub, workflow_run: Run, members: dict[str, bytes], said: str
) -> None:
    upload(github, members)
    github.add_pull(7, HEAD, owner="stranger", repo=FORK)
    (body,) = workflow_run()
    assert "no result" in body
    assert said in body.replace("\\", "")
    assert not github.bodies(1)


def test_a_name_in_the_artifact_injects_nothing(github: FakeGitHub, workflow_run: Run) -> None:
    evil = "x | y\n\n# [click](http://evil.example) @octo <img src=x> <!-- edgequant"
    upload(github, {"gate.json": gate_json(target=evil, baseline=evil)}, "edge-gate-@octo <b>")
    github.add_pull(7, HEAD, owner="stranger", repo=FORK)
    (body,) = workflow_run()
    assert len([line for line in body.splitlines() if line.startswith("| ")]) == 3
    assert "](http" not in body.replace("](http://", "](http://", 0).split("[Run and")[0]
    assert "@octo" not in body
    assert "<img" not in body


def test_all_targets_of_a_run_are_one_comment(github: FakeGitHub, workflow_run: Run) -> None:
    for target, code in (("nano33ble", 0), ("esp32", 1), ("pico", 4)):
        members = {"gate.json": gate_json(target=target, exit_code=code), "report.md": b"report"}
        upload(github, members, f"edge-gate-{target}")
    upload(github, {"anything": b""}, "coverage")
    github.add_pull(7, HEAD, owner="stranger", repo=FORK)
    (body,) = workflow_run()
    assert "failed** on 2 of 3" in body
    assert len(github.comments) == 1


def damaged(change: Callable[[bytearray], None]) -> bytes:
    content = bytearray(zipped({"gate.json": gate_json()}))
    change(content)
    return bytes(content)


def twice() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("gate.json", gate_json())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive.writestr("gate.json", gate_json(exit_code=1))
    return content.getvalue()


def _lie(content: bytearray) -> None:
    """The directory says that the member has 3 bytes."""
    start = content.rindex(b"PK\x01\x02")
    content[start + 24 : start + 28] = (3).to_bytes(4, "little")


def _locked(content: bytearray) -> None:
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a zip",
        damaged(lambda c: c.__delitem__(slice(40, 60))),
        damaged(_lie),
        damaged(_locked),
        twice(),
    ],
    ids=["empty", "no zip", "cut", "size is a lie", "encrypted", "twice"],
)
def test_damaged_archives_are_refused(content: bytes) -> None:
    with pytest.raises(ActionError, match="artifact 'a'"):
        Artifact("a", content).read("gate.json", 1000)


def test_a_bomb_is_not_inflated() -> None:
    bomb = zipped({"report.md": b"\0" * 50_000_000})
    assert len(bomb) < 100_000
    with pytest.raises(ActionError, match="larger than 1,000 bytes"):
        Artifact("a", bomb).read("report.md", 1000)


def test_large_downloads_are_cut_off(
    api: Api, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    github.add_artifact("edge-gate-x", b"x" * 5000, run=5, sha=HEAD)
    with pytest.raises(ApiError, match="larger than 1,000 bytes"):
        api.download(1, 1000)
    monkeypatch.setattr(artifacts, "MAX_ZIP", 1000)
    with pytest.raises(ApiError, match="larger"):
        artifacts.of_run(api, 5, "edge-gate-")


def test_the_token_stays_with_the_api(api: Api, github: FakeGitHub) -> None:
    github.add_artifact("edge-gate-x", zipped({}), run=5, sha=HEAD)
    assert api.download(1, 1000)
    assert github.downloads_with_token == 0


def test_the_latest_upload_of_a_rerun_counts(api: Api, github: FakeGitHub) -> None:
    for code in (1, 0):
        upload(github, {"gate.json": gate_json(exit_code=code)})
    github.add_artifact("edge-gate-x", zipped({}), run=5, sha=HEAD, expired=True)
    (artifact,) = artifacts.of_run(api, 5, "edge-gate-")
    assert read_record(artifact.read("gate.json", 1000), "x").exit_code == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"head_repository": FORK},
        {"branch": "topic"},
        {"sha": "b" * 40},
        {"expired": True},
        {"name": "edge-gate-other"},
    ],
)
def test_a_base_s_artifact_must_be_the_default_branch_s_own(
    api: Api, github: FakeGitHub, changes: dict[str, Any]
) -> None:
    values = {"name": "edge-gate-x", "content": b"", "run": 1, "sha": HEAD, **changes}
    github.add_artifact(**values)
    assert artifacts.of_commit(api, "edge-gate-x", HEAD, "main") is None
    github.add_artifact("edge-gate-x", zipped({"a": b"1"}), run=2, sha=HEAD)
    found = artifacts.of_commit(api, "edge-gate-x", HEAD, "main")
    assert found is not None
    assert found.read("a", 10) == b"1"


@pytest.mark.parametrize(
    "status, url", [(401, None), (0, "http://127.0.0.1:1"), (0, "nothing://x")]
)
def test_api_errors_say_what_was_asked(github: FakeGitHub, status: int, url: str | None) -> None:
    with pytest.raises(ApiError, match=r"GET /repos/octo/edge/pulls") as caught:
        list(Api(REPOSITORY, "wrong", url or github.url).pages("pulls"))
    assert caught.value.status == status


def test_endless_lists_end(api: Api, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apis, "_MAX_PAGES", 3)
    for i in range(500):
        github.add_comment(7, f"{i}", "somebody")
    assert len(list(api.pages("issues/7/comments"))) == 300
