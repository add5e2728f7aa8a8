"""Where a project's configuration stands: `[tool.edgequant]` of pyproject.toml, edgequant.toml.

Both may be there: they are read as one, and a key stands in one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_edgequant.errors import SettingsError
from pytest_edgequant.files import read_bytes
from pytest_edgequant.settings import OWN_FILE, SECTION, check_keys, read_section
from pytest_edgequant.toml import line_of, load_toml
from pytest_edgequant.wording import shown


@dataclass(frozen=True)
class ConfigFile:
    """A file with configuration; `prefix` is the table in it that holds the section's keys."""

    path: Path
    prefix: tuple[str, ...]
    text: str = field(repr=False, default="")

    @property
    def where(self) -> str:
        """The file and the table, as messages name them."""
        return f"{self.path.name}: [{'.'.join(self.prefix)}]" if self.prefix else self.path.name

    def line(self, keys: Sequence[str]) -> int | None:
        """The line, from 1, of a key of the section."""
        return line_of(self.text, (*self.prefix, *keys))

    def place(self, keys: Sequence[str]) -> str:
        """A key with its file, line and table: `pyproject.toml:7: [tool.edgequant] target`."""
        line = self.line(keys)
        table = ".".join([*self.prefix, *keys[:-1]])
        head = self.path.name if line is None else f"{self.path.name}:{line}"
        return f"{head}: [{table}] {keys[-1]}" if table else f"{head}: {keys[-1]}"


@dataclass(frozen=True)
class Configuration:
    """All keys of the section; `files` gives the file that each was read from."""

    root: Path
    section: Mapping[str, Any]
    files: Mapping[str, ConfigFile]
    models: Mapping[str, ConfigFile]

    @property
    def where(self) -> str:
        """The file and table that a key belongs into which no file has."""
        return f"pyproject.toml: {SECTION}"

    @property
    def places(self) -> dict[str, str]:
        """The file and table of each key, as messages name them."""
        return {key: file.where for key, file in self.files.items()}


def read_configuration(pyproject: Path, own: Path | None = None) -> Configuration:
    """The configuration of a project; `own` is its edgequant.toml, by default the one beside.

    Raises `SettingsError` for files that can't be read, unknown keys, and keys in both files.
    """
    own = pyproject.parent / OWN_FILE if own is None else own
    found = [
        (ConfigFile(pyproject, ("tool", "edgequant"), _text(pyproject)), read_section(pyproject)),
        *_own(own),
    ]
    section: dict[str, Any] = {}
    files: dict[str, ConfigFile] = {}
    models: dict[str, ConfigFile] = {}
    for file, table in found:
        for key, value in table.items():
            name = key.replace("-", "_")
            if name == "models":
                section[name] = {**section.get(name, {}), **_models(value, file, models)}
            elif name in section:
                raise SettingsError(
                    f"{file.place([key])}: {files[name].where} has it as well: take one out"
                )
            else:
                section[name] = value
            files[name] = file
    only_own = bool(files) and all(file.path == own for file in files.values())
    return Configuration(own.parent if only_own else pyproject.parent, section, files, models)


def _models(value: object, file: ConfigFile, known: dict[str, ConfigFile]) -> Mapping[str, Any]:
    """The models' tables of a file; raises for one that another file has."""
    if not isinstance(value, Mapping):
        raise SettingsError(
            f"{file.place(['models'])} must be a table of tables, "
            f"[{'.'.join([*file.prefix, 'models', 'NAME'])}], got {shown(value)}"
        )
    for name in value:
        if name in known:
            raise SettingsError(
                f"{file.place(['models', name])}: two models of one name: "
                f"{known[name].place(['models', name])} has it as well. Rename one of them"
            )
        known[name] = file
    return value


def _own(path: Path) -> list[tuple[ConfigFile, Mapping[str, Any]]]:
    """What edgequant.toml says, with or without `tool.edgequant` before its keys."""
    text = _text(path)
    if not text.strip():
        return []
    document = load_toml(text.encode(), path.name)
    prefix: tuple[str, ...] = ()
    tool = document.get("tool")
    if isinstance(tool, Mapping) and isinstance(tool.get("edgequant"), Mapping):
        document, prefix = dict(tool["edgequant"]), ("tool", "edgequant")
    file = ConfigFile(path, prefix, text)
    check_keys(document, file.where)
    return [(file, document)]


def _text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path.name}: not valid TOML: it is not UTF-8 ({error})") from None
    except OSError as error:
        raise SettingsError(f"{path}: can't be read: {error.strerror}") from None
