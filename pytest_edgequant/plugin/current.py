"""What belongs to one pytest session, found by its config: the run, and what was collected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_edgequant.plugin.run import Run

_run_key: pytest.StashKey[Run] = pytest.StashKey()
_collected_key: pytest.StashKey[Sequence[pytest.Item]] = pytest.StashKey()


def get_run(config: pytest.Config) -> Run:
    """The state of this run, made at its first use: an idle plugin loads none of it."""
    run = made_run(config)
    if run is None:
        from pytest_edgequant.plugin.run import Run

        run = config.stash[_run_key] = Run(config)
    return run


def made_run(config: pytest.Config) -> Run | None:
    """The state of this run where something of ours was used or set, else None."""
    return config.stash.get(_run_key, None)


def keep_collected(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Remember all that was collected, before anything is deselected."""
    config.stash[_collected_key] = list(items)


def collected(config: pytest.Config) -> Sequence[pytest.Item]:
    """All that was collected, deselected or not."""
    return config.stash.get(_collected_key, [])
