"""How much of each limit is used: what rows, matrices and bars show of a verdict's figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pytest_edgequant.records import Outcome, Result, Verdict
from pytest_edgequant.report.figures import score_name
from pytest_edgequant.units import SIZE_UNITS, format_bytes, format_duration

FIGURES: Mapping[str, str] = {
    "size": "size_bytes",
    "arena": "arena_bytes",
    "latency": "latency_ms",
    "accuracy_drop": "accuracy_drop",
    "worst_class_drop": "worst_class_drop",
    "calibration_robustness": "calibration_worst_drop",
}
"""The figure that a check holds against a most, by the check."""
SCORE = ""
"""Stands for the metric that says how good a model is at its task: its name differs by model."""
FLOORS: Mapping[str, str] = {
    "min_accuracy": SCORE,
    "agreement": "agreement",
    "speedup": "speedup",
}
"""The figure that a check holds against a least."""
_WORDS: Mapping[str, str] = {
    "accuracy_drop": "drop",
    "worst_class_drop": "worst class",
    "calibration_robustness": "worst calibration",
    "min_accuracy": "score",
}
_NEAR = 0.01
"""So close to a limit both are told exactly: rounded, they would read the same."""


@dataclass(frozen=True)
class Use:
    """A figure beside the limit that a check held it against.

    `shown` and `limit_shown` are both in words. `floor` is whether the limit is a least: of one
    nothing is used up.
    """

    check: str
    figure: str
    value: float | int
    limit: float | int
    outcome: Outcome
    shown: str
    limit_shown: str
    floor: bool = False

    @property
    def share(self) -> float | None:
        """How much of the limit is used, from 0; infinite where there is nothing to use."""
        if self.floor:
            return None
        if self.value <= 0:
            return 0.0
        return self.value / self.limit if self.limit > 0 else math.inf

    @property
    def part(self) -> str:
        """`3 % of 183 KiB`, `at least 90.00%`."""
        share = self.share
        if share is None:
            return f"at least {self.limit_shown}"
        if math.isinf(share):
            return f"over {self.limit_shown}"
        return f"{percent(share)} of {self.limit_shown}"

    @property
    def text(self) -> str:
        """`5,280 B, 3 % of 183 KiB`."""
        return f"{self.shown}, {self.part}"

    @property
    def word(self) -> str:
        """What is limited, in a word or two."""
        return _WORDS.get(self.check, self.check)

    @property
    def told(self) -> str:
        """Where the figure itself is not shown: `arena 3 % of 183 KiB`."""
        return f"{self.word} {self.text if self.floor else self.part}"


def percent(share: float) -> str:
    """Whole per cent, and never 0 or 100 of what isn't: `3 %`, `<1 %`, `99.9 %`, `100.1 %`."""
    hundredths = 100 * share
    whole = round(hundredths)
    if share > 0 and whole == 0:
        return "<1 %"
    if whole == 100 and share != 1:
        tenths = math.floor(10 * hundredths) if share < 1 else math.ceil(10 * hundredths)
        return f"{tenths / 10:.1f} %"
    return f"{whole:,} %"


def format_limit(count: int) -> str:
    """A limit as people know it, to three digits: `183 KiB`, `32 KiB`, `1.5 MiB`."""
    for unit in ("GiB", "MiB", "KiB"):
        size = count / SIZE_UNITS[unit]
        if size >= 1:
            return f"{size:.0f} {unit}" if size >= 100 else f"{size:.3g} {unit}"
    return format_bytes(count)


def _words(result: Result, figure: str, value: float, *, limit: bool) -> str:
    """A value or a limit with its unit."""
    if figure.endswith("_bytes"):
        return format_limit(int(value)) if limit else format_bytes(int(value))
    if figure == "latency_ms":
        return format_duration(value)
    metric = result.metrics.get(figure)
    fraction = metric is not None and metric.unit == "fraction"
    fraction = fraction or "accuracy" in result.metrics or figure == "agreement"
    if figure.endswith("_drop"):
        spec = ".4g" if limit else "+.2f" if fraction else "+.4g"
        return f"{100 * value + 0.0:{spec}} pt" if fraction else f"{value + 0.0:{spec}}"
    return f"{value:.4g}" if figure == "speedup" or not fraction else f"{value:.2%}"


def use_of(result: Result, verdict: Verdict) -> Use | None:
    """The use of a verdict's limit; None where it has none, or no value."""
    floor = verdict.check in FLOORS
    figure = FLOORS.get(verdict.check) if floor else FIGURES.get(verdict.check)
    figure = (score_name(result) or "accuracy") if figure == SCORE else figure
    value, limit = verdict.value, verdict.limit
    if figure is None or value is None or limit is None or isinstance(limit, str):
        return None
    shown = _words(result, figure, value, limit=False)
    near = limit != value and math.isclose(value, limit, rel_tol=_NEAR)
    most = _words(result, figure, limit, limit=not (near and figure.endswith("_bytes")))
    return Use(verdict.check, figure, value, limit, verdict.verdict, shown, most, floor)


def uses(result: Result) -> list[Use]:
    """The uses of a result's limits, what is used most first; floors last."""
    found = (use_of(result, verdict) for verdict in result.verdicts)
    distinct = dict.fromkeys(use for use in found if use is not None)
    return sorted(distinct, key=lambda u: (u.floor, -(u.share or 0.0), u.check))


def tightest(found: Iterable[Use], figure: str | None = None) -> Use | None:
    """The limit of which most is used, of all or of one figure; None where there is none."""
    some = [u for u in found if not u.floor and figure in (None, u.figure)]
    return max(some, key=lambda u: u.share or 0.0, default=None)
