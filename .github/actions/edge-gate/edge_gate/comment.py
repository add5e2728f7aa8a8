"""One comment on the pull request: made once, then kept up to date."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_gate import artifacts, markdown
from edge_gate.api import Api
from edge_gate.errors import ActionError
from edge_gate.event import at, commit, read_payload
from edge_gate.markdown import Part
from edge_gate.plan import ARTIFACT_PREFIX, slug
from edge_gate.record import read_record
from edge_gate.runner import notice, run_url, warning

MAX_RECORD = 64 * 2**10
MAX_REPORT = 2**20


def put(api: Api, number: int, name: str, author: str, body: str) -> str:
    """Update this gate's comment, or make it. Gives its address. Raises `ApiError`.

    Both the marker and the author must be right: anybody may write the marker in a comment of
    their own, which we could not, and should not, change.
    """
    marker = markdown.marker(name)
    for item in api.pages(f"issues/{number}/comments"):
        user = item.get("user")
        mine = isinstance(user, dict) and user.get("login") == author
        if mine and str(item.get("body") or "").startswith(marker):
            if item.get("body") == body:
                return str(item.get("html_url"))
            answer = api.request("PATCH", f"issues/comments/{int(item['id'])}", {"body": body})
            return str(answer.get("html_url"))
    answer = api.request("POST", f"issues/{number}/comments", {"body": body})
    return str(answer.get("html_url"))


@dataclass(frozen=True)
class Pull:
    """What the job that ran the gate comments on, as the runner says it.

    Nothing of it comes from a file: what lies in the job's folders, the event and the plan among
    it, the tests could have written.
    """

    name: str
    event: str
    number: int | None
    head: str
    fork: bool
    report_folder: Path

    @classmethod
    def of_step(cls) -> Pull:
        """From the environment that action.yml gives to this step."""
        get = os.environ.get
        number, ours = get("EDGE_GATE_PULL_NUMBER", ""), get("GITHUB_REPOSITORY", "")
        return cls(
            name=slug(get("EDGE_GATE_NAME", "") or "gate"),
            event=get("GITHUB_EVENT_NAME", ""),
            number=int(number) if number.isascii() and number.isdigit() else None,
            head=commit(get("EDGE_GATE_PULL_HEAD")) or "",
            fork=get("EDGE_GATE_PULL_REPOSITORY", "") != ours,
            report_folder=Path(get("EDGE_GATE_REPORT_FOLDER", "")),
        )


def of_job(pull: Pull, token: str, author: str) -> None:
    """Comment from the job that ran the gate. Raises `ActionError`."""
    if pull.event != "pull_request" or not pull.number:
        return
    if pull.fork:
        notice(
            "This pull request comes from a fork: its token may not comment. A workflow_run "
            "workflow with .github/actions/edge-comment does, if the repository has one."
        )
        return
    folder, parts, notes = pull.report_folder, list[Part](), list[str]()

    def read(name: str, limit: int) -> bytes | None:
        return _regular(folder, name, limit)

    try:
        if read("gate.json", MAX_RECORD) is not None:
            part = _part("the report folder", read)
            if (part.record.number, part.record.head) == (pull.number, pull.head):
                parts.append(part)
            else:
                notes.append("the report folder is about another pull request or commit")
    except ActionError as error:
        notes.append(str(error))
    body = markdown.comment(pull.name, parts, run_url(), notes=notes, head=pull.head)
    repository = os.environ.get("GITHUB_REPOSITORY", "")
    _say(put(Api(repository, token), pull.number, pull.name, author, body))


def _regular(folder: Path, name: str, limit: int) -> bytes | None:
    """A file's first bytes; None where there is none.

    Raises `ActionError` for a link, or anything else that is no file: this process has a token
    among what a link could lead to.
    """
    path = folder / name
    try:
        if folder.is_symlink() or path.is_symlink():
            raise ActionError(f"the report folder: {name} is a link")
        if not path.exists():
            return None
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        with open(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ActionError(f"the report folder: {name} is not a file")
            return file.read(limit)
    except OSError as error:
        raise ActionError(f"the report folder: {name}: {error.strerror or error}") from None


def _part(where: str, read: Callable[[str, int], bytes | None]) -> Part:
    """What one run left; `read` gives a file by name, up to a limit. Raises `ActionError`."""
    record = read_record(read("gate.json", MAX_RECORD), where)
    report = read("report.md", MAX_REPORT)
    return Part(record, None if report is None else report.decode("utf-8", "replace"))


def of_run(token: str, name: str, author: str) -> None:
    """Comment on what the gate's jobs uploaded: of this run, or of the one of workflow_run.

    Runs none of that run's code, unpacks none of its files, and believes none of its claims but
    the reports themselves: which pull request it is comes from the event and from GitHub.
    Raises `ActionError`.
    """
    repository = os.environ.get("GITHUB_REPOSITORY", "")
    api, payload = Api(repository, token), read_payload()
    event = os.environ.get("GITHUB_EVENT_NAME", "")
    name = slug(name)
    notes: list[str] = []
    if event == "workflow_run":
        run = payload.get("workflow_run")
        if not isinstance(run, dict) or type(run.get("id")) is not int:
            raise ActionError("the payload of workflow_run has no workflow_run.id")
        if run.get("event") != "pull_request":
            notice(f"The run was started by {str(run.get('event'))[:40]}: nothing to comment on.")
            return
        number, head = _pull_request(api, run), commit(run.get("head_sha"))
        run_id, url = run["id"], f"{_server()}/{repository}/actions/runs/{run['id']}"
        if not _same_repository(run):
            notes.append("From a fork: the figures are what its own code reported.")
    elif event == "pull_request":
        number = at(payload, "pull_request", "number")
        head = commit(at(payload, "pull_request", "head", "sha"))
        run_id, url = int(os.environ.get("GITHUB_RUN_ID", "0")), run_url()
        if at(payload, "pull_request", "head", "repo", "full_name") != repository:
            notice("This pull request comes from a fork: the workflow_run workflow comments.")
            return
    else:
        notice(f"The event is {event}: no pull request to comment on.")
        return
    if type(number) is not int or head is None:
        notice("No open pull request has this run's commit as its head: nothing to comment on.")
        return
    parts = _parts(api, run_id, (number, head), notes)
    _say(put(api, number, name, author, markdown.comment(name, parts, url, notes=notes, head=head)))


def _parts(api: Api, run: int, about: tuple[int, str], notes: list[str]) -> list[Part]:
    """What the gate's jobs of a run left, one at a time; `notes` gets what can't be shown.

    Raises `ApiError` where the run can't be asked for its artifacts.
    """
    parts = []
    found = artifacts.listed(api, run, ARTIFACT_PREFIX)
    for name, identity in list(found.items())[: artifacts.MAX_ARTIFACTS]:
        try:
            artifact = artifacts.download(api, name, identity)
            part = _part(f"artifact {name!r}", artifact.read)
        except ActionError as error:
            problem = str(error)
            notes.append(problem if name in problem else f"artifact {name!r}: {problem}")
            continue
        if (part.record.number, part.record.head) != about:
            notes.append(f"artifact {name!r} is about another pull request or commit")
            continue
        parts.append(part)
    if len(found) > artifacts.MAX_ARTIFACTS:
        notes.append(f"the first {artifacts.MAX_ARTIFACTS} of {len(found)} artifacts are shown")
    return parts


def _server() -> str:
    return os.environ.get("GITHUB_SERVER_URL", "https://github.com")


def _same_repository(run: Mapping[str, Any]) -> bool:
    ours, theirs = run.get("repository"), run.get("head_repository")
    return (
        isinstance(ours, dict)
        and isinstance(theirs, dict)
        and type(ours.get("id")) is int
        and ours.get("id") == theirs.get("id")
    )


def _pull_request(api: Api, run: Mapping[str, Any]) -> int | None:
    """The open pull request whose head is exactly what ran; None where there is none any more.

    The event names no pull request where it comes from a fork, so GitHub is asked for those of
    its branch. The commit and the repository must be the run's.
    """
    theirs = run.get("head_repository")
    owner = theirs.get("owner") if isinstance(theirs, dict) else None
    if not isinstance(theirs, dict) or not isinstance(owner, dict):
        return None
    branch = f"{owner.get('login')}:{run.get('head_branch')}"
    found = []
    for pull in api.pages("pulls", state="open", head=branch):
        head = pull.get("head")
        head = head if isinstance(head, dict) else {}
        repo = head.get("repo")
        same = isinstance(repo, dict) and repo.get("id") == theirs.get("id")
        if same and head.get("sha") == run.get("head_sha") and type(pull.get("number")) is int:
            found.append(int(pull["number"]))
    if len(found) > 1:
        # One branch, proposed to two bases: nothing trustworthy tells which of them ran.
        warning(f"Pull requests {found} have the same head; the comment goes to the newest.")
    return max(found, default=None)


def _say(url: str) -> None:
    notice(f"Edge gate: {url}")
