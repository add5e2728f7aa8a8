"""Artifacts of workflow runs, read as data that anybody may have made.

Nothing is unpacked: single members are read into memory by their exact name, each up to a limit.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass

from edge_gate.api import Api
from edge_gate.errors import ActionError

MAX_ZIP = 64 * 2**20
MAX_MEMBERS = 100
MAX_ARTIFACTS = 60


@dataclass(frozen=True)
class Artifact:
    """One uploaded folder: its name and its zip."""

    name: str
    content: bytes

    def read(self, member: str, limit: int) -> bytes | None:
        """A member of exactly this name; None where there is none.

        Raises `ActionError` for a damaged archive, too many members, a name that is there twice,
        or more than `limit` bytes.
        """
        where = f"artifact {self.name!r}"
        try:
            with zipfile.ZipFile(io.BytesIO(self.content)) as archive:
                members = archive.infolist()
                if len(members) > MAX_MEMBERS:
                    raise ActionError(f"{where}: more than {MAX_MEMBERS} files")
                found = [info for info in members if info.filename == member]
                if not found:
                    return None
                if len(found) > 1:
                    raise ActionError(f"{where}: {member} is there {len(found)} times")
                if found[0].file_size > limit:
                    raise ActionError(f"{where}: {member} is larger than {limit:,} bytes")
                with archive.open(found[0]) as file:
                    content = file.read(limit + 1)  # what the header says may be a lie
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            RuntimeError,
            NotImplementedError,
            ValueError,
        ) as error:
            raise ActionError(f"{where}: not a readable zip file: {error}") from None
        if len(content) > limit:
            raise ActionError(f"{where}: {member} is larger than {limit:,} bytes")
        return content


def of_run(api: Api, run: int, prefix: str) -> list[Artifact]:
    """The artifacts of a run whose name starts with `prefix`, by name. Raises `ActionError`."""
    found: dict[str, int] = {}
    for item in api.pages(f"actions/runs/{run}/artifacts", "artifacts"):
        name, identity = item.get("name"), item.get("id")
        if not isinstance(name, str) or type(identity) is not int or item.get("expired"):
            continue
        if name.startswith(prefix):
            found[name] = max(identity, found.get(name, 0))  # of a re-run, the latest
    if len(found) > MAX_ARTIFACTS:
        raise ActionError(f"run {run}: more than {MAX_ARTIFACTS} artifacts of the gate")
    return [Artifact(name, api.download(found[name], MAX_ZIP)) for name in sorted(found)]


def of_commit(api: Api, name: str, commit: str, branch: str) -> Artifact | None:
    """The newest artifact that a run of `branch` in this very repository left for `commit`.

    A fork may have a branch of the same name, and a run of a pull request the same commit; so the
    run's repository and branch are compared as well. Raises `ApiError`.
    """
    newest = 0
    for item in api.pages("actions/artifacts", "artifacts", name=name):
        run = item.get("workflow_run")
        if not isinstance(run, dict) or item.get("expired") or item.get("name") != name:
            continue
        own = run.get("repository_id") is not None and (
            run.get("repository_id") == run.get("head_repository_id")
        )
        identity = item.get("id")
        right = own and run.get("head_sha") == commit and run.get("head_branch") == branch
        if right and type(identity) is int:
            newest = max(newest, identity)
    return Artifact(name, api.download(newest, MAX_ZIP)) if newest else None
