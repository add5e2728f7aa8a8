"""Which pipeline is asked: the one that a pytest run has set up, else one of this process.

A pipeline loads converters and interpreters' rooms; what only names it, as the gate does, waits for
the first question.
"""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING, Any

from pytest_edgequant import context

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_edgequant.pipeline.pipeline import Pipeline
    from pytest_edgequant.records import Variant

STRIPPED = "stripped of what the device never reads"
"""How the note of a variant begins whose file was stripped."""
_default: Pipeline | None = None


def current_pipeline() -> Pipeline:
    """The running pytest session's pipeline, else a process-wide one with the default cache."""
    global _default
    if context.pipeline_factory is not None:
        running: Pipeline = context.pipeline_factory()
        return running
    if _default is None:
        from pytest_edgequant.pipeline.pipeline import Pipeline
        from pytest_edgequant.progress import on_terminal

        _default = Pipeline(progress=on_terminal)
        atexit.register(_default.close)
    return _default


def run_variant(variant: Variant, x: Any) -> list[NDArray[Any]]:
    """What `Variant.predict` asks: real-valued outputs (N, ...), one array an output."""
    return current_pipeline().predict(variant, x)
