"""A .tflite is read alike with either package's classes, and changed with one of them alone."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_edgequant.errors import MissingExtraError
from pytest_edgequant.tflite import schema
from pytest_edgequant.tflite.fingerprint import logical_fingerprint
from pytest_edgequant.tflite.graph import Graph, forget_graphs, read_graph

DATA = Path(__file__).parents[2] / "data"
FILES = sorted(DATA.glob("*.tflite"))


@pytest.fixture
def readers_only(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The classes of PyPI's `tflite`, which reads and has no objects."""
    classes = pytest.importorskip("tflite")
    _forget(monkeypatch)
    monkeypatch.setattr(schema, "_classes", lambda: classes)
    yield classes
    forget_graphs()
    logical_fingerprint.cache_clear()


def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next use of a class look for it."""
    forget_graphs()
    logical_fingerprint.cache_clear()
    ours = {"MissingExtraError"}
    for name in [n for n, v in vars(schema).items() if isinstance(v, type) and n not in ours]:
        monkeypatch.delitem(vars(schema), name)


def _told(graph: Graph) -> list[Any]:
    """All of a graph in plain data, of options those that are set: a newer schema has more."""

    def options(given: Mapping[str, Any]) -> dict[str, Any]:
        plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in given.items()}
        return {k: v for k, v in plain.items() if v is not None}

    operators = [
        (o.label, o.version, o.inputs, o.outputs, options(o.options)) for _, o in graph.operators()
    ]
    return [
        operators,
        [s.tensors for s in graph.subgraphs],
        graph.signature_inputs,
        graph.signature_outputs,
        graph.metadata,
    ]


def test_both_packages_read_the_same(readers_only: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [path.read_bytes() for path in FILES]
    without = [(_told(read_graph(c)), logical_fingerprint(c)) for c in contents]
    monkeypatch.undo()
    _forget(monkeypatch)
    assert without == [(_told(read_graph(c)), logical_fingerprint(c)) for c in contents]
    options = [options for told, _ in without for *_, options in told[0]]
    assert any(options)


def test_what_changes_a_file_says_which_package_it_needs(readers_only: Any) -> None:
    with pytest.raises(MissingExtraError, match=r"ModelT.*pip install ai-edge-litert"):
        schema.ModelT  # noqa: B018 - asking for it is the test


def test_without_either_package_the_error_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    _forget(monkeypatch)
    schema._classes.cache_clear()
    monkeypatch.setitem(sys.modules, "ai_edge_litert.schema_py_generated", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "tflite", None)
    with pytest.raises(MissingExtraError, match=r"ai-edge-litert, or pip install tflite"):
        schema.Model  # noqa: B018 - asking for it is the test
