"""What a baseline keeps of a run, or is compared with."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_edgequant.baseline.document import Baseline, Entry
from pytest_edgequant.results.samples import unpack, unpack_hashes
from pytest_edgequant.results.session import Session


def measured(session: Session, toolchain: Mapping[str, str] | None = None) -> Baseline:
    """The figures of a run by model, target and variant.

    What several files share a name for is left out, and named: a baseline knows names alone.
    """
    hashes = {name: unpack_hashes(packed) for name, packed in session.hashes().items()}
    entries = {
        key: Entry(
            row.metrics,
            {
                name: unpack(packed, hashes.get(packed["dataset"]))
                for name, packed in row.samples.items()
            },
            row.fingerprint,
        )
        for key, row in session.kept()
    }
    return Baseline(entries, toolchain or {}, frozenset(session.ambiguous()))
