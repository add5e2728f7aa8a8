"""The numbers that are written into a file, and what the report says of a training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_edgequant.conversion.qat.plan import make_plan
from pytest_edgequant.conversion.qat.rewrite import activation_parameters, symmetric_steps, write
from pytest_edgequant.conversion.qat.weights import constants_of
from pytest_edgequant.diagnose.advice import training_advice
from pytest_edgequant.errors import ConversionError
from pytest_edgequant.records import Metric, Result
from pytest_edgequant.report.training import training_lines
from pytest_edgequant.tflite.graph import read_graph
from pytest_edgequant.tflite.model import TFLiteModel

edges = st.floats(-1e4, 0, width=32), st.floats(0, 1e4, width=32)


@given(*edges)
def test_zero_is_exactly_representable(low: float, high: float) -> None:
    if high - low < 1e-6:
        return
    scale, point = activation_parameters(low, high)
    assert -128 <= point <= 127
    assert scale > 0
    least, greatest = (-128 - point) * scale, (127 - point) * scale
    assert least <= 0 <= greatest
    assert abs(least - low) <= scale
    assert abs(greatest - high) <= scale


@given(st.integers(1, 5), st.integers(1, 5), st.floats(1e-6, 1e6))
def test_weights_use_the_symmetric_range(rows: int, columns: int, size: float) -> None:
    values = np.random.default_rng(rows).normal(size=(rows, columns)).astype(np.float32) * size
    for axis in (None, 0, 1):
        steps = symmetric_steps(values.astype(np.float32), axis)
        shape = [-1 if a == axis else 1 for a in range(2)]
        stored = np.rint(values / steps.reshape(shape))
        assert np.abs(stored).max() == 127


def test_writing_what_was_read_gives_the_same_file(tiny: Mapping[str, Path]) -> None:
    """A template with its own weights and ranges is the file that the converter made."""
    template, floating = tiny["int8_float_io"].read_bytes(), tiny["float32"].read_bytes()
    plan = make_plan(TFLiteModel(template, "tiny"), TFLiteModel(floating, "tiny"))
    content = write(plan, [w.value for w in plan.weights], plan.ranges, {})
    before, after = read_graph(template), read_graph(content)
    assert [o.name for o in before.main.operators] == [o.name for o in after.main.operators]
    theirs, ours = constants_of(template), constants_of(content)
    for index, values in theirs.items():
        difference = np.abs(values.astype(np.int64) - ours[index].astype(np.int64))
        # A bias of the converter's is rounded with a scale of double precision.
        assert difference.max() <= (
            1 if values.dtype == np.int8 else 1 + np.abs(values).max() * 1e-4
        )
    for t, o in zip(before.main.tensors, after.main.tensors, strict=True):
        if t.quantization is not None:
            assert np.allclose(t.quantization.scales, o.quantization.scales, rtol=1e-4)
            assert t.quantization.zero_points == o.quantization.zero_points
    assert len(content) <= len(template) + 64


def test_a_float_model_of_another_graph_is_refused(tiny: Mapping[str, Path]) -> None:
    other = Path(__file__).parents[3] / "data" / "residual_int8.tflite"
    with pytest.raises(ConversionError, match="can't be found in the float model"):
        make_plan(TFLiteModel(other.read_bytes()), TFLiteModel(tiny["float32"].read_bytes()))


def result(variant: str, drop: float, size: int = 1000, target: str = "board") -> Result:
    metrics = {
        "accuracy": Metric(0.9, "fraction", "measured"),
        "accuracy_drop": Metric(drop, "fraction", "measured", drop - 0.01, drop + 0.01),
        "size_bytes": Metric(size, "bytes", "exact"),
        "arena_bytes": Metric(2048, "bytes", "computed"),
    }
    return Result("m", variant, target, metrics, [])


def test_the_report_puts_training_beside_calibration() -> None:
    (line,) = training_lines([result("int8", 0.08), result("qat_int8", 0.002, 1016)])
    assert "int8 loses +8.00 pt (+7.00 to +9.00)" in line
    assert "qat_int8 loses +0.20 pt" in line
    assert "size +16 B" in line
    assert "arena the same" in line
    assert "worth it: it gives back 7.8 points" in line
    assert not list(training_lines([result("int8", 0.08)]))
    assert not list(training_lines([result("qat_int8", 0.0), result("int8", 0.1, target="b")]))


@pytest.mark.parametrize(
    ("untrained", "trained", "message"),
    [
        (0.005, 0.0, "not needed"),
        (0.05, 0.06, "gave nothing back"),
        (0.05, 0.02, "gives back 3.0 points and leaves 2.0"),
        (0.05, 0.0, "worth it"),
    ],
)
def test_when_training_is_worth_it(untrained: float, trained: float, message: str) -> None:
    assert message in training_advice(untrained, trained)
