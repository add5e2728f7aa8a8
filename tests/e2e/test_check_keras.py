"""`edgequant check` of a Keras model: converted, judged on boards, and by its accuracy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_edgequant.cli.main import main

DATA = Path(__file__).parents[1] / "data"


def test_a_keras_model_is_converted_and_its_drop_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    samples = DATA / "tiny.npz"
    status = main(
        [
            *("check", str(DATA / "tiny.keras"), "--variant", "int8,dynamic_range"),
            *("--calibration", str(samples), "--dataset", str(samples), "--max-drop", "5 pt"),
            *("--target", "nano33ble", "--json"),
        ]
    )
    document = json.loads(capsys.readouterr().out)
    checks = {
        (r["variant"], v["check"]): v["verdict"] for r in document["results"] for v in r["verdicts"]
    }
    assert status == 1, "for dynamic_range, which TFLM refuses"
    assert checks["int8", "accuracy_drop"] == checks["int8", "arena"] == "pass"
    assert checks["dynamic_range", "accuracy_drop"] == "cannot_run"
    assert (
        main(["convert", str(DATA / "tiny.keras"), "--variant", "float32", "-o", "f.tflite"]) == 0
    )
    assert (tmp_path / "f.tflite").read_bytes()[4:8] == b"TFL3"
