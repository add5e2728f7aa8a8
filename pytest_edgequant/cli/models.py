"""The models that a command line names: files, folders and patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pytest_edgequant.errors import ModelError

ENDINGS = (".tflite", ".lite", ".keras", ".h5", ".hdf5")


def find_models(given: Sequence[str]) -> list[Path]:
    """The models by path, each once and in the order given; those of a pattern by name.

    A folder is a SavedModel, or holds models. Raises `ModelError` where there is none.
    """
    found = [path for text in given for path in _named(text)]
    return list(dict.fromkeys(found))


def _named(text: str) -> list[Path]:
    if not text.strip():
        raise ModelError("the name of a model is empty; give a file, a folder or a pattern")
    path = Path(text)
    if path.exists() or not glob.has_magic(text):
        return _in_folder(path) if path.is_dir() else [_existing(path)]
    matches = sorted(Path(match) for match in glob.glob(_pattern(path), recursive=True))
    models = [path for path in matches if _is_model(path)]
    if not models:
        said = f"matches {len(matches)} files, none of them a model" if matches else "matches none"
        raise ModelError(
            f"{text!r} {said} (looked from {os.getcwd()!r}); models end in {_listed(ENDINGS)}"
        )
    return models


def _pattern(path: Path) -> str:
    """What is searched for: signs in the name of a folder that is there are no pattern."""
    folder = next((parent for parent in path.parents if parent.is_dir()), Path())
    return os.path.join(glob.escape(str(folder)), path.relative_to(folder))


def _is_model(path: Path) -> bool:
    if path.is_dir():
        return (path / "saved_model.pb").is_file()
    return path.suffix.lower() in ENDINGS


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ModelError(
            f"there is no file {str(path)!r} (looked from {os.getcwd()!r}); check the path, or "
            "make the model first"
        )
    return path


def _in_folder(folder: Path) -> list[Path]:
    if (folder / "saved_model.pb").is_file():
        return [folder]
    models = [path for path in sorted(folder.iterdir()) if _is_model(path)]
    if not models:
        raise ModelError(
            f"the folder {str(folder)!r} holds no model: neither a saved_model.pb, nor a file that "
            f"ends in {_listed(ENDINGS)}"
        )
    return models


def _listed(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}"


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """What reports call the models: as short as they are distinct."""
    stems = [path.stem if path.is_file() else path.name for path in paths]
    return [
        stem if stems.count(stem) == 1 else path.as_posix()
        for stem, path in zip(stems, paths, strict=True)
    ]
