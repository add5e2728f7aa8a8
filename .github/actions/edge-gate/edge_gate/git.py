"""The checked-out repository: which commit is the base, and a worktree of it."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_gate.errors import ActionError

_TIMEOUT = 600


class Git:
    """The repository around `folder`. `token`, where given, is only for fetching from origin."""

    def __init__(self, folder: Path, token: str = "") -> None:
        self.folder = folder
        self._token = token

    def _run(self, *arguments: str, fetching: bool = False) -> str:
        environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
        if fetching and self._token:
            # By environment, as arguments can be read by other processes.
            server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
            login = base64.b64encode(f"x-access-token:{self._token}".encode()).decode()
            environment |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"http.{server}/.extraheader",
                "GIT_CONFIG_VALUE_0": f"AUTHORIZATION: basic {login}",
            }
        command = ["git", "-c", f"safe.directory={self.folder}", *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            reason = error.stderr.decode("utf-8", "replace").strip()
            raise ActionError(f"git {arguments[0]}: {reason}") from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ActionError(f"git {arguments[0]}: {error}") from None
        return done.stdout.decode("utf-8", "replace").strip()

    def root(self) -> Path:
        """The top folder of the checkout. Raises `ActionError` outside of a repository."""
        return Path(self._run("rev-parse", "--show-toplevel")).resolve()

    def head(self) -> str:
        """The commit that is checked out. Raises `ActionError` outside of a repository."""
        return self._run("rev-parse", "--verify", "HEAD^{commit}")

    def parents(self, commit: str) -> list[str]:
        """The parents that a commit states, those that a shallow clone leaves out as well."""
        lines = self._run("cat-file", "commit", commit).split("\n\n", 1)[0].splitlines()
        return [line.split()[1] for line in lines if line.startswith("parent ")]

    def has(self, commit: str, path: str = "") -> bool:
        """Whether a commit, or a file in it, is here."""
        try:
            self._run("cat-file", "-e", f"{commit}:{path}" if path else f"{commit}^{{commit}}")
        except ActionError:
            return False
        return True

    def merge_base(self, one: str, other: str) -> str | None:
        """The merge base as far as the history here tells; None where it doesn't."""
        try:
            return self._run("merge-base", one, other)
        except ActionError:
            return None

    def same_file(self, commit: str, path: str) -> bool:
        """Whether the file that is checked out is the one of `commit`."""
        try:
            self._run("diff", "--quiet", commit, "--", path)
        except ActionError:
            return False
        return True

    def fetch(self, commit: str) -> None:
        """Get one commit, without its history, unless it is here. Raises `ActionError`."""
        if not self.has(commit):
            self._run("fetch", "--no-tags", "--depth=1", "origin", commit, fetching=True)

    @contextmanager
    def worktree(self, commit: str, folder: Path) -> Iterator[Path]:
        """A commit's files in a folder of their own, which is removed afterwards."""
        self._run("worktree", "add", "--force", "--detach", str(folder), commit)
        try:
            yield folder
        finally:
            # What is left of it is in RUNNER_TEMP, and no reason to lose what came of it.
            with contextlib.suppress(ActionError):
                self._run("worktree", "remove", "--force", "--force", str(folder))
