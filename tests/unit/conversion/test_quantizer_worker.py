"""Which quantizer serves for a float .tflite: the one of today's name, else the one of before."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pytest_edgequant.conversion import quantizer_worker
from pytest_edgequant.conversion.calibration import read_calibration
from pytest_edgequant.errors import MissingExtraError
from pytest_edgequant.samples.inputs import InputSpec
from pytest_edgequant.tflite.graph import read_graph
from pytest_edgequant.tflite.model import TFLiteModel

DATA = Path(__file__).parents[2] / "data"
SPECS = (InputSpec("image", (None, 8, 8, 1), np.dtype(np.float32)),)


@pytest.fixture
def renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The library under the name of before alone, as an older installation has it."""
    pytest.importorskip("litert_quantizer", reason="extra `quantizer`")
    package = tmp_path / "ai_edge_quantizer"
    package.mkdir()
    for name in ("__init__", "qtyping", "recipe_manager", "quantizer"):
        source = "litert_quantizer" + ("" if name == "__init__" else f".{name}")
        (package / f"{name}.py").write_text(f"from {source} import *\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    only = {"no_such_quantizer": "none", "ai_edge_quantizer": "ai-edge-quantizer"}
    monkeypatch.setattr(quantizer_worker, "LIBRARIES", only)
    before = [name for name in sys.modules if name.startswith("ai_edge_quantizer")]
    for name in before:
        monkeypatch.delitem(sys.modules, name)
    yield "ai_edge_quantizer"
    for name in [name for name in sys.modules if name.startswith("ai_edge_quantizer")]:
        del sys.modules[name]


def quantized() -> bytes:
    x = np.load(DATA / "tiny.npz")["x_calibration"].astype(np.float32) / 16
    content = (DATA / "tiny_float32.tflite").read_bytes()
    found, _ = quantizer_worker.quantize(
        TFLiteModel(content, "tiny"), "int8", read_calibration(x), SPECS
    )
    return found


def test_an_installation_under_the_name_of_before_serves(renamed: str) -> None:
    assert quantizer_worker.library() == renamed
    assert any(t.type == "INT8" for t in read_graph(quantized(), "tiny").main.tensors)


def test_today_s_name_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantizer_worker, "find_spec", lambda name: object())
    assert quantizer_worker.library() == "litert_quantizer"


def test_without_either_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantizer_worker, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="quantizer"):
        quantized()
