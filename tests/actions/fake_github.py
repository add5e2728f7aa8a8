"""A stand-in for GitHub's REST API on localhost: comments, pull requests, artifacts, compare.

It keeps what is sent, answers as https://docs.github.com/rest describes, and knows who may what.
"""

from __future__ import annotations

import io
import json
import re
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

REPOSITORY = "octo/edge"
REPOSITORY_ID = 1000
BOT = "github-actions[bot]"


def zipped(members: dict[str, bytes]) -> bytes:
    """A zip with these files."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


@dataclass
class FakeGitHub:
    """The server, and everything that it holds. `tokens` maps a token to what it may write."""

    comments: list[dict[str, Any]] = field(default_factory=list)
    pulls: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    merge_bases: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, bool] = field(default_factory=lambda: {"writes": True, "reads": False})
    requests: list[tuple[str, str]] = field(default_factory=list)
    downloads_with_token: int = 0

    def __post_init__(self) -> None:
        github = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                github.answer(self, "GET")

            def do_POST(self) -> None:
                github.answer(self, "POST")

            def do_PATCH(self) -> None:
                github.answer(self, "PATCH")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def bodies(self, number: int) -> list[str]:
        """The comments of a pull request."""
        return [c["body"] for c in self.comments if c["number"] == number]

    def add_comment(self, number: int, body: str, login: str) -> dict[str, Any]:
        comment = {
            "id": 1 + len(self.comments),
            "number": number,
            "body": body,
            "user": {"login": login},
            "edits": 0,
        }
        comment["html_url"] = f"{self.url}/{REPOSITORY}/pull/{number}#{comment['id']}"
        self.comments.append(comment)
        return comment

    def add_artifact(
        self,
        name: str,
        content: bytes,
        *,
        run: int,
        sha: str,
        branch: str = "main",
        head_repository: int = REPOSITORY_ID,
        expired: bool = False,
    ) -> None:
        self.artifacts.append(
            {
                "id": 1 + len(self.artifacts),
                "name": name,
                "expired": expired,
                "content": content,
                "workflow_run": {
                    "id": run,
                    "repository_id": REPOSITORY_ID,
                    "head_repository_id": head_repository,
                    "head_branch": branch,
                    "head_sha": sha,
                },
            }
        )

    def add_pull(
        self, number: int, sha: str, *, owner: str = "octo", branch: str = "topic", repo: int
    ) -> None:
        self.pulls.append(
            {
                "number": number,
                "state": "open",
                "label": f"{owner}:{branch}",
                "head": {"sha": sha, "ref": branch, "repo": {"id": repo}},
            }
        )

    # -- answers ----------------------------------------------------------------------------------

    def answer(self, handler: BaseHTTPRequestHandler, method: str) -> None:
        """Answer one request."""
        parts = urlsplit(handler.path)
        length = int(handler.headers.get("Content-Length") or 0)
        body = json.loads(handler.rfile.read(length)) if length else None
        self.requests.append((method, parts.path))
        token = (handler.headers.get("Authorization") or "").removeprefix("Bearer ")
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if blob := re.fullmatch(r"/blobs/(\d+)", parts.path):
            self.downloads_with_token += bool(token)
            self._send(handler, 200, self.artifacts[int(blob[1]) - 1]["content"])
            return
        if token not in self.tokens:
            self._send(handler, 401, {"message": "Bad credentials"})
        elif method != "GET" and not self.tokens[token]:
            self._send(handler, 403, {"message": "Resource not accessible by integration"})
        else:
            path = parts.path.removeprefix(f"/repos/{REPOSITORY}/")
            self._route(handler, method, path, query, body)

    def _route(
        self,
        handler: BaseHTTPRequestHandler,
        method: str,
        path: str,
        query: dict[str, str],
        body: Any,
    ) -> None:
        if match := re.fullmatch(r"issues/(\d+)/comments", path):
            number = int(match[1])
            if method == "POST":
                if len(body["body"]) > 65_536:
                    self._send(handler, 422, {"message": "body is too long"})
                    return
                self._send(handler, 201, self.add_comment(number, body["body"], BOT))
                return
            self._page(handler, [c for c in self.comments if c["number"] == number], query)
        elif match := re.fullmatch(r"issues/comments/(\d+)", path):
            comment = self.comments[int(match[1]) - 1]
            if comment["user"]["login"] != BOT:
                self._send(handler, 403, {"message": "not yours"})
                return
            comment["body"] = body["body"]
            comment["edits"] += 1
            self._send(handler, 200, comment)
        elif path == "pulls":
            found = [p for p in self.pulls if p["label"] == query.get("head", p["label"])]
            self._page(handler, found, query)
        elif match := re.fullmatch(r"actions/runs/(\d+)/artifacts", path):
            of_run = [a for a in self.artifacts if a["workflow_run"]["id"] == int(match[1])]
            self._page(handler, of_run, query, "artifacts")
        elif path == "actions/artifacts":
            named = [a for a in self.artifacts if a["name"] == query.get("name", a["name"])]
            self._page(handler, named, query, "artifacts")
        elif match := re.fullmatch(r"actions/artifacts/(\d+)/zip", path):
            handler.send_response(302)
            handler.send_header("Location", f"{self.url}/blobs/{match[1]}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        elif (match := re.fullmatch(r"compare/(.+)", path)) and match[1] in self.merge_bases:
            sha = self.merge_bases[match[1]]
            self._send(handler, 200, {"merge_base_commit": {"sha": sha}})
        else:
            self._send(handler, 404, {"message": "Not Found"})

    def _page(
        self,
        handler: BaseHTTPRequestHandler,
        items: list[dict[str, Any]],
        query: dict[str, str],
        key: str | None = None,
    ) -> None:
        size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
        shown = [
            {name: value for name, value in item.items() if name != "content"}
            for item in items[(page - 1) * size : page * size]
        ]
        self._send(handler, 200, {"total_count": len(items), key: shown} if key else shown)

    @staticmethod
    def _send(handler: BaseHTTPRequestHandler, status: int, content: Any) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)
