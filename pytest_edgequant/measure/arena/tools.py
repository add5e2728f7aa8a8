"""What an arena answers beyond its figures: ways to a smaller one, and its picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from pytest_edgequant.errors import MissingExtraError
from pytest_edgequant.records import Arena, Suggestion
from pytest_edgequant.targets.profiles import Profile
from pytest_edgequant.tflite.graph import read_graph


@lru_cache(maxsize=64)
def _suggested(content: bytes, profile: Profile) -> tuple[Suggestion, ...]:
    from pytest_edgequant.measure.arena.suggestions import suggest

    return suggest(content, profile)


@dataclass(frozen=True)
class ModelTools:
    """The tools of the arena of one model, in `content`, on one build of TFLM.

    Without the file's content there is nothing to suggest; each loads what it needs when asked.
    """

    content: bytes
    profile: Profile

    def suggestions(self) -> tuple[Suggestion, ...]:
        """What would make the arena smaller, computed with the same rules.

        None where the package that changes files is not installed.
        """
        if not self.content:
            return ()
        try:
            return _suggested(self.content, self.profile)
        except MissingExtraError:
            return ()

    def unrolled(self) -> str:
        """What unrolled recurrent layers make of the model, in a sentence; empty without any."""
        if not self.content:
            return ""
        from pytest_edgequant.measure.arena.unrolled import described

        return described(self.content, read_graph(self.content))

    def svg(self, arena: Arena) -> str:
        """The arena's plan as SVG; raises `MissingExtraError` without Matplotlib."""
        from pytest_edgequant.measure.arena.picture import arena_svg

        return arena_svg(arena)
