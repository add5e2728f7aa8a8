"""The named alternative of `qat.py`: tf_keras through tensorflow-model-optimization.

Called by it, in a process with TF_USE_LEGACY_KERAS=1; prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import qat_models as models
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

BUILD = {"digits": models.digits_cnn, "depthwise": models.depthwise_cnn}


def simulated(model: Any) -> Any:
    found = tfmot.quantization.keras.quantize_model(model)
    found.compile(tf_keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy")
    return found


def time_steps(name: str) -> dict[str, float]:
    train, _ = models.digits()
    steps = -(-len(train[0]) // models.BATCH)
    found = {}
    model = models.fit(BUILD[name](tf_keras), train, epochs=1)
    for key, timed in (("float", model), ("trained", simulated(model))):

        def fit(count: int, timed: Any = timed) -> None:
            timed.fit(*train, epochs=max(count // steps, 1), batch_size=models.BATCH, verbose=0)

        found[key] = models.step_seconds(fit, steps=steps)
    return found


def train(name: str, seed: str, weights: str, result: str) -> dict[str, Any]:
    """Fine-tune as the library's guide does, keeping the best epoch on a tenth of the data."""
    tf_keras.utils.set_random_seed(int(seed))
    (x, y), _ = models.digits()
    model = BUILD[name](tf_keras)
    with np.load(weights) as stored:
        model.set_weights([stored[key] for key in stored.files])
    quantized = simulated(model)
    held = len(x) // 10
    stop = tf_keras.callbacks.EarlyStopping("val_loss", patience=8, restore_best_weights=True)
    quantized.fit(
        x[held:],
        y[held:],
        validation_data=(x[:held], y[:held]),
        epochs=50,
        batch_size=models.BATCH,
        callbacks=[stop],
        verbose=0,
    )
    pinned = tf.function(lambda image: quantized(image, training=False)).get_concrete_function(
        tf.TensorSpec((1, *x.shape[1:]), tf.float32, name="image")
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([pinned], quantized)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    converter.inference_input_type = converter.inference_output_type = tf.int8
    content = converter.convert()
    with open(result, "wb") as stream:
        stream.write(content)
    return {"bytes": len(content)}


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    print(json.dumps({"time": time_steps, "train": train}[command](*arguments)))
