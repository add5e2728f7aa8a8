"""A baseline as a file: what an earlier run measured, sorted, one figure a line.

Equal results give equal bytes: no times, no paths, no hashes of files that converters don't
reproduce. `toolchain` tells which versions made it, to say so where only they changed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_edgequant.errors import DocumentError
from pytest_edgequant.records import Metric
from pytest_edgequant.results.documents import Damaged, expect, number, parse_document, read_file
from pytest_edgequant.results.samples import Samples, pack, pack_hashes, unpack, unpack_hashes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KIND = "edgequant-baseline"
VERSION = 1
SCHEMA = f"{KIND}/{VERSION}"
Key = tuple[str, str, str]
"""Model, target ("" for none), variant."""
MOST_IDENTIFIED = 1_000_000
"""Samples of one dataset whose hashes are kept: 5.3 MB of text."""
NOT_KEPT = frozenset({"host_latency_ms"})
"""Figures that differ from run to run and from machine to machine."""


@dataclass(frozen=True, eq=False)
class Entry:
    """What was measured of one variant of one model on one target.

    `fingerprint` is the logical one of the model, None where no file was at hand. `samples` are
    by metric, for metrics that were evaluated on a dataset. `toolchain` is what it was measured
    with where that is not the document's.
    """

    metrics: Mapping[str, Metric] = field(default_factory=dict)
    samples: Mapping[str, Samples] = field(default_factory=dict)
    fingerprint: str | None = None
    toolchain: Mapping[str, str] | None = None


@dataclass(frozen=True, eq=False)
class Baseline:
    """Everything that a run measured, by model, target and variant.

    `mixed` are those of which the run had several files, so that no entry is of one alone.
    """

    entries: Mapping[Key, Entry] = field(default_factory=dict)
    toolchain: Mapping[str, str] = field(default_factory=dict)
    mixed: frozenset[Key] = frozenset()

    def figures(self) -> set[str]:
        """The names of all figures that have a value."""
        return {name for entry in self.entries.values() for name in kept(entry.metrics)}

    def task_metrics(self) -> set[str]:
        """The names of those that were evaluated on samples."""
        return {name for entry in self.entries.values() for name in entry.samples}

    def toolchain_of(self, key: Key) -> Mapping[str, str]:
        """What an entry was measured with."""
        own = self.entries[key].toolchain if key in self.entries else None
        return self.toolchain if own is None else own

    def models(self) -> set[str]:
        return {model for model, _, _ in self.entries}


def name_of(key: Key) -> str:
    """An entry as messages name it: `digits/int8 on nano33ble`."""
    model, target, variant = key
    return f"{model}/{variant} on {target}" if target else f"{model}/{variant}"


def kept(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """The figures that a baseline keeps: those that there are, and that stay the same."""
    return {
        name: metric
        for name, metric in metrics.items()
        if metric.value is not None and math.isfinite(metric.value) and name not in NOT_KEPT
    }


# -- writing ------------------------------------------------------------------------------------


def _metric(metric: Metric) -> dict[str, Any]:
    assert metric.value is not None
    # Bounds can be had from the samples; 0.0 and -0.0 are equal results.
    document = {"value": metric.value + 0, "unit": metric.unit, "provenance": metric.provenance}
    # How many samples there were is with the outcomes; here what they were a part of.
    part = metric.of is not None and metric.of != metric.count
    return document | ({"count": metric.count, "of": metric.of} if part else {})


def _entry(key: Key, entry: Entry) -> dict[str, Any]:
    model, target, variant = key
    document: dict[str, Any] = {"model": model, "target": target or None, "variant": variant}
    if entry.fingerprint is not None:
        document["fingerprint"] = entry.fingerprint
    if entry.toolchain is not None:
        document["toolchain"] = dict(sorted(entry.toolchain.items()))
    metrics = kept(entry.metrics)
    document["metrics"] = {name: _metric(metrics[name]) for name in sorted(metrics)}
    if entry.samples:
        document["samples"] = {name: pack(entry.samples[name]) for name in sorted(entry.samples)}
    return document


def _datasets(baseline: Baseline) -> dict[str, Any]:
    """Which samples are in each dataset, for those that a file can bear."""
    found = {
        samples.dataset: samples.hashes
        for entry in baseline.entries.values()
        for samples in entry.samples.values()
        if samples.hashes is not None and samples.count <= MOST_IDENTIFIED
    }
    return {name: {"samples": pack_hashes(found[name])} for name in sorted(found) if name}


def _lines(value: Any, indent: str) -> str:
    """JSON with a line for each object that holds nothing but figures."""
    inner = indent + "  "
    if isinstance(value, dict) and any(isinstance(v, dict | list) for v in value.values()):
        parts = [f"{inner}{json.dumps(k)}: {_lines(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(inner + _lines(v, inner) for v in value) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def dump_baseline(baseline: Baseline) -> str:
    """The file's text; the same for equal results."""
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "toolchain": dict(sorted(baseline.toolchain.items())),
        "entries": [_entry(key, baseline.entries[key]) for key in sorted(baseline.entries)],
    }
    datasets = _datasets(baseline)
    if datasets:
        document["datasets"] = datasets
    return _lines(document, "") + "\n"


# -- reading ------------------------------------------------------------------------------------


def _read_metric(document: Any, name: str) -> Metric:
    expect(document, dict, name)
    return Metric(
        number(document.get("value"), f"{name}: value"),
        expect(document.get("unit"), str, f"{name}: unit"),
        expect(document.get("provenance"), str, f"{name}: provenance"),
        count=_whole(document, "count", name),
        of=_whole(document, "of", name),
    )


def _whole(document: Mapping[str, Any], key: str, name: str) -> int | None:
    value = document.get(key)
    if value is None:
        return None
    found: int = expect(value, int, f"{name}: {key}")
    number(found, f"{name}: {key}")
    return found


_Hashes = Mapping[str, "NDArray[np.uint32]"]


def _read_datasets(document: Any) -> _Hashes:
    found = {}
    for name, dataset in expect(document, dict, "datasets").items():
        try:
            found[name] = unpack_hashes(expect(dataset, dict, "it").get("samples"))
        except ValueError as error:
            raise Damaged(f"dataset {name!r:.40}: {error}") from None
    return found


def _read_toolchain(document: Any) -> Mapping[str, str]:
    found: Mapping[str, str] = expect(document, dict, "toolchain")
    for name, version in found.items():
        expect(version, str, f"toolchain: {name}")
    return found


def _read_samples(document: Any, name: str, hashes: _Hashes) -> Samples:
    try:
        dataset = expect(document, dict, "samples").get("dataset")
        return unpack(document, hashes.get(dataset) if isinstance(dataset, str) else None)
    except ValueError as error:
        raise Damaged(f"samples of {name}: {error}") from None


def _read_entry(document: Any, place: str, hashes: _Hashes) -> tuple[Key, Entry]:
    expect(document, dict, place)
    model = expect(document.get("model"), str, f"{place}: model")
    variant = expect(document.get("variant"), str, f"{place}: variant")
    target = expect(document.get("target"), (str, type(None)), f"{place}: target")
    key = (model, target or "", variant)
    try:
        metrics = expect(document.get("metrics"), dict, "metrics")
        samples = expect(document.get("samples", {}), dict, "samples")
        fingerprint = document.get("fingerprint")
        return key, Entry(
            {name: _read_metric(value, name) for name, value in metrics.items()},
            {name: _read_samples(value, name, hashes) for name, value in samples.items()},
            expect(fingerprint, (str, type(None)), "fingerprint"),
            _read_toolchain(document["toolchain"]) if "toolchain" in document else None,
        )
    except Damaged as error:
        raise Damaged(f"{name_of(key)}: {error}") from None


def read_baseline(document: Mapping[str, Any], where: str) -> Baseline:
    """The baseline of a JSON document; `where` names it. Raises `DocumentError`."""
    entries: dict[Key, Entry] = {}
    try:
        toolchain = _read_toolchain(document.get("toolchain", {}))
        hashes = _read_datasets(document.get("datasets", {}))
        for position, item in enumerate(expect(document.get("entries"), list, "entries")):
            key, entry = _read_entry(item, f"entry {position}", hashes)
            if key in entries:
                raise Damaged(f"{name_of(key)} is there twice")
            entries[key] = entry
    except Damaged as error:
        raise DocumentError(f"{where}: damaged: {error}") from None
    return Baseline(entries, toolchain)


def load_baseline(path: Path) -> Baseline:
    """The baseline of a file; raises `DocumentError`: missing, damaged, of another version."""
    return read_baseline(parse_document(read_file(path), path.name, {KIND: VERSION}), path.name)


def merge_baselines(parts: Iterable[tuple[str, Baseline]]) -> Baseline:
    """One baseline of several, each with its name; raises `DocumentError` where they disagree."""
    entries: dict[Key, Entry] = {}
    origins: dict[Key, str] = {}
    toolchain: dict[str, str] = {}
    for where, part in parts:
        for key, entry in part.entries.items():
            if key in entries and _entry(key, entries[key]) != _entry(key, entry):
                raise DocumentError(
                    f"{name_of(key)} differs in {origins[key]} and {where}; a variant belongs to "
                    "one shard, or its figures must be the same in all"
                )
            entries.setdefault(key, entry)
            origins.setdefault(key, where)
        for name, version in part.toolchain.items():
            if toolchain.setdefault(name, version) != version:
                raise DocumentError(
                    f"{where} was made with {name} {version}, another part with {toolchain[name]}"
                )
    return Baseline(entries, toolchain)
