"""All targets by name, alias and group: one TOML file a board, and the user's own configuration."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from pytest_edgequant.errors import EdgeQuantError, TargetError, UnknownNameError
from pytest_edgequant.names import fold, unknown
from pytest_edgequant.records import Target
from pytest_edgequant.targets.tables import build_target
from pytest_edgequant.toml import load_toml
from pytest_edgequant.wording import shown

DEFAULT_TARGET = "host"
GROUPS = {
    "all": "all",
    "all-mcu": "all-mcu",
    # What people call them too.
    "all-boards": "all",
    "all-targets": "all",
    "every": "all",
    "all-microcontrollers": "all-mcu",
    "microcontrollers": "all-mcu",
    "mcus": "all-mcu",
}
"""Names of several targets, by what is typed for them."""
COMMON = ("nano33ble", "esp32", "esp32s3", "pico", "pico2", "rpi4", "rpi5")
"""The boards that are meant most, where a name could be several."""


def _folded_names(name: str, table: Mapping[str, Any]) -> set[str]:
    aliases = table.get("aliases", ())
    own = [a for a in aliases if isinstance(a, str)] if isinstance(aliases, list) else []
    return {fold(name), *map(fold, own)}


class Targets:
    """All targets by name and alias: the built-in ones and the user's.

    Without any of the user's own, one that is asked for by its file's name is read alone.
    """

    def __init__(self, user: Mapping[str, Any] | None = None, where: str = "[tool.edgequant]"):
        self._user, self._where = dict(user or {}), where
        self._names: dict[str, Target] = {}
        self._folds: dict[str, str] = {}
        if self._user:
            self._load()

    @property
    def _by_name(self) -> dict[str, Target]:
        self._load()
        return self._names

    @property
    def _by_fold(self) -> dict[str, str]:
        self._load()
        return self._folds

    def _load(self) -> None:
        """Read all of them, once."""
        if self._names:
            return
        for name in _files().values():
            self._add(_builtin(name), f"targets/{name}.toml")
        tables, where = self._user, self._where
        for name, table in tables.items():
            section = f"{where}: targets.{name}"
            if not isinstance(table, Mapping):
                raise TargetError(f"{section} must be a table, got {shown(table)}")
            if fold(name) in self._by_fold:
                raise TargetError(
                    f"{section}: the name is taken by the target {self._by_fold[fold(name)]!r}; "
                    f'choose another, with base = "{self._by_fold[fold(name)]}" to inherit'
                )
        done: set[str] = set()
        for name in tables:
            self._resolve(name, tables, where, done, ())

    def _resolve(
        self,
        name: str,
        tables: Mapping[str, Any],
        where: str,
        done: set[str],
        chain: tuple[str, ...],
    ) -> None:
        """Build a user's target after the one that it is based on."""
        section = f"{where}: targets.{name}"
        if name in done:
            return
        if name in chain:
            raise TargetError(f"{section}: the bases form a cycle: {' -> '.join((*chain, name))}")
        table = tables[name]
        base = None
        if "base" in table:
            wanted = table["base"]
            if not isinstance(wanted, str):
                raise TargetError(f"{section}: base must be a target's name, got {shown(wanted)}")
            own = next((n for n in tables if fold(wanted) in _folded_names(n, tables[n])), None)
            if own is not None:
                self._resolve(own, tables, where, done, (*chain, name))
            try:
                base = self.get(wanted)
            except EdgeQuantError as error:
                raise TargetError(f"{section}: base: {error}") from None
        self._add(build_target(name, table, section, base=base, default_source=where), section)
        done.add(name)

    def _add(self, target: Target, where: str) -> None:
        self._names[target.name] = target
        for name in (target.name, *target.aliases):
            owner = self._folds.setdefault(fold(name), target.name)
            if owner != target.name:
                raise TargetError(f"{where}: the name {name!r} is taken by the target {owner!r}")

    def __iter__(self) -> Any:
        return iter(sorted(self._by_name.values(), key=lambda t: t.name))

    def expand(self, name: str) -> list[Target]:
        """The targets that a name stands for: one, `all`, `all-mcu`, or those a glob matches.

        Raises `UnknownNameError` for a name or pattern that no target has.
        """
        folded = fold(name)
        if folded == "all":
            return list(self)
        if folded == "allmcu":
            return [target for target in self if target.is_microcontroller]
        if not set(name) & set("*?["):
            try:
                return [self.get(name)]
            except UnknownNameError:
                raise self._unknown(name, GROUPS) from None
        owners = {o for known, o in self._by_fold.items() if fnmatchcase(known, folded)}
        if not owners:
            raise self._unknown(name, GROUPS)
        return [target for target in self if target.name in owners]

    def get(self, name: str) -> Target:
        """The target of that name or alias; raises `UnknownNameError` with the closest ones."""
        alone = None if self._names else _files().get(fold(name))
        if alone is not None:
            return _builtin(alone)
        owner = self._by_fold.get(fold(name))
        if owner is None:
            raise self._unknown(name)
        return self._by_name[owner]

    def _unknown(
        self, name: str, groups: Mapping[str, str] = MappingProxyType({})
    ) -> UnknownNameError:
        """The error for a name that no target has, and none of the groups that may stand there."""
        meant = {**groups, **self._by_fold}
        return unknown("target", name, self._by_name, meant=meant, common=COMMON)


@cache
def _files() -> Mapping[str, str]:
    """The names of the built-in targets, which are those of their files, in order, as folded."""
    names = sorted(entry.name for entry in resources.files(__package__).iterdir())
    stems = [name.removesuffix(".toml") for name in names if name.endswith(".toml")]
    return {fold(stem): stem for stem in stems}


@cache
def _builtin(name: str) -> Target:
    file = resources.files(__package__) / f"{name}.toml"
    where = f"targets/{name}.toml"
    return build_target(name, load_toml(file.read_bytes(), where), where)
