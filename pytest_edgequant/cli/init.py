"""`edgequant init`: a configuration that gates a repository's models, written once."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_edgequant.cli.screen import say
from pytest_edgequant.errors import DocumentError, EdgeAssertionError, EdgeQuantError, ModelError
from pytest_edgequant.settings import OWN_FILE

if TYPE_CHECKING:
    from pytest_edgequant.cli.files import Commands
    from pytest_edgequant.cli.found import Model, Repository
    from pytest_edgequant.pipeline.pipeline import Pipeline
    from pytest_edgequant.records import Target

EXAMPLES = """
examples:
  edgequant init
  edgequant init --target nano33ble,esp32s3
  edgequant init firmware/ && pytest firmware/edgequant.toml

It asks nothing and overwrites nothing: what is there already is kept, and said to be.
"""
_WORKFLOW = Path(".github/workflows/edge-gate.yml")
_FALLBACK = "nano33ble"
_ROOM = 1.1
"""A file may grow by a tenth before its size turns the gate red."""
_HEAD = """\
# What pytest gates without a test: each model's variants on each target. `pytest` collects this
# file by itself; `edgequant check` asks the same questions of a single file.

# Boards, by name; `edgequant targets` lists them.
"""
_BOARD = """
# A board of your own, to be named in target:
# [targets.our-board]
# base = "nano33ble"
# sram_for_arena = "64 KiB"
"""
_CONFTEST = '''\
"""Samples for the gates that {own} configures: name these functions there when they give data."""


def {prefix}dataset():
    """What models are evaluated on: (x, y), with x as the model takes it."""
    raise NotImplementedError("{file}: {prefix}dataset: return (x, y) of the test set")


def {prefix}calibration():
    """200 to 500 samples of validation data, of every class, as the model takes them."""
    raise NotImplementedError("{file}: {prefix}calibration: return samples of validation data")
'''
_JOB = """\
# Gates each pull request: the same as `pytest {own}` here.
name: Edge gate
on:
  push: {{ branches: [main] }}
  pull_request:
permissions: {{ contents: read }}
jobs:
  edge-gate:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
        with: {{ persist-credentials: false }}
      - uses: actions/setup-python@5fda3b95a4ea91299a34e894583c3862153e4b97 # v7.0.0
        with: {{ python-version: "3.12" }}
      - run: python -m pip install {install}
      - run: python -m pytest {own} --edge-report=edge-report.html --edge-report=edge-report.json
      - uses: actions/upload-artifact@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a # v7.0.1
        if: always()
        with: {{ name: edge-report, path: "edge-report.*" }}
"""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = commands.add_parser(
        "init",
        help="write a configuration that gates the models of a repository",
        description="Look at a repository (models, samples, tests, workflows) and write "
        f"{OWN_FILE}, a workflow, and a conftest.py where samples have to come from Python.",
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path(), metavar="FOLDER", help="(default: here)"
    )
    parser.add_argument(
        "--target",
        action="append",
        metavar="NAME",
        help="board(s) to gate on (default: the smallest usual one on which the models fit)",
    )
    return parser


def run(given: argparse.Namespace) -> int:
    """Write what is missing; gives the exit status."""
    from pytest_edgequant.cli.found import look_at
    from pytest_edgequant.cli.models import ENDINGS
    from pytest_edgequant.cli.project import working

    folder: Path = given.folder
    if not folder.is_dir():
        raise ModelError(f"there is no folder {str(folder)!r}; check the path")
    with working(folder / "pyproject.toml", interpreters=False, missing=True) as pipeline:
        configured = _configured(folder)
        repository = look_at(folder)
        if not repository.models:
            raise ModelError(
                f"the folder {str(folder.resolve())!r} holds no model: no file that ends in "
                f"{', '.join(ENDINGS)}, and no SavedModel. Train or copy one there first, or name "
                "another folder: edgequant init FOLDER"
            )
        if configured:
            say(f"kept {configured}: it configures models already")
        else:
            targets = _targets(given.target, repository, pipeline, folder)
            _write(folder, Path(OWN_FILE), _configuration(folder, repository, targets))
            if _needs_python(repository):
                name = _python_file(folder)
                text = _CONFTEST.format(own=OWN_FILE, file=name, prefix=_PREFIX)
                _write(folder, Path(name), text)
    if repository.workflow is not None:
        say(f"kept {repository.workflow.as_posix()}: it gates already")
    else:
        _write(folder, _WORKFLOW, _JOB.format(own=OWN_FILE, install=_install(repository)))
    _say_next(folder, repository, written=not configured)
    return 0


def _configured(folder: Path) -> str | None:
    """The file that configures models already, or that can't be written because it is there."""
    from pytest_edgequant.configuration import read_configuration

    found = read_configuration(folder / "pyproject.toml")
    file = found.files.get("models")
    if file is not None:
        return file.path.name
    return OWN_FILE if (folder / OWN_FILE).exists() else None


# -- targets ---------------------------------------------------------------------------------------


def _targets(
    names: Sequence[str] | None, repository: Repository, pipeline: Pipeline, folder: Path
) -> list[str]:
    """The boards to write: those given; none where the project names some; else one that fits."""
    from pytest_edgequant.configuration import read_configuration
    from pytest_edgequant.settings import split_names

    if names:
        given = split_names(names, "--target")
        return [target.name for name in given for target in pipeline.targets.expand(name)]
    section = read_configuration(folder / "pyproject.toml").section
    if {"target", "targets"} & section.keys():
        return []
    models = [folder / model.path for model in repository.models if model.is_tflite]
    return [_fitting(models, pipeline)]


def _fitting(models: Sequence[Path], pipeline: Pipeline) -> str:
    """The smallest usual board on which all .tflite fit, else the smallest of all, else a usual."""
    from pytest_edgequant.targets.loading import COMMON

    def size(target: Target) -> tuple[bool, int]:
        left = target.sram_for_arena
        return target.name not in COMMON, 0 if left is None else int(left.value)

    boards = [t for t in pipeline.targets if t.is_microcontroller and t.sram_for_arena]
    for board in sorted(boards, key=size) if models else ():
        if all(_fits(path, board) for path in models):
            return str(board.name)
    return _FALLBACK


def _fits(path: Path, board: Target) -> bool:
    from pytest_edgequant.gate.deployment import assert_deployable
    from pytest_edgequant.results.recording import unrecorded

    with unrecorded(), contextlib.suppress(EdgeAssertionError, EdgeQuantError):
        assert_deployable(str(path), board)
        return True
    return False


# -- what is written -------------------------------------------------------------------------------

_PREFIX = "edge_gate_"
"""Of the functions in conftest.py: names of fixtures are others."""


def _configuration(folder: Path, repository: Repository, targets: Sequence[str]) -> str:
    lines = [_HEAD.rstrip("\n")]
    if targets:
        lines.append(f"target = {json.dumps(list(targets))}")
    else:
        lines.append("# target: those that pyproject.toml names")
    for model in repository.models:
        lines += ["", *_table(folder, repository, model)]
    return "\n".join(lines) + "\n" + _BOARD


def _table(folder: Path, repository: Repository, model: Model) -> Iterator[str]:
    name = model.name if re.fullmatch(r"[\w-]+", model.name, re.ASCII) else json.dumps(model.name)
    yield f"[models.{name}]"
    yield f"model = {json.dumps(model.path.as_posix(), ensure_ascii=False)}"
    dataset = repository.dataset(model)
    calibration = repository.calibration(model, dataset)
    yield from _data(folder, repository, model)
    if model.is_tflite:
        yield f"# It is gated as it is{f' ({model.form})' if model.form else ''}."
    elif dataset or calibration:
        yield 'variants = ["int8"]  # also float32, int16x8, dynamic_range, ...'
    else:
        yield 'variants = ["float32"]  # "int8" as well, once there is calibration'
    yield ""
    yield f"[models.{name}.budgets]"
    drops = dataset is not None and (not model.is_tflite or model.form == "float32")
    if drops and not model.is_tflite:
        limit = '"2 pt"' if dataset is not None and dataset.classes else '"5% relative"'
        yield f"max_accuracy_drop = {limit}  # against the float model"
    if model.is_tflite:
        kib = int((folder / model.path).stat().st_size * _ROOM) // 1024 + 1
        yield f'size = "{kib} KiB"  # the file has {(folder / model.path).stat().st_size:,} B'
    else:
        yield '# size = "64 KiB"'
    yield 'arena = "target"  # what the target leaves; also "24 KiB", "80%"'
    yield '# latency = { max = "50 ms", on = "nano33ble" }'
    yield '# int8 = { size = "32 KiB" }  # for one variant; for one target likewise'


def _data(folder: Path, repository: Repository, model: Model) -> Iterator[str]:
    """The keys of the samples that were found, and how others are given."""
    dataset = repository.dataset(model)
    calibration = repository.calibration(model, dataset)
    module = Path(_python_file(folder)).stem
    if dataset is not None:
        yield f"dataset = {json.dumps(dataset.path.as_posix(), ensure_ascii=False)}"
        if not dataset.classes:
            yield 'metric = "mae"  # the labels are no classes'
    elif model.is_tflite:
        yield '# dataset = "data/test.npz"  # x and y, or "module:function": for accuracy'
    else:
        yield f'# dataset = "{module}:{_PREFIX}dataset"  # (x, y), for accuracy'
    if model.is_tflite:
        return
    if calibration is not None:
        yield f"calibration = {json.dumps(calibration.path.as_posix(), ensure_ascii=False)}"
    elif dataset is not None:
        yield '# calibration = "module:function"  # without it: split off the dataset'
    else:
        yield f'# calibration = "{module}:{_PREFIX}calibration"  # representative samples'


def _needs_python(repository: Repository) -> bool:
    """Whether a model is converted, and nothing that was found says with what."""
    return any(
        not model.is_tflite
        and repository.dataset(model) is None
        and repository.calibration(model, None) is None
        for model in repository.models
    )


def _python_file(folder: Path) -> str:
    return "edge_data.py" if (folder / "conftest.py").exists() else "conftest.py"


def _install(repository: Repository) -> str:
    converts = any(not model.is_tflite for model in repository.models)
    package = "'pytest-edgequant[tensorflow]'" if converts else "pytest-edgequant"
    return f"-r requirements.txt {package}" if repository.requirements else package


def _write(folder: Path, path: Path, text: str) -> None:
    """Write a file that is not there; one that is there is kept."""
    whole = folder / path
    try:
        whole.parent.mkdir(parents=True, exist_ok=True)
        with whole.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        say(f"kept {path.as_posix()}: it is there already")
    except OSError as error:
        raise DocumentError(f"{path}: can't be written: {error.strerror}") from None
    else:
        say(f"wrote {path.as_posix()}")


def _say_next(folder: Path, repository: Repository, *, written: bool) -> None:
    say("\nNext:")
    for number, step in enumerate(_steps(folder, repository, written=written), 1):
        say(f"  {number}. {step}")


def _steps(folder: Path, repository: Repository, *, written: bool) -> Iterable[str]:
    here = "" if folder.resolve() == Path().resolve() else f"cd {folder} && "
    if any(not model.is_tflite for model in repository.models):
        yield "pip install 'pytest-edgequant[tensorflow]', which converts Keras models"
    tests = f" (with the tests in {repository.tests.as_posix()}/)" if repository.tests else ""
    yield f"{here}pytest{tests}, or the gates alone: {here}pytest {OWN_FILE}"
    if written:
        yield f"Set target and budgets in {OWN_FILE} to what your product allows"
    if written and _needs_python(repository):
        yield (
            "Let the functions in the Python file give your samples, name them in "
            f'{OWN_FILE}, and add "int8" to variants'
        )
    inside = _inside(folder)
    if inside is not None:
        yield (
            f"Move {_WORKFLOW.as_posix()} to the root of the repository, where GitHub reads it, "
            f'add to its job: defaults: {{ run: {{ working-directory: "{inside}" }} }}, and put '
            f"{inside}/ before the path of its upload"
        )
    yield "Commit what was written: the workflow gates pull requests from then on"


def _inside(folder: Path) -> str | None:
    """Where in a Git repository a folder lies; None for its root, or where there is none."""
    whole = folder.resolve()
    roots = [path for path in (whole, *whole.parents) if (path / ".git").exists()]
    return whole.relative_to(roots[0]).as_posix() if roots and roots[0] != whole else None
