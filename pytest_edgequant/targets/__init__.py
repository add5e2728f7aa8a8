"""Boards as data: one TOML file a target, and those of the user's own configuration.

It may import `tflite`, `samples`, `records` and the ground; what is measured or refused on a board
is known above.

A figure (`flash`, `sram`, `clock`, `flash_after_firmware`, `flash_for_model`, `sram_for_arena`) is
a table with `value` and `source`; in the user's own targets a plain value will do (its source is
then the configuration).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from pytest_edgequant.errors import EdgeQuantError, TargetError, UnitError, UnknownNameError
from pytest_edgequant.forms import VARIANTS
from pytest_edgequant.names import closest, fold, unknown
from pytest_edgequant.records import UNVERIFIED, CompilerOption, Figure, Target
from pytest_edgequant.targets.cores import check_runtime
from pytest_edgequant.targets.runtimes import RUNTIMES
from pytest_edgequant.toml import load_toml
from pytest_edgequant.units import parse_frequency, parse_size

OPTIONS = ("-O0", "-O1", "-Og", "-O2", "-O3", "-Ofast", "-Os", "-Oz")
"""What a compiler may be told of how far to optimize."""
KERNELS = ("reference", "cmsis-nn", "esp-nn", "xnnpack")
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

_ACCELERATOR = re.compile(r"edgetpu|ethos-u(55|65|85)-[1-9][0-9]*")

_TEXTS = ("title", "vendor", "soc", "core", "isa", "runtime", "kernels")
_FIGURES = {
    "clock": parse_frequency,
    "flash": parse_size,
    "sram": parse_size,
    "flash_after_firmware": parse_size,
    "flash_for_model": parse_size,
    "sram_for_arena": parse_size,
}
_KEYS = (
    *_TEXTS,
    *_FIGURES,
    *("aliases", "accelerator", "variants", "refused", "requires_integer_io", "base"),
    *("tflm", "release", "custom_operators", "optimization"),
)
_MONTH = re.compile(r"20\d\d-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?")


def known_keys() -> tuple[str, ...]:
    """The keys of a target's table, as `schema.json` describes them."""
    return _KEYS


def _sourced(
    key: str, value: object, where: str, default_source: str | None
) -> tuple[object, str, str]:
    """A value with its source and note, from a table or, in the user's own targets, as it is."""
    place = f"{where}: {key}"
    source, note = default_source, ""
    if isinstance(value, Mapping):
        extra = set(value) - {"value", "source", "note"}
        if extra or "value" not in value:
            raise TargetError(
                f"{place}: a figure has the keys value, source and note; got {sorted(value)}"
            )
        source = value.get("source", default_source)
        note = value.get("note", "")
        value = value["value"]
    if not isinstance(source, str) or not source.strip():
        raise TargetError(
            f'{place}: a figure needs a source (where it was read), or source = "{UNVERIFIED}"'
        )
    if not isinstance(note, str):
        raise TargetError(f"{place}: note must be text, got {note!r}")
    return value, source, note


def _figure(key: str, given: object, where: str, default_source: str | None) -> Figure:
    place = f"{where}: {key}"
    value, source, note = _sourced(key, given, where, default_source)
    try:
        number = _FIGURES[key](value, place)
    except UnitError as error:
        raise TargetError(str(error)) from None
    if number == 0:
        raise TargetError(f"{place}: 0 is no figure; leave the key out where there is no limit")
    return Figure(number, source, note)


def check_optimization(value: object, place: str) -> str:
    """One of the compiler's options for optimization; raises `TargetError` for anything else."""
    if value not in OPTIONS:
        raise TargetError(
            f"{place}: the compiler's option for optimization is one of {', '.join(OPTIONS)}; "
            f"got {value!r}"
        )
    return str(value)


def _optimization(given: object, where: str, default_source: str | None) -> CompilerOption:
    value, source, note = _sourced("optimization", given, where, default_source)
    return CompilerOption(check_optimization(value, f"{where}: optimization"), source, note)


def _strings(key: str, value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise TargetError(f"{where}: {key} must be a list of strings, got {value!r}")
    return tuple(value)


def build_target(
    name: str,
    table: Mapping[str, Any],
    where: str,
    *,
    base: Target | None = None,
    default_source: str | None = None,
) -> Target:
    """One target from its table; what is not in it comes from `base`.

    `where` names the file or section in messages. Raises `TargetError` for a missing, misspelt or
    impossible value.
    """
    for key in table:
        if key not in _KEYS:
            near = closest(key, _KEYS, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(_KEYS))}"
            raise TargetError(f"{where}: unknown key {key!r}; {hint}")
    values: dict[str, Any] = {}
    for key in _TEXTS:
        if key in table:
            if not isinstance(table[key], str) or not table[key].strip():
                raise TargetError(f"{where}: {key} must be text, got {table[key]!r}")
            values[key] = table[key]
        elif base is None:
            raise TargetError(
                f"{where}: {key} is missing; give it, or a base to inherit from "
                '(base = "nano33ble")'
            )
    for key in _FIGURES:
        if key in table:
            values[key] = _figure(key, table[key], where, default_source)
    if "optimization" in table:
        values["optimization"] = _optimization(table["optimization"], where, default_source)
    if "flash_after_firmware" in values and base is not None:
        values.setdefault("flash_for_model", None)  # the base's would win over it
    for key, known in (("runtime", RUNTIMES), ("kernels", KERNELS)):
        if key in values and values[key] not in known:
            raise TargetError(f"{where}: {key} {values[key]!r} is none of {', '.join(known)}")
    if "requires_integer_io" in table:
        if not isinstance(table["requires_integer_io"], bool):
            raise TargetError(f"{where}: requires_integer_io must be true or false")
        values["requires_integer_io"] = table["requires_integer_io"]
    if "accelerator" in table:
        if not isinstance(table["accelerator"], str):
            raise TargetError(f"{where}: accelerator must be text")
        if not _ACCELERATOR.fullmatch(table["accelerator"]):
            raise TargetError(
                f"{where}: accelerator {table['accelerator']!r} is neither edgetpu nor like "
                "ethos-u55-128 (Arm's NPU and its multipliers, as Vela names them)"
            )
        values["accelerator"] = table["accelerator"]
    if "tflm" in table:
        if not isinstance(table["tflm"], str) or not _MONTH.fullmatch(table["tflm"]):
            raise TargetError(
                f'{where}: tflm is the age of the firmware\'s TFLM sources, as "2024-08" or '
                f'"2024-08-15"; got {table["tflm"]!r}'
            )
        values["tflm"] = table["tflm"]
    if "release" in table:
        from pytest_edgequant.targets.profiles import RELEASES

        if table["release"] not in RELEASES:
            raise TargetError(
                f"{where}: release {table['release']!r} is none of {', '.join(RELEASES)}, of which "
                "the arena's records are known"
            )
        values["release"] = table["release"]
    if "custom_operators" in table:
        values["custom_operators"] = _strings("custom_operators", table["custom_operators"], where)
    values["aliases"] = _strings("aliases", table.get("aliases", []), where)
    values.update(_variants(table, where, base, values.get("runtime")))
    target = (
        Target(name=name, **values)
        if base is None
        else dataclasses.replace(base, name=name, **values)
    )
    check_runtime(target, table, where)
    for part, whole in (
        ("flash_after_firmware", "flash"),
        ("flash_for_model", "flash"),
        ("sram_for_arena", "sram"),
    ):
        left, total = getattr(target, part), getattr(target, whole)
        if left is not None and total is not None and left.value > total.value:
            raise TargetError(
                f"{where}: {part} ({left.value:,} B) is more than {whole} ({total.value:,} B)"
            )
    return target


def _variants(
    table: Mapping[str, Any], where: str, base: Target | None, runtime: str | None
) -> dict[str, Any]:
    """The variants a target runs and why not the others: its own, else its runtime's."""
    values: dict[str, Any] = {}
    if runtime is not None:
        values = {
            "variants": RUNTIMES[runtime].variants,
            "refused": dict(RUNTIMES[runtime].refused),
        }
    elif base is not None:
        values = {"variants": base.variants, "refused": dict(base.refused)}
    if "refused" in table:
        reasons = table["refused"]
        if not isinstance(reasons, Mapping) or not all(
            isinstance(v, str) for v in reasons.values()
        ):
            raise TargetError(f"{where}: refused must map variants to reasons, got {reasons!r}")
        values["refused"] = {**values["refused"], **reasons}
    if "variants" in table:
        chosen = _strings("variants", table["variants"], where)
        own = table.get("refused", {})
        inherent = RUNTIMES[runtime or (base.runtime if base else "")].refused
        for variant in chosen:
            if variant not in own and variant not in inherent:
                values["refused"].pop(variant, None)
        for variant in values["variants"]:
            if variant not in chosen:
                values["refused"].setdefault(variant, f"{where} does not list it")
        values["variants"] = chosen
    values["variants"] = tuple(v for v in values["variants"] if v not in values["refused"])
    for variant in (*values["variants"], *values["refused"]):
        if variant not in VARIANTS:
            raise TargetError(str(unknown("variant", variant, VARIANTS, where)))
    if not values["variants"]:
        raise TargetError(f"{where}: no variant is left that this target can run")
    return values


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
                raise TargetError(f"{section} must be a table, got {table!r}")
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
                raise TargetError(f"{section}: base must be a target's name, got {wanted!r}")
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
    for entry in sorted(resources.files(__name__).iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".toml"):
            where = f"targets/{entry.name}"
            table = load_toml(entry.read_bytes(), where)
            found.append(build_target(entry.name.removesuffix(".toml"), table, where))
    return tuple(found)
