"""The mutation test of names: one letter dropped, doubled or exchanged, and nothing passes.

A misspelt name that is taken for nothing leaves a gate open; each is an error that says what was
meant.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pytest_edgequant as eq
from pytest_edgequant.baseline import parse_accepted, parse_rules
from pytest_edgequant.errors import EdgeQuantError
from pytest_edgequant.forms import VARIANTS, get_spec
from pytest_edgequant.measure.evaluation.runtimes import TITLES, check_runtime
from pytest_edgequant.measure.metrics import get_metric
from pytest_edgequant.names import fold
from pytest_edgequant.plugin.parametrization import read_marker
from pytest_edgequant.settings import OPTIONS, TABLES, read_section
from pytest_edgequant.targets import Targets
from pytest_edgequant.units import parse_size


def misspelt(name: str) -> list[str]:
    """The name with a letter dropped, doubled, and two exchanged, somewhere in its middle."""
    letters = [i for i, character in enumerate(name) if character.isalpha()]
    at = min(letters, key=lambda i: abs(i - len(name) // 2))
    found = [name[:at] + name[at + 1 :], name[:at] + name[at] + name[at:]]
    before = max(at - 1, 0)
    swapped = name[:before] + name[before : before + 2][::-1] + name[before + 2 :]
    return [*found, swapped] if swapped != name else found


def refused(read: Callable[[str], object], names: list[str], error: type[Exception]) -> int:
    """Read each name as it is, then misspelt unless that is another one; how many were tried."""
    known, tried = {fold(name) for name in names}, 0
    for name in names:
        read(name)
        for wrong in misspelt(name):
            if fold(wrong) in known:
                continue
            tried += 1
            with pytest.raises(error) as caught:
                read(wrong)
            assert wrong in str(caught.value)
    return tried


METRICS = [
    *("accuracy", "top-1", "top-5", "macro_f1", "macro_recall", "worst_class_recall", "agreement"),
    *("roc_auc", "mean_iou", "mae", "mse", "rmse", "r2"),
]


def test_metrics() -> None:
    known = [*METRICS, "auc", "auroc", "miou", "top1", "balanced_accuracy", "f1_macro"]
    assert refused(get_metric, known, EdgeQuantError) > 30


def test_targets_and_their_aliases() -> None:
    targets = Targets()
    names = [alias for target in targets for alias in (target.name, *target.aliases)]
    assert refused(targets.get, names, eq.UnknownNameError) > 100


def test_variants() -> None:
    assert refused(get_spec, list(VARIANTS), eq.UnknownNameError) > 20


def test_runtimes() -> None:
    assert refused(check_runtime, list(TITLES), EdgeQuantError) > 5


def test_keys_of_the_section(tmp_path: Path) -> None:
    values = {"names": '["a"]', "paths": '["a"]', "path": '"a"', "flag": "true", "seconds": "1"}
    values["count"] = "1"
    kinds = {option.name: values[option.kind] for option in OPTIONS}

    def read(key: str) -> None:
        (tmp_path / "pyproject.toml").write_text(f"[tool.edgequant]\n{key} = {kinds.get(key, 1)}\n")
        read_section(tmp_path / "pyproject.toml")

    assert refused(read, [option.name for option in OPTIONS], eq.UnknownNameError) > 30
    for table in TABLES:
        for wrong in misspelt(table):
            (tmp_path / "pyproject.toml").write_text(f"[tool.edgequant.{wrong}]\na = 1\n")
            with pytest.raises(eq.UnknownNameError, match=table):
                read_section(tmp_path / "pyproject.toml")


@pytest.mark.parametrize(
    "wrong", ["edgequnt", "edgeqquant", "edgqeuant", "edge-quant", "EdgeQuant"]
)
def test_the_section_itself(wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(f'[tool.{wrong}]\ntarget = "pico"\n')
    with pytest.raises(eq.SettingsError, match=rf"\[tool\.{wrong}\].*\[tool\.edgequant\]"):
        read_section(path)
    path.write_text('[tool.edgetest]\na = 1\n[tool.pytest]\nb = "[tool.edgequnt]"\n')
    assert read_section(path) == {}


TARGET = {
    "base": "pico", "title": "t", "vendor": "v", "soc": "s", "core": "cortex-m0+", "kernels":
    "reference", "aliases": ["mine2"], "variants": ["int8"], "requires_integer_io": True,
    "tflm": "2024-08", "custom_operators": ["A"], "flash_for_model": "100 KiB",
    "sram_for_arena": "10 KiB", "flash_after_firmware": "200 KiB", "clock": "1 MHz",
}  # fmt: skip


@pytest.mark.parametrize("key", TARGET)
def test_keys_of_a_target(key: str) -> None:
    Targets({"mine": TARGET}).get("mine")
    for wrong in misspelt(key):
        changed = {wrong if name == key else name: value for name, value in TARGET.items()}
        with pytest.raises(eq.SettingsError, match=wrong):
            Targets({"mine": changed}).get("mine")


def test_keys_of_a_rule() -> None:
    kinds: dict[str, Any] = {"max_growth": 1, "informational": True, "strict": True}
    for key in kinds:
        parse_rules({"size": kinds}, "x")
        for wrong in misspelt(key):
            changed = {wrong if name == key else name: value for name, value in kinds.items()}
            with pytest.raises(eq.SettingsError, match=wrong):
                parse_rules({"size": changed}, "x")
    for key in ("confidence", "max_drop"):
        for wrong in misspelt(key):
            with pytest.raises(eq.SettingsError, match=wrong):
                parse_rules({"accuracy": {wrong: 0.5}}, "x")


def test_metrics_of_rules() -> None:
    names = ["accuracy", "macro_f1", "macro_recall", "roc_auc", "agreement"]
    assert refused(lambda name: parse_rules({name: 0.5}, "x"), names, eq.SettingsError) > 10

    def read(name: str) -> None:
        parse_rules({name: {"max_ratio": 2}}, "x")

    grown = ["size", "arena", "size_bytes", "arena_bytes", "latency", "latency_ms"]
    assert refused(read, grown, eq.SettingsError) > 12


def test_keys_of_what_is_accepted() -> None:
    entry = {
        "model": "m", "metric": "size", "reason": "r", "expires": "2027-01-01", "variant": "int8",
        "target": "pico", "limit": 1,
    }  # fmt: skip
    parse_accepted([entry], "x")
    for key in entry:
        for wrong in misspelt(key):
            changed = {wrong if name == key else name: value for name, value in entry.items()}
            with pytest.raises(eq.SettingsError, match=wrong):
                parse_accepted([changed], "x")


@pytest.mark.parametrize("key", ["target", "variant"])
def test_arguments_of_the_marker(key: str) -> None:
    read_marker(pytest.mark.edge(**{key: "x"}).mark, "here")
    for wrong in misspelt(key):
        with pytest.raises(eq.SettingsError, match=wrong):
            read_marker(pytest.mark.edge(**{wrong: "x"}).mark, "here")


@pytest.mark.parametrize(
    "unit, read",
    [
        ("KiB", lambda unit: parse_size(f"1 {unit}")),
        ("kB", lambda unit: parse_size(f"1 {unit}")),
        ("points", lambda unit: _drop(f"2 {unit}")),
        ("% relative", lambda unit: _drop(f"2{unit}")),
        ("pt", lambda unit: _drop(f"2 {unit}")),
        ("ms", lambda unit: _latency(f"2 {unit}")),
        ("us", lambda unit: _latency(f"2 {unit}")),
    ],
)
def test_units(unit: str, read: Callable[[str], object]) -> None:
    for wrong in {*misspelt(unit), unit.swapcase()} - {"PT", "% RELATIVE", "POINTS"}:
        with pytest.raises(eq.SettingsError):
            read(wrong)


def _drop(limit: str) -> object:
    return eq.assert_max_accuracy_drop(b"", b"", None, limit)


def _latency(limit: str) -> object:
    metric = eq.Metric(1.0, "ms", "measured", 1.0, 1.0)
    return eq.assert_latency_within(metric, limit)


@pytest.mark.parametrize(
    "call, said",
    [
        (functools.partial(eq.roc_auc, score="reconstructon"), "reconstructon"),
        (functools.partial(eq.task_metric, max, on="label"), "label"),
    ],
)
def test_choices_of_metrics(call: Callable[[], object], said: str) -> None:
    with pytest.raises(eq.MetricError, match=said):
        call()
