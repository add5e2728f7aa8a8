"""What `docs/development.md` tells those who carry on: every path, name and room is there."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_edgequant.toml import load_toml

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pytest_edgequant"
TEXT = (ROOT / "docs" / "development.md").read_text("utf-8")
ROOMS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
_PATH = re.compile(
    r"(?:\.\./)?(?:pytest_edgequant|tests|benchmarks|docs|\.ci)/[\w./-]*|pyproject\.toml"
)


def paths() -> list[str]:
    links = [link.removeprefix("../") for link in re.findall(r"\]\(([^)#]+)\)", TEXT)]
    return sorted({*_PATH.findall(TEXT), *links})


def test_every_path_is_there() -> None:
    assert len(paths()) > 50
    assert [path for path in paths() if not (ROOT / path).exists()] == []


def named() -> Iterator[tuple[str, str]]:
    """(name, file) of what is said to stand in a file: `name` (`file`)."""
    text = " ".join(TEXT.split())
    yield from re.findall(r"`([A-Za-z_.]+)` \(`(pytest_edgequant/[\w./]+\.py)`\)", text)


def defined(path: Path) -> set[str]:
    """Names that a module defines: functions, classes, their methods, and plain names."""
    tree = ast.parse(path.read_text("utf-8"))
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            found.update(f"{node.name}.{method.name}" for method in methods)
    return found


def test_every_function_on_a_figures_way_is_where_it_is_said_to_be() -> None:
    found = list(named())
    assert len(found) > 10
    assert [(n, p) for n, p in found if n not in defined(ROOT / p)] == []


def test_every_table_that_is_to_be_extended_is_in_its_file() -> None:
    """`NAME` of `file`, and `file`: an entry of `NAME`."""
    text = " ".join(TEXT.split())
    found = [*re.findall(r"`([A-Z_]+)` of `(pytest_edgequant/[\w./]+\.py)`", text)]
    found += [
        (name, path)
        for path, name in re.findall(
            r"`(pytest_edgequant/[\w./]+\.py)`: an entry of `([A-Z_]+)`", text
        )
    ]
    assert len(found) >= 5
    for name, path in found:
        assert re.search(rf"^{name}\b", (ROOT / path).read_text("utf-8"), re.MULTILINE), path


def test_the_picture_shows_the_layers_of_the_contract() -> None:
    project = load_toml((ROOT / "pyproject.toml").read_bytes(), "pyproject.toml")
    (contract,) = (c for c in project["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    layers = [layer.split(" : ")[0].split(" | ") for layer in contract["layers"]]
    picture = TEXT[TEXT.index("flowchart TD") : TEXT.index("## I want to add")]
    arrows = {
        (above, below)
        for above, below in re.findall(r"^    (\w+)\[[^\]]*\] --> (\w+)", picture, re.MULTILINE)
    }
    expected = {
        (room, below)
        for above, lower in itertools.pairwise(layers)
        for room in above
        for below in lower
    }
    assert arrows == expected
    assert {room for layer in layers for room in layer} == {path.name for path in ROOMS}


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_every_room_says_what_it_is_for_and_what_it_may_import(room: Path) -> None:
    said = ast.get_docstring(ast.parse((room / "__init__.py").read_text("utf-8")))
    assert said
    sentences = re.split(r"(?<=\.)\s+(?=[A-Z])", said)
    assert len(sentences) >= 2
    assert "may import" in said


def test_every_folder_in_a_room_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("__init__.py")
        if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []


def test_unit_tests_stand_in_the_rooms_of_the_package() -> None:
    folders = {path.parent.relative_to(ROOT / "tests/unit") for path in
               (ROOT / "tests/unit").rglob("test_*.py")}  # fmt: skip
    assert [str(folder) for folder in folders if not (PACKAGE / folder).is_dir()] == []
