"""What is current in this process. Imports nothing, so that an idle plugin costs nothing.

`events` collects what the running test records (see `session`), None where no test runs.
`pipeline_factory` gives the running pytest session's pipeline, made at its first use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_edgequant.pipeline import Pipeline

events: list[dict[str, Any]] | None = None
pipeline_factory: Callable[[], Pipeline] | None = None
