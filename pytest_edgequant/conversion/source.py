"""Where a variant comes from: a live Keras model, a file, or bytes.

A source knows its fingerprint (what the cache is keyed by), describes its inputs, and converts
itself to one family of variants in an isolated process.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import weakref
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pytest_edgequant.cache import versions
from pytest_edgequant.context import Undefined
from pytest_edgequant.conversion.check import detect_form
from pytest_edgequant.errors import (
    ConversionError,
    IsolatedProcessError,
    ModelError,
    NotDerivableError,
)
from pytest_edgequant.forms import VariantSpec
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.pointers import pointer_file, pointer_reason
from pytest_edgequant.tflite.complete import check_complete
from pytest_edgequant.tflite.ends import file_inputs, file_outputs
from pytest_edgequant.tflite.graph import Graph, read_graph

if TYPE_CHECKING:
    from pytest_edgequant.conversion import tracing
    from pytest_edgequant.conversion.calibration import Calibration
    from pytest_edgequant.conversion.qat.recipe import Training
    from pytest_edgequant.conversion.tensorflow_worker import Converted, Description, Stored
    from pytest_edgequant.conversion.tracing import Exported

# What converts is loaded where something is converted: a .tflite that is taken as it is needs none.

_TENSORFLOW = ("tensorflow", "tensorflow-cpu", "tf-nightly", "keras", "tf-keras")


@dataclass(frozen=True)
class Order:
    """What to convert to: the variant, and what it is calibrated and trained with.

    `description` is what is known of the source, for conversions that need it; `progress` shows a
    line while something takes its time.
    """

    spec: VariantSpec
    calibration: Calibration | None = None
    dense_per_channel: bool = False
    training: Training | None = None
    description: Description | None = None
    progress: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext()


class Source(Protocol):
    """What the pipeline asks of a source."""

    where: str
    default_name: str | None

    @property
    def fingerprint(self) -> str: ...
    @property
    def toolchain(self) -> dict[str, str]: ...
    @property
    def quantizable(self) -> bool:
        """Whether integer forms are made from it, which takes representative samples."""

    def is_form(self, spec: VariantSpec) -> bool:
        """Whether it is that variant already, and is taken as it is."""

    def check_derivable(self, spec: VariantSpec) -> None:
        """Raise `NotDerivableError` where it neither is the variant nor can be converted to it."""

    def describe(self, process: IsolatedProcess) -> Description: ...
    def convert(self, process: IsolatedProcess, order: Order) -> Converted: ...


def _attempts(order: Order) -> list[bool]:
    """Whether to convert with recurrent layers unrolled: what to try, in this order.

    TensorFlow 2.21 fails on, or dies of, integer forms of Keras 3's recurrent loops; unrolled they
    convert. tf_keras gives a fused operator, which is kept where the converter quantizes it.
    """
    description = order.description
    if not order.spec.calibrated or description is None or not description.recurrent:
        return [False]
    if order.training is not None or description.stateful:
        return [True]
    return [False, True] if description.legacy_keras else [True]


_UNROLLED_NOTE = (
    "recurrent layers were unrolled: the converter can't quantize their loop; "
    "the file grows with the number of time steps"
)


def _try_each(order: Order, convert: Callable[[bool], Converted], where: str) -> Converted:
    attempts = _attempts(order)
    for position, unrolled in enumerate(attempts):
        try:
            converted = convert(unrolled)
        except (ConversionError, IsolatedProcessError) as error:
            if position + 1 < len(attempts):
                continue
            if isinstance(error, IsolatedProcessError):
                error = ConversionError(
                    f"{where}: converting to {order.spec.family} failed: {error}"
                )
            raise _stateful_hint(error, order.description) from None
        if unrolled:
            return replace(converted, notes=(*converted.notes, _UNROLLED_NOTE))
        return converted
    raise AssertionError("no attempt was made")


def _recurrent_hint(error: ConversionError, description: Description | None) -> ConversionError:
    """SavedModels hide their layers: say what helps where those may be the reason."""
    if description is not None and description.recurrent is None:
        return ConversionError(
            f"{str(error).removesuffix('.')}. If the model has recurrent layers: give the .keras "
            "file or the model object instead of a SavedModel, so that they can be unrolled"
        )
    return error


def _stateful_hint(error: ConversionError, description: Description | None) -> ConversionError:
    """Say what helps where layers keep their state, which not every converter can quantize."""
    if description is None or not description.stateful:
        return error
    names = ", ".join(map(repr, description.stateful))
    return type(error)(
        f"{error} The state of {names} is kept from one inference to the next (stateful=True). If "
        "the model can do without, build it with stateful=False and load the same weights; else "
        "give the state to the layer as an input (initial_state) and take it as an output "
        "(return_state=True)"
    )


class _FloatModel:
    """What sources of TensorFlow have in common: no variant yet, and any can be made from them."""

    where: str
    quantizable = True

    @property
    def toolchain(self) -> dict[str, str]:
        return versions(_TENSORFLOW)

    def is_form(self, spec: VariantSpec) -> bool:
        return False

    def check_derivable(self, spec: VariantSpec) -> None:
        if spec.family == "as_is":
            raise NotDerivableError(
                f"{self.where}: as_is is for .tflite files; ask for a variant by name"
            )


class TensorFlowFile(_FloatModel):
    """A `.keras` or `.h5` file, or a SavedModel folder: loaded only in the child."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self.kind = kind
        self.where = str(path)
        self.default_name: str | None = path.stem if kind == "keras" else path.name

    @cached_property
    def fingerprint(self) -> str:
        if self.kind == "keras":
            return hashlib.sha256(self.path.read_bytes()).hexdigest()
        total = hashlib.sha256()
        for file in sorted(p for p in self.path.rglob("*") if p.is_file()):
            # fingerprint.pb holds a random number, and nothing that is computed.
            if file.name != "fingerprint.pb":
                name = file.relative_to(self.path).as_posix()
                content = file.read_bytes()
                total.update(f"{name}\0{len(content)}\0".encode())
                total.update(content)
        return total.hexdigest()

    @property
    def _stored(self) -> Stored:
        return self.kind, str(self.path.resolve()), self.fingerprint

    def describe(self, process: IsolatedProcess) -> Description:
        from pytest_edgequant.conversion import tensorflow_worker

        description: Description = process.call(
            tensorflow_worker.describe, self._stored, self.where
        )
        return description

    def convert(self, process: IsolatedProcess, order: Order) -> Converted:
        from pytest_edgequant.conversion import tensorflow_worker

        def once(unrolled: bool) -> Converted:
            if order.training is not None:
                from pytest_edgequant.conversion.qat import driver

                origin = self._stored
                return driver.train(
                    process, origin, self.where, order, unrolled, lambda: nullcontext(origin[1])
                )
            converted: Converted = process.call(
                tensorflow_worker.convert,
                self._stored,
                self.where,
                order.spec.family,
                order.calibration,
                unrolled=unrolled,
                dense_per_channel=order.dense_per_channel,
            )
            return converted

        try:
            return _try_each(order, once, self.where)
        except ConversionError as error:
            raise _recurrent_hint(error, order.description) from None


class LiveModel(_FloatModel):
    """A Keras model object: traced here, where its layers are known, converted in the child."""

    def __init__(self, model: Any) -> None:
        self._reference = weakref.ref(model)
        self._unwrapped: Any = None
        self._folders: dict[bool, tuple[tempfile.TemporaryDirectory[str], Exported]] = {}
        self._traces: dict[bool, tracing.Traced] = {}
        self.default_name: str | None = None
        self.where = f"model object {type(model).__name__}"

    @property
    def _model(self) -> Any:
        model = self._reference()
        if model is None:
            raise ModelError(f"{self.where} is gone; keep the model alive while it is converted")
        if self._unwrapped is None:
            from pytest_edgequant.conversion.wrapped import unwrapped

            found = unwrapped(model, self.where)
            if found is model:
                return model
            self._unwrapped = found
        return self._unwrapped

    def _trace(self, unrolled: bool) -> tracing.Traced:
        if unrolled not in self._traces:
            from pytest_edgequant.conversion import tracing

            self._traces[unrolled] = tracing.trace(self._model, self.where, unrolled)
        return self._traces[unrolled]

    @cached_property
    def fingerprint(self) -> str:
        from pytest_edgequant.conversion import tracing

        traced = self._trace(False)
        with tracing.initial_states(self._model):
            return tracing.fingerprint(traced)

    def describe(self, process: IsolatedProcess) -> Description:
        from pytest_edgequant.conversion import tracing
        from pytest_edgequant.conversion.tensorflow_worker import Description

        traced = self._trace(False)
        return Description(
            traced.inputs,
            traced.output_names,
            tracing.is_legacy_keras(self._model),
            tracing.has_recurrent_layers(self._model),
            tracing.stateful_layer_names(self._model),
        )

    def _export(self, unrolled: bool) -> Exported:
        if unrolled not in self._folders:
            from pytest_edgequant.conversion import tracing

            folder = tempfile.TemporaryDirectory(prefix="edgequant-", ignore_cleanup_errors=True)
            exported = tracing.export(self._model, self._trace(unrolled), Path(folder.name))
            self._folders[unrolled] = (folder, exported)
        return self._folders[unrolled][1]

    @contextmanager
    def _legacy_file(self) -> Iterator[str]:
        """The model as a file of tf_keras, for a child that trains it."""
        from pytest_edgequant.conversion.qat import legacy

        with tempfile.TemporaryDirectory(prefix="edgequant-") as folder:
            yield legacy.save(self._model, Path(folder), self.where)

    def convert(self, process: IsolatedProcess, order: Order) -> Converted:
        from pytest_edgequant.conversion import tensorflow_worker

        def once(unrolled: bool) -> Converted:
            if order.training is not None:
                from pytest_edgequant.conversion.qat import driver, preconditions

                preconditions.check_model(self._model, self.where)
                exported = self._export(unrolled)
                return driver.train(
                    process, exported, self.where, order, unrolled, self._legacy_file
                )
            converted: Converted = process.call(
                tensorflow_worker.convert_exported,
                self._export(unrolled),
                self.where,
                order.spec.family,
                order.calibration,
                dense_per_channel=order.dense_per_channel,
            )
            return converted

        return _try_each(order, once, self.where)


class TFLiteFile:
    """A .tflite file or its bytes: float ones can be quantized, quantized ones stay as they are."""

    def __init__(self, content: bytes, path: Path | None) -> None:
        self.content = content
        self.path = path
        self.where = str(path) if path else "model bytes"
        self.default_name: str | None = path.stem if path else None

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def toolchain(self) -> dict[str, str]:
        from pytest_edgequant.conversion.quantizer_worker import LIBRARIES

        return versions((*LIBRARIES.values(), "ai-edge-litert", "numpy"))

    @cached_property
    def graph(self) -> Graph:
        found = read_graph(self.content, self.where)
        check_complete(found, self.where)
        return found

    @cached_property
    def form(self) -> str:
        return detect_form(self.graph)

    @property
    def quantizable(self) -> bool:
        return self.form == "float32"

    def is_form(self, spec: VariantSpec) -> bool:
        return spec.name in (self.form, "as_is")

    def check_derivable(self, spec: VariantSpec) -> None:
        if self.is_form(spec):
            return
        if not self.quantizable:
            raise NotDerivableError(
                f"{self.where}: the file is {self.form} already, {spec.name} can't be made from "
                "it. Quantized files are gated as they are: ask for that variant (or as_is), or "
                "give the float model"
            )
        if spec.trained:
            raise NotDerivableError(
                f"{self.where}: {spec.name} is trained from a Keras model or SavedModel; a .tflite "
                "file can't be trained: give the model that it was converted from"
            )

    def describe(self, process: IsolatedProcess) -> Description:
        from pytest_edgequant.conversion.tensorflow_worker import Description
        from pytest_edgequant.samples.inputs import InputSpec

        ends, tensors = file_inputs(self.graph), self.graph.main.tensors
        inputs = tuple(
            InputSpec(
                name,
                tensors[i].shape,
                np.dtype(np.float32) if tensors[i].quantization else tensors[i].dtype,
            )
            for name, i in zip(ends.names, ends.tensors, strict=True)
        )
        return Description(inputs, file_outputs(self.graph).names, False, False)

    def convert(self, process: IsolatedProcess, order: Order) -> Converted:
        from pytest_edgequant.conversion import quantizer_worker
        from pytest_edgequant.conversion.tensorflow_worker import Converted

        assert order.description is not None
        try:
            content, notes = process.call(
                quantizer_worker.quantize,
                self.content,
                self.where,
                order.spec.family,
                order.calibration,
                order.description.inputs,
                dense_per_channel=order.dense_per_channel,
            )
        except IsolatedProcessError as error:
            raise ConversionError(
                f"{self.where}: quantizing to {order.spec.family} failed: {error}"
            ) from None
        return Converted(content, notes=notes)


_live: weakref.WeakKeyDictionary[Any, tuple[str, LiveModel]] = weakref.WeakKeyDictionary()


def _live_source(model: Any) -> LiveModel:
    """The model's source, made anew when weights or settings of its layers have changed since."""
    from pytest_edgequant.conversion import tracing

    state = hashlib.sha256(tracing.settings(model).encode())
    for weights in model.get_weights():
        state.update(str((weights.dtype, weights.shape)).encode())
        state.update(weights.tobytes())
    known = _live.get(model)
    if known is None or known[0] != state.hexdigest():
        known = (state.hexdigest(), LiveModel(model))
        _live[model] = known
    return known[1]


def open_source(model: Any, where: str = "edge_model") -> Source:
    """The source of a Keras model object, a path, or the bytes of a .tflite.

    Raises `ModelError` for a missing file or a kind that can't be read.
    """
    if isinstance(model, Undefined):
        model.complain()
    if isinstance(model, bytes | bytearray | memoryview):
        reason = pointer_reason(bytes(model))
        if reason is not None:
            raise ModelError(f"{where}: what these bytes hold {reason}")
        return TFLiteFile(bytes(model), None)
    if isinstance(model, str | os.PathLike):
        return _open_path(Path(model), where)
    from pytest_edgequant.conversion import tracing

    if tracing.is_keras_model(model):
        return _live_source(model)
    raise ModelError(
        f"{where}: expected a Keras model, a path (.keras, .h5, SavedModel folder, .tflite) or the "
        f"bytes of a .tflite, got {type(model).__module__}.{type(model).__qualname__}"
    )


def _check_fetched(path: Path, where: str) -> None:
    """Raise `ModelError` where a file, or one of a SavedModel's, is a Git LFS pointer."""
    files = [path]
    if path.is_dir():
        files = [path / "saved_model.pb", *sorted(path.glob("variables/variables.*"))]
    for file in files:
        reason = pointer_file(file)
        if reason is not None:
            raise ModelError(f"{where}: {str(file)!r} {reason}")


def _open_path(path: Path, where: str) -> Source:
    _check_fetched(path, where)
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return TensorFlowFile(path, "saved_model")
        raise ModelError(f"{where}: the folder {str(path)!r} holds no saved_model.pb")
    try:
        with open(path, "rb") as stream:
            head = stream.read(8)
            suffix = path.suffix.lower()
            if suffix in (".tflite", ".lite") or head[4:8] == b"TFL3":
                return TFLiteFile(head + stream.read(), path)
    except FileNotFoundError:
        raise ModelError(
            f"{where}: there is no file {str(path)!r} (looked from {os.getcwd()!r}); "
            "check the path, or make the model first"
        ) from None
    except OSError as error:
        raise ModelError(f"{where}: can't read {str(path)!r}: {error.strerror}") from None
    if not head:
        raise ModelError(f"{where}: {str(path)!r} is empty; write the model again")
    if suffix == ".keras" and not head.startswith(b"\x89HDF") and not zipfile.is_zipfile(path):
        raise ModelError(
            f"{where}: {str(path)!r} is damaged or truncated (not a zip file as .keras files are); "
            "write or copy it again"
        )
    if suffix == ".keras" or head.startswith((b"PK\x03\x04", b"\x89HDF")):
        return TensorFlowFile(path, "keras")
    if suffix in (".h5", ".hdf5"):
        raise ModelError(f"{where}: {str(path)!r} is not an HDF5 file; write the model again")
    raise ModelError(f"{where}: {str(path)!r} is none of .keras, .h5, SavedModel folder, .tflite")
