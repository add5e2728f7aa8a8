"""The mutation test of the gate: each limit is broken by one byte, one sample, one step.

Its rules of legality are in `test_mutations_rules.py`, its names in
`test_mutations_names.py`, whole runs in `tests/plugin/test_plugin_gate_mutations.py`.
"""

# Over 400 lines: one table of all limits, so that a limit without a mutation is found.

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
from contested import Tiny, contested, decisions
from mutations import Mutation

import pytest_edgequant as eq
from pytest_edgequant.api.convert import load_variant
from pytest_edgequant.baseline import Baseline, Entry, Samples, compare, parse_rules
from pytest_edgequant.gate import latency as latency_gate
from pytest_edgequant.gate import parity as parity_gate
from pytest_edgequant.measure.confidence import critical_value
from pytest_edgequant.measure.latency.device import measurement, parse_result
from pytest_edgequant.records import (
    CalibrationRobustness,
    CalibrationTrial,
    Metric,
    Outcome,
    RuntimeParity,
)
from pytest_edgequant.report.baseline import failed
from pytest_edgequant.targets import Targets

pytestmark = pytest.mark.usefixtures("pipeline")
Made = Callable[[Tiny, pytest.MonkeyPatch], Mutation]
MUTATIONS: dict[tuple[str, str], dict[str, Made]] = {}
"""By assertion and the limit that is broken (empty: the check itself), then by what breaks it."""


def mutation(check: str, limit: str, by: str) -> Callable[[Made], Made]:
    def add(made: Made) -> Made:
        MUTATIONS.setdefault((check, limit), {})[by] = made
        return made

    return add


def board(**changes: Any) -> Any:
    return Targets({"mini": {"base": "nano33ble", **changes}}).get("mini")


# -- size ---------------------------------------------------------------------------------------


def _size(limit: Callable[[int], Any], by: int = 1, **flash: int) -> Made:
    def made(tiny: Tiny, _: pytest.MonkeyPatch) -> Mutation:
        content = tiny["int8"].read_bytes()
        size = len(content)
        check = partial(eq.assert_size_within, target=board(**flash) if flash else None)
        return Mutation(
            "",
            partial(check, content, limit(size)),
            partial(check, content, limit(size - by)),
            eq.SizeExceeded,
            r"by 1 B",
        )

    return made


mutation("assert_size_within", "max", "bytes")(_size(int))
mutation("assert_size_within", "max", "text")(_size(str))
mutation("assert_size_within", "max", "B")(_size(lambda size: f"{size} B"))
mutation("assert_size_within", "max", "kB")(_size(lambda size: f"{size / 1000} kB"))
mutation("assert_size_within", "max", "KiB")(_size(lambda size: f"{(size + 0.5) / 1024:.8f} KiB"))
mutation("assert_size_within", "max", "share")(
    _size(lambda size: f"{100 * (size + 0.01) / 500_000:.7f}%", flash_for_model=500_000)
)


@mutation("assert_size_within", "", "the model")
def _(tiny: Tiny, _: pytest.MonkeyPatch) -> Mutation:
    content = tiny["int8"].read_bytes()
    check = partial(eq.assert_size_within, max=len(content))
    return Mutation("", partial(check, content), partial(check, content + b"\0"), eq.SizeExceeded)


# -- arena, and all of a target's own limits ------------------------------------------------------


def _needed(tiny: Tiny) -> int:
    return eq.measure_arena(tiny["int8"], board()).minimum_bytes


@mutation("assert_arena_fits", "target", "SRAM")
def _(tiny: Tiny, _: pytest.MonkeyPatch) -> Mutation:
    need = _needed(tiny)
    return Mutation(
        "",
        partial(eq.assert_arena_fits, tiny["int8"], board(sram_for_arena=need)),
        partial(eq.assert_arena_fits, tiny["int8"], board(sram_for_arena=need - 1)),
        eq.ArenaExceeded,
        "by 1 B",
    )


@pytest.mark.parametrize("form", ["bytes", "share"])
def test_an_arena_budget_by_one_byte(form: str, tiny: Tiny) -> None:
    need = _needed(tiny)
    most: tuple[Any, Any] = (need, need - 1)
    if form == "share":
        most = ("50%", f"{100 * (need - 0.99) / (2 * need):.6f}%")
    check = partial(eq.assert_arena_fits, tiny["int8"], board(sram_for_arena=2 * need))
    Mutation(
        form, partial(check, max=most[0]), partial(check, max=most[1]),
        eq.ArenaExceeded, "by 1 B",
    ).check()  # fmt: skip


@pytest.mark.parametrize("form", ["bytes", "share"])
def test_headroom_by_one_byte(form: str, tiny: Tiny) -> None:
    need = _needed(tiny)
    spare: tuple[Any, Any] = (
        (100, 101) if form == "bytes" else ("50%", f"{100 * (need + 1.01) / (2 * need):.6f}%")
    )
    room = board(sram_for_arena=need + 100 if form == "bytes" else 2 * need)
    check = partial(eq.assert_arena_fits, tiny["int8"], room)
    Mutation(
        form, partial(check, headroom=spare[0]), partial(check, headroom=spare[1]),
        eq.ArenaExceeded, "by 1 B",
    ).check()  # fmt: skip


@pytest.mark.parametrize("limit", ["flash", "SRAM", "integers", "form"])
def test_deployable_by_one_byte_or_tensor(limit: str, tiny: Tiny) -> None:
    size, need = tiny["int8"].stat().st_size, _needed(tiny)
    rooms = {
        "flash": [board(flash_for_model=size - fault) for fault in (0, 1)],
        "SRAM": [board(sram_for_arena=need - fault) for fault in (0, 1)],
        "integers": [board(requires_integer_io=True)] * 2,
        "form": [board(), board(variants=["float32"])],
    }[limit]
    models = [tiny["int8"], tiny["int8_float_io" if limit == "integers" else "int8"]]
    fine, broken = (
        partial(eq.assert_deployable, *pair) for pair in zip(models, rooms, strict=True)
    )
    error = eq.NotDeployable if limit in ("flash", "SRAM") else eq.CannotRun
    Mutation(limit, fine, broken, error).check()


@mutation("assert_fully_integer", "", "one tensor")
def _(tiny: Tiny, _: pytest.MonkeyPatch) -> Mutation:
    return Mutation(
        "",
        partial(eq.assert_fully_integer, tiny["int8"]),
        partial(eq.assert_fully_integer, tiny["int8_float_io"]),
        eq.NotFullyInteger,
    )


# -- accuracy -----------------------------------------------------------------------------------


def _accuracy(lost: tuple[int, int], count: int = 200, error: Any = None, **limits: Any) -> Made:
    """The same limits on a dataset of which int8 loses one sample more."""

    def made(tiny: Tiny, _: pytest.MonkeyPatch) -> Mutation:
        fine, broken = (
            partial(
                eq.assert_max_accuracy_drop,
                tiny["int8"],
                tiny["float32"],
                contested(tiny, each, count),
                **{"max_drop": "50 pt", **limits},
            )
            for each in lost
        )
        return Mutation("", fine, broken, error or eq.AccuracyDropExceeded)

    return made


for _by, _limit in {"fraction": 0.02, "points": "2 pt", "relative": "2% relative"}.items():
    mutation("assert_max_accuracy_drop", "max_drop", _by)(_accuracy((4, 5), max_drop=_limit))
for _by, _floor in {"fraction": 0.98, "per cent": "98%"}.items():
    mutation("assert_max_accuracy_drop", "min_accuracy", _by)(
        _accuracy((4, 5), min_accuracy=_floor)
    )
    mutation("assert_max_accuracy_drop", "min_agreement", _by)(
        _accuracy((4, 5), min_agreement=_floor)
    )
for _name in ("top-1", "agreement"):
    mutation("assert_max_accuracy_drop", "metric", _name)(
        _accuracy((4, 5), max_drop=0.02, metric=_name)
    )


@mutation("assert_max_accuracy_drop", "max_worst_class_drop", "one sample")
def _(tiny: Tiny, _: pytest.MonkeyPatch) -> Mutation:
    models, dataset = (tiny["int8"], tiny["float32"]), contested(tiny, 4, 200)
    worst = eq.compare_accuracy(*models, dataset).worst_class
    assert worst is not None
    lost = round(worst.drop * worst.count)
    check = partial(eq.assert_max_accuracy_drop, *models, dataset, "50 pt")
    return Mutation(
        "",
        partial(check, max_worst_class_drop=lost / worst.count),
        partial(check, max_worst_class_drop=(lost - 1) / worst.count),
        eq.AccuracyDropExceeded,
    )


@pytest.mark.parametrize("metric", ["macro_recall", "macro_f1", "worst_class_recall", "mae"])
def test_other_metrics_by_the_last_digits(metric: str, tiny: Tiny, tiny_dataset: Any) -> None:
    dataset = contested(tiny, 30, 200)
    models = tiny["int8"], tiny["float32"]
    if metric == "mae":
        x, y = tiny_dataset[0], np.eye(10)[tiny_dataset[1]]
        errors = [np.abs(np.asarray(load_variant(m).predict(x)) - y).sum(axis=1) for m in models]
        worse = errors[0] > errors[1]
        dataset = x[worse], y[worse]
    drop = eq.compare_accuracy(*models, dataset, metric=metric).drop
    assert drop > 0
    check = partial(eq.assert_max_accuracy_drop, *models, dataset, metric=metric)
    Mutation(
        metric, partial(check, max_drop=drop), partial(check, max_drop=drop * (1 - 1e-6)),
        eq.AccuracyDropExceeded,
    ).check()  # fmt: skip


@mutation("assert_max_accuracy_drop", "confidence", "one sample of evidence")
def _(tiny: Tiny, _: pytest.MonkeyPatch) -> Mutation:
    # With nothing lost of n the interval's end is z^2 / (n + z^2).
    z = critical_value(0.95)
    enough = int(np.ceil(z * z * (1 / 0.02 - 1)))
    fine, broken = (
        partial(
            eq.assert_max_accuracy_drop,
            tiny["int8"],
            tiny["float32"],
            contested(tiny, 0, count),
            0.02,
            confidence=0.95,
        )
        for count in (enough, enough - 1)
    )
    return Mutation("", fine, broken, eq.Inconclusive, "inconclusive; about 189 samples")


@mutation("assert_max_accuracy_drop", "baseline", "one sample to chance")
def _(tiny: Tiny, _: pytest.MonkeyPatch) -> Mutation:
    """Ten samples of each of ten classes: 16 right are more than chance (p=0.04), 15 (0.07) not."""
    x, first, second = decisions(tiny)
    same = [np.flatnonzero((first == c) & (second == c)) for c in range(10)]
    thin = min(len(own) for own in same)
    assert thin >= 10
    chosen = np.concatenate([own[:10] for own in same])

    def labels(right: int) -> Any:
        # Rows of one sample of each class: the first rows right, then a part of one.
        found = np.tile(np.arange(10)[:, None], 10)
        for row in range(10):
            kept = min(max(right - 10 * row, 0), 10)
            found[kept:, row] = np.roll(np.arange(10)[kept:], 1)
        return found.ravel()

    fine, broken = (
        partial(
            eq.assert_max_accuracy_drop, tiny["int8"], tiny["float32"], (x[chosen], labels(right))
        )
        for right in (16, 15)
    )
    return Mutation("", fine, broken, eq.Inconclusive, r"15\.00% is not better than chance")


@mutation("assert_max_accuracy_drop", "candidate", "exchanged")
def _(tiny: Tiny, _: pytest.MonkeyPatch) -> Mutation:
    dataset = contested(tiny, 0, 200)
    return Mutation(
        "",
        partial(eq.assert_max_accuracy_drop, tiny["int8"], tiny["float32"], dataset),
        partial(eq.assert_max_accuracy_drop, tiny["float32"], tiny["int8"], dataset),
        eq.SettingsError,
        "exchanged",
    )


@mutation("assert_max_accuracy_drop", "dataset", "one label")
def _(tiny: Tiny, _: pytest.MonkeyPatch) -> Mutation:
    x, y = contested(tiny, 0, 200)
    outside = np.where(np.arange(200) == 199, 10, y)
    check = partial(eq.assert_max_accuracy_drop, tiny["int8"], tiny["float32"])
    return Mutation(
        "", partial(check, (x, y)), partial(check, (x, outside)), eq.DatasetError, "to 10"
    )


# -- calibration and runtimes -------------------------------------------------------------------


@mutation("assert_calibration_robust", "max_drop", "one sample")
def _(tiny: Tiny, _: pytest.MonkeyPatch) -> Mutation:
    variant = load_variant(tiny["int8"])

    def found(lost: int) -> CalibrationRobustness:
        drops = (0.0, lost / 400, 1 / 400)
        trials = tuple(CalibrationTrial(50, i, d, 0.95 - d) for i, d in enumerate(drops))
        return CalibrationRobustness(variant, "accuracy", 0.95, True, trials)

    return Mutation(
        "",
        partial(eq.assert_calibration_robust, found(8), 0.02),
        partial(eq.assert_calibration_robust, found(9), 0.02),
        eq.AccuracyDropExceeded,
    )


def _parity(fault: Mapping[str, float], **limits: float | None) -> Made:
    def made(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Mutation:
        found = RuntimeParity(("litert", "tflm"), 400, 2, 0.1, 9, 4, "y", "measured")
        monkeypatch.setattr(parity_gate, "measure_runtime_parity", lambda *_, **__: found)
        check = partial(eq.assert_runtime_parity, tiny["int8"], None)
        return Mutation(
            "", partial(check, **limits), partial(check, **{**limits, **fault}), eq.RuntimesDiffer
        )

    return made


mutation("assert_runtime_parity", "max_steps", "one step")(_parity({"max_steps": 1}, max_steps=2))
mutation("assert_runtime_parity", "max_changed", "one sample")(
    _parity({"max_changed": 3 / 400}, max_changed=0.01)
)


# -- latency ------------------------------------------------------------------------------------


def _latency(metric: Metric, fine: str, broken: str, error: type[Exception]) -> Made:
    def made(*_: Any) -> Mutation:
        check = partial(eq.assert_latency_within, metric)
        return Mutation("", partial(check, fine), partial(check, broken), error)

    return made


_MEASURED = Metric(10.0, "ms", "measured (host)", 9.0, 10.5)
for _by, (_fine, _broken, _error) in {
    "interval's end": ("10.5 ms", "10.4999 ms", eq.Inconclusive),
    "interval's begin": ("10.5 ms", "8.9999 ms", eq.LatencyExceeded),
    "microseconds": ("10500 us", "10499 us", eq.Inconclusive),
    "a point": ("0.0105 s", "0.010499 s", eq.Inconclusive),
    "no unit": ("10.5 ms", "10.5", eq.UnitError),
    "another unit": ("10.5 ms", "10.5 sm", eq.UnitError),
}.items():
    mutation("assert_latency_within", "max", _by)(_latency(_MEASURED, _fine, _broken, _error))


@mutation("assert_latency_within", "measurement", "no interval")
def _(*_: Any) -> Mutation:
    check = partial(eq.assert_latency_within, max="1000 s")
    return Mutation(
        "",
        partial(check, Metric(1.0, "ms", "estimated", 0.9, 1.1)),
        partial(check, Metric(1.0, "ms", "estimated")),
        eq.Inconclusive,
    )


@mutation("assert_latency_within", "allow_unavailable", "no number")
def _(*_: Any) -> Mutation:
    check = partial(eq.assert_latency_within, Metric.unavailable("ms", "nobody knows"), "1 s")
    return Mutation("", partial(check, allow_unavailable=True), check, eq.Unavailable, "nobody")


@pytest.mark.parametrize("fault", ["hash", "target", "key", "unit", "microsecond"])
def test_a_boards_result_by_one_letter(fault: str, tiny: Tiny) -> None:
    variant, pico = load_variant(tiny["int8"]), Targets().get("pico")
    line = {"model_sha256": variant.fingerprint, "target": "pico", "latency_us": 10_000}

    def judged(**changes: Any) -> None:
        found = {key: value for key, value in {**line, **changes}.items() if value is not None}
        result = parse_result(json.dumps(found), "board.jsonl:1")
        Targets().get(result.target)
        eq.assert_latency_within(measurement([result], variant, pico), "10 ms")

    other = ("0" if variant.fingerprint[0] != "0" else "1") + variant.fingerprint[1:]
    broken: dict[str, tuple[dict[str, Any], type[Exception]]] = {
        "hash": ({"model_sha256": other}, eq.DeviceResultError),
        "target": ({"target": "pcio"}, eq.UnknownNameError),
        "key": ({"latency_us": None, "latencyus_": 10_000}, eq.DeviceResultError),
        "unit": ({"latency_ms": 10}, eq.DeviceResultError),
        "microsecond": ({"latency_us": 10_001}, eq.LatencyExceeded),
    }
    changes, error = broken[fault]
    Mutation(fault, judged, partial(judged, **changes), error).check()


@pytest.mark.parametrize(
    "broken, error", [(1.5001, eq.Inconclusive), (1.8, eq.Inconclusive), (1.8001, eq.SpeedupMissed)]
)
def test_a_speedup_by_the_last_digit(
    broken: float, error: type[Exception], tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Metric(1.6, "", "measured", 1.5, 1.8)
    monkeypatch.setattr(latency_gate, "measure_speedup", lambda *_, **__: found)
    check = partial(eq.assert_speedup, tiny["int8"], tiny["float32"])
    Mutation("", partial(check, 1.5), partial(check, broken), error).check()


# -- baselines ----------------------------------------------------------------------------------

KEY = ("digits", "pico", "int8")


def _grown(metric: str, unit: str, value: float, fault: float, rule: Any) -> Callable[[], None]:
    def judged() -> None:
        before, after = (
            Baseline({KEY: Entry({metric: Metric(v, unit, "measured")}, {}, "f")})
            for v in (value, fault)
        )
        assert not failed(compare(before, after, parse_rules({metric: rule}, "x"), ()))

    return judged


@pytest.mark.parametrize(
    "metric, unit, before, fine, broken, rule",
    [
        ("size_bytes", "bytes", 10_000, 10_000, 10_001, 0),
        ("size_bytes", "bytes", 10_000, 11_024, 11_025, "1 KiB"),
        ("size_bytes", "bytes", 10_000, 10_200, 10_201, "2%"),
        ("size_bytes", "bytes", 10_000, 11_000, 11_001, {"max_ratio": 1.1}),
        ("arena_bytes", "bytes", 10_000, 10_016, 10_017, 16),
        ("latency_ms", "ms", 10.0, 11.0, 11.001, {"max_ratio": 1.1}),
        ("flash_left_bytes", "bytes", 10_000, 9_990, 9_989, {"max_drop": 10}),
        ("macro_f1", "fraction", 0.9, 0.89, 0.8899, "1 pt"),
        ("macro_f1", "fraction", 0.9, 0.891, 0.8909, "1% relative"),
        ("output_sqnr", "dB", 40.0, 37.0, 36.99, {"max_drop": 3}),
        ("parity_max_steps", "steps", 1, 2, 3, {"max_growth": 1}),
    ],
)
def test_a_figure_grows_by_one(
    metric: str, unit: str, before: float, fine: float, broken: float, rule: Any
) -> None:
    Mutation(
        metric,
        _grown(metric, unit, before, fine, rule),
        _grown(metric, unit, before, broken, rule),
        AssertionError,
    ).check()


@pytest.mark.parametrize("strict", [False, True])
def test_a_baselines_samples_are_lost_by_one(strict: bool) -> None:
    """1,000 samples, one point allowed: what evidence fails is the smallest that proves more."""

    def verdict(lost: int) -> Outcome:
        right = np.ones(1000, bool)
        entries = []
        for each in (right, np.arange(1000) >= lost):
            metric = Metric(float(each.mean()), "fraction", "measured")
            samples = Samples("d", 1000, True, True, each)
            entries.append(Baseline({KEY: Entry({"accuracy": metric}, {"accuracy": samples}, "f")}))
        rules = parse_rules({"accuracy": {"max_drop": "1 pt"}}, "x", strict=strict)
        found = compare(*entries, rules, ())
        (change,) = found.changes[KEY]
        assert (change.verdict is Outcome.FAIL) == bool(failed(found))
        return change.verdict

    found = [verdict(lost) for lost in range(40)]
    assert found[:11] == [Outcome.PASS] * 11
    # One sample more than the limit is never green, and nothing after it is.
    assert Outcome.PASS not in found[11:]
    assert found[11] is (Outcome.FAIL if strict else Outcome.INCONCLUSIVE)
    assert found[-1] is Outcome.FAIL


# -- all of them --------------------------------------------------------------------------------

_CASES = [(*key, by) for key, made in MUTATIONS.items() for by in made]


@pytest.mark.parametrize("check, limit, by", _CASES)
def test_the_twin_passes_and_the_mutation_does_not(
    check: str, limit: str, by: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = MUTATIONS[check, limit][by](tiny, monkeypatch)
    dataclasses.replace(made, name=f"{check}({limit}) by {by}").check()


LIMITS = {
    "max", "max_drop", "min_accuracy", "max_worst_class_drop", "min_agreement", "confidence",
    "max_steps", "max_changed", "allow_unavailable",
}  # fmt: skip
ELSEWHERE = {
    ("assert_arena_fits", "headroom"): test_headroom_by_one_byte,
    ("assert_arena_fits", "max"): test_an_arena_budget_by_one_byte,
    ("assert_speedup", "at_least"): test_a_speedup_by_the_last_digit,
    ("assert_deployable", ""): test_deployable_by_one_byte_or_tensor,
    ("assert_ops_supported", ""): "test_mutations_rules.py",
}


def test_every_assertion_and_every_limit_has_a_mutation() -> None:
    assertions = {name for name in eq.__all__ if name.startswith("assert_")}
    tried = {*MUTATIONS, *ELSEWHERE}
    assert assertions == {check for check, _ in tried}
    for name in assertions:
        limits = set(inspect.signature(getattr(eq, name)).parameters) & (LIMITS | {"headroom"})
        assert limits <= {limit for check, limit in tried if check == name}, name
