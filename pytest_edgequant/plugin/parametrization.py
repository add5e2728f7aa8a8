"""How tests are parametrized by target and variant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_edgequant.errors import SettingsError
from pytest_edgequant.settings import is_misspelt, split_names

_OURS = ("edge_target", "edge_variant")


def _argnames(mark: pytest.Mark) -> list[str]:
    names = mark.args[0] if mark.args else mark.kwargs.get("argnames", ())
    return [n.strip() for n in names.split(",")] if isinstance(names, str) else list(names)


def _indirect(mark: pytest.Mark) -> pytest.Mark:
    """The user's parametrization of our fixtures by name, made to go through them."""
    if mark.name != "parametrize":
        return mark
    names = _argnames(mark)
    ours = [name for name in names if name in _OURS]
    positional = len(mark.args) > 2
    given = mark.args[2] if positional else mark.kwargs.get("indirect", False)
    if not ours or given is True:
        return mark
    indirect = [*dict.fromkeys([*(given or ()), *ours])]
    args = (*mark.args[:2], *mark.args[3:]) if positional else mark.args
    kwargs = {**mark.kwargs, "indirect": indirect}
    return pytest.mark.parametrize(*args, **kwargs).mark  # type: ignore[no-any-return,unused-ignore]


def _rewrite(holder: Any, attribute: str) -> None:
    marks = holder.__dict__.get(attribute)
    if not isinstance(marks, list):
        return
    plain: list[Any] = [getattr(mark, "mark", mark) for mark in marks]
    changed = [_indirect(mark) for mark in plain]
    if changed != plain:
        setattr(holder, attribute, changed)


def make_indirect(collector: pytest.Collector, obj: object) -> None:
    """Let `parametrize("edge_variant", ["int8"])` mean the fixture: its values are variants."""
    for node in collector.listchain():
        _rewrite(node, "own_markers")
    for holder in getattr(obj, "__mro__", (obj,)):
        if hasattr(holder, "__dict__"):
            _rewrite(holder, "pytestmark")


@dataclass(frozen=True)
class EdgeMarker:
    """The marker `edge(target=..., variant=...)`, read once."""

    target: tuple[str, ...] = ()
    variant: tuple[str, ...] = ()


def read_marker(mark: pytest.Mark | None, where: str) -> EdgeMarker:
    """The marker's names; raises `SettingsError` for arguments that it does not take."""
    if mark is None:
        return EdgeMarker()
    unknown = sorted(set(mark.kwargs) - {"target", "variant"})
    if mark.args or unknown:
        raise SettingsError(
            f"{where}: the marker edge takes target=... and variant=..., "
            f"got {', '.join([*map(repr, mark.args), *unknown])}"
        )
    return EdgeMarker(
        *(
            split_names(mark.kwargs.get(key, ()), f"{where}: marker edge({key}=...)")
            for key in ("target", "variant")
        )
    )


def add_parameters(
    metafunc: pytest.Metafunc,
    names: str | Sequence[str],
    values: Sequence[Any],
    scope: str,
    ids: Sequence[str] | None = None,
) -> bool:
    """Parametrize our fixtures unless the user did; gives whether we did.

    Values are their own ids unless others are given.
    """
    try:
        metafunc.parametrize(names, values, indirect=True, ids=ids or values, scope=scope)  # type: ignore[arg-type]
    except (ValueError, pytest.Collector.CollectError) as error:
        if "duplicate parametrization" in str(error):
            return False
        raise
    return True


def is_users(node: Any, name: str) -> bool:
    """Whether the user parametrized the fixture, with a marker of the test, class or module."""
    return any(name in _argnames(mark) for mark in node.iter_markers("parametrize"))


def is_direct(node: Any, name: str) -> bool:
    """Whether a marker gives the test itself the values of that name, without a fixture."""
    marks = [mark for mark in node.iter_markers("parametrize") if name in _argnames(mark)]
    given = [mark.args[2] if len(mark.args) > 2 else mark.kwargs.get("indirect") for mark in marks]
    return any(not (way is True or (way and name in way)) for way in given)


def users_values(node: Any, name: str) -> list[Any]:
    """The values that the user's own markers give the fixture."""
    found = []
    for mark in node.iter_markers("parametrize"):
        names = _argnames(mark)
        if name not in names:
            continue
        values = mark.args[1] if len(mark.args) > 1 else mark.kwargs.get("argvalues", ())
        for value in values:
            row = getattr(value, "values", None) if hasattr(value, "marks") else None
            row = row if row is not None else ((value,) if len(names) == 1 else value)
            found.append(row[names.index(name)])
    return found


def union(lists: Iterable[Sequence[str]]) -> list[str]:
    """All names of several lists, each once, in the order of their first appearance."""
    return list(dict.fromkeys(name for names in lists for name in names))


def _automatic_id(value: object) -> str | None:
    """The id that pytest gives a simple parameter by itself; None for others."""
    return str(value) if isinstance(value, str | int | float | bool | None) else None


def _own_id(callspec: Any) -> str | None:
    """edge_model's part of a test's id; None where it can't be told from the other parts."""
    parts = [(name, _automatic_id(value)) for name, value in callspec.params.items()]
    names = [name for name, _ in parts]
    if "edge_model" not in names:
        return None
    at = names.index("edge_model")
    before, after = parts[:at], parts[at + 1 :]
    if any(part is None for _, part in (*before, *after)):
        return None
    prefix = "".join(f"{part}-" for _, part in before)
    suffix = "".join(f"-{part}" for _, part in after)
    whole = str(callspec.id)
    if not (whole.startswith(prefix) and whole.endswith(suffix)):
        return None
    return whole[len(prefix) : len(whole) - len(suffix)]


def model_name(node: Any, model: Any) -> str:
    """The id that a parametrization gave the model, else the stem of its file, else "model"."""
    stem = Path(model).stem if isinstance(model, str | Path) else None
    callspec = getattr(node, "callspec", None)
    own = _own_id(callspec) if callspec is not None else None
    # pytest's automatic ids (the path itself, `edge_model0`) say less than the file's stem.
    automatic = own is None or own == str(model) or re.fullmatch(r"edge_model\d+", own)
    if not automatic and not isinstance(model, bytes):
        return str(own)
    if stem is not None:
        return stem
    position = getattr(callspec, "indices", {}).get("edge_model")
    return "model" if position is None else f"model{position}"


def misspelt_fixture(name: str, items: Sequence[Any], plugins: Iterable[Any]) -> str | None:
    """Where a fixture is defined that must be meant for `name`, and that no test asks for.

    Looks through the modules of `items`, all that were collected, and the conftest.py among
    `plugins`. Whoever overrides one of our fixtures under a misspelt name gets the default.
    """
    modules = [module for item in items if (module := getattr(item, "module", None)) is not None]
    modules += [p for p in plugins if str(getattr(p, "__file__", "")).endswith("conftest.py")]
    for module in dict.fromkeys(modules):
        for found, value in vars(module).items():
            if not is_misspelt(found, name) or not _is_fixture(value):
                continue
            if not any(found in getattr(item, "fixturenames", ()) for item in items):
                return f"{Path(module.__file__).name} defines the fixture {found!r}"
    return None


def _is_fixture(value: object) -> bool:
    return type(value).__name__ == "FixtureFunctionDefinition" or hasattr(
        value, "_pytestfixturefunction"
    )
