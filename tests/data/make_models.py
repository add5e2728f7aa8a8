"""Makes the small models that the tests share. Run by hand: `python tests/data/make_models.py`.

Needs the extra `tensorflow` and scikit-learn. A CNN of 2,970 weights on scikit-learn's handwritten
digits (BSD-3; the data CC BY 4.0), as .keras and as each variant.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits

from pytest_edgequant import convert
from pytest_edgequant.forms import VARIANTS

HERE = Path(__file__).parent


def main() -> None:
    keras.utils.set_random_seed(0)
    images, labels = load_digits(return_X_y=True)
    x = (images / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    order = np.random.default_rng(0).permutation(len(x))
    train, held = order[:1400], order[1400:]
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            keras.layers.Conv2D(8, 3, activation="relu", name="conv"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="tiny",
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x[train], labels[train], epochs=15, verbose=0)
    model.optimizer = None
    model.save(HERE / "tiny.keras")
    np.savez_compressed(
        HERE / "tiny.npz",
        x=(x[held] * 16).astype(np.uint8),
        y=labels[held].astype(np.uint8),
        x_calibration=(x[train[:200]] * 16).astype(np.uint8),
        y_calibration=labels[train[:200]].astype(np.uint8),
    )
    for name in VARIANTS:
        if name != "as_is":
            variant = convert(HERE / "tiny.keras", name, calibration=x[train[:200]])
            (HERE / f"tiny_{name}.tflite").write_bytes(variant.content)
    # Residual branches: TFLM's greedy plan of these is above the lower bound.
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1), name="image")
    y = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    for _ in range(2):
        branch = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(y)
        y = keras.layers.Add()([y, keras.layers.Conv2D(8, 3, padding="same")(branch)])
    residual = keras.Model(image, keras.layers.Dense(10)(keras.layers.Flatten()(y)))
    variant = convert(residual, "int8", calibration=x[train[:200]])
    (HERE / "residual_int8.tflite").write_bytes(variant.content)


if __name__ == "__main__":
    main()
