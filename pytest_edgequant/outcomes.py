"""What a check came to: errors carry it and records hold it, so it stands under both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from pytest_edgequant.wording import message as told


class Outcome(str, Enum):
    """The verdict of one check."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    CANNOT_RUN = "cannot_run"
    UNAVAILABLE = "unavailable"
    NOT_APPLICABLE = "not_applicable"

    def __str__(self) -> str:
        return self.value


WORST_FIRST = (
    Outcome.FAIL,
    Outcome.CANNOT_RUN,
    Outcome.UNAVAILABLE,
    Outcome.INCONCLUSIVE,
    Outcome.PASS,
    Outcome.NOT_APPLICABLE,
)


def worst(outcomes: Iterable[Outcome]) -> Outcome | None:
    """The outcome that decides over several; None of none."""
    return min(outcomes, key=WORST_FIRST.index, default=None)


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check on one variant, with the limit and the value it was judged by.

    `note` stands beside the verdict wherever that is shown, a pass too. `brief` says in some words
    what failed and by how much, for where a line is cut; empty where the message begins with it.
    """

    check: str
    verdict: Outcome
    message: str
    limit: float | int | str | None = None
    value: float | int | None = None
    note: str = ""
    brief: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", told(self.message))
        object.__setattr__(self, "brief", told(self.brief))
