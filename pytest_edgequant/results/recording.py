"""What a test finds out, recorded while it runs.

Assertions and fixtures record events into `context.events`. The plugin attaches them to the test's
report as plain data, which xdist carries to the controller, where `Session` merges them into
`Result`s. Without pytest nothing is recorded.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_edgequant import context
from pytest_edgequant.errors import ModelError
from pytest_edgequant.records import Metric, Outcome, Variant, Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_edgequant.results.samples import Samples


def _record(kind: str, variant: Variant, **details: Any) -> None:
    if context.events is None:
        return
    from pytest_edgequant.tflite.fingerprint import file_identity, logical_fingerprint

    identity = file_identity(variant)
    target = variant.target.name if variant.target else None

    def append(kind: str, told: Mapping[str, Any]) -> None:
        _append(kind, variant.model_name, variant.name, target, told, identity)

    append(kind, details)
    if context.baseline and kind == "variant":
        with contextlib.suppress(ModelError):
            append("model", {"fingerprint": logical_fingerprint(variant.content, variant.label)})
    file = context.file_of(variant) if context.file_of is not None else None
    if file is not None:
        append("file", file)


def _append(
    kind: str,
    model: str,
    variant: str,
    target: str | None,
    details: Mapping[str, Any],
    identity: str = "",
) -> None:
    """Record one event; `identity` tells the file from others of the same name."""
    if context.events is not None:
        context.events.append(
            {
                "kind": kind,
                "model": model,
                "variant": variant,
                "target": target,
                "identity": identity,
                **details,
            }
        )


def plain(verdict: Verdict) -> dict[str, Any]:
    """A verdict as an event has it."""
    return dataclasses.asdict(verdict) | {"verdict": verdict.verdict.value}


@contextlib.contextmanager
def unrecorded() -> Iterator[None]:
    """Record nothing inside: what is measured there is no figure of a variant that ships."""
    outer, context.events = context.events, None
    try:
        yield
    finally:
        context.events = outer


def record_use(model: str, variant: str, target: str) -> None:
    """That a test is about a variant which it may not come to have: making it failed."""
    _append("used", model, variant, target, {})


def record_variant(variant: Variant) -> None:
    """That this variant was handed to a test: its size and notes."""
    record_notes(variant, variant.notes)
    record_metric(variant, "size_bytes", Metric(variant.size_bytes, "bytes", "exact (file size)"))


def record_notes(variant: Variant, notes: Iterable[str]) -> None:
    """What there is to say of a variant beside its verdicts."""
    _record("variant", variant, notes=list(notes))


def record_metric(variant: Variant, name: str, metric: Metric) -> None:
    """One figure of a variant."""
    _record("metric", variant, name=name, metric=dataclasses.asdict(metric))


def record_samples(variant: Variant, name: str, samples: Samples) -> None:
    """What a metric was evaluated on and how each sample fared, where a baseline asks for it."""
    if context.baseline:
        from pytest_edgequant.results.samples import pack

        _record("samples", variant, name=name, samples=pack(samples))


def record_dataset(dataset: str, hashes: Callable[[], NDArray[np.uint64] | None]) -> None:
    """Which samples are in what was evaluated, once in a run: many figures are of the same."""
    if context.events is None or not dataset or dataset in context.datasets:
        return
    found = hashes()
    if found is not None:
        from pytest_edgequant.results.samples import pack_hashes, shortened

        context.datasets.add(dataset)
        event = {"kind": "dataset", "dataset": dataset, "hashes": pack_hashes(shortened(found))}
        context.events.append(event)


def record_verdict(variant: Variant, verdict: Verdict) -> None:
    """The outcome of a check that a test made."""
    _record("verdict", variant, verdict=plain(verdict), skipped=False)


def record_details(variant: Variant, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """A table of figures under a variant's metrics, in rows of plain data with the same keys.

    `classes`: `label`, `count`, `recall` (a fraction), and `baseline` where it was compared.
    `layers`: `name`, `operator`, `macs`, `latency_ms`.
    """
    _record("details", variant, name=name, rows=[dict(row) for row in rows])


def record_skip(
    model: str,
    variant: str,
    target: str,
    check: str,
    reason: str,
    *,
    outcome: Outcome = Outcome.NOT_APPLICABLE,
) -> None:
    """A variant that kept a test from running: it is shown, and gates nothing."""
    verdict = Verdict(check, outcome, reason)
    _append("verdict", model, variant, target, {"verdict": plain(verdict), "skipped": True})


def record_ungated(variant: Variant, verdict: Verdict) -> None:
    """The outcome of a check that lets the test go on whatever it is: shown, and gates nothing."""
    _record("verdict", variant, verdict=plain(verdict), skipped=True)
