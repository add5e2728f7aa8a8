"""Accepted regressions: entries with a reason and an expiry date, where changes are reviewed.

[[tool.edgequant.accepted]]
model = "digits"
variant = "int8"          # a name or a glob; without it any
target = "nano33ble"      # as well
metric = "size"
limit = "30 KiB"          # accepted up to here; without it however much
reason = "a wider last layer for the seven"
expires = 2027-03-31      # the last day on which it holds
"""

from __future__ import annotations

import contextlib
import datetime
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pytest_edgequant.baseline.document import Key
from pytest_edgequant.baseline.known import check_name
from pytest_edgequant.errors import SettingsError
from pytest_edgequant.forms import VARIANTS, get_spec
from pytest_edgequant.limits import is_number
from pytest_edgequant.names import unknown
from pytest_edgequant.targets import Targets
from pytest_edgequant.units import parse_size
from pytest_edgequant.wording import shown

_REQUIRED = ("model", "metric", "reason", "expires")
_GLOB = frozenset("*?[")
_KEYS = (*_REQUIRED, "variant", "target", "limit")


@dataclass(frozen=True)
class Accepted:
    """A regression that reviewers took on until `expires`, that day included.

    `limit` is the worst value that is accepted, None for any. `place` names the entry.
    """

    model: str
    variant: str
    target: str
    metric: str
    reason: str
    expires: datetime.date
    limit: float | None
    place: str

    def covers(self, key: Key, metric: str) -> bool:
        """Whether the entry is about this metric of this model, target and variant."""
        model, target, variant = key
        return (
            fnmatchcase(model, self.model)
            and fnmatchcase(target, self.target)
            and fnmatchcase(variant, self.variant)
            and metric == self.metric
        )

    def reaches(self, after: float, higher_is_better: bool) -> bool:
        """Whether the value is no worse than what is accepted."""
        if self.limit is None:
            return True
        return after >= self.limit if higher_is_better else after <= self.limit


def _date(value: object, place: str) -> datetime.date:
    if isinstance(value, datetime.datetime):
        value = value.date()
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = datetime.date.fromisoformat(value.strip())
    if not isinstance(value, datetime.date):
        raise SettingsError(
            f"{place}.expires: expected a date such as 2027-03-31, got {shown(value)}"
        )
    return value


def _limit(value: object, metric: str, place: str) -> float | None:
    if value is None:
        return None
    if metric.endswith("_bytes"):
        return float(parse_size(value, f"{place}.limit"))
    if not is_number(value) or not math.isfinite(value):
        raise SettingsError(f"{place}.limit: expected a number, got {shown(value)}")
    return float(value)


def _variant(name: str, place: str) -> str:
    """A variant's name, or a glob that some variant has."""
    if not _GLOB.intersection(name):
        return get_spec(name, place).name
    if not any(fnmatchcase(known, name) for known in VARIANTS):
        raise unknown("variant", name, VARIANTS, place)
    return name


def _target(name: str, targets: Targets | None, place: str) -> str:
    """A target's name, or a glob that some target has."""
    if name == "*" or targets is None:
        return name
    try:
        if not _GLOB.intersection(name):
            return targets.get(name).name
    except SettingsError as error:
        raise SettingsError(f"{place}: {error}") from None
    known = [target.name for target in targets]
    if not any(fnmatchcase(other, name) for other in known):
        raise unknown("target", name, known, place)
    return name


def parse_accepted(
    entries: object,
    where: str,
    *,
    targets: Targets | None = None,
    measured: Collection[str] = (),
) -> tuple[Accepted, ...]:
    """The entries of `[[tool.edgequant.accepted]]`; `where` names it.

    `targets` are those that there are, `measured` the names of figures that a baseline has. Raises
    `SettingsError`, also for a variant or target that there is none of, and a misspelt metric.
    """
    if entries is None:
        return ()
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise SettingsError(f"{where}: accepted must be a list of tables ([[...accepted]])")
    found = []
    for position, entry in enumerate(entries, start=1):
        place = f"{where}: accepted (entry {position})"
        if not isinstance(entry, Mapping):
            raise SettingsError(f"{place}: expected a table, got {entry!r}")
        for key in entry:
            if key not in _KEYS:
                raise unknown("key", key, _KEYS, place)
        for key in _REQUIRED:
            if key not in entry:
                raise SettingsError(f"{place}: {key} is missing")
        for key in ("model", "metric", "reason", "variant", "target"):
            value = entry.get(key, "*")
            if not isinstance(value, str) or not value.strip():
                raise SettingsError(f"{place}.{key}: expected text, got {shown(value)}")
        metric = check_name(entry["metric"], f"{place}.metric", measured)
        found.append(
            Accepted(
                entry["model"],
                _variant(entry.get("variant", "*"), f"{place}.variant"),
                _target(entry.get("target", "*"), targets, f"{place}.target"),
                metric,
                entry["reason"].strip(),
                _date(entry["expires"], place),
                _limit(entry.get("limit"), metric, place),
                place,
            )
        )
    return tuple(found)


def covering(
    accepted: Iterable[Accepted], key: Key, metric: str, today: datetime.date
) -> tuple[Accepted | None, Accepted | None]:
    """The entry that holds today, and one that has expired; the one that holds longest each."""
    own = sorted((a for a in accepted if a.covers(key, metric)), key=lambda a: a.expires)
    holding = [entry for entry in own if entry.expires >= today]
    over = [entry for entry in own if entry.expires < today]
    return (holding[-1] if holding else None), (over[-1] if over else None)
