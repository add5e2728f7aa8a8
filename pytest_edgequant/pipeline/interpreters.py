"""What interpreters say of a model: whether they take it, and how much memory it needs there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pytest_edgequant.cache import Cache, Entry, digest, versions
from pytest_edgequant.errors import CannotRunError, IsolatedProcessError, MeasurementUnavailable
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.pipeline.keys import REVISION
from pytest_edgequant.progress import Progress
from pytest_edgequant.tflite.model import TFLiteModel

if TYPE_CHECKING:
    from pytest_edgequant.measure.arena.tflm_worker import TFLMAllocation


class Interpreters:
    """Asks each question once: the answers are kept in the cache.

    `process` runs models whole; arenas that may be too small are tried in a process of their own,
    which ends with `close`, and only where arenas are to be verified (`verifies`). With `asks` off
    nothing is asked: every answer is unavailable.
    """

    def __init__(
        self,
        cache: Callable[[], Cache],
        process: IsolatedProcess,
        progress: Progress,
        *,
        verifies: bool,
        asks: bool = True,
    ) -> None:
        self._cache = cache
        self._process = process
        self._verifies = verifies
        self._asks = asks
        self._progress = progress
        self._verifier: IsolatedProcess | None = None

    def close(self) -> None:
        """End the process that arenas are tried in."""
        if self._verifier is not None:
            self._verifier.close()

    def tflm_allocation(self, content: bytes) -> TFLMAllocation:
        """What the TFLM interpreter reports for a model.

        Raises `CannotRunError` with TFLM's reason, `MeasurementUnavailable` without the wheel.
        """
        installed = self._installed("tflite-micro")
        from pytest_edgequant.measure.arena import tflm_worker

        found = self._asked("tflm", "TFLM's", tflm_worker.measure, content, installed)
        return tflm_worker.TFLMAllocation(**found)

    def check_litert(self, content: bytes) -> None:
        """Raise `CannotRunError` with LiteRT's reason where it refuses a model.

        Raises `MeasurementUnavailable` where LiteRT is not installed.
        """
        installed = self._installed("ai-edge-litert")
        from pytest_edgequant.measure.evaluation import litert_worker

        self._asked("litert", "LiteRT's", litert_worker.check, content, installed)

    def missing(self, package: str) -> str:
        """Why the interpreter of a package says nothing here; empty where it is asked."""
        module = package.replace("-", "_")
        there = bool(versions([package])) if self._asks else find_spec(module) is not None
        if there:
            return "" if self._asks else "it was not asked to"
        only = " (there is one for Linux x86-64 only)" if package == "tflite-micro" else ""
        return f"the {package} wheel is not installed here{only}"

    def _installed(self, package: str) -> Mapping[str, str]:
        """The package's version; raises `MeasurementUnavailable` where it can't be asked."""
        missing = self.missing(package)
        if missing:
            raise MeasurementUnavailable(missing)
        return versions([package])

    def arena_verification(self, model: TFLiteModel) -> str:
        """What checking a model's arena against the interpreter found; empty where not asked for.

        Raises `ArenaMismatch` with both numbers where they differ.
        """
        if not self._verifies:
            return ""
        installed = versions(["tflite-micro"])
        if not installed:
            return "not verified: there is no tflite-micro wheel here"
        try:
            reported = self.tflm_allocation(model.content)
        except CannotRunError as error:
            return f"not verified: {error}"
        from pytest_edgequant.measure.arena.verification import check_arena

        with self._progress(f"verifying the arena of {model.where}"):
            return check_arena(
                model,
                reported,
                lambda expected: self._smallest_arena(model.content, expected, installed),
            )

    def _asked(
        self,
        kind: str,
        whose: str,
        question: Callable[[bytes], Any],
        content: bytes,
        installed: Mapping[str, str],
    ) -> Mapping[str, Any]:
        """What an interpreter says of a model, a dataclass's fields.

        Raises `CannotRunError` where it refuses the model or dies of it.
        """
        key = digest(kind, REVISION, content, installed)
        known = self._cache().value(key, _said)
        if known is None:
            try:
                found = self._process.call(question, content)
                document: dict[str, Any] = {} if found is None else dataclasses.asdict(found)
            except CannotRunError as error:
                document = {"refused": str(error)}
            except IsolatedProcessError as error:
                raise CannotRunError(f"{whose} interpreter failed on the model: {error}") from None
            known = _said(self._cache().put(key, b"", document, f".{kind}"))
        if "refused" in known:
            raise CannotRunError(known["refused"])
        return known

    def _smallest_arena(self, content: bytes, expected: int, installed: Mapping[str, str]) -> int:
        key = digest("tflm-smallest", REVISION, content, expected, installed)
        known = self._cache().value(key, lambda entry: int(entry.meta["smallest"]))
        if known is None:
            from pytest_edgequant.measure.arena.verification import MOST_SECONDS, smallest_arena

            if self._verifier is None:
                limit = min(self._process.timeout, MOST_SECONDS)
                self._verifier = IsolatedProcess("verifying", limit)
            known = smallest_arena(self._verifier, content, expected)
            self._cache().put(key, b"", {"smallest": known}, ".tflm")
        return known


_ANSWERS: Mapping[str, type] = {
    "refused": str,
    "total": int,
    "head": int,
    "tail": int,
    "sections": dict,
}


def _said(entry: Entry) -> Mapping[str, Any]:
    """What was kept of an interpreter's answer: a reason, or figures."""
    for name, value in entry.meta.items():
        if not isinstance(value, _ANSWERS[name]):
            raise TypeError(f"{name} is {value!r:.60}")
    return entry.meta
