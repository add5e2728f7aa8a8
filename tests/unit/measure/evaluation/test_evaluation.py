"""Evaluation over whole datasets: the same bits as one sample at a time, however it is run."""

# Over 400 lines: every way to run a model has to give the bits of the first.

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from pytest_edgequant import (
    DatasetError,
    MeasurementUnavailable,
    MetricError,
    RuntimesDiffer,
    SettingsError,
    UnknownNameError,
    assert_max_accuracy_drop,
    assert_runtime_parity,
    compare_accuracy,
    evaluate,
    measure_runtime_parity,
)
from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.measure.evaluation import litert_runner, runtimes
from pytest_edgequant.measure.evaluation.jobs import Choice
from pytest_edgequant.measure.evaluation.runtimes import stratified_part
from pytest_edgequant.measure.evaluation.tasks import make_task
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.records import Quantization, TensorInfo
from pytest_edgequant.samples.quantize import Quantizer, dequantize, quantize
from pytest_edgequant.tflite.batching import BatchSamples
from pytest_edgequant.tflite.folding import FoldPixels
from pytest_edgequant.tflite.restarting import RestartVariables
from pytest_edgequant.tflite.rewrite import Rewritten

Tiny = Mapping[str, Path]
FORMS = ["float32", "float16", "dynamic_range", "int8", "int8_float_io", "uint8_io", "int16x8"]
needs_tflm = pytest.mark.skipif(
    find_spec("tflite_micro") is None, reason="no tflite-micro wheel for this machine"
)


@pytest.fixture(autouse=True)
def _pipeline(pipeline: Pipeline) -> None:
    """All tests here share one pipeline."""


def one_by_one(path: Path, x: Any) -> Any:
    """What the loop that people write gives, as real values."""
    variant = load_variant(path)
    (source,), (sink,) = variant.inputs, variant.outputs
    interpreter = Interpreter(model_content=variant.content)
    interpreter.allocate_tensors()
    outputs = []
    for sample in quantize(x, source):
        interpreter.set_tensor(source.index, sample[np.newaxis])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(sink.index)[0])
    return dequantize(np.stack(outputs), sink)


def seen(y_true: Any, y_pred: Any) -> float:
    """A metric that keeps what it was given."""
    seen.given = y_true, y_pred  # type: ignore[attr-defined]
    return 1.0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [1, 31, 397, 5000])
def test_the_bits_are_those_of_one_sample_at_a_time(form: str, count: int, tiny: Tiny) -> None:
    x = np.random.default_rng(count).random((count, 8, 8, 1), dtype=np.float32)
    evaluate(tiny[form], (x, np.arange(count)), metric=seen, runtime="litert")
    y_true, y_pred = seen.given  # type: ignore[attr-defined]
    assert y_pred.tobytes() == one_by_one(tiny[form], x).tobytes()
    np.testing.assert_array_equal(y_true, np.arange(count))
    assert load_variant(tiny[form]).predict(x).tobytes() == y_pred.tobytes()


@pytest.mark.parametrize(
    "choice",
    [
        Choice(1, 1),
        Choice(1, 2),
        Choice(8, 2),
        Choice(512, 1),
        Choice(32, 2, folding="amx"),
        Choice(8, 1, folding="vector"),
        Choice(1, 2, folding="amx"),
    ],
)
def test_the_choice_of_the_batch_changes_no_bit(choice: Choice, tiny: Tiny) -> None:
    runner = litert_runner.Runner(make_task(load_variant(tiny["int8"]), "litert", []).job)
    x = np.random.default_rng(0).random((1000, 8, 8, 1), dtype=np.float32)
    assert runner.verified([x], choice) == choice
    results = runner._empty(len(x))
    runner.run([x], results, choice)
    expected = runner._one_by_one([x])
    assert results[0].tobytes() == expected[0].tobytes()


def test_the_choice_is_measured_and_remembered(fresh_pipeline: Pipeline, tiny: Tiny) -> None:
    x = np.random.default_rng(0).random((300_000, 8, 8, 1), dtype=np.float32)
    evaluate(tiny["float32"], (x, np.zeros(len(x), int)), runtime="litert")
    (first,) = fresh_pipeline.engine._choices.values()
    assert first.measured
    again = Pipeline(fresh_pipeline.cache.root, timeout=120)
    task = make_task(load_variant(tiny["float32"]), "litert", [])
    again.engine._remembered(task)
    assert again.engine._choices == {task.job.key: first}


def damaged(content: bytes) -> bytes:
    """A model in which one weight differs."""
    copy = bytearray(content)
    weights = np.frombuffer(bytes(copy[-4096:]), np.uint8)
    place = len(copy) - 4096 + int(np.flatnonzero(weights)[len(weights) // 4])
    copy[place] ^= 0x40
    return bytes(copy)


@pytest.mark.parametrize("seconds", [1e-7, 0.001, 0.02, 3.0])
@pytest.mark.parametrize("total", [1, 100, None])
def test_a_model_may_be_fast_or_slow(seconds: float, total: int | None, tiny: Tiny) -> None:
    runner = litert_runner.Runner(make_task(load_variant(tiny["int8"]), "litert", []).job)
    runner._seconds = seconds
    x = np.random.default_rng(0).random((40, 8, 8, 1), dtype=np.float32)
    choice = runner.verified([x], runner.choose([x], 2, total))
    results = runner._empty(len(x))
    runner.run([x], results, choice)
    assert results[0].tobytes() == runner._one_by_one([x])[0].tobytes()
    assert choice.measured == (total is None and seconds < 0.0015)


class BrokenCopy(BatchSamples):
    def apply(self, content: bytes) -> Rewritten:
        return Rewritten(damaged(super().apply(content).content), True)


class NoCopy(BatchSamples):
    def apply(self, content: bytes) -> Rewritten:
        return Rewritten(b"no model at all", True)


class DamagedFold(FoldPixels):
    def apply(self, content: bytes) -> Rewritten:
        return Rewritten(damaged(content), True)


class NothingRestarted(RestartVariables):
    """A copy that is the model as it was."""

    def apply(self, content: bytes) -> Rewritten:
        return Rewritten(content, True)


class NoRestart(RestartVariables):
    def apply(self, content: bytes) -> Rewritten:
        return Rewritten(content, False, self.needless)


@pytest.mark.parametrize("made", [BrokenCopy, NoCopy])
def test_a_copy_that_is_not_faithful_is_found_out(
    made: Any, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litert_runner, "BatchSamples", made)
    runner = litert_runner.Runner(make_task(load_variant(tiny["float32"]), "litert", []).job)
    x = np.random.default_rng(0).random((64, 8, 8, 1), dtype=np.float32)
    found = runner.verified([x], Choice(32, 1))
    assert found.batch == 1
    assert found.reason
    assert runner.choose([x], 2, None).batch == 1
    results = runner._empty(len(x))
    runner.run([x], results, found)
    assert results[0].tobytes() == one_by_one(tiny["float32"], x).tobytes()


@pytest.mark.parametrize("batch", [1, 32])
def test_a_folded_copy_that_is_not_faithful_is_found_out(
    batch: int, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litert_runner, "FoldPixels", DamagedFold)
    runner = litert_runner.Runner(make_task(load_variant(tiny["int8"]), "litert", []).job)
    x = np.random.default_rng(0).random((64, 8, 8, 1), dtype=np.float32)
    assert runner.verified([x], Choice(batch, 1, folding="amx")) == Choice(batch, 1)
    assert runner.choose([x], 2, None).folding == ""


def test_a_model_is_measured_once_its_evaluations_have_taken_long_enough(tiny: Tiny) -> None:
    runner = litert_runner.Runner(make_task(load_variant(tiny["int8"]), "litert", []).job)
    x = np.random.default_rng(0).random((256, 8, 8, 1), dtype=np.float32)
    assert not runner.choose([x], 2, 2000).measured
    assert any(runner.choose([x], 2, 2000).measured for _ in range(1000))


@pytest.mark.parametrize("copy", [RestartVariables, NothingRestarted, NoRestart])
@pytest.mark.parametrize("name", ["mww_vad_v2", "mww_okay_nabu_v2"])
def test_streaming_models_begin_anew_with_each_sample(
    name: str, copy: Any, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litert_runner, "RestartVariables", copy)
    variant = load_variant(reference / "models" / f"{name}.tflite")
    runner = litert_runner.Runner(make_task(variant, "litert", []).job)
    (source,), (sink,) = variant.inputs, variant.outputs
    x = np.random.default_rng(0).normal(size=(40, *source.shape[1:])).astype(np.float32) * 10
    expected = []
    for sample in quantize(x, source):
        interpreter = Interpreter(model_content=variant.content)
        interpreter.allocate_tensors()
        interpreter.set_tensor(source.index, sample[np.newaxis])
        interpreter.invoke()
        expected.append(interpreter.get_tensor(sink.index)[0])
    for order in (np.arange(40), np.arange(40)[::-1]):
        choice = runner.verified([x[order]], Choice(1, 2))
        results = runner._empty(40)
        runner.run([x[order]], results, choice)
        np.testing.assert_array_equal(results[0], np.stack(expected)[order])


def test_streams_give_what_arrays_give(tiny: Tiny, tiny_dataset: tuple[Any, Any]) -> None:
    x, y = tiny_dataset

    def batches() -> Iterator[tuple[Any, Any]]:
        for start in range(0, len(x), 50):
            yield x[start : start + 50], y[start : start + 50]

    whole = compare_accuracy(tiny["int8"], tiny["float32"], (x, y))
    for dataset in (batches, batches(), list(batches())):
        found = compare_accuracy(tiny["int8"], tiny["float32"], dataset)
        assert (found.drop, found.candidate, found.count) == (
            whole.drop,
            whole.candidate,
            whole.count,
        )
        assert found.fidelity is not None
        assert whole.fidelity is not None
        assert found.fidelity.cosine == pytest.approx(whole.fidelity.cosine)


def test_a_function_that_gives_other_samples_each_time_is_evaluated_on_the_same_ones(
    tiny: Tiny, tiny_dataset: tuple[Any, Any]
) -> None:
    x, y = tiny_dataset
    rng = np.random.default_rng(0)

    def shuffled() -> Iterator[tuple[Any, Any]]:
        order = rng.permutation(len(x))
        yield x[order], y[order]

    first = compare_accuracy(tiny["int8"], tiny["float32"], shuffled)
    second = compare_accuracy(tiny["int8"], tiny["float32"], shuffled)
    assert first.candidate == second.candidate == evaluate(tiny["int8"], (x, y)).value
    assert (first.lost, first.gained) == (second.lost, second.gained)


def test_float32_is_run_once_for_all_comparisons(
    fresh_pipeline: Pipeline, tiny: Tiny, tiny_dataset: tuple[Any, Any]
) -> None:
    x, y = tiny_dataset
    for dataset in ((x, y), lambda: iter([(x, y)])):
        fresh_pipeline.engine._outputs.clear()
        for form in ("int8", "int16x8"):
            compare_accuracy(tiny[form], tiny["float32"], dataset)
        assert len(fresh_pipeline.engine._outputs) == 3


def test_samples_that_are_alike_are_told_apart(
    fresh_pipeline: Pipeline, tiny: Tiny, tiny_dataset: tuple[Any, Any]
) -> None:
    """A few samples tell most datasets apart; those that they don't are read whole."""
    x, y = tiny_dataset
    other = x.copy()
    picked = np.unique(np.linspace(0, len(x) - 1, 64).astype(int))
    other[np.setdiff1d(np.arange(len(x)), picked)] = 0
    values = [evaluate(tiny["int8"], (given, y)).value for given in (x, other, x, other)]
    assert values[:2] == values[2:]
    assert values[0] > 0.9
    assert values[1] < 0.5
    assert len(fresh_pipeline.engine._outputs) == 2
    again = Pipeline(fresh_pipeline.cache.root, timeout=120)
    fresh_pipeline.engine = again.engine
    assert [evaluate(tiny["int8"], (given, y)).value for given in (x, other)] == values[:2]
    assert again._interpreter.starts == 0


def test_an_error_leaves_the_process_in_order(
    fresh_pipeline: Pipeline, tiny: Tiny, tiny_dataset: tuple[Any, Any]
) -> None:
    x, y = tiny_dataset
    with pytest.raises(DatasetError, match="labels range"):
        evaluate(tiny["int8"], (np.tile(x, (100, 1, 1, 1)), np.tile(y, 100) + 3))
    nan = x.copy()
    nan[300] = np.nan
    with pytest.raises(DatasetError, match="edge_dataset: the input 'image' has NaN values in 1"):
        evaluate(tiny["int8"], [(x, y), (nan, y)])
    with pytest.raises(MetricError, match="boom"):
        evaluate(tiny["int8"], (x, y), metric=lambda t, p: 1 / int("boom"))
    assert evaluate(tiny["int8"], (x, y)).value > 0.9
    assert fresh_pipeline._interpreter.starts == 1


@pytest.mark.parametrize("form", ["int8", "uint8_io", "int16x8"])
@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.float64])
def test_samples_of_any_type_are_real_values(form: str, kind: Any, tiny: Tiny) -> None:
    """Also those of the type that the model stores them as."""
    x = np.random.default_rng(0).integers(0, 2, (50, 8, 8, 1)).astype(kind)
    evaluate(tiny[form], (x, np.arange(50)), metric=seen, runtime="litert")
    found = seen.given[1]  # type: ignore[attr-defined]
    assert found.tobytes() == one_by_one(tiny[form], x.astype(np.float32)).tobytes()


def test_preprocessing_is_part_of_what_is_evaluated(
    tiny: Tiny, tiny_dataset: tuple[Any, Any]
) -> None:
    x, y = tiny_dataset
    raw = np.rint(x * 16).astype(np.uint8)
    value = evaluate(tiny["int8"], (x, y)).value
    assert evaluate(tiny["int8"], (raw, y), preprocess=lambda r: r / 16).value == value
    assert evaluate(tiny["int8"], (raw, y), preprocess=lambda r: r * 0).value < 0.2


# -- runtimes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["int8", "uint8_io", "int16x8", "float32"])
def test_reference_kernels(form: str, tiny: Tiny, tiny_dataset: tuple[Any, Any]) -> None:
    found = evaluate(tiny[form], tiny_dataset, runtime="litert-reference")
    assert found.value > 0.95
    assert found.provenance == "measured (LiteRT's reference kernels on this host)"


@needs_tflm
def test_microcontrollers_are_judged_on_their_own_kernels(
    tiny: Tiny, tiny_dataset: tuple[Any, Any]
) -> None:
    by_default = evaluate(tiny["int8"], tiny_dataset, target="nano33ble")
    asked = evaluate(tiny["int8"], tiny_dataset, runtime="tflm")
    assert by_default.runtime == "tflm"
    assert by_default.provenance == "measured (TFLM's interpreter on this host)"
    np.testing.assert_array_equal(by_default.outcomes, asked.outcomes)
    assert evaluate(tiny["int8"], tiny_dataset, target="rpi4").runtime == "litert"
    assert evaluate(tiny["float32"], tiny_dataset, target="nano33ble").runtime == "litert"
    comparison = compare_accuracy(tiny["int8"], tiny["float32"], tiny_dataset, target="nano33ble")
    assert comparison.runtime == "tflm"


@needs_tflm
def test_tflm_gives_what_its_interpreter_gives(tiny: Tiny, tiny_dataset: tuple[Any, Any]) -> None:
    from tflite_micro import runtime

    variant = load_variant(tiny["int8"])
    interpreter = runtime.Interpreter.from_bytes(variant.content, arena_size=1 << 20)
    expected = []
    for sample in quantize(tiny_dataset[0][:50], variant.inputs[0]):
        interpreter.set_input(sample[np.newaxis], 0)
        interpreter.invoke()
        expected.append(interpreter.get_output(0)[0])
    part = tuple(array[:50] for array in tiny_dataset)
    evaluate(variant, part, metric=seen, runtime="tflm")
    found = seen.given[1]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(found, dequantize(np.stack(expected), variant.outputs[0]))


@needs_tflm
def test_beyond_the_limit_a_stratified_part_is_evaluated(
    pipeline: Pipeline, tiny: Tiny, tiny_dataset: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = tiny_dataset
    monkeypatch.setattr(pipeline, "tflm_macs", 1)
    for dataset in ((x, y), lambda: iter([(x, y)])):
        found = compare_accuracy(tiny["int8"], tiny["float32"], dataset, target="nano33ble")
        assert found.count == 100
        assert "100 of 397 samples, a stratified part" in found.provenance
    drawn = evaluate(tiny["int8"], iter([(x, y)]), runtime="tflm")
    assert (drawn.count, "drawn at random" in drawn.provenance) == (100, True)


def test_a_stratified_part_has_every_class_by_its_share() -> None:
    y = np.repeat([0, 1, 2], [600, 300, 100])
    part = stratified_part(y, np.arange(1000), 100)
    assert np.bincount(y[part]).tolist() == [60, 30, 10]
    np.testing.assert_array_equal(part, stratified_part(y, np.arange(1000), 100))
    few = stratified_part(y, np.arange(500, 1000), 50)
    assert np.bincount(y[few]).tolist() == [10, 30, 10]


@needs_tflm
def test_what_litert_refuses_is_evaluated_on_tflm(reference: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (4, 96, 96, 1)).astype(np.float32)
    path = reference / "models" / "tflm_person_detect_int8.tflite"
    found = evaluate(path, (x, [0, 1, 0, 1]))
    assert (found.runtime, found.count) == ("tflm", 4)


def test_runtimes_that_are_not_there(
    tiny: Tiny, tiny_dataset: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownNameError, match="litert-reference"):
        evaluate(tiny["int8"], tiny_dataset, runtime="litert_ref")
    monkeypatch.setattr(runtimes, "versions", lambda packages: {})
    with pytest.raises(MeasurementUnavailable, match="wheel is not installed"):
        evaluate(tiny["int8"], tiny_dataset, runtime="tflm")
    assert evaluate(tiny["int8"], tiny_dataset, target="nano33ble").runtime == "litert"


@needs_tflm
@pytest.mark.parametrize("form", ["int8", "int8_float_io", "int16x8", "float32"])
def test_runtimes_agree_on_the_small_model(
    form: str, tiny: Tiny, tiny_dataset: tuple[Any, Any]
) -> None:
    found = assert_runtime_parity(tiny[form], tiny_dataset, max_steps=16, max_changed=0.01)
    assert found.count == 397
    assert 0 < found.max_steps <= 16
    equal = measure_runtime_parity(tiny[form], tiny_dataset, runtimes=("tflm", "tflm"))
    assert (equal.max_steps, equal.differing, equal.changed) == (0, 0, 0)


@needs_tflm
def test_runtimes_that_differ_too_much(tiny: Tiny, tiny_dataset: tuple[Any, Any]) -> None:
    with pytest.raises(RuntimesDiffer, match=r"differ by up to 4 steps .* allowed are 1 step\."):
        assert_runtime_parity(tiny["int8"], tiny_dataset, max_steps=1)
    for limits in ({"max_changed": 3}, {"max_steps": -1}, {"max_changed": None}):
        with pytest.raises(SettingsError):
            assert_runtime_parity(tiny["int8"], tiny_dataset, **limits)


def test_a_drop_can_be_judged_on_any_runtime(tiny: Tiny, tiny_dataset: tuple[Any, Any]) -> None:
    found = assert_max_accuracy_drop(
        tiny["int8"], tiny["float32"], tiny_dataset, 0.02, runtime="litert-reference"
    )
    assert found.runtime == "litert-reference"


# -- quantizing in batches ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16"])
def test_batches_are_quantized_as_single_values(kind: str) -> None:
    rng = np.random.default_rng(0)
    limits = np.iinfo(kind)
    for _ in range(50):
        scale = float(np.float32(10 ** rng.uniform(-5, 2)))
        point = int(rng.integers(limits.min, limits.max, endpoint=True))
        info = TensorInfo("x", (1, 1004), np.dtype(kind), Quantization((scale,), (point,)))
        half = (rng.integers(-70000, 70000, 500) + np.float32(0.5)) * np.float32(scale)
        special = [np.inf, -np.inf, 0.49999997 * scale, -0.0]
        x = np.concatenate([half, rng.normal(size=500) * scale * 200, special])
        x = x.astype(np.float32)[np.newaxis]
        quantizer = Quantizer(info, 4)
        # As they are; those that fit the type; those that need no sign, too.
        low, high = ((limits.min - point) * scale, (limits.max - point) * scale)
        for part in (x, x.clip(low, high), x.clip(max(low, 0), high), x[:0]):
            np.testing.assert_array_equal(quantizer(part), quantize(part, info))
