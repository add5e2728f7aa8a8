"""One comment on the pull request: made once, then kept up to date."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge_gate import artifacts, markdown
from edge_gate.api import Api
from edge_gate.errors import ActionError
from edge_gate.event import commit, read_payload
from edge_gate.markdown import Part
from edge_gate.plan import ARTIFACT_PREFIX, Plan, slug
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


def of_job(plan: Plan, token: str, author: str) -> None:
    """Comment from the job that ran the gate. Raises `ActionError`."""
    event = plan.read_event()
    if event.name != "pull_request" or event.number is None:
        return
    if event.fork:
        notice(
            "This pull request comes from a fork: its token may not comment. A workflow_run "
            "workflow with .github/actions/edge-comment does, if the repository has one."
        )
        return
    folder = Path(plan.report_folder)

    def read(name: str, limit: int) -> bytes | None:
        path = folder / name
        return path.read_bytes()[:limit] if path.is_file() else None

    parts = [_part("the report folder", read)] if (folder / "gate.json").is_file() else []
    body = markdown.comment(plan.name, parts, run_url(), head=event.head or "")
    _say(put(Api(event.repository, token), event.number, plan.name, author, body))


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
        pull = payload.get("pull_request")
        pull = pull if isinstance(pull, dict) else {}
        number, head = pull.get("number"), commit((pull.get("head") or {}).get("sha"))
        run_id, url = int(os.environ.get("GITHUB_RUN_ID", "0")), run_url()
        repo = (pull.get("head") or {}).get("repo") or {}
        if repo.get("full_name") != repository:
            notice("This pull request comes from a fork: the workflow_run workflow comments.")
            return
    else:
        notice(f"The event is {event}: no pull request to comment on.")
        return
    if type(number) is not int or head is None:
        notice("No open pull request has this run's commit as its head: nothing to comment on.")
        return
    parts: list[Part] = []
    for artifact in artifacts.of_run(api, run_id, ARTIFACT_PREFIX):
        try:
            part = _part(f"artifact {artifact.name!r}", artifact.read)
        except ActionError as error:
            notes.append(str(error))
            continue
        if (part.record.number, part.record.head) != (number, head):
            notes.append(f"artifact {artifact.name!r} is about another pull request or commit")
            continue
        parts.append(part)
    _say(put(api, number, name, author, markdown.comment(name, parts, url, notes=notes, head=head)))


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
