"""Every option once: command line, ini, `[tool.edgequant]`, in this order of precedence.

A flag that is not given never hides an ini or TOML value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_edgequant.errors import SettingsError
from pytest_edgequant.files import read_bytes
from pytest_edgequant.wording import shown

SECTION = "[tool.edgequant]"
OWN_FILE = "edgequant.toml"
"""The file that holds the section's keys without `tool.edgequant` before them."""
DEFAULT_TFLM_MACS = 5_000_000_000
"""Some seconds on one core with TFLM's reference kernels."""
_TOOL_TABLE = re.compile(rb"^\s*\[+\s*tool\s*\.\s*([\w-]+)", re.MULTILINE)
_NEARLY_EQUAL = 0.88
TABLES = ("targets", "models", "regression", "accepted")
"""Keys of the section that hold tables, and have no option."""
PLURALS = {"target": "targets", "variant": "variants"}
"""Options that may be written as the models' keys are: `targets = ["nano33ble"]`."""


@dataclass(frozen=True)
class Option:
    """One option. `kind` is names, paths, path, flag, seconds or count; the first two are lists."""

    name: str
    kind: str
    help: str
    metavar: str | None = None

    @property
    def flag(self) -> str:
        return f"--edge-{self.name.replace('_', '-')}"

    @property
    def ini(self) -> str:
        return f"edge_{self.name}"

    @property
    def many(self) -> bool:
        return self.kind in ("names", "paths")


OPTIONS = (
    Option(
        "target",
        "names",
        "board(s) to gate against, also all, all-mcu or a glob; repeatable, or comma-separated "
        "(default: host)",
        "NAME",
    ),
    Option(
        "variant",
        "names",
        "variant(s) for edge_variant instead of all that the target can run; repeatable, or "
        "comma-separated",
        "NAME",
    ),
    Option(
        "report",
        "paths",
        "write a report; repeatable, the format by its ending: .json, .md, .html",
        "PATH",
    ),
    Option("baseline", "path", "compare with an earlier run, and fail on regressions", "PATH"),
    Option("save_baseline", "path", "write what this run measured, to compare with later", "PATH"),
    Option(
        "baseline_optional",
        "flag",
        "a baseline that is missing, damaged or of another model leaves the run inconclusive, and "
        "does not fail it: for one that a script looked for",
    ),
    Option(
        "baseline_prune",
        "flag",
        "delete from the baseline that is written what this run did not measure",
    ),
    Option(
        "strict",
        "flag",
        "fail on regressions that the samples neither prove nor rule out, and on what can't be "
        "compared",
    ),
    Option("cache_dir", "path", "where converted models and measurements are kept", "DIR"),
    Option("no_cache", "flag", "convert and measure everything anew, keep nothing"),
    Option(
        "dense_per_channel",
        "flag",
        "quantize fully connected weights per channel (TFLM before August 2024 is wrong there)",
    ),
    Option(
        "strip",
        "flag",
        "take off variants' files what the device never reads (names, signatures, minima and "
        "maxima); outputs are proved equal",
    ),
    Option(
        "arena_verify",
        "flag",
        "check every arena against the tflite-micro interpreter as well, the smallest one included",
    ),
    Option(
        "device_results",
        "path",
        "results that boards printed, one JSON object a line (see edge_device_result)",
        "FILE",
    ),
    Option(
        "timeout",
        "seconds",
        "how long one conversion or evaluation may take (default: 900)",
        "SECONDS",
    ),
    Option(
        "tflm_macs",
        "count",
        "the most samples x multiply-accumulates to evaluate with TFLM's interpreter; beyond, a "
        "stratified part of the samples is evaluated (default: 5e9)",
        "MACS",
    ),
)


@dataclass(frozen=True)
class Settings:
    """All options with their final values.

    `target_given` tells whether a target was named anywhere, `origins` where each value was given.
    `regression`, `accepted` and `models` are the tables as they stand; `baseline` and `gate` read
    them. `places` says which file and table a key was read from, where not from `where`.
    """

    target: tuple[str, ...] = ()
    variant: tuple[str, ...] = ()
    report: tuple[Path, ...] = ()
    baseline: Path | None = None
    save_baseline: Path | None = None
    baseline_optional: bool = False
    baseline_prune: bool = False
    strict: bool = False
    cache_dir: Path | None = None
    no_cache: bool = False
    dense_per_channel: bool = False
    strip: bool = False
    arena_verify: bool = False
    device_results: Path | None = None
    timeout: float = 900.0
    tflm_macs: int = DEFAULT_TFLM_MACS
    target_given: bool = False
    origins: Mapping[str, str] = field(default_factory=dict)
    user_targets: Mapping[str, Any] | None = None
    regression: Any = None
    accepted: Any = None
    models: Any = None
    where: str = SECTION
    places: Mapping[str, str] = field(default_factory=dict)

    def place(self, key: str) -> str:
        """The file and table that a key of the configuration was read from."""
        return self.places.get(key, self.where)


def split_names(value: object, where: str) -> tuple[str, ...]:
    """Names from a string with commas, or from a list of such; duplicates once."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, Sequence) or not all(isinstance(v, str) for v in values):
        raise SettingsError(f"{where}: expected a name or a list of names, got {shown(value)}")
    names = [name.strip() for v in values for name in v.replace("\n", ",").split(",")]
    names = [name for name in names if name]
    if values and not names:
        raise SettingsError(f"{where}: the name is empty; give one, or leave the option out")
    return tuple(dict.fromkeys(names))


def _paths(value: object, base: Path, where: str) -> tuple[Path, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, Sequence) or not all(isinstance(v, str) for v in values):
        raise SettingsError(f"{where}: expected a path or a list of paths, got {shown(value)}")
    return tuple(base / Path(v.strip()).expanduser() for v in values if v.strip())


def _flag(value: object, where: str) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("1", "true", "yes", "on"):
        return True
    if isinstance(value, str) and value.strip().lower() in ("0", "false", "no", "off"):
        return False
    raise SettingsError(f"{where}: expected true or false, got {shown(value)}")


def _seconds(value: object, where: str) -> float:
    try:
        seconds = float(value) if not isinstance(value, bool) else float("nan")  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        seconds = float("nan")
    if not 0 < seconds < float("inf"):
        raise SettingsError(f"{where}: expected a number of seconds above 0, got {shown(value)}")
    return seconds


def _count(value: object, where: str) -> int:
    """A whole number above 0; "5e9" is one."""
    try:
        count = float(value) if not isinstance(value, bool) else float("nan")  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        count = float("nan")
    if not (1 <= count < 1e18) or count != int(count):
        raise SettingsError(f"{where}: expected a whole number above 0, got {shown(value)}")
    return int(count)


def _read(option: Option, value: object, base: Path, where: str) -> Any:
    if option.kind == "names":
        return split_names(value, where)
    if option.kind == "paths":
        return _paths(value, base, where)
    if option.kind == "path":
        paths = _paths(value, base, where)
        if len(paths) != 1:
            raise SettingsError(f"{where}: expected one path, got {shown(value)}")
        return paths[0]
    if option.kind == "seconds":
        return _seconds(value, where)
    if option.kind == "count":
        return _count(value, where)
    return _flag(value, where)


def is_misspelt(name: str, meant: str) -> bool:
    """Whether a name is another one with a letter too many, too few, or two exchanged."""
    if name == meant or abs(len(name) - len(meant)) > 1:
        return False
    import difflib

    return difflib.SequenceMatcher(None, name.casefold(), meant).ratio() >= _NEARLY_EQUAL


def misspelt_section(content: bytes) -> str | None:
    """The name of a tool's table that must be ours, misspelt: nobody else would read it."""
    for name in dict.fromkeys(_TOOL_TABLE.findall(content)):
        text: str = name.decode(errors="replace")
        if is_misspelt(text, SECTION[6:-1]):
            return text
    return None


def own_file(root: Path, here: Path) -> Path:
    """Where the project's edgequant.toml is or would be: at its root, else where one works."""
    at_root = root / OWN_FILE
    return here / OWN_FILE if (here / OWN_FILE).is_file() and not at_root.is_file() else at_root


def read_section(pyproject: Path) -> Mapping[str, Any]:
    """The table `[tool.edgequant]` of a pyproject.toml; empty where there is none.

    Raises `SettingsError` for an unknown key, with the closest one, and for a misspelt table.
    """
    try:
        content = read_bytes(pyproject)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"{pyproject}: can't be read: {error.strerror}") from None
    wrong = misspelt_section(content)
    if wrong is not None:
        raise SettingsError(f"{pyproject}: [tool.{wrong}]: did you mean {SECTION}?")
    if b"edgequant" not in content:
        return {}
    from pytest_edgequant.toml import load_toml

    section = load_toml(content, str(pyproject)).get("tool", {}).get("edgequant", {})
    if not isinstance(section, Mapping):
        raise SettingsError(f"{pyproject}: {SECTION} must be a table")
    check_keys(section, f"{pyproject}: {SECTION}")
    return section


def check_keys(section: Mapping[str, Any], where: str) -> None:
    """Raise `UnknownNameError` for a key that the section does not have, with the closest one."""
    from pytest_edgequant.names import unknown

    known = [*(option.name for option in OPTIONS), *TABLES, *PLURALS.values()]
    for key in section:
        if key not in known and key.replace("-", "_") not in known:
            raise unknown("key", key, dict.fromkeys(known), where)


def resolve(
    cli: Mapping[str, Any],
    ini: Mapping[str, Any],
    section: Mapping[str, Any],
    *,
    cwd: Path,
    rootdir: Path,
    where: str = SECTION,
    places: Mapping[str, str] | None = None,
) -> Settings:
    """The settings from what was given in each place; None and empty lists count as not given.

    Paths of the command line are relative to `cwd`, others to `rootdir`. `places` says of keys of
    the section where they were read, if not at `where`. Raises `SettingsError`.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    places = places or {}
    table = {key.replace("-", "_"): value for key, value in section.items()}
    spelt = _singular(table, places, where)
    for option in OPTIONS:
        for place, source, base in (
            (option.flag, cli, cwd),
            (option.ini, ini, rootdir),
            (
                f"{places.get(spelt.get(option.name, option.name), where)}: "
                f"{spelt.get(option.name, option.name)}",
                table,
                rootdir,
            ),
        ):
            value = source.get(option.name)
            if value is not None and value not in ([], ""):
                values[option.name] = _read(option, value, base, place)
                origins[option.name] = place
                break
    targets = table.get("targets")
    if targets is not None and not isinstance(targets, Mapping):
        raise SettingsError(
            f"{places.get('targets', where)}: targets must be names, or a table of tables"
        )
    return Settings(
        **values,
        target_given="target" in values,
        origins=origins,
        user_targets=targets,
        regression=section.get("regression"),
        accepted=section.get("accepted"),
        models=section.get("models"),
        where=where,
        places=places,
    )


def _singular(table: dict[str, Any], places: Mapping[str, str], where: str) -> dict[str, str]:
    """Give options that are written in the plural their names; gives how each was spelt.

    `targets` is a list of names here; a table of it describes boards of the project's own.
    """
    spelt = {}
    for name, plural in PLURALS.items():
        if not isinstance(table.get(plural), str | list):
            continue
        if name in table:
            raise SettingsError(
                f"{places.get(plural, where)}: {name} and {plural} are the same: give one"
            )
        table[name] = table.pop(plural)
        spelt[name] = plural
    return spelt
