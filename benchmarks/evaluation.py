"""How fast a variant is evaluated, against the loop that people write, and in how much memory.

    python benchmarks/evaluation.py              # all models and variants
    python benchmarks/evaluation.py digits --rounds 15
    python benchmarks/evaluation.py --memory     # peak memory over generated samples

Each row: `evaluate()` with everything that belongs to it (float samples in, a score out; child
process and choice of the batch are warm, the samples new), against
- the per-sample loop `set_tensor/invoke/get_tensor` on the same .tflite, samples quantized before,
- the interpreter's own time for the same batches, on the same number of threads.
Both in the same run, turn by turn; the best of several rounds of each. Needs TensorFlow.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from ai_edge_litert.interpreter import Interpreter

import pytest_edgequant as eq
from pytest_edgequant import context
from pytest_edgequant.measure.evaluation.jobs import Choice
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.samples.quantize import quantize
from pytest_edgequant.tflite.batching import BatchSamples

VARIANTS = ("float32", "float16", "dynamic_range", "int8", "int16x8")
SECONDS = 0.4
"""What one round of the loop takes, about."""
SAMPLE_BYTES = 1 << 29


def _digits() -> Any:
    from keras import Sequential, layers

    return Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(16, 3, activation="relu", padding="same"),
            layers.Conv2D(32, 3, activation="relu", padding="same"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def _mnist() -> Any:
    from keras import Sequential, layers

    return Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def _dense() -> Any:
    from keras import Sequential, layers

    return Sequential([layers.Input((16,)), layers.Dense(8, activation="relu"), layers.Dense(3)])


def _mobilenet() -> Any:
    from keras.applications import MobileNet

    return MobileNet(input_shape=(96, 96, 3), alpha=0.25, weights=None, classes=10)


MODELS: dict[str, Callable[[], Any]] = {
    "digits": _digits,
    "mnist": _mnist,
    "dense": _dense,
    "mobilenet": _mobilenet,
}


class Measured:
    """One variant, with the three ways to run it."""

    def __init__(self, pipeline: Pipeline, variant: eq.Variant) -> None:
        self.pipeline = pipeline
        self.variant = variant
        self.input, self.output = variant.inputs[0], variant.outputs[0]
        self.rng = np.random.default_rng(0)
        single = Interpreter(model_content=variant.content)
        single.allocate_tensors()
        self.single = single
        each = min(self.loop(self.samples(50)[0]) for _ in range(3)) / 50
        most = SAMPLE_BYTES // (4 * int(np.prod(self.input.shape[1:])))
        self.count = int(np.clip(SECONDS / each, 64, min(most, 300_000)))
        self.choice = self.chosen()
        content = variant.content
        if self.choice.batch > 1:
            content = BatchSamples(self.choice.batch).apply(content).content
        self.batched = []
        for _ in range(self.choice.threads):
            interpreter = Interpreter(model_content=content, num_threads=1)
            interpreter.allocate_tensors()
            self.batched.append(interpreter)

    def chosen(self) -> Choice:
        """How the variant is run; what is not measured is not remembered, so it is overheard."""
        engine, found = self.pipeline.engine, []
        remember = engine._remember
        engine._remember = lambda key, choice: found.append(choice) or remember(key, choice)
        eq.evaluate(self.variant, self.samples(self.count), runtime="litert")
        engine._remember = remember
        return found[0]

    def samples(self, count: int) -> tuple[Any, Any]:
        x = self.rng.random((count, *self.input.shape[1:]), dtype=np.float32)
        return x, self.rng.integers(0, self.output.shape[-1], count)

    def loop(self, x: Any) -> float:
        """Seconds for one sample at a time."""
        stored = quantize(x, self.input)
        interpreter, taken, given = self.single, self.input.index, self.output.index
        outputs = []
        begin = time.perf_counter()
        for sample in stored:
            interpreter.set_tensor(taken, sample[np.newaxis])
            interpreter.invoke()
            outputs.append(interpreter.get_tensor(given)[0])
        return time.perf_counter() - begin

    def limit(self, x: Any) -> float:
        """Seconds for the same batches on the same threads, and nothing else."""
        stored = quantize(x, self.input)
        batch = self.choice.batch
        starts = iter(range(0, len(stored) - batch + 1, batch))

        def work(interpreter: Any) -> None:
            for start in starts:
                interpreter.set_tensor(self.input.index, stored[start : start + batch])
                interpreter.invoke()
                interpreter.get_tensor(self.output.index)

        threads = [threading.Thread(target=work, args=(i,)) for i in self.batched]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        whole = len(stored) // batch * batch
        return (time.perf_counter() - begin) * len(stored) / max(whole, 1)

    def ours(self, x: Any, y: Any) -> float:
        begin = time.perf_counter()
        eq.evaluate(self.variant, (x, y), runtime="litert")
        return time.perf_counter() - begin

    def row(self, rounds: int) -> tuple[float, float, float]:
        """Seconds a sample: the loop, the limit, ours."""
        best = [float("inf")] * 3
        for _ in range(rounds):
            x, y = self.samples(self.count)
            found = self.loop(x), self.limit(x), self.ours(x, y)
            best = [min(b, f / self.count) for b, f in zip(best, found, strict=True)]
        return best[0], best[1], best[2]


def speed(names: list[str], variants: list[str], rounds: int) -> None:
    import keras

    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(Path(folder))
        context.pipeline_factory = lambda: pipeline
        print(
            f"{'model':10} {'variant':14} {'loop':>10} {'ours':>10} {'faster':>7} {'of limit':>8}"
            "  samples an inference, threads, folding"
        )
        for name in names:
            keras.utils.set_random_seed(0)
            model = MODELS[name]()
            shape = model.input_shape[1:]
            calibration = np.random.default_rng(0).random((100, *shape), dtype=np.float32)
            for form in variants:
                variant = eq.convert(model, form, calibration=calibration, name=name)
                try:
                    measured = Measured(pipeline, variant)
                except (RuntimeError, eq.CannotRunError) as error:
                    print(f"{name:10} {form:14} refused: {str(error)[:80]}")
                    continue
                loop, limit, ours = measured.row(rounds)
                choice = measured.choice
                print(
                    f"{name:10} {form:14} {loop * 1e6:8.2f}us {ours * 1e6:8.2f}us "
                    f"{loop / ours:6.2f}x {ours / limit:7.2f}x  {choice.batch}, {choice.threads}"
                    f" {choice.folding} {choice.reason}",
                    flush=True,
                )
        pipeline.close()


def memory() -> None:
    """Peak resident memory of both processes, each count in a run of its own."""
    for count in (1_000, 100_000, 1_000_000):
        done = subprocess.run(
            [sys.executable, __file__, "--one-memory", str(count)],
            check=True,
            capture_output=True,
            text=True,
        )
        print(done.stdout, end="", flush=True)


def one_memory(count: int) -> None:
    import resource

    path = Path(__file__).parents[1] / "tests" / "data" / "tiny_int8.tflite"

    def batches() -> Any:
        rng = np.random.default_rng(0)
        for start in range(0, count, 100):
            size = min(100, count - start)
            x = rng.random((size, 8, 8, 1), dtype=np.float32)
            yield x, rng.integers(0, 10, size)

    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(Path(folder))
        context.pipeline_factory = lambda: pipeline
        found = eq.evaluate(path, batches(), runtime="litert")
        assert found.count == count
        pipeline.close()
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{count:>9,} samples: {own:6.1f} MiB here, {child:6.1f} MiB in the child")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", choices=[*MODELS, []], default=[])
    parser.add_argument("--variant", action="append", choices=VARIANTS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--one-memory", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one_memory:
        one_memory(given.one_memory)
    elif given.memory:
        memory()
    else:
        speed(given.models or list(MODELS), given.variant or list(VARIANTS), given.rounds)


if __name__ == "__main__":
    main()
