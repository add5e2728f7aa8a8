"""What the configuration names instead of holding it: `module:function`, .npz and .npy files.

A function is imported with the configuration's folder on the path, and called once.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from pytest_edgequant.errors import ConfigurationError, EdgeQuantError, SettingsError
from pytest_edgequant.names import closest
from pytest_edgequant.wording import first_of, shown

_FILES = (".npz", ".npy")
_FUNCTION = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*(?:\.[^\W\d]\w*)*)")
_FIXTURES = re.compile(r"(?:the fixture )?\bedge_(dataset|calibration|training)\b")
_PARAMETERS = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Reference:
    """A function or a file; `place` is the key that names it, `labelled` asks for (x, y).

    What it gives is loaded once.
    """

    text: str
    place: str
    folder: Path
    labelled: bool

    @property
    def is_file(self) -> bool:
        return self.text.lower().endswith(_FILES)

    @cached_property
    def value(self) -> Any:
        """What it gives, looked at; raises `ConfigurationError` saying what is wrong and where.

        Of a function that gives a generator it is the function, which can be called again.
        """
        return self._file() if self.is_file else self._called()

    @cached_property
    def object(self) -> Any:
        """What stands under the name, not called: a metric's function."""
        module_name, _, name = self.text.partition(":")
        found: Any = self._module(module_name)
        for part in name.split("."):
            if not hasattr(found, part):
                functions = [name for name, value in vars(found).items() if _is_own(value)]
                near = closest(part, functions, 3)
                hint = f"Did you mean {', '.join(near)}?" if near else _has(functions)
                raise self._error(f"{module_name} has no {part!r}. {hint}")
            found = getattr(found, part)
        return found

    def refused(self, error: EdgeQuantError) -> ConfigurationError:
        """What others found wrong with the samples, without the fixtures that tests have."""
        text = re.sub(r"^edge_\w+: ", "", str(error))
        return self._error(_FIXTURES.sub(r"\1", text))

    def _error(self, what: str) -> ConfigurationError:
        return ConfigurationError(f"{self.place} = {shown(self.text)}: {what}")

    def _file(self) -> Any:
        from pytest_edgequant.samples.files import load_inputs, load_pair

        path = self.folder / Path(self.text).expanduser()
        try:
            value = (load_pair if self.labelled else load_inputs)(path, self.place)
        except EdgeQuantError as error:
            raise ConfigurationError(str(error)) from None
        self._check(value)
        return value

    def _module(self, name: str) -> ModuleType:
        folder = str(self.folder.resolve())
        if folder not in sys.path:
            sys.path.insert(0, folder)
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise self._error(f"importing {name} failed: {_told(error)}") from error
            raise self._error(
                f"there is no module {error.name!r} (looked in {folder} and where Python looks). "
                "Check the name, or say where it lies: pythonpath in [tool.pytest.ini_options]"
            ) from None
        except (Exception, SystemExit) as error:
            raise self._error(f"importing {name} failed: {_told(error)}") from error

    def _called(self) -> Any:
        value = found = self.object
        # A generator's function gives a fresh one for each pass.
        if callable(found) and not _is_data(found) and not inspect.isgeneratorfunction(found):
            value = self._call(found)
            if hasattr(value, "__next__"):
                value = found
        self._check(value)
        return value

    def _call(self, function: Callable[..., Any]) -> Any:
        needed = _needed(function)
        if needed:
            raise self._error(
                f"the function is called without arguments, and needs {', '.join(needed)}: give "
                "them defaults, or name a function that needs none"
            )
        try:
            return function()
        except EdgeQuantError as error:
            raise self._error(f"the function raised: {error}") from error
        except (Exception, SystemExit) as error:
            raise self._error(f"the function raised {_told(error)}") from error

    def _check(self, value: Any) -> None:
        """Raise for what can be told not to be samples without reading them."""
        wanted = "(x, y), or an iterable of (x, y) batches" if self.labelled else "samples"
        got = f"it gave {_kind(value)}, and must give {wanted}"
        if value is None or isinstance(value, str | bytes | bool | int | float):
            raise self._error(got + (": does it return?" if value is None else ""))
        if not self.labelled:
            if hasattr(value, "__len__") and len(value) == 0:
                raise self._error("it gave no samples")
            return
        if type(value).__name__ == "TrainingRecipe":
            return
        if isinstance(value, Mapping) or hasattr(value, "__array__"):
            raise self._error(got)
        from pytest_edgequant.samples.inputs import is_pair

        if is_pair(value):
            self._check_pair(value)
        elif not _is_stream(value):
            raise self._error(got)

    def _check_pair(self, value: Any) -> None:
        from pytest_edgequant.samples.stream import Samples

        if any(part is None or isinstance(part, str | bytes) for part in value):
            raise self._error(f"it gave ({', '.join(map(_kind, value))}), and must give (x, y)")
        try:
            Samples(value, self.place)
        except EdgeQuantError as error:
            text = str(error)
            raise self._error(text.removeprefix(f"{self.place}: ")) from None


def read_reference(text: str, place: str, folder: Path, *, labelled: bool) -> Reference:
    """The reference that a text is; raises `SettingsError` for what is none."""
    found = Reference(text, place, folder, labelled)
    if found.is_file or _FUNCTION.fullmatch(text):
        return found
    module, dot, function = text.rpartition(".")
    written = f"{module}:{function}"
    hint = f' such as "{written}"' if dot and _FUNCTION.fullmatch(written) else ""
    raise SettingsError(
        f'{place}: expected "module:function"{hint}, or a file that ends in .npz or .npy, '
        f"got {shown(text)}"
    )


def _is_own(value: object) -> bool:
    """A function of the user's."""
    return inspect.isroutine(value) or inspect.isclass(value)


def _has(functions: list[str]) -> str:
    """The functions that there are, where none is like the one that is named."""
    return f"It has {', '.join(first_of(functions))}" if functions else "It has no function"


def _needed(function: Callable[..., Any]) -> list[str]:
    """The arguments that a function can't be called without."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.default is p.empty and p.kind not in _PARAMETERS]


def _is_data(value: object) -> bool:
    """A data set that can be called, or is a class whose objects are: not a function to call."""
    return hasattr(type(value), "__iter__")


def _is_stream(value: Any) -> bool:
    """What may give (x, y) batches: a list of them, what is iterated or indexed, a function."""
    if isinstance(value, tuple | list):
        return _is_batches(value)
    indexed = hasattr(type(value), "__getitem__") and hasattr(type(value), "__len__")
    return callable(value) or hasattr(value, "__iter__") or indexed


def _is_batches(value: Any) -> bool:
    """A list of (x, y) pairs."""
    return bool(value) and all(isinstance(part, tuple | list) and len(part) == 2 for part in value)


def _kind(value: object) -> str:
    """What something is, in words."""
    if value is None:
        return "None"
    shape = getattr(value, "shape", None)
    if shape is not None and hasattr(value, "__array__"):
        return f"one array {tuple(shape)}"
    if isinstance(value, str | bytes | bool | int | float):
        return f"{type(value).__name__} {shown(value)}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def _told(error: BaseException) -> str:
    """A user's own error, and the line of their code that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.filename != __file__ and "importlib" not in f.filename]
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    if isinstance(error, SyntaxError) and error.filename:
        place = f" ({Path(error.filename).name}, line {error.lineno})"
        return f"SyntaxError: {error.msg}{place}"
    return f"{type(error).__name__}: {error}{place}"
