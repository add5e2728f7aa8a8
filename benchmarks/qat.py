"""Quantization-aware training: step time, and what it gives back.

    python benchmarks/qat.py [time|accuracy|paired]

Needs tensorflow and scikit-learn; `paired` and the second column of `time` need tf-keras and
tensorflow-model-optimization as well (extra `qat`), and say so where they are not installed.

- time: seconds a training step over the plain float model's `fit` (goal: at most 2.5x on the digits
  CNN), and over tensorflow-model-optimization's on the same architecture (goal: at most 1.1x).
- accuracy: a model built to suffer from int8, three seeds (goal: int8 loses 5 points at least,
  qat_int8 less than 1).
- paired: the same architecture through tf_keras and tensorflow-model-optimization, three seeds, the
  float weights the same (goal: at least as accurate, no larger, no more operators).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import qat_models as models

from pytest_edgequant import TrainingRecipe, compare_accuracy, context, convert
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.tflite.graph import read_graph

SEEDS = (0, 1, 2)
ARCHITECTURES = {"digits": models.digits_cnn, "depthwise": models.depthwise_cnn}
TFMOT = all(find_spec(name) for name in ("tf_keras", "tensorflow_model_optimization"))
HERE = Path(__file__).parent


def tfmot(*arguments: object) -> dict[str, Any]:
    """What `qat_tfmot.py` prints, in a process with the legacy switch."""
    done = subprocess.run(
        [sys.executable, str(HERE / "qat_tfmot.py"), *map(str, arguments)],
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def our_step(model: Any, train: models.Split) -> float:
    """Seconds of a step of the simulation, data on the device as `fit` has it."""
    import tensorflow as tf

    from pytest_edgequant.conversion.qat import recipe, worker

    training = recipe.read_training(TrainingRecipe(data=train, batch_size=models.BATCH))
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.keras")
        model.save(path)
        specs = worker.tensorflow_worker.describe("keras", path, "model").inputs
        calibration = recipe.calibration_from(training, specs)
        worker.begin(
            ("keras", path), "model", calibration, training, unrolled=False, dense_per_channel=False
        )
    trainer = worker._current.pop("run").trainer
    step = trainer._step(bool(trainer.following))
    batch = tf.range(models.BATCH)

    def run(count: int) -> None:
        for _ in range(count):
            loss = step(batch)
        loss.numpy()

    return models.step_seconds(run)


def time_steps() -> None:
    train, _ = models.digits()
    part = train[0][: 40 * models.BATCH], train[1][: 40 * models.BATCH]
    steps = -(-len(part[0]) // models.BATCH)
    for name, build in ARCHITECTURES.items():
        model = models.fit(build(keras), train, epochs=1)

        def fit(count: int, model: Any = model) -> None:
            model.fit(*part, epochs=max(count // steps, 1), batch_size=models.BATCH, verbose=0)

        plain = models.step_seconds(fit, steps=steps)
        ours = our_step(model, train)
        text = f"{name}: float {1e3 * plain:.2f} ms, ours {1e3 * ours:.2f} ms"
        text += f" ({ours / plain:.2f}x float"
        if TFMOT:
            theirs = tfmot("time", name)
            text += (
                f"), tensorflow-model-optimization {1e3 * theirs['trained']:.2f} ms "
                f"({theirs['trained'] / theirs['float']:.2f}x its float; "
                f"ours is {ours / theirs['trained']:.2f}x"
            )
        print(text + ")")


def accuracy() -> None:
    train, test = models.digits()
    for seed in SEEDS:
        keras.utils.set_random_seed(seed)
        model = models.fit(models.depthwise_cnn(keras), train)
        models.spread_channels(model, 2.5, seed)
        floating = convert(model, "float32")
        int8 = convert(model, "int8", calibration=train[0][:300])
        qat = convert(model, "qat_int8", training=TrainingRecipe(data=train, seed=seed))
        before = compare_accuracy(int8, floating, test)
        after = compare_accuracy(qat, floating, test)
        print(
            f"seed {seed}: float {before.baseline:.2%}, int8 loses {100 * before.drop:.2f} pt, "
            f"qat_int8 loses {100 * after.drop:.2f} pt; {int8.size_bytes:,} B, "
            f"{qat.size_bytes:,} B; simulation and file agree on {qat.training.agreement:.1%}"
        )


def paired() -> None:
    if not TFMOT:
        print("paired: tf-keras and tensorflow-model-optimization are not installed (extra qat)")
        return
    train, test = models.digits()
    for name, build in ARCHITECTURES.items():
        for seed in SEEDS:
            keras.utils.set_random_seed(seed)
            model = models.fit(build(keras), train)
            with tempfile.TemporaryDirectory() as folder:
                weights, result = Path(folder) / "weights.npz", Path(folder) / "model.tflite"
                np.savez(weights, *model.get_weights())
                tfmot("train", name, seed, weights, result)
                theirs = convert(result.read_bytes(), "int8")
            ours = convert(model, "qat_int8", training=TrainingRecipe(data=train, seed=seed))
            found = compare_accuracy(ours, theirs, test)
            operators = [len(read_graph(v.content).main.operators) for v in (ours, theirs)]
            print(
                f"{name}, seed {seed}: ours {found.candidate:.2%}, theirs {found.baseline:.2%} "
                f"(right in ours alone {found.gained}, in theirs alone {found.lost}, "
                f"of {found.count}); {ours.size_bytes:,} B, {theirs.size_bytes:,} B; "
                f"{operators[0]} operators, {operators[1]}"
            )


PARTS = {"time": time_steps, "accuracy": accuracy, "paired": paired}

if __name__ == "__main__":
    pipeline = Pipeline(no_cache=True)
    context.pipeline_factory = lambda: pipeline
    try:
        for part in sys.argv[1:] or PARTS:
            PARTS[part]()
    finally:
        pipeline.close()
