"""All rewrites of a .tflite have one shape, and leave what they don't change as it is."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from model_building import GraphBuilder, kept_in_variable, one_operator, tensor
from random_models import options

import pytest_edgequant.tflite
from pytest_edgequant.tflite.batching import BatchSamples
from pytest_edgequant.tflite.float_form import DropSimulatedQuantization
from pytest_edgequant.tflite.folding import FoldPixels, Tiles
from pytest_edgequant.tflite.graph import read_graph
from pytest_edgequant.tflite.io_types import ChangeIoType
from pytest_edgequant.tflite.offline_plan import PlanOffline
from pytest_edgequant.tflite.passthrough import MoveIntegers
from pytest_edgequant.tflite.restarting import RestartVariables
from pytest_edgequant.tflite.rewrite import Rewrite
from pytest_edgequant.tflite.state import QuantizeState
from pytest_edgequant.tflite.strip import Strip
from pytest_edgequant.tflite.time_major import PutSamplesOutermost

ROOM = pytest_edgequant.tflite
DATA = Path(__file__).parents[2] / "data"


def every() -> set[type[Rewrite]]:
    """All rewrites of the room, found in its files."""
    modules = [
        importlib.import_module(f"{ROOM.__name__}.{info.name}")
        for info in pkgutil.iter_modules(ROOM.__path__)
    ]
    return {
        found
        for module in modules
        for found in vars(module).values()
        if inspect.isclass(found) and issubclass(found, Rewrite) and found is not Rewrite
    }


# -- models that each of them changes --------------------------------------------------------------


def tiny(form: str) -> bytes:
    return (DATA / f"tiny_{form}.tflite").read_bytes()


@cache
def detour() -> bytes:
    """A RESHAPE in float between integers."""
    builder = GraphBuilder()
    x = builder.add("DEQUANTIZE", [builder.activation((1, 4), "INT8", "x")], (1, 4), "FLOAT32")
    shape = options("ReshapeOptions", newShape=[4, 1])
    moved = builder.add("RESHAPE", [x, builder.integers(4, 1)], (4, 1), "FLOAT32", shape)
    builder.add("QUANTIZE", [moved], (4, 1), "INT8")
    return builder.build()


@cache
def simulated() -> bytes:
    """Float arithmetic on what was rounded."""
    builder = GraphBuilder()
    stored = builder.add("QUANTIZE", [builder.activation((1, 4), "FLOAT32", "x")], (1, 4), "INT8")
    builder.add("ABS", [builder.add("DEQUANTIZE", [stored], (1, 4), "FLOAT32")], (1, 4), "FLOAT32")
    return builder.build()


@cache
def steps_outermost() -> bytes:
    """Steps (5, 1, 4) of a sample (1, 5, 4), unpacked and packed."""
    builder = GraphBuilder()

    def moved(given: int, *shape: int) -> int:
        chosen = options("ReshapeOptions", newShape=list(shape))
        return builder.add("RESHAPE", [given, builder.integers(*shape)], shape, "FLOAT32", chosen)

    steps = moved(builder.activation((1, 5, 4), "FLOAT32"), 5, 1, 4)
    chosen = options("UnpackOptions", num=5, axis=0)
    first = builder.add("UNPACK", [steps], [(1, 4)] * 5, "FLOAT32", chosen)
    chosen = options("PackOptions", valuesCount=5, axis=0)
    packed = builder.add("PACK", list(range(first, first + 5)), (5, 1, 4), "FLOAT32", chosen)
    moved(packed, 1, 5, 4)
    return builder.build()


@cache
def set_once() -> bytes:
    """A model whose second subgraph runs before its first inference."""
    builder = GraphBuilder()
    x = builder.activation((1, 4), "FLOAT32", "x")
    builder.add("CALL_ONCE", [], [], "FLOAT32", options("CallOnceOptions", initSubgraphIndex=1))
    builder.graph.tensors.pop()
    builder.graph.operators[-1].outputs = np.asarray([], np.int32)
    builder.add("ABS", [x], (1, 4), "FLOAT32")
    return builder.build(once())


def once() -> schema.SubGraphT:
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [tensor("c", [1, 4], "FLOAT32")], []
    graph.inputs = graph.outputs = np.asarray([], np.int32)
    return graph


def one_abs() -> bytes:
    x, y = (tensor(name, [1, 4], "FLOAT32") for name in "xy")
    return one_operator("ABS", [x], y)


CHANGES: Mapping[Rewrite, Callable[[], bytes]] = {
    BatchSamples(3): lambda: tiny("int8"),
    FoldPixels(Tiles(1, 512, 512)): lambda: tiny("int8"),
    ChangeIoType("int8", "uint8"): lambda: tiny("int8_float_io"),
    ChangeIoType("int8", "int8"): lambda: tiny("int8_float_io"),
    MoveIntegers(): detour,
    DropSimulatedQuantization(constants=False): simulated,
    PutSamplesOutermost(): steps_outermost,
    RestartVariables(): set_once,
    QuantizeState(): lambda: kept_in_variable(0.2),
    PlanOffline((0, 64)): one_abs,
    Strip(): lambda: tiny("int8"),
}
REFUSES: Mapping[Rewrite, Callable[[], bytes]] = {
    BatchSamples(3): lambda: kept_in_variable(0.1),
    FoldPixels(Tiles(1, 512, 512)): set_once,
    ChangeIoType("int8", "uint8"): lambda: tiny("float32"),
    QuantizeState(): lambda: kept_in_variable(0.2, 0.3),
    PlanOffline((0, 64, 128)): one_abs,
}
FILES = [*sorted(DATA.glob("*.tflite")), detour, simulated, steps_outermost, set_once]


def name_of(case: object) -> str:
    """The same in every process, as xdist needs it: no address of an object."""
    if isinstance(case, Rewrite):
        return type(case).__name__
    return str(getattr(case, "stem", "") or case.__name__)  # type: ignore[attr-defined]


rewrites = pytest.mark.parametrize("rewrite", CHANGES, ids=name_of)


# -- their shape -----------------------------------------------------------------------------------


def test_each_is_tried_here() -> None:
    assert every() == {type(rewrite) for rewrite in CHANGES}


def test_each_has_a_file_of_its_own() -> None:
    modules = [found.__module__ for found in every()]
    assert len(set(modules)) == len(modules)


def test_nothing_else_in_the_room_writes_a_file() -> None:
    """What packs a model without being a rewrite would have a shape of its own."""
    found = set()
    for info in pkgutil.iter_modules(ROOM.__path__):
        tree = ast.parse((Path(ROOM.__path__[0]) / f"{info.name}.py").read_text("utf-8"))
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        if any(alias.name == "pack" for node in imports for alias in node.names):
            found.add(info.name)
    assert found == {"rewrite"}


@pytest.mark.parametrize("kind", sorted(every(), key=name_of), ids=lambda kind: kind.__name__)
def test_each_is_a_value_that_lists_its_cases(kind: type[Rewrite]) -> None:
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "edit" in vars(kind)
    assert not {"apply", "__call__"} & vars(kind).keys()
    assert inspect.signature(kind.edit) == inspect.signature(Rewrite.edit)
    assert kind.needless
    assert not {"needless", "only_smaller"} & {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    lines = inspect.cleandoc(vars(kind)["__doc__"])
    cases = re.findall(r"^(\d+)\. \S", lines, re.MULTILINE)
    assert len(cases) > 1
    assert cases == [str(number) for number in range(1, len(cases) + 1)]


# -- what they give --------------------------------------------------------------------------------


@rewrites
def test_what_is_changed_can_be_read_and_gives_no_reason(rewrite: Rewrite) -> None:
    content = CHANGES[rewrite]()
    found = rewrite.apply(content)
    assert (found.changed, found.reason, found.refused) == (True, "", False)
    assert read_graph(found.content) != read_graph(content)
    assert rewrite.apply(content) == found


@rewrites
def test_what_was_changed_has_nothing_left_to_change(rewrite: Rewrite) -> None:
    found = rewrite.apply(CHANGES[rewrite]())
    if isinstance(rewrite, BatchSamples):
        return  # it can be enlarged as often as one likes
    again = rewrite.apply(found.content)
    assert (again.changed, again.reason) == (False, rewrite.needless)
    assert again.content is found.content


@rewrites
@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_what_is_not_changed_stays_as_it_is_and_says_why(
    rewrite: Rewrite, file: Path | Callable[[], bytes]
) -> None:
    content = file.read_bytes() if isinstance(file, Path) else file()
    found = rewrite.apply(content)
    assert found.changed != bool(found.reason)
    if found.changed:
        assert found.content != content
        assert not found.refused
    else:
        assert found.content is content
        assert found.refused == (found.reason != rewrite.needless)


@pytest.mark.parametrize("rewrite", REFUSES, ids=name_of)
def test_what_can_not_be_changed_is_refused(rewrite: Rewrite) -> None:
    content = REFUSES[rewrite]()
    found = rewrite.apply(content)
    assert found.refused
    assert not found.changed
    assert found.content is content
    assert found.reason != rewrite.needless


def test_one_sample_is_no_batch() -> None:
    content = one_abs()
    assert BatchSamples(1).apply(content).content is content
    assert BatchSamples(2).apply(content).changed
