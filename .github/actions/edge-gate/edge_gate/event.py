"""The event that started the run: what is compared, with what, and whether it may be trusted."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_gate.errors import ActionError

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def commit(value: object) -> str | None:
    """A full commit hash, or None for anything else (an all-zero one names no commit)."""
    if isinstance(value, str) and _COMMIT.fullmatch(value) and value.strip("0"):
        return value
    return None


@dataclass(frozen=True)
class Event:
    """One event. Hashes are full or None; `number` is the pull request's, else None."""

    name: str
    repository: str
    default_branch: str
    ref: str
    number: int | None = None
    base: str | None = None
    head: str | None = None
    fork: bool = False

    @property
    def on_default_branch(self) -> bool:
        """Whether this run judges the default branch itself, as the base of later ones."""
        return self.name in ("push", "schedule", "workflow_dispatch") and (
            self.ref == f"refs/heads/{self.default_branch}"
        )


def read_payload() -> Mapping[str, Any]:
    """The document in GITHUB_EVENT_PATH. Raises `ActionError` where it is not one."""
    path = os.environ.get("GITHUB_EVENT_PATH", "")
    try:
        payload = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ActionError(f"GITHUB_EVENT_PATH: {path!r} can't be read: {error}") from None
    if not isinstance(payload, dict):
        raise ActionError(f"GITHUB_EVENT_PATH: {path!r} holds no JSON object")
    return payload


def at(payload: object, *keys: str) -> Any:
    """What a document holds at these keys; None where it has no such place."""
    for key in keys:
        payload = payload.get(key) if isinstance(payload, dict) else None
    return payload


def read_event() -> Event:
    """The event of this run. Raises `ActionError` for one that must not run the gate."""
    payload = read_payload()
    name = os.environ.get("GITHUB_EVENT_NAME", "")
    if name in ("pull_request_target", "workflow_run"):
        raise ActionError(
            f"the gate runs the pull request's code, which {name} would do with the repository's "
            "own rights; trigger it with pull_request, and comment on forks' pull requests from "
            "a workflow_run workflow that uses .github/actions/edge-comment"
        )
    repository = os.environ.get("GITHUB_REPOSITORY", "")
    common: dict[str, Any] = {
        "name": name,
        "repository": repository,
        "default_branch": at(payload, "repository", "default_branch") or "",
        "ref": os.environ.get("GITHUB_REF", ""),
    }
    if name == "pull_request":
        pull = at(payload, "pull_request")
        number = at(pull, "number")
        if type(number) is not int:
            raise ActionError("the payload of pull_request has no pull_request.number")
        return Event(
            **common,
            number=number,
            base=commit(at(pull, "base", "sha")),
            head=commit(at(pull, "head", "sha")),
            # A fork that was deleted has no repository any more; it is one all the same.
            fork=at(pull, "head", "repo", "full_name") != repository,
        )
    if name == "merge_group":
        group = at(payload, "merge_group")
        return Event(
            **common, base=commit(at(group, "base_sha")), head=commit(at(group, "head_sha"))
        )
    return Event(
        **common,
        base=commit(at(payload, "before")),
        head=commit(os.environ.get("GITHUB_SHA")),
    )
