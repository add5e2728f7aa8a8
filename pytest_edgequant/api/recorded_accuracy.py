"""What a comparison of accuracy leaves in the record of the run, figure by figure."""

from __future__ import annotations

import math

from pytest_edgequant.records import AccuracyComparison, Metric, Variant
from pytest_edgequant.results import recording

_MOST_CLASSES = 100
"""Classes whose recall a report has, those that lost most."""


def record_comparison(
    candidate: Variant, baseline: Variant, comparison: AccuracyComparison
) -> None:
    """The drop, then what it is made of: its classes, and how far the outputs are apart."""
    unit = "fraction" if comparison.share else ""
    interval = (
        f"; {100 * comparison.confidence:g}% interval, {comparison.method}"
        if comparison.method
        else ""
    )
    recording.record_metric(
        candidate,
        "accuracy_drop",
        Metric(
            comparison.drop,
            unit,
            f"{comparison.provenance}, against {baseline.label}{interval}",
            comparison.low,
            comparison.high,
            count=comparison.count,
            of=comparison.total,
        ),
    )
    _record_classes(candidate, comparison)
    if baseline.fingerprint != candidate.fingerprint:
        _record_fidelity(candidate, baseline, comparison)


def _record_classes(candidate: Variant, comparison: AccuracyComparison) -> None:
    """The class that lost most, and the recall of each; nothing where no class is judged."""
    worst = comparison.worst_class
    if worst is None:
        return
    figure = Metric(
        worst.drop,
        "fraction",
        f"{comparison.provenance}, class {worst.label}",
        worst.low,
        worst.high,
        count=worst.count,
    )
    recording.record_metric(candidate, "worst_class_drop", figure)
    rows = (
        {
            "label": int(drop.label),
            "count": int(drop.count),
            "recall": float(drop.candidate),
            "baseline": float(drop.baseline),
        }
        for drop in comparison.classes[:_MOST_CLASSES]
    )
    recording.record_details(candidate, "classes", rows)


def _record_fidelity(candidate: Variant, baseline: Variant, comparison: AccuracyComparison) -> None:
    """How far the outputs of two different files are apart, labels or not."""
    fidelity = comparison.fidelity
    if fidelity is None:
        return
    against = f"measured against {baseline.label} (LiteRT on this host)"
    if comparison.agreement is not None:
        agreed = Metric(
            comparison.agreement, "fraction", against, count=comparison.count, of=comparison.total
        )
        recording.record_metric(candidate, "agreement", agreed)
    undefined = "not defined: all outputs are zero"
    for name, value, unit in (
        ("output_cosine", fidelity.cosine, ""),
        ("output_sqnr", fidelity.sqnr_db, "dB"),
    ):
        if value is None:
            figure = Metric.unavailable(unit, undefined)
        elif math.isinf(value):
            figure = Metric.unavailable(unit, "infinite: the outputs are identical")
        else:
            figure = Metric(value, unit, against, count=fidelity.count, of=comparison.total)
        recording.record_metric(candidate, name, figure)
