"""What runs in the child that has TensorFlow: loading, describing and converting models.

Every function here is called through `IsolatedProcess.call`; arguments and results are picklable.
Loaded models stay in the child's memory, so that several variants of one model load it once.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_edgequant.conversion import foreign_code, layers, loading, tracing, wrapped
from pytest_edgequant.conversion.calibration import Calibration, calibration_inputs, quality_notes
from pytest_edgequant.conversion.converter_messages import converter_reason
from pytest_edgequant.conversion.order import Converted, Description
from pytest_edgequant.conversion.replacing import replacements
from pytest_edgequant.conversion.tracing import Exported
from pytest_edgequant.errors import ConversionError, ModelError, missing_extra
from pytest_edgequant.tflite.graph import read_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass
class _Loaded:
    """A source in this process: a Keras model, or a SavedModel."""

    where: str
    model: Any = None
    function: Any = None
    keep: Any = None
    exported: dict[bool, Exported] = field(default_factory=dict)


Stored = tuple[str, str, str]
"""A model's file: "keras" or "saved_model", its path, and the fingerprint of what is there."""
_loaded: dict[tuple[str, str], tuple[str, _Loaded]] = {}
_scratch: list[tempfile.TemporaryDirectory[str]] = []


def tensorflow() -> Any:
    """TensorFlow, imported at the first call, with its chatter off."""
    if "tensorflow" not in sys.modules:
        warnings.filterwarnings("ignore")
        # TensorFlow makes a million objects that live as long as the process. The converter calls
        # gc.collect() each time, which took two thirds of a small conversion looking at them.
        gc.disable()
        try:
            import tensorflow  # noqa: F401 - it is made ready here
        except ImportError:
            raise missing_extra("converting a Keras model or SavedModel", "tensorflow") from None
        finally:
            gc.enable()
        gc.collect()
        gc.freeze()
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    with contextlib.suppress(ImportError):
        import absl.logging

        absl.logging.set_verbosity(absl.logging.ERROR)
    return tf


def _load_saved_model(path: str, where: str, loaded: _Loaded) -> None:
    module = loading.saved_model(path, where)
    signatures = module.signatures
    if not signatures:
        raise ModelError(
            f"{where}: the SavedModel has no signature; save it with "
            "tf.saved_model.save(model, path, signatures=...) or model.export(path)"
        )
    key = "serving_default" if "serving_default" in signatures else sorted(signatures)[0]
    loaded.keep, loaded.function = module, signatures[key]


def _load(stored: Stored, where: str) -> _Loaded:
    """The model, loaded anew where another one has been written to the path since."""
    kind, path, fingerprint = stored
    known, loaded = _loaded.pop((kind, path), ("", None))
    if loaded is None or known != fingerprint:
        tensorflow()
        loaded = _Loaded(where)
        if kind == "keras":
            loaded.model = loading.keras_model(path, where)
        else:
            _load_saved_model(path, where, loaded)
    _loaded[kind, path] = fingerprint, loaded
    return loaded


def describe(stored: Stored, where: str) -> Description:
    """Inputs and kind of a source."""
    loaded = _load(stored, where)
    exported = _export(loaded, unrolled=False)
    return Description(
        exported.inputs,
        exported.output_names,
        loaded.model is not None and layers.is_legacy_keras(loaded.model),
        layers.has_recurrent_layers(loaded.model) if loaded.model is not None else None,
        layers.stateful_layer_names(loaded.model) if loaded.model is not None else (),
    )


def _export(loaded: _Loaded, unrolled: bool) -> Exported:
    """A SavedModel of the source with the batch at 1."""
    if unrolled not in loaded.exported:
        scratch = tempfile.TemporaryDirectory(prefix="edgequant-", ignore_cleanup_errors=True)
        _scratch.append(scratch)
        folder = Path(scratch.name)
        if loaded.model is not None:
            traced = tracing.trace(loaded.model, loaded.where, unrolled)
            loaded.exported[unrolled] = tracing.export(loaded.model, traced, folder)
        else:
            loaded.exported[unrolled] = _pin_saved_model(loaded, folder)
    return loaded.exported[unrolled]


def _natural(name: str) -> list[tuple[int, str]]:
    """A key by which `output_2` comes before `output_10`."""
    parts = re.split(r"(\d+)", name)
    return [(int(part) if part.isdigit() else -1, part) for part in parts]


def _argument_order(module: Any, names: Iterable[str]) -> tuple[str, ...]:
    """The signature's inputs in the order in which the saved function takes them.

    A signature itself has none: TensorFlow gives its inputs in another order in each process. By
    name where no function of the module takes the same ones, or several do differently.
    """
    wanted = sorted(names, key=_natural)
    orders = set()
    for attribute in ("serve", "__call__", *sorted(vars(module))):
        for concrete in getattr(getattr(module, attribute, None), "concrete_functions", ()):
            specs = tensorflow().nest.flatten(concrete.structured_input_signature)
            found = tuple(spec.name for spec in specs if hasattr(spec, "dtype"))
            if sorted(found, key=_natural) == wanted:
                orders.add(found)
    return orders.pop() if len(orders) == 1 else tuple(wanted)


def _pin_saved_model(loaded: _Loaded, folder: Path) -> Exported:
    keywords = loaded.function.structured_input_signature[1]
    names = _argument_order(loaded.keep, keywords)
    inputs = tuple(
        tracing.pinned(
            spec.shape.as_list() if spec.shape.rank is not None else None,
            spec.dtype,
            name,
            loaded.where,
        )
        for name, spec in ((name, keywords[name]) for name in names)
    )
    outputs = tuple(sorted(loaded.function.structured_outputs, key=_natural))

    def serve(*arguments: Any) -> Any:
        return loaded.function(**dict(zip(names, arguments, strict=True)))

    function = tracing.trace_function(serve, inputs, names, loaded.where)
    return tracing.Traced(function, inputs, outputs, names, outputs).save(folder, loaded.keep)


def exported_file(stored: Stored, where: str, unrolled: bool) -> tuple[Any, Exported]:
    """A file's Keras model (None for a SavedModel), and the SavedModel with the batch at 1."""
    loaded = _load(stored, where)
    return loaded.model, _export(loaded, unrolled)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No chatter from Python code; native code writes to the captured stderr anyway."""
    with warnings.catch_warnings(), open(os.devnull, "w") as nothing:
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
            yield


def convert(
    stored: Stored,
    where: str,
    family: str,
    calibration: Calibration | None,
    *,
    unrolled: bool = False,
    dense_per_channel: bool = False,
) -> Converted:
    """Convert a source to one family of variants, with float inputs and outputs.

    Raises `ModelError`, `CalibrationError`, `ConversionError`.
    """
    exported = _export(_load(stored, where), unrolled)
    return convert_exported(
        exported, where, family, calibration, dense_per_channel=dense_per_channel
    )


def _representative(inputs: Sequence[NDArray[Any]], exported: Exported) -> Any:
    def samples() -> Iterator[dict[str, NDArray[Any]]]:
        for index in range(len(inputs[0])):
            yield {
                key: np.ascontiguousarray(array[index : index + 1], dtype=spec.dtype)
                for key, array, spec in zip(
                    exported.input_keys, inputs, exported.inputs, strict=True
                )
            }

    return samples


def convert_exported(
    exported: Exported,
    where: str,
    family: str,
    calibration: Calibration | None,
    *,
    dense_per_channel: bool = False,
) -> Converted:
    """As `convert`, for what is a SavedModel with the batch at 1 already."""
    tf = tensorflow()
    converter = tf.lite.TFLiteConverter.from_saved_model(exported.folder)
    converter._experimental_disable_per_channel_quantization_for_dense_layers = (
        not dense_per_channel
    )
    if family != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if family == "float16":
        converter.target_spec.supported_types = [tf.float16]
    writing = wrapped.writing_wrapper(foreign_code.saved_operators(exported.folder))
    notes = [] if writing is None else [writing]
    if family in ("int8", "int16x8"):
        assert calibration is not None
        if writing is not None:
            raise ConversionError(f"{where}: {family} can't be made of the model: {writing}")
        notes += _ask_for_integers(converter, exported, family, calibration)
    try:
        with quiet():
            content = bytes(converter.convert())
    except Exception as error:
        raise _refusal(error, exported, where, family) from None
    names = tuple(spec.name for spec in exported.inputs)
    return Converted(
        content,
        tuple(zip(names, exported.input_keys, strict=True)),
        tuple(zip(exported.output_names, exported.output_keys, strict=True)),
        tuple(notes),
    )


def _ask_for_integers(
    converter: Any, exported: Exported, family: str, calibration: Calibration
) -> list[str]:
    """Have a converter calibrate, and use integer kernels alone; gives notes on the samples."""
    inputs, _ = calibration_inputs(calibration, exported.inputs)
    converter.representative_dataset = _representative(inputs, exported)
    # States between inferences; without it they are float, which integer forms must not hold.
    converter._experimental_variable_quantization = True
    ops = tensorflow().lite.OpsSet
    converter.target_spec.supported_ops = (
        [ops.TFLITE_BUILTINS_INT8]
        if family == "int8"
        else [ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]
    )
    return quality_notes(calibration, inputs, exported.inputs)


def _refusal(error: Exception, exported: Exported, where: str, family: str) -> ConversionError:
    """Why TensorFlow's converter failed, and what to do about it."""
    integers = [f"{i.name!r} ({i.dtype})" for i in exported.inputs if i.dtype.kind in "iub"]
    if family == "int16x8" and integers and "min/max" in str(error):
        return ConversionError(
            f"{where}: int16x8 can't compute with integer inputs, and {', '.join(integers)} "
            "goes into a computation (Keras 3's Embedding adds to negative indices): "
            "TensorFlow's int16 quantizer wants a calibrated range there, and its calibration "
            "records float values alone. The samples are not the matter. Use int8, or look "
            "vectors up in the application and make them the model's float input"
        )
    if family not in ("float32", "int8") and _simulates(exported):
        return ConversionError(
            f"{where}: {family}: the model was trained with simulated quantization, whose "
            "ranges are those of int8. Use int8, float32, or the model as it was before "
            "(without the layers that simulate)"
        )
    reason = converter_reason(error)
    ways = _ways_out(exported, str(error))
    return ConversionError(
        f"{where}: TensorFlow's converter refused {family}: {reason}"
        + (f" {'. '.join(ways[:4])}" if ways else "")
    )


def _simulates(exported: Exported) -> bool:
    """Whether the model rounds as its quantized form will."""
    return b"FakeQuantWithMinMax" in Path(exported.folder, "saved_model.pb").read_bytes()


def _ways_out(exported: Exported, message: str) -> list[str]:
    """What replaces the operators that the quantizer names, in the layers that have them.

    The quantizer tells no layer: the same model as float32 does.
    """
    operators = set(re.findall(r"not yet supported for op: '(\w+)'", message))
    if not operators:
        return []
    converter = tensorflow().lite.TFLiteConverter.from_saved_model(exported.folder)
    with contextlib.suppress(Exception), quiet():
        return replacements(read_graph(bytes(converter.convert())), operators)
    return []
