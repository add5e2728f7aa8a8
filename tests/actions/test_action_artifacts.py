"""Artifacts that anybody may have made: one bad one is one bad one."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from typing import Any

import pytest
from edge_gate import artifacts, comment, markdown
from edge_gate.artifacts import Artifact
from edge_gate.errors import ActionError
from edge_gate.markdown import Part
from edge_gate.record import Record, read_record
from fake_github import FakeGitHub, zipped
from hypothesis import given, settings
from hypothesis import strategies as st
from test_action_comment import FORK, HEAD, Run, gate_json, upload
from test_action_comment import api as api
from test_action_comment import workflow_run as workflow_run

GOOD = {"gate.json": gate_json(), "report.md": b"all is well"}


def packed(method: int, members: dict[str, bytes] = GOOD) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def changed(content: bytes, at: int, value: int) -> bytes:
    """One byte of the first member's data changed."""
    start = content.index(b"gate.json") + len("gate.json") + at
    return content[:start] + bytes([content[start] ^ value]) + content[start + 1 :]


BAD = {
    "corrupt lzma": changed(packed(zipfile.ZIP_LZMA), 12, 0xFF),
    "lzma": packed(zipfile.ZIP_LZMA),
    "corrupt bzip2": changed(packed(zipfile.ZIP_BZIP2), 12, 0xFF),
    "bzip2": packed(zipfile.ZIP_BZIP2),
    "corrupt deflate": changed(packed(zipfile.ZIP_DEFLATED), 12, 0xFF),
    "wrong checksum": changed(packed(zipfile.ZIP_STORED), 12, 1),
    "cut": packed(zipfile.ZIP_DEFLATED)[:-30],
    "no members": packed(zipfile.ZIP_DEFLATED, {}),
    "many members": packed(zipfile.ZIP_DEFLATED, {**GOOD, **{str(i): b"" for i in range(200)}}),
    "no object": zipped({"gate.json": b"3"}),
    "no text": zipped({"gate.json": b"\xff" * 20}),
    "another's": zipped({"gate.json": gate_json(number=8)}),
    "surrogates": zipped({"gate.json": b'{"schema": "\\ud800"}'}),
    "deep": zipped({"gate.json": b'{"schema": ' + b"[" * 900 + b"]" * 900 + b"}"}),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_one_bad_artifact_is_named_and_the_others_are_shown(
    github: FakeGitHub, workflow_run: Run, content: bytes
) -> None:
    upload(github, GOOD, "edge-gate-esp32")
    github.add_artifact(
        "edge-gate-broken", content, run=5, sha=HEAD, branch="topic", head_repository=FORK
    )
    upload(github, {"gate.json": gate_json(target="pico", exit_code=1)}, "edge-gate-pico")
    github.add_pull(7, HEAD, owner="stranger", repo=FORK)
    (body,) = workflow_run()
    assert "failed** on 1 of 2" in body
    assert "all is well" in body
    (said,) = (line for line in body.splitlines() if line.startswith("> artifact"))
    assert "edge-gate-broken" in said


def test_one_that_can_t_be_downloaded_is_named_too(
    github: FakeGitHub, workflow_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "MAX_ZIP", 1000)
    upload(github, GOOD, "edge-gate-esp32")
    github.add_artifact("edge-gate-huge", b"x" * 1001, run=5, sha=HEAD, head_repository=FORK)
    github.add_pull(7, HEAD, owner="stranger", repo=FORK)
    (body,) = workflow_run()
    assert "all is well" in body
    assert "edge-gate-huge" in body
    assert "larger than 1,000 bytes" in body


def test_of_too_many_artifacts_the_first_are_shown(github: FakeGitHub, workflow_run: Run) -> None:
    evil = gate_json(target="<" * 500, baseline="@" * 500)
    for i in range(artifacts.MAX_ARTIFACTS + 2):
        members = GOOD if i < 3 else {"gate.json": evil} if i % 2 else {"gate.json": b"{}"}
        upload(github, members, f"edge-gate-{i:03}-{'<' * 300 if i > 2 else ''}")
    github.add_pull(7, HEAD, owner="stranger", repo=FORK)
    (body,) = workflow_run()
    assert len(body) <= markdown.LIMIT
    assert body.count("all is well") == 3


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_github_packs_is_read(method: int) -> None:
    artifact = Artifact("a", packed(method))
    assert artifact.read("report.md", 1000) == b"all is well"
    assert artifact.read("../report.md", 1000) is None


_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_ARCHIVES = [packed(method) for method in _METHODS]


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(_ARCHIVES),
    st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=4)), max_size=4),
    st.integers(0, 400),
)
def test_any_bytes_are_read_or_refused(
    content: bytes, changes: list[tuple[int, bytes]], cut: int
) -> None:
    for position, data in changes:
        at = position % len(content)
        content = content[:at] + data + content[at + len(data) :]
    content = content[: len(content) - cut] if cut < 200 else content
    read = None
    with contextlib.suppress(ActionError):
        read = Artifact("a", content).read("gate.json", 1000)
    assert read is None or read == GOOD["gate.json"]  # the checksum holds


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(json.loads(gate_json()))), _JSON))
def test_any_record_is_read_or_refused(values: dict[str, Any]) -> None:
    content = json.dumps({**json.loads(gate_json()), **values}).encode()
    record = None
    with contextlib.suppress(ActionError):
        record = read_record(content, "artifact 'a'")
    if record is None:
        return
    assert isinstance(record, Record)
    assert type(record.exit_code) is int
    body = markdown.comment("gate", [Part(record, "text")], "URL", head=HEAD)
    body.encode()
    assert body.count("\n| ") == 3


def test_only_one_artifact_at_a_time_is_held(
    github: FakeGitHub, workflow_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import weakref

    held: list[weakref.ref[Artifact]] = []
    original = artifacts.download

    def download(*arguments: Any) -> Artifact:
        assert not [ref for ref in held if ref() is not None][:-1]
        artifact = original(*arguments)
        held.append(weakref.ref(artifact))
        return artifact

    monkeypatch.setattr(comment.artifacts, "download", download)
    for i in range(5):
        upload(github, GOOD, f"edge-gate-{i}")
    github.add_pull(7, HEAD, owner="stranger", repo=FORK)
    workflow_run()
    assert len(held) == 5
