"""What a target's runtime refuses, by the rules alone, against what TFLM itself says."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kernel_probe
import numpy as np
import pytest
from kernel_probe import PROBES, Probe, Slot
from model_building import one_operator, tensor

from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.measure.legality import RULES, findings, graph_refusals, warnings
from pytest_edgequant.measure.legality.tflm import _RANKS, kernels
from pytest_edgequant.records import Target
from pytest_edgequant.report.rules import rule_table
from pytest_edgequant.targets import Targets
from pytest_edgequant.tflite.graph import read_graph
from pytest_edgequant.toml import load_toml

ROOT = Path(__file__).parents[4]
TABLE = ROOT / "pytest_edgequant/measure/legality/tflm_kernels.toml"


def board(name: str = "nano33ble", **changes: Any) -> Target:
    return dataclasses.replace(Targets().get(name), **{"tflm": "2026-08-20", **changes})


CMSIS_NN, REFERENCE = board(), board(kernels="reference")


def rules_of(content: bytes, target: Target = CMSIS_NN) -> set[str]:
    return {finding.rule for finding in findings(read_graph(content), target)}


# -- the kernels' types and ranks -----------------------------------------------------------------


MANY_RANKS = {"SVDF", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"}
"""What is tried in so many ways that it takes long."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in MANY_RANKS else ())
        for name in sorted(PROBES)
    ],
)
def test_the_table_is_what_the_wheel_says(name: str, tflm: IsolatedProcess) -> None:
    entry = load_toml(TABLE.read_bytes(), TABLE.name)[name]
    assert entry["tensors"] == PROBES[name].signature
    assert entry["accepts"] == kernel_probe.accepted(tflm, name)
    assert entry.get("constant", []) == kernel_probe.constant(tflm, name)


def test_every_operator_with_data_is_in_the_table() -> None:
    from pytest_edgequant.targets.tflm_operators import TFLM_OPERATORS

    of_subgraphs = {"IF", "WHILE", "CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}
    assert TFLM_OPERATORS - of_subgraphs == set(kernels())


def at_rank(name: str, rank: int) -> Probe:
    """The operator on a tensor of that many dimensions, all but the last ones 1."""
    probe = PROBES[name]

    def extended(slot: Slot) -> Slot:
        missing = rank - len(next(s.shape for s in probe.inputs if s.role == "T"))
        if slot.role == "T":
            return dataclasses.replace(slot, shape=(*[1] * missing, *slot.shape))
        if name == "REVERSE_V2":
            return dataclasses.replace(slot, data=rank - 1)
        if slot.role == "C":
            return slot
        data = {
            "TRANSPOSE": list(range(rank))[::-1],
            "PAD": [[0, 0]] * (rank - 1) + [[1, 1]],
            "PADV2": [[0, 0]] * (rank - 1) + [[1, 1]],
            "BROADCAST_TO": [1] * (rank - 2) + [3, 4],
        }.get(name)
        if data is None:  # begin, size, end and strides of slices
            begin = 0 if slot.data == 0 else 1
            data = [begin] * (rank - 1) + [slot.data[-1] if isinstance(slot.data, list) else begin]
        return dataclasses.replace(slot, shape=(rank, *slot.shape[1:]), data=data)

    made = dataclasses.replace(
        probe,
        inputs=tuple(map(extended, probe.inputs)),
        outputs=tuple(map(extended, probe.outputs)),
    )
    if name == "TRANSPOSE":
        output = dataclasses.replace(made.outputs[0], shape=made.inputs[0].shape[::-1])
        made = dataclasses.replace(made, outputs=(output,))
    if name == "CONCATENATION":
        made = dataclasses.replace(made, options={"axis": rank - 1})
    return made


@pytest.mark.parametrize("name", sorted(_RANKS))
def test_the_wheel_takes_as_many_dimensions_as_the_rule(name: str, tflm: IsolatedProcess) -> None:
    types = {"T": "FLOAT32", "C": "FLOAT32", "I": "INT32"}
    for rank, fine in ((_RANKS[name], True), (_RANKS[name] + 1, False)):
        content = kernel_probe.build(name, at_rank(name, rank), types)
        assert (not kernel_probe.ask(tflm, content)) is fine
        assert ("dimensions" not in rules_of(content, REFERENCE)) is fine


def probe_model(name: str, **types: str) -> bytes:
    return kernel_probe.build(name, PROBES[name], types)


def test_a_type_is_told_with_the_layer_the_types_and_what_to_use() -> None:
    (said,) = graph_refusals(read_graph(probe_model("GATHER", T="INT16", I="INT32")), CMSIS_NN)
    assert said == (
        "TFLM has the operator, but not in these types [kernel_types]: GATHER (operator 0, layer "
        "'t2', INT16, INT32 -> INT16) takes data of type FLOAT32 or INT8, not INT16. Use int8, or "
        "replace GATHER"
    )
    (said,) = graph_refusals(read_graph(probe_model("GATHER", T="INT8", I="INT64")), CMSIS_NN)
    assert "takes indices of type INT32 here, not INT64. Use int32" in said
    (said,) = graph_refusals(
        read_graph(probe_model("CONV_2D", T="UINT8", W="UINT8", B="INT32")), CMSIS_NN
    )
    assert "Quantize to int8: uint8 is for inputs and outputs only (uint8_io)" in said


@pytest.mark.parametrize("kind", ["STRING", "COMPLEX64", "FLOAT64"])
def test_types_that_no_kernel_takes(kind: str) -> None:
    content = one_operator("ABS", [tensor("x", [1, 4], kind)], tensor("y", [1, 4], kind))
    assert rules_of(content) == {"unusable_types"}
    assert rules_of(content, board("rpi4")) == set()


# -- scales ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, scale, fine",
    [
        ("EQUAL", 0.99, True),
        ("EQUAL", 1.0, False),
        ("LESS", 7.0, False),
        ("SOFTMAX", 1.5e-8, True),
        ("SOFTMAX", 1.4e-8, False),
    ],
)
def test_scales_that_tflm_aborts_on(
    name: str, scale: float, fine: bool, tflm: IsolatedProcess
) -> None:
    types = {"T": "INT8", "A": "INT8", "O": "INT8"}
    content = kernel_probe.build(
        name, PROBES[name], types, {"INT8": (1 / 256, -128)}, {"INT8": (scale, 0)}
    )
    assert (not kernel_probe.ask(tflm, content)) is fine
    assert ("scale_ratio" not in rules_of(content)) is fine


@pytest.mark.parametrize("kind, shift", [("INT8", 20), ("INT16", 15)])
@pytest.mark.parametrize("name", ["ADD", "SUB"])
def test_a_sum_whose_scale_vanishes(
    name: str, kind: str, shift: int, tflm: IsolatedProcess
) -> None:
    for factor, fine in ((0.999, True), (1.001, False)):
        output = {kind: (0.5 * 2 / 2**shift / factor, 0)}
        content = kernel_probe.build(name, PROBES[name], {"T": kind}, output)
        assert (not kernel_probe.ask(tflm, content)) is fine
        assert ("scale_ratio" not in rules_of(content)) is fine


@pytest.mark.parametrize(
    "name, kind",
    [
        *[
            (name, kind)
            for name in ("AVERAGE_POOL_2D", "MAX_POOL_2D")
            for kind in ("INT8", "INT16")
        ],
        *[(name, "INT8") for name in ("CONCATENATION", "REDUCE_MAX", "REDUCE_MIN")],
    ],
)
def test_operators_that_keep_the_scale(name: str, kind: str, tflm: IsolatedProcess) -> None:
    for scale, fine in ((0.5, True), (0.25, False)):
        types = {"T": kind, "I": "INT32"}
        content = kernel_probe.build(name, PROBES[name], types, {kind: (scale, 0)})
        assert (not kernel_probe.ask(tflm, content)) is fine
        assert ("equal_scales" not in rules_of(content)) is fine


# -- builds ---------------------------------------------------------------------------------------


def dense(given: str, per_channel: bool = True) -> bytes:
    count = 3 if per_channel else 1
    scales: Mapping[str, Any] = {"scales": [0.5], "zero_points": [0]}
    weights = tensor("w", [3, 4], "INT8", scales=[0.5] * count, zero_points=[0] * count)
    return one_operator(
        "FULLY_CONNECTED",
        [tensor("x", [1, 4], given, **scales), weights],
        tensor("y", [1, 3], given, **scales),
        constants={1: np.ones((3, 4), np.int8)},
    )


def test_dense_layers_per_channel_by_kernel_library_and_age() -> None:
    assert rules_of(dense("INT8")) == rules_of(dense("INT16"), REFERENCE) == set()
    assert rules_of(dense("INT16")) == {"per_channel_dense"}
    for age in (None, "2024-07", "2021-04-30"):
        old = board(tflm=age)
        assert rules_of(dense("INT8"), old) == {"per_channel_dense_unknown"}
        assert rules_of(dense("INT8", per_channel=False), old) == set()
        (said,) = graph_refusals(read_graph(dense("INT8")), old)
        assert 'tflm = "2024-08" in the target' in said
        assert graph_refusals(read_graph(dense("INT8")), old, wrong_results=False) == []


def test_a_transposed_convolution_without_a_bias_hangs_on_cmsis_nn() -> None:
    probe = PROBES["TRANSPOSE_CONV"]
    bare = dataclasses.replace(probe, inputs=probe.inputs[:3])
    for kind, model, bad in (("INT16", bare, True), ("INT8", bare, False), ("INT16", probe, False)):
        content = kernel_probe.build(
            "TRANSPOSE_CONV", model, {"T": kind, "W": "INT8", "B": "INT64"}
        )
        assert ("transpose_conv_bias" in rules_of(content)) is bad
        assert rules_of(content, REFERENCE) == set()


def test_five_dimensions_on_cmsis_nn() -> None:
    content = kernel_probe.build("TRANSPOSE", at_rank("TRANSPOSE", 5), {"T": "INT8", "I": "INT32"})
    assert rules_of(content) == {"cmsis_dimensions"}
    assert rules_of(content, REFERENCE) == set()


# -- custom operators, shapes, FPU, accelerators ---------------------------------------------------


def custom(code: str) -> bytes:
    x, y = (tensor(n, [1, 4], "INT8", scales=[0.5], zero_points=[0]) for n in "xy")
    return one_operator("CUSTOM", [x], y, custom_code=code)


def test_a_target_declares_the_custom_operators_of_its_firmware() -> None:
    assert rules_of(custom("Mine")) == {"custom_operators"}
    assert rules_of(custom("Mine"), board(custom_operators=("Mine",))) == set()
    (said,) = graph_refusals(read_graph(custom("Mine")), CMSIS_NN)
    assert 'custom_operators = ["Mine"]' in said


@pytest.mark.parametrize(
    "code, accelerator, fine",
    [
        ("ethos-u", "ethos-u55-128", True),
        ("ethos-u", None, False),
        ("ethos-u", "edgetpu", False),
        ("edgetpu-custom-op", "edgetpu", True),
        ("edgetpu-custom-op", "ethos-u55-128", False),
    ],
)
def test_a_compiled_model_runs_on_its_accelerator_alone(
    code: str, accelerator: str | None, fine: bool
) -> None:
    assert (rules_of(custom(code), board(accelerator=accelerator)) == set()) is fine


def test_what_stays_on_the_cpu_beside_an_accelerator_is_a_warning() -> None:
    content = probe_model("LEAKY_RELU", T="INT8")
    edge_tpu, ethos = board("rpi4", accelerator="edgetpu"), board(accelerator="ethos-u55-128")
    assert graph_refusals(read_graph(content), edge_tpu) == []
    assert "LEAKY_RELU (operator 0" in warnings(read_graph(content), edge_tpu)[0]
    assert warnings(read_graph(content), ethos) == []
    content = probe_model("ARG_MAX", T="INT8", I="INT32", O="INT32")
    assert "is no operator of the NPU" in warnings(read_graph(content), ethos)[0]


def test_what_is_not_8_bit_does_not_run_on_the_edge_tpu() -> None:
    micro, usb = board("coral-dev-board-micro"), board("coral-usb")
    for kind, form in (("INT16", "int16x8"), ("FLOAT32", "float32")):
        graph = read_graph(probe_model("RELU", T=kind))
        assert warnings(graph, micro)[0].endswith(f"the model is {form}. Use int8 or uint8_io")
        assert graph_refusals(graph, micro) == []
        assert graph_refusals(graph, usb) == [usb.refused[form]]
    graph = read_graph(probe_model("RELU", T="INT8"))
    assert graph_refusals(graph, usb) == warnings(graph, usb) == warnings(graph, micro) == []


def test_float_without_an_fpu_is_allowed_and_warned_of() -> None:
    pico, content = board("pico"), probe_model("RELU", T="FLOAT32")
    assert not pico.has_fpu
    assert CMSIS_NN.has_fpu
    assert graph_refusals(read_graph(content), pico) == []
    assert warnings(read_graph(content), pico)[0].endswith("1 operator computes in float. Use int8")
    assert warnings(read_graph(content), CMSIS_NN) == []
    assert warnings(read_graph(probe_model("RELU", T="INT8")), pico) == []


def test_a_dimension_that_is_not_known_is_refused_the_batch_is_not() -> None:
    def model(*signature: int) -> bytes:
        x, y = (tensor(n, [1, 1, 4], "FLOAT32") for n in "xy")
        x.shapeSignature = list(signature)
        return one_operator("RELU", [x], y)

    assert rules_of(model(-1, 1, 4)) == set()
    assert rules_of(model(1, -1, 4)) == {"dynamic_shapes"}
    assert rules_of(model(1, -1, 4), board("rpi4")) == set()


# -- oracles --------------------------------------------------------------------------------------


def test_the_rules_agree_with_every_cortex_m_build(reference: Path) -> None:
    wrong, refused = [], 0
    with open(reference / "arena_cortex_m.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        path = reference / "models" / row["file"]
        if not path.exists():
            continue
        target = REFERENCE if row["build"] == "cm4-ref" else CMSIS_NN
        said = graph_refusals(read_graph(path.read_bytes(), path.name), target)
        refused += bool(said)
        if bool(said) != (row["status"] != "ok"):
            wrong.append((path.name, row["build"], row["status"], row["error"], said))
    assert not wrong
    assert refused > 20


def test_the_rules_agree_with_the_wheel_on_every_model(
    reference: Path, tflm: IsolatedProcess
) -> None:
    wrong = []
    paths = [*(reference / "models").glob("*.tflite"), *(ROOT / "tests/data").glob("*.tflite")]
    for path in sorted(paths):
        content = path.read_bytes()
        ours = graph_refusals(read_graph(content, path.name), REFERENCE, wrong_results=False)
        theirs = kernel_probe.ask(tflm, content)
        if bool(ours) != bool(theirs):
            wrong.append((path.name, theirs, ours))
    assert not wrong
    assert len(paths) > 100


# -- documentation --------------------------------------------------------------------------------


def test_the_readme_has_the_table_of_rules() -> None:
    assert "\n".join(rule_table()) in (ROOT / "README.md").read_text()


def test_every_rule_has_a_sentence_of_its_own() -> None:
    assert len({rule.summary for rule in RULES}) == len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.summary and not rule.summary.endswith(".") for rule in RULES)


def test_rules_look_at_nothing_else_in_a_target() -> None:
    """Boards that are alike share an answer: a rule that looked at more would be told wrongly."""
    from pytest_edgequant.measure.legality import TRAITS

    class Watched:
        def __init__(self, target: Target) -> None:
            self.target = target
            self.asked: set[str] = set()

        def __getattr__(self, name: str) -> Any:
            self.asked.add(name)
            return getattr(self.target, name)

    contents = [probe_model("RELU", T="FLOAT32"), dense("INT16"), custom("Mine"), custom("ethos-u")]
    for name in ("nano33ble", "pico", "rpi4", "coral-usb", "alif-e7-dk"):
        watched: Any = Watched(board(name))
        for rule in RULES:
            for content in contents:
                rule.findings(read_graph(content), watched)
        assert watched.asked <= {*TRAITS, "is_microcontroller"}
