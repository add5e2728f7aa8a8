"""The named alternative of `gate.py`: what a team writes without the plugin.

Converts the example's two models to the variants that the example gates, with
`tf.lite.TFLiteConverter`, and evaluates each with `tf.lite.Interpreter` one sample at a time.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402 - the setting above comes first
import tensorflow as tf  # noqa: E402 - as above

VARIANTS = ("float32", "float16", "dynamic_range", "int8", "int8_float_io", "uint8_io", "int16x8")


def convert(model: object, variant: str, calibration: np.ndarray) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    ops = tf.lite.OpsSet
    if variant != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if variant == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if "int8" in variant or variant == "int16x8":
        converter.representative_dataset = lambda: ([x[np.newaxis]] for x in calibration)
        converter.target_spec.supported_ops = [
            ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            if variant == "int16x8"
            else ops.TFLITE_BUILTINS_INT8
        ]
    kinds = {"int8": tf.int8, "uint8_io": tf.uint8, "int16x8": tf.int16}
    if variant in kinds:
        converter.inference_input_type = converter.inference_output_type = kinds[variant]
    return bytes(converter.convert())


def predict(content: bytes, samples: np.ndarray) -> np.ndarray:
    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for sample in samples:
        x = sample[np.newaxis].astype(np.float32)
        if source["dtype"] != np.float32:
            scale, zero = source["quantization"]
            limits = np.iinfo(source["dtype"])
            x = np.clip(np.round(x / scale) + zero, limits.min, limits.max)
        interpreter.set_tensor(source["index"], x.astype(source["dtype"]))
        interpreter.invoke()
        y = interpreter.get_tensor(sink["index"])[0]
        if sink["dtype"] != np.float32:
            scale, zero = sink["quantization"]
            y = scale * (y.astype(np.float32) - zero)
        outputs.append(y)
    return np.array(outputs)


def main(example: Path) -> None:
    for name in ("digits", "diabetes"):
        model = tf.keras.models.load_model(example / "models" / f"{name}.keras", compile=False)
        data = np.load(example / "data" / f"{name}.npz")
        calibration = data["x_validation"][:300].astype(np.float32)
        for variant in VARIANTS:
            content = convert(model, variant, calibration)
            y = predict(content, data["x_test"])
            score = (
                np.mean(y.argmax(axis=1) == data["y_test"])
                if name == "digits"
                else np.abs(y.reshape(-1) - data["y_test"].reshape(-1)).mean()
            )
            print(f"{name} {variant}: {len(content)} B, {score:.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "example_project"))
