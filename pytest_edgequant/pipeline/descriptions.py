"""What is known of a source before it is converted: its inputs, outputs and kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pytest_edgequant.cache import Cache, digest
from pytest_edgequant.conversion.order import Description
from pytest_edgequant.conversion.source import Source
from pytest_edgequant.conversion.tflite_source import TFLiteFile
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.pipeline.keys import REVISION
from pytest_edgequant.progress import Progress
from pytest_edgequant.samples.inputs import InputSpec


class Descriptions:
    """Descriptions of sources; kept in the cache, for a warm run must not load TensorFlow."""

    def __init__(
        self, cache: Callable[[], Cache], process: IsolatedProcess, progress: Progress
    ) -> None:
        self._cache = cache
        self._process = process
        self._progress = progress
        self._known: dict[str, Description] = {}

    def of(self, source: Source) -> Description:
        """The source's description; raises `ModelError` where it can't be loaded."""
        if isinstance(source, TFLiteFile):  # its bytes are at hand, and say it all
            return source.describe(self._process)
        key = digest("describe", REVISION, source.fingerprint, source.toolchain)
        if key not in self._known:
            self._known[key] = self._read_or_made(key, source)
        return self._known[key]

    def _read_or_made(self, key: str, source: Source) -> Description:
        known = self._cache().value(key, lambda entry: _description(entry.meta))
        if known is not None:
            return known
        with self._progress(f"loading {source.where}"):
            description = source.describe(self._process)
        self._cache().put(key, b"", _document(description), ".description")
        return description


def _document(description: Description) -> dict[str, Any]:
    return {
        "inputs": [[s.name, list(s.shape), s.dtype.str] for s in description.inputs],
        "outputs": list(description.output_names),
        "legacy_keras": description.legacy_keras,
        "recurrent": description.recurrent,
        "stateful": list(description.stateful),
    }


def _description(document: Mapping[str, Any]) -> Description:
    return Description(
        tuple(InputSpec(n, tuple(shape), np.dtype(d)) for n, shape, d in document["inputs"]),
        tuple(document["outputs"]),
        document["legacy_keras"],
        document["recurrent"],
        tuple(document.get("stateful", ())),
    )
