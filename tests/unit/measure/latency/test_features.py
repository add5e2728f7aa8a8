"""Terms of kernels: counted by hand where that is possible, and against executed instructions."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from latency_fit import fit, fit_instructions, fit_optimization
from latency_fit.data import (
    CountedOperator,
    as_variant,
    read_operators,
    read_times,
    shape_to_row,
)

from pytest_edgequant.errors import MeasurementUnavailable
from pytest_edgequant.measure.latency.costs import coefficients, instructions
from pytest_edgequant.measure.latency.features import BUILDS, build_of, inside, work_of
from pytest_edgequant.measure.latency.shapes import OperatorShape, operator_shape
from pytest_edgequant.tflite.graph import Operator, Subgraph, Tensor, read_graph

DATA = Path(__file__).parents[4] / "benchmarks" / "latency_data"


def convolution(
    size: int, kernel: int, stride: int, padding: int, out: int, dilation: int = 1
) -> OperatorShape:
    return OperatorShape(
        "CONV_2D",
        "INT8",
        "INT8",
        (1, size, size, 3),
        (8, kernel, kernel, 3),
        (1, out, out, 8),
        "INT8",
        (stride, stride),
        (dilation, dilation),
        (padding, padding),
    )


@given(
    size=st.integers(1, 12),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.integers(0, 4),
    out=st.integers(1, 12),
    dilation=st.integers(1, 3),
)
def test_positions_inside_the_input_are_those_that_a_loop_finds(
    size: int, kernel: int, stride: int, padding: int, out: int, dilation: int
) -> None:
    along = sum(
        0 <= position * stride - padding + tap * dilation < size
        for position, tap in itertools.product(range(out), range(kernel))
    )
    assert inside(convolution(size, kernel, stride, padding, out, dilation)) == along**2


@pytest.mark.parametrize(
    ("changes", "build", "path"),
    [
        ({}, "reference", "conv/INT8/loops"),
        ({}, "dsp", "conv/INT8/columns"),
        ({"type": "FLOAT32"}, "dsp", "conv/FLOAT32/loops"),
        ({"type": "INT16"}, "dsp", "conv/INT16/columns"),
        ({"weights": (8, 1, 1, 3), "padding": (0, 0)}, "dsp", "conv/INT8/pointwise"),
        ({"weights": (8, 1, 1, 3), "dilation": (2, 2)}, "dsp", "conv/INT8/columns"),
        ({"source": (1, 8, 8, 6)}, "dsp", "conv/INT8/grouped"),
        ({"operator": "DEPTHWISE_CONV_2D", "weights": (1, 3, 3, 3)}, "dsp", "depthwise/INT8/3x3"),
        ({"operator": "DEPTHWISE_CONV_2D", "weights": (1, 5, 5, 3)}, "dsp", "depthwise/INT8/lanes"),
        (
            {"operator": "DEPTHWISE_CONV_2D", "weights": (1, 3, 3, 12)},
            "dsp",
            "depthwise/INT8/multiplied",
        ),
        (
            {"operator": "DEPTHWISE_CONV_2D", "weights": (1, 3, 3, 6)},
            "mve",
            "depthwise/INT8/generic",
        ),
    ],
)
def test_an_operator_runs_on_the_path_of_its_type_and_shape(
    changes: dict[str, object], build: str, path: str
) -> None:
    shape = OperatorShape(**{**vars(convolution(8, 3, 1, 1, 8)), **changes})  # type: ignore[arg-type]
    assert work_of(shape, build).path == path


def test_multiplications_of_plain_loops_are_the_macs_inside_the_input() -> None:
    shape = convolution(8, 3, 1, 0, 6)
    assert work_of(shape, "reference").terms["macs"] == 6 * 6 * 3 * 3 * 3 * 8


def test_builds_of_targets() -> None:
    assert build_of("cortex-m4", "reference") == "reference"
    assert build_of("Cortex-M33", "cmsis-nn") == "dsp"
    assert build_of("cortex-m55", "cmsis-nn") == "mve"
    assert build_of("cortex-m0plus", "cmsis-nn") is None
    assert build_of("xtensa-lx6", "esp-nn") is None
    assert build_of("made-up", "cmsis-nn") is None


def test_an_operator_without_any_count_costs_nothing_known() -> None:
    shape = OperatorShape("MADE_UP", "INT8", "NONE", (1,), (), (1,), "INT8")
    assert instructions(shape, "dsp", coefficients()["instructions"]) is None


def test_what_stands_in_for_a_missing_path_is_named() -> None:
    shape = OperatorShape(
        "FULLY_CONNECTED", "INT16", "INT8", (1, 8), (4, 8), (1, 4), "INT16", per_axis=False
    )
    cost = instructions(shape, "dsp", coefficients()["instructions"])
    assert cost is not None
    assert cost.borrowed == "dense/INT8"
    assert cost.instructions > 0


def _operator(name: str, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> OperatorShape:
    tensors = tuple(
        Tensor(i, f"t{i}", shape, shape, "INT8", None, 0, False)
        for i, shape in enumerate([*inputs, output])
    )
    operator = Operator(
        0, name, "", 1, tuple(range(len(inputs))), (len(inputs),), {"filterWidth": 9999}
    )
    return operator_shape(Subgraph("", tensors, (operator,), (0,), (len(inputs),)), operator)


@pytest.mark.parametrize(
    ("name", "inputs", "output"),
    [
        ("CONV_2D", [(1, 8, 8), (4, 3, 3, 1)], (1, 8, 8, 4)),
        ("CONV_2D", [(1, 8, 8, 1), (4, 3)], (1, 8, 8, 4)),
        ("CONV_2D", [(1, 8, 8, 1), (4, 0, 3, 1)], (1, 8, 8, 4)),
        ("MAX_POOL_2D", [(1, 8, 8, 1)], (1, 8, 8, 1)),
        ("FULLY_CONNECTED", [(1, 8), (8,)], (1, 8)),
        ("FULLY_CONNECTED", [(1, 8), (4, 0)], (1, 8)),
        ("FULLY_CONNECTED", [(1, 8)], (1, 8)),
    ],
)
def test_shapes_that_are_not_an_operators_are_unavailable(
    name: str, inputs: list[tuple[int, ...]], output: tuple[int, ...]
) -> None:
    with pytest.raises(MeasurementUnavailable, match=rf"{name} \(operator 0\)"):
        _operator(name, inputs, output)


# -- against what was executed ------------------------------------------------------------------


@pytest.fixture(scope="module")
def layers() -> dict[str, list[CountedOperator]]:
    return read_operators(DATA / "operators.csv")


@pytest.mark.parametrize("build", BUILDS)
def test_instructions_of_whole_models(layers: dict[str, list[CountedOperator]], build: str) -> None:
    """With all of the data in the fit: half of the models within 2 %, nine of ten within 15 %."""
    table = coefficients()["instructions"]
    errors = []
    for operators in layers.values():
        if not all(build in operator.instructions for operator in operators):
            continue
        costs = [instructions(operator.shape, build, table) for operator in operators]
        truth = sum(operator.instructions[build] for operator in operators)
        estimate = sum(cost.instructions for cost in costs if cost is not None)
        errors.append(abs(estimate / truth - 1))
    assert len(errors) > 200
    assert statistics.median(errors) < 0.02
    assert statistics.quantiles(errors, n=10)[-1] < 0.15


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("conv/INT8/columns", 0.02),
        ("conv/INT8/pointwise", 0.02),
        ("depthwise/INT8/3x3", 0.02),
        ("dense/INT8", 0.02),
        ("conv/FLOAT32/loops", 0.01),
        ("conv/INT16/columns", 0.01),
    ],
)
def test_paths_predict_models_that_were_left_out(
    layers: dict[str, list[CountedOperator]], path: str, most: float
) -> None:
    operators = [o for model in layers.values() for o in model]
    errors = fit_instructions.instruction_errors(operators, "dsp")[path]
    assert statistics.median(map(abs, errors)) < most


def test_the_data_are_those_of_the_reference(
    layers: dict[str, list[CountedOperator]], reference: Path
) -> None:
    """The stored shapes are what the models' files hold."""
    checked = 0
    for name in ("mlperf_kws_int8.tflite", "mlperf_ic_int8.tflite", "edgemark_FC_6_int8.tflite"):
        graph = read_graph((reference / "models" / name).read_bytes(), name)
        for operator, stored in zip(graph.main.operators, layers[name], strict=True):
            assert shape_to_row(operator_shape(graph.main, operator)) == shape_to_row(stored.shape)
            checked += 1
    assert checked > 20


# -- the fit ----------------------------------------------------------------------------------


def test_relative_fit_recovers_costs_that_are_there() -> None:
    rows = [{"call": 1.0, "macs": float(n)} for n in (1, 10, 100, 1000)]
    found = fit_instructions.relative_fit(rows, [50 + 3 * row["macs"] for row in rows])
    assert found == pytest.approx({"call": 50, "macs": 3})


def test_no_cost_is_negative() -> None:
    rows = [{"call": 1.0, "macs": float(n)} for n in (1, 10, 100)]
    found = fit_instructions.relative_fit(rows, [1.0, 25.0, 290.0])
    assert all(cost > 0 for cost in found.values())


def test_the_spread_is_conformal_with_enough_models_and_students_with_few() -> None:
    scores = [i / 100 for i in range(1, 21)]
    assert fit.spread_of(scores) == 0.19  # the 19th of 20: ceil(21 * 0.9)
    few = fit.spread_of([0.1, 0.2, 0.3])
    assert few > 0.3


def test_the_package_holds_what_its_script_fits(
    layers: dict[str, list[CountedOperator]],
) -> None:
    """The coefficients that ship are those of the data in the repository, nothing by hand."""
    times = read_times(DATA / "latency.csv")
    operators = [o for model in layers.values() for o in model]
    table = fit_instructions.fit_instructions(operators)
    shipped = coefficients()
    assert set(shipped["instructions"]["dsp"]) == set(table["dsp"])
    for path, costs in table["dsp"].items():
        assert shipped["instructions"]["dsp"][path] == pytest.approx(costs, rel=1e-3)
    pairs = fit_optimization.pairs(times, layers, table)
    effects = fit_optimization.fit_optimization(pairs, fit.spread_of)
    for effect, known in zip(effects, shipped["optimization"], strict=True):
        assert effect["factors"] == pytest.approx(known["factors"], rel=1e-2)
        assert effect["spread"] == pytest.approx(known["spread"], abs=0.01)
        assert effect["models"] == known["models"]
    slower = fit_optimization.slower(effects, layers, table)
    devices = [device.document() for device in fit.fit_devices(times, layers, table, slower)]
    for ours, theirs in zip(devices, shipped["devices"], strict=True):
        assert ours["cycles"] == pytest.approx(theirs["cycles"], rel=1e-2)
        assert ours["spread"] == pytest.approx(theirs["spread"], abs=0.01)
        assert ours["models"] == theirs["models"]
    assert fit.measured_models(times) == shipped["measured_models"]


def test_the_goals_hold_on_models_left_out() -> None:
    """Cortex-M4 with CMSIS-NN: median error at most 12 %, nine of ten within 30 %, and the
    interval right nine times in ten."""
    device = next(
        d
        for d in coefficients()["devices"]
        if d["core"] == "cortex-m4" and d["kernels"] == "cmsis-nn" and not d["soft_float"]
    )
    check = device["left_out"]
    assert check["measurements"] >= 50
    assert check["median_error"] <= 0.12
    assert check["within_30_percent"] >= 0.9
    assert check["in_interval"] >= 0.9


def test_nothing_is_fitted_to_fewer_than_three_models() -> None:
    for device in coefficients()["devices"]:
        assert all(count >= 3 for count in device["models"].values())
    assert all(entry["models"] >= 3 for entry in coefficients()["power"])


def test_every_published_time_has_a_source_and_what_is_left_out_a_reason() -> None:
    for time in read_times(DATA / "latency.csv"):
        assert time.source
        assert time.fitted == "yes" or time.fitted.startswith("no: ")
        assert time.latency_us > 0


def test_float_inputs_and_outputs_add_their_two_operators(
    layers: dict[str, list[CountedOperator]],
) -> None:
    plain = layers["edgemark_CNN_1_int8.tflite"]
    wrapped = as_variant(plain, "int16x8_float_io")
    assert [wrapped[0].shape.operator, wrapped[-1].shape.operator] == ["QUANTIZE", "DEQUANTIZE"]
    assert wrapped[0].shape.output_type == "INT16"
    assert [o.shape.weights for o in wrapped[1:-1]] == [o.shape.weights for o in plain]
