"""Metrics, verdicts, and what a run found out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pytest_edgequant.outcomes import Outcome, Verdict
from pytest_edgequant.records.telling import Telling, Told
from pytest_edgequant.units import format_quantity, format_samples
from pytest_edgequant.wording import message as told


@dataclass(frozen=True)
class Metric(Telling):
    """One measured figure. `value` is None exactly when it is unavailable; then `reason` says why.

    `low` and `high` bound the error where it is known; `provenance` says how it was obtained.
    `count` is the number of samples of a figure that was evaluated on some, `of` how many there
    were to choose from.
    """

    value: float | int | None
    unit: str
    provenance: str
    low: float | int | None = None
    high: float | int | None = None
    reason: str | None = None
    count: int | None = None
    of: int | None = None

    def __post_init__(self) -> None:
        if self.reason:
            object.__setattr__(self, "reason", told(self.reason))

    @classmethod
    def unavailable(cls, unit: str, reason: str) -> Metric:
        return cls(None, unit, "unavailable", reason=reason)

    def _told(self) -> Told:
        if self.value is None:
            return Told(f"unavailable: {self.reason}")
        text = format_quantity(self.value, self.unit)
        if self.low is not None and self.high is not None and self.low != self.high:
            low, high = (format_quantity(value, self.unit) for value in (self.low, self.high))
            text += f" ({low} to {high})"
        if self.count is not None:
            text += f" on {format_samples(self.count, self.of)}"
        return Told(text, (("how", self.provenance),))


NOT_COMPARABLE = ", not comparable: "
"""What stands in a change's message between two figures and why there is no difference of them."""


@dataclass(frozen=True)
class Change:
    """A figure of this run beside the baseline's, and whether that is a regression.

    `before` is None where the baseline has no such figure, `after` where this run has none.
    `verdict` is PASS for what is no regression (an improvement too), FAIL for one, INCONCLUSIVE
    where the samples don't decide it or the two can't be compared, UNAVAILABLE where this run could
    not have it, NOT_APPLICABLE where nothing judges it (informational). Of task metrics both are
    those of the samples that both runs evaluated, and `message` says so. `low` and `high` bound
    `after - before` where paired statistics tell; for accuracy and other metrics that are better
    when higher, a drop is negative. `message` says what happened and what to do. `accepted` says
    until when and why a regression is taken on, empty where none is; `informational` is a
    regression whose rule fails nothing.
    """

    metric: str
    unit: str
    before: float | int | None
    after: float | int | None
    verdict: Outcome
    message: str
    low: float | None = None
    high: float | None = None
    accepted: str = ""
    informational: bool = False


RowKey = tuple[str, str, str, str]
"""Model, target ("" for none), variant, and the file's identity ("" where it is not known)."""


@dataclass(frozen=True)
class Result:
    """Everything that a run found out about one variant of one model on one target.

    `changes` are its differences to the baseline; none where the run had no baseline. `file` tells
    files of one name apart (other calibration, other weights), "" where it is not known; `several`
    that the run had more than one of them, so that the name alone does not say which.
    """

    model: str
    variant: str
    target: str | None
    metrics: Mapping[str, Metric]
    verdicts: Sequence[Verdict]
    notes: Sequence[str] = ()
    changes: Sequence[Change] = ()
    file: str = ""
    several: bool = False

    @property
    def key(self) -> RowKey:
        return self.model, self.target or "", self.variant, self.file

    @property
    def form(self) -> str:
        """The variant as a row names it: with its file, where there are several of that name."""
        return f"{self.variant} (file {self.file or 'unknown'})" if self.several else self.variant


@dataclass(frozen=True)
class Failure:
    """A test that failed: its node id, where it stands, and the message it failed with.

    `file` is relative to pytest's root folder, `line` counts from 1; None where it is not known.
    """

    test: str
    file: str
    line: int | None
    message: str


STATES = ("passed", "xpassed", "skipped", "xfailed", "failed", "error")
"""How a test can end, the worst last; an error is one of setup or teardown."""


@dataclass(frozen=True)
class GateTest:
    """A test that used the plugin: how it ended (one of `STATES`), and the rows that it used.

    `message` is what a failure that was expected came to.
    """

    test: str
    state: str
    rows: Sequence[RowKey] = ()
    message: str = ""


@dataclass(frozen=True)
class ModelFile:
    """Where the .tflite behind a result is: `path`, or `content` where the file won't last.

    `fingerprint` is its SHA-256 in hexadecimal.
    """

    fingerprint: str
    path: str
    content: bytes | None = field(default=None, repr=False)
