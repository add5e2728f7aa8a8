"""The whole flow: model -> variant -> measurements, each made once and kept in the cache.

A pipeline needs no pytest. `current.current_pipeline()` is the one that a pytest run has set up,
else one with the default cache.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_edgequant.cache import Cache
from pytest_edgequant.conversion.order import Order
from pytest_edgequant.conversion.source import open_source
from pytest_edgequant.errors import CannotRunError, IsolatedProcessError, SettingsError
from pytest_edgequant.forms import get_spec
from pytest_edgequant.isolation import DEFAULT_TIMEOUT, IsolatedProcess
from pytest_edgequant.pipeline.current import STRIPPED, run_variant
from pytest_edgequant.pipeline.request import CalibrationRequest, Representative
from pytest_edgequant.progress import Progress, silent
from pytest_edgequant.records import Target, Variant
from pytest_edgequant.settings import DEFAULT_TFLM_MACS
from pytest_edgequant.targets import Targets
from pytest_edgequant.tflite.graph import is_nameless
from pytest_edgequant.tflite.model import graph_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_edgequant.measure.evaluation.engine import Engine
    from pytest_edgequant.pipeline.calibration import Calibrations
    from pytest_edgequant.pipeline.conversions import Conversions
    from pytest_edgequant.pipeline.descriptions import Descriptions
    from pytest_edgequant.pipeline.interpreters import Interpreters
    from pytest_edgequant.pipeline.stripping import Stripper

R = TypeVar("R")


class Pipeline:
    """Conversion and measurement with one cache, one converter process, one interpreter process.

    Its parts are loaded when something first asks for them: what reads a file alone needs few.
    `asks_interpreters` is whether what an interpreter says of a model is asked for at all.
    """

    def __init__(
        self,
        cache_dir: Path | None = None,
        *,
        no_cache: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        targets: Targets | None = None,
        dense_per_channel: bool = False,
        arena_verify: bool = False,
        tflm_macs: int = DEFAULT_TFLM_MACS,
        asks_interpreters: bool = True,
        strip: bool = False,
        progress: Progress = silent,
    ) -> None:
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if no_cache:
            self._temporary = tempfile.TemporaryDirectory(
                prefix="edgequant-", ignore_cleanup_errors=True
            )
            cache_dir = Path(self._temporary.name)
        self._cache_dir = cache_dir
        self.targets = targets or Targets()
        self.dense_per_channel = dense_per_channel
        self.progress = progress
        self.tflm_macs = tflm_macs
        self.strip = strip
        self._arena_verify = arena_verify
        self._asks_interpreters = asks_interpreters
        self._timeout = timeout
        self._converter = IsolatedProcess("converter", timeout)
        self._interpreter = IsolatedProcess("interpreter", timeout, measures=True)
        if cache_dir is not None:
            self.cache  # noqa: B018 - a folder that was asked for and won't do is told at once

    @cached_property
    def cache(self) -> Cache:
        """Where all that was made is kept; raises `SettingsError` where that can't be written."""
        if self._cache_dir is None:
            import platformdirs

            self._cache_dir = Path(platformdirs.user_cache_dir("pytest-edgequant"))
        return Cache(self._cache_dir)

    @cached_property
    def engine(self) -> Engine:
        from pytest_edgequant.measure.evaluation.engine import Engine

        return Engine(self.cache, self._interpreter, self._timeout)

    @cached_property
    def interpreters(self) -> Interpreters:
        from pytest_edgequant.pipeline.interpreters import Interpreters

        return Interpreters(
            lambda: self.cache,
            self._interpreter,
            self.progress,
            verifies=self._arena_verify,
            asks=self._asks_interpreters,
        )

    @cached_property
    def _descriptions(self) -> Descriptions:
        from pytest_edgequant.pipeline.descriptions import Descriptions

        return Descriptions(lambda: self.cache, self._converter, self.progress)

    @cached_property
    def calibrations(self) -> Calibrations:
        from pytest_edgequant.pipeline.calibration import Calibrations

        return Calibrations(self._descriptions, self.engine, self.progress)

    @cached_property
    def conversions(self) -> Conversions:
        from pytest_edgequant.pipeline.conversions import Conversions

        return Conversions(
            lambda: self.cache, self._converter, lambda: self._descriptions, self.progress
        )

    @cached_property
    def stripper(self) -> Stripper:
        from pytest_edgequant.pipeline.stripping import Stripper

        return Stripper(lambda: self.cache, self._interpreter)

    def _loaded(self, part: str) -> bool:
        return part in self.__dict__

    def close(self) -> None:
        """End the child processes and drop what is temporary."""
        self._converter.close()
        self._interpreter.close()
        if self._loaded("interpreters"):
            self.interpreters.close()
        if self._loaded("engine"):
            self.engine.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    @property
    def converted(self) -> int:
        """How many conversions were needed."""
        return self.conversions.count if self._loaded("conversions") else 0

    def variant(
        self,
        model: Any,
        name: str,
        calibration: CalibrationRequest,
        *,
        model_name: str | None = None,
        target: Target | None = None,
        dense_per_channel: bool | None = None,
        strip: bool | None = None,
        where: str = "edge_model",
    ) -> Variant:
        """The variant `name` of `model`, from memory, the cache, or a conversion.

        With `strip` its file is without what the device never reads, and named as it was.
        Raises `ModelError`, `CalibrationError`, `ConversionError`, `MissingExtraError`.
        """
        spec = get_spec(name)
        source = open_source(model, where)
        source.check_derivable(spec)
        if source.is_form(spec) and not calibration.split_applies:
            found = Representative()  # it takes no samples, and no dataset loses any to it
        else:
            found = self.calibrations.find(source, spec, calibration)
        per_channel = self.dense_per_channel if dense_per_channel is None else dense_per_channel
        order = Order(spec, found.calibration, per_channel, found.training)
        variant = self.conversions.variant(source, order)
        if self.strip if strip is None else strip:
            variant = self._stripped(variant, source.where)
        if is_nameless(graph_of(variant)):
            with contextlib.suppress(SettingsError):  # without a cache nothing is known of it
                self.stripper.recall_names(variant.content)
        return dataclasses.replace(
            variant,
            model_name=model_name or source.default_name or "model",
            target=target,
            held_out=found.held_out,
            calibration=found.calibration,
            runner=run_variant,
        )

    def _stripped(self, variant: Variant, where: str) -> Variant:
        from pytest_edgequant.tflite.model import TFLiteModel

        found = self.stripper.stripped(TFLiteModel(variant.content, where))
        saved = variant.size_bytes - len(found.content)
        if not saved:
            return variant
        share = f"{saved:,} B, {saved / variant.size_bytes:.1%}"
        return dataclasses.replace(
            variant,
            content=found.content,
            path=found.path,
            fingerprint=hashlib.sha256(found.content).hexdigest(),
            notes=(*variant.notes, f"{STRIPPED} ({share}): {found.proof}"),
        )

    def isolated(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a module-level function in the interpreter's process and give what it returns.

        Raises what it raises, and `IsolatedProcessError` when the process dies or hangs.
        """
        return self._interpreter.call(function, *args)

    def predict(self, variant: Variant, x: Any) -> list[NDArray[Any]]:
        """Real-valued outputs (N, ...) of a variant on LiteRT, one array an output."""
        from pytest_edgequant.samples.inputs import as_inputs, input_specs

        where = f"{variant.label}: predict"
        return self.engine.predict(variant, as_inputs(x, input_specs(variant), where), where)

    def observe(self, variant: Variant, function: Callable[..., R], *arguments: Any) -> R:
        """What a function of ours finds out about a variant in the interpreter's process."""
        try:
            found: R = self._interpreter.call(function, variant.content, *arguments)
        except CannotRunError as error:
            raise CannotRunError(f"{variant.label}: {error}") from None
        except IsolatedProcessError as error:
            raise IsolatedProcessError(f"{variant.label}: running it failed: {error}") from None
        return found
