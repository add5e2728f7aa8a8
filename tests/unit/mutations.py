"""What a mutation test of the gate is made of: a check that just passes, and a twin that must not.

A gate is only as good as the smallest fault that it sees: one byte, one sample, one step, one
misspelt letter. Each mutation has a twin that passes, so that none is seen for another reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Mutation:
    """`broken` is `fine` with one thing changed, and must raise `error` with `said` in it."""

    name: str
    fine: Callable[[], object]
    broken: Callable[[], object]
    error: type[Exception] | tuple[type[Exception], ...]
    said: str = ""

    def __str__(self) -> str:
        return self.name

    def check(self) -> None:
        self.fine()
        with pytest.raises(self.error, match=self.said or None):
            self.broken()
