"""Files without what the device never reads: made once, and proved equal before they are used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_edgequant.cache import Cache, digest, versions
from pytest_edgequant.errors import CannotRunError, ConversionError, IsolatedProcessError
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.measure import equality
from pytest_edgequant.pipeline.keys import REVISION
from pytest_edgequant.tflite.graph import keep_names
from pytest_edgequant.tflite.model import TFLiteModel
from pytest_edgequant.tflite.strip import Strip

_RUNTIMES = (
    ("LiteRT", "ai-edge-litert", equality.litert),
    ("TFLM", "tflite-micro", equality.tflm),
)


def _origin(content: bytes) -> str:
    """The key of the file that a stripped one was made of."""
    return digest("stripped of", REVISION, content)


@dataclass(frozen=True)
class Stripped:
    """A file that was stripped; `proof` says with what its outputs were compared."""

    content: bytes
    path: Path
    proof: str


class Stripper:
    """Strips files; the cache keeps what was proved."""

    def __init__(self, cache: Callable[[], Cache], process: IsolatedProcess) -> None:
        self._cache = cache
        self._process = process

    def stripped(self, model: TFLiteModel) -> Stripped:
        """The file stripped, with layers named as before.

        Raises `ConversionError` where an interpreter gives other outputs than before.
        """
        packages = [package for _, package, _ in _RUNTIMES]
        key = digest("strip", REVISION, model.content, versions(packages))
        entry = self._cache().get(key)
        if entry is None:
            made = Strip().apply(model.content)
            proof = self._proof(model, made.content) if made.changed else made.reason
            entry = self._cache().put(key, made.content, {"proof": proof}, ".tflite")
            if made.changed:
                self._cache().put(_origin(made.content), model.content, {}, ".named")
        keep_names(entry.content, model.content)
        return Stripped(entry.content, entry.path, str(entry.meta["proof"]))

    def recall_names(self, content: bytes) -> None:
        """Name the layers of a file that has no names, where it was stripped of them here once."""
        entry = self._cache().get(_origin(content))
        if entry is not None and Strip().apply(entry.content).content == content:
            keep_names(content, entry.content)

    def _proof(self, model: TFLiteModel, content: bytes) -> str:
        """Which interpreters give the same outputs, to the bit, and which have not been asked."""
        equal, missing = [], []
        for name, package, outputs in _RUNTIMES:
            if not versions([package]):
                missing.append(f"{name} is not installed here")
                continue
            before = self._outputs(outputs, model.content)
            if isinstance(before, str):
                missing.append(f"{name} does not run it")
            elif before != self._outputs(outputs, content):
                raise ConversionError(
                    f"{model.where}: stripped of names, {name} gives other outputs than before; "
                    "keep the file as it is, and report the model"
                )
            else:
                equal.append(name)
        said = [f"outputs on {' and '.join(equal)} are equal to the bit"] if equal else []
        return "; ".join([*said, *(f"not compared: {reason}" for reason in missing)])

    def _outputs(self, function: Callable[[bytes], Any], content: bytes) -> Any:
        """The outputs, or why there are none, in words."""
        try:
            return self._process.call(function, content)
        except (CannotRunError, IsolatedProcessError) as error:
            return str(error)
