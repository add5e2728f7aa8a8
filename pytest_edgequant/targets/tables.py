"""One target from its table: what is missing, misspelt or impossible is refused by name.

A figure (`flash`, `sram`, `clock`, `flash_after_firmware`, `flash_for_model`, `sram_for_arena`) is
a table with `value` and `source`; in the user's own targets a plain value will do (its source is
then the configuration).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from pytest_edgequant.errors import TargetError, UnitError
from pytest_edgequant.forms import VARIANTS
from pytest_edgequant.names import closest, unknown
from pytest_edgequant.records import UNVERIFIED, CompilerOption, Figure, Target
from pytest_edgequant.targets.cores import check_runtime
from pytest_edgequant.targets.profiles import RELEASES
from pytest_edgequant.targets.runtimes import RUNTIMES
from pytest_edgequant.units import parse_frequency, parse_size
from pytest_edgequant.wording import shown

OPTIONS = ("-O0", "-O1", "-Og", "-O2", "-O3", "-Ofast", "-Os", "-Oz")
"""What a compiler may be told of how far to optimize."""
KERNELS = ("reference", "cmsis-nn", "esp-nn", "xnnpack")
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
        raise TargetError(f"{place}: note must be text, got {shown(note)}")
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
            f"got {shown(value)}"
        )
    return str(value)


def _optimization(given: object, where: str, default_source: str | None) -> CompilerOption:
    value, source, note = _sourced("optimization", given, where, default_source)
    return CompilerOption(check_optimization(value, f"{where}: optimization"), source, note)


def _strings(key: str, value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise TargetError(f"{where}: {key} must be a list of strings, got {shown(value)}")
    return tuple(value)


def _flag(key: str, value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise TargetError(f"{where}: {key} must be true or false")
    return value


def _accelerator(key: str, value: object, where: str) -> str:
    if not isinstance(value, str):
        raise TargetError(f"{where}: {key} must be text")
    if not _ACCELERATOR.fullmatch(value):
        raise TargetError(
            f"{where}: {key} {value!r} is neither edgetpu nor like ethos-u55-128 (Arm's NPU and "
            "its multipliers, as Vela names them)"
        )
    return value


def _age(key: str, value: object, where: str) -> str:
    if not isinstance(value, str) or not _MONTH.fullmatch(value):
        raise TargetError(
            f'{where}: {key} is the age of the firmware\'s TFLM sources, as "2024-08" or '
            f'"2024-08-15"; got {shown(value)}'
        )
    return value


def _release(key: str, value: object, where: str) -> str:
    if value not in RELEASES:
        raise TargetError(
            f"{where}: {key} {value!r} is none of {', '.join(RELEASES)}, of which the arena's "
            "records are known"
        )
    return str(value)


_OTHERS: Mapping[str, Callable[[str, object, str], Any]] = {
    "requires_integer_io": _flag,
    "accelerator": _accelerator,
    "tflm": _age,
    "release": _release,
    "custom_operators": _strings,
}
"""What reads the keys that are neither texts nor figures, and stand alone."""


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
    _check_keys(table, where)
    values = _texts(table, where, needed=base is None)
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
    for key, read in _OTHERS.items():
        if key in table:
            values[key] = read(key, table[key], where)
    values["aliases"] = _strings("aliases", table.get("aliases", []), where)
    values.update(_variants(table, where, base, values.get("runtime")))
    target = (
        Target(name=name, **values)
        if base is None
        else dataclasses.replace(base, name=name, **values)
    )
    check_runtime(target, table, where)
    _check_parts(target, where)
    return target


def _check_keys(table: Mapping[str, Any], where: str) -> None:
    for key in table:
        if key not in _KEYS:
            near = closest(key, _KEYS, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(_KEYS))}"
            raise TargetError(f"{where}: unknown key {key!r}; {hint}")


def _texts(table: Mapping[str, Any], where: str, *, needed: bool) -> dict[str, Any]:
    """The texts of a table, all of which are `needed` where there is no base that has them."""
    values: dict[str, Any] = {}
    for key in _TEXTS:
        if key in table:
            if not isinstance(table[key], str) or not table[key].strip():
                raise TargetError(f"{where}: {key} must be text, got {table[key]!r}")
            values[key] = table[key]
        elif needed:
            raise TargetError(
                f"{where}: {key} is missing; give it, or a base to inherit from "
                '(base = "nano33ble")'
            )
    return values


def _check_parts(target: Target, where: str) -> None:
    """Raise `TargetError` where a part of a memory is more than the whole of it."""
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
            raise TargetError(
                f"{where}: refused must map variants to reasons, got {shown(reasons)}"
            )
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
