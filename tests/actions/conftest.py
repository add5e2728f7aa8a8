"""The action's own Python, and what stands in for GitHub around it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ACTION = ROOT / ".github" / "actions" / "edge-gate"
sys.path.insert(0, str(ACTION))
collect_ignore_glob = [] if ACTION.is_dir() else ["test_*.py"]

from fake_github import FakeGitHub  # noqa: E402 - its folder is set above


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    """A stand-in for GitHub's API on this machine, with one empty repository."""
    server = FakeGitHub()
    yield server
    server.close()
