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
    """All targets by name and alias: the built-in ones and the user's."""

    def __init__(self, user: Mapping[str, Any] | None = None, where: str = "[tool.edgequant]"):
        self._by_name: dict[str, Target] = {}
        self._by_fold: dict[str, str] = {}
        for target in _builtin():
            self._add(target, f"targets/{target.name}.toml")
        tables = dict(user or {})
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
        self._by_name[target.name] = target
        for name in (target.name, *target.aliases):
            owner = self._by_fold.setdefault(fold(name), target.name)
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
            if folded not in self._by_fold:
                raise self._unknown(name, GROUPS)
            return [self.get(name)]
        owners = {o for known, o in self._by_fold.items() if fnmatchcase(known, folded)}
        if not owners:
            raise self._unknown(name, GROUPS)
        return [target for target in self if target.name in owners]

    def get(self, name: str) -> Target:
        """The target of that name or alias; raises `UnknownNameError` with the closest ones."""
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
def _builtin() -> tuple[Target, ...]:
    found = []
    for entry in sorted(resources.files(__package__).iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".toml"):
            where = f"targets/{entry.name}"
            table = load_toml(entry.read_bytes(), where)
            found.append(build_target(entry.name.removesuffix(".toml"), table, where))
    return tuple(found)
