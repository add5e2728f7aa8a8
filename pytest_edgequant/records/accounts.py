"""What evaluations, comparisons and calibrations say of themselves when they are printed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_edgequant.records.telling import Told
from pytest_edgequant.units import format_points, format_samples
from pytest_edgequant.wording import counted, short

if TYPE_CHECKING:
    from pytest_edgequant.records.accuracy import (
        AccuracyComparison,
        CalibrationQuality,
        CalibrationRobustness,
        Chance,
        Evaluation,
        Fidelity,
        RuntimeParity,
        TensorRange,
    )

_MOST_ROWS = 8
_LOWEST = 3


def _value(value: float, share: bool) -> str:
    return f"{value:.2%}" if share else f"{value:.6g}"


def _difference(value: float, share: bool) -> str:
    return format_points(value) if share else f"{value:.6g}"


def _lines(texts: Iterable[str]) -> str:
    return "\n".join(texts)


def of_evaluation(found: Evaluation) -> Told:
    """A value, how many samples it is of, and the classes that fared worst."""
    share = found.outcomes is not None
    head = (
        f"{found.metric} {_value(found.value, share)} on {format_samples(found.count, found.total)}"
    )
    right = "" if found.outcomes is None else f"{int(found.outcomes.sum()):,} of {found.count:,}"
    ordered = sorted(found.details.items(), key=lambda detail: detail[1])
    lowest = ", ".join(f"{name} {value:.4g}" for name, value in ordered[:_LOWEST])
    more = len(ordered) - _LOWEST
    return Told(
        head,
        (
            ("right", right),
            ("better", "" if found.higher_is_better else "when it is smaller"),
            ("run on", found.provenance or found.runtime),
            ("details", f"{lowest}, and {more} higher ones" if more > 0 else lowest),
        ),
    )


def of_comparison(found: AccuracyComparison) -> Told:
    """What a candidate lost, within which interval, and what would have been seen."""
    share = found.share
    before, after = (_value(value, share) for value in (found.baseline, found.candidate))
    if found.drop == 0:
        what = "is as the baseline's"
    else:
        verb = "drops" if found.drop > 0 else "gains"
        what = f"{verb} {_difference(abs(found.drop), share)}"
    head = (
        f"{found.metric} {what}: {before} -> {after} on {format_samples(found.count, found.total)}"
    )
    worst = found.worst_class
    worst_text = (
        ""
        if worst is None
        else f"{worst.label}: recall {worst.baseline:.2%} -> {worst.candidate:.2%} on "
        f"{counted(worst.count, 'sample')}"
    )
    return Told(
        head,
        (
            ("interval of the drop", _interval(found)),
            ("samples", _exchanged(found)),
            ("shown by as many", _detectable(found)),
            ("worst class", worst_text),
            ("equal decisions", "" if found.agreement is None else f"{found.agreement:.2%}"),
            ("outputs", "" if found.fidelity is None else _fidelity(found.fidelity)),
            ("chance", _chance(found.baseline_chance, "baseline")),
            ("", _chance(found.candidate_chance, "candidate")),
            ("run on", found.provenance or found.runtime),
            ("note", _lines(found.notes)),
        ),
    )


def _interval(found: AccuracyComparison) -> str:
    if found.low is None or found.high is None:
        return found.reason or ""
    low, high = (
        f"{100 * value:.2f}" if found.share else f"{value:.4g}" for value in (found.low, found.high)
    )
    unit = " points" if found.share else ""
    method = f", {found.method}" if found.method else ""
    return f"{low} to {high}{unit} ({100 * found.confidence:g}%{method})"


def _exchanged(found: AccuracyComparison) -> str:
    if found.lost is None:
        return ""
    text = f"{found.lost:,} lost, {found.gained:,} gained"
    return text if found.p_value is None else f"{text} (McNemar p={found.p_value:.2g})"


def _detectable(found: AccuracyComparison) -> str:
    if found.detectable is None:
        return ""
    if math.isinf(found.detectable):
        return "no drop, however large"
    return f"a drop of {_difference(found.detectable, found.share)} or more"


def _chance(chance: Chance | None, who: str) -> str:
    if chance is None or chance.beaten:
        return ""
    return (
        f"the {who} is not better than {chance.guess}, which gives "
        f"{_value(chance.value, chance.share)}"
    )


def _fidelity(found: Fidelity) -> str:
    parts = []
    if found.sqnr_db is not None:
        parts.append("identical" if math.isinf(found.sqnr_db) else f"SQNR {found.sqnr_db:.1f} dB")
    if found.cosine is not None:
        parts.append(f"cosine {found.cosine:.5f}")
    parts.append(f"largest error {found.largest_error:.4g}")
    return ", ".join(parts)


def of_fidelity(found: Fidelity) -> Told:
    """How near outputs are to the others."""
    of = f" of {short(found.output)}" if found.output else ""
    return Told(f"outputs{of}: {_fidelity(found)} on {counted(found.count, 'sample')}")


def of_parity(found: RuntimeParity) -> Told:
    """How two runtimes differ on the same samples."""
    first, second = found.runtimes
    samples = counted(found.count, "sample")
    if not found.differing:
        head = f"{first} and {second} give equal outputs on {samples}"
    else:
        head = (
            f"{first} and {second} decide {found.changed:,} of {samples} differently, and differ "
            f"by up to {found.max_steps:g} {'step' if found.max_steps == 1 else 'steps'}"
        )
    mean = f"{found.mean_steps:.3g} steps on average" if found.differing else ""
    return Told(
        head,
        (
            ("largest in", short(found.output)),
            ("difference", mean),
            ("samples", f"{found.differing:,} with any difference" if found.differing else ""),
            ("run on", found.provenance),
        ),
    )


def of_quality(found: CalibrationQuality) -> Told:
    """What the calibration samples lack."""
    calibrated = (
        "calibration"
        if found.count is None
        else (f"calibration with {counted(found.count, 'sample')}")
    )
    fits = "nothing found" if not found.findings else counted(len(found.findings), "finding")
    head = f"{calibrated}, held against {counted(found.evaluated, 'evaluation sample')}: {fits}"
    return Told(
        head,
        (
            ("finding", _lines(found.findings)),
            ("inputs", _lines(map(_range, found.inputs[:_MOST_ROWS]))),
            ("clipped most", _lines(_range(r) for r in found.activations[:3] if r.outside > 0)),
            ("found by", found.method),
        ),
    )


def _range(found: TensorRange) -> str:
    return (
        f"{short(found.name)}: calibrated {found.low:.4g} to {found.high:.4g}, seen "
        f"{found.seen_low:.4g} to {found.seen_high:.4g}, {found.outside:.2%} outside"
    )


def of_robustness(found: CalibrationRobustness) -> Told:
    """The worst drop over several calibrations, and each of them."""
    worst = found.worst
    head = (
        f"{found.variant.label}: {found.metric} drops {_difference(worst.drop, found.share)} at "
        f"worst, over {counted(len(found.trials), 'calibration')} with parts of the samples"
    )
    table = [("samples", "seed", found.metric, "drop")]
    table += [
        (
            f"{trial.size:,}",
            str(trial.seed),
            _value(trial.value, found.share),
            _difference(trial.drop, found.share),
        )
        for trial in found.trials
    ]
    return Told(
        head,
        (
            ("baseline", f"{found.metric} {_value(found.baseline, found.share)}"),
            ("spread", _difference(found.spread, found.share)),
            ("chance", _chance(found.baseline_chance, "baseline")),
            ("note", _lines(found.notes)),
        ),
        tuple(table),
        shown=_MOST_ROWS,
    )
