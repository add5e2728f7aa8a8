"""Quantizing a float .tflite without TensorFlow, through litert-quantizer. Runs in a child.

It was called ai-edge-quantizer before version 0.11, with the same API; where only that is
installed, it serves as well.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from pytest_edgequant.conversion.calibration import Calibration, calibration_inputs, quality_notes
from pytest_edgequant.conversion.ranges import observed_ranges
from pytest_edgequant.errors import ConversionError, missing_extra
from pytest_edgequant.samples.inputs import InputSpec
from pytest_edgequant.tflite.model import TFLiteModel

LIBRARIES = {"litert_quantizer": "litert-quantizer", "ai_edge_quantizer": "ai-edge-quantizer"}
"""The package to import, and its name on PyPI: the first that is installed serves."""


def library() -> str | None:
    """The installed quantizer's package; None where there is none. Imports nothing."""
    return next((package for package in LIBRARIES if find_spec(package) is not None), None)


def _recipe(package: str, family: str, dense_per_channel: bool) -> Any:
    qtyping = import_module(f"{package}.qtyping")
    manager = import_module(f"{package}.recipe_manager").RecipeManager()
    names = qtyping.TFLOperationName
    if family == "dynamic_range":
        manager.add_dynamic_config(regex=".*", operation_name=names.ALL_SUPPORTED, num_bits=8)
    elif family == "float16":
        manager.add_quantization_config(
            regex=".*",
            operation_name=names.ALL_SUPPORTED,
            op_config=qtyping.OpQuantizationConfig(
                weight_tensor_config=qtyping.TensorQuantizationConfig(
                    num_bits=16, dtype=qtyping.TensorDataType.FLOAT
                ),
                compute_precision=qtyping.ComputePrecision.FLOAT,
                explicit_dequantize=True,
            ),
            algorithm_key="float_casting",
        )
    else:
        bits = 8 if family == "int8" else 16
        manager.add_static_config(
            regex=".*",
            operation_name=names.ALL_SUPPORTED,
            activation_num_bits=bits,
            weight_num_bits=8,
        )
        if not dense_per_channel:
            manager.add_static_config(
                regex=".*",
                operation_name=names.FULLY_CONNECTED,
                activation_num_bits=bits,
                weight_num_bits=8,
                weight_granularity=qtyping.QuantGranularity.TENSORWISE,
            )
        # Inputs and outputs stay float here; what they become is the variant's matter.
        for edge in (names.INPUT, names.OUTPUT):
            manager.add_quantization_config(
                regex=".*", operation_name=edge, algorithm_key="no_quantize"
            )
    return manager.get_quantization_recipe()


def _calibrated(
    model: TFLiteModel, calibration: Calibration, specs: Sequence[InputSpec]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """What the quantizer takes for the result of a calibration, by the tensors' names; and notes.

    Its own calibration is a moving average over single samples, which depends on their order and
    clips what few of them reach.
    """
    inputs, _ = calibration_inputs(calibration, specs)
    notes = quality_notes(calibration, inputs, specs)
    samples = [
        np.ascontiguousarray(array, dtype=spec.dtype)
        for array, spec in zip(inputs, specs, strict=True)
    ]
    found = {}
    for (subgraph, index), (low, high) in observed_ranges(model, samples).items():
        tensor = model.graph.subgraphs[subgraph].tensors[index]
        one = (1,) * len(tensor.shape)
        found[tensor.name] = {"min": np.full(one, low), "max": np.full(one, high)}
    return found, notes


def quantize(
    model: TFLiteModel,
    family: str,
    calibration: Calibration | None,
    specs: Sequence[InputSpec],
    *,
    dense_per_channel: bool = False,
) -> tuple[bytes, tuple[str, ...]]:
    """Quantize a float model; gives the file (float inputs and outputs) and notes.

    Raises `ConversionError` with the quantizer's reason, `CalibrationError`, `MissingExtraError`.
    """
    package = library()
    if package is None:
        raise missing_extra("quantizing a float .tflite", "quantizer")
    ranges, notes = (
        _calibrated(model, calibration, specs) if calibration is not None else (None, [])
    )
    with tempfile.TemporaryDirectory(prefix="edgequant-") as folder:
        path = Path(folder) / "float.tflite"
        path.write_bytes(model.content)
        try:
            with (
                warnings.catch_warnings(),
                open(os.devnull, "w") as nothing,
                contextlib.redirect_stdout(nothing),
                contextlib.redirect_stderr(nothing),
            ):
                warnings.simplefilter("ignore")
                quantizer = import_module(f"{package}.quantizer").Quantizer
                engine = quantizer(str(path), _recipe(package, family, dense_per_channel))
                result = engine.quantize(ranges)
        except Exception as error:
            text = " ".join(str(error).split())
            raise ConversionError(
                f"{model.where}: {LIBRARIES[package]} refused {family}: {type(error).__name__}: "
                f"{text[:600]}"
            ) from None
    return bytes(result.quantized_model), tuple(notes)
