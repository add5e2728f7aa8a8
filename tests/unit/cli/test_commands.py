"""`inspect`, `arena`, `targets`, `convert`, `compare`: what the public functions say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cmarkgfm
import numpy as np
import pytest

from pytest_edgequant import compare_models, estimate_latency, inspect_model, measure_arena
from pytest_edgequant.cli.main import COMMANDS, main
from pytest_edgequant.tflite.edit import pack, unpack
from pytest_edgequant.tflite.graph import read_graph
from pytest_edgequant.tflite.macs import model_macs

DATA = Path(__file__).parents[2] / "data"
ROOT = Path(__file__).parents[3]
INT8, FLOAT32, RESIDUAL = (
    DATA / f"{name}.tflite" for name in ("tiny_int8", "tiny_float32", "residual_int8")
)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Run:
    """Run a command in an empty folder; gives its status, what it printed, and its errors."""
    monkeypatch.chdir(tmp_path)

    def called(*arguments: object) -> tuple[int, str, str]:
        status = main([*map(str, arguments)])
        return status, *capsys.readouterr()

    return called


def _json(run: Run, *arguments: object) -> Any:
    status, out, err = run(*arguments, "--json")
    assert (status, err) == (0, "")
    return json.loads(out)


# -- inspect ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", [INT8, FLOAT32, RESIDUAL])
def test_layers_add_up_to_the_model(run: Run, file: Path) -> None:
    document = _json(run, "inspect", file, "--target", "nano33ble")
    graph, layers = read_graph(file.read_bytes()), document["layers"]
    assert [layer["operator"] for layer in layers] == [o.name for o in graph.main.operators]
    assert sum(layer["macs"] for layer in layers) == model_macs(graph) > 0
    constants = {i for o in graph.main.operators for i in o.inputs if i >= 0}
    stored = sum(graph.main.tensors[i].constant_bytes for i in constants)
    assert sum(layer["weight_bytes"] for layer in layers) == stored
    arena = measure_arena(file, "nano33ble")
    assert arena.peak is not None
    assert max(layer["arena_bytes"] for layer in layers) == arena.peak.bytes
    ends = [
        t.name for t in graph.main.tensors if t.index in (*graph.main.inputs, *graph.main.outputs)
    ]
    kept = [size for owner, size in arena.operators.items() if owner not in ends]
    assert [layer["persistent_bytes"] for layer in layers] == kept
    assert document["metrics"]["arena_bytes"]["value"] == arena.minimum_bytes
    estimate = estimate_latency(file, "nano33ble")
    times = [layer["latency_ms"] for layer in layers]
    assert times == [layer.latency_ms for layer in estimate.layers]


def test_a_table_with_shapes_types_and_quantization(run: Run) -> None:
    _, out, _ = run("inspect", INT8)
    graph = read_graph(INT8.read_bytes())
    rows = out.splitlines()[-len(graph.main.operators) :]
    for row, operator in zip(rows, graph.main.operators, strict=True):
        tensor = graph.main.tensors[operator.outputs[0]]
        assert operator.name in row
        assert f"{'x'.join(map(str, tensor.shape_signature or tensor.shape))} {tensor.type}" in row
        assert tensor.quantization is not None
        assert f"{tensor.quantization.scales[0]:.4g} * (q" in row
    assert "arena" not in out, "which takes a target"


def test_what_a_board_refuses_has_layers_and_no_costs(run: Run) -> None:
    found = inspect_model(DATA / "tiny_dynamic_range.tflite", "nano33ble")
    assert found.layers
    assert {layer.arena_bytes for layer in found.layers} == {None}
    assert {m.value for n, m in found.metrics.items() if n != "size_bytes"} == {None}


# -- arena -----------------------------------------------------------------------------------------


def test_the_arena_as_text_as_data_and_as_a_picture(run: Run, tmp_path: Path) -> None:
    arena = measure_arena(INT8, "esp32c3")
    status, out, _ = run("arena", INT8, "--target", "esp32c3", "--svg", "plan.svg")
    assert status == 0
    assert arena.explain() in out
    assert (tmp_path / "plan.svg").read_text().lstrip().startswith(("<?xml", "<svg"))
    document = _json(run, "arena", INT8, "--target", "esp32c3")
    assert document["minimum_bytes"] == arena.minimum_bytes
    assert [b["size"] for b in document["plan"]] == [b.size for b in arena.plan]
    assert [s["bytes"] for s in document["suggestions"]] == [s.bytes for s in arena.suggestions()]


# -- targets ---------------------------------------------------------------------------------------


def test_targets_by_pattern_and_by_what_they_leave(run: Run) -> None:
    Path("pyproject.toml").write_text(
        '[tool.edgequant.targets.zz]\nbase = "nano33ble"\nsram = "1 MiB"\n'
        'sram_for_arena = "1000 KiB"\n'
    )
    document = _json(run, "targets", "nano33*", "zz", "rpi4")
    names = [target["name"] for target in document["targets"]]
    assert sorted(names) == ["nano33ble", "nano33iot", "rpi4", "zz"]
    ble = next(t for t in document["targets"] if t["name"] == "nano33ble")
    assert ble["sram_for_arena"]["value"] < 256 * 1024
    assert ble["sram_for_arena"]["source"]
    large = _json(run, "targets", "--core", "Cortex-M4", "--min-arena", "900 KiB")["targets"]
    assert [target["name"] for target in large] == ["zz"]
    status, out, _ = run("targets", "--variant", "dynamic_range", "all")
    assert status == 0
    assert "rpi4" in out
    assert "nano33ble" not in out
    assert run("targets", "--core", "z80")[0] == 2


# -- convert ---------------------------------------------------------------------------------------


def test_convert_writes_a_file_of_that_form(run: Run, tmp_path: Path, fresh_pipeline: Any) -> None:
    status, out, _ = run("convert", INT8, "--variant", "int8", "-o", "deep/out.tflite")
    assert (status, out.splitlines()[0]) == (
        0,
        f"wrote deep/out.tflite: tiny_int8/int8, {INT8.stat().st_size:,} B",
    )
    assert (tmp_path / "deep/out.tflite").read_bytes() == INT8.read_bytes()
    status, _, err = run("convert", INT8, "--variant", "int16x8", "-o", "o.tflite")
    assert status == 2
    assert "the file is int8 already" in err
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object))
    status, _, err = run("convert", INT8, "--variant", "int8", "--calibration", "o.npy", "-o", "o")
    assert status == 2
    assert "arrays of Python objects are not read" in err


# -- compare ---------------------------------------------------------------------------------------


def _edited(edit: Callable[[Any], None], file: Path = INT8) -> bytes:
    model = unpack(file.read_bytes())
    edit(model)
    return pack(model)


def test_a_file_and_itself_differ_in_nothing(run: Run) -> None:
    document = _json(run, "compare", INT8, INT8, "--target", "nano33ble")
    assert (document["same"], document["changes"]) == (True, [])
    renamed = _edited(lambda m: [setattr(t, "name", b"x") for t in m.subgraphs[0].tensors])
    found = compare_models(INT8, renamed)
    assert (found.same, found.changes) == (True, ())


def test_a_layer_less_is_removed_with_what_it_cost(run: Run, tmp_path: Path) -> None:
    def without_last(model: Any) -> None:
        main = model.subgraphs[0]
        last = main.operators.pop()
        main.outputs = [last.inputs[0]]
        model.signatureDefs = []

    (tmp_path / "less.tflite").write_bytes(_edited(without_last))
    graph = read_graph(INT8.read_bytes())
    document = _json(run, "compare", INT8, "less.tflite", "--target", "nano33ble")
    (change,) = document["changes"]
    last = graph.main.operators[-1]
    assert (change["kind"], change["operator"]) == ("removed", last.name)
    assert (change["before"], change["after"]) == (last.index, None)
    before = inspect_model(INT8, "nano33ble").layers[-1]
    assert change["costs"]["latency_ms"] == -(before.latency_ms or 0)
    back = compare_models("less.tflite", INT8)
    assert [c.kind for c in back.changes] == ["added"]


def test_a_layer_of_other_options_or_types_is_changed(run: Run, tmp_path: Path) -> None:
    def strides(model: Any) -> None:
        conv = next(o for o in model.subgraphs[0].operators if hasattr(o.builtinOptions, "strideW"))
        conv.builtinOptions.fusedActivationFunction = 3

    found = compare_models(INT8, _edited(strides))
    assert [(c.kind, c.differs) for c in found.changes] == [
        ("changed", ("fusedActivationFunction 1 -> 3",))
    ]
    floats = compare_models(INT8, FLOAT32)
    assert {c.kind for c in floats.changes} <= {"changed", "added", "removed"}
    assert any("INT8 -> " in " ".join(c.differs) for c in floats.changes)


def test_other_scales_are_counted_and_other_weights_are_seen() -> None:
    def rescale(model: Any) -> None:
        tensor = model.subgraphs[0].tensors[model.subgraphs[0].operators[0].outputs[0]]
        tensor.quantization.scale = [2 * float(tensor.quantization.scale[0])]

    def reweigh(model: Any) -> None:
        weights = model.subgraphs[0].tensors[model.subgraphs[0].operators[0].inputs[1]]
        data = np.array(model.buffers[weights.buffer].data, np.uint8)
        data[0] ^= 1
        model.buffers[weights.buffer].data = data

    scaled = compare_models(INT8, _edited(rescale))
    assert (scaled.changes, scaled.same) == ((), False)
    assert scaled.requantized >= 1
    weighed = compare_models(INT8, _edited(reweigh))
    assert (weighed.changes, weighed.same, weighed.requantized) == ((), False, 0)


def test_markdown_is_a_table_whatever_layers_are_called(run: Run, tmp_path: Path) -> None:
    def nasty(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            tensor.name = b"a | b @team #1 <script>"
        model.subgraphs[0].operators[0].builtinOptions.fusedActivationFunction = 3

    (tmp_path / "n.tflite").write_bytes(_edited(nasty))
    status, out, _ = run("compare", INT8, "n.tflite", "--target", "nano33ble", "--markdown")
    html = cmarkgfm.github_flavored_markdown_to_html(out)
    assert status == 0
    assert html.count("<table>") == 2
    assert "<script>" not in html
    rows = [line for line in out.splitlines() if line.startswith("| changed")]
    assert [row.count(" | ") for row in rows] == [7]


def test_files_of_two_kinds_are_not_compared(run: Run, tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text("{}")
    assert run("compare", INT8, "b.json")[0] == 2
    assert run("compare", "b.json", "b.json", "--markdown")[0] == 2
    assert run("compare", INT8, "none.tflite")[2].startswith("edgequant: ")


# -- all of them -----------------------------------------------------------------------------------


def test_every_command_says_what_it_is_for(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    whole = capsys.readouterr().out
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        assert name in whole
        with pytest.raises(SystemExit) as stopped:
            main([name, "--help"])
        assert stopped.value.code == 0
        text = capsys.readouterr().out
        assert f"edgequant {name}" in text
        assert "examples:" in text
        assert name == "init" or "--json" in text


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    reading = subprocess.run(
        f'"{sys.executable}" -m pytest_edgequant.cli targets --json | head -n 1',
        shell=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (reading.stdout, reading.stderr) == ("{\n", "")


def test_names_are_printed_as_no_orders_and_in_any_encoding(tmp_path: Path) -> None:
    names = ["\x1b[31mred", "new\nline", "\u00fcml\u00e4ut"]
    for name in names:
        (tmp_path / f"{name}.tflite").write_bytes(INT8.read_bytes())
    found = subprocess.run(
        [sys.executable, "-m", "pytest_edgequant.cli", "check", str(tmp_path), "--target", "pico"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)},
    )
    titles = [line.split(b"/")[0] for line in found.stdout.splitlines() if b"/int8, " in line]
    assert (found.returncode, found.stderr) == (0, b"")
    assert sorted(titles) == [b"?[31mred", b"\\xfcml\\xe4ut", b"new?line"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_output_that_can_not_be_written_is_a_message() -> None:
    command = f'"{sys.executable}" -m pytest_edgequant.cli glossary'
    full = "edgequant: the output can't be written: No space left on device\n"
    for to, status, said in (("> /dev/full", 2, full), (">&-", 0, "")):
        found = subprocess.run(
            f"{command} {to}", shell=True, capture_output=True, text=True, cwd=ROOT
        )
        assert (found.returncode, found.stderr) == (status, said)
