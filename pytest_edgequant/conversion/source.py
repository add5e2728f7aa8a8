"""Where a variant comes from: a live Keras model, a file, or bytes.

A source knows its fingerprint (what the cache is keyed by), describes its inputs, and converts
itself to one family of variants in an isolated process.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

from pytest_edgequant.context import Undefined
from pytest_edgequant.conversion.layers import is_keras_model
from pytest_edgequant.conversion.order import Converted, Description, Order
from pytest_edgequant.conversion.tflite_source import TFLiteFile
from pytest_edgequant.errors import EdgeQuantError, ModelError
from pytest_edgequant.files import open_file
from pytest_edgequant.forms import VariantSpec
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.pointers import pointer_file, pointer_reason
from pytest_edgequant.wording import shown

# What converts is loaded where something is converted: a .tflite taken as it is needs none of it.


_KERAS_FILES = (".keras", ".h5", ".hdf5")


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
    if is_keras_model(model):
        from pytest_edgequant.conversion.tensorflow_source import live_source

        return live_source(model)
    raise ModelError(
        f"{where}: expected a Keras model, a path (.keras, .h5, SavedModel folder, .tflite) or the "
        f"bytes of a .tflite, got {type(model).__module__}.{type(model).__qualname__}"
    )


def given_form(model: Any) -> str | None:
    """The form of a quantized .tflite, the only one there is of it; None for what has others too.

    None as well for what can't be read: whoever makes a variant of it says why.
    """
    if not isinstance(model, str | os.PathLike | bytes | bytearray | memoryview):
        return None  # a live model is not described for this
    if isinstance(model, str | os.PathLike) and Path(model).suffix.lower() in _KERAS_FILES:
        return None
    try:
        source = open_source(model)
    except EdgeQuantError:
        return None
    if not isinstance(source, TFLiteFile) or source.quantizable:
        return None
    return source.model.form


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
    try:
        folder = path.is_dir()
    except OSError as error:
        raise ModelError(f"{where}: can't read {shown(str(path))}: {error.strerror}") from None
    _check_fetched(path, where)
    if folder:
        if (path / "saved_model.pb").is_file():
            return _tensorflow_file(path, "saved_model")
        raise ModelError(f"{where}: the folder {str(path)!r} holds no saved_model.pb")
    try:
        with open_file(path) as stream:
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
    if suffix == ".keras" and not head.startswith(b"\x89HDF") and not _is_zip(path):
        raise ModelError(
            f"{where}: {str(path)!r} is damaged or truncated (not a zip file as .keras files are); "
            "write or copy it again"
        )
    if suffix == ".keras" or head.startswith((b"PK\x03\x04", b"\x89HDF")):
        return _tensorflow_file(path, "keras")
    if suffix in (".h5", ".hdf5"):
        raise ModelError(f"{where}: {str(path)!r} is not an HDF5 file; write the model again")
    raise ModelError(f"{where}: {str(path)!r} is none of .keras, .h5, SavedModel folder, .tflite")


def _tensorflow_file(path: Path, kind: str) -> Source:
    from pytest_edgequant.conversion.tensorflow_source import TensorFlowFile

    return TensorFlowFile(path, kind)


def _is_zip(path: Path) -> bool:
    import zipfile  # which a .tflite does not wait for

    return zipfile.is_zipfile(path)
