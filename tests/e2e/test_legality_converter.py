"""The rules against TFLM on every operator and type that TensorFlow's converter produces."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from converter_operators import models, operators

from pytest_edgequant.errors import CannotRunError, IsolatedProcessError
from pytest_edgequant.isolation import IsolatedProcess
from pytest_edgequant.measure.arena import tflm_worker
from pytest_edgequant.measure.legality import graph_refusals
from pytest_edgequant.targets import Targets
from pytest_edgequant.tflite.graph import read_graph

pytest.importorskip("tensorflow", reason="the converter is TensorFlow's")


@pytest.fixture(scope="module")
def processes() -> Iterator[tuple[IsolatedProcess, IsolatedProcess]]:
    pytest.importorskip("tflite_micro", reason="there is a wheel for Linux x86-64 only")
    both = IsolatedProcess("converter", timeout=300), IsolatedProcess("TFLM", timeout=60)
    yield both
    for process in both:
        process.close()


@pytest.mark.slow
def test_the_rules_agree_with_tflm(processes: tuple[IsolatedProcess, IsolatedProcess]) -> None:
    converter, tflm = processes
    board = dataclasses.replace(Targets().get("nano33ble"), kernels="reference", tflm="2026-08-20")
    wrong, computed_wrongly, refused, asked = [], set(), 0, 0
    for name in operators():
        for label, content in converter.call(models, name).items():
            asked += 1
            graph = read_graph(content, label)
            ours = graph_refusals(graph, board, wrong_results=False)
            if not ours and graph_refusals(graph, board):
                computed_wrongly.add(label)
            try:
                tflm.call(tflm_worker.measure, content)
                theirs = ""
            except (CannotRunError, IsolatedProcessError) as error:
                theirs = str(error)
            refused += bool(theirs)
            if bool(ours) != bool(theirs):
                wrong.append((label, theirs, ours))
    assert not wrong
    # TFLM clamps the stored values; the converter gives the output the scale of 0 to 6.
    assert computed_wrongly == {"relu6-float32-int8", "relu6-float32-int16x8"}
    assert asked > 500
    assert refused > 100
