"""The models' tables as users write them, read into records: every mistake has its file and line.

Nothing is loaded here: neither models nor data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_edgequant.configuration import ConfigFile, Configuration
from pytest_edgequant.errors import (
    EdgeQuantError,
    SettingsError,
    UnitError,
    UnknownNameError,
)
from pytest_edgequant.files import read_bytes
from pytest_edgequant.forms import VARIANTS, get_spec
from pytest_edgequant.gate.configured.keys import LIMITS, MODEL
from pytest_edgequant.gate.configured.references import Reference, read_reference
from pytest_edgequant.limits import check_bytes
from pytest_edgequant.names import fold, unknown
from pytest_edgequant.records import Target
from pytest_edgequant.settings import split_names
from pytest_edgequant.targets import Targets
from pytest_edgequant.tflite.model import TFLiteModel
from pytest_edgequant.units import limit_share, parse_duration, parse_size
from pytest_edgequant.wording import shown

TARGETS_OWN = "target"
"""What a limit is called that is the target's own."""
_NAME = re.compile(r"[^\s\[\]/\\:][^\[\]/\\:\n]*")
_LIMIT_NAMES = tuple(key.name for key in LIMITS)


@dataclass(frozen=True)
class Budget:
    """One limit, where it stands, and what it holds for: None and () are all."""

    limit: str
    value: Any
    keys: tuple[str, ...]
    variant: str | None = None
    target: str | None = None
    on: tuple[str, ...] = ()

    def holds(self, target: Target, variant: str) -> bool:
        """Whether it is about this variant on this target."""
        return (
            self.variant in (None, variant)
            and self.target in (None, target.name)
            and (not self.on or target.name in self.on)
        )

    @property
    def rank(self) -> tuple[bool, bool, bool]:
        """The highest of several stands: a target's before a variant's, before the model's."""
        return self.target is not None, self.variant is not None, bool(self.on)


@dataclass(frozen=True)
class ModelTable:
    """One model of the configuration; `file` is where it stands, and paths are relative to it."""

    name: str
    file: ConfigFile
    path: Path
    dataset: Reference | None = None
    calibration: Reference | None = None
    training: Reference | None = None
    baseline: Path | None = None
    metric: str | Reference | None = None
    variants: tuple[str, ...] = ()
    targets: tuple[Target, ...] = ()
    budgets: tuple[Budget, ...] = ()
    spelt: Mapping[str, str] = field(default_factory=dict)

    def place(self, *keys: str) -> str:
        """A key of the model with its file, line and table."""
        return self.file.place(["models", self.name, *(self.spelt.get(key, key) for key in keys)])

    @property
    def line(self) -> int:
        """The line at which the model stands, from 1."""
        return self.file.line(["models", self.name]) or 1

    @property
    def is_tflite(self) -> bool:
        return self.path.suffix.lower() in (".tflite", ".lite")

    def limits(self, target: Target, variant: str) -> dict[str, Budget]:
        """The limits of a variant on a target, by name."""
        found: dict[str, Budget] = {}
        for budget in sorted(self.budgets, key=lambda budget: budget.rank):
            if budget.holds(target, variant):
                found[budget.limit] = budget
        return found


def form_of(model: ModelTable) -> str | None:
    """The form that a .tflite has; None where that can't be told, which running it says."""
    try:
        form = TFLiteModel(read_bytes(model.path), model.path.name).form
    except (OSError, EdgeQuantError):
        return None
    return form if form in VARIANTS else None


def read_models(configuration: Configuration, targets: Targets) -> list[ModelTable]:
    """The models of a configuration; raises `SettingsError` with file, line and key."""
    tables = configuration.section.get("models") or {}
    return [
        _Reader(name, configuration.models[name], targets).read(table)
        for name, table in tables.items()
    ]


class _Reader:
    """Reads one model's table."""

    def __init__(self, name: str, file: ConfigFile, targets: Targets) -> None:
        self._name = name
        self._file = file
        self._targets = targets

    def _place(self, *keys: str) -> str:
        return self._file.place(["models", self._name, *keys])

    def read(self, table: object) -> ModelTable:
        """The model; raises `SettingsError`."""
        if not _NAME.fullmatch(self._name):
            raise SettingsError(
                f"{self._place()}: a model's name is part of tests' ids: leave [ ] / \\ : out"
            )
        if not isinstance(table, Mapping):
            raise SettingsError(f"{self._place()} must be a table, got {shown(table)}")
        keys, spelt = self._keys(table)
        if "model" not in keys:
            raise SettingsError(
                f'{self._place()}: it names no file: add model = "models/{self._name}.tflite"'
            )
        variants = self._variants(keys, spelt)
        budgets = tuple(self._budgets(keys.get("budgets", {}), ("budgets",)))
        for budget in budgets:
            self._check_variant(budget, variants, spelt)
        if "dataset" not in keys:
            for budget in budgets:
                if budget.limit == "max_accuracy_drop":
                    raise SettingsError(
                        f"{self._place(*budget.keys)}: there is nothing to evaluate on: add "
                        f'dataset = "module:function" or an .npz file to {self._place()}'
                    )
        return ModelTable(
            self._name,
            self._file,
            self._path(keys, "model"),
            **{
                name: self._reference(keys, name, labelled=name != "calibration")
                for name in ("dataset", "calibration", "training")
            },
            baseline=self._path(keys, "baseline") if "baseline" in keys else None,
            metric=self._metric(keys),
            variants=variants,
            targets=self._target_list(keys, "targets", spelt),
            budgets=budgets,
            spelt=spelt,
        )

    def _keys(self, table: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """The table by the keys' own names, and how they were spelt."""
        spellings = {spelling: key.name for key in MODEL for spelling in (key.name, *key.also)}
        keys: dict[str, Any] = {}
        spelt: dict[str, str] = {}
        for given, value in table.items():
            name = spellings.get(given.replace("-", "_"))
            if name is None:
                meant = _limit_of(given)
                hint = f": it belongs into {self._place('budgets')}" if meant else ""
                if hint:
                    raise SettingsError(f"{self._place(given)}: {shown(given)} is a budget{hint}")
                raise unknown("key", given, [key.name for key in MODEL], self._place(given))
            if name in keys:
                raise SettingsError(
                    f"{self._place(given)}: {spelt[name]} and {given} are the same: give one"
                )
            keys[name], spelt[name] = value, given
        return keys, spelt

    # -- what is not a budget ---------------------------------------------------------------------

    def _text(self, keys: Mapping[str, Any], name: str, example: str) -> str:
        value = keys[name]
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise SettingsError(f"{self._place(name)}: expected {example}, got {shown(value)}")
        return value.strip()

    def _path(self, keys: Mapping[str, Any], name: str) -> Path:
        text = self._text(keys, name, "the path of a model's file")
        return self._file.path.parent / Path(text).expanduser()

    def _reference(self, keys: Mapping[str, Any], name: str, *, labelled: bool) -> Reference | None:
        if name not in keys:
            return None
        text = self._text(keys, name, '"module:function", or the path of an .npz file')
        return read_reference(text, self._place(name), self._file.path.parent, labelled=labelled)

    def _metric(self, keys: Mapping[str, Any]) -> str | Reference | None:
        if "metric" not in keys:
            return None
        text = self._text(keys, "metric", 'a metric\'s name, or "module:function"')
        if ":" not in text:
            return text
        return read_reference(text, self._place("metric"), self._file.path.parent, labelled=False)

    def _variants(self, keys: Mapping[str, Any], spelt: Mapping[str, str]) -> tuple[str, ...]:
        if "variants" not in keys:
            return ()
        place = self._place(spelt["variants"])
        found = tuple(get_spec(name, place).name for name in split_names(keys["variants"], place))
        if not found:
            raise SettingsError(f"{place}: it is empty; name variants, or leave the key out")
        return tuple(dict.fromkeys(found))

    def _target_list(
        self, keys: Mapping[str, Any], name: str, spelt: Mapping[str, str]
    ) -> tuple[Target, ...]:
        if name not in keys:
            return ()
        place = self._place(spelt[name])
        found = tuple(self._expanded(split_names(keys[name], place), place))
        if not found:
            raise SettingsError(f"{place}: it is empty; name targets, or leave the key out")
        return found

    def _expanded(self, names: Iterable[str], place: str) -> Iterator[Target]:
        seen = set()
        for name in names:
            try:
                found = self._targets.expand(name)
            except UnknownNameError as error:
                raise UnknownNameError(f"{place}: {error}") from None
            for target in found:
                if target.name not in seen:
                    seen.add(target.name)
                    yield target

    # -- budgets ----------------------------------------------------------------------------------

    def _budgets(
        self,
        table: object,
        keys: tuple[str, ...],
        variant: str | None = None,
        target: str | None = None,
    ) -> Iterator[Budget]:
        """The limits of a table, and of those for a variant or a target in it."""
        if not isinstance(table, Mapping):
            raise SettingsError(
                f'{self._place(*keys)} must be a table such as {{ size = "64 KiB" }}, '
                f"got {shown(table)}"
            )
        for given, value in table.items():
            at = (*keys, given)
            limit = _limit_of(given)
            if limit is not None:
                on, most = self._limit(limit, value, at, target)
                yield Budget(limit, most, at, variant, target, on)
                continue
            found = self._narrowed(given, at, variant, target)
            yield from self._budgets(value, at, *found)

    def _narrowed(
        self, given: str, at: tuple[str, ...], variant: str | None, target: str | None
    ) -> tuple[str | None, str | None]:
        """The variant or target that a key names; raises for one that is neither, or a second."""
        spec = next((s for s in VARIANTS.values() if fold(s.name) == fold(given)), None)
        if spec is not None and variant is None:
            return spec.name, target
        board = next((t for t in self._targets if fold(given) == fold(t.name)), None)
        if board is None and spec is None:
            board = self._by_alias(given)
        if board is not None and target is None:
            return variant, board.name
        if spec is not None or board is not None:
            raise SettingsError(f"{self._place(*at)}: it stands in a table of that kind already")
        known = [*_LIMIT_NAMES, *VARIANTS, *(t.name for t in self._targets)]
        raise unknown("budget, variant or target", given, known, self._place(*at))

    def _by_alias(self, given: str) -> Target | None:
        try:
            return self._targets.get(given)
        except UnknownNameError:
            return None

    def _limit(
        self, limit: str, value: Any, at: tuple[str, ...], target: str | None
    ) -> tuple[tuple[str, ...], Any]:
        """The targets that a limit is for, and its value; raises for one that can't be meant."""
        place = self._place(*at)
        on: tuple[str, ...] = ()
        if limit == "latency" and isinstance(value, Mapping):
            on, value = self._latency(value, at)
            if target is not None and on and target not in on:
                raise SettingsError(f"{place}: on names other targets than {target}, whose it is")
        if limit == "latency":
            parse_duration(value, place)
        elif limit == "max_accuracy_drop":
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                raise SettingsError(
                    f'{place}: expected a drop such as "2 pt" or 0.02, got {shown(value)}'
                )
            if isinstance(value, str) and value.strip().replace(".", "", 1).isdecimal():
                raise UnitError(
                    f"{place}: {shown(value)} has no unit: write {json.dumps(value + ' pt')} for "
                    "points of a share such as accuracy, or a number in the metric's own unit"
                )
        elif value != TARGETS_OWN or limit != "arena":
            check_size(value, place)
        return on, value

    def _latency(
        self, table: Mapping[str, Any], at: tuple[str, ...]
    ) -> tuple[tuple[str, ...], Any]:
        for key in table:
            if key not in ("max", "on"):
                raise unknown("key", key, ["max", "on"], self._place(*at))
        if "max" not in table:
            raise SettingsError(f'{self._place(*at)}: it has no limit: add max = "50 ms"')
        place = f"{self._place(*at)}.on"
        names = split_names(table.get("on", ()), place)
        return tuple(target.name for target in self._expanded(names, place)), table["max"]

    def _check_variant(
        self, budget: Budget, variants: Sequence[str], spelt: Mapping[str, str]
    ) -> None:
        """Raise for a budget of a variant that is not gated: it would never be held."""
        if budget.variant is None or not variants or budget.variant in variants:
            return
        raise SettingsError(
            f"{self._place(*budget.keys[:-1])}: {self._name} has no variant {budget.variant} "
            f"({', '.join(variants)}). Add it to {self._place(spelt['variants'])}, or take the "
            "budget out"
        )


def _limit_of(given: str) -> str | None:
    """The limit of that name, with dashes for underscores as well."""
    name = given.replace("-", "_")
    return name if name in _LIMIT_NAMES else None


def check_size(value: Any, place: str) -> None:
    """Raise `UnitError` or `SettingsError` for what is no limit in bytes."""
    check_bytes(value, place)
    if limit_share(value, place) is not None:
        return
    if isinstance(value, str) and value.strip().isdecimal():
        raise UnitError(
            f"{place}: {shown(value)} has no unit: write the number {int(value)} for bytes, or a "
            'size such as "64 KiB"'
        )
    if parse_size(value, place) == 0:
        raise UnitError(f"{place}: {shown(value)} leaves nothing at all")
