"""What a report was made of, and when: the commit that was checked out, and the time."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

_BY_CI = ("GITHUB_SHA", "CI_COMMIT_SHA", "BUILD_SOURCEVERSION", "BITBUCKET_COMMIT")
"""Where CI services tell the commit, for a run without Git."""
_SECONDS = 5.0


def _git(folder: Path, *arguments: str) -> str | None:
    # Nothing that a repository configures is run for a look at it.
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", *arguments]
    try:
        found = subprocess.run(
            command, cwd=folder, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.decode("utf-8", "replace").strip() if found.returncode == 0 else None


def _commit(folder: Path, environment: Mapping[str, str]) -> str:
    head = _git(folder, "rev-parse", "HEAD")
    if not head:
        return next((environment[name] for name in _BY_CI if environment.get(name)), "")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{head} with changes" if changed else head


def _time(environment: Mapping[str, str]) -> datetime:
    """Now, or what reproducible builds say instead."""
    epoch = environment.get("SOURCE_DATE_EPOCH", "")
    if epoch.isascii() and epoch.isdigit() and len(epoch) <= 11:
        return datetime.fromtimestamp(int(epoch), timezone.utc)
    return datetime.now(timezone.utc)


def made_here(folder: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`commit` (not where none is known) and `date` of a report about what is in a folder."""
    made = {"date": f"{_time(environment):%Y-%m-%d %H:%M} UTC"}
    commit = _commit(folder, environment)
    return {"commit": commit, **made} if commit else made
