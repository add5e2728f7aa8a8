"""Which figures of two runs can be held against each other, and on which samples."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from pytest_edgequant.baseline.common import common, enough, is_value, same, value_on
from pytest_edgequant.baseline.document import Entry
from pytest_edgequant.records import Metric
from pytest_edgequant.results.samples import UNKNOWN, Samples
from pytest_edgequant.wording import counted

OF_A_DATASET = frozenset(
    {
        *("accuracy_drop", "worst_class_drop", "agreement", "output_cosine", "output_sqnr"),
        *("parity_max_steps", "parity_changed"),
    }
)
"""Figures that are computed from the samples of an evaluation, beside task metrics."""


SAVE_ANEW = ". Save the baseline anew"
"""What to do about another dataset, where a figure of it is judged."""


@dataclass(frozen=True)
class Pair:
    """Two figures of the same thing.

    `both` are the samples that they are of, one by one, for what was evaluated on a dataset;
    `where` says which, where they are not all of both.
    """

    old: Metric
    new: Metric
    both: tuple[Samples, Samples] | None = None
    where: str = ""


def pair(name: str, old: Metric, new: Metric, before: Entry, after: Entry) -> Pair | str:
    """Two figures with a value as they are compared, or why they can't be."""
    if old.unit != new.unit:
        return f"in {old.unit or 'no unit'} then, in {new.unit or 'no unit'} now"
    if name == "latency_ms":
        first, second = (f.provenance.split()[0].rstrip(",;:") for f in (old, new))
        return Pair(old, new) if first == second else f"{first} then, {second} now"
    if name in before.samples or name in after.samples:
        return _evaluated(name, old, new, before.samples.get(name), after.samples.get(name))
    if name in OF_A_DATASET:
        for metric, now in sorted(after.samples.items()):
            then = before.samples.get(metric)
            if then is not None and not same(then, now):
                return _changed(then, now)
    return Pair(old, new)


def _evaluated(
    name: str, old: Metric, new: Metric, then: Samples | None, now: Samples | None
) -> Pair | str:
    """Two values of a task metric: on the samples that both runs evaluated."""
    if then is None or now is None:
        return f"which samples were evaluated {'then' if then is None else 'now'} is not known"
    if then.higher_is_better != now.higher_is_better:
        return "the metric's direction changed"
    both = common(then, now)
    if both is None:
        return _changed(then, now)
    if same(then, now):
        return Pair(old, new, both)
    part = both[0].count
    if not enough(part, then, now):
        return _changed(then, now, part)
    assert old.value is not None
    assert new.value is not None
    if not is_value(name, old.value, then) or not is_value(name, new.value, now):
        return f"{_changed(then, now, part)}: {name} has no value by sample to go by"
    old, new = (
        dataclasses.replace(metric, value=value_on(name, samples), low=None, high=None)
        for metric, samples in zip((old, new), both, strict=True)
    )
    where = (
        f" on the {counted(part, 'sample')} that both have ({then.count:,} then, {now.count:,} now)"
    )
    return Pair(old, new, both, where)


def _changed(then: Samples, now: Samples, part: int | None = None) -> str:
    if UNKNOWN in (then.dataset, now.dataset) and part is None:
        return "which samples were evaluated is not known"
    met = f", {part:,} of them the same" if part is not None else ""
    return (
        f"the dataset changed ({counted(then.count, 'sample')} then, {now.count:,} "
        f"now{met}){SAVE_ANEW}"
    )
