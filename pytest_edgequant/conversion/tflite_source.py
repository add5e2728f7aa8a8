"""A .tflite file as a source: float ones are quantized without TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pytest_edgequant.cache import versions
from pytest_edgequant.conversion.order import Converted, Description, Order
from pytest_edgequant.errors import ConversionError, IsolatedProcessError, NotDerivableError
from pytest_edgequant.forms import VariantSpec
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.tflite.ends import file_inputs, file_outputs
from pytest_edgequant.tflite.model import TFLiteModel


class TFLiteFile:
    """A .tflite file or its bytes: float ones can be quantized, quantized ones stay as they are."""

    def __init__(self, content: bytes, path: Path | None) -> None:
        self.model = TFLiteModel(content, str(path) if path else "model bytes")
        self.path = path
        self.where = self.model.where
        self.default_name: str | None = path.stem if path else None

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    @property
    def toolchain(self) -> dict[str, str]:
        from pytest_edgequant.conversion.quantizer_worker import LIBRARIES

        return versions((*LIBRARIES.values(), "ai-edge-litert", "numpy"))

    @property
    def quantizable(self) -> bool:
        return self.model.form == "float32"

    def is_form(self, spec: VariantSpec) -> bool:
        return spec.name in (self.model.form, "as_is")

    def check_derivable(self, spec: VariantSpec) -> None:
        if self.is_form(spec):
            return
        if not self.quantizable:
            raise NotDerivableError(
                f"{self.where}: the file is {self.model.form} already, {spec.name} can't be made "
                "from it. Quantized files are gated as they are: ask for that variant (or as_is), "
                "or give the float model"
            )
        if spec.trained:
            raise NotDerivableError(
                f"{self.where}: {spec.name} is trained from a Keras model or SavedModel; a .tflite "
                "file can't be trained: give the model that it was converted from"
            )

    def describe(self, process: IsolatedProcess) -> Description:
        from pytest_edgequant.samples.inputs import InputSpec

        graph = self.model.computing
        ends, tensors = file_inputs(graph), graph.main.tensors
        inputs = tuple(
            InputSpec(
                name,
                tensors[i].shape,
                np.dtype(np.float32) if tensors[i].quantization else tensors[i].dtype,
            )
            for name, i in zip(ends.names, ends.tensors, strict=True)
        )
        return Description(inputs, file_outputs(graph).names, False, False)

    def convert(self, process: IsolatedProcess, order: Order) -> Converted:
        from pytest_edgequant.conversion import quantizer_worker

        assert order.description is not None
        try:
            content, notes = process.call(
                quantizer_worker.quantize,
                self.model,
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
