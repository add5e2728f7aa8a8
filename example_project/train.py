"""Train the two models that the gate in tests/ judges, and write their data beside them.

Needs tensorflow and scikit-learn. The gate needs neither this script nor scikit-learn: the models
and the splits it uses are committed.
"""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read once, when TensorFlow is imported

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_diabetes, load_digits
from sklearn.metrics import accuracy_score, mean_absolute_error, r2_score
from sklearn.model_selection import train_test_split

ROOT = Path(__file__).parent
SEED = 0

Split = tuple[np.ndarray, np.ndarray]


def split(
    x: np.ndarray, y: np.ndarray, strata: np.ndarray, held_out: int
) -> tuple[Split, Split, Split]:
    """Split into train, validation and test, the last two of `held_out` samples each."""
    rest, test = train_test_split(
        np.arange(len(x)), test_size=held_out, stratify=strata, random_state=SEED
    )
    train, validation = train_test_split(
        rest, test_size=held_out, stratify=strata[rest], random_state=SEED
    )
    return (x[train], y[train]), (x[validation], y[validation]), (x[test], y[test])


def fit(model: keras.Model, train: Split, validation: Split) -> None:
    """Train until the validation loss has stopped falling, and keep the best weights."""
    stop = keras.callbacks.EarlyStopping(patience=40, restore_best_weights=True)
    model.fit(
        *train,
        validation_data=validation,
        batch_size=32,
        epochs=500,
        callbacks=[stop],
        verbose=0,
    )


def save(model: keras.Model, validation: Split, test: Split) -> None:
    """Write models/NAME.keras, and data/NAME.npz with the two splits that the gate reads."""
    # A copy that was never compiled carries no optimizer state, which is two thirds of the file.
    # (clone_model would compile the copy as well.)
    bare = keras.Sequential.from_config(model.get_config())
    bare.set_weights(model.get_weights())
    bare.save(ROOT / "models" / f"{model.name}.keras")
    np.savez_compressed(
        ROOT / "data" / f"{model.name}.npz",
        x_validation=validation[0],
        y_validation=validation[1],
        x_test=test[0],
        y_test=test[1],
    )


def train_digits() -> None:
    """A small CNN that reads one handwritten digit, 8 x 8 pixels of 0 to 1."""
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    train, validation, test = split(x, y.astype(np.uint8), strata=y, held_out=360)

    keras.utils.set_random_seed(SEED)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="conv_1"),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu", name="conv_2"),
            keras.layers.MaxPooling2D(name="pool"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dropout(0.3, name="dropout"),
            keras.layers.Dense(32, activation="relu", name="hidden"),
            keras.layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits",
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    fit(model, train, validation)
    save(model, validation, test)

    found = model.predict(test[0], verbose=0).argmax(axis=1)
    print(f"digits: test accuracy {accuracy_score(test[1], found):.4f} ({len(found)} samples)")


def train_diabetes() -> None:
    """A dense regressor: disease progression after a year, in the data's own unit (25 to 346)."""
    x, y = load_diabetes(return_X_y=True, scaled=False)
    quintile = np.searchsorted(np.quantile(y, [0.2, 0.4, 0.6, 0.8]), y)
    y = y.astype(np.float32)[:, None]  # a column, as the model's output: (n,) would broadcast
    train, validation, test = split(x, y, strata=quintile, held_out=100)

    # Outside the model: one int8 scale for the whole input can't serve cholesterol in the
    # hundreds beside a sex of 1 or 2.
    mean, std = train[0].mean(axis=0), train[0].std(axis=0)
    train, validation, test = (
        (((x - mean) / std).astype(np.float32), y) for x, y in (train, validation, test)
    )

    keras.utils.set_random_seed(SEED)
    model = keras.Sequential(
        [
            keras.Input((10,), name="patient"),
            keras.layers.Dense(64, activation="relu", name="hidden_1"),
            keras.layers.Dropout(0.3, name="dropout"),
            keras.layers.Dense(32, activation="relu", name="hidden_2"),
            keras.layers.Dense(1, name="standardised"),
            # Back to the data's unit. Costs nothing: the converter folds it into the Dense above.
            keras.layers.Rescaling(
                float(train[1].std()), offset=float(train[1].mean()), name="progression"
            ),
        ],
        name="diabetes",
    )
    model.compile("adam", "mse")
    fit(model, train, validation)
    save(model, validation, test)

    found = model.predict(test[0], verbose=0)
    print(
        f"diabetes: test R2 {r2_score(test[1], found):.3f}, "
        f"MAE {mean_absolute_error(test[1], found):.2f} ({len(found)} samples)"
    )


if __name__ == "__main__":
    tf.config.experimental.enable_op_determinism()
    (ROOT / "models").mkdir(exist_ok=True)
    (ROOT / "data").mkdir(exist_ok=True)
    train_digits()
    train_diabetes()
