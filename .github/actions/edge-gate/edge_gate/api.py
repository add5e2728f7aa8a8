"""GitHub's REST API, as far as the action needs it, over urllib.

Reference: https://docs.github.com/rest
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from edge_gate.errors import ActionError

_TIMEOUT = 60
_MAX_ANSWER = 16 * 2**20
_MAX_PAGES = 50


class ApiError(ActionError):
    """The API refused or could not be reached; `status` is 0 where there was no answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """One repository at GITHUB_API_URL, with one token."""

    def __init__(self, repository: str, token: str, url: str | None = None) -> None:
        self.repository = repository
        self._token = token
        self._url = (url or os.environ.get("GITHUB_API_URL") or "https://api.github.com").rstrip(
            "/"
        )

    def _open(self, method: str, url: str, body: Mapping[str, Any] | None, limit: int) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=method)
        request.add_header("Accept", "application/vnd.github+json")
        request.add_header("X-GitHub-Api-Version", "2022-11-28")
        request.add_header("User-Agent", "edgequant-edge-gate")
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if self._token:
            # Not sent on to where an artifact's download redirects to.
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        where = f"{method} {url.removeprefix(self._url)}"
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
                content: bytes = answer.read(limit + 1)
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, f"{where}: {error.code} {error.reason}") from None
        except (OSError, ValueError) as error:
            raise ApiError(0, f"{where}: {error}") from None
        if len(content) > limit:
            raise ApiError(0, f"{where}: the answer is larger than {limit:,} bytes")
        return content

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON answer for a path below the repository. Raises `ApiError`."""
        url = f"{self._url}/repos/{quote(self.repository)}/{path}"
        content = self._open(method, url, body, _MAX_ANSWER)
        try:
            return json.loads(content)
        except ValueError:
            raise ApiError(0, f"{method} {path}: the answer is not JSON") from None

    def pages(self, path: str, key: str | None = None, **query: str) -> Iterator[Mapping[str, Any]]:
        """All items of a list, page by page; `key` is where a page holds them."""
        for page in range(1, _MAX_PAGES + 1):
            arguments = urlencode({**query, "per_page": 100, "page": page})
            answer = self.request("GET", f"{path}?{arguments}")
            items = answer.get(key) if key and isinstance(answer, dict) else answer
            if not isinstance(items, list):
                raise ApiError(0, f"GET {path}: the answer is not a list")
            yield from (item for item in items if isinstance(item, dict))
            if len(items) < 100:
                return

    def download(self, artifact: int, limit: int) -> bytes:
        """The zip of an artifact, at most `limit` bytes. Raises `ApiError`."""
        url = f"{self._url}/repos/{quote(self.repository)}/actions/artifacts/{artifact}/zip"
        return self._open("GET", url, None, limit)
