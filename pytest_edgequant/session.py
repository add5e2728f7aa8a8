"""What a run found out: recorded test by test, carried over xdist, merged into results.

While a test runs, assertions and fixtures record events into `context.events`. The plugin attaches
them to the test's report as plain data, which xdist carries to the controller, where `Session`
merges them into `Result`s. Without pytest nothing is recorded.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_edgequant import context
from pytest_edgequant.errors import ModelError
from pytest_edgequant.records import (
    Change,
    Failure,
    Metric,
    ModelFile,
    Outcome,
    Result,
    Variant,
    Verdict,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_edgequant.baseline.document import Baseline
    from pytest_edgequant.baseline.samples import Samples

Event = dict[str, Any]

WORST_FIRST = (
    Outcome.FAIL,
    Outcome.CANNOT_RUN,
    Outcome.UNAVAILABLE,
    Outcome.INCONCLUSIVE,
    Outcome.PASS,
    Outcome.NOT_APPLICABLE,
)
_GATED = {Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.UNAVAILABLE, Outcome.CANNOT_RUN}


def worst(outcomes: Iterable[Outcome]) -> Outcome | None:
    """The outcome that decides over several; None of none."""
    return min(outcomes, key=WORST_FIRST.index, default=None)


def _record(kind: str, variant: Variant, **details: Any) -> None:
    target = variant.target.name if variant.target else None
    _append(kind, variant.model_name, variant.name, target, details)
    if context.baseline and kind == "variant":
        from pytest_edgequant.fingerprint import logical_fingerprint

        with contextlib.suppress(ModelError):
            found = {"fingerprint": logical_fingerprint(variant.content, variant.label)}
            _append("model", variant.model_name, variant.name, target, found)
    file = context.file_of(variant) if context.file_of is not None else None
    if file is not None:
        _append("file", variant.model_name, variant.name, target, file)


def _append(
    kind: str, model: str, variant: str, target: str | None, details: Mapping[str, Any]
) -> None:
    if context.events is not None:
        context.events.append(
            {"kind": kind, "model": model, "variant": variant, "target": target, **details}
        )


def _plain(verdict: Verdict) -> dict[str, Any]:
    return dataclasses.asdict(verdict) | {"verdict": verdict.verdict.value}


@contextlib.contextmanager
def unrecorded() -> Iterator[None]:
    """Record nothing inside: what is measured there is no figure of a variant that ships."""
    outer, context.events = context.events, None
    try:
        yield
    finally:
        context.events = outer


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
        from pytest_edgequant.baseline.samples import pack

        _record("samples", variant, name=name, samples=pack(samples))


def record_dataset(dataset: str, hashes: Callable[[], NDArray[np.uint64] | None]) -> None:
    """Which samples are in what was evaluated, once in a run: many figures are of the same."""
    if context.events is None or not dataset or dataset in context.datasets:
        return
    found = hashes()
    if found is not None:
        from pytest_edgequant.baseline.samples import pack_hashes, shortened

        context.datasets.add(dataset)
        event = {"kind": "dataset", "dataset": dataset, "hashes": pack_hashes(shortened(found))}
        context.events.append(event)


def record_verdict(variant: Variant, verdict: Verdict) -> None:
    """The outcome of a check that a test made."""
    _record("verdict", variant, verdict=_plain(verdict), skipped=False)


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
    _append("verdict", model, variant, target, {"verdict": _plain(verdict), "skipped": True})


Key = tuple[str, str, str]


@dataclass
class _Gathered:
    metrics: dict[str, Metric] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    samples: dict[str, dict[str, Any]] = field(default_factory=dict)
    fingerprint: str | None = None
    ranks: dict[str, tuple[int, str]] = field(default_factory=dict)
    details: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    files: dict[str, ModelFile] = field(default_factory=dict)

    def stands(self, what: str, test: str, trust: int = 0) -> bool:
        """Whether what a test recorded stands: nothing more trusted, or of a later test, has."""
        rank = (trust, test)
        if rank < self.ranks.get(what, (0, "")):
            return False
        self.ranks[what] = rank
        return True


def trust(metric: Metric) -> int:
    """What stands for a figure where several are recorded: measured before estimated, then none."""
    if metric.value is None:
        return 0
    return 1 if metric.provenance.startswith("estimated") else 2


@dataclass
class Session:
    """Everything recorded in a run, merged by model, target and variant.

    `gated` counts the checks that were judged; what was skipped or not applicable is none.
    `baseline_note` says what the run was compared with, or why it was not; empty without a
    baseline; `baseline_outcome` is what that comes to beside the changes of single figures
    (INCONCLUSIVE where nothing could be compared). `origin` is what made the results (`tool`,
    `environment`) where they were read back. `failures` are the tests that failed, all of them
    where the run is `watched`; of results that were read back only the verdicts may be known.
    """

    gated: int = 0
    damaged: int = 0
    baseline_note: str = ""
    baseline_outcome: Outcome | None = None
    origin: Mapping[str, Any] | None = None
    watched: bool = False
    failures: list[Failure] = field(default_factory=list)
    _rows: dict[Key, _Gathered] = field(default_factory=dict)
    _datasets: dict[str, str] = field(default_factory=dict)

    def add(self, events: Iterable[Event], test: str = "") -> None:
        """Merge the events of a test, given by its node id.

        Where several tests recorded the same figure, a measured one stands before an estimate, and
        that of the last test by name, so that the order in which they ran does not matter.
        """
        for event in events:
            if event["kind"] == "cache":
                self.damaged += event["damaged"]
                continue
            if event["kind"] == "dataset":
                self._datasets[event["dataset"]] = event["hashes"]
                continue
            key = (event["model"], event["target"] or "", event["variant"])
            row = self._rows.setdefault(key, _Gathered())
            if event["kind"] == "variant":
                row.notes += [note for note in event["notes"] if note not in row.notes]
            elif event["kind"] == "metric":
                metric = Metric(**event["metric"])
                if row.stands(event["name"], test, trust(metric)):
                    row.metrics[event["name"]] = metric
            elif event["kind"] == "samples":
                if row.stands(f"samples of {event['name']}", test):
                    row.samples[event["name"]] = event["samples"]
            elif event["kind"] == "model":
                if row.stands("model", test):
                    row.fingerprint = event["fingerprint"]
            elif event["kind"] == "details":
                if row.stands(f"details {event['name']}", test):
                    row.details[event["name"]] = event["rows"]
            elif event["kind"] == "file":
                row.files[event["fingerprint"]] = ModelFile(
                    event["fingerprint"], event["path"], event["content"]
                )
            else:
                details = event["verdict"]
                verdict = Verdict(**{**details, "verdict": Outcome(details["verdict"])})
                if verdict not in row.verdicts:
                    row.verdicts.append(verdict)
                if not event["skipped"] and verdict.verdict in _GATED:
                    self.gated += 1

    def add_changes(self, key: Key, changes: Iterable[Change]) -> None:
        """Differences to the baseline of one (model, target, variant); no target is ""."""
        self._rows.setdefault(key, _Gathered()).changes.extend(changes)

    def has(self, result: Result) -> bool:
        """Whether there is a result of this model, target and variant."""
        return (result.model, result.target or "", result.variant) in self._rows

    def add_result(
        self, result: Result, details: Mapping[str, Sequence[Mapping[str, Any]]] | None = None
    ) -> None:
        """A whole result and the tables under it, as they were read back from a report."""
        row = self._rows.setdefault(
            (result.model, result.target or "", result.variant), _Gathered()
        )
        row.metrics.update(result.metrics)
        row.verdicts.extend(result.verdicts)
        row.notes.extend(result.notes)
        row.changes.extend(result.changes)
        row.details.update(
            {name: [dict(line) for line in rows] for name, rows in (details or {}).items()}
        )
        self.gated += sum(verdict.verdict in _GATED for verdict in result.verdicts)

    def results(self) -> Iterator[Result]:
        """One result a model, target and variant; the same order whatever order tests ran in."""
        from pytest_edgequant.conversion.registry import VARIANTS

        position = {name: i for i, name in enumerate(VARIANTS)}

        def order(key: Key) -> tuple[str, str, int, str]:
            model, target, variant = key
            return model, target, position.get(variant, len(position)), variant

        for key in sorted(self._rows, key=order):
            model, target, variant = key
            row = self._rows[key]
            yield Result(
                model,
                variant,
                target or None,
                dict(sorted(row.metrics.items())),
                sorted(row.verdicts, key=lambda v: (v.check, str(v.limit), v.message)),
                sorted(row.notes),
                sorted(row.changes, key=lambda c: c.metric),
            )

    def measured(self, toolchain: Mapping[str, str] | None = None) -> Baseline:
        """What a baseline keeps of this run, or is compared with."""
        from pytest_edgequant.baseline.document import Baseline, Entry
        from pytest_edgequant.baseline.samples import unpack, unpack_hashes

        hashes = {name: unpack_hashes(packed) for name, packed in self._datasets.items()}
        entries = {
            key: Entry(
                row.metrics,
                {
                    name: unpack(packed, hashes.get(packed["dataset"]))
                    for name, packed in row.samples.items()
                },
                row.fingerprint,
            )
            for key, row in self._rows.items()
            if row.metrics
        }
        return Baseline(entries, toolchain or {})

    def details(self, result: Result) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """The tables that were recorded under a result, by name."""
        row = self._rows.get((result.model, result.target or "", result.variant))
        return dict(sorted(row.details.items())) if row is not None else {}

    def model_file(self, result: Result) -> ModelFile | None:
        """Where the .tflite of a result is; None where no report asked for it.

        Of several files under one name it is the one with the last fingerprint, so that the order
        of tests does not matter.
        """
        row = self._rows.get((result.model, result.target or "", result.variant))
        return row.files[max(row.files)] if row is not None and row.files else None

    def float32_sizes(self) -> Mapping[str, float | int]:
        """Bytes of each model's float32 file, where a test has had it."""
        sizes = {}
        for (model, _, variant), row in self._rows.items():
            size = row.metrics.get("size_bytes")
            if variant == "float32" and size is not None and size.value is not None:
                sizes[model] = size.value
        return sizes
