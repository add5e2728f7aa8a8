"""Models of Keras and TensorFlow as sources: files that a child loads, and objects of this process.

What can be traced is traced where the layers are known; all conversions run in the child.
"""

from __future__ import annotations

import hashlib
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_edgequant.cache import versions
from pytest_edgequant.conversion import layers, tensorflow_worker, traced_fingerprint, tracing
from pytest_edgequant.conversion.order import Converted, Description, Order
from pytest_edgequant.conversion.qat import driver, legacy, preconditions
from pytest_edgequant.conversion.tracing import Exported
from pytest_edgequant.conversion.wrapped import unwrapped
from pytest_edgequant.errors import (
    ConversionError,
    IsolatedProcessError,
    ModelError,
    NotDerivableError,
)
from pytest_edgequant.files import read_bytes
from pytest_edgequant.forms import VariantSpec
from pytest_edgequant.isolation import IsolatedProcess

_PACKAGES = ("tensorflow", "tensorflow-cpu", "tf-nightly", "keras", "tf-keras")


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
        return versions(_PACKAGES)

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
            return hashlib.sha256(read_bytes(self.path)).hexdigest()
        total = hashlib.sha256()
        for file in sorted(p for p in self.path.rglob("*") if p.is_file()):
            # fingerprint.pb holds a random number, and nothing that is computed.
            if file.name != "fingerprint.pb":
                name = file.relative_to(self.path).as_posix()
                content = read_bytes(file)
                total.update(f"{name}\0{len(content)}\0".encode())
                total.update(content)
        return total.hexdigest()

    @property
    def _stored(self) -> tensorflow_worker.Stored:
        return self.kind, str(self.path.resolve()), self.fingerprint

    def describe(self, process: IsolatedProcess) -> Description:
        description: Description = process.call(
            tensorflow_worker.describe, self._stored, self.where
        )
        return description

    def convert(self, process: IsolatedProcess, order: Order) -> Converted:
        def once(unrolled: bool) -> Converted:
            if order.training is not None:
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
            found = unwrapped(model, self.where)
            if found is model:
                return model
            self._unwrapped = found
        return self._unwrapped

    def _trace(self, unrolled: bool) -> tracing.Traced:
        if unrolled not in self._traces:
            self._traces[unrolled] = tracing.trace(self._model, self.where, unrolled)
        return self._traces[unrolled]

    @cached_property
    def fingerprint(self) -> str:
        traced = self._trace(False)
        with layers.initial_states(self._model):
            return traced_fingerprint.fingerprint(traced)

    def describe(self, process: IsolatedProcess) -> Description:
        traced = self._trace(False)
        return Description(
            traced.inputs,
            traced.output_names,
            layers.is_legacy_keras(self._model),
            layers.has_recurrent_layers(self._model),
            layers.stateful_layer_names(self._model),
        )

    def _export(self, unrolled: bool) -> Exported:
        if unrolled not in self._folders:
            folder = tempfile.TemporaryDirectory(prefix="edgequant-", ignore_cleanup_errors=True)
            exported = tracing.export(self._model, self._trace(unrolled), Path(folder.name))
            self._folders[unrolled] = (folder, exported)
        return self._folders[unrolled][1]

    @contextmanager
    def _legacy_file(self) -> Iterator[str]:
        """The model as a file of tf_keras, for a child that trains it."""
        with tempfile.TemporaryDirectory(prefix="edgequant-") as folder:
            yield legacy.save(self._model, Path(folder), self.where)

    def convert(self, process: IsolatedProcess, order: Order) -> Converted:
        def once(unrolled: bool) -> Converted:
            if order.training is not None:
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


_live: weakref.WeakKeyDictionary[Any, tuple[str, LiveModel]] = weakref.WeakKeyDictionary()


def live_source(model: Any) -> LiveModel:
    """The model's source, made anew when weights or settings of its layers have changed since."""
    state = hashlib.sha256(layers.settings(model).encode())
    for weights in model.get_weights():
        state.update(str((weights.dtype, weights.shape)).encode())
        state.update(weights.tobytes())
    known = _live.get(model)
    if known is None or known[0] != state.hexdigest():
        known = (state.hexdigest(), LiveModel(model))
        _live[model] = known
    return known[1]
