"""Git LFS pointers: small texts that stand in a working copy for files that were not fetched."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_edgequant.files import open_file
from pytest_edgequant.wording import counted

LONGEST = 1024
"""Git LFS takes nothing longer for a pointer."""

_VERSION = re.compile(rb"version https://(git-lfs|hawser)\.github\.com/spec/\S+\r?\n")
_SIZE = re.compile(rb"^size (\d{1,18})\r?$", re.MULTILINE)


def pointer_reason(content: bytes) -> str | None:
    """What is wrong with a file's content that is a pointer, and what to do; None for any other."""
    if len(content) > LONGEST or not _VERSION.match(content):
        return None
    size = _SIZE.search(content)
    itself = f" of {counted(int(size.group(1)), 'byte')}" if size else ""
    return (
        f"is a Git LFS pointer, not the file{itself} itself: fetch it with `git lfs pull` (in a "
        "GitHub workflow: actions/checkout with lfs: true)"
    )


def pointer_file(path: Path) -> str | None:
    """As `pointer_reason`, of a file; None too where it can't be read."""
    try:
        with open_file(path) as stream:
            return pointer_reason(stream.read(LONGEST + 1))
    except OSError:
        return None
