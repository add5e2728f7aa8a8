"""One run against an earlier one: every difference, where it comes from, what is accepted."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_edgequant.baseline.accepted import Accepted, covering
from pytest_edgequant.baseline.document import Baseline, Entry, Key, kept, name_of
from pytest_edgequant.baseline.pairs import Pair, pair
from pytest_edgequant.baseline.rules import Rule, Rules, better
from pytest_edgequant.baseline.verdicts import Finding, judge, show, values
from pytest_edgequant.errors import UnknownNameError
from pytest_edgequant.limits import NOISE
from pytest_edgequant.records import NOT_COMPARABLE, Change, Metric, Outcome
from pytest_edgequant.units import format_samples

_WORSE = (Outcome.FAIL, Outcome.INCONCLUSIVE)


@dataclass(frozen=True)
class Comparison:
    """What changed, by model, target and variant.

    `absent` are entries that this run did not measure, `new` those that the baseline does not
    have. `improved` are judged figures that became better, `apart` those that can't be compared,
    by the reason; `parts` those that were compared on a part of the samples, by which. `unused`
    are accepted entries that met no regression, `unmet` rules that met no figure of this run,
    `unknown` the errors of rules and entries for what neither run has.
    `versions` says how the toolchain changed.
    """

    changes: Mapping[Key, Sequence[Change]] = field(default_factory=dict)
    absent: tuple[Key, ...] = ()
    new: tuple[Key, ...] = ()
    improved: frozenset[tuple[Key, str]] = frozenset()
    apart: Mapping[str, Sequence[tuple[Key, str]]] = field(default_factory=dict)
    parts: Mapping[str, Sequence[tuple[Key, str]]] = field(default_factory=dict)
    unused: tuple[Accepted, ...] = ()
    unmet: tuple[Rule, ...] = ()
    unknown: tuple[UnknownNameError, ...] = ()
    versions: str = ""

    @property
    def held(self) -> bool:
        """Whether any figure of then was met by one of now."""
        return any(
            change.before is not None for changes in self.changes.values() for change in changes
        )

    def models(self) -> set[str]:
        """The models that either run has."""
        return {model for model, _, _ in (*self.changes, *self.absent, *self.new)}

    def each(self, *outcomes: Outcome) -> Iterator[tuple[Key, Change]]:
        """All changes with one of these verdicts, in order."""
        for key in sorted(self.changes):
            for change in self.changes[key]:
                if change.verdict in outcomes:
                    yield key, change


def on_samples(metric: Metric, count: int | None) -> str:
    """On how many samples a figure was had, of how many; empty for what has nothing to do with any.

    `count` is what is known of it where the figure itself does not say.
    """
    known = count if metric.count is None else metric.count
    return "" if known is None else f" on {format_samples(known, metric.of)}"


def _versions(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    changed = [
        f"{name} {before.get(name, 'absent')} -> {after.get(name, 'absent')}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    return ", ".join(changed)


ORIGINS = ("the model ", "the float32 model ")
"""How that begins in a change's message which says where a difference comes from."""


class _Models:
    """Which models are the same as in the baseline, by their logical fingerprints."""

    def __init__(self, before: Baseline, after: Baseline) -> None:
        self.before, self.after = before, after
        self.versions = _versions(before.toolchain, after.toolchain)

    def _same(self, key: Key) -> bool | None:
        pair = [
            side.entries[key].fingerprint if key in side.entries else None
            for side in (self.before, self.after)
        ]
        return None if None in pair else pair[0] == pair[1]

    def _float_same(self, key: Key) -> bool | None:
        """Whether the float32 form of the same model is unchanged, on any target."""
        targets = {target for model, target, variant in self.after.entries if model == key[0]}
        found = [self._same((key[0], target, "float32")) for target in sorted(targets)]
        known = [same for same in found if same is not None]
        return all(known) if known else None

    def origin(self, key: Key) -> str:
        """Where a difference comes from, as far as fingerprints and versions tell."""
        same = self._same(key)
        if same is None:
            return ""
        versions = _versions(self.before.toolchain_of(key), self.after.toolchain_of(key))
        if same:
            if versions:
                return f"the model is the same, only the toolchain changed ({versions})"
            return "the model is the same (graph, shapes, quantization and weights)"
        if key[2] != "float32" and self._float_same(key):
            how = (
                f"the toolchain ({versions})"
                if versions
                else "other calibration samples, or other options"
            )
            return f"the float32 model is the same, its quantized form changed: {how}"
        return f"the model changed{f', and the toolchain ({versions})' if versions else ''}"


class _Comparer:
    def __init__(
        self,
        before: Baseline,
        after: Baseline,
        rules: Rules,
        accepted: Sequence[Accepted],
        today: datetime.date,
    ) -> None:
        self.before, self.after = before, after
        self.rules, self.accepted, self.today = rules, accepted, today
        self.models = _Models(before, after)
        self.used: set[str] = set()
        self.improved: set[tuple[Key, str]] = set()
        self.apart: dict[str, list[tuple[Key, str]]] = {}
        self.parts: dict[str, list[tuple[Key, str]]] = {}

    def entry(self, key: Key) -> Iterator[Change]:
        """The changes of a variant that both have."""
        before, after = self.before.entries[key], self.after.entries[key]
        old = kept(before.metrics)
        for name in sorted({*old, *after.metrics}):
            change = self.change(key, name, old.get(name), after.metrics.get(name), before, after)
            if change is not None:
                yield change

    def change(
        self,
        key: Key,
        name: str,
        old: Metric | None,
        new: Metric | None,
        before: Entry,
        after: Entry,
    ) -> Change | None:
        subject = f"{name_of(key)}: {name}"
        if new is None or (new.value is None and old is None):
            return None  # not asked for in this run, or never there
        if old is None or old.value is None:
            if name not in kept({name: new}):
                return None
            count = after.samples[name].count if name in after.samples else None
            figure = f"{show(new.value, new.unit)}{on_samples(new, count)}"  # type: ignore[arg-type]
            text = f"{subject} {figure} is new"
            return Change(name, new.unit, None, new.value, Outcome.NOT_APPLICABLE, text)
        if new.value is None:
            return self.missing(key, name, old, before, f"unavailable: {new.reason}")
        if not math.isfinite(new.value):
            return self.missing(key, name, old, before, str(new.value))
        own = after.samples.get(name) or before.samples.get(name)
        rule = self.rules.of(name, task=own is not None, share=own.share if own else False)
        direction = better(name)
        if own is not None:
            direction = "higher" if own.higher_is_better else "lower"
        found = pair(name, old, new, before, after)
        if isinstance(found, str):
            change = self.not_comparable(key, name, old, new, rule, found)
        else:
            change = self.judged(key, name, found, rule, direction)
        return self.unless_accepted(key, change, direction != "lower")

    def judged(self, key: Key, name: str, found: Pair, rule: Rule, direction: str | None) -> Change:
        """The change of two figures that can be held against each other."""
        old, new = found.old, found.new
        assert old.value is not None
        assert new.value is not None
        if found.where:
            self.parts.setdefault(found.where, []).append((key, name))
        told = f"{name_of(key)}: {name} {values(old.value, new.value, new.unit)}"
        told += found.where or on_samples(new, found.both and found.both[1].count)
        finding = judge(name, old, new, found.both, rule)
        text = self.message(key, name, told, old, new, finding, rule, direction)
        return Change(
            name,
            new.unit,
            old.value,
            new.value,
            self.strictly(finding.outcome, rule),
            text,
            finding.low,
            finding.high,
            informational=rule.informational and finding.outcome in _WORSE,
        )

    def not_comparable(
        self, key: Key, name: str, old: Metric, new: Metric, rule: Rule, why: str
    ) -> Change:
        """What is judged and can't be compared is open; what nothing judges is shown."""
        assert old.value is not None
        assert new.value is not None
        self.apart.setdefault(why, []).append((key, name))
        text = (
            f"{name_of(key)}: {name} {show(old.value, old.unit)} -> {show(new.value, new.unit)}"
            f"{NOT_COMPARABLE}{why}"
        )
        outcome = Outcome.INCONCLUSIVE if rule.judges else Outcome.NOT_APPLICABLE
        text += self.strict_note(outcome, rule)
        return Change(name, new.unit, old.value, new.value, self.strictly(outcome, rule), text)

    def missing(self, key: Key, name: str, old: Metric, entry: Entry, why: str) -> Change:
        """A figure that the baseline has and that this run could not have."""
        own = entry.samples.get(name)
        rule = self.rules.of(name, task=own is not None, share=own.share if own else False)
        assert old.value is not None
        text = f"{name_of(key)}: {name} was {show(old.value, old.unit)}, now {why}"
        outcome = Outcome.UNAVAILABLE if rule.judges else Outcome.NOT_APPLICABLE
        text += self.strict_note(outcome, rule)
        change = Change(name, old.unit, old.value, None, self.strictly(outcome, rule), text)
        return self.unless_accepted(key, change, True)

    def mixed(self, key: Key) -> Iterator[Change]:
        """A variant of which this run had several files: which one to compare can't be told."""
        for name, old in sorted(kept(self.before.entries[key].metrics).items()):
            own = self.before.entries[key].samples.get(name)
            rule = self.rules.of(name, task=own is not None, share=own.share if own else False)
            if rule.judges:
                why = "tests of this run had different files of this name; name them apart"
                yield self.missing(key, name, old, self.before.entries[key], f"unknown: {why}")
                return  # one line says it of all of them

    @staticmethod
    def strict_note(outcome: Outcome, rule: Rule) -> str:
        if outcome is Outcome.NOT_APPLICABLE or rule.informational:
            return ""
        return "; which fails with strict = true" if rule.strict else ""

    @staticmethod
    def strictly(outcome: Outcome, rule: Rule) -> Outcome:
        if rule.informational:
            return Outcome.NOT_APPLICABLE
        if outcome in (Outcome.INCONCLUSIVE, Outcome.UNAVAILABLE) and rule.strict:
            return Outcome.FAIL
        return outcome

    def message(
        self,
        key: Key,
        name: str,
        told: str,
        old: Metric,
        new: Metric,
        finding: Finding,
        rule: Rule,
        direction: str | None,
    ) -> str:
        before, after = old.value, new.value
        assert before is not None
        assert after is not None
        parts = [told]
        if finding.outcome is Outcome.INCONCLUSIVE:
            parts.append(f"inconclusive, {finding.why}")
            if rule.strict and not rule.informational:
                parts.append("which fails with strict = true")
        elif finding.outcome is Outcome.FAIL:
            parts.append(finding.why)
        elif not math.isclose(before, after, rel_tol=NOISE) and direction is not None:
            improved = (after > before) == (direction == "higher")
            judged = finding.outcome is Outcome.PASS
            if improved and judged:
                self.improved.add((key, name))
            parts.append("better" if improved else "worse, within the limit" if judged else "worse")
        if rule.informational and finding.outcome in _WORSE:
            parts.append("informational: it fails nothing")
        if before != after:
            if old.provenance != new.provenance:
                parts.append(f"then {old.provenance}, now {new.provenance}")
            parts += filter(None, [self.models.origin(key)])
        return "; ".join(parts)

    def unless_accepted(self, key: Key, change: Change, higher: bool) -> Change:
        if change.verdict not in (Outcome.FAIL, Outcome.INCONCLUSIVE):
            return change
        if change.after is None:
            return change  # nobody accepts what is not known
        holding, over = covering(self.accepted, key, change.metric, self.today)
        if holding is not None:
            self.used.add(holding.place)
            text = f"accepted until {holding.expires}: {holding.reason}"
            if holding.reaches(change.after, higher):
                return dataclasses.replace(
                    change,
                    verdict=Outcome.PASS,
                    message=f"{change.message}; {text}",
                    accepted=f"until {holding.expires}: {holding.reason}",
                )
            assert holding.limit is not None
            limit = show(holding.limit, change.unit)
            return dataclasses.replace(
                change, message=f"{change.message}; {text}, but up to {limit} only"
            )
        if over is not None:
            self.used.add(over.place)
            return dataclasses.replace(
                change,
                message=f"{change.message}; its acceptance expired on {over.expires} "
                f"({over.reason}): renew it in {over.place}, or mend the regression",
            )
        return change


def compare(
    before: Baseline,
    after: Baseline,
    rules: Rules | None = None,
    accepted: Sequence[Accepted] = (),
    today: datetime.date | None = None,
) -> Comparison:
    """`after` against `before`: every figure that both have, and what is new.

    `today` decides which acceptances hold; by default the day it is in UTC.
    """
    day = today or datetime.datetime.now(datetime.timezone.utc).date()
    comparer = _Comparer(before, after, rules or Rules(), accepted, day)
    shared = [key for key in sorted(after.entries) if key in before.entries]
    mixed = [key for key in sorted(after.mixed) if key in before.entries]
    changes = {key: tuple(comparer.entry(key)) for key in shared}
    changes |= {key: tuple(comparer.mixed(key)) for key in mixed}
    unmet, unknown_names = (rules or Rules()).unmet(
        after.figures(), after.task_metrics(), before.figures()
    )
    return Comparison(
        changes,
        tuple(key for key in sorted(before.entries) if key not in {*after.entries, *mixed}),
        tuple(key for key in sorted(after.entries) if key not in before.entries),
        frozenset(comparer.improved),
        comparer.apart,
        comparer.parts,
        tuple(entry for entry in accepted if entry.place not in comparer.used),
        tuple(unmet),
        tuple(unknown_names),
        comparer.models.versions,
    )


def accept_all(comparison: Comparison) -> Comparison:
    """The comparison of a run that writes its baseline anew: its regressions are accepted."""

    def accepted(change: Change) -> Change:
        judged = change.verdict in (Outcome.FAIL, Outcome.INCONCLUSIVE)
        if not judged or change.after is None:
            return change  # what is not known is not accepted: the baseline keeps what it has
        message = f"{change.message}; accepted: this run writes the baseline anew"
        why = "by this run, which writes the baseline anew"
        return dataclasses.replace(change, verdict=Outcome.PASS, message=message, accepted=why)

    changes = {
        key: tuple(accepted(change) for change in changes)
        for key, changes in comparison.changes.items()
    }
    return dataclasses.replace(comparison, changes=changes)
