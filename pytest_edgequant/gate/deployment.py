"""The assertions on what a target can hold and run: size, arena, operators, types, all at once.

Every assertion first asks whether the target's runtime can run the variant at all: one that can't
never passes. Verdicts and figures are recorded for the report before anything is raised.
"""

from __future__ import annotations

from typing import Any

from pytest_edgequant.api.convert import for_target
from pytest_edgequant.api.memory import (
    flash_split,
    refusals,
    runtime_warnings,
)
from pytest_edgequant.errors import (
    ArenaExceeded,
    Inconclusive,
    NotDeployable,
    NotFullyInteger,
    SettingsError,
    SizeExceeded,
    Unavailable,
    UnsupportedOperators,
    user_facing,
)
from pytest_edgequant.gate.arena import judge_arena
from pytest_edgequant.gate.flash import judge_flash, judge_size, size_metrics
from pytest_edgequant.gate.verdicts import conclude, require_legal
from pytest_edgequant.limits import check_bytes
from pytest_edgequant.measure import legality
from pytest_edgequant.measure.flash import FlashSplit
from pytest_edgequant.records import (
    Outcome,
    Target,
    Variant,
    Verdict,
)
from pytest_edgequant.results import recording
from pytest_edgequant.tflite.form import float_tensors
from pytest_edgequant.tflite.model import graph_of
from pytest_edgequant.units import parse_size_limit
from pytest_edgequant.wording import counted, facts, first_of


def _on_target(variant: Any, target: Target | str | None) -> tuple[Variant, Target]:
    """The variant as it is judged on a target, which must be given or come with the variant."""
    loaded, profile = for_target(variant, target)
    if profile is None:
        raise SettingsError(
            f"{loaded.label}: this check needs a target; give one, such as 'nano33ble', or use "
            "the fixtures edge_target and edge_variant"
        )
    return loaded, profile


# -- size -------------------------------------------------------------------------------------


@user_facing
def assert_size_within(
    variant: Any, max: str | float, *, target: Target | str | None = None
) -> None:
    """The .tflite file is at most `max`: "64 KiB", 65536, or "80%" of the flash left to a model.

    Left to a model is what the target's firmware and TFLM's code for the model's operators leave.
    `variant` is a Variant, or a path or the bytes of a .tflite. Raises `SizeExceeded`, `CannotRun`
    where the target refuses the variant, `UnitError` for a limit that can't be read.
    """
    variant, profile = for_target(variant, target)
    split = flash_split(variant, profile)
    check_bytes(max, f"{variant.label}: max")
    parse_size_limit(max, split.at_most, f"{variant.label}: max")
    require_legal("size", variant, profile)
    verdict = judge_size(variant, max, split, f"{variant.label}: max")
    _record_flash(variant, split)
    conclude(variant, verdict, SizeExceeded)


def _record_flash(variant: Variant, split: FlashSplit) -> None:
    for name, metric in size_metrics(variant, split).items():
        recording.record_metric(variant, name, metric)


# -- arena ------------------------------------------------------------------------------------


@user_facing
def assert_arena_fits(
    variant: Any,
    target: Target | str | None = None,
    *,
    headroom: str | float = 0,
    max: str | float | None = None,
) -> None:
    """The tensor arena fits the SRAM that is left on the target, with `headroom` to spare.

    `headroom` is a size ("4 KiB", bytes) or a share of what is left ("10%", 0.1); `max` a further
    limit of the same kind ("24 KiB", "80%"). Not applicable, and then neither passed nor failed, on
    a runtime without an arena. Where an operator's memory is not known, it passes if the upper
    bound fits, fails if what is known does not, and is inconclusive in between. Raises
    `ArenaExceeded` with ways out and their effect, `CannotRun`, and `Unavailable` where the arena
    can't be measured.
    """
    variant, profile = _on_target(variant, target)
    if profile.is_microcontroller:
        require_legal("arena", variant, profile)
    conclude(variant, judge_arena(variant, profile, headroom, max), ArenaExceeded)


# -- operators and types ----------------------------------------------------------------------


@user_facing
def assert_ops_supported(variant: Any, target: Target | str | None = None) -> None:
    """The target's runtime has a kernel for every operator, in the types that the model uses.

    Raises `UnsupportedOperators` naming each operator, its layer and the reason; `CannotRun` where
    the variant as such is refused.
    """
    variant, profile = _on_target(variant, target)
    if legality.variant_refused(variant.name, profile) is not None:
        require_legal("ops", variant, profile)
    verdict = _judge_ops(variant, profile, refusals(variant, profile))
    conclude(variant, verdict, UnsupportedOperators)
    recording.record_notes(variant, runtime_warnings(variant, profile))


def _judge_ops(variant: Variant, target: Target, reasons: list[str]) -> Verdict:
    if reasons:
        more = f" (and {counted(len(reasons) - 1, 'reason')} more)" if len(reasons) > 1 else ""
        return Verdict(
            "ops",
            Outcome.FAIL,
            facts(f"{variant.label}: {target.name} can't run the model:", reasons),
            brief=f"{target.name} can't run it: {reasons[0]}{more}",
        )
    return Verdict("ops", Outcome.PASS, f"{variant.label}: {target.name} runs every operator")


@user_facing
def assert_fully_integer(variant: Any) -> None:
    """No float tensor anywhere: weights, activations, inputs and outputs are integer.

    Raises `NotFullyInteger` naming the tensors and their operators.
    """
    variant, profile = for_target(variant, None)
    require_legal("fully_integer", variant, profile)
    found = float_tensors(graph_of(variant))
    if found:
        count = counted(len(found), "float tensor")
        message = facts(
            f"{variant.label}: {count}:",
            (*first_of(map(str, found)), "Use int8 (or uint8_io, int16x8)"),
        )
        brief = f"{count}, {found[0]}"
        verdict = Verdict("fully_integer", Outcome.FAIL, message, 0, len(found), brief=brief)
    else:
        verdict = Verdict("fully_integer", Outcome.PASS, f"{variant.label}: no float tensors", 0, 0)
    conclude(variant, verdict, NotFullyInteger)


# -- everything -------------------------------------------------------------------------------


@user_facing
def assert_deployable(variant: Any, target: Target | str | None = None) -> None:
    """All of the target's own limits at once: runs there, fits its flash, fits its SRAM.

    Raises `NotDeployable` listing every limit that is broken, `Inconclusive` where none is known to
    be and one may be, `CannotRun` where the runtime refuses the variant, `Unavailable` where a
    figure can't be had.
    """
    variant, profile = _on_target(variant, target)
    require_legal("deployable", variant, profile)
    verdicts = [_judge_ops(variant, profile, reasons=[])]
    split = flash_split(variant, profile)
    if split.at_most is not None:
        _record_flash(variant, split)
        verdicts.append(judge_flash(variant, split, profile))
    verdicts.append(judge_arena(variant, profile))
    for verdict in verdicts:
        recording.record_verdict(variant, verdict)
    _raise_deployable(f"{variant.label} is not deployable on {profile.name}:", verdicts)


def _raise_deployable(head: str, verdicts: list[Verdict]) -> None:
    """Raise for the worst of the limits, with the messages of all that did not pass."""
    order = (Outcome.FAIL, Outcome.UNAVAILABLE, Outcome.INCONCLUSIVE)
    broken, missing, unsure = ([v for v in verdicts if v.verdict is o] for o in order)
    if broken:
        # An error says what is not known beside what is broken, in its own words.
        message = facts(head, (v.message for v in (*broken, *unsure, *missing)))
        brief = "; ".join(v.brief for v in broken)
        raise NotDeployable(message, Verdict("deployable", Outcome.FAIL, message, brief=brief))
    rest = [*missing, *unsure]
    if rest:
        error = Unavailable if missing else Inconclusive
        raise error("\n  ".join(v.message for v in rest), rest[0])
