"""Quantizing a float .tflite without TensorFlow, through ai-edge-quantizer. Runs in a child."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pytest_edgequant.conversion.calibration import Calibration, calibration_inputs, quality_notes
from pytest_edgequant.data import InputSpec
from pytest_edgequant.errors import ConversionError, missing_extra


def _recipe(family: str, dense_per_channel: bool) -> Any:
    from ai_edge_quantizer import qtyping, recipe_manager

    manager = recipe_manager.RecipeManager()
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


def _samples(
    content: bytes, calibration: Calibration, specs: Sequence[InputSpec]
) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    from ai_edge_litert.interpreter import Interpreter

    inputs, _ = calibration_inputs(calibration, specs)
    notes = quality_notes(calibration, inputs, specs)
    interpreter = Interpreter(model_content=content)
    signatures = interpreter.get_signature_list()
    if signatures:
        key, signature = next(iter(signatures.items()))
        keys = list(signature["inputs"])
        by_name = {spec.name: position for position, spec in enumerate(specs)}
        order = [by_name.get(name, position) for position, name in enumerate(keys)]
    else:
        key = "serving_default"
        keys = [spec.name for spec in specs]
        order = list(range(len(specs)))
    count = len(inputs[0])
    samples = [
        {
            name: np.ascontiguousarray(inputs[i][n : n + 1], dtype=specs[i].dtype)
            for name, i in zip(keys, order, strict=True)
        }
        for n in range(count)
    ]
    return {key: samples}, notes


def quantize(
    content: bytes,
    where: str,
    family: str,
    calibration: Calibration | None,
    specs: Sequence[InputSpec],
    *,
    dense_per_channel: bool = False,
) -> tuple[bytes, tuple[str, ...]]:
    """Quantize a float model; gives the file (float inputs and outputs) and notes.

    Raises `ConversionError` with the quantizer's reason, `CalibrationError`, `MissingExtraError`.
    """
    try:
        from ai_edge_quantizer import quantizer
    except ImportError:
        raise missing_extra("quantizing a float .tflite", "quantizer") from None
    samples, notes = (
        _samples(content, calibration, specs) if calibration is not None else (None, [])
    )
    with tempfile.TemporaryDirectory(prefix="edgequant-") as folder:
        path = Path(folder) / "float.tflite"
        path.write_bytes(content)
        try:
            with (
                warnings.catch_warnings(),
                open(os.devnull, "w") as nothing,
                contextlib.redirect_stdout(nothing),
                contextlib.redirect_stderr(nothing),
            ):
                warnings.simplefilter("ignore")
                engine = quantizer.Quantizer(str(path), _recipe(family, dense_per_channel))
                ranges = engine.calibrate(samples) if samples is not None else None
                result = engine.quantize(ranges)
        except Exception as error:
            text = " ".join(str(error).split())
            raise ConversionError(
                f"{where}: ai-edge-quantizer refused {family}: {type(error).__name__}: {text[:600]}"
            ) from None
    return bytes(result.quantized_model), tuple(notes)
