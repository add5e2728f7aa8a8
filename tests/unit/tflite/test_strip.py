"""Stripped files are smaller, compute the same, and keep what the runtime reads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_edgequant import measure_arena, optimize_arena, strip_model
from pytest_edgequant.cli.main import main
from pytest_edgequant.errors import ConversionError
from pytest_edgequant.measure import equality
from pytest_edgequant.tflite import schema
from pytest_edgequant.tflite.edit import pack, unpack
from pytest_edgequant.tflite.fingerprint import logical_fingerprint
from pytest_edgequant.tflite.graph import OFFLINE_PLAN, read_graph
from pytest_edgequant.tflite.strip import Strip
from pytest_edgequant.tflite.unread import unread_bytes

DATA = Path(__file__).parents[2] / "data"
ROOT = Path(__file__).parents[3]
FILES = sorted(DATA.glob("*.tflite"))
INT8, RESIDUAL = DATA / "tiny_int8.tflite", DATA / "residual_int8.tflite"


def _edited(edit: Callable[[Any], None], file: Path = INT8) -> bytes:
    model = unpack(file.read_bytes())
    edit(model)
    return pack(model)


def _data_offsets(content: bytes) -> list[int]:
    """Where the constants of a file begin."""
    model = schema.Model.GetRootAsModel(content, 0)
    buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
    return [b._tab.Vector(b._tab.Offset(4)) for b in buffers if b.DataLength()]


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_a_stripped_file_is_smaller_and_computes_the_same(file: Path) -> None:
    content = file.read_bytes()
    found = Strip().apply(content)
    assert found.changed
    graph, before = read_graph(found.content), read_graph(content)
    assert unread_bytes(graph) == 0 < unread_bytes(before) <= len(content) - len(found.content)
    assert logical_fingerprint(found.content) == logical_fingerprint(content)
    assert equality.litert(found.content) == equality.litert(content) != []
    assert [o.inputs for o in graph.main.operators] == [o.inputs for o in before.main.operators]
    offsets = _data_offsets(found.content)
    assert offsets
    assert {offset % 16 for offset in offsets} == {0}
    again = Strip().apply(found.content)
    assert (again.changed, again.content) == (False, found.content)


def test_minima_metadata_and_signatures_go_and_scales_stay() -> None:
    def fill(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            if tensor.quantization is not None:
                tensor.quantization.min = [-1.0] * 50
                tensor.quantization.max = [1.0] * 50
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.zeros(3000, np.uint8)
        model.buffers.append(buffer)
        entry.name, entry.buffer = b"TFLITE_METADATA", len(model.buffers) - 1
        model.metadata = [*(model.metadata or []), entry]

    found = unpack(Strip().apply(_edited(fill)).content)
    plain = Strip().apply(INT8.read_bytes()).content
    assert len(pack(found)) == len(plain)
    assert not found.metadata
    assert not found.signatureDefs
    scales = [
        None if t.quantization is None or t.quantization.scale is None else [*t.quantization.scale]
        for t in found.subgraphs[0].tensors
    ]
    original = unpack(INT8.read_bytes()).subgraphs[0].tensors
    assert scales == [
        None if t.quantization is None or t.quantization.scale is None else [*t.quantization.scale]
        for t in original
    ]


def test_a_plan_that_tflm_follows_stays_and_so_does_the_arena() -> None:
    planned = optimize_arena(RESIDUAL, "nano33ble")
    if OFFLINE_PLAN not in read_graph(planned).metadata:
        pytest.skip("no better plan was found")
    found = Strip().apply(planned).content
    assert read_graph(found).metadata == {OFFLINE_PLAN: read_graph(planned).metadata[OFFLINE_PLAN]}
    needs = {measure_arena(content, "nano33ble").minimum_bytes for content in (planned, found)}
    assert len(needs) == 1


def test_data_behind_the_flatbuffer_is_refused() -> None:
    def behind(model: Any) -> None:
        model.buffers[-1].offset, model.buffers[-1].size = 5000, 10

    content = _edited(behind)
    found = Strip().apply(content)
    assert (found.content, found.refused) == (content, True)
    assert "behind the flatbuffer" in found.reason


def test_the_proof_says_on_which_interpreters(fresh_pipeline: Any) -> None:
    pytest.importorskip("tflite_micro")
    content, proof = strip_model(RESIDUAL)
    assert proof == "outputs on LiteRT and TFLM are equal to the bit"
    assert len(content) < RESIDUAL.stat().st_size
    _, said = strip_model(DATA / "tiny_dynamic_range.tflite")
    assert said == ("outputs on LiteRT are equal to the bit; not compared: TFLM does not run it")
    assert strip_model(content) == (content, Strip.needless)


def test_a_file_with_other_outputs_is_never_given(
    fresh_pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(self: Strip, model: Any) -> bool:
        kept(self, model)
        main = model.subgraphs[0]
        weights = main.tensors[main.operators[0].inputs[1]]
        data = np.array(model.buffers[weights.buffer].data, np.uint8)
        model.buffers[weights.buffer].data = data[::-1]
        return True

    kept = Strip.edit
    monkeypatch.setattr(Strip, "edit", spoilt)
    with pytest.raises(ConversionError, match="gives other outputs than before"):
        strip_model(INT8)


def test_a_stripped_variant_is_judged_by_its_size_and_named_as_before(
    fresh_pipeline: Any,
) -> None:
    fresh_pipeline.strip = True
    from pytest_edgequant.api.convert import load_variant

    stripped = load_variant(INT8)
    assert stripped.size_bytes < INT8.stat().st_size
    assert stripped.path.read_bytes() == stripped.content
    fresh_pipeline.strip = False
    whole = load_variant(INT8)
    assert [t.name for t in stripped.tensors] == [t.name for t in whole.tensors]
    assert [i.name for i in stripped.inputs] == [i.name for i in whole.inputs]
    arena = measure_arena(stripped, "nano33ble")
    assert [b.name for b in arena.plan] == [b.name for b in measure_arena(whole, "nano33ble").plan]
    assert "stripped of what the device never reads" in " ".join(stripped.notes)
    x = np.zeros((2, *whole.inputs[0].shape[1:]), np.float32)
    np.testing.assert_array_equal(stripped.predict(x), whole.predict(x))


def test_the_command_writes_the_file_and_says_what_it_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["strip", str(INT8), "-o", "small.tflite"]) == 0
    size, before = (tmp_path / "small.tflite").stat().st_size, INT8.stat().st_size
    out = capsys.readouterr().out
    assert f"{size:,} B, {before - size:,} B" in out
    assert "equal to the bit" in out
    assert main(["check", str(INT8), "--target", "nano33ble", "--strip"]) == 0
    assert f"int8, {size:,} B" in capsys.readouterr().out
    assert main(["check", str(INT8), "--target", "nano33ble"]) == 0
    assert "`edgequant strip` takes them off" in capsys.readouterr().out
    assert main(["strip", "none.tflite", "-o", "o.tflite"]) == 2


def test_a_stripped_file_is_named_in_another_process(tmp_path: Path) -> None:
    """Whoever stripped it here: the cache has what it was made of; another cache has not."""
    model = unpack(INT8.read_bytes())
    code = next(c for c in model.operatorCodes if c.builtinCode == 3)
    code.builtinCode = code.deprecatedBuiltinCode = 92  # which TFLM refuses for int8
    (tmp_path / "odd.tflite").write_bytes(pack(model))

    def told(cache: str, *arguments: str) -> str:
        found = subprocess.run(
            [sys.executable, "-m", "pytest_edgequant.cli", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / cache)},
        )
        assert (found.returncode, found.stderr) == (int("check" in arguments), "")
        return next((line for line in found.stdout.splitlines() if "cannot run on" in line), "")

    told("one", "strip", "odd.tflite", "-o", "bare.tflite")
    check = ("check", "bare.tflite", "--target", "nano33ble")
    named = told("one", "check", "odd.tflite", "--target", "nano33ble")
    assert "SQUARE (operator 0, layer 'tiny_1/" in named
    assert told("one", *check) == named
    (tmp_path / "none").touch()
    for cache in ("two", "none"):
        assert "SQUARE (operator 0, INT8, INT32 -> INT8)" in told(cache, *check)
