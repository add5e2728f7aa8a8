"""Boards by name, for scripts and notebooks."""

from __future__ import annotations

from pytest_edgequant.errors import user_facing
from pytest_edgequant.pipeline.current import current_pipeline
from pytest_edgequant.records import Target


@user_facing
def load_target(name: str) -> Target:
    """The target of that name or alias (matched without case, dashes and underscores).

    Inside a pytest run the targets of `[tool.edgequant.targets]` are known too. Raises
    `UnknownNameError` with the closest names.
    """
    return current_pipeline().targets.get(name)
