"""Estimates, and measurements on this machine."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_building import one_operator, tensor

import pytest_edgequant as eq
from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.api.latency import boards_with_estimate, estimates_on
from pytest_edgequant.errors import (
    CannotRunError,
    EdgeQuantError,
    ModelError,
    SettingsError,
)
from pytest_edgequant.measure.latency import host
from pytest_edgequant.measure.latency.estimate import estimate
from pytest_edgequant.measure.latency.host import is_target, latency_metric, median_interval
from pytest_edgequant.pipeline.pipeline import Pipeline
from pytest_edgequant.records import Outcome
from pytest_edgequant.targets import Targets
from pytest_edgequant.tflite.graph import read_graph

DATA = Path(__file__).parents[3] / "data"
TARGETS = Targets()

pytestmark = pytest.mark.usefixtures("pipeline")


# -- estimates ----------------------------------------------------------------------------------


def test_an_estimate_is_a_metric_with_bounds_layers_and_energy(tiny: Mapping[str, Path]) -> None:
    found = eq.estimate_latency(tiny["int8"], "nucleo-l4r5zi")
    assert isinstance(found, eq.Metric)
    assert found.unit == "ms"
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < found.value < found.high
    assert found.provenance.startswith("estimated (cortex-m4 with CMSIS-NN, fitted to ")
    assert sum(layer.share for layer in found.layers) == pytest.approx(1)
    total = sum(layer.latency_ms for layer in found.layers) + found.overhead_ms
    assert total == pytest.approx(found.value)
    assert found.energy is not None
    assert found.energy.unit == "mJ"
    assert found.energy.value == pytest.approx(found.value * 0.04114, rel=1e-3)
    assert found.metric == eq.Metric(
        found.value, "ms", found.provenance, found.low, found.high, None
    )


def test_the_table_has_each_layer_with_its_shape_macs_and_share(tiny: Mapping[str, Path]) -> None:
    found = eq.estimate_latency(tiny["int8"], "nano33ble")
    text = found.explain()
    for layer in found.layers:
        assert f"{layer.macs:,}" in text
        assert f"{layer.share:.1%}" in text
    shortened = found.explain(most=1)
    assert f"{len(found.layers) - 1} more" in shortened


def test_a_faster_clock_makes_it_faster_and_nothing_else(tiny: Mapping[str, Path]) -> None:
    slow = dataclasses.replace(TARGETS.get("nucleo-l4r5zi"))
    assert slow.clock is not None
    clock = dataclasses.replace(slow.clock, value=2 * slow.clock.value)
    fast = dataclasses.replace(slow, clock=clock)
    first, second = (eq.estimate_latency(tiny["int8"], target) for target in (slow, fast))
    assert first.value is not None
    assert second.value == pytest.approx(first.value / 2)


def test_a_chip_that_was_not_measured_has_the_wider_interval(tiny: Mapping[str, Path]) -> None:
    measured = eq.estimate_latency(tiny["int8"], "nucleo-l4r5zi")
    other = eq.estimate_latency(tiny["int8"], "nucleo-f411re")
    assert measured.high is not None
    assert measured.value is not None
    assert other.high is not None
    assert other.value is not None
    assert other.high / other.value > measured.high / measured.value
    assert "itself not measured" in other.provenance
    assert "itself not measured" not in measured.provenance


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("pico2", "cortex-m33 with CMSIS-NN has been measured with 1 model"),
        ("esp32", "xtensa-lx6 with ESP-NN has been measured with 2 models"),
        ("esp32s3", "xtensa-lx7 with ESP-NN has been measured with 1 model"),
        ("nano33iot", "cortex-m0plus with CMSIS-NN has been measured with 0 models"),
        ("esp32c3", "riscv32 with ESP-NN has been measured with 0 models"),
        ("nucleo-h743zi", "depthwise-separable convolutional networks of 6 to 81.8 million MACs"),
        ("rpi4", "which is measured and not estimated"),
        ("host", "which is measured and not estimated"),
    ],
)
def test_what_nobody_has_checked_is_unavailable(
    tiny: Mapping[str, Path], target: str, reason: str
) -> None:
    found = eq.estimate_latency(tiny["int8"], target)
    assert found.value is None
    assert found.low is None
    assert found.high is None
    assert found.provenance == "unavailable"
    assert reason in (found.reason or "")
    assert found.energy is not None
    assert found.energy.value is None
    assert found.explain().startswith("latency is unavailable: ")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"clock": None}, "its clock is not known"),
        ({"core": "cortex-m99"}, "measured with 0 models"),
        ({"kernels": "esp-nn"}, "measured with 0 models"),
        ({"kernels": "reference"}, "measured with 0 models"),
    ],
)
def test_unknown_cores_kernels_and_clocks_are_unavailable(
    tiny: Mapping[str, Path], changes: dict[str, object], reason: str
) -> None:
    target = dataclasses.replace(TARGETS.get("nano33ble"), **changes)  # type: ignore[arg-type]
    assert reason in (eq.estimate_latency(tiny["int8"], target).reason or "")


def test_float_without_an_fpu_is_estimated_from_soft_float(tiny: Mapping[str, Path]) -> None:
    board = TARGETS.get("nucleo-l4r5zi")
    without = dataclasses.replace(board, isa="ARMv7E-M, no FPU, DSP")
    hard = eq.estimate_latency(tiny["float32"], board)
    soft = eq.estimate_latency(tiny["float32"], without)
    assert hard.value is not None
    assert soft.value is not None
    assert soft.value > 2 * hard.value


def test_float_is_dearer_than_int8(tiny: Mapping[str, Path]) -> None:
    quick, slow = (eq.estimate_latency(tiny[v], "nano33ble") for v in ("int8", "float32"))
    assert quick.value is not None
    assert slow.value is not None
    assert quick.value < slow.value


def test_an_operator_that_was_never_measured_makes_it_unavailable() -> None:
    content = one_operator("ELU", [tensor("a", (1, 4), "FLOAT32")], tensor("b", (1, 4), "FLOAT32"))
    found = eq.estimate_latency(content, "nano33ble")
    assert found.value is None
    assert "ELU (operator 0) on FLOAT32" in (found.reason or "")


def test_an_operator_with_another_ones_loop_says_whose_costs_it_has() -> None:
    content = one_operator(
        "FLOOR", [tensor("a", (1, 64), "FLOAT32")], tensor("b", (1, 64), "FLOAT32")
    )
    found = eq.estimate_latency(content, "nano33ble")
    assert found.value is not None
    assert found.layers[0].note == "as ceil/FLOAT32"


def test_an_operator_with_doubtful_costs_widens_the_interval(tiny: Mapping[str, Path]) -> None:
    content = one_operator(
        "FLOOR", [tensor("a", (1, 4096), "FLOAT32")], tensor("b", (1, 4096), "FLOAT32")
    )
    known, doubtful = (
        eq.estimate_latency(model, "nano33ble") for model in (tiny["float32"], content)
    )
    assert known.value is not None
    assert known.high is not None
    assert doubtful.value is not None
    assert doubtful.high is not None
    assert doubtful.high / doubtful.value > 1.2 * known.high / known.value


@pytest.mark.parametrize("variant", ["dynamic_range", "float16"])
def test_what_the_runtime_refuses_has_no_latency(tiny: Mapping[str, Path], variant: str) -> None:
    with pytest.raises(CannotRunError, match="cannot run on nano33ble"):
        eq.estimate_latency(tiny[variant], "nano33ble")


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\x1c\x00\x00\x00TFL3"])
def test_damaged_files_are_refused(content: bytes) -> None:
    with pytest.raises(ModelError):
        eq.estimate_latency(content, "nano33ble")


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=12))
def test_files_with_flipped_bytes_give_a_number_a_reason_or_an_error(
    flips: list[tuple[int, int]],
) -> None:
    content = bytearray((DATA / "tiny_int8.tflite").read_bytes())
    for position, value in flips:
        content[position % len(content)] = value
    try:
        found = estimate(read_graph(bytes(content)), TARGETS.get("nano33ble"), None)
    except EdgeQuantError:
        return
    assert found.value is not None
    assert found.value > 0


def test_without_a_target_there_is_nothing_to_estimate_for(tiny: Mapping[str, Path]) -> None:
    with pytest.raises(SettingsError, match="needs a target"):
        eq.estimate_latency(tiny["int8"])


def test_known_models_on_measured_boards_are_within_their_intervals(reference: Path) -> None:
    """Published times of MLPerf's and TFLM's models with today's kernels."""
    cases = [
        ("mlperf_kws_int8.tflite", "nucleo-l4r5zi", 110.601826),
        ("mlperf_kws_int8.tflite", "nano33ble", 224.553),
        ("tflm_person_detect_int8.tflite", "nano33ble", 655.145),
    ]
    for name, target, truth in cases:
        found = eq.estimate_latency(reference / "models" / name, target)
        assert found.low is not None
        assert found.high is not None
        assert found.low <= truth <= found.high
        assert found.value == pytest.approx(truth, rel=0.12)


def test_every_reference_model_has_an_estimate_or_a_reason(reference: Path) -> None:
    target = TARGETS.get("nucleo-l4r5zi")
    estimated = 0
    for path in sorted((reference / "models").glob("*.tflite")):
        try:
            found = eq.estimate_latency(path, target)
        except (CannotRunError, ModelError):
            continue
        if found.value is None:
            assert found.reason
        else:
            assert math.isfinite(found.value)
            assert found.value > 0
            estimated += 1
    assert estimated > 150


@pytest.mark.parametrize(
    "form, kind", [("int8", "int8"), ("float32", "float"), ("int16x8", "int16")]
)
def test_the_table_of_targets_says_which_have_an_estimate(
    form: str, kind: str, tiny: Mapping[str, Path]
) -> None:
    """What it says holds for a model, but where large convolutional networks alone are known."""
    variant = load_variant(tiny[form])
    said, had = set(), set()
    for target in TARGETS:
        if not target.is_microcontroller or target.accelerator:
            assert kind not in estimates_on(target)
            continue
        found = eq.estimate_latency(variant, target)
        had |= {target.name} if found.value is not None else set()
        if kind in estimates_on(target).split(", "):
            said.add(target.name)
            assert found.value is not None or "million MACs alone" in str(found.reason)
    assert had <= said
    assert {"nano33ble", "nucleo-l4r5zi"} <= had
    assert "pico" not in said
    few = boards_with_estimate(variant, 3)
    assert len(few) == 3
    assert set(few) <= had
    assert few[:2] == ["nano33ble", "nucleo-l4r5zi"]  # whose chips were measured themselves
    assert len(boards_with_estimate(variant, 100)) == len(had)


# -- on this machine ----------------------------------------------------------------------------


def test_the_same_model_takes_the_same_input_every_time(tiny: Mapping[str, Path]) -> None:
    from pytest_edgequant.measure.latency.runner import interleaved

    pairs = interleaved(tiny["int8"].read_bytes(), tiny["float32"].read_bytes(), 1, 6)
    assert len(pairs) == 6
    assert all(first > 0 and second > 0 for first, second in pairs)


def test_a_model_that_litert_refuses_says_so(pipeline: Pipeline) -> None:
    content = one_operator(
        "CUSTOM", [tensor("a", (1, 4), "FLOAT32")], tensor("b", (1, 4), "FLOAT32"), custom_code="X"
    )
    with pytest.raises(CannotRunError, match="LiteRT can't run the model with batch 1"):
        eq.measure_speedup(content, content)


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=300))
def test_the_interval_holds_the_median_and_lies_within_the_values(values: list[float]) -> None:
    center, low, high = median_interval(values)
    assert min(values) <= low <= center <= high <= max(values)
    assert center == statistics.median(values)


def test_the_interval_is_the_textbooks() -> None:
    """For n = 20 the 95 % interval of the median is from the 6th to the 15th value (Conover)."""
    assert median_interval([float(i) for i in range(1, 21)]) == (10.5, 6.0, 15.0)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        (b"Raspberry Pi 5 Model B Rev 1.0\x00", "rpi5"),
        (b"Raspberry Pi 4 Model B Rev 1.4\x00", "rpi4"),
        (b"Raspberry Pi 3 Model B Plus Rev 1.3\x00", "rpi3bplus"),
        (b"Raspberry Pi Zero 2 W Rev 1.0\x00", "rpi-zero-2w"),
        (b"NVIDIA Jetson Nano Developer Kit\x00", "jetson-nano"),
    ],
)
def test_a_board_is_known_by_its_device_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes, target: str
) -> None:
    path = tmp_path / "model"
    path.write_bytes(name)
    monkeypatch.setattr(host, "DEVICE_TREE", path)
    board = TARGETS.get(target)
    assert is_target(board)
    others = [t for t in TARGETS if t.name not in (target, "host")]
    assert not any(is_target(other) for other in others)
    metric = latency_metric([0.001] * 10, board, "a board")
    assert metric.provenance == "measured (on the target: a board)"
    metric = latency_metric([0.001] * 10, TARGETS.get("nano33ble"), "a board")
    assert metric.provenance == "measured (host, not target: a board)"


def test_elsewhere_this_machine_is_the_host_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "DEVICE_TREE", tmp_path / "none")
    assert [target.name for target in TARGETS if is_target(target)] == ["host"]


# -- Ethos-U --------------------------------------------------------------------------------------

NPU = dataclasses.replace(TARGETS.get("nucleo-l4r5zi"), accelerator="ethos-u55-128")


def test_an_ethos_u_is_what_vela_says(tiny: Mapping[str, Path]) -> None:
    pytest.importorskip("ethosu.vela")
    found = eq.estimate_latency(tiny["int8"], NPU)
    assert found.value is not None
    assert found.value > 0
    assert (found.low, found.high) == (None, None)
    assert found.provenance.startswith("estimated (Vela ")
    assert sum(layer.share for layer in found.layers) == pytest.approx(1)
    assert "ethos-u55-128" in found.explain()


def test_an_error_that_nobody_checked_proves_nothing(tiny: Mapping[str, Path]) -> None:
    pytest.importorskip("ethosu.vela")
    found = eq.estimate_latency(tiny["int8"], NPU)
    with pytest.raises(eq.Inconclusive, match="has not been checked") as caught:
        eq.assert_latency_within(found, "10 s")
    assert caught.value.verdict is not None
    assert caught.value.verdict.verdict is Outcome.INCONCLUSIVE
    with pytest.raises(eq.LatencyExceeded, match="is over the limit"):
        eq.assert_latency_within(found, "1 ns")


def test_what_vela_leaves_to_the_processor_is_unavailable(tiny: Mapping[str, Path]) -> None:
    pytest.importorskip("ethosu.vela")
    assert "to the processor" in (eq.estimate_latency(tiny["float32"], NPU).reason or "")


def test_without_vela_the_reason_names_the_extra(
    tiny: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_edgequant.measure.latency.vela.find_spec", lambda name: None)
    found = eq.estimate_latency(tiny["int8"], NPU)
    assert found.value is None
    assert "pip install 'pytest-edgequant[vela]'" in (found.reason or "")


def test_an_unchecked_estimate_shows_no_bounds() -> None:
    assert "5 ms, estimated" in eq.LatencyEstimate(5.0, "ms", "estimated (x)").explain()
