"""What `edgequant init` finds in a repository: models, samples, tests, what runs there already."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_edgequant.cli.models import ENDINGS, distinct_names
from pytest_edgequant.errors import EdgeQuantError

_SKIPPED = frozenset(
    "build dist node_modules site-packages venv env __pycache__ third_party vendor".split()
)
_DEEPEST = 6
_MOST_MODELS = 20
_TFLITE = (".tflite", ".lite")
_OURS = re.compile(r"edgequant|edge-gate")


@dataclass(frozen=True)
class Model:
    """A model's file; `shape` is that of one sample, None where it isn't known here."""

    name: str
    path: Path
    shape: tuple[int | None, ...] | None = None
    form: str | None = None

    @property
    def is_tflite(self) -> bool:
        return self.path.suffix.lower() in _TFLITE


@dataclass(frozen=True)
class Samples:
    """A file of arrays: the shape of one sample, whether it has labels, and of which kind."""

    path: Path
    shape: tuple[int, ...]
    labelled: bool
    classes: bool

    def fits(self, model: Model) -> bool:
        """Whether the model takes such samples."""
        if model.shape is None or len(model.shape) != len(self.shape):
            return False
        return all(a in (None, b) for a, b in zip(model.shape, self.shape, strict=True))


@dataclass(frozen=True)
class Repository:
    """What there is in a folder, with paths relative to it."""

    models: Sequence[Model]
    samples: Sequence[Samples]
    tests: Path | None
    workflow: Path | None
    requirements: Path | None

    def dataset(self, model: Model) -> Samples | None:
        """The labelled samples that a model is most likely evaluated on."""
        found = [s for s in self.samples if s.labelled and s.fits(model)]
        return min(found, key=lambda s: _distance(s, model, ("test", "eval")), default=None)

    def calibration(self, model: Model, dataset: Samples | None) -> Samples | None:
        """Representative samples beside the dataset."""
        found = [s for s in self.samples if s.fits(model) and s != dataset]
        words = ("calib", "represent", "val")
        named = [s for s in found if any(word in s.path.stem.lower() for word in words)]
        return min(named, key=lambda s: _distance(s, model, words), default=None)


def _distance(samples: Samples, model: Model, words: Sequence[str]) -> tuple[bool, bool, str]:
    text = samples.path.as_posix().lower()
    return (
        model.path.stem.lower() not in text,
        not any(word in samples.path.stem.lower() for word in words),
        text,
    )


def look_at(folder: Path) -> Repository:
    """Look through a folder, without loading anything that could run."""
    files = list(_files(folder, folder, 0))
    paths = [p for p in files if p.suffix.lower() in ENDINGS or p.name == "saved_model.pb"]
    paths = [p.parent if p.name == "saved_model.pb" else p for p in paths][:_MOST_MODELS]
    names = distinct_names([folder / path for path in paths])
    named = [
        _model(folder, path, name if "/" not in name else path.with_suffix("").as_posix())
        for path, name in zip(paths, names, strict=True)
    ]
    samples = [_samples(folder, p) for p in files if p.suffix.lower() in (".npz", ".npy")]
    tests = [p for p in files if re.fullmatch(r"test_.*\.py|.*_test\.py", p.name)]
    return Repository(
        named,
        [found for found in samples if found is not None],
        tests[0].parent if tests else None,
        _workflow(folder),
        next((p for p in files if p.as_posix() == "requirements.txt"), None),
    )


def _files(root: Path, folder: Path, depth: int) -> Iterator[Path]:
    """The files of a folder by name, deeper ones last, relative to the root."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: (entry.is_dir(), entry.name))
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _SKIPPED:
            continue
        if entry.is_file():
            yield Path(entry.path).relative_to(root)
        elif entry.is_dir(follow_symlinks=False) and depth < _DEEPEST:
            yield from _files(root, Path(entry.path), depth + 1)


def _workflow(folder: Path) -> Path | None:
    """A workflow that gates already."""
    for path in sorted((folder / ".github" / "workflows").glob("*.y*ml")):
        if _OURS.search(path.read_text("utf-8", errors="replace")):
            return path.relative_to(folder)
    return None


def _model(folder: Path, path: Path, name: str) -> Model:
    clean = re.sub(r"[\[\]/\\:\s]+", "-", name).strip("-") or "model"
    whole = folder / path
    if whole.suffix.lower() in _TFLITE:
        return Model(clean, path, *_tflite(whole))
    return Model(clean, path, _keras_shape(whole) if whole.is_file() else None)


def _tflite(path: Path) -> tuple[tuple[int | None, ...] | None, str | None]:
    """The shape of one sample and the form; of a damaged file neither, which the gate says."""
    from pytest_edgequant.tflite.model import TFLiteModel

    try:
        model = TFLiteModel(path.read_bytes(), path.name)
        graph = model.graph.main
        shapes = [tuple(graph.tensors[i].shape[1:]) for i in graph.inputs]
        return (shapes[0] if len(shapes) == 1 else None), model.form
    except (OSError, EdgeQuantError):
        return None, None


def _keras_shape(path: Path) -> tuple[int | None, ...] | None:
    """The shape of one sample of a .keras file, as its configuration has it."""
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None
    shapes = list(_shapes(config))
    return tuple(shapes[0][1:]) if shapes else None


def _shapes(config: Any) -> Iterator[list[int | None]]:
    """The shapes of a Keras model's inputs with their batch, outermost first."""
    if isinstance(config, list):
        for part in config:
            yield from _shapes(part)
    elif isinstance(config, dict):
        for key in ("batch_shape", "batch_input_shape"):
            value = config.get(key)
            if isinstance(value, list) and all(isinstance(n, int | None) for n in value):
                yield value
        for part in config.values():
            yield from _shapes(part)


def _samples(folder: Path, path: Path) -> Samples | None:
    """A file of samples; None for one that holds something else."""
    from pytest_edgequant.samples.files import load_inputs, load_pair

    whole = folder / path
    try:
        x, y = load_pair(whole)
    except EdgeQuantError:
        try:
            x = load_inputs(whole)
        except EdgeQuantError:
            return None
        if not hasattr(x, "shape") or x.ndim < 2:
            return None
        return Samples(path, x.shape[1:], labelled=False, classes=False)
    if x.ndim < 2 or len(x) != len(y):
        return None
    return Samples(path, x.shape[1:], labelled=True, classes=y.dtype.kind in "iub" or y.ndim > 1)
