"""Tests that run once for all boards of a runtime: what they find out belongs to each board.

How accurate a variant is does not depend on the board: TFLM's kernels compute the same integers on
each, and are evaluated by the one interpreter of this machine. So such a test has one board that
stands for all of its runtime, and what was recorded under that one is told of the others as well,
save figures that are a board's own.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from pytest_edgequant.errors import SettingsError
from pytest_edgequant.forms import VARIANTS
from pytest_edgequant.records import Outcome, Target, Variant, Verdict
from pytest_edgequant.results import recording
from pytest_edgequant.results.gathered import Event
from pytest_edgequant.wording import counted

_OWN_FIGURES = frozenset({"arena_bytes", "device_arena_bytes", "latency_ms", "energy_mj"})
_OWN_CHECKS = frozenset({"arena", "deployable", "latency", "ops", "runs", "size"})
"""What a board decides: told of the one alone that it was found out for."""

_VARIANTS = {f"edge_{name}" for name in ("variant", *VARIANTS)}
"""The fixtures that give a test a variant, of which it may ask what a board decides."""

_boards_key: pytest.StashKey[Boards] = pytest.StashKey()


@dataclass(frozen=True, eq=False, repr=False)
class Runtime:
    """What decides how accurate a variant is ("tflm", "litert"), and the targets that have it."""

    name: str
    targets: tuple[Target, ...]

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<Runtime {self.name} of {counted(len(self.targets), 'target')}>"


def by_runtime(targets: Sequence[Target]) -> list[Runtime]:
    """The runtimes of some targets, in the order of the first target of each."""
    found: dict[str, list[Target]] = {}
    for target in targets:
        found.setdefault(target.runtime, []).append(target)
    return [Runtime(name, tuple(members)) for name, members in found.items()]


def runs_by_runtime(metafunc: pytest.Metafunc) -> bool:
    """Whether a test runs once for each runtime: it says so, or its one gate is of accuracy.

    Raises `SettingsError` where it asks to run once for each target too.
    """
    asked = set(inspect.signature(metafunc.function).parameters)
    asked |= {str(n) for m in metafunc.definition.iter_markers("usefixtures") for n in m.args}
    if "edge_runtime" in metafunc.fixturenames:
        if {"edge_runtime", "edge_target"} <= asked:
            raise SettingsError(
                f"{metafunc.definition.nodeid}: edge_runtime runs a test once for all targets of a "
                "runtime, edge_target once for each: take one of them"
            )
        return True
    by_itself = _VARIANTS.isdisjoint(metafunc.fixturenames) and "edge_target" not in asked
    return by_itself and "edge_calibration_robustness" in metafunc.fixturenames


@dataclass
class Boards:
    """Which boards of its runtime a test is about, for each variant that it was given.

    `refused` are those that can't run one that was asked for by name, with the reason.
    """

    runtime: Runtime
    able: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    refused: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    def told(self, event: Event) -> Iterator[Event]:
        """The event, and the same for each other board that it holds for."""
        yield event
        boards = [target.name for target in self.runtime.targets]
        if event.get("target") not in boards or _is_a_boards_own(event):
            return
        variant = event["model"], event["variant"]
        for name in self.able.get(variant, boards):
            if name != event["target"]:
                yield {**event, "target": name}
        if event["kind"] == "verdict" and not event["skipped"]:
            for name, reason in self.refused.get(variant, {}).items():
                verdict = recording.plain(_cannot_run(variant, name, reason))
                yield {**event, "target": name, "verdict": verdict}

    def running(self, variant: Variant) -> list[Target]:
        """The boards of a variant that was shared."""
        names = self.able[variant.model_name, variant.name]
        return [target for target in self.runtime.targets if target.name in names]

    def failure(self, events: Sequence[Event]) -> str:
        """Why a test that passed fails still: what it judged can't run on a board it is about."""
        judged = dict.fromkeys(
            (event["model"], event["variant"])
            for event in events
            if event["kind"] == "verdict" and not event["skipped"] and not _is_a_boards_own(event)
        )
        return "\n".join(
            f"cannot run on {name}: {reason} ({'/'.join(variant)})"
            for variant in judged
            for name, reason in self.refused.get(variant, {}).items()
        )


def _cannot_run(variant: tuple[str, str], board: str, reason: str) -> Verdict:
    told = f"cannot run on {board}: {reason}"
    return Verdict("runs", Outcome.CANNOT_RUN, f"{'/'.join(variant)} {told}", brief=told)


def _is_a_boards_own(event: Event) -> bool:
    if event["kind"] == "verdict":
        return event["verdict"]["check"] in _OWN_CHECKS
    if event["kind"] == "details":
        return bool(event["name"] == "layers")
    return event["kind"] == "metric" and event["name"] in _OWN_FIGURES


def boards_of(item: pytest.Item) -> Boards | None:
    """The boards that a test stands for; None where it is about one target, as most are."""
    runtime = getattr(getattr(item, "callspec", None), "params", {}).get("edge_target")
    if not isinstance(runtime, Runtime):
        return None
    if _boards_key not in item.stash:
        item.stash[_boards_key] = Boards(runtime)
    return item.stash[_boards_key]


def share(
    boards: Boards,
    variant: Variant,
    offered: Callable[[Target], bool] | None,
    refusals: Callable[[Variant, Target], Sequence[str]],
) -> Variant:
    """The variant on the first board that runs it; the test is about all that do.

    A board that refuses it is shown so; of a variant that was asked for by name that is kept, for
    the test can't pass then where it judges the variant. Where no board runs that, it is the first
    one's, and whoever judges it says why. `offered` tells of a variant that was not asked for
    by name whether a board has the form at all.
    """
    able: list[Target] = []
    refused: dict[str, str] = {}
    named = offered is None
    for target in boards.runtime.targets:
        if offered is not None and not offered(target):
            continue
        reasons = refusals(variant, target)
        if reasons:
            refused[target.name] = "; ".join(reasons)
        else:
            able.append(target)
    key = variant.model_name, variant.name
    if not named:
        verdicts = {name: _cannot_run(key, name, reason) for name, reason in refused.items()}
        for name, verdict in verdicts.items():
            recording.record_skip(
                *key, name, verdict.check, verdict.message, outcome=verdict.verdict
            )
        if not able:
            pytest.skip("; ".join(verdict.message for verdict in verdicts.values()))
    able = able or [boards.runtime.targets[0]]
    boards.able[key] = [target.name for target in able]
    boards.refused[key] = {n: why for n, why in refused.items() if named and n != able[0].name}
    return dataclasses.replace(variant, target=able[0])
