from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_edgequant import (
    MissingExtraError,
    Variant,
    assert_deployable,
    assert_fully_integer,
    convert,
    evaluate,
)


def test_gates_a_tflite(edge_int8: Variant) -> None:
    assert_deployable(edge_int8)
    assert_fully_integer(edge_int8)


def test_evaluates(edge_int8: Variant, edge_dataset: Any) -> None:
    assert evaluate(edge_int8, edge_dataset).value > 0.9
    assert "tensorflow" not in sys.modules


def test_names_the_missing_extra(tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(MissingExtraError, match=r"pytest-edgequant\[tensorflow\]"):
        convert(tmp_path / "model.h5", "float32")
