"""Artifacts of workflow runs, read as data that anybody may have made.

Nothing is unpacked: single members are read into memory by their exact name, each up to a limit.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

from edge_gate.api import Api
from edge_gate.errors import ActionError

MAX_ZIP = 64 * 2**20
MAX_MEMBERS = 100
MAX_ARTIFACTS = 60
_DIRECTORY_ENTRY = b"PK\x01\x02"
_ENCRYPTED = 1


@dataclass(frozen=True)
class Artifact:
    """One uploaded folder: its name and its zip."""

    name: str
    content: bytes

    def read(self, member: str, limit: int) -> bytes | None:
        """A member of exactly this name; None where there is none.

        Raises `ActionError` for a damaged archive, too many members, a name that is there twice,
        a member that is neither stored nor deflated, or more than `limit` bytes.
        """
        where = f"artifact {self.name!r}"
        # zipfile makes an object of each before it can be asked how many there are.
        if self.content.count(_DIRECTORY_ENTRY) > MAX_MEMBERS:
            raise ActionError(f"{where}: more than {MAX_MEMBERS} files")
        try:
            with zipfile.ZipFile(io.BytesIO(self.content)) as archive:
                found = [info for info in archive.infolist() if info.filename == member]
                if not found:
                    return None
                _check(found, limit, f"{where}: {member}")
                with archive.open(found[0]) as file:
                    content = file.read(limit + 1)  # what the header says may be a lie
        except ActionError:
            raise
        except Exception as error:  # zipfile raises many kinds, and more with each release
            raise ActionError(f"{where}: not a readable zip file: {error}") from None
        if len(content) > limit:
            raise ActionError(f"{where}: {member} is larger than {limit:,} bytes")
        return content


def _check(found: list[zipfile.ZipInfo], limit: int, what: str) -> None:
    """Raises `ActionError` for members of one name that are not to be read."""
    if len(found) > 1:
        raise ActionError(f"{what} is there {len(found)} times")
    if found[0].flag_bits & _ENCRYPTED:
        raise ActionError(f"{what} is encrypted")
    if found[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # GitHub writes no others, and each is a decoder more for a stranger's bytes.
        raise ActionError(f"{what} is compressed by method {found[0].compress_type}, not deflate")
    if found[0].file_size > limit:
        raise ActionError(f"{what} is larger than {limit:,} bytes")


def listed(api: Api, run: int, prefix: str) -> dict[str, int]:
    """The artifacts of a run whose name starts with `prefix`: name and id, in the names' order.

    Raises `ApiError`.
    """
    found: dict[str, int] = {}
    for item in api.pages(f"actions/runs/{run}/artifacts", "artifacts"):
        name, identity = item.get("name"), item.get("id")
        if not isinstance(name, str) or type(identity) is not int or item.get("expired"):
            continue
        if name.startswith(prefix):
            found[name] = max(identity, found.get(name, 0))  # of a re-run, the latest
    return dict(sorted(found.items()))


def download(api: Api, name: str, identity: int) -> Artifact:
    """One of them. Raises `ApiError` where it can't be had, or is too large."""
    return Artifact(name, api.download(identity, MAX_ZIP))


def of_run(api: Api, run: int, prefix: str) -> list[Artifact]:
    """All of them. Raises `ApiError`."""
    return [download(api, name, identity) for name, identity in listed(api, run, prefix).items()]


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
    return download(api, name, newest) if newest else None
