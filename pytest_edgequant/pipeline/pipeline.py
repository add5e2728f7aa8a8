"""The whole flow: model -> variant -> measurements, each made once and kept in the cache.

A pipeline needs no pytest. `current_pipeline()` is the one that a pytest run has set up, else one
with the default cache.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import os
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pytest_edgequant import context
from pytest_edgequant.cache import Cache, Entry, digest
from pytest_edgequant.conversion.calibration import (
    WHERE,
    Calibration,
    calibration_inputs,
    class_labels,
    coverage_notes,
    read_calibration,
    split_samples,
)
from pytest_edgequant.conversion.finish import build_variant, finish
from pytest_edgequant.conversion.qat.recipe import Training, calibration_from, read_training
from pytest_edgequant.conversion.source import Order, Source, TFLiteFile, open_source, versions
from pytest_edgequant.conversion.tensorflow_worker import Description
from pytest_edgequant.errors import (
    CalibrationError,
    CannotRunError,
    EdgeQuantError,
    IsolatedProcessError,
    MeasurementUnavailable,
    user_facing,
)
from pytest_edgequant.isolation import DEFAULT_TIMEOUT, IsolatedProcess
from pytest_edgequant.measure import litert_worker
from pytest_edgequant.measure.arena import tflm_worker
from pytest_edgequant.measure.arena.tflm_worker import TFLMAllocation
from pytest_edgequant.measure.arena.verification import MOST_SECONDS, check_arena, smallest_arena
from pytest_edgequant.measure.evaluation.engine import Engine
from pytest_edgequant.measure.evaluation.processor import machine
from pytest_edgequant.records import HeldOut, Target, Variant, forms
from pytest_edgequant.records.forms import VariantSpec, get_spec
from pytest_edgequant.samples.inputs import InputSpec, as_inputs, input_specs
from pytest_edgequant.samples.stream import Samples
from pytest_edgequant.settings import DEFAULT_TFLM_MACS
from pytest_edgequant.targets import Targets
from pytest_edgequant.tflite.graph import read_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
"""With another order of sums, TensorFlow trains to other weights; it converts to the same bytes."""
TRAINING_LIBRARIES = ("tensorflow-model-optimization", "numpy")
REVISION = 3
"""Raised when our own code makes other files, or measures otherwise, from the same inputs."""

R = TypeVar("R")
Progress = Callable[[str], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def _silent(_: str) -> Iterator[None]:
    yield


@contextlib.contextmanager
def _on_terminal(what: str) -> Iterator[None]:
    """A line on stderr while something takes its time, where that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    text = f"[edgequant] {what} ..."[: shutil.get_terminal_size().columns - 1]
    print(f"\r{text}", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print(f"\r{' ' * len(text)}\r", end="", file=sys.stderr, flush=True)


def _nothing() -> Any:
    return None


@dataclasses.dataclass(frozen=True)
class CalibrationRequest:
    """Where representative samples come from; asked only when a conversion needs them.

    `samples` gives what the user defined, or None; then `dataset` is split, and `preprocess` gives
    the function that its samples go through, or None. `split_applies` tells that this dataset is
    also evaluated on, so that every variant must leave the split out.
    `training` gives what a trained variant is trained with; without `samples` it is calibrated
    with these too.
    """

    samples: Callable[[], Any] = _nothing
    training: Callable[[], Any] = _nothing
    dataset: Callable[[], Any] = _nothing
    preprocess: Callable[[], Any] = _nothing
    split_applies: bool = False


class Pipeline:
    """Conversion and measurement with one cache, one converter process, one interpreter process."""

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
        progress: Progress = _silent,
    ) -> None:
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if no_cache:
            self._temporary = tempfile.TemporaryDirectory(
                prefix="edgequant-", ignore_cleanup_errors=True
            )
            cache_dir = Path(self._temporary.name)
        elif cache_dir is None:
            import platformdirs

            cache_dir = Path(platformdirs.user_cache_dir("pytest-edgequant"))
        self.cache = Cache(cache_dir)
        self.targets = targets or Targets()
        self.dense_per_channel = dense_per_channel
        self.arena_verify = arena_verify
        self.progress = progress
        self.converted = 0
        self._converter = IsolatedProcess("converter", timeout)
        self._interpreter = IsolatedProcess("interpreter", timeout)
        self._verifier = IsolatedProcess("verifying", min(timeout, MOST_SECONDS))
        self._variants: dict[str, Variant] = {}
        self._failures: dict[tuple[str, str], EdgeQuantError] = {}
        self._splits: deque[tuple[Any, Any, tuple[InputSpec, ...], Calibration]] = deque(maxlen=8)
        self.engine = Engine(self.cache, self._interpreter, timeout)
        self.tflm_macs = tflm_macs

    def close(self) -> None:
        """End the child processes and drop what is temporary."""
        self._converter.close()
        self._interpreter.close()
        self._verifier.close()
        self.engine.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    # -- variants ---------------------------------------------------------------------------

    def variant(
        self,
        model: Any,
        name: str,
        calibration: CalibrationRequest,
        *,
        model_name: str | None = None,
        target: Target | None = None,
        dense_per_channel: bool | None = None,
        where: str = "edge_model",
    ) -> Variant:
        """The variant `name` of `model`, from memory, the cache, or a conversion.

        Raises `ModelError`, `CalibrationError`, `ConversionError`, `MissingExtraError`.
        """
        spec = get_spec(name)
        source = open_source(model, where)
        per_channel = self.dense_per_channel if dense_per_channel is None else dense_per_channel
        label = model_name or source.default_name or "model"
        held_out: HeldOut | None = None
        if isinstance(source, TFLiteFile) and source.is_form(spec):
            variant = self._as_is(source, source.form if spec.name == "as_is" else spec.name)
        else:
            source.check_derivable(spec)
            training = read_training(calibration.training()) if spec.trained else None
            samples = self._calibration(source, spec, calibration, training)
            variant = dataclasses.replace(
                self._made(source, spec, samples, per_channel, training), calibration=samples
            )
            held_out = samples.held_out if samples is not None else None
        if held_out is None and calibration.split_applies and _is_calibrated_from(source):
            dataset = calibration.dataset()
            if dataset is not None and not hasattr(dataset, "__next__"):
                held_out = self._split(source, dataset, calibration.preprocess()).held_out
        return dataclasses.replace(variant, model_name=label, target=target, held_out=held_out)

    def _as_is(self, source: TFLiteFile, name: str) -> Variant:
        path = source.path
        if path is None:
            key = digest("bytes", source.fingerprint)
            entry = self.cache.get(key) or self.cache.put(key, source.content, {}, ".tflite")
            path = entry.path
        return build_variant(name, source.content, path, {}, source.where)

    def _describe(self, source: Source) -> Description:
        """The source's inputs; kept in the cache, for a warm run must not load TensorFlow."""
        if isinstance(source, TFLiteFile):
            return source.describe(self._converter)
        key = digest("describe", REVISION, source.fingerprint, source.toolchain)
        entry = self.cache.get(key)
        if entry is None:
            with self.progress(f"loading {source.where}"):
                description = source.describe(self._converter)
            document = {
                "inputs": [[s.name, list(s.shape), s.dtype.str] for s in description.inputs],
                "outputs": list(description.output_names),
                "legacy_keras": description.legacy_keras,
                "recurrent": description.recurrent,
                "stateful": list(description.stateful),
            }
            self.cache.put(key, b"", document, ".description")
            return description
        meta = entry.meta
        return Description(
            tuple(InputSpec(n, tuple(shape), np.dtype(d)) for n, shape, d in meta["inputs"]),
            tuple(meta["outputs"]),
            meta["legacy_keras"],
            meta["recurrent"],
            tuple(meta.get("stateful", ())),
        )

    def _split(self, source: Source, dataset: Any, preprocess: Any) -> Calibration:
        specs = self._describe(source).inputs
        for known, function, inputs, calibration in self._splits:
            if known is dataset and function is preprocess and inputs == specs:
                return calibration
        samples = Samples(dataset, preprocess=preprocess)
        calibration = split_samples(samples, specs)
        if samples.fingerprint is not None and not samples.is_array:
            # A stream takes long to read, and is not changed in its place.
            self.engine.note(dataset, samples.fingerprint)
            self._splits.append((dataset, preprocess, specs, calibration))
        return calibration

    def _calibration(
        self,
        source: Source,
        spec: VariantSpec,
        request: CalibrationRequest,
        training: Training | None,
    ) -> Calibration | None:
        if not spec.calibrated:
            return None
        samples = request.samples()
        if samples is None and training is not None:
            return calibration_from(training, self._describe(source).inputs)
        if samples is not None:
            calibration = read_calibration(samples)
            return self._with_coverage(source, calibration, request)
        dataset = request.dataset()
        if hasattr(dataset, "__next__"):
            raise CalibrationError(
                f"edge_dataset is a generator, which serves one evaluation only, so no samples can "
                f"be split off: define the fixture {WHERE}, or return arrays or a function"
            )
        if dataset is not None:
            return self._split(source, dataset, request.preprocess())
        raise CalibrationError(
            f"{source.where}: {spec.name} needs representative samples: define the fixture {WHERE} "
            "(100 samples at least, from validation data), or edge_dataset to split them off; "
            "with convert(), give calibration=..."
        )

    def _with_coverage(
        self, source: Source, calibration: Calibration, request: CalibrationRequest
    ) -> Calibration:
        """Note the classes of the dataset that labelled calibration samples don't cover."""
        if not any(isinstance(element, tuple) for element in calibration.elements):
            return calibration
        dataset = request.dataset()
        if dataset is None or hasattr(dataset, "__next__"):
            return calibration
        _, labels = calibration_inputs(calibration, self._describe(source).inputs)
        if labels is None:
            return calibration
        y = Samples(dataset).scan()
        if isinstance(y, Mapping):
            return calibration
        notes = coverage_notes(class_labels(labels), y)
        return dataclasses.replace(calibration, notes=(*calibration.notes, *notes))

    def _made(
        self,
        source: Source,
        spec: VariantSpec,
        calibration: Calibration | None,
        dense_per_channel: bool,
        training: Training | None = None,
    ) -> Variant:
        """A variant that has to be converted, unless it is there already."""
        family_key = _conversion_key(source, spec, calibration, dense_per_channel, training)
        key = digest(family_key, spec.name)
        # These are of this order, and not of the file.
        notes = calibration.notes if calibration else ()
        known = self._variants.get(key)
        if known is not None:
            return dataclasses.replace(known, notes=(*notes, *known.notes))
        failure = self._failures.get((key, source.where))
        if failure is not None:
            raise failure
        entry = self.cache.get(key)
        if entry is None:
            with self.cache.lock(family_key):
                # Another process may have made it while this one waited.
                entry = self.cache.get(key, again=True)
                if entry is None:
                    try:
                        entry = self._convert(
                            source, spec, calibration, dense_per_channel, training, family_key
                        )
                    except EdgeQuantError as error:
                        self._failures[key, source.where] = error
                        raise
        variant = build_variant(spec.name, entry.content, entry.path, entry.meta, source.where)
        self._variants[key] = variant
        return dataclasses.replace(variant, notes=(*notes, *variant.notes))

    def _convert(
        self,
        source: Source,
        spec: VariantSpec,
        calibration: Calibration | None,
        dense_per_channel: bool,
        training: Training | None,
        family_key: str,
    ) -> Entry:
        """Convert once and store every variant of the family; gives the one that was asked for."""
        description = (
            self._describe(source) if spec.calibrated or isinstance(source, TFLiteFile) else None
        )
        order = Order(spec, calibration, description, dense_per_channel, training, self.progress)
        what = f"converting {source.where} to {spec.family}"
        with _silent(what) if training else self.progress(what):
            converted = source.convert(self._converter, order)
        self.converted += 1
        wanted: Entry | None = None
        for member in forms.family_members(spec.family):
            try:
                content, notes = finish(converted, member, source.where)
            except EdgeQuantError:
                if member.name == spec.name:
                    raise
                continue
            meta = {
                "inputs": [list(pair) for pair in converted.inputs],
                "outputs": [list(pair) for pair in converted.outputs],
                "notes": [*converted.notes, *notes],
                "training": dict(converted.training) if converted.training else None,
            }
            entry = self.cache.put(digest(family_key, member.name), content, meta, ".tflite")
            if member.name == spec.name:
                wanted = entry
        assert wanted is not None
        return wanted

    # -- running ----------------------------------------------------------------------------

    def isolated(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a module-level function in the interpreter's process and give what it returns.

        Raises what it raises, and `IsolatedProcessError` when the process dies or hangs.
        """
        return self._interpreter.call(function, *args)

    def predict(self, variant: Variant, x: Any) -> list[NDArray[Any]]:
        """Real-valued outputs (N, ...) of a variant on LiteRT, one array an output."""
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

    def tflm_allocation(self, content: bytes) -> TFLMAllocation:
        """What the TFLM interpreter reports for a model; kept in the cache.

        Raises `CannotRunError` with TFLM's reason, `MeasurementUnavailable` without the wheel.
        """
        installed = versions(["tflite-micro"])
        if not installed:
            raise MeasurementUnavailable(
                "the tflite-micro wheel is not installed here (there is one for Linux x86-64 only)"
            )
        found = self._asked("tflm", "TFLM's", tflm_worker.measure, content, installed)
        return TFLMAllocation(**found)

    def check_litert(self, content: bytes) -> None:
        """Raise `CannotRunError` with LiteRT's reason where it refuses a model."""
        installed = versions(["ai-edge-litert"])
        self._asked("litert", "LiteRT's", litert_worker.check, content, installed)

    def _asked(
        self,
        kind: str,
        whose: str,
        question: Callable[[bytes], Any],
        content: bytes,
        installed: Mapping[str, str],
    ) -> Mapping[str, Any]:
        """What an interpreter says of a model, a dataclass's fields; kept in the cache.

        Raises `CannotRunError` where it refuses the model or dies of it.
        """
        key = digest(kind, REVISION, content, installed)
        entry = self.cache.get(key)
        if entry is None:
            try:
                found = self._interpreter.call(question, content)
                document: dict[str, Any] = {} if found is None else dataclasses.asdict(found)
            except CannotRunError as error:
                document = {"refused": str(error)}
            except IsolatedProcessError as error:
                raise CannotRunError(f"{whose} interpreter failed on the model: {error}") from None
            entry = self.cache.put(key, b"", document, f".{kind}")
        if "refused" in entry.meta:
            raise CannotRunError(entry.meta["refused"])
        return entry.meta

    def arena_verification(self, content: bytes, label: str) -> str:
        """What checking a model's arena against the interpreter found; empty where not asked for.

        Raises `ArenaMismatch` with both numbers where they differ.
        """
        if not self.arena_verify:
            return ""
        installed = versions(["tflite-micro"])
        if not installed:
            return "not verified: there is no tflite-micro wheel here"
        try:
            reported = self.tflm_allocation(content)
        except CannotRunError as error:
            return f"not verified: {error}"
        with self.progress(f"verifying the arena of {label}"):
            return check_arena(
                read_graph(content, label),
                reported,
                lambda expected: self._smallest_arena(content, expected, installed),
                label,
            )

    def _smallest_arena(self, content: bytes, expected: int, installed: Any) -> int:
        key = digest("tflm-smallest", REVISION, content, expected, installed)
        entry = self.cache.get(key)
        if entry is None:
            found = smallest_arena(self._verifier, content, expected)
            entry = self.cache.put(key, b"", {"smallest": found}, ".tflm")
        return int(entry.meta["smallest"])


def _conversion_key(
    source: Source,
    spec: VariantSpec,
    calibration: Calibration | None,
    dense_per_channel: bool,
    training: Training | None,
) -> str:
    """All that the files of a family depend on, and what is noted beside them."""
    return digest(
        "convert",
        REVISION,
        spec.family,
        source.fingerprint,
        source.toolchain,
        # Ranges are found by running the float model here; notes name where samples came from.
        [calibration.fingerprint, calibration.origin, machine()] if calibration else None,
        dense_per_channel and spec.family not in ("float32", "float16"),
        [training.fingerprint, versions(TRAINING_LIBRARIES), os.environ.get(_ONEDNN)]
        if training
        else None,
    )


def _is_calibrated_from(source: Source) -> bool:
    """Whether integer forms are made from this source, which needs representative samples."""
    return not isinstance(source, TFLiteFile) or source.form == "float32"


_default: Pipeline | None = None


def current_pipeline() -> Pipeline:
    """The running pytest session's pipeline, else a process-wide one with the default cache."""
    global _default
    if context.pipeline_factory is not None:
        return context.pipeline_factory()
    if _default is None:
        _default = Pipeline(progress=_on_terminal)
        atexit.register(_default.close)
    return _default


def load_variant(model: Any, where: str = "model") -> Variant:
    """A Variant as it is, or one around the path or bytes of a .tflite, whatever its form."""
    if isinstance(model, Variant):
        return model
    return current_pipeline().variant(model, "as_is", CalibrationRequest(), where=where)


@user_facing
def convert(
    model: Any,
    variant: str,
    *,
    calibration: Any = None,
    training: Any = None,
    name: str | None = None,
    target: Target | str | None = None,
    dense_per_channel: bool = False,
) -> Variant:
    """Convert a model to a variant, from the cache where it was made before.

    `model` is a Keras 3 or tf_keras model object, a path (.keras, .h5, SavedModel folder, .tflite),
    or the bytes of a .tflite. `variant` is a form's name ("int8", ...). `calibration` are
    representative samples: an array (N, ...), list, generator, `tf.data.Dataset`, or a dict by
    input name; the integer variants need them, 100 at least. `training` is what "qat_int8" is
    fine-tuned with: (x, y) of the training set, or a `TrainingRecipe`; it is calibrated with
    samples of it unless `calibration` is given. `dense_per_channel` quantizes fully
    connected weights per channel, which TFLM before August 2024 computes wrongly.

    Raises `ModelError`, `CalibrationError`, `ConversionError` (naming tensors and operators),
    `NotDerivableError`, `MissingExtraError`, `UnknownNameError`; for "qat_int8" also
    `DatasetError` and `TrainingError`.
    """
    pipeline = current_pipeline()
    profile = pipeline.targets.get(target) if isinstance(target, str) else target
    return pipeline.variant(
        model,
        variant,
        CalibrationRequest(samples=lambda: calibration, training=lambda: training),
        model_name=name,
        target=profile,
        dense_per_channel=dense_per_channel,
        where="model",
    )
